//! Fault recording (VT-d specification sections 7.3 and 11.4.7).

use super::capabilities::Capabilities;
use crate::fault::Recorded;
use crate::{Fault, FaultKind, Requester};
use access::RegisterWindow;
use spec::Bdf;
use spec::apic::MESSAGE_ADDRESS;
use spec::vtd::{
    FAULT_INTERRUPT_MASK, FaultStatus, capability, fault_reason, fault_record as record, is_interrupt_fault,
    register,
};

/// Has the unit send `vector` to the processor `apic_id` when it records a fault. The
/// message is not itself remapped (section 7.3).
pub(crate) fn set_interrupt(registers: &impl RegisterWindow, vector: u8, apic_id: u32) {
    registers.write32(register::FAULT_DATA, vector.into());
    registers.write32(register::FAULT_ADDRESS, MESSAGE_ADDRESS as u32 | (apic_id & 0xff) << 12);
    registers.write32(register::FAULT_UPPER_ADDRESS, apic_id & !0xff);
    registers.write32(register::FAULT_CONTROL, 0);
}

/// Has the unit record faults silently.
pub(crate) fn mask_interrupt(registers: &impl RegisterWindow) {
    registers.write32(register::FAULT_CONTROL, FAULT_INTERRUPT_MASK);
}

/// The fault status register.
pub(super) fn fault_status(registers: &impl RegisterWindow) -> FaultStatus {
    FaultStatus::from_bits_retain(registers.read32(register::FAULT_STATUS))
}

/// Takes the oldest recorded fault and makes its register free again.
pub(crate) fn take(
    registers: &impl RegisterWindow,
    capabilities: Capabilities,
    unit: usize,
    segment: u16,
) -> Recorded {
    let status = fault_status(registers);
    let fault = status
        .contains(FaultStatus::PENDING)
        .then(|| take_record(registers, capabilities, unit, segment, status.first_record()))
        .flatten();
    // The unit records nothing more while the overflow bit is set, so this comes
    // after a register was freed.
    let overflowed = status.contains(FaultStatus::OVERFLOW);
    if overflowed {
        registers.write32(register::FAULT_STATUS, FaultStatus::OVERFLOW.bits());
    }
    Recorded { fault, overflowed, without_bus: false }
}

/// Reads and frees the record at `first`, or the next one that holds a fault.
fn take_record(
    registers: &impl RegisterWindow,
    capabilities: Capabilities,
    unit: usize,
    segment: u16,
    first: usize,
) -> Option<Fault> {
    let records = capability::fault_records(capabilities.cap);
    let (at, high) = (0..records).find_map(|step| {
        let index = (first + step) % records;
        let at = capability::fault_records_offset(capabilities.cap) + index * record::BYTES;
        let high = registers.read64(at + 8);
        (high & record::VALID_HIGH != 0).then_some((at, high))
    })?;
    let low = registers.read64(at);
    registers.write32(at + record::VALID_OFFSET, record::VALID);
    let code = record::reason(high);
    let (kind, address) = if is_interrupt_fault(code) {
        (FaultKind::Interrupt, u64::from(record::interrupt_index(low)))
    } else {
        let kind = match (high & record::TYPE_1 != 0, high & record::TYPE_2 != 0) {
            (false, _) => FaultKind::Write,
            (true, false) => FaultKind::Read,
            (true, true) => FaultKind::Atomic,
        };
        (kind, record::page(low))
    };
    let source = Requester::new(segment, Bdf(record::source(high)));
    Some(Fault { unit, source, address, kind, reason: fault_reason(code), code })
}
