//! A driver of an NVMe controller under load, whose compartment is killed over and over: each command is answered
//! once, and its data is what was written.

use super::killed::{KILLS, Make, killed, watch};
use super::*;
use devices::nvme::{BlockSize, Config, Nvme};
use devices::testing::{Bench, VecMedium};
use spec::nvme::command::{self, Command, admin, nvm};
use spec::nvme::completion::{self, Completion as Entry, Status};
use spec::nvme::register::{self as at, aqa, cc, completion_doorbell, submission_doorbell};
use std::collections::BTreeMap;

const QUEUES: usize = 4;
/// Entries of a queue: it begins again often.
const ENTRIES: u16 = 16;
const SUBMISSIONS: u64 = 0x1_0000;
const COMPLETIONS: u64 = 0x2_0000;
/// Doorbells in memory, and event indexes.
const SHADOW: u64 = 0x3_0000;
/// Where each command has two pages, by its identifier.
const DATA: u64 = 0x4_0000;
const PAGE: u64 = 0x1000;
const MEMORY: usize = 0x40_0000;
/// Identifiers that are used at a time.
const COMMANDS: u16 = 200;
/// Blocks of each of them.
const BLOCKS: u64 = 16;
const MEDIUM: usize = COMMANDS as usize * BLOCKS as usize * 512;

fn controller<const POLLED: bool>() -> Box<dyn Device> {
    Box::new(Nvme::new(Config {
        blocks: MEDIUM as u64 / 512,
        block: BlockSize::Bytes512,
        writable: true,
        is_polled: POLLED,
        messages: 5,
        serial: [b'1'; 20],
        uuid: [1; 16],
        vendor: 1,
        subsystem_vendor: 1,
    }))
}

struct Host<D> {
    bench: Bench<D, Shared>,
    dice: u64,
    is_polled: bool,
    tails: [u16; QUEUES],
    heads: [u16; QUEUES],
    phases: [bool; QUEUES],
    /// What is asked, by identifier: of which queue, what, and the byte that is written.
    asked: BTreeMap<u16, (usize, u8, u8)>,
    free: Vec<u16>,
    /// What the blocks of an identifier hold.
    written: BTreeMap<u16, u8>,
    seen: Vec<(u64, u64, u64)>,
}

impl<D: Device> Host<D> {
    fn below(&mut self, most: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.dice >> 33) % most
    }

    fn dword(&mut self, offset: u64, value: u32) {
        self.bench.write(offset, Width::Dword, value.into());
    }

    /// Enables the controller and creates the queues.
    fn start(&mut self) {
        for queue in 0..QUEUES as u64 {
            let zeros = [0; PAGE as usize];
            self.bench.memory.write(Gpa(COMPLETIONS + queue * PAGE), &zeros).unwrap();
        }
        (self.tails, self.heads, self.phases) = ([0; QUEUES], [0; QUEUES], [true; QUEUES]);
        self.dword(at::ADMIN_QUEUE_ATTRIBUTES, aqa::of(ENTRIES.into(), ENTRIES.into()));
        self.bench.write(at::ADMIN_SUBMISSION_QUEUE, Width::Qword, SUBMISSIONS);
        self.bench.write(at::ADMIN_COMPLETION_QUEUE, Width::Qword, COMPLETIONS);
        self.dword(at::CONFIGURATION, cc::ENABLE | cc::NVM_ENTRIES);
        for queue in 1..QUEUES as u16 {
            self.create(queue);
        }
        if self.is_polled {
            let config = Command {
                opcode: admin::DOORBELL_BUFFER_CONFIG,
                prp1: SHADOW,
                prp2: SHADOW + PAGE,
                ..Command::identify(0, 0, 0, 0)
            };
            self.manage(config);
        }
    }

    fn create(&mut self, queue: u16) {
        let (number, at) = (queue, u64::from(queue) * PAGE);
        let entries = ENTRIES.into();
        self.manage(Command::create_completion_queue(0, number, entries, COMPLETIONS + at, Some(number)));
        self.manage(Command::create_submission_queue(0, number, entries, SUBMISSIONS + at, number));
    }

    /// Has an admin command done.
    fn manage(&mut self, command: Command) {
        self.put(0, command);
        for _ in 0..1000 {
            self.ring(0);
            if let Some(entry) = self.next(0) {
                assert_eq!(entry.status, Status::SUCCESS, "{command:?}");
                return;
            }
            self.bench.poll();
            self.bench.serve();
        }
        panic!("no answer to {command:?}");
    }

    fn put(&mut self, queue: usize, command: Command) {
        let base = Gpa(SUBMISSIONS + queue as u64 * PAGE);
        let entry = command::entry_at(base, self.tails[queue].into(), command::ENTRY_BYTES).unwrap();
        self.bench.memory.write(entry, &command.encode()).unwrap();
        self.tails[queue] = (self.tails[queue] + 1) % ENTRIES;
    }

    /// Tells a doorbell: by memory, and by the window always, which such a driver need not.
    fn tell(&mut self, place: u64, value: u16) {
        if self.is_polled && place > 1 {
            self.bench.memory.write32(Gpa(SHADOW + 4 * place), value.into()).unwrap();
        }
        let queue = (place / 2) as u16;
        let doorbell = if place.is_multiple_of(2) {
            submission_doorbell(queue, 0)
        } else {
            completion_doorbell(queue, 0)
        };
        self.dword(doorbell, value.into());
    }

    fn ring(&mut self, queue: usize) {
        self.tell(2 * queue as u64, self.tails[queue]);
    }

    fn next(&mut self, queue: usize) -> Option<Entry> {
        let base = Gpa(COMPLETIONS + queue as u64 * PAGE);
        let mut bytes = [0; completion::ENTRY_BYTES];
        let entry = command::entry_at(base, self.heads[queue].into(), completion::ENTRY_BYTES).unwrap();
        self.bench.memory.read(entry, &mut bytes).unwrap();
        let entry = Entry::decode(&bytes);
        if entry.phase != self.phases[queue] {
            return None;
        }
        self.heads[queue] = (self.heads[queue] + 1) % ENTRIES;
        self.phases[queue] ^= self.heads[queue] == 0;
        self.tell(2 * queue as u64 + 1, self.heads[queue]);
        Some(entry)
    }

    fn ask(&mut self) {
        let queue = 1 + self.below(QUEUES as u64 - 1) as usize;
        let waiting = self.asked.values().filter(|(other, ..)| *other == queue).count();
        let Some(identifier) = self.free.pop().filter(|_| waiting + 1 < ENTRIES.into()) else { return };
        let byte = self.below(255) as u8 + 1;
        let opcode = [nvm::READ, nvm::WRITE, nvm::WRITE, nvm::FLUSH][self.below(4) as usize];
        // The second page is not behind the first one.
        let data =
            [DATA + u64::from(identifier) * 4 * PAGE, DATA + u64::from(identifier) * 4 * PAGE + 2 * PAGE];
        let fill = if opcode == nvm::WRITE { byte } else { 0 };
        for page in data {
            self.bench.memory.write(Gpa(page), &[fill; PAGE as usize]).unwrap();
        }
        let first = u64::from(identifier) * BLOCKS;
        let mut command = Command::transfer(opcode, identifier, 1, first, BLOCKS as u32, data);
        if opcode == nvm::WRITE && byte & 1 != 0 {
            // It survives a loss of power once it is answered.
            command.dwords[2] |= 1 << 30;
        }
        self.put(queue, command);
        self.asked.insert(identifier, (queue, opcode, byte));
    }

    fn take(&mut self) {
        for queue in 1..QUEUES {
            while let Some(entry) = self.next(queue) {
                let identifier = entry.identifier;
                let (own, opcode, byte) = self.asked.remove(&identifier).expect("it was asked");
                assert_eq!((own, entry.submission_queue), (queue, queue as u16));
                assert_eq!(entry.status, Status::SUCCESS);
                self.free.push(identifier);
                let known = self.written.get(&identifier).copied();
                if opcode == nvm::WRITE {
                    self.written.insert(identifier, byte);
                } else if let (nvm::READ, Some(known)) = (opcode, known) {
                    for page in [0, 2] {
                        let mut data = [0; PAGE as usize];
                        let gpa = DATA + (u64::from(identifier) * 4 + page) * PAGE;
                        self.bench.memory.read(Gpa(gpa), &mut data).unwrap();
                        assert_eq!(data, [known; PAGE as usize]);
                    }
                }
                self.seen.push((queue as u64, identifier.into(), entry.submission_head.into()));
            }
        }
    }

    /// A reset with commands at the medium, behind which nothing is known of what those wrote.
    fn reset(&mut self) {
        self.dword(at::CONFIGURATION, 0);
        self.seen.push((100, self.bench.read(at::STATUS, Width::Dword), self.bench.waiting.len() as u64));
        while self.bench.serve() {}
        assert_eq!(self.bench.read(at::STATUS, Width::Dword), 0);
        (self.asked, self.written) = (BTreeMap::new(), BTreeMap::new());
        self.free = (0..COMMANDS).collect();
        self.start();
    }

    /// Deletes a queue with commands at the medium, which are answered before.
    fn delete(&mut self) {
        let queue = 1 + self.below(QUEUES as u64 - 1) as u16;
        self.ring(queue.into());
        self.bench.poll();
        let deletion = |opcode: u8| {
            let mut command = Command::identify(0, 0, 0, 0);
            (command.opcode, command.dwords[0]) = (opcode, queue.into());
            command
        };
        self.manage(deletion(admin::DELETE_SUBMISSION_QUEUE));
        self.take();
        self.manage(deletion(admin::DELETE_COMPLETION_QUEUE));
        let lost = self.asked.iter().filter(|(_, (other, ..))| *other == usize::from(queue));
        let lost: Vec<u16> = lost.map(|(identifier, _)| *identifier).collect();
        for identifier in lost {
            self.asked.remove(&identifier);
            self.free.push(identifier);
        }
        let place = usize::from(queue);
        let zeros = [0; PAGE as usize];
        self.bench.memory.write(Gpa(COMPLETIONS + u64::from(queue) * PAGE), &zeros).unwrap();
        (self.tails[place], self.heads[place], self.phases[place]) = (0, 0, true);
        if self.is_polled {
            self.bench.memory.write64(Gpa(SHADOW + 8 * u64::from(queue)), 0).unwrap();
        }
        self.create(queue);
    }

    fn step(&mut self) {
        match self.below(40) {
            0..14 => self.ask(),
            14..19 => {
                let queue = 1 + self.below(QUEUES as u64 - 1) as usize;
                self.ring(queue);
            }
            19..23 => {
                let took = self.bench.poll();
                self.seen.push((101, took.into(), 0));
            }
            23..30 => _ = self.bench.serve(),
            30..35 => self.take(),
            35 | 36 => {
                let wanted = self.below(2) == 0;
                let missed = self.bench.with(|device, context| device.want_notifications(wanted, context));
                self.seen.push((102, wanted.into(), missed.into()));
            }
            37 => self.manage(Command::identify(0, 1, 0, DATA - PAGE)),
            38 if self.below(10) == 0 => self.reset(),
            39 if self.below(3) == 0 => self.delete(),
            _ => {
                let masked = self.bench.read(at::INTERRUPT_MASK_SET, Width::Dword);
                self.seen.push((103, masked, self.bench.read(at::STATUS, Width::Dword)));
            }
        }
    }

    fn run(mut self) -> (Self, Vec<u8>) {
        self.bench.hold = true;
        self.start();
        for _ in 0..300 {
            self.step();
        }
        for _ in 0..1000 {
            (1..QUEUES).for_each(|queue| self.ring(queue));
            self.bench.poll();
            self.bench.serve();
            self.take();
        }
        assert!(self.asked.is_empty(), "not answered: {:?}", self.asked);
        let memory = self.bench.memory.0.lock().unwrap().clone();
        (self, memory)
    }
}

fn host<D: Device>(device: D, memory: Shared, is_polled: bool, seed: u64) -> Host<D> {
    Host {
        bench: Bench::new(device, memory, VecMedium::new(MEDIUM)),
        dice: seed,
        is_polled,
        tails: [0; QUEUES],
        heads: [0; QUEUES],
        phases: [true; QUEUES],
        asked: BTreeMap::new(),
        free: (0..COMMANDS).collect(),
        written: BTreeMap::new(),
        seen: Vec::new(),
    }
}

fn goes_on(make: Make, is_polled: bool) {
    let (mut kills, mut seed) = (0, 0);
    while kills < KILLS {
        let local = host(Boxed(make()), Shared::of_zeros(MEMORY), is_polled, seed);
        let memory = Shared::of_zeros(MEMORY);
        let mut device = killed(make, false, seed, &memory);
        // The status of each entry, where the phase tag is.
        let entries =
            (0..QUEUES as u64).flat_map(|queue| (0..u64::from(ENTRIES)).map(move |entry| (queue, entry)));
        watch(&mut device, entries.map(|(queue, entry)| Gpa(COMPLETIONS + queue * PAGE + entry * 16 + 14)));
        let (local, wrote) = local.run();
        let (remote, wrote_remotely) = host(device, memory, is_polled, seed).run();
        assert_eq!(remote.bench.device.ended(), None, "seed {seed}");
        assert_eq!(local.seen, remote.seen, "seed {seed}");
        assert_eq!(local.bench.messages, remote.bench.messages, "seed {seed}");
        assert!(wrote == wrote_remotely, "they wrote different things: seed {seed}");
        assert!(local.bench.medium == remote.bench.medium, "the media differ: seed {seed}");
        kills += remote.bench.device.compartment().unwrap().restarts;
        seed += 1;
    }
}

#[test]
fn a_controller_that_is_polled_goes_on() {
    goes_on(controller::<true>, true);
}

#[test]
fn a_controller_that_its_guest_drives_goes_on() {
    goes_on(controller::<false>, false);
}
