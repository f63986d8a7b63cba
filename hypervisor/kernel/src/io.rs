//! The housekeeping CPU's work for emulated devices: it polls them, and serves what they stand on.

use alloc::vec::Vec;
use backends::{Clients, Counters, Disk};

/// The most messages of a function that are used: an admin queue's and an I/O queue's.
pub const MOST_MESSAGES: u16 = 2;
/// How long the devices are polled after the last request was taken or done, in nanoseconds. Then
/// their guests tell of the next one, which costs an exit.
const POLL_NS: u64 = 50_000;

/// All of it.
pub struct Io {
    disks: Vec<Disk>,
    /// When the devices need not be polled any more.
    poll_until_ns: u64,
    /// The guests tell of what they put into their queues.
    is_told: bool,
    /// When a driver wants to be called at the latest.
    deadline_ns: Option<u64>,
}

impl Io {
    /// The work on these drives.
    pub const fn new(disks: Vec<Disk>) -> Self {
        Self { disks, poll_until_ns: 0, is_told: false, deadline_ns: None }
    }

    /// Does what can be done at once for the guests' devices, a bounded part of it. Whether to call
    /// again without waiting.
    pub fn turn(&mut self, clients: &mut dyn Clients, now_ns: u64) -> bool {
        let mut worked = false;
        self.deadline_ns = None;
        for disk in &mut self.disks {
            let turn = disk.turn(now_ns, clients);
            report_failure(disk, now_ns);
            worked |= turn.worked;
            self.deadline_ns = self.deadline_ns.into_iter().chain(turn.deadline_ns).min();
        }
        if worked {
            self.poll_until_ns = now_ns.saturating_add(POLL_NS);
        }
        let polls = now_ns < self.poll_until_ns;
        // While somebody polls the guests need not tell; before nobody does, they must know.
        if polls == self.is_told {
            self.is_told = !polls;
            for disk in &self.disks {
                worked |= disk.want_notifications(!polls, clients);
            }
        }
        worked || polls
    }

    /// When [`turn`](Self::turn) has to be called at the latest, if nothing comes before, in
    /// nanoseconds of the clock.
    pub const fn deadline_ns(&self) -> Option<u64> {
        self.deadline_ns
    }

    /// A device of the hypervisor's sent a message: which one, and which message, the drivers find
    /// out.
    pub fn interrupt(&mut self, now_ns: u64) {
        for disk in &mut self.disks {
            (0..MOST_MESSAGES).for_each(|message| disk.interrupt(message, now_ns));
        }
    }

    /// What was done for an endpoint of a guest.
    pub fn counters(&self, guest: usize, endpoint: usize) -> Option<Counters> {
        self.disks.iter().find_map(|disk| disk.counters(guest, endpoint))
    }
}

fn report_failure(disk: &mut Disk, now_ns: u64) {
    let has_failed = disk.report_failure(&mut |name, reason, failures| {
        log::error!("disk {name} failed: {reason}; it is started again (failure {failures})");
    });
    if has_failed {
        disk.restart(now_ns);
    }
}
