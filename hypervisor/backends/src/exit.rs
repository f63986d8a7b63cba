//! What a guest's own processor does for an endpoint, in the exit by which the guest told of something.

use crate::disk::{Clients, Turn};

/// So many turns an exit has at most. What is left then is the housekeeping CPU's, so that the guest's
/// processor looks at its mail again.
const MOST_TURNS: u32 = 8;

/// Has `turn`, a turn of what the endpoint stands on for this endpoint alone, do what waits there, and asks the
/// guest to tell of what comes next. Whether something is left for the housekeeping CPU.
pub fn serve_in_exit(
    (guest, endpoint): (usize, usize),
    clients: &mut dyn Clients,
    turn: &mut dyn FnMut(&mut dyn Clients) -> Turn,
) -> bool {
    let mut is_asked = false;
    for _ in 0..MOST_TURNS {
        let Turn { worked, deadline_ns, .. } = turn(clients);
        if worked {
            is_asked = false;
            continue;
        }
        // What waits now is for something that no exit of this guest's brings.
        if is_asked || deadline_ns.is_some() {
            return true;
        }
        // Another processor of the guest's that adds something from now on tells of it.
        let mut missed = false;
        clients.with(guest, endpoint, &mut |endpoint, around| {
            missed = endpoint.want_notifications(true, around);
        });
        if !missed {
            return false;
        }
        is_asked = true;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use access::memory::VecMemory;
    use devices::device::{Completion, Context};
    use devices::{Backend, Device, Endpoint, Surroundings};
    use spec::Width;
    use std::boxed::Box;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    /// A device that counts how often its guest is asked to tell of more, and has something to take so often.
    struct Counter {
        asked: Arc<AtomicU32>,
        missed: u32,
    }

    impl Device for Counter {
        fn most_effects(&self) -> usize {
            0
        }
        fn read(&mut self, _: u64, width: Width, _: &mut Context<'_>) -> u64 {
            width.mask()
        }
        fn write(&mut self, _: u64, _: Width, _: u64, _: &mut Context<'_>) {}
        fn complete(&mut self, _: Completion, _: &mut Context<'_>) {}
        fn line(&self) -> bool {
            false
        }
        fn reset(&mut self) {}
        fn want_notifications(&mut self, wanted: bool, _: &mut Context<'_>) -> bool {
            assert!(wanted);
            self.asked.fetch_add(1, SeqCst) < self.missed
        }
    }

    struct One(Endpoint);

    impl Clients for One {
        fn with(
            &mut self,
            guest: usize,
            endpoint: usize,
            serve: &mut dyn FnMut(&mut Endpoint, &mut Surroundings<'_>),
        ) {
            assert_eq!((guest, endpoint), (3, 1));
            let memory = VecMemory::new(0);
            serve(
                &mut self.0,
                &mut Surroundings { memory: &memory, now: 0, send: &mut |_| (), print: &mut |_| () },
            );
        }
    }

    /// Turns that find these things, then nothing any more, of a device that has something more to take after so
    /// many questions. Returns whether something is left, how many turns there were, and how many questions.
    fn serve(finds: &[Turn], missed: u32) -> (bool, u32, u32) {
        let asked = Arc::new(AtomicU32::new(0));
        let device = Box::new(Counter { asked: asked.clone(), missed });
        let mut clients = One(Endpoint::new(device, Backend::Served, 1, 0x1000, 0x2000));
        let mut turns = 0;
        let is_left = serve_in_exit((3, 1), &mut clients, &mut |_| {
            turns += 1;
            finds.get(turns as usize - 1).copied().unwrap_or_default()
        });
        (is_left, turns, asked.load(SeqCst))
    }

    const WORKED: Turn = Turn { worked: true, in_flight: false, deadline_ns: None };
    const LATER: Turn = Turn { worked: false, in_flight: false, deadline_ns: Some(9) };

    #[test]
    fn what_is_found_is_done_and_the_guest_is_asked_to_tell_of_more() {
        assert_eq!(serve(&[], 0), (false, 1, 1));
        assert_eq!(serve(&[WORKED, WORKED], 0), (false, 3, 1));
    }

    #[test]
    fn what_came_before_the_guest_was_asked_is_done_too() {
        assert_eq!(serve(&[WORKED, Turn::default(), WORKED], 1), (false, 4, 2));
    }

    #[test]
    fn what_waits_for_something_else_is_left() {
        assert_eq!(serve(&[LATER], 0), (true, 1, 0));
        assert_eq!(serve(&[WORKED, LATER], 0), (true, 2, 0));
        assert_eq!(serve(&[], 1), (true, 2, 1), "the drive takes none now");
    }

    #[test]
    fn a_guest_that_always_has_more_stays_no_longer_than_that() {
        assert_eq!(serve(&[WORKED; 100], 0), (true, MOST_TURNS, 0));
        let in_turn = [[Turn::default(), WORKED]; 50].concat();
        assert_eq!(serve(&in_turn, 100), (true, MOST_TURNS, MOST_TURNS / 2));
    }
}
