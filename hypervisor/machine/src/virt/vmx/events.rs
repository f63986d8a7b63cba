//! Events: what is delivered at an entry, and what an exit interrupted (Intel SDM vol. 3
//! sections 24.8.3, 24.9.3, 27.2.4).

use access::vcpu::Event;
use spec::vmx::event::{
    EXCEPTION, EXTERNAL, HAS_ERROR, KIND, KIND_SHIFT, NMI, PRIVILEGED_EXCEPTION, SOFTWARE_EXCEPTION,
    SOFTWARE_INTERRUPT, VALID, VECTOR,
};
use spec::vmx::exit;

/// An event in a VMCS's layout, with its error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    /// Kind, vector, and whether there is an error code.
    pub info: u32,
    /// The error code.
    pub error: u32,
}

impl Injection {
    /// `event`, for a guest that is in protected mode or not: outside of it no exception
    /// has an error code, and entries that say otherwise fail (section 26.2.1.3).
    pub fn of(event: Event, protected: bool) -> Self {
        let kind = |kind: u32, vector: u8| VALID | kind << KIND_SHIFT | vector as u32;
        match event {
            Event::Interrupt(vector) => Self { info: VALID | vector as u32, error: 0 },
            Event::Nmi => Self { info: kind(NMI, 2), error: 0 },
            Event::Exception { vector, error: Some(error) } if protected => {
                Self { info: kind(EXCEPTION, vector) | HAS_ERROR, error }
            }
            Event::Exception { vector, .. } => Self { info: kind(EXCEPTION, vector), error: 0 },
        }
    }

    /// The event that it is; `None` for one that software caused, which is none of ours.
    pub fn event(self) -> Option<Event> {
        let vector = self.info as u8;
        let error = (self.info & HAS_ERROR != 0).then_some(self.error);
        match self.info >> KIND_SHIFT & KIND {
            EXTERNAL => Some(Event::Interrupt(vector)),
            NMI => Some(Event::Nmi),
            EXCEPTION => Some(Event::Exception { vector, error }),
            _ => None,
        }
    }

    /// What has to be delivered again, given the IDT-vectoring information of an exit.
    /// INT n, INT1, INT3 and INTO are not: RIP still points at the instruction, which
    /// simply runs again.
    pub const fn again(info: u32, error: u32) -> Option<Self> {
        if info & VALID == 0 {
            return None;
        }
        match info >> KIND_SHIFT & KIND {
            SOFTWARE_INTERRUPT | PRIVILEGED_EXCEPTION | SOFTWARE_EXCEPTION => None,
            _ => {
                // Bit 12 and those above mean something else, or nothing, at an entry.
                let info = info & (VALID | HAS_ERROR | KIND << KIND_SHIFT | VECTOR);
                Some(Self { info, error: if info & HAS_ERROR != 0 { error } else { 0 } })
            }
        }
    }

    /// Whether it is an NMI.
    pub const fn is_nmi(self) -> bool {
        self.info >> KIND_SHIFT & KIND == NMI
    }
}

/// Whether an exit for `reason` can have interrupted the delivery of an event. For the
/// others the IDT-vectoring information is not worth a read.
#[inline]
pub const fn can_interrupt_delivery(reason: u32) -> bool {
    matches!(
        reason & exit::BASIC,
        exit::EXCEPTION
            | exit::TASK_SWITCH
            | exit::APIC_ACCESS
            | exit::EPT_VIOLATION
            | exit::EPT_MISCONFIGURATION
            | exit::LOG_FULL
    )
}

/// Whether the guest's blocking of NMIs must be put back before it goes on: an IRET had
/// just ended it when it faulted, and will run again (section 31.7.1.2). `unblocked` is
/// what the exit says of that; it says nothing for a double fault or where the exit
/// interrupted a delivery.
pub const fn blocks_nmis_again(unblocked: bool, vector: Option<u8>, delivery: u32) -> bool {
    unblocked && delivery & VALID == 0 && !matches!(vector, Some(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(event: Event, protected: bool) -> (u32, u32) {
        let Injection { info, error } = Injection::of(event, protected);
        (info, error)
    }

    #[test]
    fn events_are_encoded_as_table_24_16_says() {
        assert_eq!(info(Event::Interrupt(0x31), true), (0x8000_0031, 0));
        assert_eq!(info(Event::Nmi, true), (0x8000_0202, 0));
        assert_eq!(info(Event::UNDEFINED, true), (0x8000_0306, 0));
        assert_eq!(info(Event::PROTECTION, true), (0x8000_0b0d, 0));
        let page_fault = Event::Exception { vector: 14, error: Some(7) };
        assert_eq!(info(page_fault, true), (0x8000_0b0e, 7));
    }

    #[test]
    fn real_mode_has_no_error_codes() {
        assert_eq!(info(Event::PROTECTION, false), (0x8000_030d, 0));
    }

    #[test]
    fn interrupted_events_return_but_instructions_run_again() {
        let again = |info, error| Injection::again(info, error).map(|event| (event.info, event.error));
        assert_eq!(again(0, 0), None);
        assert_eq!(again(0x31, 0), None, "not valid");
        assert_eq!(again(0x8000_0031, 9), Some((0x8000_0031, 0)));
        assert_eq!(again(0x8000_0202, 0), Some((0x8000_0202, 0)));
        assert_eq!(again(0x8000_0480, 0), None, "INT 0x80");
        assert_eq!(again(0x8000_0501, 0), None, "INT1");
        assert_eq!(again(0x8000_0603, 0), None, "INT3");
        assert_eq!(again(0x8000_0b0e, 5), Some((0x8000_0b0e, 5)));
        assert_eq!(again(0x8000_1b0e, 5), Some((0x8000_0b0e, 5)), "bit 12 is not for entries");
        assert!(Injection::again(0x8000_0202, 0).unwrap().is_nmi());
        assert!(!Injection::of(Event::Interrupt(2), true).is_nmi());
    }

    #[test]
    fn exits_of_instructions_interrupt_no_delivery() {
        for reason in [exit::CPUID, exit::HLT, exit::PORT, exit::RDMSR, exit::WRMSR, exit::INTERRUPT_WINDOW] {
            assert!(!can_interrupt_delivery(reason));
        }
        assert!(can_interrupt_delivery(exit::EPT_VIOLATION));
        assert!(can_interrupt_delivery(exit::EXCEPTION));
        assert!(can_interrupt_delivery(exit::TASK_SWITCH));
    }

    #[test]
    fn an_iret_that_faulted_blocks_nmis_again() {
        assert!(blocks_nmis_again(true, Some(14), 0));
        assert!(blocks_nmis_again(true, None, 0));
        assert!(!blocks_nmis_again(false, None, 0));
        assert!(!blocks_nmis_again(true, Some(8), 0), "undefined for a double fault");
        assert!(!blocks_nmis_again(true, None, VALID | 0x31), "undefined during a delivery");
    }
}
