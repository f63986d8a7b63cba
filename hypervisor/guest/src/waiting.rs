//! Waiting for a lock behind which a model may be at work in ring 3.

use spin::mutex::TicketMutex;
use spin::{Once, RelaxStrategy};

/// A lock that is held while a compartment runs. Whoever waits for it sees to it that what takes too long
/// there is ended: the one who waits may be the one who watches over that.
pub type Watched<T> = TicketMutex<T, Watch>;

static LOOK: Once<fn()> = Once::new();

/// Has everybody who waits do this again and again. The first one that is told stays.
pub fn look_while_waiting(look: fn()) {
    LOOK.call_once(|| look);
}

/// What is done while waiting.
pub struct Watch;

impl RelaxStrategy for Watch {
    fn relax() {
        core::hint::spin_loop();
        if let Some(look) = LOOK.get() {
            look();
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    static LOOKED: AtomicUsize = AtomicUsize::new(0);

    #[test]
    fn who_waits_looks_until_the_lock_is_free() {
        look_while_waiting(|| {
            LOOKED.fetch_add(1, Ordering::SeqCst);
        });
        let lock = Watched::new(0);
        let (taken, is_taken) = channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut value = lock.lock();
                taken.send(()).expect("somebody waits");
                // It is let go only once the other one has waited.
                while LOOKED.load(Ordering::SeqCst) < 2 {
                    std::thread::yield_now();
                }
                *value = 1;
            });
            is_taken.recv().expect("it is taken");
            assert_eq!(*lock.lock(), 1);
        });
    }
}
