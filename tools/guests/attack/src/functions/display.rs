//! A display: pictures that its memory does not hold, registers that are none, its memory put where
//! nothing of it may be, and a second processor that changes the picture meanwhile.

use super::{ARENA, NOWHERE, Numbers, Outcome, hold, second};
use crate::Environment;
use support::cpu::{in8, out8, read16, read32, write16, write32};
use support::paging;
use support::pci::{self, Function};

const ID: u32 = 0x1111_1234;
/// Decode of ports and memory.
const DECODE: u16 = 3;
const VGA: u64 = 0x400;
const DISPI: u64 = 0x500;
const MEMORY_UNITS: u64 = DISPI + 2 * 10;
const ENABLE: u64 = DISPI + 2 * 4;
const TEXT: u64 = 0xb_8000;
const ROUNDS: u64 = 3_000;
/// The first and the last doubleword of the video memory hold this.
const MARK: u32 = 0x600d_d075;

struct Display {
    function: Function,
    memory: u64,
    registers: u64,
}

impl Display {
    fn find() -> Option<Self> {
        let function = pci::find(ID, 0)?;
        function.command(0, DECODE);
        let (memory, registers) = (function.bar(0), function.bar(2));
        (paging::map(memory) && paging::map(registers)).then_some(Self { function, memory, registers })
    }

    fn last(&self) -> u64 {
        self.memory + (u64::from(read16(self.registers + MEMORY_UNITS)) << 16) - 4
    }

    fn is_whole(&self) -> bool {
        read16(self.registers + DISPI) == 0xb0c5 && read32(self.memory) == MARK && read32(self.last()) == MARK
    }

    /// Puts the video memory where it must not be, and back.
    fn move_about(&self) -> bool {
        const BAR: u16 = 0x10;
        let low = self.function.read(BAR);
        let mut is_whole = true;
        for place in NOWHERE.into_iter().chain([ARENA, self.registers]) {
            self.function.command(2, 0);
            self.function.write(BAR, place as u32);
            self.function.command(0, 2);
            write32(ARENA, 1);
            is_whole &= read32(ARENA) == 1;
        }
        self.function.command(2, 0);
        self.function.write(BAR, low);
        self.function.command(0, 2);
        is_whole
    }
}

/// Any value at any register, by any width.
fn scribble(registers: u64, numbers: &mut Numbers) {
    const VALUES: [u16; 8] = [0, 1, 2, 0x41, 32, 640, 0x7fff, 0xffff];
    let value = numbers.one_of(&VALUES);
    match numbers.next() >> 40 & 3 {
        0 => write16(registers + VGA + (numbers.next() >> 16 & 0x1e), value),
        1 => write32(registers + (numbers.next() >> 16 & 0xffc), value.into()),
        _ => write16(registers + DISPI + 2 * (numbers.next() >> 16 & 15), value),
    }
}

fn change_meanwhile() -> ! {
    let [registers, ..] = second::words();
    let mut numbers = Numbers::new(77);
    while second::goes_on() {
        scribble(registers, &mut numbers);
    }
    second::end()
}

/// Tells it everything wrong.
pub fn run(_: &Environment) -> Outcome {
    let display = Display::find().ok_or("there is no display")?;
    let last = display.last();
    hold(paging::map(last), "its memory has no end")?;
    [display.memory, last].into_iter().for_each(|at| write32(at, MARK));
    hold(display.is_whole(), "its memory is none")?;
    hold(second::start([display.registers, 0, 0, 0], change_meanwhile), "no second processor")?;
    let mut numbers = Numbers::new(7);
    for round in 0..ROUNDS {
        scribble(display.registers, &mut numbers);
        let port = 0x3c0 + (numbers.next() >> 16 & 0x1f) as u16;
        out8(port, numbers.next() as u8);
        in8(port);
        write32(TEXT + (numbers.next() >> 16 & 0x7ffc), numbers.next() as u32);
        if round % 500 == 0 {
            hold(display.move_about(), "its memory was where it must not be")?;
        }
    }
    hold(second::stop(), "the second processor did nothing")?;
    hold(display.is_whole(), "its memory changed by itself")?;
    // A driver that begins anew has what it asks for.
    for (register, value) in [(4, 0), (1, 640), (2, 480), (6, 640), (8, 0), (9, 0), (4, 0x41)] {
        write16(display.registers + DISPI + 2 * register, value);
    }
    hold(read16(display.registers + DISPI + 2) == 640, "it has not the width that was set")?;
    write16(display.registers + ENABLE, 0);
    Ok(())
}
