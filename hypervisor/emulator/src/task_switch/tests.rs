extern crate std;

use super::*;
use access::fake_processor::StillProcessor;
use access::memory::VecMemory;
use access::vcpu::{RAX, RSP};
use spec::Gpa;

const GDT: u64 = 0x1000;
const OLD: u64 = 0x2000;
const NEW: u64 = 0x2100;
/// Selectors: code and data of level 0, the two tasks, code and data of level 3, a local table.
const CODE: u16 = 0x08;
const DATA: u16 = 0x10;
const OLD_TASK: u16 = 0x18;
const NEW_TASK: u16 = 0x20;
const USER_CODE: u16 = 0x28;
const USER_DATA: u16 = 0x30;
const LOCAL: u16 = 0x38;
/// Types of a busy task of 32 bits and of 16.
const BUSY_TASK: u8 = FREE_TASK | BUSY;
const BUSY_NARROW_TASK: u8 = FREE_NARROW_TASK | BUSY;

const fn task(base: u64, kind: u64) -> u64 {
    0x67 | base << 16 | (0x80 | kind) << 40
}

struct World {
    cpu: StillProcessor,
    memory: VecMemory,
}

impl World {
    fn new() -> Self {
        let memory = VecMemory::new(0x4000);
        let descriptors = [
            0,
            0x00cf_9a00_0000_ffff,
            0x00cf_9200_0000_ffff,
            task(OLD, 0xb),
            task(NEW, 0x9),
            0x00cf_fa00_0000_ffff,
            0x00cf_f200_0000_ffff,
            0x0000_8200_3000_0017,
        ];
        for (slot, descriptor) in (0..).zip(descriptors) {
            memory.write64(Gpa(GDT + 8 * slot), descriptor).unwrap();
        }
        let mut cpu = StillProcessor::protected();
        cpu.tables[0] = (GDT, 0x3f);
        *cpu.segment_mut(SegmentName::Tr) =
            Segment { selector: OLD_TASK, attributes: 0x8b, limit: 0x67, base: OLD };
        for name in SEGMENT_NAMES {
            cpu.segment_mut(name).selector = if name == SegmentName::Cs { CODE } else { DATA };
        }
        for (index, register) in cpu.registers.iter_mut().enumerate().take(8) {
            *register = 0x100 + index as u64;
        }
        (cpu.rip, cpu.rflags) = (0x777, 0x202);
        let world = Self { cpu, memory };
        world.fill(&WIDE);
        world
    }

    /// Both tasks are of 16 bits, or one is.
    fn narrow(old: bool, new: bool) -> Self {
        let mut world = Self::new();
        if old {
            world.cpu.segment_mut(SegmentName::Tr).attributes = 0x83;
            world.memory.write64(Gpa(GDT + u64::from(OLD_TASK)), task(OLD, 0x3)).unwrap();
        }
        if new {
            world.memory.write64(Gpa(GDT + u64::from(NEW_TASK)), task(NEW, 0x1)).unwrap();
            world.fill(&NARROW);
        }
        world
    }

    fn fill(&self, layout: &Layout) {
        self.memory.write(Gpa(NEW), &[0; 104]).unwrap();
        let put = |offset: u64, value: u32| {
            self.memory.write(Gpa(NEW + offset), &value.to_le_bytes()[..layout.width]).unwrap();
        };
        put(layout.ip, 0x1234);
        put(layout.flags, 2);
        (0..8).for_each(|index| put(layout.register(index), 0x200 + index as u32));
        for (index, selector) in [DATA, CODE, DATA, DATA].into_iter().enumerate() {
            put(layout.selector(index), selector.into());
        }
    }

    /// Writes a field of the new task.
    fn set(&self, offset: u64, value: u32) {
        self.memory.write32(Gpa(NEW + offset), value).unwrap();
    }

    fn old(&self, offset: u64) -> u32 {
        self.memory.read32(Gpa(OLD + offset)).unwrap()
    }

    fn kind(&self, selector: u16) -> u8 {
        let mut byte = [0];
        self.memory.read(Gpa(GDT + u64::from(selector) + 5), &mut byte).unwrap();
        byte[0] & 0xf
    }

    fn switch(&mut self, source: TaskSource) -> Result<(), Failure> {
        switch(&mut self.cpu, &self.memory, NEW_TASK, source)
    }

    fn selector(&self, name: SegmentName) -> u16 {
        self.cpu.segments[name as usize].selector
    }
}

fn fault(vector: u8, selector: u16) -> Result<(), Failure> {
    Err(selector_fault(vector, selector))
}

/// Whether an entry with CS and SS like these is one that a processor takes (Intel SDM vol. 3
/// section 27.3.1.2): CS is accessed code, SS accessed data that can be written, both are present
/// and of one privilege level, and limits fit their granularity.
fn can_be_entered(cpu: &StillProcessor) -> bool {
    let [cs, ss] = [SegmentName::Cs, SegmentName::Ss].map(|name| cpu.segments[name as usize]);
    let level = |segment: Segment| segment.attributes >> 5 & 3;
    let fits = |segment: Segment| segment.attributes >> 11 & 1 != 0 || segment.limit >> 20 == 0;
    cs.attributes & 0x99 == 0x99
        && ss.attributes & 0x9b == 0x93
        && (cs.attributes & 4 != 0 || level(cs) == level(ss))
        && fits(cs)
        && fits(ss)
}

#[test]
fn what_does_not_load_leaves_a_processor_that_can_take_the_fault() {
    let cs = WIDE.selector(SegmentName::Cs as usize);
    let ss = WIDE.selector(SegmentName::Ss as usize);
    for (field, selector) in
        [(cs, 0), (cs, DATA), (cs, 0x100), (cs, USER_CODE & !3), (ss, 0), (ss, CODE), (ss, USER_DATA | 3)]
    {
        let mut world = World::new();
        world.set(field, selector.into());
        assert_eq!(
            world.switch(TaskSource::Jump),
            fault(INVALID_TASK, selector),
            "{field:#x}: {selector:#x}"
        );
        assert!(can_be_entered(&world.cpu), "{field:#x}: {selector:#x}: {:x?}", world.cpu.segments);
        let name = if field == cs { SegmentName::Cs } else { SegmentName::Ss };
        assert_eq!(world.selector(name), selector, "the new task's");
    }
    let mut world = World::new();
    world.set(WIDE.local_table, DATA.into());
    assert_eq!(world.switch(TaskSource::Jump), fault(INVALID_TASK, DATA));
    assert!(can_be_entered(&world.cpu));
}

#[test]
fn flags_that_no_processor_has_are_not_taken_from_a_task() {
    let mut world = World::new();
    world.set(WIDE.flags, u32::MAX & !VIRTUAL_8086);
    assert_eq!(world.switch(TaskSource::Jump), Ok(()));
    assert_eq!(world.cpu.rflags, 0x3d_7fd7);
}

#[test]
fn a_jump_leaves_one_task_and_enters_the_other() {
    let mut world = World::new();
    world.cpu.control.cr3 = 0x5000;
    world.set(0x1c, 0x9000);
    assert_eq!(world.switch(TaskSource::Jump), Ok(()));
    assert_eq!((world.old(WIDE.ip), world.old(WIDE.flags)), (0x777, 0x202));
    assert_eq!((world.old(WIDE.general), world.old(WIDE.general + 28)), (0x100, 0x107));
    assert_eq!((world.cpu.rip, world.cpu.rflags), (0x1234, 2));
    assert_eq!((world.cpu.registers[RAX], world.cpu.registers[RSP]), (0x200, 0x204));
    assert_eq!((world.kind(OLD_TASK), world.kind(NEW_TASK)), (FREE_TASK, BUSY_TASK));
    let task = world.cpu.segments[SegmentName::Tr as usize];
    assert_eq!((task.selector, task.base, task.attributes), (NEW_TASK, NEW, 0x8b));
    assert_eq!((world.selector(SegmentName::Cs), world.selector(SegmentName::Ss)), (CODE, DATA));
    assert_eq!(world.cpu.segments[SegmentName::Fs as usize].attributes, 0, "null");
    assert_ne!(world.cpu.control.cr0 & CR0_TS, 0);
    assert_eq!(world.cpu.control.cr3, 0x5000, "without paging CR3 stays");
}

#[test]
fn a_call_nests_and_its_return_unnests() {
    let mut world = World::new();
    assert_eq!(world.switch(TaskSource::Call), Ok(()));
    assert_eq!((world.kind(OLD_TASK), world.kind(NEW_TASK)), (BUSY_TASK, BUSY_TASK));
    let link = world.memory.read32(Gpa(NEW + LINK)).unwrap() as u16;
    assert_eq!((link, world.cpu.rflags as u32 & NESTED), (OLD_TASK, NESTED));
    // Back: the old task goes on where it was, and the one that returns is free again.
    world.cpu.rip = 0x1300;
    let back = switch(&mut world.cpu, &world.memory, OLD_TASK, TaskSource::Return);
    assert_eq!(back, Ok(()));
    assert_eq!((world.cpu.rip, world.cpu.registers[RAX]), (0x777, 0x100));
    assert_eq!((world.kind(OLD_TASK), world.kind(NEW_TASK)), (BUSY_TASK, FREE_TASK));
    let saved = world.memory.read32(Gpa(NEW + WIDE.flags)).unwrap();
    assert_eq!(saved & NESTED, 0, "the flag goes with the return");
}

#[test]
fn a_gate_takes_the_error_code_along() {
    let mut world = World::new();
    world.cpu.interrupted = Some(0xbeef);
    world.set(WIDE.general + 4 * 4, 0x3f00);
    assert_eq!(world.switch(TaskSource::Gate), Ok(()));
    assert_eq!(world.cpu.registers[RSP], 0x3efc);
    assert_eq!(world.memory.read32(Gpa(0x3efc)), Ok(0xbeef));
    assert_eq!(world.cpu.interrupted, None, "it is delivered");
    assert_ne!(world.cpu.rflags as u32 & NESTED, 0);
}

#[test]
fn a_descriptor_that_is_no_free_task_is_refused_before_anything_changes() {
    let broken = |descriptor: u64, source, expected| {
        let mut world = World::new();
        world.memory.write64(Gpa(GDT + u64::from(NEW_TASK)), descriptor).unwrap();
        let before = world.cpu.clone();
        assert_eq!(world.switch(source), expected, "{descriptor:#x}");
        assert_eq!(world.cpu, before);
        assert_eq!(world.old(WIDE.ip), 0);
    };
    broken(task(NEW, 0xb), TaskSource::Jump, fault(PROTECTION, NEW_TASK));
    broken(task(NEW, 0x9), TaskSource::Return, fault(INVALID_TASK, NEW_TASK));
    broken(task(NEW, 0x9) & !(0x80 << 40), TaskSource::Call, fault(NOT_PRESENT, NEW_TASK));
    broken(task(NEW, 0x9) - 1, TaskSource::Call, fault(INVALID_TASK, NEW_TASK));
    broken(0x00cf_9200_0000_ffff, TaskSource::Gate, fault(PROTECTION, NEW_TASK));
    broken(task(NEW, 0x3), TaskSource::Jump, fault(PROTECTION, NEW_TASK));
    broken(task(NEW, 0x1) - 61, TaskSource::Jump, fault(INVALID_TASK, NEW_TASK));
    let mut world = World::new();
    world.cpu.tables[0].1 = 0x1f;
    assert_eq!(world.switch(TaskSource::Jump), fault(PROTECTION, NEW_TASK), "beyond the table");
}

#[test]
fn what_is_wrong_with_the_new_task_is_its_own_fault() {
    let with = |segment: u64, selector: u16| {
        let mut world = World::new();
        world.set(WIDE.segments + 4 * segment, selector.into());
        (world.switch(TaskSource::Jump), world.cpu.rip)
    };
    const CS: u64 = 1;
    const SS: u64 = 2;
    const DS: u64 = 3;
    assert_eq!(with(CS, 0), (fault(INVALID_TASK, 0), 0x1234));
    assert_eq!(with(CS, DATA), (fault(INVALID_TASK, DATA), 0x1234));
    assert_eq!(with(SS, CODE), (fault(INVALID_TASK, CODE), 0x1234));
    assert_eq!(with(SS, USER_DATA | 3), (fault(INVALID_TASK, USER_DATA), 0x1234));
    assert_eq!(with(DS, NEW_TASK), (fault(INVALID_TASK, NEW_TASK), 0x1234));
    assert_eq!(with(DS, 0x4c), (fault(INVALID_TASK, 0x4c), 0x1234), "there is no local table");
    assert_eq!(with(DS, USER_DATA), (Ok(()), 0x1234), "data of a lower privilege");
}

#[test]
fn tasks_of_users_and_of_virtual_8086_mode() {
    let mut world = World::new();
    for (index, selector) in (0..).zip([USER_DATA | 3, USER_CODE | 3, USER_DATA | 3, USER_DATA | 3, 0, 0]) {
        world.set(WIDE.segments + 4 * index, selector.into());
    }
    world.set(WIDE.local_table, LOCAL.into());
    assert_eq!(world.switch(TaskSource::Jump), Ok(()));
    assert_eq!(world.cpu.segments[SegmentName::Ss as usize].attributes >> 5 & 3, 3);
    assert_eq!(world.cpu.segments[SegmentName::Ldtr as usize].base, 0x3000);

    let mut world = World::new();
    world.set(WIDE.flags, VIRTUAL_8086 | 2);
    world.set(WIDE.segments + 4, 0x1234);
    assert_eq!(world.switch(TaskSource::Jump), Ok(()));
    let code = world.cpu.segments[SegmentName::Cs as usize];
    assert_eq!((code.base, code.limit, code.attributes), (0x1_2340, 0xffff, 0xf3));
}

#[test]
fn tasks_of_16_bits_keep_half_of_each_register_and_four_segments() {
    let mut world = World::narrow(true, true);
    world.cpu.registers[RAX] = 0xaaaa_1111;
    assert_eq!(world.switch(TaskSource::Call), Ok(()));
    let old = |offset| world.memory.read32(Gpa(OLD + offset)).unwrap();
    assert_eq!(old(NARROW.ip), 0x0202_0777, "IP and FLAGS");
    assert_eq!(old(NARROW.general) & 0xffff, 0x1111);
    assert_eq!(old(NARROW.selector(3)) & 0xffff, u32::from(DATA), "DS");
    assert_eq!(old(NARROW.local_table), 0, "nothing behind the four is written");
    assert_eq!((world.cpu.rip, world.cpu.registers[RAX]), (0x1234, 0x200));
    assert_eq!(world.cpu.rflags as u32, 2 | NESTED);
    assert_eq!((world.selector(SegmentName::Cs), world.selector(SegmentName::Fs)), (CODE, 0));
    assert_eq!(world.kind(NEW_TASK), BUSY_NARROW_TASK);
    assert_eq!(switch(&mut world.cpu, &world.memory, OLD_TASK, TaskSource::Return), Ok(()));
    assert_eq!((world.cpu.rip, world.cpu.registers[RAX]), (0x777, 0x1111));
    assert_eq!((world.kind(OLD_TASK), world.kind(NEW_TASK)), (BUSY_NARROW_TASK, FREE_NARROW_TASK));
}

#[test]
fn tasks_of_both_sizes_switch_to_each_other() {
    for (old, new) in [(true, false), (false, true)] {
        let mut world = World::narrow(old, new);
        world.cpu.control.cr3 = 0x5000;
        assert_eq!(world.switch(TaskSource::Jump), Ok(()));
        let layout = if old { &NARROW } else { &WIDE };
        assert_eq!(world.old(layout.ip) & 0xffff, 0x777);
        assert_eq!((world.cpu.rip, world.selector(SegmentName::Cs)), (0x1234, CODE));
        assert_eq!(world.cpu.control.cr3, 0x5000);
    }
    // A gate's error code is as wide as the task that takes it.
    let mut world = World::narrow(false, true);
    world.cpu.interrupted = Some(0xbeef);
    world.memory.write(Gpa(NEW + NARROW.register(RSP)), &0x3f00u16.to_le_bytes()).unwrap();
    assert_eq!(world.switch(TaskSource::Gate), Ok(()));
    assert_eq!(world.cpu.registers[RSP], 0x3efe);
}

#[test]
fn a_task_that_wants_to_be_told_is_trapped_when_it_is_there() {
    let mut world = World::new();
    world.set(0x64, 1);
    let trap = Event::Exception { vector: DEBUG, error: None };
    assert_eq!(world.switch(TaskSource::Jump), Err(Failure::Fault(trap)));
    assert_eq!((world.cpu.rip, world.cpu.local_breakpoints), (0x1234, false));
}

#[test]
fn what_runs_now_must_be_a_task() {
    let mut world = World::new();
    world.cpu.segment_mut(SegmentName::Tr).attributes = 0x82;
    assert_eq!(world.switch(TaskSource::Jump), Err(Failure::NoTask));
}

#[test]
fn with_pae_the_four_pointers_are_loaded_with_cr3_and_checked() {
    // The pointers that are not present may have anything in them.
    let world = |last: u64| {
        let mut world = World::new();
        // Page tables that map the first 2 MiB to itself: pointers, and one directory.
        for (place, entry) in [(0x3020, 1), (0x3040, 1), (0x3058, last), (0, 0xe7)] {
            world.memory.write64(Gpa(place), entry).unwrap();
        }
        world.cpu.control.cr0 |= CR0_PG;
        world.cpu.control.cr4 |= CR4_PAE;
        world.cpu.control.cr3 = 0x3020;
        world.set(0x1c, 0x3047);
        (world.switch(TaskSource::Jump), world)
    };
    let (switched, right) = world(0x1e6);
    assert_eq!(switched, Ok(()));
    assert_eq!((right.cpu.control.cr3, right.cpu.pae_pointers), (0x3047, [1, 0, 0, 0x1e6]));
    let (switched, wrong) = world(0x1e7);
    assert_eq!(switched, Err(Failure::Fault(Event::PROTECTION)));
    assert_eq!((wrong.cpu.control.cr3, wrong.old(WIDE.ip)), (0x3020, 0), "nothing has changed");
}

proptest::proptest! {
    /// Whatever stands in the tables, there is an answer, and no access outside of memory.
    #[test]
    fn no_descriptor_and_no_task_breaks_it(
        descriptors in proptest::array::uniform8(proptest::prelude::any::<u64>()),
        fields in proptest::collection::vec(proptest::prelude::any::<u32>(), 26),
        kind in proptest::sample::select(std::vec![0x9, 0x1]),
        selector: u16,
        source in 0..4usize,
    ) {
        let mut world = World::new();
        for (slot, descriptor) in (0..).zip(descriptors) {
            world.memory.write64(Gpa(GDT + 8 * slot), descriptor).unwrap();
        }
        world.memory.write64(Gpa(GDT + u64::from(NEW_TASK)), task(NEW, kind)).unwrap();
        for (index, field) in (0..).zip(fields) {
            world.set(4 * index, field);
        }
        let sources = [TaskSource::Call, TaskSource::Return, TaskSource::Jump, TaskSource::Gate];
        let _ = world.switch(sources[source]);
        let _ = switch(&mut world.cpu, &world.memory, selector, sources[source]);
    }
}
