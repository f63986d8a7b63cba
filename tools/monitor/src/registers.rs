//! The registers of a processor on its way to KVM: what a start image sets.

use access::vcpu::{ControlRegisters, ProcessorState, Segment, SegmentName};
use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};

/// Registers of a processor that does not run, as KVM takes them.
#[derive(Clone, Copy, Default)]
pub struct Registers {
    /// General registers, RIP and flags.
    pub general: kvm_regs,
    /// Everything that the system is made of.
    pub system: kvm_sregs,
}

impl Registers {
    fn place(&mut self, index: usize) -> &mut u64 {
        let general = &mut self.general;
        match index {
            0 => &mut general.rax,
            1 => &mut general.rcx,
            2 => &mut general.rdx,
            3 => &mut general.rbx,
            4 => &mut general.rsp,
            5 => &mut general.rbp,
            6 => &mut general.rsi,
            7 => &mut general.rdi,
            8 => &mut general.r8,
            9 => &mut general.r9,
            10 => &mut general.r10,
            11 => &mut general.r11,
            12 => &mut general.r12,
            13 => &mut general.r13,
            14 => &mut general.r14,
            _ => &mut general.r15,
        }
    }

    fn segment_place(&mut self, name: SegmentName) -> &mut kvm_segment {
        let system = &mut self.system;
        match name {
            SegmentName::Es => &mut system.es,
            SegmentName::Cs => &mut system.cs,
            SegmentName::Ss => &mut system.ss,
            SegmentName::Ds => &mut system.ds,
            SegmentName::Fs => &mut system.fs,
            SegmentName::Gs => &mut system.gs,
            SegmentName::Ldtr => &mut system.ldt,
            SegmentName::Tr => &mut system.tr,
        }
    }
}

/// The bit of joined attributes with this number.
const fn bit(attributes: u16, number: u16) -> u8 {
    (attributes >> number & 1) as u8
}

fn to_kvm(segment: Segment) -> kvm_segment {
    let Segment { selector, attributes, limit, base } = segment;
    kvm_segment {
        base,
        limit,
        selector,
        type_: attributes as u8 & 0xf,
        present: bit(attributes, 7),
        dpl: (attributes >> 5) as u8 & 3,
        db: bit(attributes, 10),
        s: bit(attributes, 4),
        l: bit(attributes, 9),
        g: bit(attributes, 11),
        avl: bit(attributes, 8),
        unusable: u8::from(attributes == 0),
        padding: 0,
    }
}

fn of_kvm(segment: kvm_segment) -> Segment {
    let bits = [
        (segment.type_, 0),
        (segment.s, 4),
        (segment.dpl, 5),
        (segment.present, 7),
        (segment.avl, 8),
        (segment.l, 9),
        (segment.db, 10),
        (segment.g, 11),
    ];
    let attributes = bits.into_iter().fold(0, |all, (value, shift)| all | u16::from(value) << shift);
    Segment { selector: segment.selector, attributes, limit: segment.limit, base: segment.base }
}

impl ProcessorState for Registers {
    fn register(&self, index: usize) -> u64 {
        *self.clone().place(index)
    }
    fn set_register(&mut self, index: usize, value: u64) {
        *self.place(index) = value;
    }
    fn rip(&self) -> u64 {
        self.general.rip
    }
    fn set_rip(&mut self, value: u64) {
        self.general.rip = value;
    }
    fn rflags(&self) -> u64 {
        self.general.rflags
    }
    fn set_rflags(&mut self, value: u64) {
        self.general.rflags = value;
    }
    fn control(&self) -> ControlRegisters {
        let kvm_sregs { cr0, cr2, cr3, cr4, efer, .. } = self.system;
        ControlRegisters { cr0, cr2, cr3, cr4, efer }
    }
    fn set_control(&mut self, control: ControlRegisters) {
        let ControlRegisters { cr0, cr2, cr3, cr4, efer } = control;
        self.system = kvm_sregs { cr0, cr2, cr3, cr4, efer, ..self.system };
    }
    fn segment(&self, name: SegmentName) -> Segment {
        of_kvm(*self.clone().segment_place(name))
    }
    fn set_segment(&mut self, name: SegmentName, segment: Segment) {
        *self.segment_place(name) = to_kvm(segment);
    }
    fn global_table(&self) -> (u64, u16) {
        (self.system.gdt.base, self.system.gdt.limit)
    }
    fn set_descriptor_table(&mut self, interrupt: bool, base: u64, limit: u16) {
        let table = if interrupt { &mut self.system.idt } else { &mut self.system.gdt };
        *table = kvm_dtable { base, limit, ..Default::default() };
    }
    fn privilege_level(&self) -> u8 {
        self.system.ss.dpl
    }
    // What follows is for a processor that has run.
    fn read_msr(&self, _: u32) -> Option<u64> {
        None
    }
    fn write_msr(&mut self, _: u32, _: u64) -> bool {
        false
    }
    fn set_xcr0(&mut self, _: u64) {}
    fn clear_interrupt_shadow(&mut self) {}
    fn next_rip(&self) -> Option<u64> {
        None
    }
    fn fetched_bytes(&self) -> &[u8] {
        &[]
    }
    fn is_delivering(&self) -> bool {
        false
    }
    fn take_interrupted(&mut self) -> Option<u32> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_register_has_a_place_of_its_own() {
        let mut registers = Registers::default();
        (0..16).for_each(|index| registers.set_register(index, 100 + index as u64));
        assert!((0..16).all(|index| registers.register(index) == 100 + index as u64));
        assert_eq!((registers.general.rsp, registers.general.r15), (104, 115));
    }

    #[test]
    fn a_segment_is_the_same_in_both_layouts() {
        let mut registers = Registers::default();
        for (place, attributes) in (0..).zip([0xc9b, 0xa9b, 0xc93, 0x8b, 0x0f3, 0]) {
            let name = SegmentName::ALL[place];
            let segment = Segment { selector: 8, attributes, limit: 0xfffff, base: 0x1000 };
            registers.set_segment(name, segment);
            assert_eq!(registers.segment(name), segment);
        }
        let code = registers.system.cs;
        assert_eq!((code.l, code.db, code.g, code.type_, code.present), (1, 0, 1, 0xb, 1));
        assert_eq!(registers.system.gs.unusable, 1);
    }
}
