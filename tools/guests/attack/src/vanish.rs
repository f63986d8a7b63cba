//! A device that is pulled out while its guest works with it.

use crate::Environment;
use support::apic;
use support::cpu::{read32, read64, write64};
use support::edu::Edu;
use support::pci::{find, msi_address};
use support::time::wait_until;
use support::{edu, power, println};

/// A page of the guest's own for what the device moves.
const OWN: u64 = 0x60_0000;
/// A vector that no test's handler minds.
const VECTOR: u8 = 0x6a;
/// How long it may take until the device is pulled, in microseconds.
const PATIENCE: u64 = 30_000_000;
/// Memory decode and bus mastering.
const WORKING: u16 = 6;

/// Says when the device is in use, which is when to pull it, and works on with its
/// registers. Afterwards there is nothing in place of it, and whatever else is done to it changes
/// nothing. Ends by a reset: the next start finds no device.
pub fn run(_: &Environment) {
    let Some(edu) = Edu::find(0) else {
        println!("vanish: WRONG, no edu device");
        return;
    };
    if !edu.function.enable_msi(msi_address(apic::id() as u8), VECTOR.into()) || !moves(edu) {
        println!("vanish: WRONG, the device does not work");
        return;
    }
    edu.raise();
    edu.acknowledge();
    println!("vanish: in use");
    // No interrupts meanwhile: QEMU stops at an assertion of its own where `edu` drops its line
    // after the reset that is part of pulling it.
    let gone = wait_until(PATIENCE, || !edu.answers());
    // On a bus there are ones in place of what is gone; QEMU has zeros there.
    let absent = |value| value == 0 || value == u32::MAX;
    check("its registers are gone", gone && absent(read32(edu.registers)));
    check("it moves nothing", !moves(edu));
    // All that reaches hardware, and the pages that are mapped and unmapped for it.
    let (function, home) = (edu.function, edu.function.bar(0));
    function.command(WORKING, 0);
    function.write(0x10, home as u32);
    function.command(0, WORKING);
    function.enable_msi(msi_address(apic::id() as u8), VECTOR.into());
    edu.raise();
    check("it answers no more", !edu.answers());
    println!(
        "vanish: {} at its place, ending",
        if find(edu::ID, 0).is_some() { "its name" } else { "nothing" }
    );
    power::reset()
}

/// Whether the device brings a word from one place of the guest's memory to another.
fn moves(edu: Edu) -> bool {
    const WORD: u64 = 0x5eed_0fc0_ffee_0001;
    write64(OWN, WORD);
    write64(OWN + 8, 0);
    edu.fetch(OWN, 8) && edu.store(OWN + 8, 8) && read64(OWN + 8) == WORD
}

fn check(name: &str, right: bool) {
    println!("vanish: {name}: {}", if right { "ok" } else { "WRONG" });
}
