//! Posted interrupts (Intel SDM vol. 3 section 31.6): a descriptor in memory where any
//! processor leaves vectors for a vCPU, and an interrupt that announces them.

use crate::memory::frames::InFrame;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

/// Bit 256 of the descriptor: announced, and not processed yet.
const OUTSTANDING: u64 = 1;

/// A posted-interrupt descriptor (table 31-1), and whom to tell. The descriptor comes first;
/// it has to be aligned to 64 bytes, and one emulator wants 4 KiB.
#[repr(C, align(4096))]
pub struct Posted {
    /// Bits 0 to 255, a bit a vector.
    requests: [AtomicU64; 4],
    /// Bits 256 to 319, of which the processor uses the first.
    control: AtomicU64,
    reserved: [AtomicU64; 3],
    /// APIC ID of the vCPU's processor.
    processor: AtomicU32,
}

// SAFETY: it has the size and alignment of a frame and consists of atomics.
unsafe impl InFrame for Posted {}

impl Posted {
    /// Empty, for a vCPU on the processor with this APIC ID. Nobody posts meanwhile.
    pub fn begin(&self, processor: u32) {
        self.processor.store(processor, Release);
        self.requests.iter().for_each(|word| word.store(0, Relaxed));
        self.control.store(0, Release);
    }

    /// Takes what was left out, as the processor does when it is told.
    pub fn take(&self) -> [u64; 4] {
        self.control.store(0, Release);
        self.requests.each_ref().map(|word| word.swap(0, AcqRel))
    }

    /// Leaves `vector`. Whom to tell, if that has not happened since the processor last
    /// looked.
    pub fn leave(&self, vector: u8) -> Option<u32> {
        self.requests[usize::from(vector >> 6)].fetch_or(1 << (vector & 63), AcqRel);
        let told = self.control.fetch_or(OUTSTANDING, AcqRel) & OUTSTANDING != 0;
        (!told).then(|| self.processor.load(Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    fn posted() -> std::boxed::Box<Posted> {
        let zero = || AtomicU64::new(0);
        std::boxed::Box::new(Posted {
            requests: [zero(), zero(), zero(), zero()],
            control: zero(),
            reserved: [zero(), zero(), zero()],
            processor: AtomicU32::new(0),
        })
    }

    #[test]
    fn the_descriptor_is_laid_out_as_table_31_1_says() {
        assert_eq!((offset_of!(Posted, requests), offset_of!(Posted, control)), (0, 32));
        assert!(offset_of!(Posted, processor) >= 64, "the descriptor has 64 bytes");
        let posted = posted();
        posted.begin(7);
        posted.leave(0x41);
        posted.leave(0xff);
        assert_eq!(posted.requests.each_ref().map(|word| word.load(Relaxed)), [0, 2, 0, 1 << 63]);
        assert_eq!(posted.control.load(Relaxed), 1);
    }

    #[test]
    fn the_processor_is_told_once_until_it_looked() {
        let posted = posted();
        posted.begin(7);
        assert_eq!(posted.leave(0x41), Some(7));
        assert_eq!(posted.leave(0x42), None);
        // The processor clears the bit before it takes the vectors.
        posted.control.store(0, Relaxed);
        assert_eq!(posted.leave(0x43), Some(7));
        posted.begin(9);
        assert_eq!(posted.leave(0x44), Some(9));
        assert_eq!(posted.take(), [0, 1 << 4, 0, 0], "the former vectors are gone");
        assert_eq!((posted.leave(0x45), posted.take()), (Some(9), [0, 1 << 5, 0, 0]));
    }
}
