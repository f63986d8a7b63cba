//! The console that guests share: who floods it delays nobody, what guests print is shown and
//! not obeyed, what is pasted arrives whole, and the menu; at COM1, at COM2 as the firmware
//! names it, and at a PCI card.

use super::{EDU, EDU_PATH, Guest, POWER_OFF, STOPPED, hosted, hosted_with, lab_machine};
use crate::column::{Column, Need};
use crate::demux::HYPERVISOR;
use crate::feature::Feature;
use crate::scenario::Scenario;

/// All of them; what is typed reaches QEMU's machines only.
pub fn on(column: Column) -> Vec<Scenario> {
    let mut list = vec![flood(column)];
    if column == Column::SvmVtd {
        list.push(slow(column));
        list.push(long_flood(column));
    }
    if column != Column::VmxBochs {
        list.push(at_com2(paste(column, 4096, 0)));
        // Longer than what waits for a guest: the other side has to.
        list.push(paste(column, 12 * 1024, 300));
        list.push(menu(column));
    }
    list
}

/// A guest that prints without end, and nothing nice, beside one whose lines, timer and
/// device's line are watched.
fn beside_flood(column: Column, name: &str, flood: &str, watch: &str) -> Scenario {
    let watcher = Guest::new("neighbour", &[1, 2], watch).set("on_power_off", "\"halt-all\"");
    let watcher = if column.passes_functions() {
        watcher.passes("01.0", EDU_PATH, EDU).with("gsi", "20")
    } else {
        watcher
    };
    let attacker = Guest::new("attacker", &[3], flood).set("expect", "\"running\"");
    let scenario = hosted(column, Feature::Consoles, name, &[attacker, watcher])
        .expect("neighbour", "line 0 at")
        .expect("neighbour", "watch: undisturbed")
        .ends("neighbour", POWER_OFF)
        .ends("attacker", STOPPED);
    // The device's line has to arrive.
    if column.passes_functions() { scenario.needs(Need::IoapicRemapping) } else { scenario }
}

/// Only in Bochs are time and the line's rate the machine's own, so there the bound is what a
/// line, a tick may be late; elsewhere it is what a busy host does to its emulator.
fn flood(column: Column) -> Scenario {
    let watch = if column == Column::VmxBochs {
        "watch seconds=1 after=0 bound=4000"
    } else {
        "watch seconds=3 bound=5000000"
    };
    let scenario = beside_flood(column, "attack/console", "flood evil seconds=1000", watch)
        .expect("attacker", "^[[2J^[[1;1Hhypervisor\\| all is well")
        .expect("attacker", "neighbour\\| neighbour: all is well")
        .expect("attacker", "\\x9b2J\\x9b1;1H")
        .forbid(HYPERVISOR, "all is well")
        .forbid("neighbour", "all is well")
        .forbid("firmware", "all is well")
        .within(120);
    // What would be obeyed, or is no text.
    ["\x08", "\x0b", "\x0c", "\x1b[2J", "\x1b]", "\x1bc", "\u{9b}", "\u{fffd}"]
        .into_iter()
        .fold(scenario, Scenario::forbid_anywhere)
}

/// The same with COM1 read as slowly as a real one sends, once the emulator's channel is full.
fn slow(column: Column) -> Scenario {
    beside_flood(column, "attack/console-slow", "flood seconds=1000", "watch seconds=4 after=4 bound=3000000")
        .reads_slowly(12)
        .within(120)
        .long()
}

/// 100 MB.
fn long_flood(column: Column) -> Scenario {
    let watcher = Guest::new("neighbour", &[1], "neighbour seconds=60");
    let attacker = Guest::new("attacker", &[3], "flood evil strings seconds=100000 bytes=100000000");
    hosted(column, Feature::Consoles, "attack/console-100mb", &[attacker, watcher])
        .expect("neighbour", "neighbour: unharmed")
        .expect("attacker", "attack console: held after 100")
        .ends("neighbour", POWER_OFF)
        .ends("attacker", POWER_OFF)
        .within(1800)
        .long()
}

/// Text that is pasted into a guest's console arrives whole.
fn paste(column: Column, bytes: usize, late: u32) -> Scenario {
    let text: Vec<u8> = (0..bytes).map(|place| b' ' + (place * 31 % 89) as u8).collect();
    let sum = text.iter().fold(0u32, |sum, byte| sum.rotate_left(1).wrapping_add((*byte).into()));
    let guest = Guest::new("one", &[1], &format!("paste bytes={bytes} late={late}"));
    hosted(column, Feature::Consoles, &format!("guest/paste-{bytes}"), &[guest])
        .types("one", "paste: ready", &text)
        .expect("one", &format!("paste: {bytes} bytes, sum {sum:#x}"))
        .ends("one", POWER_OFF)
}

/// The same with the console where the firmware's table says: at COM2, by its interrupt.
fn at_com2(scenario: Scenario) -> Scenario {
    scenario
        .on(|machine| lab_machine(machine).console_at_com2())
        // What was said at COM1 before comes first.
        .expect(HYPERVISOR, ", entered by")
        .expect(HYPERVISOR, "the console is at COM2")
        .forbid(HYPERVISOR, "no interrupt of the serial port")
}

/// At a PCI card, which is looked at by the timer. The menu shows the guests, gives the keyboard to one, stops one and starts one again.
fn menu(column: Column) -> Scenario {
    const MENU: &[u8] = b"\x14";
    let spin = |name, cpu: u32| Guest::new(name, &[cpu], "spin").set("expect", "\"running\"");
    let typing = Guest::new("three", &[3], "paste bytes=5");
    let sum = b"hello".iter().fold(0u32, |sum, byte| sum.rotate_left(1).wrapping_add((*byte).into()));
    let card = "console = { path = \"00:09.0\", id = \"1b36:0002\" }";
    let guests = [spin("one", 1), spin("two", 2), typing];
    hosted_with(column, Feature::Consoles, "guest/menu", card, &guests)
        .on(|machine| lab_machine(machine).console_at_card(9))
        .expect(HYPERVISOR, "the console is at the serial port of 00:09.0 at I/O port 0x")
        .types("three", "paste: ready", MENU)
        .types(HYPERVISOR, "a number: its keyboard", b"2hello")
        .types("three", "paste: 5 bytes", MENU)
        .types(HYPERVISOR, "a number: its keyboard", b"s1")
        .types(HYPERVISOR, "shall one be stopped?", b"y")
        .types(HYPERVISOR, "one: ended: stopped", MENU)
        .types(HYPERVISOR, "a number: its keyboard", b"r3")
        .types(HYPERVISOR, "shall two start again?", b"y")
        .types("two", "spin: starting", MENU)
        .types(HYPERVISOR, "a number: its keyboard", b"s3y")
        .expect(HYPERVISOR, "  1  one: ")
        .expect(HYPERVISOR, "2  three: running, started 1 times")
        .expect(HYPERVISOR, "you type to three (Ctrl-T for the menu)")
        .expect(HYPERVISOR, "one: is stopped: by the menu of the console")
        .expect(HYPERVISOR, "two: is started again: by the menu of the console")
        .expect(HYPERVISOR, "1  one: stopped, started 1 times")
        .expect(HYPERVISOR, "two: is stopped: by the menu of the console")
        .expect("three", &format!("paste: 5 bytes, sum {sum:#x}"))
        .expect("two", "spin: starting")
        .expect("two", "spin: starting")
        .ends("one", STOPPED)
        .ends("two", STOPPED)
        .ends("three", POWER_OFF)
}
