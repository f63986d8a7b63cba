//! A drive of the machine's, and what guests have of it.

use crate::bring_up;
use crate::faults::{FaultReport, Faults};
use crate::part::{self, Counters, Part, PartFault};
use crate::restarts::Restarts;
use crate::table::{Partition, TableFault};
use access::Clock;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use block::{Done, Drive, Geometry, Identity, Operation, Refused, State, Status, Tag};
use core::fmt::Display;
use devices::device::{self, MOST_REQUEST_BYTES, RequestFault};
use devices::endpoint::{Group, Which};
use devices::{Endpoint, Surroundings};
use spec::Iova;

/// Bytes that are copied at a time.
const CHUNK_BYTES: usize = 4096;
/// The most requests of one guest's command that are given to the drive as one.
const GROUP_REQUESTS: usize = 64;
/// What one part may give the drive in one turn, so that others wait for it no longer than the
/// copying of as much takes: requests, and bytes. As much is brought back.
const TURN_REQUESTS: usize = 8;
const TURN_BYTES: usize = 64 << 10;

/// How the devices of the guests are reached.
pub trait Clients {
    /// Lets `serve` use an endpoint of a guest. Nothing happens if there is no such endpoint.
    fn with(
        &mut self,
        guest: usize,
        endpoint: usize,
        serve: &mut dyn FnMut(&mut Endpoint, &mut Surroundings<'_>),
    );
}

/// What a turn found.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Turn {
    /// Something was done, or is left to do at once.
    pub worked: bool,
    /// A drive has requests: completions are awaited.
    pub in_flight: bool,
    /// When the next turn has to be at the latest, in nanoseconds of the clock.
    pub deadline_ns: Option<u64>,
}

/// What the drive was given.
struct Flight {
    tag: Option<Tag>,
    part: usize,
    group: Group,
    /// Its data is read or written in the guest's memory by the drive itself.
    is_lent: bool,
}

/// A drive and its parts.
pub struct Disk {
    /// Its name in the configuration.
    pub name: String,
    drive: Box<dyn Drive + Send>,
    geometry: Geometry,
    identity: Option<Identity>,
    /// It came back as another drive, and is never used again.
    is_another: bool,
    table: Result<Vec<Partition>, TableFault>,
    parts: Vec<Part>,
    flights: Box<[Flight]>,
    /// Where a group is put together.
    group: Group,
    chunk: Box<[u8]>,
    /// The part whose turn is first.
    first: usize,
    /// Its failures, and when it is started again.
    restarts: Restarts,
    /// The drive failed and nobody was told yet.
    failed: bool,
    /// It was started again, and nobody has looked what it is.
    was_restarted: bool,
    /// The requests that failed while the drive did not.
    faults: Faults,
}

impl Disk {
    /// Starts a drive, of which at most `requests` requests are used at a time, and reads its
    /// partition table. This is for the boot: it waits.
    ///
    /// # Errors
    /// Why the drive is of no use, in words.
    pub fn bring_up(
        name: String,
        mut drive: Box<dyn Drive + Send>,
        requests: usize,
        clock: &dyn Clock,
    ) -> Result<Self, String> {
        if drive.request_bytes() < MOST_REQUEST_BYTES as usize {
            return Err(format!("its requests have {} bytes at most", drive.request_bytes()));
        }
        let geometry = bring_up::start(&mut *drive, clock)?;
        let table = bring_up::partitions(&mut *drive, geometry, clock);
        let group = || Group::with_capacity(GROUP_REQUESTS);
        let flight = |_| Flight { tag: None, part: 0, group: group(), is_lent: false };
        Ok(Self {
            name,
            identity: drive.identity(),
            is_another: false,
            drive,
            geometry,
            table,
            parts: Vec::new(),
            flights: (0..requests).map(flight).collect(),
            group: group(),
            chunk: core::iter::repeat_n(0, CHUNK_BYTES).collect(),
            first: 0,
            restarts: Restarts::new(),
            failed: false,
            was_restarted: false,
            faults: Faults::default(),
        })
    }

    /// What the drive is.
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Who it said that it is, for the log.
    pub fn identity(&self) -> String {
        self.identity.map_or_else(|| "a drive without a name".into(), |identity| identity.to_string())
    }

    /// Its partitions, or why they are not known.
    pub const fn table(&self) -> &Result<Vec<Partition>, TableFault> {
        &self.table
    }

    /// Gives an endpoint a partition, by number, name or UUID, or without a name the whole drive.
    /// Returns how many blocks that is.
    ///
    /// # Errors
    /// There is no such partition, or somebody has blocks of it.
    pub fn add_part(&mut self, guest: usize, endpoint: usize, name: Option<&str>) -> Result<u64, PartFault> {
        self.add_part_of((guest, endpoint, Which::First), name)
    }

    /// The same for one of an endpoint's drives: its guest, its own number, and which of them.
    ///
    /// # Errors
    /// As of [`add_part`](Self::add_part).
    pub fn add_part_of(
        &mut self,
        whose: (usize, usize, Which),
        name: Option<&str>,
    ) -> Result<u64, PartFault> {
        let (first_block, blocks) = match name {
            None => (0, self.geometry.blocks),
            Some(name) => {
                let table = self.table.as_ref().map_err(|fault| PartFault::Table(fault.clone()))?;
                let partition = part::find(table, name)?;
                (partition.first_block, partition.blocks)
            }
        };
        let is_over = |other: &Part| {
            first_block < other.first_block.saturating_add(other.blocks)
                && other.first_block < first_block.saturating_add(blocks)
        };
        if self.parts.iter().any(is_over) {
            return Err(PartFault::Taken(name.unwrap_or("(all of it)").into()));
        }
        self.parts.push(Part::new(whose, first_block, blocks));
        Ok(blocks)
    }

    /// The drive reaches the memory of a guest, gpa 0 at `at` and on: it reads and writes there itself for
    /// the guest's parts where it can.
    pub fn reach(&mut self, guest: usize, at: Iova) {
        self.parts.iter_mut().filter(|part| part.guest == guest).for_each(|part| part.memory = Some(at));
    }

    /// Forgets the parts of a guest that is not built after all.
    pub fn remove_parts(&mut self, guest: usize) {
        self.parts.retain(|part| part.guest != guest);
    }

    /// What was done for an endpoint.
    pub fn counters(&self, guest: usize, endpoint: usize) -> Option<Counters> {
        let is_it = |part: &&Part| (part.guest, part.endpoint) == (guest, endpoint);
        self.parts.iter().filter(is_it).map(|part| part.counters).reduce(Counters::plus)
    }

    /// Tells `report` why the drive failed, and how often it has, once for each time that it did.
    /// Whether it was told: then the drive is to be started again ([`restart`](Self::restart)).
    pub fn report_failure(&mut self, report: &mut dyn FnMut(&str, &dyn Display, u64)) -> bool {
        let has_failed = core::mem::replace(&mut self.failed, false);
        if has_failed && self.is_another {
            report(&self.name, &"another drive is in its place", self.restarts.failures());
        } else if let Some(error) = self.drive.error().filter(|_| has_failed) {
            report(&self.name, error, self.restarts.failures());
        }
        has_failed
    }

    /// Tells `report` of a request that failed while the drive did not, if it is time to: the log has
    /// no line for each.
    pub fn report_faults(&mut self, now_ns: u64, report: &mut dyn FnMut(&str, &FaultReport)) {
        if let Some(fault) = self.faults.take(now_ns) {
            report(&self.name, &fault);
        }
    }

    /// The drive sent a message.
    pub fn interrupt(&mut self, message: u16, now_ns: u64) {
        self.drive.interrupt(message, now_ns);
    }

    /// Does what can be done: tells what is over, and gives the drive what waits.
    pub fn turn(&mut self, now_ns: u64, clients: &mut dyn Clients) -> Turn {
        let status = self.drive.poll(now_ns);
        match status.state {
            State::Failed => self.failed |= self.restarts.failed(now_ns),
            State::Ready(geometry) if self.was_restarted => self.compare(geometry),
            State::Ready(_) => self.restarts.works(),
            State::Off | State::Starting => {}
        }
        let (mut requests, mut bytes) = (0, 0);
        while requests < TURN_REQUESTS
            && bytes < TURN_BYTES
            && let Some(copied) = self.complete_one(now_ns, clients)
        {
            requests += 1;
            bytes += copied;
        }
        let mut worked = requests > 0;
        let late_ns = self.tell_late(now_ns, clients);
        let parts = self.parts.len();
        for step in 0..parts {
            let part = (self.first + step) % parts;
            worked |= self.submit(part, clients);
        }
        self.first = if parts == 0 { 0 } else { (self.first + 1) % parts };
        let status = self.drive.kick(now_ns);
        let in_flight = self.parts.iter().any(|part| part.under_way > 0);
        let deadline_ns = status.deadline_ns.into_iter().chain(late_ns).min();
        Turn { worked, in_flight, deadline_ns }
    }

    /// How many parts of it an endpoint has, of a guest's number and its own.
    pub fn parts_of(&self, whose: (usize, usize)) -> usize {
        self.parts.iter().filter(|part| (part.guest, part.endpoint) == whose).count()
    }

    fn part_of(&self, whose: (usize, usize)) -> Option<usize> {
        self.parts.iter().position(|part| (part.guest, part.endpoint) == whose)
    }

    /// Gives the drive what waits at one endpoint and nothing else, for the guest that told of it. What
    /// is over it leaves to [`turn`](Self::turn), which is due at once where this says that it has a deadline.
    pub fn turn_of(&mut self, whose: (usize, usize), now_ns: u64, clients: &mut dyn Clients) -> Turn {
        let Some(part) = self.part_of(whose) else { return Turn::default() };
        let worked = self.submit(part, clients);
        let Status { state, deadline_ns } = self.drive.kick(now_ns);
        // One whose driver ended is to be seen to as well.
        let is_due = state == State::Failed || deadline_ns.is_some_and(|at_ns| at_ns <= now_ns);
        Turn { worked, in_flight: false, deadline_ns: is_due.then_some(now_ns) }
    }

    /// Has the devices interrupt their guests where that has waited long enough. When the next one will
    /// have.
    fn tell_late(&mut self, now_ns: u64, clients: &mut dyn Clients) -> Option<u64> {
        for part in &mut self.parts {
            if part.coalescing.take_late(now_ns) {
                clients.with(part.guest, part.endpoint, &mut |endpoint, around| endpoint.send_held(around));
            }
        }
        self.parts.iter().filter_map(|part| part.coalescing.deadline_ns()).min()
    }

    /// Tells the devices whether their guests are to tell of what they put into their queues, as they
    /// must while nobody polls. Whether something was put there meanwhile, for which another turn is
    /// due.
    pub fn want_notifications(&self, wanted: bool, clients: &mut dyn Clients) -> bool {
        let mut missed = false;
        for part in &self.parts {
            clients.with(part.guest, part.endpoint, &mut |endpoint, around| {
                missed |= endpoint.want_notifications(wanted, around);
            });
        }
        missed
    }

    /// Starts a drive that failed again, after [`report_failure`](Self::report_failure) told of it.
    pub fn restart(&mut self, now_ns: u64) {
        if self.drive.status().state == State::Failed {
            self.drive.start(now_ns);
            self.was_restarted = true;
            // Whether it had power all the time nobody knows.
            self.parts.iter_mut().for_each(|part| part.cache.drive_failed());
        }
    }

    /// Looks whether a drive that was started again is the one that the guests have parts of: in its
    /// place another may be plugged.
    fn compare(&mut self, geometry: Geometry) {
        self.was_restarted = false;
        self.is_another = geometry != self.geometry || self.drive.identity() != self.identity;
        if self.is_another {
            self.failed = true;
            self.restarts.count();
        }
    }

    /// Tells of the request that was over first, if there is one. Returns how many bytes of it were copied.
    fn complete_one(&mut self, now_ns: u64, clients: &mut dyn Clients) -> Option<usize> {
        let done = self.drive.next_done()?;
        let mut bytes = 0;
        if let Some(flight) = self.flights.iter_mut().find(|flight| flight.tag == Some(done.tag)) {
            flight.tag = None;
            let (drive, chunk) = (&*self.drive, &mut self.chunk);
            let (group, is_lent) = (&flight.group, core::mem::take(&mut flight.is_lent));
            bytes = if is_lent { 0 } else { group.bytes() };
            let outcome = done.outcome.map_err(|_| RequestFault::Medium);
            if let Some(part) = self.parts.get_mut(flight.part) {
                note(done, part, group, self.geometry, &mut self.faults);
                part.under_way = part.under_way.saturating_sub(1);
                let waits = part.coalescing.waits(part.under_way, now_ns);
                clients.with(part.guest, part.endpoint, &mut |endpoint, around| {
                    let mut outcome = outcome;
                    if is_lent {
                        endpoint.take_back();
                    } else if outcome.is_ok() && done.operation == Operation::Read {
                        outcome = copy_to_guest(drive, done.tag, group, chunk, endpoint, around);
                    }
                    endpoint.finish_for(group, outcome, waits, around);
                });
            }
        }
        self.drive.release(done.tag);
        Some(bytes)
    }

    /// Gives the drive what waits at a part, within the turn's bounds. Whether there was something.
    fn submit(&mut self, index: usize, clients: &mut dyn Clients) -> bool {
        let mut worked = false;
        let (mut requests, mut bytes) = (0, 0);
        let Some(&Part { guest, endpoint, which, under_way, life, .. }) = self.parts.get(index) else {
            return false;
        };
        clients.with(guest, endpoint, &mut |endpoint, around| {
            worked |= endpoint.poll(around);
            // What the device was given before its reset may still be written, and must not be
            // written over what comes after.
            if under_way > 0 && life != endpoint.life() {
                return;
            }
            while endpoint.has_requests(which) && requests < TURN_REQUESTS && bytes < TURN_BYTES {
                let Some(taken) = self.submit_one(index, endpoint, around) else { break };
                worked = true;
                requests += 1;
                bytes += taken;
            }
        });
        worked
    }

    /// Gives the drive the next requests of an endpoint as one. Returns their bytes that are copied, or `None` where
    /// the drive takes none now.
    fn submit_one(
        &mut self,
        index: usize,
        endpoint: &mut Endpoint,
        around: &mut Surroundings<'_>,
    ) -> Option<usize> {
        let place = self.flights.iter().position(|flight| flight.tag.is_none())?;
        let tag = match self.drive.reserve() {
            Ok(tag) if self.is_another => {
                self.drive.release(tag);
                None
            }
            Ok(tag) => Some(tag),
            // It is being started again, and nobody knows how that ends.
            Err(Refused::NotReady) if self.drive.status().state == State::Failed => None,
            Err(_) => return None,
        };
        let part = self.parts.get_mut(index)?;
        endpoint.take_requests(part.which, self.drive.request_bytes(), &mut self.group);
        let bytes = self.group.bytes();
        part.counters.requests += 1;
        if self.group.moves_data() {
            part.counters.bytes += bytes as u64;
        }
        let is_flush =
            self.group.requests().first().is_some_and(|first| first.operation == device::Operation::Flush);
        let given = match tag {
            None => Err(RequestFault::Medium),
            Some(_) if is_flush && !part.cache.flush() => Err(RequestFault::Medium),
            Some(tag) => give(
                &mut *self.drive,
                tag,
                part,
                self.geometry,
                &self.group,
                &mut self.chunk,
                endpoint,
                around,
            ),
        };
        match (given, tag) {
            (Ok(is_lent), Some(_)) => {
                let flight = self.flights.get_mut(place)?;
                core::mem::swap(&mut flight.group, &mut self.group);
                (flight.tag, flight.part, flight.is_lent) = (tag, index, is_lent);
                part.counters.lent += u64::from(is_lent);
                part.under_way += 1;
                part.life = endpoint.life();
                // Nobody copies what is lent.
                return Some(if is_lent { 0 } else { bytes });
            }
            (given, tag) => {
                let outcome = given.map(|_| ());
                tag.into_iter().for_each(|tag| self.drive.release(tag));
                part.counters.errors += 1;
                endpoint.finish(&self.group, outcome, around);
            }
        }
        Some(bytes)
    }
}

/// Puts a group's data into the buffer of a request, or lends the drive the guest's memory, and submits
/// that. Whether it is lent.
#[expect(clippy::too_many_arguments, reason = "the parts of a disk are borrowed one by one")]
fn give(
    drive: &mut dyn Drive,
    tag: Tag,
    part: &Part,
    geometry: Geometry,
    group: &Group,
    chunk: &mut [u8],
    endpoint: &mut Endpoint,
    around: &Surroundings<'_>,
) -> Result<bool, RequestFault> {
    let Some(first) = group.requests().first() else { return Err(RequestFault::Range) };
    let place = part.translate(first.at, group.bytes() as u64, geometry.block_bytes);
    let (block, blocks) = place.ok_or(RequestFault::Range)?;
    let operation = match first.operation {
        device::Operation::Read => Operation::Read,
        device::Operation::Write => Operation::Write,
        device::Operation::Flush => Operation::Flush,
        device::Operation::Discard => Operation::Discard,
        device::Operation::WriteZeroes => Operation::WriteZeroes,
    };
    let is_lent = operation.moves_data() && lend(drive, tag, part, group, endpoint, around);
    if operation == Operation::Write && !is_lent {
        copy_from_guest(drive, tag, group, chunk, endpoint, around)?;
    }
    let submitted = drive.submit(tag, operation, block, blocks);
    if is_lent && submitted.is_err() {
        endpoint.take_back();
    }
    submitted.map(|()| is_lent).map_err(|refused| match refused {
        Refused::ReadOnly | Refused::Unsupported => RequestFault::ReadOnly,
        Refused::BeyondEnd | Refused::NoBlocks | Refused::TooLarge(_) => RequestFault::Range,
        Refused::NotReady | Refused::Busy | Refused::NotReserved => RequestFault::Medium,
    })
}

/// Has the drive read or write the guest's memory itself, where it reaches that, and it lies as the drive
/// needs it. Whether it does.
fn lend(
    drive: &mut dyn Drive,
    tag: Tag,
    part: &Part,
    group: &Group,
    endpoint: &mut Endpoint,
    around: &Surroundings<'_>,
) -> bool {
    let Some(at) = part.memory else { return false };
    if !endpoint.lend(group, around) {
        return false;
    }
    // The guest has memory there, which is mapped for the drive: this does not overflow.
    let place =
        |request: &device::Request| (Iova(at.0.saturating_add(request.gpa.0)), request.bytes as usize);
    let is_taken = drive.lend(tag, &mut group.requests().iter().map(place));
    if !is_taken {
        endpoint.take_back();
    }
    is_taken
}

fn copy_from_guest(
    drive: &mut dyn Drive,
    tag: Tag,
    group: &Group,
    chunk: &mut [u8],
    endpoint: &mut Endpoint,
    around: &Surroundings<'_>,
) -> Result<(), RequestFault> {
    pieces(group, chunk, |offset, gpa, bytes| {
        endpoint.copy_from_guest(group, gpa, bytes, around).map_err(|_| RequestFault::Memory)?;
        drive.put(tag, offset, bytes).ok_or(RequestFault::Medium)
    })
}

fn copy_to_guest(
    drive: &dyn Drive,
    tag: Tag,
    group: &Group,
    chunk: &mut [u8],
    endpoint: &mut Endpoint,
    around: &Surroundings<'_>,
) -> Result<(), RequestFault> {
    pieces(group, chunk, |offset, gpa, bytes| {
        drive.get(tag, offset, bytes).ok_or(RequestFault::Medium)?;
        endpoint.copy_to_guest(group, gpa, bytes, around).map_err(|_| RequestFault::Memory)
    })
}

/// Calls `copy` for each piece of the data of `group` that `chunk` has room for, with its place in
/// the request and in the guest.
fn pieces(
    group: &Group,
    chunk: &mut [u8],
    mut copy: impl FnMut(usize, spec::Gpa, &mut [u8]) -> Result<(), RequestFault>,
) -> Result<(), RequestFault> {
    let mut offset = 0;
    for request in group.requests() {
        let mut gpa = request.gpa;
        let mut left = request.bytes as usize;
        while left > 0 {
            let now = left.min(chunk.len());
            copy(offset, gpa, chunk.get_mut(..now).ok_or(RequestFault::Memory)?)?;
            gpa = gpa.checked_add(now as u64).ok_or(RequestFault::Memory)?;
            (offset, left) = (offset + now, left - now);
        }
    }
    Ok(())
}

/// What a request that is over means for the part that it was for.
fn note(done: Done, part: &mut Part, group: &Group, geometry: Geometry, faults: &mut Faults) {
    match (done.operation, done.outcome) {
        (Operation::Write | Operation::Discard | Operation::WriteZeroes, Ok(())) => part.cache.written(),
        (Operation::Read | Operation::Flush, Ok(())) => {}
        (operation, Err(fault)) => {
            part.counters.errors += 1;
            // It has made sure of nothing.
            if operation == Operation::Flush {
                part.cache.written();
            }
            let at = group.requests().first().map_or(0, |first| first.at);
            let (block, blocks) =
                part.translate(at, group.bytes() as u64, geometry.block_bytes).unwrap_or_default();
            faults.add(FaultReport::of(operation, block, blocks, fault));
        }
    }
}

#[cfg(test)]
mod tests;
