//! PV EOI: the end of an interrupt without an exit.
//!
//! A guest that knows the interface (Linux does; it is in the documentation of KVM)
//! gives the address of a word for each processor. When an interrupt is injected whose
//! end concerns nobody else, bit 0 of that word is set; the guest ends the interrupt by
//! clearing it instead of writing to its local APIC. At the next exit the hypervisor
//! looks: cleared means ended. Still set, it is taken back, and the guest will write the
//! register after all.
//!
//! What the guest writes there decides about its own local APIC alone.

use access::GuestMemory;
use devices::LocalApic;
use spec::Gpa;

const ENABLED: u64 = 1;
/// The word is aligned to 4 bytes.
const RESERVED: u64 = 2;
const MAY_END: u8 = 1;

/// One processor's word.
#[derive(Default)]
pub struct PvEoi {
    register: u64,
    offered: bool,
}

impl PvEoi {
    /// The register as the guest wrote it.
    pub fn register(&self) -> u64 {
        self.register
    }

    /// Writes the register; false (#GP) for a reserved bit.
    pub fn set_register(&mut self, value: u64) -> bool {
        if value & RESERVED != 0 {
            return false;
        }
        self.register = value;
        true
    }

    fn word(&self) -> Gpa {
        Gpa(self.register & !(ENABLED | RESERVED))
    }

    /// `vector` is about to be injected: lets the guest end it by itself, if it can.
    #[inline]
    pub fn offer<M: GuestMemory>(&mut self, memory: &M, apic: &LocalApic, vector: u8) {
        if self.register & ENABLED != 0 && apic.can_leave_eoi_to_guest(vector) {
            // Outside memory nothing is offered, which is what the guest asked for.
            self.offered = memory.write(self.word(), &[MAY_END]).is_ok();
        }
    }

    /// Whether [`PvEoi::settle`] has something to do.
    #[inline]
    pub fn is_offered(&self) -> bool {
        self.offered
    }

    /// After an exit: ends the interrupt if the guest has, else takes the offer back.
    #[inline(never)]
    pub fn settle<M: GuestMemory>(&mut self, memory: &M, apic: &mut LocalApic) {
        self.offered = false;
        let mut word = [0];
        if memory.read(self.word(), &mut word).is_err() {
            return;
        }
        if word[0] & MAY_END == 0 {
            // Its level-triggered kin are never offered, so no IOAPIC hears of it.
            let _ = apic.end_of_interrupt();
        } else {
            let _ = memory.write(self.word(), &[word[0] & !MAY_END]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use access::memory::VecMemory;

    fn in_service(vector: u8, level: bool) -> LocalApic {
        let mut apic = LocalApic::new(0, true);
        apic.set_base(apic.base() | 0xc00).unwrap();
        let _ = apic.write(0x0f, 0x1ff, 0).unwrap();
        apic.accept(vector, level);
        apic.acknowledge(vector);
        apic
    }

    fn enabled() -> PvEoi {
        let mut end = PvEoi::default();
        assert!(end.set_register(0x101));
        end
    }

    fn is_in_service(apic: &mut LocalApic, vector: u8) -> bool {
        apic.read(0x10 + (vector >> 5), 0).unwrap() & 1 << (vector & 31) != 0
    }

    #[test]
    fn what_the_guest_ended_is_ended() {
        let (memory, mut apic, mut end) = (VecMemory::new(0x200), in_service(0x31, false), enabled());
        end.offer(&memory, &apic, 0x31);
        assert_eq!(memory.read32(Gpa(0x100)), Ok(1));
        memory.write32(Gpa(0x100), 0).unwrap();
        end.settle(&memory, &mut apic);
        assert!(!is_in_service(&mut apic, 0x31) && !end.is_offered());
    }

    #[test]
    fn what_it_did_not_end_is_taken_back() {
        let (memory, mut apic, mut end) = (VecMemory::new(0x200), in_service(0x31, false), enabled());
        end.offer(&memory, &apic, 0x31);
        end.settle(&memory, &mut apic);
        assert!(is_in_service(&mut apic, 0x31));
        assert_eq!(memory.read32(Gpa(0x100)), Ok(0), "so the guest writes the register");
    }

    #[test]
    fn an_end_that_concerns_others_is_not_offered() {
        let memory = VecMemory::new(0x200);
        let mut end = enabled();
        end.offer(&memory, &in_service(0x31, true), 0x31);
        assert!(!end.is_offered(), "level-triggered");
        let mut more = in_service(0x31, false);
        more.accept(0x22, false);
        end.offer(&memory, &more, 0x31);
        assert!(!end.is_offered(), "another one waits for the end");
        PvEoi::default().offer(&memory, &in_service(0x31, false), 0x31);
        assert_eq!(memory.read32(Gpa(0x100)), Ok(0), "not asked for");
    }

    #[test]
    fn a_word_outside_memory_is_no_offer() {
        let mut end = PvEoi::default();
        assert!(!end.set_register(0x103));
        assert!(end.set_register(0xffff_ffff_ffff_fff1));
        end.offer(&VecMemory::new(0x200), &in_service(0x31, false), 0x31);
        assert!(!end.is_offered());
    }
}
