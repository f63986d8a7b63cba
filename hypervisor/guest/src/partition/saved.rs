//! What a guest's processors share, as it is saved once all of them have left.

use super::{End, Partition};
use crate::host::Host;
use crate::mailbox::Mail;
use crate::snapshot::Snapshot;
use core::sync::atomic::Ordering::*;
use devices::Chipset;
use devices::snapshot::{self, RestoreFault, SaveFault};
use serde::{Deserialize, Serialize};

/// Changes with each change of [`Head`] or [`Mail`].
const VERSION: u16 = 1;

/// What the guest is made of, and what its partition knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Head {
    made_of: MadeOf,
    /// Guest time, which goes on from there.
    now: u64,
    is_ready: bool,
}

/// What must be the same where a guest goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct MadeOf {
    vcpus: u32,
    /// RAM below and above 4 GiB.
    memory_bytes: [u64; 2],
    tsc_hz: u64,
    /// What its CPUID says, as a number.
    cpuid: u64,
}

/// A partition's state that was found to be one.
pub struct Restored {
    head: Head,
    chipset: Chipset,
}

impl<H: Host> Partition<H> {
    fn made_of(&self) -> MadeOf {
        MadeOf {
            vcpus: self.mailboxes.len() as u32,
            memory_bytes: self.layout.ram().map(|range| range.bytes),
            tsc_hz: self.tsc_hz,
            cpuid: self.cpuid.fingerprint(),
        }
    }

    /// Writes out what all vCPUs share, which have left their loops for [`End::Frozen`]. Nothing of it
    /// changes.
    ///
    /// # Errors
    /// There is no such state now; the guest can go on as it is.
    pub fn save(&self, into: &mut Snapshot) -> Result<(), SaveFault> {
        // What was printed of a line is shown; a line is not part of the guest.
        self.flush_console();
        let state = self.chipset.lock();
        let is_ready = self.is_ready.load(Acquire);
        into.head.save(VERSION, &Head { made_of: self.made_of(), now: self.now(), is_ready })?;
        into.chipset.save_with(|bytes| state.chipset.save(bytes))?;
        for (mailbox, section) in self.mailboxes.iter().zip(&mut into.mail) {
            section.save(VERSION, &mailbox.peek())?;
        }
        Ok(())
    }

    /// Forgets all that was saved: its `chipset` is as after a reset, and its mailboxes are empty.
    pub fn forget(&self, chipset: Chipset) {
        self.chipset.lock().chipset.replace(chipset);
        self.external.store(0, Release);
        for mailbox in &self.mailboxes {
            mailbox.take();
        }
    }

    /// A frozen guest ends as it is.
    pub fn end_frozen(&self, end: End) {
        let _ = self.end.compare_exchange(End::Frozen as u8, end as u8, SeqCst, SeqCst);
    }

    /// Reads what [`Partition::save`] wrote, and changes nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, from: &Snapshot) -> Result<Restored, RestoreFault> {
        let head: Head = from.head.restore(VERSION)?;
        snapshot::is_of(head.made_of == self.made_of())?;
        let chipset = self.chipset.lock().chipset.restored(from.chipset.contents())?;
        snapshot::is_of(from.mail.len() == self.mailboxes.len())?;
        for section in &from.mail {
            let mail: Mail = section.restore(VERSION)?;
            snapshot::has(mail.is_possible(), "what waits for a vCPU")?;
        }
        Ok(Restored { head, chipset })
    }

    /// Becomes as the partition was that was saved; all vCPUs have left, and go on afterwards.
    pub fn restore(&self, from: &Snapshot, restored: Restored) {
        let Restored { head, chipset } = restored;
        self.time.set(head.now, self.host.now());
        self.is_ready.store(head.is_ready, Release);
        let mut guard = self.chipset.lock();
        let state = &mut *guard;
        self.external.store(chipset.external_pending().into(), Release);
        self.chipset_deadline.store(chipset.deadline().unwrap_or(u64::MAX), Release);
        state.chipset.replace(chipset);
        state.effects.clear();
        self.forget_line(state);
        for (mailbox, section) in self.mailboxes.iter().zip(&from.mail) {
            mailbox.take();
            if let Ok(mail) = section.restore(VERSION) {
                mailbox.put(&mail);
            }
        }
        self.end.store(0, SeqCst);
    }

    /// Goes on as it is: it was frozen, and nothing was taken from it.
    pub fn go_on(&self) {
        for mailbox in &self.mailboxes {
            let mail = mailbox.peek();
            mailbox.take();
            mailbox.put(&mail);
        }
        let _ = self.end.compare_exchange(End::Frozen as u8, 0, SeqCst, SeqCst);
    }
}
