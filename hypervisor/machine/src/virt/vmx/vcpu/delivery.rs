//! An event whose delivery the exit interrupted (Intel SDM vol. 3 section 29.2.4).

use super::{UNSETTLED, VmxVcpu};
use crate::virt::vmx::events::{Injection, blocks_nmis_again};
use crate::virt::vmx::exits;
use spec::vmx::{event, exit, field, interruptibility, qualification};

impl VmxVcpu {
    /// What the exit interrupted is delivered again; an IRET that it interrupted unblocks
    /// NMIs again.
    pub(super) fn note_delivery(&mut self, reason: u32) {
        let delivery = self.read(field::DELIVERY_EVENT) as u32;
        if delivery & event::VALID != 0 {
            let again = Injection::again(delivery, self.read(field::DELIVERY_ERROR) as u32);
            self.interrupted = again.or(self.interrupted);
            self.pending_work |= UNSETTLED;
        }
        let (unblocked, vector) = match reason & exit::BASIC {
            exit::EXCEPTION => {
                let info = self.read(field::EXIT_EVENT) as u32;
                (info & event::UNBLOCKED_NMIS != 0, Some((info & event::VECTOR) as u8))
            }
            exit::EPT_VIOLATION => {
                (self.read(field::QUALIFICATION) & qualification::ept::UNBLOCKED_NMIS != 0, None)
            }
            _ => (false, None),
        };
        if blocks_nmis_again(unblocked, vector, delivery) {
            let state = self.read(field::GUEST_INTERRUPTIBILITY);
            self.write(field::GUEST_INTERRUPTIBILITY, state | u64::from(interruptibility::NMI));
        }
    }

    /// Whether a task switch was asked for by an instruction, and not by an event through a gate.
    #[cold]
    pub(super) fn switches_by_instruction(&self) -> bool {
        let source = exits::task_source(self.read(field::QUALIFICATION));
        self.reason & exit::BASIC == exit::TASK_SWITCH
            && exits::switches_by_instruction(source, self.read(field::DELIVERY_EVENT) as u32)
    }
}
