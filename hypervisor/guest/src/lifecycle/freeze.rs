//! A guest that is frozen, and goes on.
//!
//! To freeze it is to end its turn ([`End::Frozen`]): all vCPUs leave their loops and write themselves
//! out, and when the last has, the first one's processor writes the rest and throws the guest's state
//! away. Meanwhile guest time stands still. It goes on from what was written, and from nothing else.

use super::{CONTINUE, Entrance, HALT, Lifecycle, RESTART, STOP, Stage};
use crate::host::Host;
use crate::partition::{End, Partition};
use core::fmt;
use core::sync::atomic::Ordering::SeqCst;
use devices::snapshot::SaveFault;

impl Lifecycle {
    /// Whether it is frozen.
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(SeqCst)
    }

    /// Freezes a running guest; it stays frozen until [`Lifecycle::request_continue`], and stopping it
    /// or starting it again forgets what was frozen. The log says so, and `why`. To be called with the
    /// guest's own partition.
    pub fn request_freeze<H: Host>(&self, partition: &Partition<H>, why: fmt::Arguments<'_>) {
        let problem = if !self.policy.may_freeze {
            "there is no room for its state (snapshot = true makes some)"
        } else if self.is_over() || !partition.request_end(End::Frozen) {
            "it does not run"
        } else {
            return partition.host.log(partition, format_args!("is being frozen: {why}"));
        };
        partition.host.log(partition, format_args!("is not frozen ({why}): {problem}"));
    }

    /// Lets a frozen guest go on. The log says so, and `why`. To be called with the guest's own
    /// partition.
    pub fn request_continue<H: Host>(&self, partition: &Partition<H>, why: fmt::Arguments<'_>) {
        if !self.is_frozen() {
            return partition.host.log(partition, format_args!("does not go on ({why}): it is not frozen"));
        }
        self.order(|orders| orders | CONTINUE);
        partition.host.log(partition, format_args!("is to go on: {why}"));
        partition.host.kick(partition, 0);
    }

    fn has_order(&self, orders: u8) -> bool {
        self.orders.load(SeqCst) & orders != 0
    }

    /// The guest is frozen until somebody wants something else. How it ended, or how its vCPUs go on.
    pub(super) fn stay_frozen<S: Stage>(&self, stage: &S) -> Result<End, Entrance> {
        let partition = stage.partition();
        self.order(|orders| orders & !CONTINUE);
        let unsaved = self.unsaved.swap(false, SeqCst);
        let saved = if unsaved { Err(SaveFault::TooLong) } else { stage.freeze() };
        if let Err(why) = saved {
            partition.go_on();
            // Only now can it be frozen again, by who reads this.
            partition.host.log(partition, format_args!("is not frozen, and goes on: {why}"));
            return self.go_on(stage, Entrance::Kept);
        }
        self.frozen.store(true, SeqCst);
        partition.host.log(partition, format_args!("is frozen"));
        while !self.has_order(CONTINUE | STOP | RESTART | HALT) {
            stage.sleep();
        }
        self.frozen.store(false, SeqCst);
        if self.has_order(STOP | RESTART | HALT) {
            return Ok(end(partition, if self.is_to_stop() { End::Stopped } else { End::Restarted }));
        }
        match stage.thaw() {
            Ok(()) => {
                partition.host.log(partition, format_args!("goes on"));
                self.go_on(stage, Entrance::Restored)
            }
            Err(why) => {
                partition.host.log(partition, format_args!("cannot go on: {why}"));
                Ok(end(partition, End::InvalidState))
            }
        }
    }

    /// The vCPUs go on, but an order that came while the guest could not end ends it now.
    fn go_on<S: Stage>(&self, stage: &S, entrance: Entrance) -> Result<End, Entrance> {
        let partition = stage.partition();
        if self.is_to_stop() {
            partition.request_end(End::Stopped);
        } else if self.is_to_restart() {
            partition.request_end(End::Restarted);
        }
        Err(entrance)
    }
}

/// Nothing is left of what was frozen.
fn end<H: Host>(partition: &Partition<H>, end: End) -> End {
    partition.end_frozen(end);
    end
}
