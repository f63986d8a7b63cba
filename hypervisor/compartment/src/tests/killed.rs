//! A device whose compartment is killed over and over is the device: its guest sees nothing of that.

use super::*;
use crate::Restarts;
use devices::ended::Account;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::cell::Cell;

/// How often each is killed.
pub(super) const KILLS: u64 = 1000;
/// As often as it fails.
const ALWAYS: Restarts = Restarts { most: u32::MAX, minute: u64::MAX };

/// How a compartment fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Death {
    /// Before it did anything.
    Before,
    /// After so many writes to the guest's memory: the last one is half done.
    Writing(usize),
    /// When all was done, but for the answer.
    After,
    /// So, after it wrote over all of the area.
    Scribbling,
    /// It answers what is no answer.
    Nonsense,
}

/// A device as it is made.
pub(super) type Make = fn() -> Box<dyn Device>;

/// What fails when.
pub(super) struct Fate {
    make: Make,
    carries_frames: bool,
    /// Of any number.
    random: u64,
    /// Calls that do not fail: what makes it anew, and what is made once more.
    spared: u32,
    /// Two bytes each at which the guest looks, and what was there when the compartment was entered.
    watched: Vec<(Gpa, [u8; 2])>,
}

impl Fate {
    fn next(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.random >> 33) % below
    }

    pub(super) fn death(&mut self) -> Option<Death> {
        if self.spared > 0 {
            self.spared -= 1;
            return None;
        }
        Some(match self.next(12) {
            0 => Death::Before,
            1 | 2 => Death::Writing(self.next(6) as usize),
            3 => Death::After,
            4 => Death::Scribbling,
            5 => Death::Nonsense,
            _ => return None,
        })
    }

    fn look(watched: &mut [(Gpa, [u8; 2])], memory: &dyn GuestMemory) {
        watched.iter_mut().for_each(|(gpa, seen)| memory.read(*gpa, seen).unwrap());
    }

    /// The guest goes on meanwhile: it sees what is there now.
    pub(super) fn enter(&mut self, memory: &dyn GuestMemory) {
        Self::look(&mut self.watched, memory);
    }

    /// The compartment anew. Its guest was told of nothing by the call that failed.
    pub(super) fn restarted(&mut self, memory: &dyn GuestMemory) -> Server {
        let mut now = self.watched.clone();
        Self::look(&mut now, memory);
        assert_eq!(now, self.watched, "the guest sees what a call did that was not answered");
        self.spared = 2;
        Server::new((self.make)(), self.carries_frames)
    }

    /// What is written over the area.
    pub(super) fn scribble(&mut self, words: &mut [u64]) {
        words.iter_mut().for_each(|word| *word = u64::MAX - self.next(1 << 20));
    }
}

/// A guest's memory of which writes reach nothing from one on, of which a half does.
pub(super) struct Dying<'a> {
    pub(super) memory: &'a dyn GuestMemory,
    pub(super) left: Cell<usize>,
}

impl GuestMemory for Dying<'_> {
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        self.memory.read(gpa, bytes)
    }
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let left = self.left.get();
        if left == 0 {
            return if self.contains(gpa, bytes.len() as u64) { Ok(()) } else { Err(OutOfBounds) };
        }
        self.left.set(left - 1);
        let bytes = if left == 1 { &bytes[..bytes.len() / 2] } else { bytes };
        self.memory.write(gpa, bytes)
    }
    fn contains(&self, gpa: Gpa, bytes: u64) -> bool {
        self.memory.contains(gpa, bytes)
    }
}

/// A device of `make` whose compartment fails as `seed` says.
pub(super) fn killed(make: Make, carries_frames: bool, seed: u64, memory: &Shared) -> Remote<InProcess> {
    let mut compartment = in_process(make(), carries_frames, memory);
    let sizes = compartment.sizes;
    compartment.fate = Some(Fate { make, carries_frames, random: seed, spared: 1, watched: Vec::new() });
    Remote::new(compartment, sizes).unwrap().with_restarts(ALWAYS)
}

/// Has each fate look at whether the guest sees anything there, two bytes each, of a call that failed.
pub(super) fn watch(remote: &mut Remote<InProcess>, places: impl Iterator<Item = Gpa>) {
    let fate = remote.compartment_mut().fate.as_mut();
    fate.unwrap().watched.extend(places.map(|gpa| (gpa, [0; 2])));
}

/// How often both were the same while one failed.
fn is_the_same(make: Make, carries_frames: bool, seed: u64, steps: &[Step]) -> u64 {
    let (here, there) = (Shared::new(), Shared::new());
    let mut local = World::new(Boxed(make()), here);
    let mut remote = World::new(killed(make, carries_frames, seed, &there), there);
    for (index, step) in steps.iter().enumerate() {
        let told = std::format!("seed {seed}, step {index} of {steps:?}");
        assert_eq!(take(&mut local, step), take(&mut remote, step), "{told}");
        assert_eq!(local.seen(), remote.seen(), "{told}");
        assert_eq!(remote.device.ended(), None, "{told}");
        if index % 17 == 16 {
            remote.device.kill();
        }
    }
    let memory = |world: &Shared| world.0.lock().unwrap().clone();
    assert!(memory(&local.memory) == memory(&remote.memory), "they wrote different things: seed {seed}");
    remote.device.compartment().unwrap().restarts
}

fn goes_on(make: Make, carries_frames: bool, registers: u64) {
    let mut runner = TestRunner::deterministic();
    let steps = proptest::collection::vec(step(registers), 50..200);
    let (mut kills, mut seed) = (0, 0);
    while kills < KILLS {
        let steps = steps.new_tree(&mut runner).unwrap().current();
        kills += is_the_same(make, carries_frames, seed, &steps);
        seed += 1;
    }
}

#[test]
fn an_ide_controller_goes_on() {
    goes_on(ide, false, 0x30);
}

#[test]
fn an_ne2000_goes_on() {
    goes_on(ne2000, true, 0x20);
}

#[test]
fn a_serial_port_goes_on() {
    goes_on(|| Box::new(Serial::new()), false, 8);
}

/// The disk of an IDE controller is written and read by its port, with a kill in each sector.
#[test]
fn what_goes_through_the_port_of_a_disk_is_whole() {
    let mut steps = Vec::new();
    for (command, sector) in [(0x30_u64, 3_u64), (0x20, 3), (0x30, 9), (0xc4, 4), (0xc5, 16)] {
        for (at, value) in [(6, 0xe0), (2, 2), (3, sector), (4, 0), (5, 0), (7, command)] {
            steps.push(Step::Write(at, Width::Byte, value));
        }
        for _ in 0..3 {
            steps.push(Step::Complete);
            for piece in 0..8_u8 {
                steps.push(if command & 0x10 != 0 || command == 0xc5 {
                    Step::WriteString(0, vec![piece ^ sector as u8; 128])
                } else {
                    Step::ReadString(0, 128)
                });
            }
        }
    }
    let kills: u64 = (0..20).map(|seed| is_the_same(ide, false, seed, &steps)).sum();
    assert!(kills > KILLS, "{kills}");
}

/// More often than is allowed in a minute it is not made anew.
#[test]
fn one_that_goes_on_failing_is_pulled_out() {
    let memory = Shared::new();
    let mut compartment = in_process(ide(), false, &memory);
    let sizes = compartment.sizes;
    compartment.fate =
        Some(Fate { make: ide, carries_frames: false, random: 0, spared: u32::MAX, watched: Vec::new() });
    let remote = Remote::new(compartment, sizes).unwrap();
    let mut remote = remote.with_restarts(Restarts { most: 3, minute: 100 });
    let mut read = |now: u64, kills: bool| {
        if kills {
            remote.kill();
        }
        let mut effects = Effects::with_capacity(4);
        let status =
            remote.read(7, Width::Byte, &mut Context { memory: &memory, now, effects: &mut effects });
        (status, remote.compartment().unwrap())
    };
    for now in [0, 10, 20, 120, 121, 122] {
        assert_eq!(read(now, true).0, 0x40, "{now}");
    }
    let (status, account) = read(123, false);
    assert_eq!((status, account.restarts, account.is_gone), (0x40, 6, false));
    let (status, account) = read(130, true);
    assert_eq!(status, 0xff);
    let Account { restarts, last, is_gone, .. } = account;
    assert_eq!((restarts, last, is_gone), (6, Some(Ended::Killed), true));
    assert_eq!(read(100_000, false).0, 0xff, "it does not come back");
}

/// One that fails at the same call again is gone, and one whose device has no state is.
#[test]
fn what_fails_twice_is_gone() {
    let memory = Shared::new();
    let mut remote = killed(ide, false, 0, &memory);
    remote.compartment_mut().ends = Some(Ended::Late);
    let mut effects = Effects::with_capacity(4);
    let context = &mut Context { memory: &memory, now: 0, effects: &mut effects };
    assert_eq!(remote.read(7, Width::Byte, context), 0xff);
    assert_eq!(remote.ended(), Some(Ended::Late));
}
