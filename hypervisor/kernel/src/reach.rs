//! The memory of guests that a drive of the hypervisor's reads and writes itself.

use crate::taken::Taken;
use alloc::string::{String, ToString};
use iommu::{DomainId, Iommu};
use spec::{Gpa, Iova};
use spin::mutex::TicketMutex;
use tables::Permissions;

/// Where a drive finds the memory of the first guest that it reaches, beyond its own buffers, and at
/// multiples of what that of the others begins, so that the largest pages map it.
const FIRST: Gpa = Gpa(4 << 30);
const ALIGNMENT: u64 = 1 << 30;

/// The memory of guests in the domain of a function.
pub struct Reach {
    domain: DomainId,
    /// Where that of the next guest is.
    next: Gpa,
}

impl Reach {
    /// A domain with no guest's memory.
    pub const fn new(domain: DomainId) -> Self {
        Self { domain, next: FIRST }
    }

    /// Maps all memory of a guest, and says where its gpa 0 is. `taken` has it unmapped where the guest is
    /// not built after all.
    ///
    /// # Errors
    /// Why it cannot be, in words.
    pub fn map(
        &mut self,
        taken: &mut Taken,
        iommu: Option<&TicketMutex<impl Iommu>>,
    ) -> Result<Iova, String> {
        let start = self.next;
        let mut iommu = iommu.ok_or("there is no IOMMU")?.lock();
        for block in &taken.blocks {
            let at = start.checked_add(block.gpa.0).ok_or("there are no addresses for it")?;
            iommu
                .map(self.domain, at, block.hpa, block.bytes, Permissions::READ_WRITE)
                .map_err(|error| error.to_string())?;
            taken.lent.push((self.domain, at, block.bytes));
            let end = at.checked_add(block.bytes).and_then(|end| end.align_up(ALIGNMENT));
            self.next = self.next.max(end.ok_or("there are no addresses for it")?);
        }
        Ok(Iova(start.0))
    }
}
