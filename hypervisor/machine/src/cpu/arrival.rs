//! What came through a gate of the vectors of exceptions: the exception, or an interrupt that
//! a guest left pending in the local APIC with that vector.
//!
//! Nothing here touches hardware.
#![cfg_attr(not(target_os = "none"), allow(dead_code))]

/// What is known of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Which gate.
    pub vector: u8,
    /// The exception of this number pushes an error code, and there is none.
    pub without_code: bool,
    /// It came at an instruction where the hypervisor lets interrupts in.
    pub in_window: bool,
}

/// What it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The hypervisor's own exception.
    Exception,
    /// An interrupt, which has to be ended.
    Interrupt,
    /// An interrupt that nobody has to end (Intel SDM vol. 3 section 12.9).
    Spurious,
}

/// The machine check: the one exception that can come at any instruction.
const MACHINE_CHECK: u8 = 18;
/// Vectors that no local APIC takes (section 12.5.2).
const ILLEGAL_END: u8 = 16;

/// Whether the exception of this number pushes an error code (Intel SDM vol. 3 table 7-1, AMD
/// APM vol. 2 section 8.1).
const fn has_code(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30)
}

impl Arrival {
    /// Classifies it; `in_service` says of a vector whether the local APIC has it in service.
    ///
    /// Where the exception has an error code, the stack tells which of both it is. Elsewhere
    /// it is an interrupt only where interrupts are let in, and there no instruction raises
    /// an exception; but a machine check comes anywhere, and so do, on an emulator, vectors
    /// that hardware refuses: those are interrupts only if they are in service.
    pub fn classify(self, in_service: impl Fn(u8) -> bool) -> Kind {
        let Self { vector, without_code, in_window } = self;
        let possible =
            if has_code(vector) { without_code } else { in_window || vector == super::interrupts::SPURIOUS };
        if !possible {
            return Kind::Exception;
        }
        match in_service(vector) {
            true => Kind::Interrupt,
            // A guest may have had this as the vector of its spurious interrupts.
            false if has_code(vector) || vector >= ILLEGAL_END && vector != MACHINE_CHECK => Kind::Spurious,
            false => Kind::Exception,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify(vector: u8, without_code: bool, in_window: bool, in_service: bool) -> Kind {
        Arrival { vector, without_code, in_window }.classify(|asked| {
            assert_eq!(asked, vector);
            in_service
        })
    }

    #[test]
    fn whatever_is_pending_when_interrupts_are_let_in_is_ended() {
        for vector in 16..32 {
            let kind = classify(vector, has_code(vector), true, true);
            assert_eq!(kind, Kind::Interrupt, "{vector}");
        }
    }

    #[test]
    fn elsewhere_they_are_the_hypervisors_own_exceptions() {
        for vector in (0..31).filter(|vector| *vector != 2) {
            // What the guest whose exit is handled has in service says nothing.
            for in_service in [false, true] {
                assert_eq!(classify(vector, false, false, in_service), Kind::Exception, "{vector}");
            }
        }
    }

    #[test]
    fn an_error_code_is_an_exceptions_wherever_it_comes() {
        for vector in (0..32).filter(|vector| has_code(*vector)) {
            for (in_window, in_service) in [(false, false), (false, true), (true, false), (true, true)] {
                assert_eq!(classify(vector, false, in_window, in_service), Kind::Exception, "{vector}");
                let end = if in_service { Kind::Interrupt } else { Kind::Spurious };
                assert_eq!(classify(vector, true, in_window, in_service), end, "{vector}");
            }
        }
    }

    #[test]
    fn a_machine_check_is_told_from_the_interrupt_of_its_number() {
        assert_eq!(classify(18, false, true, false), Kind::Exception);
        assert_eq!(classify(18, false, true, true), Kind::Interrupt);
        assert_eq!(classify(18, false, false, true), Kind::Exception, "the guest's handler was running");
    }

    #[test]
    fn spurious_interrupts_are_not_ended_and_real_ones_with_their_vector_are() {
        for in_window in [false, true] {
            assert_eq!(classify(31, false, in_window, false), Kind::Spurious);
            assert_eq!(classify(31, false, in_window, true), Kind::Interrupt);
        }
    }
}
