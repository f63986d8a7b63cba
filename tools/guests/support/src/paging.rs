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
        write64(entry, address & !0x1f_ffff | PRESENT | WRITABLE | LARGE | UNCACHED);
    }
    true
}
