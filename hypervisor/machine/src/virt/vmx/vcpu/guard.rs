//! Entries behind barriers against speculation.

use super::{UNSETTLED_NEXT, VmxVcpu};
use crate::cpu::barriers;
use crate::virt::vmx::world;
use access::vcpu::Exit;

impl VmxVcpu {
    /// As `enter`, with what the processor needs before and after it.
    #[inline(always)]
    pub(super) fn enter_behind_barriers(&mut self) -> Exit {
        if self.pending_work & !UNSETTLED_NEXT != 0 {
            self.do_pending_work();
        }
        self.context.launched = self.launched;
        barriers::before_entry(&self.barriers, &mut barriers::ThisProcessor);
        // SAFETY: as for `enter`.
        let result = unsafe { world::run(&mut self.context, false) };
        barriers::after_exit(&self.barriers, &mut barriers::ThisProcessor);
        match result {
            world::RAN => self.finish(),
            world::KICKED => self.kicked(),
            result => self.refused(result),
        }
    }
}
