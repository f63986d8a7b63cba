//! What guests see of a disk that fails: its driver behind what serves their devices.

use crate::bench::{BLOCKS, Bench, MILLISECOND, SECOND};
use crate::fake::{Fake, FakePort};
use access::GuestMemory;
use access::clock::SteppingClock;
use access::fake_dma::FakeDma;
use access::memory::VecMemory;
use ahci::{Error, Port};
use backends::{Clients, Disk};
use block::{Done, Drive, Identity, Operation, Refused, Status, Tag};
use devices::device::{self, Completion, Context, DeviceEffect, Request, RequestFault};
use devices::{Backend, Device, Endpoint, Surroundings};
use spec::ahci::port::signature;
use spec::{Gpa, Width};
use std::cell::RefCell;
use std::fmt::Display;
use std::sync::{Arc, Mutex};

const MEMORY: usize = 0x1_0000;
/// Its status and error: an uncorrectable error.
const UNCORRECTABLE: u16 = 0x4041;

thread_local! {
    /// The drives of a test. Their fake is of one thread, and a disk's drive is not.
    static DRIVES: RefCell<Vec<Port<Fake, FakeDma>>> = const { RefCell::new(Vec::new()) };
}

/// One of them, by its place.
struct Remote {
    place: usize,
    error: Option<Error>,
}

impl Remote {
    fn with<T>(&self, work: impl FnOnce(&mut Port<Fake, FakeDma>) -> T) -> T {
        DRIVES.with_borrow_mut(|drives| work(&mut drives[self.place]))
    }

    fn status_of(&mut self, work: impl FnOnce(&mut Port<Fake, FakeDma>) -> Status) -> Status {
        let (status, error) = self.with(|port| (work(port), port.failure()));
        self.error = error;
        status
    }
}

impl Drive for Remote {
    fn identity(&self) -> Option<Identity> {
        self.with(|port| port.identity())
    }
    fn start(&mut self, now_ns: u64) -> Status {
        self.status_of(|port| port.start(now_ns))
    }
    fn poll(&mut self, now_ns: u64) -> Status {
        self.status_of(|port| port.poll(now_ns))
    }
    fn interrupt(&mut self, message: u16, now_ns: u64) -> Status {
        self.status_of(|port| port.interrupt(message, now_ns))
    }
    fn status(&self) -> Status {
        self.with(|port| port.status())
    }
    fn error(&self) -> Option<&dyn Display> {
        self.error.as_ref().map(|error| error as &dyn Display)
    }
    fn request_bytes(&self) -> usize {
        self.with(|port| port.request_bytes())
    }
    fn reserve(&mut self) -> Result<Tag, Refused> {
        self.with(|port| port.reserve())
    }
    fn put(&mut self, tag: Tag, offset: usize, bytes: &[u8]) -> Option<()> {
        self.with(|port| port.put(tag, offset, bytes))
    }
    fn submit(&mut self, tag: Tag, operation: Operation, first: u64, blocks: u64) -> Result<(), Refused> {
        self.with(|port| port.submit(tag, operation, first, blocks))
    }
    fn kick(&mut self, now_ns: u64) -> Status {
        self.status_of(|port| port.kick(now_ns))
    }
    fn next_done(&self) -> Option<Done> {
        self.with(|port| port.next_done())
    }
    fn get(&self, tag: Tag, offset: usize, into: &mut [u8]) -> Option<()> {
        self.with(|port| port.get(tag, offset, into))
    }
    fn release(&mut self, tag: Tag) {
        self.with(|port| port.release(tag));
    }
}

/// What a guest's device asks for next, and what it was told.
#[derive(Default)]
struct Asked {
    next: Vec<Request>,
    outcomes: Vec<(u32, Result<(), RequestFault>)>,
}

struct Asker(Arc<Mutex<Asked>>);

impl Device for Asker {
    fn most_effects(&self) -> usize {
        16
    }
    fn read(&mut self, _: u64, width: Width, _: &mut Context<'_>) -> u64 {
        width.mask()
    }
    fn write(&mut self, _: u64, _: Width, _: u64, context: &mut Context<'_>) {
        for request in self.0.lock().unwrap().next.drain(..) {
            context.effects.push(DeviceEffect::Submit(request));
        }
    }
    fn complete(&mut self, completion: Completion, _: &mut Context<'_>) {
        self.0.lock().unwrap().outcomes.push((completion.tag, completion.outcome));
    }
    fn line(&self) -> bool {
        false
    }
    fn reset(&mut self) {}
}

/// Guests, each with a disk of its own at a port of one adapter.
struct Machine {
    fake: Fake,
    disks: Vec<Disk>,
    guests: Guests,
    asked: Vec<Arc<Mutex<Asked>>>,
    now: u64,
    next_tag: u32,
}

struct Guests(Vec<(Endpoint, VecMemory)>);

impl Clients for Guests {
    fn with(&mut self, guest: usize, _: usize, serve: &mut dyn FnMut(&mut Endpoint, &mut Surroundings<'_>)) {
        let (endpoint, memory) = &mut self.0[guest];
        serve(
            endpoint,
            &mut Surroundings { memory: &*memory, now: 0, send: &mut |_| (), print: &mut |_| () },
        );
    }
}

impl Machine {
    fn new(ports: usize) -> Self {
        let mut bench = Bench::new(ports, |_| {});
        bench.hba.reset(bench.now);
        assert!(bench.hba.is_up());
        DRIVES.set(Vec::from(bench.hba.into_drives()));
        let (mut disks, mut guests, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        let clock = SteppingClock::new(MILLISECOND);
        for place in 0..ports {
            let drive = Box::new(Remote { place, error: None });
            let mut disk = Disk::bring_up(format!("disk{place}"), drive, 4, &clock).expect("it comes up");
            assert_eq!(disk.add_part(place, 0, None), Ok(BLOCKS));
            disks.push(disk);
            let shared = Arc::new(Mutex::new(Asked::default()));
            let mut endpoint =
                Endpoint::new(Box::new(Asker(shared.clone())), Backend::Served, 1, 0x1000, 0x2000);
            let memory = VecMemory::new(MEMORY);
            let mut around = Surroundings { memory: &memory, now: 0, send: &mut |_| (), print: &mut |_| () };
            endpoint.set_enables(true, true, false, &mut around);
            guests.push((endpoint, memory));
            asked.push(shared);
        }
        let now = 1000 * SECOND;
        Self { fake: bench.fake, disks, guests: Guests(guests), asked, now, next_tag: 0 }
    }

    fn port(&self, number: usize) -> std::cell::RefMut<'_, FakePort> {
        self.fake.port_at(number)
    }

    /// A guest reads or writes a block of its disk.
    fn ask(&mut self, guest: usize, operation: device::Operation) -> u32 {
        self.next_tag += 1;
        let request = Request { tag: self.next_tag, operation, at: 8 * 512, gpa: Gpa(0x1000), bytes: 512 };
        self.asked[guest].lock().unwrap().next.push(request);
        self.guests.with(guest, 0, &mut |endpoint, around| endpoint.write(0, Width::Dword, 0, around));
        self.next_tag
    }

    /// Serves all until `time_ns` have passed, as housekeeping does: disks that failed are told of,
    /// and started again. What was told.
    fn serve(&mut self, time_ns: u64) -> Vec<String> {
        let mut told = Vec::new();
        let end = self.now + time_ns;
        while self.now < end {
            self.now += 5 * MILLISECOND;
            for disk in &mut self.disks {
                disk.interrupt(0, self.now);
                disk.turn(self.now, &mut self.guests);
                if disk.report_failure(&mut |name, why, _| told.push(format!("{name}: {why}"))) {
                    disk.restart(self.now);
                }
            }
        }
        told
    }

    fn outcomes(&self, guest: usize) -> Vec<(u32, Result<(), RequestFault>)> {
        std::mem::take(&mut self.asked[guest].lock().unwrap().outcomes)
    }

    /// Has a guest write a block and read it back, which has to succeed.
    fn use_disk(&mut self, guest: usize, byte: u8) {
        self.guests.0[guest].1.write(Gpa(0x1000), &[byte; 512]).unwrap();
        let write = self.ask(guest, device::Operation::Write);
        self.serve(50 * MILLISECOND);
        self.guests.0[guest].1.write(Gpa(0x1000), &[0; 512]).unwrap();
        let read = self.ask(guest, device::Operation::Read);
        self.serve(50 * MILLISECOND);
        assert_eq!(self.outcomes(guest), [(write, Ok(())), (read, Ok(()))]);
        let mut bytes = [0; 512];
        self.guests.0[guest].1.read(Gpa(0x1000), &mut bytes).unwrap();
        assert_eq!(bytes, [byte; 512]);
        assert_eq!(self.port(guest).medium[8 * 512..9 * 512], [byte; 512]);
    }
}

const FAILED: Result<(), RequestFault> = Err(RequestFault::Medium);

#[test]
fn a_block_that_cannot_be_read_is_an_error_of_its_request() {
    let mut machine = Machine::new(2);
    machine.port(0).judge = Some(Box::new(|registers| (registers.lba == 8).then_some(UNCORRECTABLE)));
    let (first, second) = (machine.ask(0, device::Operation::Read), machine.ask(1, device::Operation::Read));
    assert_eq!(machine.serve(SECOND), [""; 0], "the disk itself is well");
    assert_eq!(
        (machine.outcomes(0), machine.outcomes(1)),
        ([(first, FAILED)].into(), [(second, Ok(()))].into())
    );
    machine.port(0).judge = None;
    machine.use_disk(0, 0x11);
    machine.use_disk(1, 0x22);
}

#[test]
fn a_disk_that_stalls_fails_what_it_has_and_is_started_again() {
    let mut machine = Machine::new(2);
    machine.port(0).holds = true;
    let stalled = machine.ask(0, device::Operation::Write);
    machine.serve(SECOND);
    assert_eq!(machine.outcomes(0), []);
    machine.use_disk(1, 0x33);
    let told = machine.serve(60 * SECOND);
    assert!(told[0].starts_with("disk0: it did not complete command 0x61 in time"), "{told:?}");
    assert_eq!(machine.outcomes(0), [(stalled, FAILED)]);
    machine.port(0).holds = false;
    machine.port(0).pending.clear();
    machine.serve(60 * SECOND);
    machine.use_disk(0, 0x44);
    machine.use_disk(1, 0x55);
}

#[test]
fn a_disk_that_is_pulled_is_used_again_when_it_is_back() {
    let mut machine = Machine::new(2);
    machine.port(0).holds = true;
    let lost = machine.ask(0, device::Operation::Write);
    machine.serve(10 * MILLISECOND);
    machine.port(0).unplug();
    machine.port(0).holds = false;
    let told = machine.serve(SECOND);
    assert_eq!(told[0], "disk0: the link to it is lost: it was unplugged, or lost power");
    assert_eq!(machine.outcomes(0), [(lost, FAILED)]);
    let refused = machine.ask(0, device::Operation::Read);
    let told = machine.serve(30 * SECOND);
    assert_eq!(machine.outcomes(0), [(refused, FAILED)], "nobody waits for it");
    assert!(told.iter().all(|line| line == "disk0: no device is at this port"), "{told:?}");
    assert!(told.len() <= 4, "it is looked for now and then: {told:?}");
    machine.use_disk(1, 0x66);
    machine.port(0).signature = Some(signature::ATA);
    machine.serve(60 * SECOND);
    machine.use_disk(0, 0x77);
    machine.use_disk(1, 0x88);
}

#[test]
fn another_disk_in_its_place_is_left_alone() {
    let mut machine = Machine::new(1);
    machine.port(0).unplug();
    machine.ask(0, device::Operation::Read);
    machine.serve(SECOND);
    machine.outcomes(0);
    machine.port(0).set_text(spec::ata::identify::SERIAL, b"S2                  ");
    machine.port(0).signature = Some(signature::ATA);
    let told = machine.serve(30 * SECOND);
    assert!(told.contains(&"disk0: another drive is in its place".to_string()), "{told:?}");
    let before = machine.port(0).medium.clone();
    let refused = machine.ask(0, device::Operation::Write);
    machine.serve(SECOND);
    assert_eq!(machine.outcomes(0), [(refused, FAILED)]);
    assert!(machine.port(0).medium == before, "nothing is written to it");
}
