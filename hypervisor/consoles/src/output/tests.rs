use super::*;
use crate::port::Cause;
use crate::ring::Ring;
use proptest::prelude::*;
use std::cell::RefCell;
use std::string::String;
use std::vec;
use std::vec::Vec;

const LINE: Flags = Flags { complete: true, hidden: false };

struct Owner {
    name: &'static str,
    ring: RefCell<Ring<Vec<u8>>>,
}

impl Owner {
    fn new(name: &'static str) -> Self {
        Self { name, ring: RefCell::new(Ring::new(vec![0; 4096])) }
    }

    fn say(&self, text: &str) {
        self.ring.borrow_mut().push(text.as_bytes(), LINE);
    }
}

impl Source for Owner {
    fn name(&self) -> &str {
        self.name
    }
    fn take(&self, text: &mut [u8; LONGEST_TEXT]) -> Option<Taken> {
        self.ring.borrow_mut().take(text)
    }
}

/// A port whose transmitter takes 16 bytes each time it is looked at while it works.
#[derive(Default)]
struct Port {
    sent: Vec<u8>,
    room: usize,
    hangs: bool,
}

impl SerialPort for Port {
    fn room(&mut self) -> usize {
        self.room = if self.hangs { 0 } else { 16 };
        self.room
    }
    fn send(&mut self, byte: u8) {
        assert!(self.room > 0, "sent without room");
        self.room -= 1;
        self.sent.push(byte);
    }
    fn receive(&mut self) -> Option<u8> {
        None
    }
    fn set_interrupts(&mut self, _: bool, _: bool) {}
    fn set_ready(&mut self, _: bool) {}
    fn cause(&mut self) -> Cause {
        Cause::None
    }
}

fn drain(output: &mut Output, owners: &[Owner], port: &mut Port) {
    while output.pump(owners, Some(port), 4, |_, _| ()) != Pumped::Idle {}
}

fn text(port: &Port) -> String {
    String::from_utf8(port.sent.clone()).expect("text")
}

#[test]
fn lines_carry_their_owner_and_whether_they_go_on() {
    let owners = [Owner::new("hypervisor"), Owner::new("net")];
    owners[1].ring.borrow_mut().push(b"log", Flags { complete: false, hidden: false });
    owners[1].say("in: ");
    let (mut output, mut port) = (Output::new(), Port::default());
    drain(&mut output, &owners, &mut port);
    assert_eq!(text(&port), "net> log\r\nnet| in: \r\n");
}

#[test]
fn each_line_is_given_to_the_screen_once_and_whole_but_for_hidden_ones() {
    let owners = [Owner::new("a")];
    owners[0].say("shown");
    owners[0].ring.borrow_mut().push(b"hidden", Flags { complete: true, hidden: true });
    let (mut output, mut port, mut seen) = (Output::new(), Port::default(), Vec::new());
    while output.pump(&owners, Some(&mut port), 1, |line, shown| seen.push((line.to_vec(), shown)))
        != Pumped::Idle
    {}
    assert_eq!(seen, [(b"a| shown\r\n".to_vec(), true), (b"a| hidden\r\n".to_vec(), false)]);
}

#[test]
fn without_a_port_everything_goes_to_the_screen_a_few_lines_at_a_time() {
    let owners = [Owner::new("a")];
    (0..5).for_each(|_| owners[0].say("x"));
    let (mut output, mut seen) = (Output::new(), 0);
    let mut pump = || output.pump(&owners, None::<&mut Port>, 2, |_, _| seen += 1);
    assert_eq!(
        [pump(), pump(), pump()],
        [Pumped::Busy { moved: true }, Pumped::Busy { moved: true }, Pumped::Idle]
    );
    assert_eq!(seen, 5);
}

#[test]
fn what_was_left_out_is_told_by_the_hypervisor() {
    let owners = [Owner::new("net")];
    (0..30).for_each(|_| owners[0].say(&"x".repeat(200)));
    let (mut output, mut port) = (Output::new(), Port::default());
    drain(&mut output, &owners, &mut port);
    let text = text(&port);
    let kept = text.matches("net| x").count();
    let said = std::format!(
        "hypervisor| {} lines of net are left out here, {} bytes: too much at once\r\n",
        30 - kept,
        200 * (30 - kept)
    );
    assert!(text.ends_with(&said), "{text}");
}

/// One that never stops does not delay a line of another for more than its share and a line.
#[test]
fn a_line_waits_for_one_turn_of_each_other() {
    for flood in ["", "x", &"x".repeat(240)] {
        let owners = [Owner::new("log"), Owner::new("flood"), Owner::new("quiet")];
        let (mut output, mut port) = (Output::new(), Port::default());
        for round in 0..200 {
            (0..20).for_each(|_| owners[1].say(flood));
            output.pump(&owners, Some(&mut port), 4, |_, _| ());
            if round % 20 == 7 {
                let before = port.sent.len();
                owners[2].say("here");
                while !text(&port).get(before..).unwrap_or("").contains("quiet| here") {
                    (0..20).for_each(|_| owners[1].say(flood));
                    output.pump(&owners, Some(&mut port), 4, |_, _| ());
                }
                let waited = port.sent.len() - before;
                assert!(waited <= LONGEST_LINE + SHARE as usize + LONGEST_LINE + 32, "{waited} bytes");
            }
        }
    }
}

#[test]
fn a_port_that_hangs_is_passed_by_and_told_when_it_works_again() {
    let owners = [Owner::new("a")];
    let (mut output, mut port, mut seen) = (Output::new(), Port { hangs: true, ..Port::default() }, 0);
    (0..3).for_each(|_| owners[0].say("x"));
    let mut pump =
        |output: &mut Output, port: &mut Port| output.pump(&owners, Some(port), 9, |_, _| seen += 1);
    assert_eq!(pump(&mut output, &mut port), Pumped::Busy { moved: false });
    output.fail();
    assert_eq!(pump(&mut output, &mut port), Pumped::Idle);
    assert!(output.is_stuck() && port.sent.is_empty());
    port.hangs = false;
    owners[0].say("again");
    while pump(&mut output, &mut port) != Pumped::Idle {}
    assert!(!output.is_stuck());
    let expected = "\r\nhypervisor| 3 lines are missing here: the serial port took nothing\r\na| again\r\n";
    assert_eq!(text(&port), expected);
    assert_eq!(seen, 4);
}

proptest! {
    /// While several always have something to say, each gets as much of the line as another,
    /// but for a share and a line, whatever their lines are like; and each one's lines are
    /// whole and in order.
    #[test]
    fn shares_are_equal(lengths in prop::collection::vec(prop::collection::vec(0usize..=LONGEST_TEXT, 1..8), 2..5)) {
        const NAMES: [&str; 4] = ["a", "b", "c", "d"];
        let owners: Vec<Owner> = NAMES.iter().take(lengths.len()).map(|name| Owner::new(name)).collect();
        let (mut output, mut port) = (Output::new(), Port::default());
        let mut said = vec![0; owners.len()];
        for _ in 0..600 {
            for ((owner, lengths), said) in owners.iter().zip(&lengths).zip(&mut said) {
                // So that nothing is left out and nobody is ever without a line.
                while owner.ring.borrow().used_bytes() < 1000 {
                    let length = lengths[*said % lengths.len()];
                    owner.say(&std::format!("{said}{}", "x".repeat(length))[..length.max(1).min(LONGEST_TEXT)]);
                    *said += 1;
                }
            }
            output.pump(&owners, Some(&mut port), 4, |_, _| ());
        }
        let text = text(&port);
        let of = |name: &str| -> usize {
            text.lines().filter(|line| line.starts_with(name)).map(|line| line.len() + 2).sum()
        };
        let sums: Vec<usize> = owners.iter().map(|owner| of(owner.name)).collect();
        let (least, most) = (sums.iter().min().unwrap(), sums.iter().max().unwrap());
        prop_assert!(most - least <= SHARE as usize + 2 * LONGEST_LINE, "{sums:?}");
    }
}
