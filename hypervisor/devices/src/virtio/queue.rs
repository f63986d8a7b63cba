//! A queue as the common configuration shows it, and its ring once it is enabled.

use super::places::{Places, Progress};
use super::ring::is_packed;
use super::{Broken, Chain, Ring, Taken};
use crate::journal::{bit, ends};
use crate::rest::Rest;
use crate::snapshot::{RestoreFault, has};
use access::GuestMemory;
use serde::{Deserialize, Serialize};
use spec::Gpa;
use spec::virtio::feature;
use spec::virtio::pci::{NO_VECTOR, common};

/// A queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Queue {
    /// The most descriptors that the driver may give it.
    most: u16,
    size: u16,
    /// The message of the queue, or [`NO_VECTOR`].
    pub(super) vector: u16,
    descriptors: u64,
    driver: u64,
    device: u64,
    ring: Option<Ring>,
    /// A reset waits for the medium.
    is_resetting: bool,
}

impl Queue {
    /// A queue of `most` descriptors as after reset.
    pub(super) const fn new(most: u16) -> Self {
        let (descriptors, driver, device) = (0, 0, 0);
        Self {
            most,
            size: most,
            vector: NO_VECTOR,
            descriptors,
            driver,
            device,
            ring: None,
            is_resetting: false,
        }
    }

    /// As after reset.
    pub(super) const fn reset(&mut self) {
        *self = Self::new(self.most);
    }

    /// Takes nothing any more, and is as after reset once the medium has nothing of it (section 2.6.1).
    pub(super) const fn begin_reset(&mut self) {
        self.ring = None;
        self.is_resetting = true;
    }

    /// Whether a reset waits for the medium.
    pub(super) const fn is_resetting(&self) -> bool {
        self.is_resetting
    }

    /// Whether the driver may say where it is.
    const fn can_be_placed(&self) -> bool {
        self.ring.is_none() && !self.is_resetting
    }

    /// The register at `offset`, of 8 bytes where it is an address.
    pub(super) fn read(&self, offset: u64) -> u64 {
        match offset {
            common::QUEUE_SIZE => self.size.into(),
            common::QUEUE_VECTOR => self.vector.into(),
            common::QUEUE_ENABLE => self.ring.is_some().into(),
            common::QUEUE_RESET => self.is_resetting.into(),
            common::QUEUE_DESCRIPTORS => self.descriptors,
            common::QUEUE_DRIVER => self.driver,
            common::QUEUE_DEVICE => self.device,
            _ => 0,
        }
    }

    /// Where the size or the place of the queue is kept, of which an enabled one changes neither
    /// (section 4.1.4.3.2). The size is a power of two unless the queue is packed.
    pub(super) fn set_size(&mut self, size: u16, features: u64) {
        if self.can_be_placed() && is_size(size, features) && size <= self.most {
            self.size = size;
        }
    }

    /// Writes 4 bytes of an address, at `offset`.
    pub(super) const fn set_address(&mut self, offset: u64, value: u32) {
        if !self.can_be_placed() {
            return;
        }
        let place = match offset & !7 {
            common::QUEUE_DESCRIPTORS => &mut self.descriptors,
            common::QUEUE_DRIVER => &mut self.driver,
            common::QUEUE_DEVICE => &mut self.device,
            _ => return,
        };
        let shift = 8 * (offset & 4);
        *place = *place & !(0xffff_ffff << shift) | (value as u64) << shift;
    }

    /// Enables the queue where the driver put it. If it is held nothing is taken before
    /// [`admit`](Self::admit).
    ///
    /// # Errors
    /// It cannot be there.
    pub(super) fn enable(&mut self, features: u64, is_held: bool) -> Result<(), Broken> {
        if self.can_be_placed() {
            let mut ring = Ring::new(self.places(features), features)?;
            if is_held {
                ring.hold();
            }
            self.ring = Some(ring);
        }
        Ok(())
    }

    const fn places(&self, features: u64) -> Places {
        Places {
            size: self.size,
            descriptors: Gpa(self.descriptors),
            driver: Gpa(self.driver),
            device: Gpa(self.device),
            indirect: features & feature::INDIRECT_DESCRIPTORS != 0,
            event_index: features & feature::EVENT_INDEX != 0,
        }
    }

    /// See [`Ring::admit`].
    pub(super) fn admit(&mut self, memory: &dyn GuestMemory) -> Result<(), Broken> {
        self.ring.as_mut().map_or(Ok(()), |ring| ring.admit(memory))
    }

    /// See [`Ring::take`]. A queue that is not enabled has nothing.
    ///
    /// # Errors
    /// See there.
    pub fn take(&mut self, memory: &dyn GuestMemory, chain: &mut Chain) -> Result<bool, Broken> {
        self.ring.as_mut().map_or(Ok(false), |ring| ring.take(memory, chain))
    }

    /// Gives one chain back, as [`put_all`](Self::put_all) does.
    ///
    /// # Errors
    /// See there.
    pub fn put(&mut self, memory: &dyn GuestMemory, taken: Taken, written: u32) -> Result<(), Broken> {
        self.put_all(memory, &[(taken, written)])
    }

    /// See [`Ring::put_all`].
    ///
    /// # Errors
    /// See there; and the queue is not enabled.
    pub fn put_all(&mut self, memory: &dyn GuestMemory, chains: &[(Taken, u32)]) -> Result<(), Broken> {
        self.ring.as_mut().ok_or(Broken)?.put_all(memory, chains)
    }

    /// How many entries of its ring were taken and not put.
    pub(super) fn outstanding(&self) -> u16 {
        self.ring.as_ref().map_or(0, Ring::outstanding)
    }

    /// Has the chains that were taken last, and not put, be taken again later. Nothing of them is
    /// remembered: the driver may have changed them by then.
    ///
    /// # Errors
    /// Where so many are not outstanding.
    pub fn untake(&mut self, chains: &[(Taken, u32)]) -> Result<(), Broken> {
        let entries = chains.iter().fold(0_u16, |all, (taken, _)| all.saturating_add(taken.entries));
        match &mut self.ring {
            Some(ring) => ring.untake(entries),
            None if chains.is_empty() => Ok(()),
            None => Err(Broken),
        }
    }

    /// See [`Ring::rests`]. A queue that is not enabled has nothing.
    pub(super) fn rests(&self, is_taken: bool, rest: &mut Rest, memory: &dyn GuestMemory) -> bool {
        self.ring.as_ref().is_none_or(|ring| ring.rests(is_taken, rest, memory))
    }

    /// See [`Ring::take_interrupt`].
    pub(super) fn take_interrupt(&mut self, memory: &dyn GuestMemory) -> Result<bool, Broken> {
        self.ring.as_mut().map_or(Ok(false), |ring| ring.take_interrupt(memory))
    }

    /// See [`Ring::want_notifications`].
    pub(super) fn want_notifications(
        &mut self,
        wanted: bool,
        memory: &dyn GuestMemory,
    ) -> Result<bool, Broken> {
        self.ring.as_mut().map_or(Ok(false), |ring| ring.want_notifications(wanted, memory))
    }
}

/// Whether a queue can have so many descriptors.
pub(super) const fn is_size(size: u16, features: u64) -> bool {
    size.is_power_of_two() || size != 0 && is_packed(features)
}

/// A queue as it is saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct QueueState {
    pub(super) size: u16,
    pub(super) vector: u16,
    pub(super) descriptors: u64,
    pub(super) driver: u64,
    pub(super) device: u64,
    /// How far it is, where it is enabled.
    pub(super) progress: Option<Progress>,
}

impl Queue {
    /// Its state.
    pub(super) fn state(&self) -> QueueState {
        QueueState {
            size: self.size,
            vector: self.vector,
            descriptors: self.descriptors,
            driver: self.driver,
            device: self.device,
            progress: self.ring.as_ref().map(Ring::progress),
        }
    }

    /// The queue of `state`, of at most `most` descriptors, with these features.
    ///
    /// # Errors
    /// It cannot be there, or not be so far.
    pub(super) fn restored(state: &QueueState, most: u16, features: u64) -> Result<Self, Broken> {
        let QueueState { size, vector, descriptors, driver, device, progress } = *state;
        let mut queue =
            Self { most, size, vector, descriptors, driver, device, ring: None, is_resetting: false };
        if let Some(progress) = progress {
            queue.ring = Some(Ring::restored(queue.places(features), features, progress)?);
        }
        Ok(queue)
    }
}

/// Words of how far a queue is, and of where it is, as they are committed.
pub(super) const FAR_WORDS: usize = 2;
pub(super) const PLACE_WORDS: usize = 4;
/// What is above size and message in the first word of where a queue is.
const ENABLED: u32 = 32;
const RESETTING: u32 = 33;

impl Queue {
    /// How far it is: nothing where it is not enabled.
    pub(super) fn far(&self) -> [u64; FAR_WORDS] {
        self.ring.as_ref().map_or([0; FAR_WORDS], |ring| [ring.progress().to_word(), ring.bounds()])
    }

    /// Where it is.
    pub(super) fn place(&self) -> [u64; PLACE_WORDS] {
        let (is_enabled, is_resetting) = (u64::from(self.ring.is_some()), u64::from(self.is_resetting));
        let head = u64::from(self.size) | u64::from(self.vector) << 16;
        let head = head | is_enabled << ENABLED | is_resetting << RESETTING;
        [head, self.descriptors, self.driver, self.device]
    }

    /// The state of the queue that said these words. What waits for an interrupt is not in it: that may be any number.
    pub(super) fn state_of(
        place: &[u64; PLACE_WORDS],
        far: &[u64; FAR_WORDS],
    ) -> Result<QueueState, RestoreFault> {
        let [head, descriptors, driver, device] = *place;
        ends(head, RESETTING + 1)?;
        let is_enabled = bit(head, ENABLED);
        has(!is_enabled || !bit(head, RESETTING), "a queue is enabled and being reset")?;
        let progress = Progress { untold: 0, ..Progress::of_word(far[0]) };
        Ok(QueueState {
            size: head as u16,
            vector: (head >> 16) as u16,
            descriptors,
            driver,
            device,
            progress: is_enabled.then_some(progress),
        })
    }

    /// Goes on where the queue was that said these words, of which this one has the state. Whether there is such a
    /// queue.
    pub(super) fn go_on(&mut self, place: &[u64; PLACE_WORDS], far: &[u64; FAR_WORDS]) -> bool {
        self.is_resetting = bit(place[0], RESETTING);
        match &mut self.ring {
            Some(ring) => ring.go_on(Progress::of_word(far[0]).untold, far[1]),
            None => *far == [0; FAR_WORDS],
        }
    }
}
