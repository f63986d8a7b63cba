//! The housekeeping CPU's work for emulated devices: it polls them, and serves what they stand on.

use crate::metered;
use crate::reach::Reach;
use crate::shared_memory::SharedMemory;
use crate::taken::Taken;
use alloc::string::String;
use alloc::vec::Vec;
use backends::{Clients, Counters, Disk, Network, Turn};
use core::fmt::Display;
use iommu::Iommu;
use spin::mutex::TicketMutex;

/// The most messages of a function that are used: an admin queue's and an I/O queue's, or that of frames
/// and that of the link.
pub const MOST_MESSAGES: u16 = 2;
/// How long the devices are polled after the last request was taken or done, in nanoseconds. Then
/// their guests tell of the next one, which costs an exit.
const POLL_NS: u64 = 50_000;
/// The same while a drive has requests: who has some under way will have more.
const AWAIT_NS: u64 = 1_000_000;
/// So many turns in a row find nothing before that: time also passes where the processor is not ours,
/// under another hypervisor or in an emulator.
const IDLE_TURNS: u32 = 100;

/// The memory of guests that a drive reads and writes itself.
pub struct DriveReach {
    /// The drive.
    pub disk: String,
    /// The guests.
    pub guests: Vec<String>,
    /// Where it finds their memory.
    pub reach: Reach,
}

/// All of it.
pub struct Io {
    /// The drives that the hypervisor keeps.
    pub disks: Vec<Disk>,
    /// What of them reaches the memory of guests.
    reaches: Vec<DriveReach>,
    /// The networks that it switches.
    pub networks: Vec<Network>,
    /// The memories that guests share.
    pub memories: Vec<SharedMemory>,
    /// When the last request was taken or done, if one was.
    worked_at_ns: Option<u64>,
    /// Turns since, up to [`IDLE_TURNS`].
    idle_turns: u32,
    /// The guests tell of what they put into their queues.
    is_told: bool,
    /// When a driver wants to be called at the latest.
    deadline_ns: Option<u64>,
}

impl Io {
    /// The work on these drives, networks and memories.
    pub fn new(
        (disks, reaches): (Vec<Disk>, Vec<DriveReach>),
        networks: Vec<Network>,
        memories: Vec<SharedMemory>,
    ) -> Self {
        Self {
            disks,
            reaches,
            networks,
            memories,
            is_told: false,
            worked_at_ns: None,
            idle_turns: IDLE_TURNS,
            deadline_ns: None,
        }
    }

    /// Has the drives that reach a guest's memory find it. Where one cannot, its data is copied.
    pub fn reach_memory(
        &mut self,
        (guest, name): (usize, &str),
        taken: &mut Taken,
        iommu: Option<&TicketMutex<impl Iommu>>,
    ) {
        for DriveReach { disk: drive, guests, reach } in &mut self.reaches {
            let disk = self.disks.iter_mut().find(|disk| disk.name == *drive);
            let Some(disk) = disk.filter(|_| guests.iter().any(|guest| guest == name)) else { continue };
            match reach.map(taken, iommu) {
                Ok(at) => {
                    log::info!("disk {drive} reads and writes the memory of {name} itself");
                    disk.reach(guest, at);
                }
                Err(error) => log::warn!("disk {drive}: data of {name} is copied: {error}"),
            }
        }
    }

    /// Forgets what is of a guest that is not built after all.
    pub fn remove(&mut self, guest: usize) {
        self.disks.iter_mut().for_each(|disk| disk.remove_parts(guest));
        self.networks.iter_mut().for_each(|network| network.remove_ports(guest));
        self.memories.iter_mut().for_each(|memory| memory.peers.remove_peers(guest));
    }

    /// Does what can be done at once for the guests' devices, a bounded part of it. Whether to call
    /// again without waiting.
    pub fn turn(&mut self, clients: &mut dyn Clients, now_ns: u64) -> bool {
        let mut all = Turn::default();
        for disk in &mut self.disks {
            add(&mut all, disk.turn(now_ns, clients));
            let mut report = |name: &str, reason: &dyn Display, failures| {
                log::error!("disk {name} failed: {reason}; it is started again (failure {failures})");
            };
            if disk.report_failure(&mut report) {
                disk.restart(now_ns);
            }
            disk.report_faults(now_ns, &mut |name, fault| log::error!("disk {name}: {fault}"));
        }
        for network in &mut self.networks {
            add(&mut all, network.turn(now_ns, clients));
            let mut report = |name: &str, reason: &dyn Display, failures| {
                log::error!(
                    "the uplink of network {name} failed: {reason}; it is started again (failure {failures})"
                );
            };
            if network.report_failure(&mut report) {
                network.restart(now_ns);
            }
            network.report_link(now_ns, &mut |name, is_up| match is_up {
                true => log::info!("the uplink of network {name} has a link"),
                false => log::warn!("the uplink of network {name} lost its link"),
            });
        }
        for memory in &mut self.memories {
            all.worked |= memory.peers.turn(clients);
        }
        metered::worked(all.worked);
        self.deadline_ns = all.deadline_ns;
        if all.worked {
            self.worked_at_ns = Some(now_ns);
            self.idle_turns = 0;
        } else if self.idle_turns < IDLE_TURNS {
            self.idle_turns += 1;
        }
        let patience_ns = if all.in_flight { AWAIT_NS } else { POLL_NS };
        let polls = self.idle_turns < IDLE_TURNS
            || self.worked_at_ns.is_some_and(|at_ns| now_ns < at_ns.saturating_add(patience_ns));
        // While somebody polls the guests need not tell; before nobody does, they must know.
        if polls == self.is_told {
            self.is_told = !polls;
            for disk in &self.disks {
                all.worked |= disk.want_notifications(!polls, clients);
            }
            for network in &mut self.networks {
                all.worked |= network.set_polled(polls, clients);
            }
        }
        all.worked || polls
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
        for network in &mut self.networks {
            (0..MOST_MESSAGES).for_each(|message| network.interrupt(message, now_ns));
        }
    }

    /// What was done for a drive of a guest: its endpoint.
    pub fn counters(&self, guest: usize, endpoint: usize) -> Option<Counters> {
        self.disks.iter().find_map(|disk| disk.counters(guest, endpoint))
    }
}

fn add(all: &mut Turn, turn: Turn) {
    all.worked |= turn.worked;
    all.in_flight |= turn.in_flight;
    all.deadline_ns = all.deadline_ns.into_iter().chain(turn.deadline_ns).min();
}
