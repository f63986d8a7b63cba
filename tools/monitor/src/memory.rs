//! The guest's memory: mapped here, given to KVM, reached by the models as checked copies.

use std::sync::Arc;

use access::{GuestMemory, OutOfBounds};
use anyhow::{Context, Result};
use guest::layout::GuestLayout;
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use spec::Gpa;
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, MemoryRegionAddress,
};

/// The memory of one guest. Clones are the same memory.
#[derive(Clone)]
pub struct Memory(Arc<GuestMemoryMmap>);

impl Memory {
    /// Zeroed memory, where `layout` has some.
    ///
    /// # Errors
    /// The host has not so much.
    pub fn new(layout: &GuestLayout) -> Result<Self> {
        let mut ranges = Vec::new();
        for range in layout.ram().iter().filter(|range| range.bytes > 0) {
            ranges.push((GuestAddress(range.start.0), usize::try_from(range.bytes)?));
        }
        let memory = GuestMemoryMmap::from_ranges(&ranges).context("no memory for the guest")?;
        Ok(Self(Arc::new(memory)))
    }

    /// Lets the guest of `vm` use it. It has to outlive `vm`.
    ///
    /// # Errors
    /// KVM does not take it.
    pub fn give_to(&self, vm: &VmFd) -> Result<()> {
        for (slot, region) in (0..).zip(self.0.iter()) {
            let start = region.get_host_address(MemoryRegionAddress(0)).context("memory without a place")?;
            let region = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: region.start_addr().0,
                memory_size: region.len(),
                userspace_addr: start as u64,
            };
            // SAFETY: the region is mapped as long as this memory lives, which outlives the machine; nobody has a
            // reference into it, and whoever reads and writes it here expects that the guest does so too.
            unsafe { vm.set_user_memory_region(region) }.context("KVM refuses the guest's memory")?;
        }
        Ok(())
    }
}

impl GuestMemory for Memory {
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        // A copy that ends outside would have begun.
        if !self.contains(gpa, bytes.len() as u64) {
            return Err(OutOfBounds);
        }
        self.0.read_slice(bytes, GuestAddress(gpa.0)).map_err(|_| OutOfBounds)
    }

    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        if !self.contains(gpa, bytes.len() as u64) {
            return Err(OutOfBounds);
        }
        self.0.write_slice(bytes, GuestAddress(gpa.0)).map_err(|_| OutOfBounds)
    }

    fn contains(&self, gpa: Gpa, bytes: u64) -> bool {
        // Nothing is everywhere.
        bytes == 0
            || usize::try_from(bytes)
                .is_ok_and(|bytes| GuestMemoryBackend::check_range(&*self.0, GuestAddress(gpa.0), bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reaches_beyond_the_end_copies_nothing() {
        let memory = Memory::new(&GuestLayout::new(4 << 20, 1).expect("a layout")).expect("memory");
        let end = Gpa(4 << 20);
        assert_eq!(memory.write(Gpa(end.0 - 4), &[1; 4]), Ok(()));
        assert_eq!(memory.write(Gpa(end.0 - 4), &[2; 5]), Err(OutOfBounds));
        let mut bytes = [0; 4];
        assert_eq!(memory.read(Gpa(end.0 - 4), &mut bytes), Ok(()));
        assert_eq!(bytes, [1; 4]);
        assert_eq!(memory.read(end, &mut bytes), Err(OutOfBounds));
        assert!(!memory.contains(Gpa(u64::MAX), 2));
        assert!(memory.contains(Gpa(0), end.0));
    }
}
