//! Mapping more than the first 4 GiB, one to one.

use crate::cpu::{read64, write64};
use core::sync::atomic::{AtomicUsize, Ordering};

const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
const UNCACHED: u64 = 0x18;
const LARGE: u64 = 0x80;
const TABLES: usize = 96;

#[repr(C, align(4096))]
struct Table([u64; 512]);

static mut POOL: [Table; TABLES] = [const { Table([0; 512]) }; TABLES];
static NEXT: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    static boot_top: u8;
}

/// Maps the 2 MiB around `address` uncached, if nothing is mapped there; false if
/// the tables are used up or the address is not canonical and low.
pub fn map(address: u64) -> bool {
    let attributes = PRESENT | WRITABLE | LARGE | UNCACHED;
    map_to(address, address & !0x1f_ffff, attributes)
}

/// Maps the 2 MiB around `address` to those at `physical`, with these attributes, if nothing is
/// mapped there; false as for [`map`].
pub fn map_to(address: u64, physical: u64, attributes: u64) -> bool {
    if address >> 47 != 0 {
        return false;
    }
    let mut table = (&raw const boot_top) as u64;
    for level in [39, 30] {
        let entry = table + (address >> level & 511) * 8;
        if read64(entry) & PRESENT == 0 {
            let index = NEXT.fetch_add(1, Ordering::Relaxed);
            if index >= TABLES {
                return false;
            }
            let next = (&raw const POOL) as u64 + index as u64 * 4096;
            write64(entry, next | PRESENT | WRITABLE);
        }
        table = read64(entry) & 0xf_ffff_ffff_f000;
    }
    let entry = table + (address >> 21 & 511) * 8;
    if read64(entry) & PRESENT == 0 {
        write64(entry, physical | attributes);
    }
    true
}

/// Lets programs at ring 3 at the 2 MiB around `address`, which is below 4 GiB, or keeps them out.
pub fn let_programs(address: u64, allowed: bool) {
    const USER: u64 = 4;
    let mut table = (&raw const boot_top) as u64;
    for level in [39, 30, 21] {
        let entry = table + (address >> level & 511) * 8;
        let value = read64(entry);
        // In the tables above everything is let through.
        let user = allowed || level != 21;
        write64(entry, if user { value | USER } else { value & !USER });
        table = value & 0xf_ffff_ffff_f000;
    }
    // SAFETY: the tables still map everything one to one.
    unsafe { core::arch::asm!("mov {r}, cr3", "mov cr3, {r}", r = out(reg) _) };
}
