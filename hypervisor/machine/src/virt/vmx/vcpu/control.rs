//! Control registers of which some bits are the hypervisor's.

use super::VmxVcpu;
use crate::virt::vmx::control_registers::{cr0_is_legal, cr4_is_legal};
use crate::virt::vmx::exits;
use access::vcpu::{Exit, ProcessorState};
use spec::vmx::field;

impl VmxVcpu {
    /// A MOV to CR0 or CR4 that changes a bit of the hypervisor's: see
    /// [`crate::virt::vmx::control_registers`].
    #[cold]
    pub(super) fn write_control(&mut self, register: u8) -> Exit {
        let source = exits::control_source(self.read(field::QUALIFICATION));
        let mut value = self.register(source);
        if !self.is_64_bit() {
            value &= 0xffff_ffff;
        }
        let (legal, shadow) = match register {
            0 => (cr0_is_legal(value), field::CR0_SHADOW),
            4 => (cr4_is_legal(value), field::CR4_SHADOW),
            _ => return Exit::Unexpected(self.reason.into()),
        };
        if !legal {
            return Exit::GeneralProtection;
        }
        self.write(shadow, value);
        Exit::Handled
    }
}
