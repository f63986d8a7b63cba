//! Memory: what the firmware says of it, who owns which frames, the hypervisor's own address space, and guests'
//! memory and devices' registers in it.

pub mod dma;
pub mod frames;
pub mod guest_ram;
pub mod heap;
pub mod layout;
pub mod memory_map;
pub mod mmio;
pub mod page_table;
pub mod paging;
#[cfg(target_os = "none")]
pub mod user_space;
