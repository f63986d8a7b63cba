//! Segment and interrupt descriptor tables (Intel SDM vol. 3 sections 3.4.5, 7.14,
//! 8.7; AMD APM vol. 2 sections 4.8, 8.9, 12.2.5).

use core::arch::asm;

use crate::memory::paging::{self, MapError, Stack};
use x86_64::VirtAddr;
use x86_64::instructions::tables::{lidt, load_tss};
use x86_64::registers::segmentation::{CS, DS, ES, FS, GS, SS, Segment, SegmentSelector};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::idt::{Entry, HandlerFunc};
use x86_64::structures::tss::TaskStateSegment;

/// Selector of the code segment: the first descriptor.
pub const CODE: u16 = 0x08;
/// Selector of the data segment: the second.
pub const DATA: u16 = 0x10;
/// Selector of the task state segment: the third and fourth.
pub const TASK: u16 = 0x18;
/// Selector of ring 3's data segment: the fifth, at privilege level 3.
pub const USER_DATA: u16 = 0x28 | 3;
/// Selector of ring 3's code segment: the sixth, likewise.
pub const USER_CODE: u16 = 0x30 | 3;

/// Interrupt stack of NMIs.
pub const IST_NMI: u8 = 1;
/// Interrupt stack of double faults: the normal stack may be what faulted.
pub const IST_DOUBLE_FAULT: u8 = 2;
/// Interrupt stack of machine checks.
pub const IST_MACHINE_CHECK: u8 = 3;
/// Interrupt stack of debug exceptions: by what ring 3 has set they may come behind its SYSCALL, with its stack.
pub const IST_DEBUG: u8 = 4;

/// Selector of the local descriptor table: there is none.
const NO_TABLE: u16 = 0;

const IST_STACK_BYTES: u64 = 16 * 1024;
/// Bytes at the top of an interrupt stack that are not the stack's: its processor's
/// [`Local`](crate::cpu::processor::Local) is known by its address in the last 8 of them, since what comes
/// in ring 3, or on the way from there, finds GS as ring 3 left it.
const IST_TOP_BYTES: u64 = 16;
/// Where that address is from the stack pointer after the processor pushed what it interrupted.
pub const IST_LOCAL: usize = 5 * 8 + 8;

/// A gate of the interrupt descriptor table.
pub type Gate = Entry<HandlerFunc>;

/// One processor's segment descriptors and task state.
#[repr(C, align(16))]
pub struct Descriptors {
    table: GlobalDescriptorTable<7>,
    task: TaskStateSegment,
}

/// Where [`Descriptors`] has the stack pointer that the processor takes when ring 3 is left: the second
/// word of the task state (Intel SDM vol. 3 section 8.7).
pub const STACK_OF_RING_0: usize = core::mem::offset_of!(Descriptors, task) + 4;

impl Descriptors {
    /// Descriptors without interrupt stacks.
    pub const fn new() -> Self {
        Self { table: GlobalDescriptorTable::empty(), task: TaskStateSegment::new() }
    }

    /// Gives NMIs, double faults, machine checks and debug exceptions stacks of their own.
    pub fn allocate_stacks(&mut self) -> Result<(), MapError> {
        let mut stacks = [VirtAddr::zero(); 7];
        for ist in [IST_NMI, IST_DOUBLE_FAULT, IST_MACHINE_CHECK, IST_DEBUG] {
            let Stack { top, .. } = paging::allocate_stack(IST_STACK_BYTES)?;
            stacks[usize::from(ist) - 1] = VirtAddr::new_truncate(top - IST_TOP_BYTES);
        }
        self.task.interrupt_stack_table = stacks;
        Ok(())
    }

    /// Writes the address of this processor's data where the stubs of these stacks find it.
    pub fn set_local(&self, local: u64) {
        let stacks = self.task.interrupt_stack_table;
        for top in stacks.into_iter().filter(|top| !top.is_null()) {
            // SAFETY: `allocate_stacks` left these bytes above the stack, which is mapped for good.
            unsafe { (top.as_mut_ptr::<u64>()).add(1).write(local) };
        }
    }

    /// Makes this processor use them.
    ///
    /// # Safety
    /// They stay where they are for good and belong to this processor alone.
    pub unsafe fn load(&mut self) {
        self.describe();
        // SAFETY: the table holds flat code and data segments like those in use, so
        // reloading the selectors changes nothing else; the task state is valid and
        // not busy. FS and GS get null selectors, their bases are set by MSR. INIT leaves a local descriptor table
        // at address 0, which is ring 3's (Intel SDM vol. 3 table 10-1); the null selector is that of none.
        unsafe {
            self.table.load_unsafe();
            CS::set_reg(SegmentSelector(CODE));
            DS::set_reg(SegmentSelector(DATA));
            ES::set_reg(SegmentSelector(DATA));
            SS::set_reg(SegmentSelector(DATA));
            FS::set_reg(SegmentSelector::NULL);
            GS::set_reg(SegmentSelector::NULL);
            asm!("lldt {0:x}", in(reg) NO_TABLE, options(nostack, preserves_flags));
            load_tss(SegmentSelector(TASK));
        }
    }

    /// Fills the table anew: the task state segment is where this is, and not busy.
    fn describe(&mut self) {
        self.table = GlobalDescriptorTable::empty();
        self.table.append(Descriptor::kernel_code_segment());
        self.table.append(Descriptor::kernel_data_segment());
        // SAFETY: by the contract of `load`, the task state stays where it is.
        self.table.append(unsafe { Descriptor::tss_segment_unchecked(&raw const self.task) });
        self.table.append(Descriptor::user_data_segment());
        self.table.append(Descriptor::user_code_segment());
    }
}

impl Default for Descriptors {
    fn default() -> Self {
        Self::new()
    }
}

/// The base that a task state descriptor holds.
#[cfg(any(test, target_os = "none"))]
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
    use x86_64::instructions::tables::{sgdt, sidt};
    let (segments, interrupts) = (sgdt().base.as_u64(), sidt().base.as_u64());
    let task: u16;
    // SAFETY: the instruction writes a register. The table that `Descriptors::load` made has
    // the task's two words at its selector.
    let words = unsafe {
        asm!("str {0:x}", out(reg) task, options(nomem, nostack, preserves_flags));
        ((segments + u64::from(task & !7)) as *const [u64; 2]).read()
    };
    InUse { segments, interrupts, task, task_base: task_base(words) }
}

/// An interrupt gate in the interrupt descriptor table; `ist` 0 is the stack in use.
///
/// # Safety
/// `handler` fits the vector of the gate, and the stack `ist` is there, once something comes.
pub unsafe fn interrupt_gate(handler: u64, ist: u8) -> Gate {
    let mut gate = Gate::missing();
    // SAFETY: the caller's promise; the code segment is that of `Descriptors`.
    unsafe {
        let options = gate.set_handler_addr(VirtAddr::new_truncate(handler));
        options.set_code_selector(SegmentSelector(CODE));
        if let Some(index) = ist.checked_sub(1) {
            options.set_stack_index(index.into());
        }
    }
    gate
}

/// Makes this processor use the interrupt descriptor table `table`.
///
/// # Safety
/// Every gate is empty or leads to a handler that fits its vector.
pub unsafe fn load_interrupt_table(table: &'static [Gate; 256]) {
    let base = VirtAddr::from_ptr(table);
    // SAFETY: the caller's promise; the table is static.
    unsafe { lidt(&DescriptorTablePointer { limit: size_of_val(table) as u16 - 1, base }) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    #[test]
    fn gates_and_task_descriptors_scatter_their_address_as_the_manuals_say() {
        let handler = 0xffff_ffff_8765_4321;
        // SAFETY: nothing comes to this gate, which is 16 bytes without padding.
        let words: [u64; 2] = unsafe { core::mem::transmute(interrupt_gate(handler, 2)) };
        assert_eq!(words, [0x8765_8e02_0008_4321, 0xffff_ffff]);
        assert_eq!(task_base([0x8700_8965_4321_0067, 0xffff_ffff]), handler);
    }

    #[test]
    fn selectors_are_those_of_the_segments() {
        let mut descriptors = Box::new(Descriptors::new());
        descriptors.describe();
        let raw: Box<[u64]> = descriptors.table.entries().iter().map(|entry| entry.raw()).collect();
        assert_eq!(raw[usize::from(CODE / 8)], 0x00af_9b00_0000_ffff);
        assert_eq!(raw[usize::from(DATA / 8)], 0x00cf_9300_0000_ffff);
        assert_eq!(raw[usize::from(USER_DATA / 8)], 0x00cf_f300_0000_ffff);
        assert_eq!(raw[usize::from(USER_CODE / 8)], 0x00af_fb00_0000_ffff);
        let stack = &raw const descriptors.task.privilege_stack_table;
        assert_eq!(stack as usize - &raw const *descriptors as usize, STACK_OF_RING_0);
        let task = usize::from(TASK / 8);
        assert_eq!(raw[task] & 0xffff, 103, "the limit");
        assert_eq!(task_base([raw[task], raw[task + 1]]), &raw const descriptors.task as u64);
    }
}
