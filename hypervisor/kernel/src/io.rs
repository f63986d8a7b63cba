//! The work for emulated devices. The housekeeping CPU serves what they stand on, and polls the devices
//! while there is something to do; where the configuration says `io = "guest"`, it does not poll, and the
//! processor of a guest does what that guest told of, in the exit by which it did.
//!
//! Each drive, network and shared memory has a lock of its own, held for one turn, and taken before those of the
//! endpoints. Where the housekeeping CPU does all of the work nobody else takes them.

use crate::backings::Backings;
use crate::metered;
use crate::shared_memory::SharedMemory;
use alloc::vec::Vec;
use backends::{Clients, Counters, Disk, Network, Turn, serve_in_exit};
use core::fmt::Display;
use guest::waiting::Watched;
use plan::IoProcessor;
use spin::Once;

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
/// What emulated devices stand on, as all processors find it.
pub static IO: Once<Io> = Once::new();

/// All of it.
pub struct Io {
    /// The drives that the hypervisor keeps.
    disks: Vec<Watched<Disk>>,
    /// The networks that it switches.
    pub networks: Vec<Watched<Network>>,
    /// The memories that guests share.
    memories: Vec<Watched<SharedMemory>>,
    /// What the endpoints of each guest stand on.
    places: Vec<Vec<Option<Place>>>,
    /// Whose processor does what a guest told of.
    by: IoProcessor,
}

/// What an endpoint stands on: one of the drives, networks or memories, by its number.
#[derive(Clone, Copy)]
enum Place {
    Disk(usize),
    Network(usize),
    Memory(usize),
}

impl Io {
    /// The work on what was brought up, for guests with so many endpoints each.
    pub fn new(built: Backings, by: IoProcessor, guests: impl Iterator<Item = usize>) -> Self {
        let Backings { disks, networks, memories, .. } = built;
        let place = |whose| {
            let parts: usize = disks.iter().map(|disk| disk.parts_of(whose)).sum();
            // What two parts have to do is left to the housekeeping CPU: an exit has a turn of one.
            if parts > 1 {
                return None;
            }
            let disk = disks.iter().position(|disk| disk.parts_of(whose) > 0).map(Place::Disk);
            let network = || networks.iter().position(|network| network.serves(whose)).map(Place::Network);
            let memory = || memories.iter().position(|memory| memory.peers.serves(whose)).map(Place::Memory);
            disk.or_else(network).or_else(memory)
        };
        let places = guests
            .enumerate()
            .map(|(guest, endpoints)| (0..endpoints).map(|endpoint| place((guest, endpoint))).collect())
            .collect();
        Self {
            places,
            disks: disks.into_iter().map(Watched::new).collect(),
            networks: networks.into_iter().map(Watched::new).collect(),
            memories: memories.into_iter().map(Watched::new).collect(),
            by,
        }
    }

    /// Whether the processors of guests do what they told of.
    pub fn is_by_guests(&self) -> bool {
        self.by == IoProcessor::Guest
    }

    /// Does what can be done at once for the guests' devices, a bounded part of it. Whether to call
    /// again without waiting.
    pub fn turn(&self, polling: &mut Polling, clients: &mut dyn Clients, now_ns: u64) -> bool {
        let mut all = Turn::default();
        for disk in &self.disks {
            add(&mut all, disk_turn(&mut disk.lock(), clients, now_ns));
        }
        for network in &self.networks {
            add(&mut all, network_turn(&mut network.lock(), clients, now_ns));
        }
        for memory in &self.memories {
            all.worked |= memory.lock().peers.turn(clients);
        }
        metered::worked(all.worked);
        let polls = polling.goes_on(all, now_ns) && !self.is_by_guests();
        // While somebody polls the guests need not tell; before nobody does, they must know.
        if polling.changes(polls, all.worked) {
            all.worked |= self.set_polled(polls, clients);
        }
        all.worked || polls
    }

    /// Says whether there will be one turn after the other, so that guests need not tell of what they put
    /// into their queues. Whether something was put there that nobody told of: then a turn is due.
    fn set_polled(&self, polls: bool, clients: &mut dyn Clients) -> bool {
        let mut missed = false;
        for disk in &self.disks {
            missed |= disk.lock().want_notifications(!polls, clients);
        }
        for network in &self.networks {
            missed |= network.lock().set_polled(polls, clients);
        }
        missed
    }

    /// Does what a guest told of by one of its endpoints, on the guest's own processor. Whether something
    /// is left for the housekeeping CPU.
    pub fn serve(
        &self,
        whose @ (guest, endpoint): (usize, usize),
        clients: &mut dyn Clients,
        now_ns: impl Fn() -> u64,
    ) -> bool {
        let place = self.places.get(guest).and_then(|places| places.get(endpoint)).copied().flatten();
        match place {
            Some(Place::Disk(disk)) => self.disks.get(disk).is_none_or(|disk| {
                let turn = &mut |clients: &mut dyn Clients| disk.lock().turn_of(whose, now_ns(), clients);
                serve_in_exit(whose, clients, turn)
            }),
            Some(Place::Network(network)) => self.networks.get(network).is_none_or(|network| {
                let turn = &mut |clients: &mut dyn Clients| network.lock().turn_of(whose, now_ns(), clients);
                serve_in_exit(whose, clients, turn)
            }),
            // All that were rung are carried, which no guest asks to be told of.
            Some(Place::Memory(memory)) => {
                self.memories.get(memory).map(|memory| memory.lock().peers.turn(clients));
                false
            }
            None => true,
        }
    }

    /// A device of the hypervisor's sent a message: which one, and which message, the drivers find
    /// out.
    pub fn interrupt(&self, now_ns: u64) {
        for disk in &self.disks {
            let mut disk = disk.lock();
            (0..MOST_MESSAGES).for_each(|message| disk.interrupt(message, now_ns));
        }
        for network in &self.networks {
            let mut network = network.lock();
            (0..MOST_MESSAGES).for_each(|message| network.interrupt(message, now_ns));
        }
    }

    /// What was done for a drive of a guest: its endpoint.
    pub fn counters(&self, guest: usize, endpoint: usize) -> Option<Counters> {
        self.disks.iter().filter_map(|disk| disk.lock().counters(guest, endpoint)).reduce(Counters::plus)
    }
}

/// A turn of a drive: what failed of it is said, and a drive that failed is started again.
fn disk_turn(disk: &mut Disk, clients: &mut dyn Clients, now_ns: u64) -> Turn {
    let found = disk.turn(now_ns, clients);
    let mut report = |name: &str, reason: &dyn Display, failures| {
        log::error!("disk {name} failed: {reason}; it is started again (failure {failures})");
    };
    if disk.report_failure(&mut report) {
        disk.restart(now_ns);
    }
    disk.report_faults(now_ns, &mut |name, fault| log::error!("disk {name}: {fault}"));
    found
}

/// A turn of a network, likewise.
fn network_turn(network: &mut Network, clients: &mut dyn Clients, now_ns: u64) -> Turn {
    let found = network.turn(now_ns, clients);
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
    found
}

fn add(all: &mut Turn, turn: Turn) {
    all.worked |= turn.worked;
    all.in_flight |= turn.in_flight;
    all.deadline_ns = all.deadline_ns.into_iter().chain(turn.deadline_ns).min();
}

/// When the housekeeping CPU polls, and when it has to look again.
pub struct Polling {
    /// When the last request was taken or done, if one was.
    worked_at_ns: Option<u64>,
    /// Turns since, up to [`IDLE_TURNS`].
    idle_turns: u32,
    /// The guests tell of what they put into their queues.
    is_told: bool,
    /// Something was taken from their queues since they were asked to tell.
    is_stale: bool,
    /// When a driver wants to be called at the latest.
    deadline_ns: Option<u64>,
}

impl Polling {
    /// Before the first turn.
    pub const fn new() -> Self {
        Self {
            is_told: false,
            is_stale: false,
            worked_at_ns: None,
            idle_turns: IDLE_TURNS,
            deadline_ns: None,
        }
    }

    /// When [`Io::turn`] has to be called at the latest, if nothing comes before, in nanoseconds of the
    /// clock.
    pub const fn deadline_ns(&self) -> Option<u64> {
        self.deadline_ns
    }

    /// Whether there is reason to look again at once after a turn that found this.
    fn goes_on(&mut self, found: Turn, now_ns: u64) -> bool {
        self.deadline_ns = found.deadline_ns;
        if found.worked {
            self.worked_at_ns = Some(now_ns);
            self.idle_turns = 0;
            self.is_stale = true;
        } else if self.idle_turns < IDLE_TURNS {
            self.idle_turns += 1;
        }
        let patience_ns = if found.in_flight { AWAIT_NS } else { POLL_NS };
        self.idle_turns < IDLE_TURNS
            || self.worked_at_ns.is_some_and(|at_ns| now_ns < at_ns.saturating_add(patience_ns))
    }

    /// Whether the guests have to be told how it goes on: where that changes, and where nobody polls and they
    /// were asked to tell of something that was taken since.
    fn changes(&mut self, polls: bool, has_worked: bool) -> bool {
        let is_stale = self.is_told && self.is_stale && !has_worked;
        let changes = polls == self.is_told || is_stale;
        if changes {
            (self.is_told, self.is_stale) = (!polls, false);
        }
        changes
    }
}
