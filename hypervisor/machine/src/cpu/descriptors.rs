//! Segment and interrupt descriptor tables (Intel SDM vol. 3 sections 3.4.5, 7.14,
//! 8.7; AMD APM vol. 2 sections 4.8, 8.9, 12.2.5).

use core::arch::asm;

use crate::memory::paging::{self, MapError, Stack};

/// Selector of the code segment.
pub const CODE: u16 = 0x08;
/// Selector of the data segment.
pub const DATA: u16 = 0x10;
/// Selector of the task state segment.
pub const TASK: u16 = 0x18;

/// Interrupt stack of NMIs.
pub const IST_NMI: u8 = 1;
/// Interrupt stack of double faults: the normal stack may be what faulted.
pub const IST_DOUBLE_FAULT: u8 = 2;
/// Interrupt stack of machine checks.
pub const IST_MACHINE_CHECK: u8 = 3;

const IST_STACK_BYTES: u64 = 16 * 1024;

/// The 64-bit task state segment.
#[repr(C, packed(4))]
struct TaskState {
    reserved_0: u32,
    privileged_stacks: [u64; 3],
    reserved_1: u64,
    interrupt_stacks: [u64; 7],
    reserved_2: u64,
    reserved_3: u16,
    io_map: u16,
}

const _: () = assert!(size_of::<TaskState>() == 104);

/// One processor's segment descriptors and task state.
#[repr(C, align(16))]
pub struct Descriptors {
    table: [u64; 5],
    task: TaskState,
}

/// What LGDT and LIDT take.
#[repr(C, packed(2))]
struct Pointer {
    limit: u16,
    base: u64,
}

impl Descriptors {
    /// Descriptors without interrupt stacks.
    pub const fn new() -> Self {
        Self {
            table: [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0, 0],
            task: TaskState {
                reserved_0: 0,
                privileged_stacks: [0; 3],
                reserved_1: 0,
                interrupt_stacks: [0; 7],
                reserved_2: 0,
                reserved_3: 0,
                io_map: size_of::<TaskState>() as u16,
            },
        }
    }

    /// Gives NMIs, double faults and machine checks stacks of their own.
    pub fn allocate_stacks(&mut self) -> Result<(), MapError> {
        let mut stacks = [0; 7];
        for ist in [IST_NMI, IST_DOUBLE_FAULT, IST_MACHINE_CHECK] {
            let Stack { top, .. } = paging::allocate_stack(IST_STACK_BYTES)?;
            stacks[usize::from(ist) - 1] = top;
        }
        self.task.interrupt_stacks = stacks;
        Ok(())
    }

    /// Makes this processor use them.
    ///
    /// # Safety
    /// They stay where they are for good and belong to this processor alone.
    pub unsafe fn load(&mut self) {
        let task = &raw const self.task as u64;
        let [low, high] = task_descriptor(task, size_of::<TaskState>() as u64 - 1);
        (self.table[3], self.table[4]) = (low, high);
        let pointer =
            Pointer { limit: size_of_val(&self.table) as u16 - 1, base: &raw const self.table as u64 };
        // SAFETY: the table holds flat code and data segments like those in use, so
        // reloading the selectors changes nothing else; the task state is valid and
        // not busy. FS and GS get null selectors, their bases are set by MSR.
        unsafe {
            asm!(
                "lgdt [{pointer}]",
                "push {code}",
                "lea {scratch}, [rip + 2f]",
                "push {scratch}",
                "retfq",
                "2:",
                "mov ds, {data:e}",
                "mov es, {data:e}",
                "mov ss, {data:e}",
                "mov fs, {null:e}",
                "mov gs, {null:e}",
                "ltr {task:x}",
                pointer = in(reg) &pointer,
                code = const CODE,
                data = in(reg) DATA as u64,
                null = in(reg) 0u64,
                task = in(reg) TASK,
                scratch = out(reg) _,
            );
        }
    }
}

impl Default for Descriptors {
    fn default() -> Self {
        Self::new()
    }
}

/// The two words of an available 64-bit task state descriptor.
const fn task_descriptor(base: u64, limit: u64) -> [u64; 2] {
    let low = limit & 0xffff
        | (base & 0xff_ffff) << 16
        | 0x89 << 40
        | (limit >> 16 & 0xf) << 48
        | (base >> 24 & 0xff) << 56;
    [low, base >> 32]
}

/// The base that a task state descriptor holds.
const fn task_base([low, high]: [u64; 2]) -> u64 {
    low >> 16 & 0xff_ffff | (low >> 56 & 0xff) << 24 | high << 32
}

/// What this processor's descriptor registers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse {
    /// Base of the segment descriptors.
    pub segments: u64,
    /// Base of the interrupt descriptors.
    pub interrupts: u64,
    /// Selector of the task state.
    pub task: u16,
    /// Base of the task state.
    pub task_base: u64,
}

/// Reads them. [`Descriptors::load`] ran on this processor.
#[cfg(target_os = "none")]
pub fn in_use() -> InUse {
    let mut segments = Pointer { limit: 0, base: 0 };
    let mut interrupts = Pointer { limit: 0, base: 0 };
    let task: u16;
    // SAFETY: the instructions write the two pointers and a register. The table that
    // `Descriptors::load` made has the task's two words at its selector.
    let words = unsafe {
        asm!("sgdt [{0}]", "sidt [{1}]", "str {2:x}", in(reg) &mut segments, in(reg) &mut interrupts,
             out(reg) task, options(nostack, preserves_flags));
        ((segments.base + u64::from(task & !7)) as *const [u64; 2]).read()
    };
    InUse { segments: segments.base, interrupts: interrupts.base, task, task_base: task_base(words) }
}

/// An interrupt gate in the interrupt descriptor table.
pub const fn interrupt_gate(handler: u64, ist: u8) -> [u64; 2] {
    let low = handler & 0xffff
        | (CODE as u64) << 16
        | (ist as u64 & 7) << 32
        | 0x8e << 40
        | (handler >> 16 & 0xffff) << 48;
    [low, handler >> 32]
}

/// Makes this processor use the interrupt descriptor table `table`.
///
/// # Safety
/// Every gate is empty or leads to a handler that fits its vector.
pub unsafe fn load_interrupt_table(table: &'static [[u64; 2]; 256]) {
    let pointer = Pointer { limit: size_of_val(table) as u16 - 1, base: table.as_ptr() as u64 };
    // SAFETY: the caller's promise; the table is static.
    unsafe { asm!("lidt [{}]", in(reg) &pointer, options(readonly, nostack, preserves_flags)) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_and_task_descriptors_scatter_their_address_as_the_manuals_say() {
        let handler = 0xffff_ffff_8765_4321;
        assert_eq!(interrupt_gate(handler, 2), [0x8765_8e02_0008_4321, 0xffff_ffff]);
        assert_eq!(task_descriptor(handler, 103), [0x8700_8965_4321_0067, 0xffff_ffff]);
        assert_eq!(task_base(task_descriptor(handler, 103)), handler);
    }
}
