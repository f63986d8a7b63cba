//! Instructions that hardly any driver has, at a device: strings compared, the stack, shifts,
//! products.

use super::*;
use access::vcpu::RSP;

#[test]
fn strings_are_compared_while_the_prefix_and_the_count_say() {
    // repe cmpsd: the device reads as 0x44332211 everywhere.
    let mut machine = Machine::new(&[0xf3, 0xa7]);
    for index in 0..8 {
        let value = if index == 3 { 0x4433_2210 } else { 0x4433_2211 };
        machine.memory.write(Gpa(DATA + 4 * index), &u32::to_le_bytes(value)).unwrap();
    }
    machine.vcpu.registers[RSI] = DEVICE + 0x10;
    machine.vcpu.registers[RDI] = DATA;
    machine.vcpu.registers[RCX] = 8;
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!((machine.vcpu.registers[RCX], machine.vcpu.rip), (4, CODE + 2));
    assert_eq!(machine.vcpu.registers[RDI], DATA + 16);
    assert_eq!(machine.vcpu.registers[RSI], DEVICE + 0x20);
    assert_eq!(machine.vcpu.rflags & 0x8d5, 0, "the source is larger by one");
    assert_eq!(machine.bus.log.len(), 4, "and nothing is written");

    // All equal: the count ends it.
    let mut machine = Machine::new(&[0xf3, 0xa6]);
    machine.memory.write(Gpa(DATA), &[0x11; 3]).unwrap();
    (machine.vcpu.registers[RSI], machine.vcpu.registers[RDI]) = (DEVICE + 0x10, DATA);
    machine.vcpu.registers[RCX] = 3;
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!((machine.vcpu.registers[RCX], machine.vcpu.rip), (0, CODE + 2));
    assert_eq!(machine.vcpu.rflags & 0x40, 0x40);

    // repne scasb on a device that never has it: the exit's share, and then again.
    let mut machine = Machine::new(&[0xf2, 0xae]);
    machine.vcpu.registers[RDI] = DEVICE + 0x10;
    machine.vcpu.registers[RCX] = string::ELEMENTS_MAX + 1;
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!((machine.vcpu.registers[RCX], machine.vcpu.rip), (1, CODE));
    machine.vcpu.registers[RAX] = 0x11;
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!((machine.vcpu.registers[RCX], machine.vcpu.rip), (0, CODE + 2));
    assert_eq!(machine.vcpu.rflags & 0x40, 0x40, "found");

    // Without a count nothing is compared and no flag changes.
    let mut machine = Machine::new(&[0xf3, 0xaf]);
    machine.vcpu.rflags |= 0x8d5;
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!((machine.vcpu.rflags, machine.vcpu.rip), (2 | 0x8d5, CODE + 2));
    assert!(machine.bus.log.is_empty());
}

#[test]
fn operands_are_pushed_and_popped() {
    let stack = DATA + 0x800;
    // push qword [rbx]
    let mut machine = Machine::new(&[0xff, 0x33]);
    machine.vcpu.registers[RSP] = stack;
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!(machine.vcpu.registers[RSP], stack - 8);
    assert_eq!(machine.memory.read64(Gpa(stack - 8)), Ok(0x8877_6655_4433_2211));
    assert_eq!(machine.bus.log, [Read(DEVICE_GPA + 0x10, Width::Qword)]);

    // pop qword [rsp - 8]: the address counts from the new stack pointer.
    let mut machine = Machine::new(&[0x8f, 0x44, 0x24, 0xf8]);
    machine.vcpu.registers[RSP] = DEVICE + 0x10;
    machine.bus.reads_as = 5;
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!(machine.vcpu.registers[RSP], DEVICE + 0x18);
    let at = DEVICE_GPA + 0x10;
    assert_eq!(machine.bus.log, [Read(at, Width::Qword), Write(at, Width::Qword, 5)]);

    // pop word [rbx] in 16-bit code: SP wraps, the rest of ESP stays.
    let mut machine = Machine::new(&[0x8f, 0x07]);
    machine.vcpu = StillProcessor::real();
    machine.vcpu.segment_mut(SegmentName::Cs).base = CODE;
    machine.vcpu.segment_mut(SegmentName::Ds).base = 0xd000_0000;
    machine.vcpu.segment_mut(SegmentName::Ss).base = DATA;
    machine.vcpu.segment_mut(SegmentName::Ss).attributes = 0x93;
    (machine.vcpu.registers[RBX], machine.vcpu.registers[RSP]) = (0x10, 0x1234_fffe);
    machine.memory.write(Gpa(DATA + 0xfffe), &[0x34, 0x12]).unwrap();
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!(machine.bus.log, [Write(0xd000_0010, Width::Word, 0x1234)]);
    assert_eq!(machine.vcpu.registers[RSP], 0x1234_0000);

    // Neither place is the one that faulted, and a stack that is not there faults.
    let mut machine = Machine::new(&[0xff, 0x33]);
    machine.vcpu.registers[RSP] = stack;
    let before = machine.vcpu.clone();
    assert_eq!(machine.run_at(DEVICE_GPA + 0x1000), Outcome::Retry);
    assert_eq!(machine.vcpu, before);
    machine.memory.write64(leaf(DATA), 0).unwrap();
    assert_eq!(machine.run(), Outcome::Inject(Event::Exception { vector: 14, error: Some(2) }));
    assert_eq!(machine.vcpu.registers[RSP], stack);
    assert!(machine.bus.log.is_empty());
}

#[test]
fn operands_are_shifted_and_multiplied() {
    let at = DEVICE_GPA + 0x10;
    for (code, written) in [
        (&[0xd0u8, 0x23][..], 0x22), // shl byte [rbx], 1
        (&[0xc0, 0x2b, 0x04], 0x01), // shr byte [rbx], 4
        (&[0xd2, 0x03], 0x88),       // rol byte [rbx], cl
        (&[0xc0, 0x33, 0x21], 0x22), // the other shl: by 33, which is 1
    ] {
        let mut machine = Machine::new(code);
        machine.vcpu.registers[RCX] = 3;
        assert_eq!(machine.run(), Outcome::Done);
        assert_eq!(machine.bus.log, [Read(at, Width::Byte), Write(at, Width::Byte, written)], "{code:02x?}");
        assert_eq!(machine.vcpu.rip, CODE + code.len() as u64);
    }

    // mul dword [rbx]; imul eax, [rbx], -2; imul byte [rbx]
    let mut machine = Machine::new(&[0xf7, 0x23]);
    machine.vcpu.registers[RAX] = u64::MAX;
    assert_eq!(machine.run(), Outcome::Done);
    let product = 0xffff_ffff * 0x4433_2211u64;
    assert_eq!(machine.vcpu.registers[RAX], product & 0xffff_ffff);
    assert_eq!(machine.vcpu.registers[RDX], product >> 32);
    assert_eq!(machine.vcpu.rflags & 0x801, 0x801);
    assert_eq!(machine.bus.log, [Read(at, Width::Dword)]);

    let mut machine = Machine::new(&[0x6b, 0x03, 0xfe]);
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!(machine.vcpu.registers[RAX], 0x7799_bbde, "-0x88664422 in 32 bits");

    let mut machine = Machine::new(&[0xf6, 0x2b]);
    machine.vcpu.registers[RAX] = 0xaaaa_00ff;
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!(machine.vcpu.registers[RAX], 0xaaaa_ffef, "-1 times 0x11");
    assert_eq!(machine.vcpu.rflags & 0x801, 0);
}
