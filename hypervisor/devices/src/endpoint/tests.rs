use super::*;
use crate::device::{Operation, RequestFault};
use crate::medium::ImageMedium;
use access::memory::VecMemory;
use spec::apic::decode_msi;
use std::vec::Vec;

mod served_ide;

const TABLE: u64 = 0x1000;
const PENDING: u64 = 0x2000;

/// A write of its register asks for so many reads of a block, one after another, and each one
/// that is done sends message 0; it can have two effects at once.
#[derive(Default)]
struct Reader {
    left: u64,
    outcomes: Vec<Result<(), RequestFault>>,
}

impl Reader {
    fn next(&mut self, context: &mut Context<'_>) {
        if self.left > 0 {
            self.left -= 1;
            let (operation, gpa) = (Operation::Read, Gpa(0x800));
            context.effects.push(DeviceEffect::Submit(Request { tag: 7, operation, at: 0, gpa, bytes: 512 }));
        }
    }
}

impl Device for Reader {
    fn most_effects(&self) -> usize {
        2
    }
    fn read(&mut self, offset: u64, _: Width, _: &mut Context<'_>) -> u64 {
        match offset {
            0 => self.left,
            _ => self.outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64,
        }
    }
    fn write(&mut self, offset: u64, _: Width, value: u64, context: &mut Context<'_>) {
        self.left = value;
        match offset {
            0 => self.next(context),
            // More at once than it says.
            _ => (0..3).for_each(|_| context.effects.push(DeviceEffect::Line)),
        }
    }
    fn complete(&mut self, completion: Completion, context: &mut Context<'_>) {
        assert_eq!(completion.tag, 7);
        self.outcomes.push(completion.outcome);
        context.effects.push(DeviceEffect::Msi(0));
        self.next(context);
    }
    fn line(&self) -> bool {
        false
    }
    fn reset(&mut self) {
        *self = Self::default();
    }
}

struct Bench {
    endpoint: Endpoint,
    memory: VecMemory,
    sent: Vec<InterruptMessage>,
}

impl Bench {
    fn new() -> Self {
        static IMAGE: [u8; 4096] = [0x5a; 4096];
        let device = Box::<Reader>::default();
        let mut endpoint =
            Endpoint::new(device, Backend::Medium(Box::new(ImageMedium(&IMAGE))), 1, TABLE, PENDING);
        let memory = VecMemory::new(0x1000);
        let mut ignore = |_| ();
        let mut around = Surroundings { memory: &memory, now: 0, send: &mut ignore, print: &mut |_| () };
        for (dword, value) in [(0, 0xfee0_0000), (8, 0x55), (12, 0)] {
            endpoint.write(TABLE + dword, Width::Dword, value, &mut around);
        }
        Self { endpoint, memory, sent: Vec::new() }
    }

    fn call<R>(&mut self, call: impl FnOnce(&mut Endpoint, &mut Surroundings<'_>) -> R) -> R {
        let mut send = |message| self.sent.push(message);
        call(
            &mut self.endpoint,
            &mut Surroundings { memory: &self.memory, now: 0, send: &mut send, print: &mut |_| () },
        )
    }

    fn enable(&mut self, bus_master: bool, masked: bool) {
        self.call(|endpoint, around| endpoint.set_enables(bus_master, true, masked, around));
    }

    fn write(&mut self, offset: u64, value: u64) {
        self.call(|endpoint, around| endpoint.write(offset, Width::Dword, value, around));
    }

    fn read(&mut self, offset: u64) -> u64 {
        self.call(|endpoint, around| endpoint.read(offset, Width::Dword, around))
    }
}

#[test]
fn requests_are_done_in_order_and_their_messages_sent() {
    let mut bench = Bench::new();
    bench.enable(true, false);
    bench.write(0, 10);
    assert_eq!(bench.read(0), 0, "one after another, with room for two effects");
    assert_eq!(bench.read(8), 10);
    assert_eq!(bench.sent, Vec::from_iter(core::iter::repeat_n(decode_msi(0xfee0_0000, 0x55).unwrap(), 10)));
    assert!(bench.memory.0.borrow()[0x800..0xa00].iter().all(|&byte| byte == 0x5a));
    assert!(!bench.endpoint.has_failed());
}

#[test]
fn without_bus_mastering_it_reaches_no_memory_and_sends_nothing() {
    let mut bench = Bench::new();
    bench.enable(false, false);
    bench.write(0, 2);
    assert_eq!(bench.read(8), 0, "both requests failed");
    assert!(bench.memory.0.borrow().iter().all(|&byte| byte == 0));
    assert_eq!((bench.sent.len(), bench.read(PENDING)), (0, 1));
    bench.enable(true, false);
    assert_eq!((bench.sent.len(), bench.read(PENDING)), (1, 0));
}

#[test]
fn a_model_that_causes_more_than_it_said_has_failed_until_its_reset() {
    let mut bench = Bench::new();
    bench.write(4, 0);
    assert!(bench.endpoint.has_failed());
    bench.endpoint.reset();
    assert!(!bench.endpoint.has_failed());
    assert_eq!(bench.read(TABLE + 12), 1, "its messages are masked again");
}

#[test]
fn a_message_that_is_held_is_sent_with_the_next_or_when_it_is_said() {
    let mut bench = Bench::new();
    bench.endpoint = Endpoint::new(Box::<Reader>::default(), Backend::Served, 1, TABLE, PENDING);
    for (dword, value) in [(0, 0xfee0_0000), (8, 0x55), (12, 0)] {
        bench.write(TABLE + dword, value);
    }
    bench.enable(true, false);
    bench.write(0, 6);
    let finish = |bench: &mut Bench, waits| {
        let mut group = Group::with_capacity(1);
        bench.endpoint.take_requests(Which::First, 1 << 20, &mut group);
        bench.call(|endpoint, around| endpoint.finish_for(&group, Ok(()), waits, around));
        (bench.read(8), bench.sent.len())
    };
    assert_eq!(finish(&mut bench, true), (1, 0));
    assert_eq!(finish(&mut bench, true), (2, 0));
    assert_eq!(finish(&mut bench, false), (3, 1), "one for all");
    assert_eq!(finish(&mut bench, true), (4, 1));
    bench.call(Endpoint::send_held);
    bench.call(Endpoint::send_held);
    assert_eq!(bench.sent.len(), 2, "once");
    assert_eq!(finish(&mut bench, true), (5, 2));
    bench.endpoint.reset();
    bench.call(Endpoint::send_held);
    assert_eq!(bench.sent.len(), 2, "a reset takes what waits along");
}
