//! The registers of a virtio function in configuration space, by which its window can be reached (Virtio 1.2,
//! section 4.1.4.9): places that there are not, and what a driver can do through them, from two processors.

use super::{Numbers, Outcome, PATIENCE, hold, second};
use support::cpu::read8;
use support::pci::Function;
use support::time::wait_until;
use support::virtio::register::STATUS;
use support::virtio::{CONFIG, NOTIFY, Virtio};

/// In the list of capabilities: vendor-specific, and of this type.
const CAPABILITY: u32 = 9;
const CONFIG_ACCESS: u32 = 5;
// In the capability.
const BAR: u16 = 4;
const OFFSET: u16 = 8;
const LENGTH: u16 = 12;
const DATA: u16 = 16;

/// Where the capability is, if the function has it.
fn find(function: Function) -> Option<u16> {
    let mut at = function.read_ecam(0x34) as u16 & 0xfc;
    for _ in 0..48 {
        let header = function.read_ecam(at);
        if at == 0 || header & 0xff == CAPABILITY && header >> 24 == CONFIG_ACCESS {
            break;
        }
        at = (header >> 8) as u16 & 0xfc;
    }
    (at != 0).then_some(at)
}

fn point(function: Function, at: u16, [bar, offset, length]: [u32; 3]) {
    function.write_ecam(at + BAR, bar);
    function.write_ecam(at + OFFSET, offset);
    function.write_ecam(at + LENGTH, length);
}

/// Tries it; the device is reset in the end, through the registers.
pub fn run(device: &Virtio, rounds: u64) -> Outcome {
    let function = device.function;
    let at = find(function).ok_or("its window is not reached through configuration space")?;
    // What the window has, with and without decode.
    for command in [6, 0] {
        for offset in (0..8).map(|byte| CONFIG + byte) {
            let direct = u32::from(read8(device.base + offset));
            function.write_ecam(4, command);
            point(function, at, [0, offset as u32, 1]);
            let through = function.read_ecam(at + DATA);
            function.write_ecam(4, 6);
            hold(through == direct, "another window in configuration space")?;
        }
    }
    // Other BARs, the table of MSI-X and behind it, offsets and lengths that there are not, and itself.
    let ecam = 0xe000_0000 | u32::from(function.0) << 12 | u32::from(at);
    let wrong =
        [[1, 0, 4], [2, 0, 4], [6, 0, 4], [0xff, 0, 4], [0, 0x4000, 4], [0, 0x400c, 4], [0, 0x5000, 4]];
    let more = [[0, 0x8000, 4], [0, u32::MAX, 1], [0, 0xffff_fffc, 4], [0, 1, 2], [0, 2, 4], [0, 0x3fff, 4]];
    let lengths = [0, 3, 5, 8, 0x104, u32::MAX].map(|length| [0, 0, length]);
    for place in wrong.into_iter().chain(more).chain(lengths).chain([[0, ecam, 4]]) {
        point(function, at, place);
        function.write_ecam(at + DATA, u32::MAX);
        hold(function.read_ecam(at + DATA) == 0, "a place that there is not")?;
    }
    by_two(device, at, rounds)
}

/// Both processors write all of the registers: the window is reached, and nothing else.
fn by_two(device: &Virtio, at: u16, rounds: u64) -> Outcome {
    let words = [device.function.0.into(), at.into(), 0, 0];
    hold(second::start(words, rewrite), "the second processor did not come")?;
    let mut numbers = Numbers::new(0xcf9);
    (0..rounds * 4).for_each(|_| disturb(device.function, at, &mut numbers));
    hold(second::stop(), "the second processor did nothing")?;
    device.function.write_ecam(4, 6);
    point(device.function, at, [0, STATUS as u32, 1]);
    device.function.write_ecam(at + DATA, 0);
    let is_over = wait_until(PATIENCE, || device.function.read_ecam(at + DATA) == 0);
    hold(is_over && device.status() == 0, "a reset through configuration space does not end")
}

fn rewrite() -> ! {
    let [function, at, ..] = second::words();
    let mut numbers = Numbers::new(0x6b8b);
    while second::goes_on() {
        disturb(Function(function as u16), at as u16, &mut numbers);
    }
    second::end()
}

/// Registers of the common configuration, notifications, the reset, and places that there are not.
fn disturb(function: Function, at: u16, numbers: &mut Numbers) {
    let value = numbers.next();
    let offset = match value >> 8 & 7 {
        0 | 1 => NOTIFY as u32,
        2 => STATUS as u32,
        3 => 0x4000 + (value >> 16) as u32 % 0x1000,
        // None says where a queue is: the device would find it at address 0.
        _ => (value >> 16) as u32 % 0x18,
    };
    let length = numbers.one_of(&[1, 2, 4, 3]);
    match value & 7 {
        0 => function.write_ecam(at + BAR, (value >> 40) as u32 & 1),
        1 => function.write_ecam(at + OFFSET, offset & !3),
        2 => function.write_ecam(at + LENGTH, length),
        3 => function.write_ecam(4, numbers.one_of(&[0, 2, 4, 6])),
        4 => _ = function.read_ecam(at + DATA),
        5 => function.write_ecam(at + DATA, numbers.one_of(&[0, 1, 3, 0xf, 0x80])),
        _ => {
            point(function, at, [0, offset & !3, length]);
            function.write_ecam(at + DATA, (value >> 32) as u32 & 0xf);
        }
    }
}
