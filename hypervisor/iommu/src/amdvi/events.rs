//! What an entry of a log says (sections 2.5 and 2.6).
//!
//! QEMU before 10.1 has events of its own ([`Features::qemu_events`]): device and
//! function without the bus; I set in every page fault, be it an interrupt or not; what
//! was asked for in bits 48 (read) and 49 (write), which are GN and NX elsewhere; and
//! nothing at all where the last level of the tables has no page.
//!
//! [`Features::qemu_events`]: super::features::Features::qemu_events

use crate::fault::Recorded;
use crate::{Fault, FaultKind, Requester};
use core::ops::Range;
use spec::Bdf;
use spec::amdvi::event::{self, codes, page_request};
use spec::apic::MESSAGES;

/// Where interrupts, messages of the system and configuration requests arrive on
/// HyperTransport.
const HYPERTRANSPORT: Range<u64> = 0xfd_0000_0000..0x100_0000_0000;

/// The fault that an event is about. `own` is the unit's own function: whose fault it
/// is where an event names nobody.
pub(crate) fn fault([low, high]: [u64; 2], unit: usize, own: Requester, qemu: bool) -> Recorded {
    let code = event::code(low);
    let named = event::has_requester(code);
    let source = if named { Requester::new(own.segment, Bdf(event::requester(low))) } else { own };
    let kind = if code == codes::PAGE_FAULT { page_fault(low, high, qemu) } else { FaultKind::Access };
    let address = if kind == FaultKind::Interrupt { high } else { high & !0xfff };
    let fault = Fault { unit, source, address, kind, reason: event::reason(low), code };
    Recorded { fault: Some(fault), without_bus: qemu && named, overflowed: false }
}

fn page_fault(low: u64, address: u64, qemu: bool) -> FaultKind {
    const ASKED_TO_READ: u64 = 1 << 48;
    const ASKED_TO_WRITE: u64 = 1 << 49;
    let has = |bit| low & bit != 0;
    let may_be_interrupt = !qemu || MESSAGES.contains(&address) || HYPERTRANSPORT.contains(&address);
    if has(event::INTERRUPT) && may_be_interrupt {
        FaultKind::Interrupt
    } else if qemu {
        match (has(ASKED_TO_READ), has(ASKED_TO_WRITE)) {
            (true, false) => FaultKind::Read,
            (_, true) => FaultKind::Write,
            (false, false) => FaultKind::Access,
        }
    } else {
        match (has(event::PRESENT), has(event::WRITE)) {
            (true, true) => FaultKind::Write,
            (true, false) => FaultKind::Read,
            // RW does not count.
            (false, _) => FaultKind::Access,
        }
    }
}

/// The fault that a page request is: nobody is to make any.
pub(crate) fn refused_page_request([low, high]: [u64; 2], unit: usize, segment: u16) -> Recorded {
    let source = Requester::new(segment, Bdf(event::requester(low)));
    let fault = Fault {
        unit,
        source,
        address: page_request::page(high),
        kind: FaultKind::Access,
        reason: "page requests are refused",
        code: event::code(low),
    };
    Recorded { fault: Some(fault), without_bus: false, overflowed: false }
}
