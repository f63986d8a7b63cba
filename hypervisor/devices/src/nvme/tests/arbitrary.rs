//! A guest that writes anything anywhere.

use super::*;
use crate::testing::Kept;
use proptest::prelude::*;

/// What the guest, or its medium, does next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Read(u64, Width),
    Write(u64, Width, u64),
    /// A command that makes some sense, into a queue.
    Send(u16, Command),
    /// Any 8 bytes into memory where queues and lists are.
    Store(u64, u64),
    Ring(u16, bool, u32),
    Take(u16),
    Hold(bool),
    Serve,
    Complete(u32, bool),
    Fault(Option<RequestFault>),
    Reset,
    Enable,
}

fn width() -> impl Strategy<Value = Width> {
    prop_oneof![
        1 => Just(Width::Byte),
        1 => Just(Width::Word),
        4 => Just(Width::Dword),
        2 => Just(Width::Qword)
    ]
}

fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => (0..0x80_u64).prop_map(|page| page << 12),
        2 => 0..MEMORY as u64,
        2 => (0..0x80_u64, 0..8_u64).prop_map(|(page, entry)| (page << 12) + 0xfc0 + entry * 8),
        1 => any::<u64>(),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let opcode = prop_oneof![8 => 0..0x0d_u8, 1 => any::<u8>()];
    let dword = prop_oneof![4 => 0..6_u32, 2 => (0..0x48_u32, 0..6_u32).prop_map(|(a, b)| a << 16 | b), 1 => any::<u32>()];
    let dwords =
        [dword.clone().boxed(), dword.clone().boxed(), prop_oneof![0..300_u32, any::<u32>()].boxed()];
    let namespace = prop_oneof![6 => Just(1_u32), 1 => Just(0), 1 => any::<u32>()];
    let flags = prop_oneof![9 => Just(0_u8), 1 => any::<u8>()];
    (opcode, flags, namespace, address(), address(), dwords).prop_map(
        |(opcode, flags, namespace, prp1, prp2, [ten, eleven, twelve])| Command {
            opcode,
            flags,
            namespace,
            prp1,
            prp2,
            // The upper half of a read's first block is mostly zero.
            dwords: [
                ten,
                if opcode == nvm::READ || opcode == nvm::WRITE { eleven & 1 } else { eleven },
                twelve,
                0,
                0,
                0,
            ],
            ..Command::default()
        },
    )
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let queue = 0..QUEUES as u16;
    prop_oneof![
        1 => (0..WINDOW_BYTES + 16, width()).prop_map(|(offset, width)| Step::Read(offset, width)),
        2 => (0..0x40_u64, width(), any::<u64>()).prop_map(|(offset, width, value)| Step::Write(offset, width, value)),
        1 => (any::<u64>(), width(), any::<u64>()).prop_map(|(offset, width, value)| Step::Write(offset, width, value)),
        12 => (queue.clone(), command()).prop_map(|(queue, command)| Step::Send(queue, command)),
        2 => (address(), address()).prop_map(|(at, value)| Step::Store(at, value)),
        4 => (queue.clone(), any::<bool>(), 0..70_u32).prop_map(|(queue, head, value)| Step::Ring(queue, head, value)),
        6 => queue.prop_map(Step::Take),
        2 => any::<bool>().prop_map(Step::Hold),
        4 => Just(Step::Serve),
        1 => (any::<u32>(), any::<bool>()).prop_map(|(tag, ok)| Step::Complete(tag, ok)),
        1 => prop_oneof![Just(None), Just(Some(RequestFault::Medium)), Just(Some(RequestFault::Memory))].prop_map(Step::Fault),
        1 => Just(Step::Reset),
        2 => Just(Step::Enable),
    ]
}

impl Guest {
    pub(super) fn step(&mut self, step: &Step) {
        match *step {
            Step::Read(offset, width) => {
                let value = self.bench.read(offset, width);
                assert_eq!(value & !width.mask(), 0);
            }
            Step::Write(offset, width, value) => self.bench.write(offset, width, value),
            Step::Send(queue, command) => {
                self.identifier = self.identifier.wrapping_add(1) & 0x7fff;
                self.send(queue, command);
            }
            Step::Store(gpa, value) => drop(self.bench.memory.write64(Gpa(gpa), value)),
            Step::Ring(queue, head, value) => {
                let doorbell =
                    if head { completion_doorbell(queue, 0) } else { submission_doorbell(queue, 0) };
                self.dword(doorbell, value);
            }
            Step::Take(queue) => drop(self.take(queue)),
            Step::Hold(hold) => self.bench.hold = hold,
            Step::Serve => drop(self.bench.serve()),
            Step::Complete(tag, ok) => {
                // Any but those that wait, which are the medium's to complete.
                if self.bench.waiting.iter().all(|request| request.tag != tag) {
                    let outcome = if ok { Ok(()) } else { Err(RequestFault::Medium) };
                    self.bench.complete(Completion { tag, outcome });
                }
            }
            Step::Fault(fault) => self.bench.medium.fault = fault,
            Step::Reset => self.bench.reset(),
            Step::Enable => self.enable(),
        }
        let device = &self.bench.device;
        for (submission, completion) in device.submission.iter().zip(&device.completion) {
            assert!(
                submission.is_none_or(|queue| device.completion[usize::from(queue.completions)].is_some())
            );
            assert!(completion.is_none_or(|queue| queue.waiting() < 4096));
        }
    }

    /// Whatever can be taken is taken, or something that will come says so.
    fn assert_nothing_is_stuck(&self) {
        let device = &self.bench.device;
        assert_eq!(device.unsent, 0, "a message was held back");
        let is_idle = device.slots.is_idle();
        assert!(!is_idle || device.next_queue().is_none_or(|queue| queue == 0), "commands wait for nothing");
    }

    /// Does what is left to do: afterwards nothing is at the medium.
    pub(super) fn drain(&mut self) {
        self.bench.hold = false;
        while self.bench.serve() {}
        assert!(self.bench.device.slots.is_idle());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Nothing panics, leaves the medium, or is more than was said (the bench looks), and
    /// afterwards the controller works as if nothing had been.
    #[test]
    fn nothing_a_guest_does_breaks_it(
        writable: bool,
        is_lost: bool,
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let config = Config { writable, ..config() };
        let mut guest = Guest::with_queues(config);
        let mut kept = Kept::new(&guest.bench.device);
        for step in &steps {
            guest.step(step);
            if is_lost {
                kept.replace(&mut guest.bench.device, Nvme::new(config));
            }
            guest.assert_nothing_is_stuck();
        }
        guest.drain();
        guest.bench.medium.fault = None;
        guest.dword(at::CONFIGURATION, 0);
        prop_assert_eq!(guest.read(at::STATUS), 0);
        guest.sizes = [64; QUEUES];
        guest.enable();
        guest.create(1, 64);
        prop_assert_eq!(guest.status(1, transfer(nvm::READ, 3, 1, [DATA, 0])), Status::SUCCESS);
        if !writable {
            prop_assert_eq!(guest.bytes(DATA, 512), expected(3, 1));
        }
    }

    /// Whatever the entry says, the medium is asked for exactly the bytes of the command, in order.
    #[test]
    fn pieces_are_the_whole_of_the_data(
        first in 0..BLOCKS,
        blocks in 1..=256_u32,
        prp1 in address(),
        prp2 in address(),
        entries in proptest::collection::vec(address(), 64),
    ) {
        let mut guest = Guest::with_queues(config());
        for (place, entry) in entries.iter().enumerate() {
            let _ = guest.bench.memory.write64(Gpa(prp2.saturating_add(place as u64 * 8)), *entry);
        }
        guest.bench.hold = true;
        guest.send(1, transfer(nvm::READ, first, blocks, [prp1, prp2]));
        let mut at = first * 512;
        for request in &guest.bench.waiting {
            prop_assert_eq!(request.at, at);
            prop_assert!(request.bytes > 0);
            at += u64::from(request.bytes);
        }
        let whole = (first + u64::from(blocks)) * 512;
        prop_assert!(guest.bench.waiting.is_empty() || at == whole);
        prop_assert_eq!(guest.bench.waiting.is_empty(), guest.peek(1).is_some());
    }
}
