//! Doorbells in the guest's memory.

use super::*;
use proptest::prelude::*;

const DOORBELLS: u64 = 0x7_0000;
const EVENTS: u64 = 0x7_1000;

/// A driver that keeps its doorbells in memory, as Linux does.
struct Polled {
    guest: Guest,
    /// How often it wrote a doorbell of the window.
    written: usize,
}

impl Polled {
    fn new() -> Self {
        let mut guest = Guest::with_queues(Config { is_polled: true, ..config() });
        assert_eq!(guest.status(0, doorbells(DOORBELLS, EVENTS)), Status::SUCCESS);
        guest.bench.messages.clear();
        Self { guest, written: 0 }
    }

    fn dword(&self, gpa: u64) -> u32 {
        u32::from_le_bytes(self.guest.bytes(gpa, 4).try_into().unwrap())
    }

    /// Writes doorbell `place` into memory, and where the event index says so into the window.
    fn write(&mut self, place: u64, value: u16) {
        let old = self.dword(DOORBELLS + 4 * place) as u16;
        let new = u32::from(value).to_le_bytes();
        self.guest.bench.memory.write(Gpa(DOORBELLS + 4 * place), &new).unwrap();
        let event = self.dword(EVENTS + 4 * place) as u16;
        if spec::virtio::split::passed(event, old, value) {
            self.written += 1;
            self.guest.dword(0x1000 + 4 * place, value.into());
        }
    }

    fn send(&mut self, queue: u16, command: Command) {
        self.guest.put(queue, command);
        self.write(2 * u64::from(queue), self.guest.tails[usize::from(queue)]);
    }

    /// Takes an answer without a doorbell of the window.
    fn take(&mut self, queue: u16) -> Option<Entry> {
        let entry = self.guest.peek(queue)?;
        let place = usize::from(queue);
        self.guest.heads[place] = (self.guest.heads[place] + 1) % self.guest.sizes[place];
        self.guest.phases[place] ^= self.guest.heads[place] == 0;
        self.write(2 * u64::from(queue) + 1, self.guest.heads[place]);
        Some(entry)
    }

    fn want(&mut self, wanted: bool) -> bool {
        self.guest.bench.want_notifications(wanted)
    }
}

fn doorbells(doorbells: u64, events: u64) -> Command {
    let mut command = Command::identify(0, 0, 0, doorbells);
    command.opcode = admin::DOORBELL_BUFFER_CONFIG;
    command.prp2 = events;
    command
}

#[test]
fn only_a_controller_that_is_polled_takes_them() {
    let mut guest = Guest::enabled(config());
    assert_eq!(guest.status(0, doorbells(DOORBELLS, EVENTS)), Status::INVALID_OPCODE);
    assert_eq!(guest.status(0, Command::identify(0, 1, 0, DATA)), Status::SUCCESS);
    assert_eq!(guest.bytes(DATA, 4096)[256..258], [0, 0]);
    let mut guest = Guest::enabled(Config { is_polled: true, ..config() });
    assert_eq!(guest.status(0, Command::identify(0, 1, 0, DATA)), Status::SUCCESS);
    assert_eq!(guest.bytes(DATA, 4096)[256..258], [0, 1]);
    assert_eq!(guest.status(0, doorbells(DOORBELLS + 8, EVENTS)), Status::PRP_OFFSET_INVALID);
    assert_eq!(guest.status(0, doorbells(DOORBELLS, MEMORY as u64)), Status::DATA_TRANSFER_ERROR);
    assert!(guest.bench.device.shadow.is_none());
}

#[test]
fn what_is_polled_costs_no_doorbell() {
    let mut polled = Polled::new();
    for block in 0..60 {
        polled.send(1, transfer(nvm::READ, block, 1, [DATA, 0]));
        assert!(!polled.guest.bench.rests());
        assert!(polled.guest.bench.poll());
        assert_eq!(polled.take(1).expect("an answer").status, Status::SUCCESS);
        assert_eq!(polled.guest.bytes(DATA, 512), expected(block, 1));
    }
    assert_eq!(polled.written, 0);
    assert!(!polled.guest.bench.poll());
    assert!(polled.guest.bench.rests());
}

/// What completes between two polls interrupts once.
#[test]
fn many_answers_are_one_interrupt() {
    let mut polled = Polled::new();
    polled.guest.bench.hold = true;
    for block in 0..32 {
        polled.send(1, transfer(nvm::READ, block, 1, [DATA, 0]));
    }
    polled.guest.bench.poll();
    while polled.guest.bench.serve() {}
    assert_eq!(polled.guest.bench.messages, []);
    polled.guest.bench.poll();
    assert_eq!(polled.guest.bench.messages, [1]);
    assert_eq!((0..40).filter_map(|_| polled.take(1)).count(), 32);
}

#[test]
fn who_is_not_polled_is_told() {
    let mut polled = Polled::new();
    assert!(!polled.want(true));
    polled.send(1, transfer(nvm::READ, 7, 1, [DATA, 0]));
    assert_eq!((polled.written, polled.guest.bench.wakes), (1, 1));
    assert_eq!(polled.guest.peek(1), None, "the access only wakes");
    // What was put there before the wish was known is found with it.
    assert!(polled.want(true));
    assert!(polled.guest.bench.poll());
    assert!(polled.take(1).is_some());
    assert!(!polled.want(true));
}

#[test]
fn a_reset_forgets_them() {
    let mut polled = Polled::new();
    polled.guest.dword(at::CONFIGURATION, cc::NVM_ENTRIES);
    polled.guest.enable();
    polled.guest.create(1, 16);
    assert_eq!(polled.guest.status(0, Command::identify(0, 1, 0, DATA)), Status::SUCCESS);
    polled.guest.send(1, transfer(nvm::READ, 7, 1, [DATA, 0]));
    polled.guest.bench.poll();
    assert!(polled.guest.take(1).is_some());
}

proptest! {
    /// However the polling begins and ends and whatever goes in between, no command is forgotten:
    /// who is not polled is woken.
    #[test]
    fn no_command_is_lost(steps in proptest::collection::vec((0_u8..4, 1_u16..=2), 1..200)) {
        let mut polled = Polled::new();
        let (mut sent, mut taken, mut is_polled) = (0_usize, 0, true);
        for (step, queue) in steps {
            match step {
                0 | 1 if sent - taken < 40 => {
                    let wakes = polled.guest.bench.wakes;
                    polled.send(queue, transfer(nvm::READ, 1, 1, [DATA, 0]));
                    sent += 1;
                    is_polled |= polled.guest.bench.wakes > wakes;
                }
                2 => {
                    polled.want(false);
                    is_polled = true;
                }
                _ => is_polled = polled.want(true),
            }
            while is_polled && polled.guest.bench.poll() {}
            while is_polled && (polled.take(1).is_some() || polled.take(2).is_some()) {
                taken += 1;
            }
        }
        while polled.guest.bench.poll() || polled.want(true) {}
        while polled.take(1).is_some() || polled.take(2).is_some() {
            taken += 1;
        }
        prop_assert_eq!(taken, sent);
    }

    /// Whatever the guest writes there, the controller goes on.
    #[test]
    fn any_doorbell_is_harmless(values in proptest::collection::vec((0_u64..16, any::<u32>()), 1..100)) {
        let mut polled = Polled::new();
        for (place, value) in values {
            let bytes = value.to_le_bytes();
            polled.guest.bench.memory.write(Gpa(DOORBELLS + 4 * place), &bytes).unwrap();
            polled.guest.bench.poll();
            polled.want(value & 1 == 0);
        }
        prop_assert_eq!(polled.guest.status(0, Command::identify(0, 1, 0, DATA)), Status::SUCCESS);
    }
}
