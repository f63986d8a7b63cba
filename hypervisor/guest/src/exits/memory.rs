//! Accesses to guest-physical addresses that are not memory.

use super::{apic, end, raise};
use crate::host::{BusAccess, Host, Reply};
use crate::interpreter::Interpreted;
use crate::layout;
use crate::partition::{End, Partition};
use crate::processor::VirtualProcessor;
use access::vcpu::{Event, NestedAccess, Vcpu};
use devices::LocalApic;
use emulator::decode;
use emulator::{Bus, CodeSize};
use spec::local_apic::TASK_PRIORITY;
use spec::{Gpa, Width};

/// How many unmapped accesses of a vCPU are logged.
const UNMAPPED_LOGGED: u32 = 8;
/// For this part of a second a vCPU may exit again and again for an instruction that is
/// not emulated. Another vCPU may have rewritten the one that exited before it was
/// fetched here: then what is there now runs, or exits for itself. A processor that is
/// itself emulated may execute the old one for as long as the writer is not scheduled.
const PATIENCES_PER_SECOND: u64 = 4;
/// Exits further apart than this part of a second are not in a row.
const GAPS_PER_SECOND: u64 = 50;
const PAGE: u64 = 0x1000;

/// Handles an access outside the guest's memory.
#[inline(never)]
pub fn handle<V: Vcpu, H: Host>(
    vp: &mut VirtualProcessor<V>,
    partition: &Partition<H>,
    gpa: Gpa,
    access: NestedAccess,
) {
    if vp.cpu.is_delivering() {
        return undelivered(vp, partition, gpa, access);
    }
    if vp.apic.is_xapic() {
        // The registers are in reach: of this page, or of the other operand's.
        vp.take_priority();
    }
    let apic = &mut vp.apic;
    let mut bus = Mmio { partition, index: vp.index, apic, effects: 0, unmapped: None };
    let outcome = vp.interpreter.memory_access(&mut vp.cpu, partition, &mut bus, gpa, access);
    let (effects, unmapped) = (bus.effects, bus.unmapped);
    if effects != 0 {
        vp.needs_service = true;
        if effects & PRIORITY != 0 {
            vp.cpu.set_task_priority(vp.apic.task_priority());
        }
    }
    if let Some(gpa) = unmapped {
        log_unmapped(vp, partition, gpa, access);
        if partition.unmapped_crashes {
            end(vp, partition, End::BadAccess);
        }
    }
    match outcome {
        Interpreted::GoesOn => vp.unemulated = Unemulated::default(),
        Interpreted::Raises(event) => {
            vp.unemulated = Unemulated::default();
            raise(vp, event);
        }
        Interpreted::Unsupported => unsupported(vp, partition, gpa, access),
        Interpreted::Gone => vp.needs_service = true,
    }
}

/// The fault is not the instruction's at RIP: it interrupted the delivery of an event, to a
/// stack or through a table that is no memory. The delivery is tried again, and no kick comes
/// between; so the mailbox is looked at each time, and not for long.
#[cold]
#[inline(never)]
fn undelivered<V: Vcpu, H: Host>(
    vp: &mut VirtualProcessor<V>,
    partition: &Partition<H>,
    gpa: Gpa,
    access: NestedAccess,
) {
    vp.needs_service = true;
    if vp.unemulated.lasts(partition.now(), partition.tsc_hz) {
        let (index, rip) = (vp.index, vp.cpu.rip());
        partition.log(format_args!(
            "vCPU {index}: an event cannot be delivered: {access:?} at {gpa}, where it has no memory, \
             at {rip:#x}"
        ));
        end(vp, partition, End::BadAccess);
    }
}

#[cold]
fn unsupported<V: Vcpu, H: Host>(
    vp: &mut VirtualProcessor<V>,
    partition: &Partition<H>,
    gpa: Gpa,
    access: NestedAccess,
) {
    // Code or page tables where there is no memory: no instruction was fetched.
    let fetched = !matches!(access, NestedAccess::Fetch | NestedAccess::Walk);
    if fetched && !vp.unemulated.lasts(partition.now(), partition.tsc_hz) {
        return;
    }
    let (index, rip, size) = (vp.index, vp.cpu.rip(), CodeSize::of(&vp.cpu));
    // Where nothing is an access does not end the guest, whatever it is done with: there is
    // nothing that this instruction could mean.
    let goes_on = fetched && !partition.unmapped_crashes && !decodes(vp, partition, gpa);
    if goes_on {
        log_unmapped(vp, partition, gpa, access);
        raise(vp, Event::UNDEFINED);
    } else {
        end(vp, partition, End::BadAccess);
    }
    if !goes_on || vp.unmapped_accesses < UNMAPPED_LOGGED {
        vp.interpreter.with_unsupported(|code| {
            let name = decode::name_of(code, size);
            partition.log(format_args!(
                "vCPU {index}: {access:?} at {gpa} by what is not emulated: {name}, {code:02x?} at {rip:#x}"
            ));
        });
    }
}

/// Whether something is there that is not memory.
fn decodes<V: Vcpu, H: Host>(vp: &VirtualProcessor<V>, partition: &Partition<H>, gpa: Gpa) -> bool {
    is_local_apic(&vp.apic, gpa) || gpa.0 & !(PAGE - 1) == layout::IOAPIC.0 || partition.bus().decodes(gpa)
}

fn is_local_apic(apic: &LocalApic, gpa: Gpa) -> bool {
    gpa.0 & !(PAGE - 1) == layout::LOCAL_APIC.0 && apic.is_enabled() && !apic.is_x2apic()
}

/// Exits in a row for instructions that are not emulated.
#[derive(Clone, Copy, Default, Debug)]
pub struct Unemulated {
    /// TSC at the first and the last one; 0 for none.
    first: u64,
    last: u64,
}

impl Unemulated {
    /// Counts one more, and tells whether this has gone on for too long.
    fn lasts(&mut self, now: u64, tsc_hz: u64) -> bool {
        if now.saturating_sub(self.last) > tsc_hz / GAPS_PER_SECOND {
            self.first = now;
        }
        self.last = now;
        now.saturating_sub(self.first) > tsc_hz / PATIENCES_PER_SECOND
    }
}

#[cold]
fn log_unmapped<V: Vcpu, H: Host>(
    vp: &mut VirtualProcessor<V>,
    partition: &Partition<H>,
    gpa: Gpa,
    access: NestedAccess,
) {
    if vp.unmapped_accesses < UNMAPPED_LOGGED {
        vp.unmapped_accesses += 1;
        let more = if vp.unmapped_accesses == UNMAPPED_LOGGED { " (more are not logged)" } else { "" };
        partition.log(format_args!("vCPU {}: {access:?} at {gpa}, where it has nothing{more}", vp.index));
    }
}

/// Interrupts and timers have to be looked at.
const NEEDS_SERVICE: u8 = 1 << 0;
/// The task priority was written, which asks for service too.
const PRIORITY: u8 = 1 << 1;

/// What stands in the guest's physical address space besides memory.
struct Mmio<'a, H: Host> {
    partition: &'a Partition<H>,
    index: usize,
    apic: &'a mut LocalApic,
    /// [`NEEDS_SERVICE`], and [`PRIORITY`].
    effects: u8,
    unmapped: Option<Gpa>,
}

impl<H: Host> Mmio<'_, H> {
    fn is_local_apic(&self, gpa: Gpa) -> bool {
        is_local_apic(self.apic, gpa)
    }
}

impl<H: Host> Bus for Mmio<'_, H> {
    #[inline]
    fn read(&mut self, gpa: Gpa, width: Width) -> Option<u64> {
        Some(self.value(gpa, width))
    }
    fn write(&mut self, gpa: Gpa, width: Width, value: u64) {
        let offset = gpa.0 & (PAGE - 1);
        if self.is_local_apic(gpa) {
            if width == Width::Dword && offset & 3 == 0 {
                let effect = self.apic.mmio_write(offset as u32, value as u32, || self.partition.now());
                self.effects |= u8::from(apic::apply(self.partition, self.index, self.apic, effect));
                if offset >> 4 == TASK_PRIORITY.into() {
                    self.effects |= PRIORITY;
                }
            }
            return;
        }
        if gpa.0 & !(PAGE - 1) == layout::IOAPIC.0 {
            let (_, needs_service) = self.partition.with_chipset(self.index, |chipset, effects, _| {
                chipset.ioapic_write(offset as u32, value as u32, effects)
            });
            self.effects |= u8::from(needs_service);
            return;
        }
        let reply = self.partition.bus().memory_write(self.partition, gpa, width, value);
        match reply {
            Reply::Done(()) => self.effects |= NEEDS_SERVICE,
            Reply::Endpoint { number, offset } => {
                let own = self.partition.endpoint_write(self.index, number, offset, width, value);
                self.effects |= u8::from(own);
            }
            Reply::Nothing => self.unmapped = Some(gpa),
        }
    }
}

impl<H: Host> Mmio<'_, H> {
    fn value(&mut self, gpa: Gpa, width: Width) -> u64 {
        let offset = gpa.0 & (PAGE - 1);
        if self.is_local_apic(gpa) {
            // Other widths are undefined (Intel SDM vol. 3 section 11.4.1); they give
            // the bytes of the register that they fall into.
            let value = self.apic.mmio_read(offset as u32 & !3, || self.partition.now());
            return u64::from(value) >> (8 * (offset & 3)) & width.mask();
        }
        if gpa.0 & !(PAGE - 1) == layout::IOAPIC.0 {
            let (value, needs_service) = self
                .partition
                .with_chipset(self.index, |chipset, effects, _| chipset.ioapic_read(offset as u32, effects));
            self.effects |= u8::from(needs_service);
            return u64::from(value) & width.mask();
        }
        let reply = self.partition.bus().memory_read(self.partition, gpa, width);
        match reply {
            Reply::Done(value) => value,
            Reply::Endpoint { number, offset } => {
                let (value, own) = self.partition.endpoint_read(self.index, number, offset, width);
                self.effects |= u8::from(own);
                value
            }
            Reply::Nothing => {
                self.unmapped = Some(gpa);
                width.mask()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 1000;

    #[test]
    fn what_is_never_emulated_ends_after_the_time() {
        let mut exits = Unemulated::default();
        let end = (5000..).step_by(10).find(|&now| exits.lasts(now, HZ));
        assert_eq!(end, Some(5000 + HZ / PATIENCES_PER_SECOND + 10));
    }

    #[test]
    fn exits_far_apart_are_not_in_a_row() {
        let mut exits = Unemulated::default();
        assert!((5000..50_000).step_by(21).all(|now| !exits.lasts(now, HZ)));
    }
}
