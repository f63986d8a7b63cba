//! Consoles among the guest's functions, beside the one at its serial port.

extern crate std;

use super::script::*;
use crate::partition::terminal::FunctionConsole;
use crate::partition::{End, HOUSEKEEPING, Partition};
use crate::waiting::Watched;
use devices::device::{Completion, Context, DeviceEffect};
use devices::{Backend, Device, Endpoint};
use spec::Width;
use std::boxed::Box;
use std::collections::VecDeque;
use std::string::String;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

/// A write there tells of something that others serve.
const WAKE: u64 = 0x8000;

/// A device that prints each byte written to it as often as its offset says, and keeps what is typed.
struct Teletype {
    output: VecDeque<u8>,
    typed: Arc<Mutex<Vec<u8>>>,
}

impl Device for Teletype {
    fn most_effects(&self) -> usize {
        1
    }
    fn read(&mut self, _: u64, _: Width, _: &mut Context<'_>) -> u64 {
        0
    }
    fn write(&mut self, offset: u64, _: Width, value: u64, context: &mut Context<'_>) {
        if offset == WAKE {
            context.effects.push(DeviceEffect::Wake);
            return;
        }
        self.output.extend((0..offset).map(|_| value as u8));
        context.effects.push(DeviceEffect::Output);
    }
    fn output(&mut self, into: &mut [u8], _: &mut Context<'_>) -> usize {
        let count = into.len().min(self.output.len());
        into.iter_mut().zip(self.output.drain(..count)).for_each(|(place, byte)| *place = byte);
        count
    }
    fn input(&mut self, byte: u8, _: &mut Context<'_>) -> bool {
        let mut typed = self.typed.lock().unwrap();
        typed.push(byte);
        typed.len() < 3
    }
    fn complete(&mut self, _: Completion, _: &mut Context<'_>) {}
    fn line(&self) -> bool {
        false
    }
    fn reset(&mut self) {}
}

/// What was typed to a teletype.
type Typed = Arc<Mutex<Vec<u8>>>;

/// A guest whose second and third endpoint are consoles, and what was typed to them.
fn guest() -> (Partition<FakeHost>, [Typed; 3]) {
    let typed: [Typed; 3] = Default::default();
    let mut partition = partition(2);
    let endpoint = |typed: &Typed| {
        let device = Teletype { output: VecDeque::new(), typed: typed.clone() };
        Watched::new(Endpoint::with_lines(Box::new(device), Backend::Served, [None; 2]))
    };
    partition.endpoints = typed.iter().map(endpoint).collect();
    partition.consoles = Box::new([1, 2].map(FunctionConsole::new));
    (partition, typed)
}

fn say(partition: &Partition<FakeHost>, endpoint: usize, text: &str) {
    for byte in text.bytes() {
        partition.endpoint_write(0, endpoint, 1, Width::Byte, byte.into());
    }
}

fn printed(partition: &Partition<FakeHost>) -> Vec<(usize, String, bool)> {
    partition.host.printed.take()
}

fn line(console: usize, text: &str, complete: bool) -> (usize, String, bool) {
    (console, text.into(), complete)
}

#[test]
fn each_console_has_its_own_line() {
    let (partition, _) = guest();
    say(&partition, 1, "first ");
    say(&partition, 2, "second\r\n");
    for byte in b"port\n" {
        partition.port_write(0, 0x3f8, Width::Byte, u32::from(*byte));
    }
    say(&partition, 1, "line\n");
    say(&partition, 0, "no console\n");
    let expected = [line(2, "second", true), line(0, "port", true), line(1, "first line", true)];
    assert_eq!(printed(&partition), expected);
}

/// A prompt shows after a while, wherever it is.
#[test]
fn unfinished_lines_are_written_in_time() {
    let (partition, _) = guest();
    say(&partition, 2, "login: ");
    let deadline = partition.console_deadline();
    assert_ne!(deadline, u64::MAX);
    // Another line that ends does not keep it from that.
    say(&partition, 1, "line\n");
    partition.port_write(0, 0x3f8, Width::Byte, b'\n'.into());
    assert_eq!(partition.console_deadline(), deadline);
    printed(&partition);
    partition.flush_console();
    assert_eq!(printed(&partition), [line(2, "login: ", false)]);
    assert_eq!(partition.console_deadline(), u64::MAX);
    say(&partition, 2, "root\n");
    assert_eq!(printed(&partition), [line(2, "root", true)]);
}

/// What one access prints is printed before it returns, however much it is.
#[test]
fn much_at_once_is_printed_in_pieces() {
    let (partition, _) = guest();
    partition.endpoint_write(1, 1, 5000, Width::Byte, b'x'.into());
    partition.flush_console();
    let printed = printed(&partition);
    assert!(
        printed
            .iter()
            .all(|(console, text, complete)| (*console, *complete) == (1, false) && text.len() <= 240)
    );
    assert_eq!(printed.iter().map(|(_, text, _)| text.len()).sum::<usize>(), 5000);
}

#[test]
fn a_guest_may_say_at_any_console_that_it_is_up() {
    let (mut partition, _) = guest();
    partition.ready = Some("up".into());
    assert!(
        !partition.endpoint_write(0, 1, 1, Width::Byte, b'u'.into())
            || partition.console_deadline() != u64::MAX
    );
    partition.endpoint_write(0, 1, 1, Width::Byte, b'p'.into());
    assert!(partition.endpoint_write(0, 1, 1, Width::Byte, b'\n'.into()), "it has mail");
    assert!(partition.host.kicked.borrow().contains(&1), "and so has the other vCPU");
}

#[test]
fn what_is_typed_reaches_the_console_that_it_is_typed_to() {
    let (partition, typed) = guest();
    let all = || typed.iter().map(|typed| typed.lock().unwrap().clone()).collect::<Vec<_>>();
    assert!(partition.receive(1, b'a') && partition.receive(2, b'b') && partition.receive(0, b'c'));
    assert!(partition.receive(7, b'd'), "nobody is there to wait for");
    assert_eq!(all(), [b"".to_vec(), b"a".to_vec(), b"b".to_vec()]);
    assert!(partition.receive(1, b'e') && !partition.receive(1, b'f'), "it has no room");
    partition.request_end(End::Frozen);
    assert!(!partition.receive(2, b'x') && !partition.receive(0, b'x'), "what is typed waits");
    let (partition, typed) = guest();
    partition.request_end(End::PowerOff);
    assert!(partition.receive(1, b'x'), "it is for nobody");
    assert!(typed.iter().all(|typed| typed.lock().unwrap().is_empty()));
}

/// A guest that starts again does not go on in its old lines.
#[test]
fn a_restart_forgets_lines() {
    let (partition, _) = guest();
    say(&partition, 1, "old");
    partition.restart(chipset());
    assert_eq!(partition.console_deadline(), u64::MAX);
    partition.endpoint_write(HOUSEKEEPING, 1, 1, Width::Byte, b'n'.into());
    partition.flush_console();
    assert_eq!(printed(&partition), [line(1, "n", false)]);
}

/// A vCPU that tells of something has it served once its access is over; who serves, and asks for more, leaves
/// that to the housekeeping CPU, or it would never end.
#[test]
fn what_a_vcpu_tells_of_is_served_when_its_access_is_over() {
    let (partition, _) = guest();
    partition.endpoint_write(1, 2, WAKE, Width::Byte, 0);
    assert_eq!(partition.host.served.take(), [(Some(1), 2)]);
    partition.serve_endpoint(2, |endpoint, around| endpoint.write(WAKE, Width::Byte, 0, around));
    partition.serve_endpoint_on(1, 2, &mut |endpoint, around| endpoint.write(WAKE, Width::Byte, 0, around));
    assert_eq!(partition.host.served.take(), [(None, 0); 2]);
    partition.endpoint_write(1, 2, 1, Width::Byte, b'x'.into());
    assert_eq!(partition.host.served.take(), [], "it told of nothing");
}

/// A model that never stops to print keeps nobody from anything else.
#[test]
fn one_use_prints_no_more_than_a_model_has_at_once() {
    let (partition, _) = guest();
    let pieces = |printed: &[(usize, String, bool)]| printed.len();
    partition.endpoint_write(0, 1, 100_000, Width::Byte, b'\n'.into());
    assert_eq!(pieces(&printed(&partition)), 256 * 256);
    // The rest comes when the endpoint is used again.
    partition.endpoint_write(0, 1, 1, Width::Byte, b'\n'.into());
    assert_eq!(pieces(&printed(&partition)), 100_001 - 256 * 256);
}
