//! Where a frozen guest is kept: in memory that was taken for it when it was built.

use crate::guests::Guest;
use access::GuestMemory;
use devices::snapshot::{RestoreFault, SaveFault};
use guest::partition::End;
use guest::snapshot::Snapshot;
use machine::memory::guest_ram::GuestRam;
use spin::mutex::TicketMutex;

/// Memory is copied in pieces of so many bytes.
const PAGE: usize = 4096;

/// Room for one guest.
pub struct Room {
    /// Its state.
    pub snapshot: TicketMutex<Snapshot>,
    /// Its memory, at the same guest-physical addresses.
    pub memory: GuestRam,
}

impl Guest {
    /// Writes vCPU `vcpu` out, on its own processor.
    pub fn save_vcpu(&self, vcpu: usize) -> Result<(), SaveFault> {
        let (Some(room), Some(processor)) = (&self.room, self.processors.get(vcpu)) else {
            return Err(SaveFault::TooLong);
        };
        let mut snapshot = room.snapshot.lock();
        processor.save(snapshot.processors.get_mut(vcpu).ok_or(SaveFault::TooLong)?)
    }

    /// Writes out what the vCPUs share, and the memory; then nothing of the guest is left where it was.
    pub fn freeze_all(&self) -> Result<(), SaveFault> {
        let room = self.room.as_ref().ok_or(SaveFault::TooLong)?;
        let mut snapshot = room.snapshot.lock();
        self.partition.save(&mut snapshot)?;
        self.copy_memory(&self.partition.memory, &room.memory)?;
        self.partition.memory.zero_all();
        self.partition.forget(self.common.chipset(&self.partition.layout));
        let kib = self.partition.memory.bytes() >> 10;
        log::info!(
            "{}: {} bytes of state and {kib} KiB of memory are kept",
            self.plan.name,
            snapshot.bytes()
        );
        Ok(())
    }

    /// All of the guest's memory. The error, which both having the same layout rules out: one is too short.
    fn copy_memory(&self, from: &GuestRam, to: &GuestRam) -> Result<(), SaveFault> {
        let mut page = [0; PAGE];
        for range in self.partition.layout.ram() {
            for offset in (0..range.bytes).step_by(PAGE) {
                let gpa = range.start + offset;
                from.read(gpa, &mut page)
                    .and_then(|()| to.write(gpa, &page))
                    .map_err(|_| SaveFault::TooLong)?;
            }
        }
        Ok(())
    }

    /// Reads all of it, and puts back what the vCPUs share.
    pub fn thaw_all(&self) -> Result<(), RestoreFault> {
        let room = self.room.as_ref().ok_or(RestoreFault::Configuration)?;
        let snapshot = room.snapshot.lock();
        for (processor, section) in self.processors.iter().zip(&snapshot.processors) {
            processor.check(section, &self.partition)?;
        }
        let restored = self.partition.check(&snapshot)?;
        self.copy_memory(&room.memory, &self.partition.memory).map_err(|_| RestoreFault::Configuration)?;
        self.partition.restore(&snapshot, restored);
        Ok(())
    }

    /// Puts vCPU `vcpu` back, on its own processor. What cannot be read although it was checked ends the self.
    pub fn restore_vcpu(&self, vcpu: usize) {
        let (Some(room), Some(processor)) = (&self.room, self.processors.get(vcpu)) else { return };
        let restored = room.snapshot.lock().processors.get(vcpu).map(|section| processor.restore(section));
        if !matches!(restored, Some(Ok(()))) {
            self.partition.request_end(End::InvalidState);
        }
    }
}
