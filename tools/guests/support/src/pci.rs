//! PCI configuration space by both ways in, BARs, MSI.

use crate::cpu::{in32, out32, read32, write32};

/// Where the ECAM of bus 0 is: Bulkhead's guest layout, and SeaBIOS on q35.
pub const ECAM_GUEST: u64 = 0xe000_0000;
/// QEMU's q35 after SeaBIOS.
pub const ECAM_BARE: u64 = 0xb000_0000;

/// Base address of the ECAM.
pub fn ecam() -> u64 {
    if crate::cpu::is_bare() { ECAM_BARE } else { ECAM_GUEST }
}

/// A function: bus, device and function as a requester ID.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Function(pub u16);

impl Function {
    /// Reads 4 bytes through CF8/CFC; `offset` is a multiple of 4 below 256.
    pub fn read(self, offset: u16) -> u32 {
        self.select(offset);
        in32(0xcfc)
    }

    /// Writes 4 bytes through CF8/CFC.
    pub fn write(self, offset: u16, value: u32) {
        self.select(offset);
        out32(0xcfc, value);
    }

    /// Reads 4 bytes through the ECAM; `offset` is a multiple of 4 below 4096.
    pub fn read_ecam(self, offset: u16) -> u32 {
        read32(self.ecam(offset))
    }

    /// Writes 4 bytes through the ECAM.
    pub fn write_ecam(self, offset: u16, value: u32) {
        write32(self.ecam(offset), value);
    }

    /// Address of a register in the ECAM.
    pub fn ecam(self, offset: u16) -> u64 {
        ecam() + (u64::from(self.0) << 12) + u64::from(offset)
    }

    fn select(self, offset: u16) {
        out32(0xcf8, 1 << 31 | u32::from(self.0) << 8 | u32::from(offset) & 0xfc);
    }

    /// Vendor in the low half, device in the high one.
    pub fn id(self) -> u32 {
        self.read(0)
    }

    /// Whether there is a function.
    pub fn exists(self) -> bool {
        self.id() & 0xffff != 0xffff
    }

    /// Sets and clears bits of the command register.
    pub fn command(self, clear: u16, set: u16) {
        let command = self.read(4) as u16;
        self.write(4, u32::from(command & !clear | set));
    }

    /// Address of memory BAR `index`.
    pub fn bar(self, index: u16) -> u64 {
        let low = self.read(0x10 + 4 * index);
        let high = if low & 6 == 4 { self.read(0x14 + 4 * index) } else { 0 };
        u64::from(high) << 32 | u64::from(low & !15)
    }

    /// Offset of the first capability with this ID.
    pub fn capability(self, id: u8) -> Option<u16> {
        if self.read(4) >> 16 & 1 << 4 == 0 {
            return None;
        }
        let mut at = self.read(0x34) as u16 & 0xfc;
        // A chain has at most 48 links.
        for _ in 0..48 {
            if at < 0x40 {
                return None;
            }
            let header = self.read(at);
            if header as u8 == id {
                return Some(at);
            }
            at = (header >> 8) as u16 & 0xfc;
        }
        None
    }

    /// Address of memory BAR `index` as [`Function::bar`] tells it, made reachable for this guest.
    pub fn reachable_bar(self, index: u16) -> Option<u64> {
        let base = self.bar(index);
        (base != 0 && crate::paging::map(base)).then_some(base)
    }

    /// Programs every entry of the MSI-X table and enables MSI-X; false if there is none. Memory
    /// decode is on.
    pub fn enable_msix(self, address: u64, data: u32) -> bool {
        let Some(at) = self.capability(0x11) else { return false };
        let (control, place) = (self.read(at), self.read(at + 4));
        let Some(base) = self.reachable_bar((place & 7) as u16) else { return false };
        let table = base + u64::from(place & !7);
        for entry in 0..u64::from(control >> 16 & 0x7ff) + 1 {
            let entry = table + 16 * entry;
            write32(entry, address as u32);
            write32(entry + 4, (address >> 32) as u32);
            write32(entry + 8, data);
            // Not masked.
            write32(entry + 12, 0);
        }
        self.write(at, control & !(1 << 30) | 1 << 31);
        true
    }

    /// Programs and enables MSI; false if there is none.
    pub fn enable_msi(self, address: u64, data: u16) -> bool {
        let Some(at) = self.capability(5) else { return false };
        let control = self.read(at);
        self.write(at, control & !(1 << 16));
        self.write(at + 4, address as u32);
        let is_64 = control & 1 << 23 != 0;
        if is_64 {
            self.write(at + 8, (address >> 32) as u32);
        }
        self.write(at + if is_64 { 12 } else { 8 }, data.into());
        self.write(at, control & !(7 << 20) | 1 << 16);
        true
    }
}

/// A guest's MSI address for a fixed interrupt at the processor with this APIC ID.
pub fn msi_address(id: u8) -> u64 {
    0xfee0_0000 | u64::from(id) << 12
}

/// All functions of bus 0.
pub fn functions() -> impl Iterator<Item = Function> {
    (0..256).map(Function).filter(|function| function.exists())
}

/// The `n`th function of bus 0 with this ID.
pub fn find(id: u32, n: usize) -> Option<Function> {
    functions().filter(|function| function.id() == id).nth(n)
}
