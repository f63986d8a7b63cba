extern crate std;

use super::*;
use crate::testing::StillVcpu;
use access::memory::VecMemory;
use access::vcpu::{ControlRegisters, RAX, RSP};
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

const fn task(base: u64, kind: u64) -> u64 {
    0x67 | base << 16 | (0x80 | kind) << 40
}

struct World {
    cpu: StillVcpu,
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
        let mut cpu = StillVcpu::protected();
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
        world.set(EIP, 0x1234);
        world.set(EFLAGS, 0x2);
        (0..8).for_each(|index| world.set(GENERAL + 4 * index, 0x200 + index as u32));
        for (index, selector) in (0..).zip([DATA, CODE, DATA, DATA, 0, 0]) {
            world.set(SEGMENTS + 4 * index, selector.into());
        }
        world
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

#[test]
fn a_jump_leaves_one_task_and_enters_the_other() {
    let mut world = World::new();
    world.cpu.control.cr3 = 0x5000;
    world.set(CR3, 0x9000);
    assert_eq!(world.switch(TaskSource::Jump), Ok(()));
    assert_eq!((world.old(EIP), world.old(EFLAGS)), (0x777, 0x202));
    assert_eq!((world.old(GENERAL), world.old(GENERAL + 28)), (0x100, 0x107));
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
    let saved = world.memory.read32(Gpa(NEW + EFLAGS)).unwrap();
    assert_eq!(saved & NESTED, 0, "the flag goes with the return");
}

#[test]
fn a_gate_takes_the_error_code_along() {
    let mut world = World::new();
    world.cpu.interrupted = Some(0xbeef);
    world.set(GENERAL + 4 * 4, 0x3f00);
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
        assert_eq!(world.old(EIP), 0);
    };
    broken(task(NEW, 0xb), TaskSource::Jump, fault(PROTECTION, NEW_TASK));
    broken(task(NEW, 0x9), TaskSource::Return, fault(INVALID_TASK, NEW_TASK));
    broken(task(NEW, 0x9) & !(0x80 << 40), TaskSource::Call, fault(NOT_PRESENT, NEW_TASK));
    broken(task(NEW, 0x9) - 1, TaskSource::Call, fault(INVALID_TASK, NEW_TASK));
    broken(0x00cf_9200_0000_ffff, TaskSource::Gate, fault(PROTECTION, NEW_TASK));
    broken(task(NEW, 0x1), TaskSource::Jump, Err(Failure::NotOffered("to a task of 16 bits")));
    let mut world = World::new();
    world.cpu.tables[0].1 = 0x1f;
    assert_eq!(world.switch(TaskSource::Jump), fault(PROTECTION, NEW_TASK), "beyond the table");
}

#[test]
fn what_is_wrong_with_the_new_task_is_its_own_fault() {
    let with = |segment: u64, selector: u16| {
        let mut world = World::new();
        world.set(SEGMENTS + 4 * segment, selector.into());
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
        world.set(SEGMENTS + 4 * index, selector.into());
    }
    world.set(LOCAL_TABLE, LOCAL.into());
    assert_eq!(world.switch(TaskSource::Jump), Ok(()));
    assert_eq!(world.cpu.segments[SegmentName::Ss as usize].attributes >> 5 & 3, 3);
    assert_eq!(world.cpu.segments[SegmentName::Ldtr as usize].base, 0x3000);

    let mut world = World::new();
    world.set(EFLAGS, VIRTUAL_8086 | 2);
    world.set(SEGMENTS + 4, 0x1234);
    assert_eq!(world.switch(TaskSource::Jump), Ok(()));
    let code = world.cpu.segments[SegmentName::Cs as usize];
    assert_eq!((code.base, code.limit, code.attributes), (0x1_2340, 0xffff, 0xf3));
}

#[test]
fn other_page_tables_with_pae_are_not_offered_and_without_it_they_are() {
    let mut world = World::new();
    world.cpu.control.cr0 |= CR0_PG;
    world.cpu.control.cr4 |= CR4_PAE;
    world.set(CR3, 0x9000);
    let refused = world.switch(TaskSource::Jump);
    // Its own tables are empty here, so the tables of descriptors cannot even be read.
    assert!(matches!(refused, Err(Failure::Fault(_))), "{refused:?}");
    let control = ControlRegisters { cr0: CR0_PG, cr4: CR4_PAE, cr3: 0x5000, ..Default::default() };
    let mut cpu = StillVcpu::protected();
    cpu.control = control;
    let tasks = Tasks { cpu: &mut cpu, memory: &world.memory };
    let task = Task { cr3: 0x9000, eip: 0, eflags: 0, general: [0; 8], segments: [0; 6], local_table: 0 };
    assert!(tasks.check_tables(&task).is_err());
    assert!(tasks.check_tables(&Task { cr3: 0x5000, ..task }).is_ok());
}

proptest::proptest! {
    /// Whatever stands in the tables, there is an answer, and no access outside of memory.
    #[test]
    fn no_descriptor_and_no_task_breaks_it(
        descriptors in proptest::array::uniform8(proptest::prelude::any::<u64>()),
        fields in proptest::collection::vec(proptest::prelude::any::<u32>(), 26),
        selector: u16,
        source in 0..4usize,
    ) {
        let mut world = World::new();
        for (slot, descriptor) in (0..).zip(descriptors) {
            world.memory.write64(Gpa(GDT + 8 * slot), descriptor).unwrap();
        }
        world.memory.write64(Gpa(GDT + u64::from(NEW_TASK)), task(NEW, 0x9)).unwrap();
        for (index, field) in (0..).zip(fields) {
            world.set(4 * index, field);
        }
        let sources = [TaskSource::Call, TaskSource::Return, TaskSource::Jump, TaskSource::Gate];
        let _ = world.switch(sources[source]);
        let _ = switch(&mut world.cpu, &world.memory, selector, sources[source]);
    }
}
