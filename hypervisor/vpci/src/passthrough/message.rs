//! What the guest wants sent, and what stands for it in the machine.

use alloc::boxed::Box;
use alloc::vec;

use crate::message::{GuestMsi, HostMsi, MessageChange};

/// One message: an MSI-X table entry or a message of MSI.
#[derive(Clone, Copy, Default)]
struct Message {
    wanted: Option<GuestMsi>,
    host: Option<HostMsi>,
}

/// Every message of a function, and which of them changed since they were told.
pub(super) struct Messages {
    messages: Box<[Message]>,
    changed: Box<[u64]>,
}

impl Messages {
    /// `count` messages that nobody wants.
    pub fn new(count: u16) -> Self {
        Self {
            messages: vec![Message::default(); count.into()].into_boxed_slice(),
            changed: vec![0; usize::from(count).div_ceil(64)].into_boxed_slice(),
        }
    }

    /// How many messages there are.
    pub fn count(&self) -> u16 {
        self.messages.len() as u16
    }

    /// What the guest wants sent as message `index`.
    pub fn wanted(&self, index: u16) -> Option<GuestMsi> {
        self.messages.get(usize::from(index))?.wanted
    }

    /// What stands for message `index` in the machine.
    pub fn host(&self, index: u16) -> Option<HostMsi> {
        self.messages.get(usize::from(index))?.host
    }

    /// The guest wants this sent as message `index`; true if that is news. The host
    /// message that stood for the old one ends, and so must whatever the hardware
    /// sends, unless `keep_host`: a function that cannot mask would lose what comes
    /// meanwhile, so the old one stays until it is replaced.
    pub fn want(&mut self, index: u16, wanted: Option<GuestMsi>, keep_host: bool) -> bool {
        let Some(message) = self.messages.get_mut(usize::from(index)) else { return false };
        if message.wanted == wanted {
            return false;
        }
        message.wanted = wanted;
        if wanted.is_none() || !keep_host {
            message.host = None;
        }
        if let Some(word) = self.changed.get_mut(usize::from(index / 64)) {
            *word |= 1 << (index % 64);
        }
        true
    }

    /// This stands for message `index` from now on.
    pub fn set_host(&mut self, index: u16, host: Option<HostMsi>) {
        if let Some(message) = self.messages.get_mut(usize::from(index)) {
            message.host = host;
        }
    }

    /// The next message that changed.
    pub fn next(&mut self) -> Option<MessageChange> {
        let (place, word) = (0_u16..).zip(&mut self.changed).find(|(_, word)| **word != 0)?;
        let index = 64 * place + word.trailing_zeros() as u16;
        *word &= *word - 1;
        Some(MessageChange { index, message: self.wanted(index) })
    }
}
