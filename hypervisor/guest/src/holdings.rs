//! What a guest's functions have of the machine's, compared from one end of it to the next.
//!
//! Nothing that a guest had may be missing after it has ended, or the machine's tables are full
//! some restarts later.

use spin::mutex::TicketMutex;

/// What a guest's functions have at a moment.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Holdings {
    /// Frames that its nested tables can still take.
    pub nested_frames_left: usize,
    /// Frames that the IOMMUs' tables can still take, of all guests together.
    pub iommu_frames_left: usize,
    /// Requester IDs that may do DMA, and interrupts that may be sent.
    pub in_force: usize,
}

/// What an end did not give back that an earlier one did.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Frames of tables.
    pub frames: usize,
    /// Requester IDs that may do DMA, and interrupts that may be sent.
    pub in_force: usize,
}

/// A guest's holdings after its first end and after its last.
#[derive(Default)]
pub struct Account(TicketMutex<Option<(Holdings, Holdings)>>);

impl Account {
    /// The guest has ended, and everything was taken back.
    pub fn note(&self, now: Holdings) {
        let mut ends = self.0.lock();
        let first = ends.map_or(now, |(first, _)| first);
        *ends = Some((first, now));
    }

    /// What is missing after the last end that was there after the first. What is in force
    /// while the guest is off counts from the first end on.
    pub fn kept(&self) -> Kept {
        let Some((first, last)) = *self.0.lock() else { return Kept::default() };
        let nested = first.nested_frames_left.saturating_sub(last.nested_frames_left);
        let iommu = first.iommu_frames_left.saturating_sub(last.iommu_frames_left);
        Kept { frames: nested.saturating_add(iommu), in_force: last.in_force }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Holdings = Holdings { nested_frames_left: 10, iommu_frames_left: 20, in_force: 0 };

    #[test]
    fn a_guest_that_gave_all_back_keeps_nothing() {
        let account = Account::default();
        assert_eq!(account.kept(), Kept::default());
        account.note(FIRST);
        account.note(Holdings { nested_frames_left: 2, ..FIRST });
        account.note(FIRST);
        assert_eq!(account.kept(), Kept::default());
    }

    #[test]
    fn what_is_missing_is_told() {
        let account = Account::default();
        account.note(FIRST);
        account.note(Holdings { nested_frames_left: 9, iommu_frames_left: 18, in_force: 4 });
        assert_eq!(account.kept(), Kept { frames: 3, in_force: 4 });
    }

    #[test]
    fn what_the_first_end_leaves_in_force_is_told_too() {
        let account = Account::default();
        account.note(Holdings { in_force: 1, ..FIRST });
        assert_eq!(account.kept().in_force, 1);
    }
}
