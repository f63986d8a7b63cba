//! What a local APIC register write causes.

use crate::host::Host;
use crate::partition::Partition;
use devices::{ApicEffect, LocalApic};

/// Does what the local APIC of vCPU `index` asks for after a write. Returns whether
/// the vCPU has to look at its interrupts and timers.
pub fn apply<H: Host>(partition: &Partition<H>, index: usize, apic: &LocalApic, effect: ApicEffect) -> bool {
    match effect {
        ApicEffect::None => {
            // Any write may have changed what others see of this APIC.
            if let Some(mailbox) = partition.mailboxes.get(index) {
                mailbox.set_address(apic.address().to_bits());
            }
            true
        }
        ApicEffect::Send(message) => partition.route(index, message),
        ApicEffect::EndOfInterrupt { vector, level } => {
            if level {
                partition
                    .with_chipset(index, |chipset, effects, _| chipset.end_of_interrupt(vector, effects));
            }
            true
        }
        ApicEffect::TimerChanged => true,
    }
}
