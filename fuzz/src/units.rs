//! What is asked of remapping units, whoever made them.

use crate::Input;
use crate::remapping::SharedFrames;
use access::RegisterWindow;
use access::clock::SteppingClock;
use iommu::{DomainId, Function, Iommu, Limits, RemappedInterrupt, Requester, UnitLimits, Units};
use spec::apic::DeliveryMode;
use spec::{Bdf, Gpa, Hpa};
use tables::Permissions;

/// What the units are made for. There are tags for a few batches of commands: with all of them
/// a unit that cannot flush everything at once would take a hundred times as long as any other.
pub const LIMITS: Limits = Limits {
    unit: UnitLimits { buses: 3, tags: 300, interrupts: 256, interrupt_sources: 4, x2apic: true },
    domains: 3,
    requesters: 4,
};
/// A command takes a second at most, so it is polled 20 times.
pub const POLL_NS: u64 = 50_000_000;
/// Calls of one run: some end by a time-out.
const MOST_CALLS: usize = 64;

/// A unit that can be made to say anything.
pub trait Disturb {
    /// Changes something that hardware writes.
    fn disturb(&self, input: &mut Input<'_>);
}

/// Calls whatever the input says.
pub fn run<R: RegisterWindow>(
    units: &mut Units<R, SharedFrames, SteppingClock>,
    hardware: [&dyn Disturb; 2],
    input: &mut Input<'_>,
) {
    for _ in 0..MOST_CALLS {
        if input.is_empty() {
            break;
        }
        step(units, hardware, input);
    }
}

fn requester(input: &mut Input<'_>) -> Requester {
    let ids = [Bdf::new(0, 2, 0), Bdf::new(0, 3, 0), Bdf::new(1, 0, 0), Bdf::new(2, 3, 1)];
    Requester::new(u16::from(input.u8() == 0xff), input.pick(&ids))
}

/// A range of up to 3 GiB, in units of which some are no multiple of a page.
fn range(input: &mut Input<'_>) -> (Gpa, u64) {
    let gpa = Gpa(u64::from(input.u8()) << input.pick(&[12, 21, 30, 11, 44, 56]));
    (gpa, u64::from(input.u8() & 3) << input.pick(&[12, 21, 30, 11]))
}

fn step<R: RegisterWindow>(
    units: &mut Units<R, SharedFrames, SteppingClock>,
    hardware: [&dyn Disturb; 2],
    input: &mut Input<'_>,
) {
    let domain = DomainId(u16::from(input.u8()) % 4);
    match input.u8() % 14 {
        0 => drop(units.create_domain(&[requester(input), requester(input)])),
        1 | 2 => {
            let (gpa, bytes) = range(input);
            let hpa = Hpa(u64::from(input.u32()) << 12);
            let _ = units.map(domain, gpa, hpa, bytes, Permissions::READ_WRITE);
        }
        3 => {
            let (gpa, bytes) = range(input);
            let _ = units.unmap(domain, gpa, bytes);
        }
        4 => drop(units.destroy_domain(domain)),
        5 => {
            let alias = [Bdf(input.u16())];
            let aliases = &alias[..usize::from(input.u8() & 1)];
            let _ = units.attach(Function::new(requester(input), aliases), domain);
        }
        6 => drop(units.detach(requester(input))),
        7 => {
            let requester = requester(input);
            let alias = [Bdf(input.u16())];
            let aliases = &alias[..usize::from(input.u8() & 1)];
            let _ = units.grant_interrupts(Function::new(requester, aliases), input.u16());
        }
        8 => drop(units.revoke_interrupts(requester(input))),
        9 | 10 => {
            let interrupt = RemappedInterrupt {
                vector: input.u8(),
                destination: input.u32(),
                mode: input.pick(&[DeliveryMode::Fixed, DeliveryMode::LowestPriority, DeliveryMode::Nmi]),
                level: input.u8() & 1 != 0,
            };
            let (requester, index) = (requester(input), input.u16() & 0x1ff);
            let _ = match input.u8() & 1 {
                0 => units.remap(requester, index, interrupt).map(drop),
                _ => units.remap_pin(requester, index, interrupt, true).map(drop),
            };
        }
        11 => drop(units.release(requester(input), input.u16() & 0x1ff)),
        12 => {
            hardware[usize::from(input.u8() & 1)].disturb(input);
            // There is an end to the faults, as their records are not for ever.
            for _ in 0..32 {
                let _ = units.next_fault();
            }
        }
        _ => drop(units.flush()),
    }
}
