//! VMCALL and VMMCALL: calls of KVM's interface (Documentation/virt/kvm/x86/hypercalls.rst),
//! since that is whose name CPUID gives. There is one: interrupts to many processors.

use super::advance;
use crate::host::Host;
use crate::partition::Partition;
use crate::processor::VirtualProcessor;
use access::vcpu::{RAX, RBX, RCX, RDX, RSI, Vcpu};
use emulator::decode::Known;
use spec::apic::{DeliveryMode, Destination, FIRST_LEGAL_VECTOR, InterruptMessage};

/// KVM_HC_SEND_IPI.
const SEND_INTERRUPT: u64 = 10;

/// Negative answers.
const NO_SUCH_CALL: i64 = -1000;
const NOT_PERMITTED: i64 = -1;
const INVALID: i64 = -22;

/// Does what the guest calls for.
#[inline(never)]
pub fn handle<V: Vcpu, H: Host>(vp: &mut VirtualProcessor<V>, partition: &Partition<H>) {
    if !advance(vp, partition, Known::Hypercall) {
        return;
    }
    let answer = match vp.cpu.register(RAX) {
        SEND_INTERRUPT => send_interrupt(vp, partition),
        _ => NO_SUCH_CALL,
    };
    vp.cpu.set_register(RAX, answer as u64);
}

/// The interrupt command in RSI (what ICR's low half would be) to those processors of the guest
/// whose APIC ID less RDX is a bit in RCX:RBX. Answers to how many it went.
#[inline(never)]
fn send_interrupt<V: Vcpu, H: Host>(vp: &mut VirtualProcessor<V>, partition: &Partition<H>) -> i64 {
    if vp.cpu.privilege_level() != 0 {
        return NOT_PERMITTED;
    }
    let command = vp.cpu.register(RSI);
    let vector = command as u8;
    let mode = match DeliveryMode::from_bits((command >> 8) as u8) {
        Some(DeliveryMode::Fixed) if vector >= FIRST_LEGAL_VECTOR => DeliveryMode::Fixed,
        Some(DeliveryMode::Nmi) => DeliveryMode::Nmi,
        _ => return INVALID,
    };
    let (low, high) = (vp.cpu.register(RBX), vp.cpu.register(RCX));
    let wanted = u128::from(high) << 64 | u128::from(low);
    let first = vp.cpu.register(RDX);
    let mut sent = 0;
    // What lies beyond the guest's own processors is nobody.
    for id in 0..partition.mailboxes.len() as u64 {
        let Some(bit) = id.checked_sub(first).filter(|bit| *bit < 128) else { continue };
        if wanted >> bit & 1 == 0 {
            continue;
        }
        let destination = Destination::Physical(id as u32);
        let message = InterruptMessage { destination, mode, vector, level: false };
        vp.needs_service |= partition.route(vp.index, message);
        sent += 1;
    }
    sent
}
