//! A guest that has taken its device models over: the program of compartments that this guest is given does what it
//! says (`tools/guests/hostile`). The hypervisor ends each attack and makes the model anew, and the guest
//! sees a device that goes on where it was; or, where there is no state any more, one that was pulled out.

use crate::{Environment, neighbour};
use core::ops::Range;
use hostile::{INSTRUCTIONS, What, Who, Wish, command};
use support::cpu::{in8, out8, read64, write64};
use support::ne2000::register::{COMMAND, TRANSMIT_PAGE};
use support::ne2000::{Card, FIRST};
use support::time::{Stopwatch, wait_until};
use support::{ide, pci, println};

/// QEMU's `pci-serial`.
const SERIAL: u32 = 0x0002_1b36;
// Registers of a 16550.
const LINE_CONTROL: u16 = 3;
const SCRATCH: u16 = 7;
/// 8 bits, 2 stop bits, even parity.
const SETTING: u8 = 0x1f;
/// Memory that nobody has a reason to touch.
const QUIET: Range<u64> = 0x200_0000..0x3f0_0000;
/// How long a frame may take while its model is at an attack.
const PATIENCE: u64 = 10_000_000;
/// What a call that does not end may take, in microseconds: its time, and what an emulator adds.
const LATE: Range<u64> = 200_000..5_000_000;
/// Of an NE2000: the frame was sent.
const SENT: u8 = 1;
const ADDRESS: [u8; 6] = [0x52, 0x54, 0, 0, 0x0a, 4];

type Outcome = Result<(), &'static str>;

const fn hold(is_so: bool, broken: &'static str) -> Outcome {
    if is_so { Ok(()) } else { Err(broken) }
}

/// A serial port that holds what was written to it.
pub struct Port {
    first: u16,
    scratch: u8,
}

impl Port {
    /// The guest's `n`th one.
    pub fn find(n: usize) -> Option<Self> {
        let function = pci::find(SERIAL, n)?;
        function.command(0, 1);
        let port = Self { first: (function.read(0x10) & !3) as u16, scratch: 1 };
        out8(port.first + LINE_CONTROL, SETTING);
        out8(port.first + SCRATCH, port.scratch);
        Some(port)
    }

    /// Writes another value than was there.
    fn change(&mut self) {
        self.scratch = self.scratch.wrapping_mul(5).wrapping_add(3);
        out8(self.first + SCRATCH, self.scratch);
    }

    /// Whether its registers are as they were left.
    pub fn is_well(&self) -> bool {
        in8(self.first + SCRATCH) == self.scratch && in8(self.first + LINE_CONTROL) == SETTING
    }

    /// Whether it is as a card that was pulled out.
    fn is_gone(&self) -> bool {
        (0..8).all(|register| in8(self.first + register) == 0xff)
    }
}

/// Tells `who` what its next call is, everywhere or on the housekeeping CPU alone.
fn tell(who: Who, what: What, arguments: [u64; 2], on_housekeeping: bool) {
    let words = [
        (command::WHAT, what as u64),
        (command::ARGUMENT, arguments[0]),
        (command::SECOND, arguments[1]),
        (command::WHO, who as u64),
        (command::WHERE, on_housekeeping.into()),
        (0, command::ARMED),
    ];
    words.iter().for_each(|(place, value)| write64(command::GPA + 8 * place, *value));
}

/// Whether it has begun to do it.
fn is_begun() -> bool {
    read64(command::GPA) == 0
}

/// What ends the model: instructions, and interrupts of so many vectors.
fn deaths(vectors: u64) -> impl Iterator<Item = (What, u64)> {
    let instructions = (0..INSTRUCTIONS.len() as u64).map(|number| (What::Instructions, number));
    instructions.chain((0..vectors).map(|vector| (What::Interrupt, vector)))
}

/// What takes its time.
fn is_slow((what, number): (What, u64)) -> bool {
    let entry = INSTRUCTIONS.get(number as usize);
    what == What::Instructions && entry.is_some_and(|(_, end)| end.contains("in time"))
}

/// Runs it all.
pub fn run(environment: &Environment) {
    neighbour::mark(QUIET);
    let outcome = attacks(environment.number("vectors", 256), !environment.has("quiet"))
        .and_then(|()| hold(neighbour::is_marked(QUIET), "the guest's own memory changed"));
    match outcome {
        Ok(()) => println!("attack hostile-model: held"),
        Err(broken) => println!("attack hostile-model: BROKEN, {broken}"),
    }
}

fn attacks(vectors: u64, prints: bool) -> Outcome {
    let mut port = Port::find(0).ok_or("there is no serial port")?;
    hold(port.is_well(), "the port does not work to begin with")?;
    on_own_processor(&mut port, vectors)?;
    println!("hostile: what ends a model in an exit is over");
    on_housekeeping(vectors)?;
    println!("hostile: what ends a model on the housekeeping CPU is over");
    hold(port.is_well(), "a port changed when another model ended")?;
    answers()?;
    println!("hostile: answers that are none are over");
    wishes(&mut port, prints)?;
    println!("hostile: what no model may want is over");
    pulled_out()?;
    hold(port.is_well(), "a port changed when another was pulled out")
}

/// In the exit in which the guest reads a register.
fn on_own_processor(port: &mut Port, vectors: u64) -> Outcome {
    for death in deaths(vectors) {
        port.change();
        tell(Who::Serial, death.0, [death.1, 0], false);
        let mut watch = Stopwatch::start();
        let is_well = port.is_well();
        let time = watch.microseconds();
        let broken = if !is_begun() {
            "the model did not do it"
        } else if !is_well {
            "the port does not go on where it was"
        } else if time > LATE.end || is_slow(death) && time < LATE.start {
            "it was not ended in its time"
        } else {
            continue;
        };
        println!("hostile: {:?} {} took {time} us", death.0, death.1);
        return Err(broken);
    }
    Ok(())
}

/// In a frame that the housekeeping CPU asks for.
fn on_housekeeping(vectors: u64) -> Outcome {
    let card = Card::find().ok_or("there is no NE2000")?;
    card.set_up(ADDRESS, 0);
    for (what, number) in deaths(vectors) {
        tell(Who::Ne2000, what, [number, 0], true);
        card.send_from(FIRST, 64);
        let is_over = wait_until(PATIENCE, || is_begun() && card.read(COMMAND) & 4 == 0);
        if !is_over || card.read(TRANSMIT_PAGE) & SENT == 0 {
            println!("hostile: {what:?} {number}, begun {}", is_begun());
            return Err("a frame was not sent");
        }
    }
    Ok(())
}

/// Answers, of which each word in turn is something else. By chance they may say that the model's state is what
/// none can be: then its port is gone, and the next one follows.
fn answers() -> Outcome {
    let words = (0..40).map(|place| (What::Answer, place));
    let all = words.chain([0, 5, 10, 17, 22, 54, 86].map(|place| (What::Scribble, place)));
    let values = [0, 1, 2, 3, 16, 20, 0x101, 1 << 24, 1 << 32, 8 << 56, u64::MAX];
    let mut ports = 1;
    let mut port = Port::find(ports).ok_or("there is no second serial port")?;
    for (what, place) in all {
        for value in values {
            port.change();
            tell(Who::Serial, what, [place, value], false);
            in8(port.first + SCRATCH);
            hold(is_begun(), "the model did not do it")?;
            if port.is_gone() {
                ports += 1;
                port = Port::find(ports).ok_or("all ports are gone")?;
            } else if !port.is_well() {
                println!("hostile: {what:?} of word {place} as {value:#x}");
                return Err("a wrong answer changed a port for good");
            }
        }
    }
    println!("hostile: {} of the ports are gone", ports - 1);
    Ok(())
}

/// Effects that no model has; to print without end only where somebody reads it.
fn wishes(port: &mut Port, prints: bool) -> Outcome {
    let controller = ide::Controller::find().ok_or("there is no IDE controller")?;
    let status = || in8(ide::register::CONTROL);
    hold(status() != 0xff, "the controller does not work to begin with")?;
    for (number, wish) in (0..).zip(Wish::ALL).filter(|(_, wish)| prints || *wish != Wish::Output) {
        for _ in 0..3 {
            port.change();
            tell(Who::Serial, What::Wish, [number, 0], false);
            in8(port.first + SCRATCH);
            hold(is_begun(), "the port's model did not do it")?;
            // Whatever it wants without end is over with its program.
            tell(Who::Serial, What::Instructions, [INSTRUCTIONS.len() as u64 - 1, 0], false);
            hold(port.is_well() && is_begun(), "a wish broke a port")?;
            if wish == Wish::Output {
                break;
            }
            tell(Who::Ide, What::Wish, [number, 0], false);
            status();
            hold(is_begun(), "the controller's model did not do it")?;
            hold(status() != 0xff, "a wish broke the controller")?;
        }
    }
    let _ = controller;
    Ok(())
}

/// A model that has no state any more to which it could be made anew.
fn pulled_out() -> Outcome {
    let last = (1..8).take_while(|n| pci::find(SERIAL, *n).is_some()).last().ok_or("there is one port")?;
    let port = Port::find(last).ok_or("there is no last port")?;
    tell(Who::Serial, What::State, [0, 0], false);
    in8(port.first + SCRATCH);
    hold(is_begun(), "the model did not do it")?;
    tell(Who::Serial, What::Instructions, [INSTRUCTIONS.len() as u64 - 1, 0], false);
    in8(port.first + SCRATCH);
    hold(port.is_gone(), "a model without a state goes on")
}
