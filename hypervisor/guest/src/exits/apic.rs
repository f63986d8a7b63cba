//! What a local APIC register write causes.

use crate::host::Host;
use crate::partition::Partition;
use crate::processor::VirtualProcessor;
use access::vcpu::Vcpu;
use devices::{ApicEffect, LocalApic};

/// Does what the local APIC of vCPU `index` asks for after a write. Returns whether
/// the vCPU has to look at its interrupts and timers.
pub fn apply<H: Host>(partition: &Partition<H>, index: usize, apic: &LocalApic, effect: ApicEffect) -> bool {
    match effect {
        ApicEffect::None => false,
        ApicEffect::Changed => {
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
            // What was held back by the interrupt in service may come now.
            level || apic.has_pending()
        }
        ApicEffect::TimerChanged => true,
    }
}

/// The guest ends the level-triggered interrupt `vector` of the APIC that its processor
/// keeps.
pub fn end_kept<V: Vcpu, H: Host>(vp: &mut VirtualProcessor<V>, partition: &Partition<H>, vector: u8) {
    vp.cpu.end_kept(vector);
    let effect = ApicEffect::EndOfInterrupt { vector, level: vp.apic.broadcasts_ends() };
    vp.needs_service |= apply(partition, vp.index, &vp.apic, effect);
}

/// The guest wrote something to the APIC that its processor keeps which that does not do
/// itself. The register is one whose writes are not refused any more.
pub fn write_kept<V: Vcpu, H: Host>(vp: &mut VirtualProcessor<V>, partition: &Partition<H>, register: u8) {
    let value = vp.cpu.kept_write(register);
    if let Ok(effect) = vp.apic.write(register, value, || partition.now()) {
        vp.needs_service |= apply(partition, vp.index, &vp.apic, effect);
    }
}
