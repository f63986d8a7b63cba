//! A guest that ends again and again with everything of its functions in use: what is not given
//! back then is missing some starts later.

use crate::Environment;
use support::pci::{self, Function};
use support::{apic, power, println};

/// A vector that no test's handler minds.
const VECTOR: u8 = 0x6a;
const HOST_BRIDGE_CLASS: u32 = 0x0600;
/// Memory decode and bus mastering.
const WORKING: u16 = 6;

/// Every run turns the functions on, moves their BARs, lets them send messages, and resets without
/// taking anything back.
pub fn run(_: &Environment) {
    let mut used = 0;
    for function in pci::functions().filter(|function| function.read(8) >> 16 != HOST_BRIDGE_CLASS) {
        use_all_of(function);
        used += 1;
    }
    println!("restarts: {used} functions in use, ending");
    power::reset()
}

fn use_all_of(function: Function) {
    function.command(0, WORKING);
    let home = function.bar(0);
    // Off and back where it was: its pages are unmapped and mapped again.
    function.command(WORKING, 0);
    function.write(0x10, home as u32);
    function.command(0, WORKING);
    let address = pci::msi_address(apic::id() as u8);
    if !function.enable_msix(address, VECTOR.into()) {
        function.enable_msi(address, VECTOR.into());
    }
    function.command(0, WORKING);
}
