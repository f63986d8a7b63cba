use super::*;
use crate::snapshot::{RestoreFault, SaveFault};
use crate::testing::VecMedium;
use crate::virtio::Transport;
use crate::virtio::testing::{DATA, Guest, MEMORY, describe};
use access::GuestMemory;
use proptest::prelude::*;
use spec::Gpa;
use spec::virtio::split::{DESCRIPTOR_INDIRECT, DESCRIPTOR_NEXT, Descriptor};
use spec::virtio::{feature, status};
use std::vec;
use std::vec::Vec;

mod saving;

const USUAL: u64 = feature::VERSION_1 | feature::INDIRECT_DESCRIPTORS | feature::EVENT_INDEX;
/// As whoever prints takes it.
const PIECE: usize = 256;
const INPUT: u64 = DATA + 0x8_0000;

/// A console with its driver.
struct Terminal {
    guest: Guest<Console>,
}

fn device() -> Transport<Console> {
    Transport::new(Console::new(), 3, false)
}

impl Terminal {
    fn with(features: u64) -> Self {
        let mut guest = Guest::new(device(), VecMedium::new(0));
        guest.start(features, QUEUE_SIZE, true);
        Self { guest }
    }

    fn new() -> Self {
        Self::with(USUAL)
    }

    /// Makes a buffer available that holds `text` in segments of at most `cut` bytes.
    fn add(&mut self, text: &[u8], cut: usize) -> Option<u16> {
        let ring = &mut self.guest.rings[queue::TRANSMIT];
        let at = DATA + u64::from(ring.next_head(text.chunks(cut).len(), false)?) * 0x4000;
        self.guest.bench.memory.write(Gpa(at), text).unwrap();
        let segments = text.chunks(cut).scan(at, |at, part| {
            let segment = (*at, part.len() as u32);
            *at += part.len() as u64;
            Some(segment)
        });
        ring.add(&self.guest.bench.memory, &segments.collect::<Vec<_>>(), 0, false)
    }

    /// As a driver prints: one buffer, whose end it waits for. What is shown of it.
    fn print(&mut self, text: &[u8]) -> Vec<u8> {
        let head = self.add(text, 4096).unwrap();
        assert!(self.guest.notify(queue::TRANSMIT as u16));
        let shown = self.guest.bench.output(PIECE);
        assert_eq!(self.used(queue::TRANSMIT), Some((head, 0)));
        shown
    }

    fn used(&mut self, queue: usize) -> Option<(u16, u32)> {
        let Guest { bench, rings } = &mut self.guest;
        let used = rings[queue].take_used(&bench.memory);
        rings[queue].want_interrupt(&bench.memory, true);
        used
    }

    /// Gives the device a buffer for what is typed.
    fn offer(&mut self) -> u16 {
        let ring = &mut self.guest.rings[queue::RECEIVE];
        let at = INPUT + u64::from(ring.next_head(1, false).unwrap()) * 0x1000;
        ring.add(&self.guest.bench.memory, &[(at, 4096)], 1, false).unwrap()
    }

    fn type_in(&mut self, byte: u8) -> bool {
        self.guest.bench.with(|device, context| device.input(byte, context))
    }

    /// What the driver was given that was typed.
    fn typed(&mut self) -> Vec<u8> {
        let mut all = vec![];
        while let Some((head, count)) = self.used(queue::RECEIVE) {
            let mut bytes = vec![0; count as usize];
            self.guest.bench.memory.read(Gpa(INPUT + u64::from(head) * 0x1000), &mut bytes).unwrap();
            all.extend(bytes);
        }
        all
    }

    fn needs_reset(&mut self) -> bool {
        self.guest.status() & status::NEEDS_RESET != 0
    }
}

use crate::Device as _;

#[test]
fn what_is_printed_is_shown() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.print(b"hello\r\n"), b"hello\r\n");
    assert_eq!(terminal.guest.bench.messages, [2]);
    assert_eq!(terminal.guest.bench.wakes, 0, "nobody is asked to poll");
    let long: Vec<u8> = (0..=255).cycle().take(4096).collect();
    for bytes in [1, 255, 256, 257, 512, 4096] {
        assert!(terminal.print(&long[..bytes]) == long[..bytes], "{bytes}");
    }
}

/// A buffer is the driver's again once all of it is taken.
#[test]
fn a_buffer_is_taken_in_pieces() {
    let mut terminal = Terminal::new();
    terminal.add(&[b'a'; 600], 100).unwrap();
    terminal.guest.notify(queue::TRANSMIT as u16);
    let mut piece = [0; PIECE];
    for (bytes, is_done) in [(256, false), (256, false), (88, true), (0, true)] {
        let shown = terminal.guest.bench.with(|device, context| device.output(&mut piece, context));
        assert_eq!((shown, terminal.used(queue::TRANSMIT).is_some()), (bytes, is_done && bytes > 0));
    }
}

#[test]
fn what_no_driver_sends_at_once_is_cut() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.print(&[b'a'; 5000]).len(), MOST_BYTES);
    let ring = &mut terminal.guest.rings[queue::TRANSMIT];
    ring.add(&terminal.guest.bench.memory, &[(DATA, 0x30_0000), (0, 0xffff_0000 - 0x30_0000)], 0, true)
        .unwrap();
    terminal.guest.notify(queue::TRANSMIT as u16);
    assert_eq!(terminal.guest.bench.output(PIECE).len(), MOST_BYTES);
    assert!(!terminal.needs_reset());
}

/// One access prints what the queue held then; what another processor adds meanwhile it tells of.
#[test]
fn an_access_prints_no_more_than_the_queue_holds() {
    let mut terminal = Terminal::new();
    while terminal.add(&[b'a'; 4096], 4096).is_some() {}
    assert!(terminal.guest.notify(queue::TRANSMIT as u16));
    let mut piece = [0; PIECE];
    let mut shown = 0;
    while terminal.guest.bench.with(|device, context| device.output(&mut piece, context)) > 0 {
        shown += PIECE;
        while terminal.used(queue::TRANSMIT).is_some() {}
        while terminal.add(&[b'b'; 4096], 4096).is_some() {}
        assert!(shown <= usize::from(QUEUE_SIZE) * MOST_BYTES);
    }
    assert_eq!(shown, usize::from(QUEUE_SIZE) * MOST_BYTES);
    assert!(terminal.guest.notify(queue::TRANSMIT as u16), "and the device wants to know");
    terminal.guest.bench.has_output = true;
    assert_eq!(terminal.guest.bench.output(PIECE).len(), usize::from(QUEUE_SIZE) * MOST_BYTES);
}

#[test]
fn what_is_typed_reaches_the_driver() {
    let mut terminal = Terminal::new();
    assert!(!terminal.type_in(b'x'), "there is no buffer");
    terminal.offer();
    terminal.guest.notify(queue::RECEIVE as u16);
    for _ in 1..4 {
        terminal.offer();
    }
    assert!(!terminal.guest.notify(queue::RECEIVE as u16), "the device looks by itself");
    for byte in *b"abcd" {
        assert!(terminal.type_in(byte));
    }
    assert!(!terminal.type_in(b'e'));
    assert_eq!(terminal.typed(), b"abcd");
    assert_eq!(terminal.guest.bench.messages, [1]);
    terminal.offer();
    assert!(terminal.type_in(b'e'));
    assert_eq!((terminal.typed(), terminal.guest.bench.messages.clone()), (b"e".to_vec(), vec![1, 1]));
}

/// Whoever types has to wait for the driver, and prints nothing before it.
#[test]
fn a_driver_that_is_not_set_up_has_no_console() {
    let mut guest = Guest::new(device(), VecMedium::new(0));
    assert!(!guest.bench.with(|device, context| device.input(b'a', context)));
    guest.kick(1);
    assert!(!guest.bench.has_output);
    assert_eq!(guest.bench.with(|device, context| device.output(&mut [0; 4], context)), 0);
}

#[test]
fn a_reset_amid_a_buffer_forgets_it() {
    let mut terminal = Terminal::new();
    terminal.add(&[b'a'; 600], 600).unwrap();
    terminal.guest.notify(queue::TRANSMIT as u16);
    terminal.guest.bench.with(|device, context| device.output(&mut [0; 100], context));
    assert!(terminal.guest.reset());
    terminal.guest.start(USUAL, QUEUE_SIZE, true);
    assert_eq!(terminal.print(b"new"), b"new");
}

/// What no driver may give, and what is no memory: as long as it is not looked at it is nothing.
#[test]
fn buffers_that_are_none_need_a_reset() {
    for (index, segments, writable) in [
        (queue::TRANSMIT, &[(0xffff_0000_u64, 8_u32)][..], 0),
        (queue::TRANSMIT, &[(MEMORY as u64 - 4, 8)], 0),
        (queue::RECEIVE, &[(0xffff_0000, 8)], 1),
        (queue::RECEIVE, &[(DATA, 8)], 0),
        (queue::RECEIVE, &[(DATA, 0)], 1),
    ] {
        let mut terminal = Terminal::new();
        let ring = &mut terminal.guest.rings[index];
        ring.add(&terminal.guest.bench.memory, segments, writable, false).unwrap();
        terminal.guest.kick(index as u16);
        assert_eq!(terminal.guest.bench.output(PIECE), b"");
        terminal.type_in(b'a');
        assert!(terminal.needs_reset(), "{segments:x?}");
        assert_eq!(terminal.guest.bench.messages, [0], "the driver is told");
        assert!(!terminal.type_in(b'a'));
        assert!(terminal.guest.reset());
        terminal.guest.start(USUAL, QUEUE_SIZE, true);
        assert_eq!(terminal.print(b"again"), b"again");
    }
    // Nothing to read is nothing to print.
    let mut terminal = Terminal::new();
    let ring = &mut terminal.guest.rings[queue::TRANSMIT];
    let head = ring.add(&terminal.guest.bench.memory, &[(DATA, 8)], 1, false).unwrap();
    terminal.guest.notify(queue::TRANSMIT as u16);
    assert_eq!(terminal.guest.bench.output(PIECE), b"");
    assert_eq!(terminal.used(queue::TRANSMIT), Some((head, 0)));
}

/// Rings that lie, whoever looks at them: circles, indices out of range, tables in tables, more than the
/// queue holds.
#[test]
fn rings_that_break_a_rule_need_a_reset() {
    let with = |flags: u16, next: u16, bytes: u32| Descriptor { gpa: Gpa(DATA), bytes, flags, next };
    let circle = with(DESCRIPTOR_NEXT, 0, 8);
    for queue in [queue::TRANSMIT, queue::RECEIVE] {
        for (descriptor, heads) in [
            (circle, &[0_u16][..]),
            (with(DESCRIPTOR_NEXT, QUEUE_SIZE, 8), &[0]),
            (with(DESCRIPTOR_INDIRECT, 0, 24), &[0]),
            (with(DESCRIPTOR_INDIRECT | DESCRIPTOR_NEXT, 1, 16), &[0]),
            (with(0, 0, 8), &[QUEUE_SIZE]),
            (with(0, 0, 8), &[0; 17]),
        ] {
            let mut terminal = Terminal::new();
            let table = terminal.guest.rings[queue].descriptors();
            describe(&terminal.guest.bench.memory, table, 0, descriptor);
            heads
                .iter()
                .for_each(|head| terminal.guest.rings[queue].offer(&terminal.guest.bench.memory, *head));
            terminal.guest.kick(queue as u16);
            terminal.guest.bench.output(PIECE);
            terminal.type_in(b'a');
            assert!(terminal.needs_reset(), "{queue}: {descriptor:x?} {heads:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Everything that is printed is shown once, in order, however it is cut and taken, and what is typed
    /// meanwhile arrives.
    #[test]
    fn everything_arrives_in_order(
        steps in prop::collection::vec((0_usize..900, 1_usize..300, any::<bool>(), any::<bool>()), 1..60),
        event_index: bool,
        is_packed: bool,
        piece in 1_usize..400,
    ) {
        let features = if event_index { USUAL } else { USUAL & !feature::EVENT_INDEX };
        let features = if is_packed { features | feature::RING_PACKED } else { features };
        let mut terminal = Terminal::with(features);
        let (mut sent, mut shown, mut typed, mut read) = (vec![], vec![], vec![], vec![]);
        for (number, (bytes, cut, notifies, types)) in steps.into_iter().enumerate() {
            let text: Vec<u8> = (0..bytes.max(1)).map(|byte| (byte * 7 + number) as u8).collect();
            if terminal.add(&text, cut.max(100)).is_some() {
                sent.extend(text);
            }
            if notifies {
                terminal.guest.notify(queue::TRANSMIT as u16);
                shown.extend(terminal.guest.bench.output(piece));
                while terminal.used(queue::TRANSMIT).is_some() {}
            }
            if types {
                if terminal.guest.rings[queue::RECEIVE].next_head(1, false).is_some() {
                    terminal.offer();
                }
                if terminal.type_in(number as u8) {
                    typed.push(number as u8);
                }
                if number % 3 == 0 {
                    read.extend(terminal.typed());
                }
            }
        }
        terminal.guest.notify(queue::TRANSMIT as u16);
        shown.extend(terminal.guest.bench.output(piece));
        read.extend(terminal.typed());
        prop_assert!(!terminal.needs_reset());
        prop_assert!(shown == sent);
        prop_assert_eq!(read, typed);
    }
}
