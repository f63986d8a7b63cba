mod forms;
mod port;

use super::outcome::SINGLE_STEP;
use super::*;
use crate::testing::{BusAccess, RecordingBus, fault};
use access::GuestMemory;
use access::fake_processor::StillProcessor;
use access::memory::VecMemory;
use access::vcpu::{Event, NestedAccess, PortAccess, RAX, RBX, RCX, RDI, RDX, RSI, SegmentName};
use alloc::vec::Vec;
use spec::processor::{CR0_WP, CR4_SMAP, RFLAGS_AC};
use spec::{Gpa, Width};

/// Page tables for the tests in 64-bit mode: 4 MiB one to one in 4 KiB pages at the
/// bottom, and from 0x40_0000 on a device at gpa 0xd000_0000.
const TABLES: u64 = 0x1000;
const LEAVES: u64 = 0x10_000;
const CODE: u64 = 0x8000;
const DATA: u64 = 0x20_000;
const DEVICE: u64 = 0x40_0000;
const DEVICE_GPA: u64 = 0xd000_0000;
const PRESENT_WRITABLE_USER: u64 = 7;
const ACCESSED_DIRTY: u64 = 0x60;

fn memory() -> VecMemory {
    let memory = VecMemory::new(4 << 20);
    let put = |at, value| memory.write64(Gpa(at), value).unwrap();
    put(TABLES, (TABLES + 0x1000) | PRESENT_WRITABLE_USER);
    put(TABLES + 0x1000, (TABLES + 0x2000) | PRESENT_WRITABLE_USER);
    for table in 0..3 {
        let leaves = LEAVES + table * 0x1000;
        put(TABLES + 0x2000 + 8 * table, leaves | PRESENT_WRITABLE_USER);
        for page in 0..512 {
            let gpa = if table == 2 { DEVICE_GPA + (page << 12) } else { (table << 21) + (page << 12) };
            put(leaves + 8 * page, gpa | PRESENT_WRITABLE_USER | ACCESSED_DIRTY);
        }
    }
    memory
}

/// The leaf entry of a page below 6 MiB.
fn leaf(linear: u64) -> Gpa {
    Gpa(LEAVES + (linear >> 12) * 8)
}

struct Machine {
    vcpu: StillProcessor,
    memory: VecMemory,
    bus: RecordingBus,
}

impl Machine {
    fn new(code: &[u8]) -> Self {
        let mut vcpu = StillProcessor::long(TABLES);
        vcpu.rip = CODE;
        vcpu.registers[RBX] = DEVICE + 0x10;
        let memory = memory();
        memory.write(Gpa(CODE), code).unwrap();
        Self { vcpu, memory, bus: RecordingBus { reads_as: 0x8877_6655_4433_2211, ..Default::default() } }
    }

    fn run_at(&mut self, gpa: u64) -> Outcome {
        memory_access(
            &mut self.vcpu,
            &self.memory,
            &mut self.bus,
            &mut Recent::default(),
            Gpa(gpa),
            NestedAccess::Read,
        )
    }

    fn run(&mut self) -> Outcome {
        self.run_at(DEVICE_GPA + 0x10)
    }
}

use BusAccess::{Read, Write};

#[test]
fn stores_reach_the_bus_in_their_width() {
    for (code, width) in [
        (&[0x88u8, 0x03][..], Width::Byte),
        (&[0x66, 0x89, 0x03], Width::Word),
        (&[0x89, 0x03], Width::Dword),
        (&[0x48, 0x89, 0x03], Width::Qword),
    ] {
        let mut machine = Machine::new(code);
        machine.vcpu.registers[RAX] = 0x1122_3344_5566_7788;
        assert_eq!(machine.run(), Outcome::Done);
        let value = 0x1122_3344_5566_7788 & width.mask();
        assert_eq!(machine.bus.log, [Write(DEVICE_GPA + 0x10, width, value)]);
        assert_eq!(machine.vcpu.rip, CODE + code.len() as u64);
        assert!(!machine.vcpu.shadow, "the interrupt shadow ends");
        assert_eq!(machine.vcpu.rflags, 2);
    }
}

#[test]
fn loads_extend_as_the_instruction_says() {
    for (code, value) in [
        (&[0x8au8, 0x03][..], 0xffff_ffff_ffff_ff81),
        (&[0x8a, 0x23], 0xffff_ffff_ffff_81ff),
        (&[0x66, 0x8b, 0x03], 0xffff_ffff_ffff_8281),
        (&[0x8b, 0x03], 0x8483_8281),
        (&[0x48, 0x8b, 0x03], 0x8887_8685_8483_8281),
        (&[0x0f, 0xb6, 0x03], 0x81),
        (&[0x48, 0x0f, 0xbe, 0x03], 0xffff_ffff_ffff_ff81),
        (&[0x66, 0x0f, 0xbe, 0x03], 0xffff_ffff_ffff_ff81),
        (&[0x0f, 0xb7, 0x03], 0x8281),
        (&[0x0f, 0xbf, 0x03], 0xffff_8281),
        (&[0x48, 0x63, 0x03], 0xffff_ffff_8483_8281),
        (&[0x0f, 0x38, 0xf0, 0x03], 0x8182_8384),
    ] {
        let mut machine = Machine::new(code);
        machine.bus.reads_as = 0x8887_8685_8483_8281;
        machine.vcpu.registers[RAX] = u64::MAX;
        assert_eq!(machine.run(), Outcome::Done);
        assert_eq!(machine.vcpu.registers[RAX], value, "{code:02x?}");
    }
}

#[test]
fn arithmetic_reads_writes_and_sets_flags() {
    // add dword [rbx], -0x44332211
    let mut machine = Machine::new(&[0x81, 0x03, 0xef, 0xdd, 0xcc, 0xbb]);
    assert_eq!(machine.run(), Outcome::Done);
    let at = DEVICE_GPA + 0x10;
    assert_eq!(machine.bus.log, [Read(at, Width::Dword), Write(at, Width::Dword, 0)]);
    assert_eq!(machine.vcpu.rflags & 0x8d5, 0x55, "CF, PF, AF, ZF");

    // cmp and test only read.
    for code in [&[0x39u8, 0x03][..], &[0xf7, 0x03, 1, 0, 0, 0], &[0x3b, 0x03], &[0x85, 0x03]] {
        let mut machine = Machine::new(code);
        assert_eq!(machine.run(), Outcome::Done);
        assert_eq!(machine.bus.log, [Read(at, Width::Dword)], "{code:02x?}");
    }

    // sub eax, [rbx] writes the register, with the upper half cleared.
    let mut machine = Machine::new(&[0x2b, 0x03]);
    machine.vcpu.registers[RAX] = u64::MAX;
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!(machine.vcpu.registers[RAX], 0xffff_ffff - 0x4433_2211);
}

#[test]
fn single_operand_forms() {
    let at = DEVICE_GPA + 0x10;
    for (code, value) in [
        (&[0xf6u8, 0x13][..], 0xee),
        (&[0xf6, 0x1b], 0xef),
        (&[0xfe, 0x03], 0x12),
        (&[0xf0, 0xfe, 0x0b], 0x10),
    ] {
        let mut machine = Machine::new(code);
        assert_eq!(machine.run(), Outcome::Done);
        assert_eq!(machine.bus.log, [Read(at, Width::Byte), Write(at, Width::Byte, value)], "{code:02x?}");
    }
}

#[test]
fn exchanges() {
    let at = DEVICE_GPA + 0x10;
    let mut machine = Machine::new(&[0x87, 0x13]);
    machine.vcpu.registers[RDX] = 5;
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!(machine.bus.log[1], Write(at, Width::Dword, 5));
    assert_eq!(machine.vcpu.registers[RDX], 0x4433_2211);

    let mut machine = Machine::new(&[0xf0, 0x0f, 0xc1, 0x13]);
    machine.vcpu.registers[RDX] = 5;
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!(machine.bus.log[1], Write(at, Width::Dword, 0x4433_2216));
    assert_eq!(machine.vcpu.registers[RDX], 0x4433_2211);
}

#[test]
fn compare_and_exchange_both_ways() {
    let at = DEVICE_GPA + 0x10;
    let mut machine = Machine::new(&[0xf0, 0x0f, 0xb1, 0x13]);
    (machine.vcpu.registers[RAX], machine.vcpu.registers[RDX]) = (0xffff_ffff_4433_2211, 5);
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!(machine.bus.log[1], Write(at, Width::Dword, 5));
    assert_eq!(machine.vcpu.rflags & 0x40, 0x40);
    assert_eq!(machine.vcpu.registers[RAX], 0xffff_ffff_4433_2211, "untouched when equal");

    let mut machine = Machine::new(&[0x0f, 0xb1, 0x13]);
    machine.vcpu.registers[RAX] = u64::MAX;
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!(machine.bus.log[1], Write(at, Width::Dword, 0x4433_2211), "written back");
    assert_eq!(machine.vcpu.registers[RAX], 0x4433_2211);
    assert_eq!(machine.vcpu.rflags & 0x40, 0);
}

#[test]
fn bit_numbers_in_registers_move_the_operand() {
    // bts [rbx], edx with bit -1: the top bit of the operand before.
    let mut machine = Machine::new(&[0x0f, 0xab, 0x13]);
    machine.vcpu.registers[RDX] = 0xffff_ffff;
    assert_eq!(machine.run_at(DEVICE_GPA + 0xc), Outcome::Done);
    let at = DEVICE_GPA + 0xc;
    assert_eq!(machine.bus.log, [Read(at, Width::Dword), Write(at, Width::Dword, 0xc433_2211)]);
    assert_eq!(machine.vcpu.rflags & 1, 0);

    // btr dword [rbx], 32: a constant stays inside: bit 0, which was set.
    let mut machine = Machine::new(&[0x0f, 0xba, 0x33, 32]);
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!(machine.bus.log[1], Write(DEVICE_GPA + 0x10, Width::Dword, 0x4433_2210));
    assert_eq!(machine.vcpu.rflags & 1, 1);
}

#[test]
fn another_page_than_the_fault_is_left_alone() {
    let mut machine = Machine::new(&[0x89, 0x03]);
    let before = machine.vcpu.clone();
    assert_eq!(machine.run_at(DEVICE_GPA + 0x1010), Outcome::Retry);
    assert_eq!(machine.vcpu, before);
    assert!(machine.bus.log.is_empty());
}

#[test]
fn bytes_of_the_processor_count_before_memory() {
    let mut machine = Machine::new(&[0x0f, 0x0b]);
    machine.vcpu.fetched = alloc::vec![0x89, 0x03, 0x0f, 0x0b];
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!(machine.bus.log.len(), 1);
}

#[test]
fn unsupported_says_what_it_is() {
    let mut machine = Machine::new(&[0x0f, 0x11, 0x03]);
    let before = machine.vcpu.clone();
    let mut recent = Recent::default();
    let mut reach = |machine: &mut Machine, kind| {
        let (vcpu, bus) = (&mut machine.vcpu, &mut machine.bus);
        (memory_access(vcpu, &machine.memory, bus, &mut recent, Gpa(DEVICE_GPA), kind), recent.unsupported())
    };
    let (outcome, bytes) = reach(&mut machine, NestedAccess::Write);
    assert_eq!((outcome, &bytes.as_slice()[..3]), (Outcome::Unsupported, &[0x0f, 0x11, 0x03][..]));
    assert_eq!(machine.vcpu, before);
    for kind in [NestedAccess::Fetch, NestedAccess::Walk] {
        let (outcome, bytes) = reach(&mut machine, kind);
        assert_eq!((outcome, bytes.as_slice()), (Outcome::Unsupported, &[][..]));
    }
}

#[test]
fn user_programs_do_not_reach_supervisor_pages() {
    let mut machine = Machine::new(&[0x89, 0x03]);
    machine.vcpu.level = 3;
    let entry = machine.memory.read64(leaf(DEVICE)).unwrap();
    machine.memory.write64(leaf(DEVICE), entry & !4).unwrap();
    let expected = Event::Exception { vector: 14, error: Some(7) };
    assert_eq!(machine.run(), Outcome::Inject(expected));
    assert_eq!(machine.vcpu.control.cr2, DEVICE + 0x10);
    assert_eq!(machine.vcpu.rip, CODE);
    assert!(machine.bus.log.is_empty());
}

#[test]
fn smap_and_its_flag() {
    let mut machine = Machine::new(&[0x89, 0x03]);
    machine.vcpu.control.cr4 |= CR4_SMAP;
    assert_eq!(machine.run(), Outcome::Inject(Event::Exception { vector: 14, error: Some(3) }));
    machine.vcpu.rflags |= RFLAGS_AC;
    assert_eq!(machine.run(), Outcome::Done);
}

#[test]
fn non_canonical_addresses_fault_by_segment() {
    let mut machine = Machine::new(&[0x89, 0x03]);
    machine.vcpu.registers[RBX] = 0x8000_0000_0000;
    assert_eq!(machine.run(), Outcome::Inject(fault(13)));
    // mov [rbp], eax
    let mut machine = Machine::new(&[0x89, 0x45, 0x00]);
    machine.vcpu.registers[5] = 0x7fff_ffff_fffe;
    assert_eq!(machine.run(), Outcome::Inject(fault(12)), "the last byte counts");
}

#[test]
fn segment_limits_outside_64_bit_mode() {
    // mov [ebx], eax
    let mut machine = Machine::new(&[0x89, 0x03]);
    machine.vcpu = StillProcessor::protected();
    machine.vcpu.rip = CODE;
    machine.vcpu.registers[RBX] = 0xd000_0010;
    let ds = machine.vcpu.segment_mut(SegmentName::Ds);
    ds.limit = 0xd000_0012;
    assert_eq!(machine.run(), Outcome::Inject(fault(13)));
    machine.vcpu.segment_mut(SegmentName::Ds).limit = 0xd000_0013;
    assert_eq!(machine.run(), Outcome::Done);

    for (attributes, why) in [(0xc91, "read-only"), (0xc9b, "code"), (0, "unusable"), (0xc97, "expand-down")]
    {
        machine.vcpu.rip = CODE;
        machine.vcpu.segment_mut(SegmentName::Ds).attributes = attributes;
        assert_eq!(machine.run(), Outcome::Inject(fault(13)), "{why}");
    }
    // Above the limit of an expand-down segment.
    machine.vcpu.segment_mut(SegmentName::Ds).limit = 0xfff;
    assert_eq!(machine.run(), Outcome::Done);
}

#[test]
fn real_mode_segments_and_wrap() {
    // mov es:[di], al at 0x800:0
    let mut machine = Machine::new(&[0x26, 0x88, 0x05]);
    machine.vcpu = StillProcessor::real();
    machine.vcpu.segment_mut(SegmentName::Cs).base = CODE;
    machine.vcpu.segment_mut(SegmentName::Es).base = 0xd000_0000;
    machine.vcpu.registers[RDI] = 0xabcd_0010;
    machine.vcpu.registers[RAX] = 0x77;
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!(machine.bus.log, [Write(0xd000_0010, Width::Byte, 0x77)]);
    assert_eq!(machine.vcpu.rip, 3);
    // A word at offset 0xffff is past the limit.
    machine.memory.write(Gpa(CODE + 3), &[0x26, 0x89, 0x05]).unwrap();
    machine.vcpu.registers[RDI] = 0xffff;
    assert_eq!(machine.run_at(0xd000_ffff), Outcome::Inject(fault(13)));
}

#[test]
fn an_operand_may_cross_from_memory_to_the_device() {
    let mut machine = Machine::new(&[0x48, 0x89, 0x03]);
    machine.vcpu.registers[RAX] = 0x8877_6655_4433_2211;
    machine.vcpu.registers[RBX] = DEVICE - 3;
    assert_eq!(machine.run_at(DEVICE_GPA), Outcome::Done);
    let mut tail = [0; 3];
    machine.memory.read(Gpa(DEVICE - 3), &mut tail).unwrap();
    assert_eq!(tail, [0x11, 0x22, 0x33]);
    let writes: Vec<_> =
        (0..5).map(|index| Write(DEVICE_GPA + index, Width::Byte, 0x44 + 0x11 * index)).collect();
    assert_eq!(machine.bus.log, writes);
}

#[test]
fn a_fault_on_the_second_page_leaves_no_trace() {
    let mut machine = Machine::new(&[0x89, 0x03]);
    machine.vcpu.registers[RBX] = DEVICE + 0xffe;
    machine.memory.write64(leaf(DEVICE + 0x1000), 0).unwrap();
    let expected = Event::Exception { vector: 14, error: Some(2) };
    assert_eq!(machine.run_at(DEVICE_GPA + 0xffe), Outcome::Inject(expected));
    assert_eq!(machine.vcpu.control.cr2, DEVICE + 0x1000);
    assert!(machine.bus.log.is_empty());
}

#[test]
fn single_step_traps_after_the_instruction() {
    let mut machine = Machine::new(&[0x89, 0x03]);
    machine.vcpu.rflags |= 1 << 8 | 1 << 16;
    assert_eq!(machine.run(), Outcome::Inject(SINGLE_STEP));
    assert_eq!(machine.vcpu.rip, CODE + 2);
    assert_eq!(machine.vcpu.rflags, 2 | 1 << 8, "RF is cleared, TF stays");
    assert_eq!(machine.bus.log.len(), 1);
}

#[test]
fn strings_copy_from_the_device_to_memory() {
    // rep movsd
    let mut machine = Machine::new(&[0xf3, 0xa5]);
    machine.vcpu.registers[RSI] = DEVICE + 0x10;
    machine.vcpu.registers[RDI] = DATA;
    machine.vcpu.registers[RCX] = 3;
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!(machine.bus.log.len(), 3);
    assert_eq!(machine.vcpu.registers[RSI], DEVICE + 0x1c);
    assert_eq!(machine.vcpu.registers[RDI], DATA + 12);
    assert_eq!(machine.vcpu.registers[RCX], 0);
    assert_eq!(machine.vcpu.rip, CODE + 2);
    assert_eq!(machine.memory.read32(Gpa(DATA + 8)), Ok(0x4433_2211));
}

#[test]
fn strings_set_the_dirty_flag_of_what_they_write() {
    let mut machine = Machine::new(&[0xa5]);
    machine.vcpu.registers[RSI] = DEVICE + 0x10;
    machine.vcpu.registers[RDI] = DATA;
    let entry = machine.memory.read64(leaf(DATA)).unwrap();
    machine.memory.write64(leaf(DATA), entry & !ACCESSED_DIRTY).unwrap();
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!(machine.memory.read64(leaf(DATA)), Ok(entry));
}

#[test]
fn strings_take_several_exits_and_resume() {
    // rep stosb, backwards
    let mut machine = Machine::new(&[0xf3, 0xaa]);
    machine.vcpu.rflags |= 1 << 10;
    machine.vcpu.registers[RDI] = DEVICE + 0x1ff;
    machine.vcpu.registers[RCX] = string::ELEMENTS_MAX + 2;
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!(machine.vcpu.rip, CODE, "to be executed again");
    assert_eq!(machine.vcpu.registers[RCX], 2);
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!(machine.vcpu.rip, CODE + 2);
    assert_eq!(machine.vcpu.registers[RDI], DEVICE + 0x1ff - string::ELEMENTS_MAX - 2);
    assert_eq!(machine.bus.log.len() as u64, string::ELEMENTS_MAX + 2);
}

#[test]
fn strings_stop_where_the_device_ends() {
    // rep stosd over the end of the device's page: the next page is not asked of the bus.
    let mut machine = Machine::new(&[0xf3, 0xab]);
    machine.vcpu.registers[RDI] = DEVICE + 0xff8;
    machine.vcpu.registers[RCX] = 4;
    assert_eq!(machine.run_at(DEVICE_GPA + 0xff8), Outcome::Done);
    assert_eq!(machine.bus.log.len(), 2);
    assert_eq!((machine.vcpu.registers[RCX], machine.vcpu.rip), (2, CODE));
    // Its first element belongs to another page then.
    assert_eq!(machine.run_at(DEVICE_GPA + 0x1000), Outcome::Done);
    assert_eq!((machine.vcpu.registers[RCX], machine.vcpu.rip), (0, CODE + 2));
}

#[test]
fn a_later_fault_of_a_string_is_left_to_the_processor() {
    // rep lodsb into a page that is not there
    let mut machine = Machine::new(&[0xf3, 0xac]);
    machine.vcpu.registers[RSI] = DEVICE + 0xfff;
    machine.vcpu.registers[RCX] = 2;
    machine.memory.write64(leaf(DEVICE + 0x1000), 0).unwrap();
    assert_eq!(machine.run_at(DEVICE_GPA + 0xfff), Outcome::Done);
    assert_eq!((machine.vcpu.registers[RCX], machine.vcpu.rip), (1, CODE));
    assert_eq!(machine.vcpu.control.cr2, 0, "nobody is told of a fault yet");
}

#[test]
fn strings_of_no_elements_and_single_steps() {
    let mut machine = Machine::new(&[0xf3, 0xab]);
    machine.vcpu.registers[RDI] = DEVICE;
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!(machine.vcpu.rip, CODE + 2);
    assert!(machine.bus.log.is_empty());

    let mut machine = Machine::new(&[0xf3, 0xab]);
    machine.vcpu.registers[RDI] = DEVICE;
    machine.vcpu.registers[RCX] = 5;
    machine.vcpu.rflags |= 1 << 8;
    assert_eq!(machine.run(), Outcome::Inject(SINGLE_STEP));
    assert_eq!((machine.vcpu.registers[RCX], machine.vcpu.rip), (4, CODE));
}

#[test]
fn narrow_string_registers_wrap() {
    // addr32 stosb with RDI's upper half set: cleared when it is written.
    let mut machine = Machine::new(&[0x67, 0xaa]);
    machine.vcpu.registers[RDI] = 0xffff_ffff_0000_0000 | DEVICE;
    assert_eq!(machine.run(), Outcome::Done);
    assert_eq!(machine.vcpu.registers[RDI], DEVICE + 1);
}

#[derive(Default)]
struct RecordingPorts {
    log: Vec<(u16, Width, Option<u32>)>,
}

impl Ports for RecordingPorts {
    fn input(&mut self, port: u16, width: Width) -> Option<u32> {
        self.log.push((port, width, None));
        Some(0x5a5a_5a00 + self.log.len() as u32)
    }
    fn output(&mut self, port: u16, width: Width, value: u32) {
        self.log.push((port, width, Some(value)));
    }
}

const OUTSB: PortAccess =
    PortAccess { port: 0x3f8, width: Width::Byte, input: false, string: true, repeat: true };
const INSW: PortAccess =
    PortAccess { port: 0x1f0, width: Width::Word, input: true, string: true, repeat: true };

#[test]
fn port_strings_move_memory() {
    let mut machine = Machine::new(&[0xf3, 0x6e]);
    machine.memory.write(Gpa(DATA), b"hello").unwrap();
    machine.vcpu.registers[RDX] = 0x3f8;
    machine.vcpu.registers[RSI] = DATA;
    machine.vcpu.registers[RCX] = 5;
    let mut ports = RecordingPorts::default();
    assert_eq!(
        string_port(&mut machine.vcpu, &machine.memory, &mut ports, &mut Recent::default(), OUTSB),
        Outcome::Done
    );
    let text: Vec<u8> = ports.log.iter().map(|(_, _, value)| value.unwrap() as u8).collect();
    assert_eq!(text, b"hello");
    assert_eq!(machine.vcpu.rip, CODE + 2);

    let mut machine = Machine::new(&[0xf3, 0x66, 0x6d]);
    machine.vcpu.registers[RDX] = 0x1f0;
    machine.vcpu.registers[RDI] = DATA;
    machine.vcpu.registers[RCX] = 2;
    let mut ports = RecordingPorts::default();
    assert_eq!(
        string_port(&mut machine.vcpu, &machine.memory, &mut ports, &mut Recent::default(), INSW),
        Outcome::Done
    );
    assert_eq!(machine.memory.read32(Gpa(DATA)), Ok(0x5a02_5a01));
}

#[test]
fn port_strings_check_before_they_act() {
    // The destination is read-only.
    let mut machine = Machine::new(&[0xf3, 0x66, 0x6d]);
    machine.vcpu.control.cr0 |= CR0_WP;
    machine.vcpu.registers[RDX] = 0x1f0;
    machine.vcpu.registers[RDI] = DATA;
    machine.vcpu.registers[RCX] = 2;
    let entry = machine.memory.read64(leaf(DATA)).unwrap();
    machine.memory.write64(leaf(DATA), entry & !2).unwrap();
    let mut ports = RecordingPorts::default();
    let outcome = string_port(&mut machine.vcpu, &machine.memory, &mut ports, &mut Recent::default(), INSW);
    assert_eq!(outcome, Outcome::Inject(Event::Exception { vector: 14, error: Some(3) }));
    assert!(ports.log.is_empty(), "nothing was taken from the port");

    // A device as destination.
    machine.vcpu.registers[RDI] = DEVICE;
    let outcome = string_port(&mut machine.vcpu, &machine.memory, &mut ports, &mut Recent::default(), INSW);
    assert!(matches!(outcome, Outcome::Unsupported));
    assert!(ports.log.is_empty());
}

#[test]
fn another_port_instruction_is_retried() {
    let mut machine = Machine::new(&[0xf3, 0x6f]);
    machine.vcpu.registers[RDX] = 0x3f8;
    machine.vcpu.registers[RCX] = 1;
    let mut ports = RecordingPorts::default();
    assert_eq!(
        string_port(&mut machine.vcpu, &machine.memory, &mut ports, &mut Recent::default(), OUTSB),
        Outcome::Retry
    );
    machine.vcpu.registers[RDX] = 0x3f9;
    machine.memory.write(Gpa(CODE), &[0xf3, 0x6e]).unwrap();
    assert_eq!(
        string_port(&mut machine.vcpu, &machine.memory, &mut ports, &mut Recent::default(), OUTSB),
        Outcome::Retry
    );
    assert!(ports.log.is_empty());
}
