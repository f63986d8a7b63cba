//! The registers of a guest's local APIC as a page, for processors that keep them: the
//! virtual-APIC page (Intel SDM vol. 3 section 31.1.1), the vAPIC backing page (AMD APM
//! vol. 2 section 15.29.3). Register `n` is 32 bits at offset `16 * n`.

use crate::memory::frames::InFrame;
use access::vcpu::KeptApic;
use core::sync::atomic::{AtomicU32, Ordering::*};
use spec::local_apic::{IN_SERVICE, REQUESTS, TASK_PRIORITY, TRIGGER_MODE};

/// Words from one register to the next.
const STRIDE: usize = 4;

/// The page. The processor reads and writes it while its guest runs.
#[repr(C, align(4096))]
pub struct ApicPage([AtomicU32; 1024]);

// SAFETY: 4 KiB of atomics.
unsafe impl InFrame for ApicPage {}

/// One of the page's three bitmaps of vectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Bitmap {
    /// ISR.
    InService = IN_SERVICE,
    /// TMR: level-triggered.
    TriggerMode = TRIGGER_MODE,
    /// IRR.
    Requests = REQUESTS,
}

impl ApicPage {
    fn word(&self, register: u8) -> &AtomicU32 {
        // 255 * 4 is 1020 at most.
        &self.0[usize::from(register) * STRIDE]
    }

    fn bitmap_word(&self, bitmap: Bitmap, vector: u8) -> &AtomicU32 {
        self.word(bitmap as u8 + (vector >> 5))
    }

    /// Reads register `register`, by its x2APIC number.
    pub fn read(&self, register: u8) -> u32 {
        self.word(register).load(Relaxed)
    }

    /// Writes register `register`.
    pub fn write(&self, register: u8, value: u32) {
        self.word(register).store(value, Relaxed);
    }

    /// Task priority, 8 bits.
    #[inline]
    pub fn task_priority(&self) -> u8 {
        self.read(TASK_PRIORITY) as u8
    }

    /// Puts `vector` into a bitmap, in one access that others may race with.
    pub fn insert(&self, bitmap: Bitmap, vector: u8) {
        self.bitmap_word(bitmap, vector).fetch_or(1 << (vector & 31), AcqRel);
    }

    /// Takes `vector` out of a bitmap.
    pub fn remove(&self, bitmap: Bitmap, vector: u8) {
        self.bitmap_word(bitmap, vector).fetch_and(!(1 << (vector & 31)), AcqRel);
    }

    /// Puts `vector` in or takes it out.
    pub fn set(&self, bitmap: Bitmap, vector: u8, present: bool) {
        if present { self.insert(bitmap, vector) } else { self.remove(bitmap, vector) }
    }

    /// The highest vector of a bitmap.
    pub fn highest(&self, bitmap: Bitmap) -> Option<u8> {
        (0..8u8).rev().find_map(|index| {
            let bit = self.read(bitmap as u8 + index).checked_ilog2()?;
            Some(index * 32 + bit as u8)
        })
    }

    /// Takes out all that it says of interrupts: then nothing is pending, nothing in service,
    /// every vector edge-triggered.
    pub fn take_interrupts(&self) -> KeptApic {
        let take = |bitmap| {
            core::array::from_fn(|word: usize| {
                let half = |index: u8| u64::from(self.word(bitmap as u8 + index).swap(0, AcqRel));
                let first = 2 * word as u8;
                half(first) | half(first + 1) << 32
            })
        };
        KeptApic {
            task_priority: self.task_priority(),
            requests: take(Bitmap::Requests),
            in_service: take(Bitmap::InService),
            level: take(Bitmap::TriggerMode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> std::boxed::Box<ApicPage> {
        std::boxed::Box::new(ApicPage([const { AtomicU32::new(0) }; 1024]))
    }

    #[test]
    fn registers_are_16_bytes_apart() {
        let page = page();
        page.write(TASK_PRIORITY, 0x25);
        assert_eq!(page.0[0x80 / 4].load(Relaxed), 0x25);
        assert_eq!(page.task_priority(), 0x25);
        page.write(255, 1);
        assert_eq!(page.0[1020].load(Relaxed), 1);
    }

    #[test]
    fn every_vector_has_its_bit_in_each_bitmap() {
        let page = page();
        for (bitmap, offset) in
            [(Bitmap::InService, 0x100), (Bitmap::TriggerMode, 0x180), (Bitmap::Requests, 0x200)]
        {
            for vector in 0..=255u8 {
                page.insert(bitmap, vector);
                let word = page.0[(offset + 16 * (usize::from(vector) / 32)) / 4].load(Relaxed);
                assert_eq!(word, 1 << (vector % 32), "{bitmap:?} {vector}");
                assert_eq!(page.highest(bitmap), Some(vector));
                page.set(bitmap, vector, false);
            }
            assert_eq!(page.highest(bitmap), None);
        }
    }

    #[test]
    fn the_highest_of_several_counts_and_all_are_forgotten() {
        let page = page();
        for vector in [0x10, 0x9f, 0x31] {
            page.set(Bitmap::Requests, vector, true);
            page.insert(Bitmap::InService, vector);
        }
        page.write(TASK_PRIORITY, 0x40);
        assert_eq!(page.highest(Bitmap::Requests), Some(0x9f));
        page.insert(Bitmap::TriggerMode, 0xff);
        let taken = page.take_interrupts();
        assert_eq!(taken.requests, [1 << 0x10 | 1 << 0x31, 0, 1 << 0x1f, 0]);
        assert_eq!((taken.in_service, taken.level[3]), (taken.requests, 1 << 63));
        assert_eq!((page.highest(Bitmap::Requests), page.highest(Bitmap::InService)), (None, None));
        assert_eq!((page.task_priority(), taken.task_priority), (0x40, 0x40));
    }
}
