//! What the debug registers have to say after an exit.

use super::{DR7_GD, RFLAGS_TF, SHADOW, VmxVcpu};
use crate::cpu::registers;
use crate::virt::vmx::exits;
use access::vcpu::ProcessorState;
use spec::vmx::{event, exit, field, interruptibility, qualification};
use x86_64::registers::debug::Dr6;

/// DR6: a task switch, to a task with the T flag.
const DR6_BT: u64 = 1 << 15;
/// DR7: L0 to L3 and LE.
const DR7_LOCAL: u64 = 0x155;

impl VmxVcpu {
    /// The guest single-steps over what exited, or has entered a task that wants to be told:
    /// an exception that an entry delivers leaves it to the hypervisor to say so in DR6.
    #[cold]
    pub(super) fn note_trap(&mut self) {
        let why = match self.reason & exit::BASIC {
            exit::TASK_SWITCH => DR6_BT,
            _ => qualification::debug::SINGLE_STEP,
        };
        let status = Dr6::read_raw() & !0xf | why;
        // SAFETY: the debug registers are the guest's; bits 32 and up are 0.
        unsafe { registers::write_dr6(status) };
    }

    /// INT1 is a trap, and its exit is that of a fault: RIP still points at it.
    fn step_over_int1(&mut self) {
        let kind = self.read(field::EXIT_EVENT) as u32 >> event::KIND_SHIFT & event::KIND;
        if kind == event::PRIVILEGED_EXCEPTION {
            let length = self.read(field::INSTRUCTION_LENGTH);
            let next = exits::next_rip(self.rip(), length, || self.is_64_bit());
            self.write(field::GUEST_RIP, next);
        }
    }

    /// See [`ProcessorState::end_local_breakpoints`].
    pub(super) fn clear_local_breakpoints(&mut self) {
        let dr7 = self.read(field::GUEST_DR7);
        self.write(field::GUEST_DR7, dr7 & !DR7_LOCAL);
    }

    /// A debug exception that exits has changed neither DR6 nor DR7 yet (Intel SDM vol. 3
    /// section 27.1); it belongs to the guest, so they change now.
    #[cold]
    pub(super) fn note_debug(&mut self) {
        self.step_over_int1();
        let told = self.read(field::QUALIFICATION);
        let status = Dr6::read_raw() & !0xf | told & qualification::debug::STATUS;
        let transaction = told & qualification::debug::TRANSACTION;
        // SAFETY: the debug registers are the guest's; bits 32 and up are 0.
        unsafe { registers::write_dr6((status | qualification::debug::TRANSACTION) & !transaction) };
        let dr7 = self.read(field::GUEST_DR7);
        self.write(field::GUEST_DR7, dr7 & !DR7_GD);
        // Entries check that a single step in a shadow is pending (section 26.3.1.5).
        let shadow = self.read(field::GUEST_INTERRUPTIBILITY) as u32 & SHADOW;
        if shadow != 0 && self.rflags() & RFLAGS_TF != 0 {
            self.write(field::PENDING_DEBUG, interruptibility::PENDING_STEP);
        }
    }
}
