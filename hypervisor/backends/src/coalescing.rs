//! How many requests are done when their guest is interrupted.
//!
//! An interrupt costs a guest more than what it does for one request. Where many requests are under way
//! one interrupt tells of a quarter as many: then a request waits a quarter longer than it took already, at
//! most. Of one that is alone, or the last one, the guest is told at once. How many are under way is
//! remembered for some interrupts, so that a queue that drains is told of as one that is full.

/// The longest that an interrupt waits for others, in nanoseconds: what is under way may take longer
/// than what was before.
const MOST_NS: u64 = 500_000;

/// The requests of one device that are done, of which its guest was not told.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Coalescing {
    done: usize,
    /// When the first of them was done, in nanoseconds of the clock.
    since_ns: Option<u64>,
    /// How many were under way at a time lately.
    depth: usize,
}

impl Coalescing {
    /// One more is done, while `under_way` are not. Whether its interrupt is to wait; if not, all have
    /// to be told of now.
    pub fn waits(&mut self, under_way: usize, now_ns: u64) -> bool {
        self.done += 1;
        let since_ns = *self.since_ns.get_or_insert(now_ns);
        let is_late = now_ns.saturating_sub(since_ns) >= MOST_NS;
        self.depth = self.depth.max(self.done.saturating_add(under_way));
        let waits = under_way > 0 && self.done.saturating_mul(4) < self.depth && !is_late;
        if !waits {
            self.tell();
        }
        waits
    }

    /// Whether what waits has waited long enough, and is to be told of now.
    pub fn take_late(&mut self, now_ns: u64) -> bool {
        let is_late = self.deadline_ns().is_some_and(|deadline_ns| deadline_ns <= now_ns);
        if is_late {
            self.tell();
        }
        is_late
    }

    /// The guest is told.
    fn tell(&mut self) {
        *self = Self { depth: self.depth.saturating_sub(self.depth.div_ceil(8)), ..Self::default() };
    }

    /// When what waits has waited long enough, if something does.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.since_ns.map(|since_ns| since_ns.saturating_add(MOST_NS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Interrupts for so many requests of a guest that has `depth` under way, or done and not told of.
    fn of(coalescing: &mut Coalescing, depth: usize, requests: usize) -> usize {
        let (mut untold, mut interrupts) = (0, 0);
        for _ in 0..requests {
            untold += 1;
            if !coalescing.waits(depth - untold, 0) {
                (untold, interrupts) = (0, interrupts + 1);
            }
        }
        interrupts
    }

    fn interrupts(depth: usize, requests: usize) -> usize {
        of(&mut Coalescing::default(), depth, requests)
    }

    #[test]
    fn a_request_that_is_alone_is_told_of_at_once() {
        for depth in 1..=4 {
            assert_eq!(interrupts(depth, 100), 100, "{depth}");
        }
    }

    #[test]
    fn many_share_an_interrupt() {
        assert_eq!(interrupts(8, 100), 50);
        assert_eq!(interrupts(32, 800), 100);
        assert_eq!(interrupts(128, 3200), 100);
    }

    #[test]
    fn a_queue_that_drains_is_told_of_as_one_that_is_full() {
        let mut coalescing = Coalescing::default();
        for _ in 0..3 {
            let told = (0..32).rev().filter(|under_way| !coalescing.waits(*under_way, 0)).count();
            assert!(told <= 6, "{told}");
        }
        // Then it is forgotten that it was deep.
        assert!(of(&mut coalescing, 2, 60) < 60);
        assert_eq!(of(&mut coalescing, 2, 60), 60);
    }

    #[test]
    fn none_waits_for_what_does_not_come() {
        let mut coalescing = Coalescing::default();
        assert_eq!(coalescing.deadline_ns(), None);
        assert!(coalescing.waits(31, 1000));
        assert!(coalescing.waits(30, 2000));
        assert_eq!(coalescing.deadline_ns(), Some(1000 + MOST_NS));
        assert!(!coalescing.take_late(MOST_NS));
        assert!(coalescing.take_late(1000 + MOST_NS));
        assert!(!coalescing.take_late(u64::MAX));
    }

    proptest! {
        /// However requests come and go, nothing waits when nothing is under way.
        #[test]
        fn the_last_one_tells_of_all(steps in prop::collection::vec((0_usize..40, 0_u64..100_000), 1..60)) {
            let mut coalescing = Coalescing::default();
            let (mut under_way, mut now_ns, mut untold_since) = (0_usize, 0, None);
            for (given, passes_ns) in steps {
                (under_way, now_ns) = (under_way + given, now_ns + passes_ns);
                if coalescing.take_late(now_ns) {
                    untold_since = None;
                }
                if let Some(left) = under_way.checked_sub(1) {
                    under_way = left;
                    let waits = coalescing.waits(under_way, now_ns);
                    untold_since = waits.then_some(untold_since.unwrap_or(now_ns));
                    prop_assert!(!waits || under_way > 0);
                }
                prop_assert_eq!(coalescing.deadline_ns(), untold_since.map(|since| since + MOST_NS));
            }
        }
    }
}
