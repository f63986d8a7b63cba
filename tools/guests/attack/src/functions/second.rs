//! The second processor, which changes what the first one has a device look at.

use super::PATIENCE;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use support::smp;
use support::time::wait_until;

static STOP: AtomicBool = AtomicBool::new(false);
static ENDED: AtomicBool = AtomicBool::new(false);
static ROUNDS: AtomicU32 = AtomicU32::new(0);
static WORDS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// Starts it on `work`, which asks [`goes_on`] before each round and then calls [`end`]. Whether it
/// came.
pub fn start(words: [u64; 4], work: fn() -> !) -> bool {
    for (place, word) in WORDS.iter().zip(words) {
        place.store(word, Ordering::Relaxed);
    }
    STOP.store(false, Ordering::Relaxed);
    ENDED.store(false, Ordering::Relaxed);
    ROUNDS.store(0, Ordering::Relaxed);
    smp::start(1, work)
}

/// What it was started with.
pub fn words() -> [u64; 4] {
    WORDS.each_ref().map(|word| word.load(Ordering::Relaxed))
}

/// Counts a round, unless it is to stop.
pub fn goes_on() -> bool {
    ROUNDS.fetch_add(1, Ordering::Relaxed);
    !STOP.load(Ordering::Relaxed)
}

/// Its end.
pub fn end() -> ! {
    ENDED.store(true, Ordering::Relaxed);
    support::cpu::halt()
}

/// Stops it. Whether it did something, and has stopped.
pub fn stop() -> bool {
    STOP.store(true, Ordering::Relaxed);
    wait_until(PATIENCE, || ENDED.load(Ordering::Relaxed)) && ROUNDS.load(Ordering::Relaxed) > 1
}
