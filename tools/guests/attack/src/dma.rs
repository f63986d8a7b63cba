//! A device that writes and reads where its guest has no memory, and that forges
//! interrupt messages.

use crate::Environment;
use support::cpu::{enable_interrupts, is_bare, read64, write64};
use support::edu::Edu;
use support::println;
use support::trap::hits;

/// A page of the guest's own for what the device moves.
const OWN: u64 = 0x60_0000;
const PATTERN: u64 = 0xdead_d00d_cafe_f00d;
const WORDS: u64 = 512;

/// Fills the guest's own page.
fn fill(value: u64) {
    for word in 0..WORDS {
        write64(OWN + word * 8, value);
    }
}

/// Loads the device's buffer from the guest's own page filled with `value`.
fn load(edu: Edu, value: u64) -> bool {
    fill(value);
    edu.fetch(OWN, 4096)
}

/// The device must reach its guest's memory, or nothing below means anything.
fn works_at_home(edu: Edu) -> bool {
    if !load(edu, PATTERN) {
        return false;
    }
    fill(0);
    edu.store(OWN, 4096) && (0..WORDS).all(|word| read64(OWN + word * 8) == PATTERN)
}

/// What the device reads at `address`, into the guest's own page: the first word
/// that is neither the buffer's zero nor a failed read's ones.
fn leak(edu: Edu, address: u64) -> Option<u64> {
    load(edu, 0);
    edu.fetch(address, 4096);
    fill(0);
    edu.store(OWN, 4096);
    (0..WORDS).map(|word| read64(OWN + word * 8)).find(|word| *word != 0 && *word != u64::MAX)
}

/// DMA to addresses outside the guest's memory, by the first device or, with `devices=`, by so
/// many, to all of them or, with `targets=`, to so many: nothing may come from there, and what is
/// written must not be found there.
pub fn outside(environment: &Environment) {
    for index in 0..environment.number("devices", 1) {
        match Edu::find(index as usize) {
            Some(edu) => outside_by(edu, environment),
            None => println!("attack dma: BROKEN, no edu device to attack with"),
        }
    }
}

fn outside_by(edu: Edu, environment: &Environment) {
    if !works_at_home(edu) {
        println!("attack dma: BROKEN, the device does not reach its own guest's memory");
        return;
    }
    let end = environment.memory_end.next_multiple_of(0x20_0000);
    let targets = [
        end,
        end + 0x10_0000,
        end + 0x400_0000,
        end + 0x800_0000,
        0x1800_0000,
        0x2000_0000,
        0x3000_0000,
        0x3f00_0000,
        0x000f_0000,
        0xfec0_0000,
        0xfed9_0000,
        0x1_0000_0000,
        0x20_0000_0000,
        0xffff_ffff_f000,
        0xffff_ffff_ffff_f000,
    ];
    let count = environment.number("targets", targets.len() as u64) as usize;
    let outside = targets.into_iter().filter(|address| *address >= end || *address < 0x10_0000);
    for address in outside.take(count) {
        // On the emulator itself everything else is the guest's own machine.
        if is_bare() && address < 0xffff_0000 {
            continue;
        }
        let before = leak(edu, address);
        load(edu, PATTERN);
        edu.store(address, 4096);
        let after = leak(edu, address);
        // The legacy hole may be the guest's own memory: its ACPI tables, readable.
        let readable = address < 0x10_0000;
        if after == Some(PATTERN) && !readable || before.is_some() && !readable {
            println!("attack dma: BROKEN, {address:#x} gave {before:x?} before and {after:x?} after a write");
            return;
        }
    }
    match works_at_home(edu) && edu.answers() {
        true => println!("attack dma: held"),
        false => println!("attack dma: held, and the device was taken away"),
    }
}

/// Interrupt messages that the device writes by DMA. Here none may arrive that the
/// guest could not send itself; whether one arrives elsewhere the neighbour sees.
///
/// QEMU does not say who wrote a message by DMA, so its VT-d cannot check the source
/// of a remappable one: what an entry of somebody else does, only real hardware and
/// the unit tests of `iommu` can show. Give the neighbour no device.
///
/// QEMU's VT-d lets compatibility-format messages through whatever GSTS.CFIS and
/// IRTA.EIME say (VT-d specification section 5.1.4 has them blocked), an INIT to the
/// boot processor included; `remappable` leaves them out.
pub fn forged_msi(environment: &Environment) {
    let Some(edu) = Edu::find(0) else {
        println!("attack forged-msi: BROKEN, no edu device to attack with");
        return;
    };
    enable_interrupts();
    // Compatibility format: destinations, all delivery modes but the reserved one. On
    // the emulator itself nothing stands between, and INIT would be obeyed.
    let modes: &[u64] = if is_bare() { &[0] } else { &[0, 1, 2, 4, 5, 7] };
    let destinations: &[u64] = if environment.has("remappable") { &[] } else { &[0, 1, 2, 3, 0xff] };
    for destination in destinations {
        for mode in modes {
            message(edu, 0xfee0_0000 | destination << 12, mode << 8 | 0x77);
        }
    }
    if is_bare() {
        println!("forged-msi: {} arrived without a hypervisor", hits(0x77));
    }
    // Remappable format: the first handles, with and without subhandles.
    for handle in 0..24u64 {
        message(edu, 0xfee0_0010 | handle << 5, 0);
    }
    message(edu, 0xfee0_0018 | 0x7fff << 5, 0xffff);
    let came = (32..=255u8).find(|vector| hits(*vector) > 0).filter(|_| !is_bare());
    match (came, hits(2)) {
        (Some(vector), _) => println!("attack forged-msi: BROKEN, vector {vector:#x} arrived"),
        (None, 1..) if !is_bare() => println!("attack forged-msi: BROKEN, an NMI arrived"),
        _ => println!("attack forged-msi: held"),
    }
}

fn message(edu: Edu, address: u64, data: u64) {
    write64(OWN, data);
    edu.fetch(OWN, 4);
    edu.store(address, 4);
}
