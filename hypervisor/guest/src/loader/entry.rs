//! The state in which a guest's first processor starts.

use super::error::LoadError;
use super::place::{DESCRIPTORS, PAGE_TABLES, Space};
use access::GuestMemory;
use access::vcpu::{ControlRegisters, ProcessorState, RAX, RBX, RSI, Segment, SegmentName};
use spec::Gpa;
use spec::processor::{CR0_ET, CR0_PE, CR0_PG, CR4_PAE, EFER_LMA, EFER_LME};

/// RFLAGS after reset: the bit that is always set.
const RFLAGS_RESET: u64 = 1 << 1;

/// Selector of the code segment, as Linux calls it `__BOOT_CS`.
const CODE: u16 = 0x10;
/// Selector of the data segments.
const DATA: u16 = 0x18;
/// Selector of the task.
const TASK: u16 = 0x20;

/// Flat segments' attributes, as `access` joins them: present, accessed.
const CODE_32: u16 = 0xc9b;
const CODE_64: u16 = 0xa9b;
const DATA_32: u16 = 0xc93;
/// A busy 32-bit task.
const TASK_BUSY: u16 = 0x8b;
/// Last byte of a task segment.
const TASK_LIMIT: u32 = 0x67;

/// In which mode the kernel is entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// 32-bit protected mode, no paging.
    Protected,
    /// 64-bit mode; the first 4 GiB are mapped to themselves.
    Long,
}

/// How to start what was loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    mode: Mode,
    rip: Gpa,
    registers: [(usize, u64); 2],
}

impl Entry {
    /// Linux's 64-bit protocol: RSI is the zero page.
    pub(super) fn linux<M: GuestMemory>(
        space: &Space<M>,
        rip: Gpa,
        zero_page: Gpa,
    ) -> Result<Self, LoadError> {
        write_descriptors(space, CODE_64)?;
        write_page_tables(space)?;
        Ok(Self { mode: Mode::Long, rip, registers: [(RSI, zero_page.0), (RBX, 0)] })
    }

    /// PVH: EBX is the start structure.
    pub(super) fn pvh<M: GuestMemory>(space: &Space<M>, rip: Gpa, info: Gpa) -> Result<Self, LoadError> {
        write_descriptors(space, CODE_32)?;
        Ok(Self { mode: Mode::Protected, rip, registers: [(RBX, info.0), (RAX, 0)] })
    }

    /// Multiboot: EBX is the information structure, EAX the magic number.
    pub(super) fn multiboot<M: GuestMemory>(
        space: &Space<M>,
        rip: Gpa,
        info: Gpa,
        magic: u32,
    ) -> Result<Self, LoadError> {
        write_descriptors(space, CODE_32)?;
        Ok(Self { mode: Mode::Protected, rip, registers: [(RBX, info.0), (RAX, magic.into())] })
    }

    /// Where the kernel is entered.
    pub fn rip(&self) -> Gpa {
        self.rip
    }

    /// Sets up a vCPU, fresh from reset, to start.
    pub fn apply(&self, vcpu: &mut impl ProcessorState) {
        for register in 0..16 {
            vcpu.set_register(register, 0);
        }
        for (register, value) in self.registers {
            vcpu.set_register(register, value);
        }
        vcpu.set_rip(self.rip.0);
        vcpu.set_rflags(RFLAGS_RESET);
        let mut control = ControlRegisters { cr0: CR0_PE | CR0_ET, ..ControlRegisters::default() };
        let mut code = CODE_32;
        if self.mode == Mode::Long {
            control.cr0 |= CR0_PG;
            control.cr3 = PAGE_TABLES.0;
            control.cr4 = CR4_PAE;
            control.efer = EFER_LME | EFER_LMA;
            code = CODE_64;
        }
        vcpu.set_control(control);

        let flat = |selector, attributes| Segment { selector, attributes, limit: u32::MAX, base: 0 };
        vcpu.set_segment(SegmentName::Cs, flat(CODE, code));
        for name in [SegmentName::Ds, SegmentName::Es, SegmentName::Ss, SegmentName::Fs, SegmentName::Gs] {
            vcpu.set_segment(name, flat(DATA, DATA_32));
        }
        vcpu.set_segment(SegmentName::Ldtr, Segment::default());
        let task = Segment { selector: TASK, attributes: TASK_BUSY, limit: TASK_LIMIT, base: 0 };
        vcpu.set_segment(SegmentName::Tr, task);
        vcpu.set_descriptor_table(false, DESCRIPTORS.0, (8 * DESCRIPTOR_COUNT - 1) as u16);
        vcpu.set_descriptor_table(true, 0, 0);
    }
}

/// Null twice, code, data, task (16 bytes in 64-bit mode).
const DESCRIPTOR_COUNT: usize = 6;

/// A segment descriptor with base 0 and a limit of 20 bits (Intel SDM vol. 3 section
/// 3.4.5).
const fn descriptor(attributes: u16, limit: u32) -> u64 {
    let attributes = attributes as u64;
    (limit & 0xffff) as u64
        | (attributes & 0xff) << 40
        | ((limit >> 16 & 0xf) as u64) << 48
        | (attributes >> 8 & 0xf) << 52
}

/// The descriptors of the segments that [`Entry::apply`] loads, so that a kernel that
/// reloads a selector gets what it has.
fn write_descriptors<M: GuestMemory>(space: &Space<M>, code: u16) -> Result<(), LoadError> {
    let table: [u64; DESCRIPTOR_COUNT] = [
        0,
        0,
        descriptor(code, 0xf_ffff),
        descriptor(DATA_32, 0xf_ffff),
        descriptor(TASK_BUSY, TASK_LIMIT),
        0,
    ];
    for (slot, descriptor) in table.iter().enumerate() {
        space.write(DESCRIPTORS + 8 * slot as u64, &descriptor.to_le_bytes())?;
    }
    Ok(())
}

/// Maps the first 4 GiB to themselves with 2 MiB pages, which every 64-bit processor has.
fn write_page_tables<M: GuestMemory>(space: &Space<M>) -> Result<(), LoadError> {
    const TABLE: u64 = 0b11;
    const LARGE: u64 = 0b1000_0011;
    const GIBS: u64 = 4;
    space.zero(PAGE_TABLES, 2 * 0x1000)?;
    let pointers = PAGE_TABLES + 0x1000;
    space.write(PAGE_TABLES, &(pointers.0 | TABLE).to_le_bytes())?;
    for gib in 0..GIBS {
        let directory = pointers + 0x1000 * (1 + gib);
        space.write(pointers + 8 * gib, &(directory.0 | TABLE).to_le_bytes())?;
        for slot in 0..512 {
            let entry = gib << 30 | slot << 21 | LARGE;
            space.write(directory + 8 * slot, &entry.to_le_bytes())?;
        }
    }
    Ok(())
}
