//! The state in which a guest's first processor starts.

use crate::error::LoadError;
use crate::place::{DESCRIPTORS, PAGE_TABLES, Space};
use access::vcpu::{RAX, RBX, RSI, SegmentName};
use alloc::vec::Vec;
use guest::start_image::{LONG_MODE, PROTECTED_MODE};
use spec::Gpa;

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
pub(crate) struct Entry {
    mode: Mode,
    rip: Gpa,
    registers: [(usize, u64); 2],
}

impl Entry {
    /// Linux's 64-bit protocol: RSI is the zero page.
    pub(crate) fn linux(space: &mut Space, rip: Gpa, zero_page: Gpa) -> Result<Self, LoadError> {
        write_descriptors(space, CODE_64)?;
        write_page_tables(space)?;
        Ok(Self { mode: Mode::Long, rip, registers: [(RSI, zero_page.0), (RBX, 0)] })
    }

    /// PVH: EBX is the start structure.
    pub(crate) fn pvh(space: &mut Space, rip: Gpa, info: Gpa) -> Result<Self, LoadError> {
        write_descriptors(space, CODE_32)?;
        Ok(Self { mode: Mode::Protected, rip, registers: [(RBX, info.0), (RAX, 0)] })
    }

    /// Multiboot: EBX is the information structure, EAX the magic number.
    pub(crate) fn multiboot(space: &mut Space, rip: Gpa, info: Gpa, magic: u32) -> Result<Self, LoadError> {
        write_descriptors(space, CODE_32)?;
        Ok(Self { mode: Mode::Protected, rip, registers: [(RBX, info.0), (RAX, magic.into())] })
    }

    /// The first processor's registers, as the image has them.
    pub(crate) fn words(&self) -> Vec<u64> {
        let mut words = Vec::from([0; 16]);
        for (register, value) in self.registers {
            if let Some(word) = words.get_mut(register) {
                *word = value;
            }
        }
        let ((cr0, cr4, efer), cr3, code) = match self.mode {
            Mode::Protected => (PROTECTED_MODE, 0, CODE_32),
            Mode::Long => (LONG_MODE, PAGE_TABLES.0, CODE_64),
        };
        words.extend([self.rip.0, cr0, cr3, cr4, efer]);
        words.extend([DESCRIPTORS.0, 8 * DESCRIPTOR_COUNT as u64 - 1]);
        for number in 0..8 {
            words.extend([segment(number, code), 0]);
        }
        words
    }
}

/// The visible half of the segment register with this number.
fn segment(number: u8, code: u16) -> u64 {
    const CS: u8 = SegmentName::Cs as u8;
    const LDTR: u8 = SegmentName::Ldtr as u8;
    const TR: u8 = SegmentName::Tr as u8;
    let (selector, attributes, limit) = match number {
        CS => (CODE, code, u32::MAX),
        LDTR => (0, 0, 0),
        TR => (TASK, TASK_BUSY, TASK_LIMIT),
        _ => (DATA, DATA_32, u32::MAX),
    };
    u64::from(selector) | u64::from(attributes) << 16 | u64::from(limit) << 32
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

/// The descriptors of the segments that the first processor has, so that a kernel that
/// reloads a selector gets what it has.
fn write_descriptors(space: &mut Space, code: u16) -> Result<(), LoadError> {
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
fn write_page_tables(space: &mut Space) -> Result<(), LoadError> {
    const TABLE: u64 = 0b11;
    const LARGE: u64 = 0b1000_0011;
    const GIBS: u64 = 4;
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
