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

/// Writes vCPU `vcpu` out, on its own processor.
pub fn save(guest: &Guest, vcpu: usize) -> Result<(), SaveFault> {
    let (Some(room), Some(processor)) = (&guest.room, guest.processors.get(vcpu)) else {
        return Err(SaveFault::TooLong);
    };
    let mut snapshot = room.snapshot.lock();
    processor.save(snapshot.processors.get_mut(vcpu).ok_or(SaveFault::TooLong)?)
}

/// Writes out what the vCPUs share, and the memory; then nothing of the guest is left where it was.
pub fn freeze(guest: &Guest) -> Result<(), SaveFault> {
    let room = guest.room.as_ref().ok_or(SaveFault::TooLong)?;
    let mut snapshot = room.snapshot.lock();
    guest.partition.save(&mut snapshot)?;
    copy_memory(guest, &guest.partition.memory, &room.memory)?;
    guest.partition.memory.zero_all();
    guest.partition.forget(guest.common.chipset(&guest.partition.layout));
    let kib = guest.partition.memory.bytes() >> 10;
    log::info!("{}: {} bytes of state and {kib} KiB of memory are kept", guest.plan.name, snapshot.bytes());
    Ok(())
}

/// All of the guest's memory. The error, which both having the same layout rules out: one is too short.
fn copy_memory(guest: &Guest, from: &GuestRam, to: &GuestRam) -> Result<(), SaveFault> {
    let mut page = [0; PAGE];
    for range in guest.partition.layout.ram() {
        for offset in (0..range.bytes).step_by(PAGE) {
            let gpa = range.start + offset;
            from.read(gpa, &mut page).and_then(|()| to.write(gpa, &page)).map_err(|_| SaveFault::TooLong)?;
        }
    }
    Ok(())
}

/// Reads all of it, and puts back what the vCPUs share.
pub fn thaw(guest: &Guest) -> Result<(), RestoreFault> {
    let room = guest.room.as_ref().ok_or(RestoreFault::Configuration)?;
    let snapshot = room.snapshot.lock();
    for (processor, section) in guest.processors.iter().zip(&snapshot.processors) {
        processor.check(section, &guest.partition)?;
    }
    let restored = guest.partition.check(&snapshot)?;
    copy_memory(guest, &room.memory, &guest.partition.memory).map_err(|_| RestoreFault::Configuration)?;
    guest.partition.restore(&snapshot, restored);
    Ok(())
}

/// Puts vCPU `vcpu` back, on its own processor. What cannot be read although it was checked ends the guest.
pub fn restore(guest: &Guest, vcpu: usize) {
    let (Some(room), Some(processor)) = (&guest.room, guest.processors.get(vcpu)) else { return };
    let restored = room.snapshot.lock().processors.get(vcpu).map(|section| processor.restore(section));
    if !matches!(restored, Some(Ok(()))) {
        guest.partition.request_end(End::InvalidState);
    }
}
