//! What the loader says (Multiboot Specification 0.6.96, section 3.3).

use crate::cpu::read32;
use core::ffi::CStr;

/// The loader's signature in EAX.
pub const MAGIC: u32 = 0x2bad_b002;

/// The loader's information.
#[derive(Clone, Copy)]
pub struct Information {
    address: u64,
}

impl Information {
    /// What EAX and EBX gave; `None` if the loader was no multiboot loader.
    pub fn new(magic: u32, address: u32) -> Option<Self> {
        (magic == MAGIC).then_some(Self { address: address.into() })
    }

    fn flag(self, bit: u32) -> bool {
        read32(self.address) & 1 << bit != 0
    }

    /// End of the memory that starts at 1 MiB.
    pub fn memory_end(self) -> u64 {
        if self.flag(0) { 0x10_0000 + u64::from(read32(self.address + 8)) * 1024 } else { 0x80_0000 }
    }

    /// The command line.
    pub fn command_line(self) -> &'static str {
        if !self.flag(2) {
            return "";
        }
        let text = core::ptr::with_exposed_provenance(read32(self.address + 16) as usize);
        // SAFETY: flag 2 says that a string with its zero lies there; nobody writes it.
        unsafe { CStr::from_ptr(text) }.to_str().unwrap_or("")
    }
}
