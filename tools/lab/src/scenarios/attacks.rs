//! An attacker beside a neighbour: the attack must fail, and the neighbour must see
//! nothing of it.

use super::{BAD_ACCESS, EDU, EDU_PATH, Guest, OTHER_EDU_PATH, POWER_OFF, TRIPLE_FAULT, hosted};
use crate::demux::HYPERVISOR;
use crate::scenario::Scenario;

/// All of them. The seconds are the neighbour's: it watches longer than the attack
/// takes.
pub fn all() -> Vec<Scenario> {
    vec![
        attack("dma", "dma", 25).expect(HYPERVISOR, "DMA of attacker blocked"),
        // Whose they are QEMU does not say.
        attack("forged-msi", "forged-msi remappable", 25).expect(HYPERVISOR, "sent interrupt"),
        attack("forged-msi-compatibility", "forged-msi", 25).skip_if(compatibility_messages),
        attack("bars", "bars", 5).expect(HYPERVISOR, "which is refused"),
        attack("config", "config", 8),
        attack("sweep-ports", "sweep-ports", 30),
        attack("sweep-msr", "sweep-msr", 10),
        attack("sweep-mmio", "sweep-mmio", 8).expect(HYPERVISOR, "where it has nothing"),
        // Behind the guest's memory, where the host's goes on.
        attack("sweep-mmio-behind", "sweep-mmio from=0x4000000 to=0xc0000000 step=0x800000", 8),
        attack("sweep-mmio-high", "sweep-mmio from=0x100000000 to=0x2000000000 step=0x10000000", 8),
        attack("svm", "svm", 3),
        attack("rewrite", "rewrite", 15),
        attack("init-storm", "init-storm rounds=500", 10),
        // Messages through the memory-mapped APIC take another way in.
        attack("init-storm-xapic", "init-storm rounds=200 xapic", 10),
        fatal("nested-faults", TRIPLE_FAULT),
        stray_crash(),
        fatal("wild-fetch", BAD_ACCESS).expect(HYPERVISOR, "Fetch at gpa"),
        fatal("unemulated", BAD_ACCESS).expect(HYPERVISOR, "by what is not emulated"),
    ]
}

fn attacker(command_line: &str) -> Guest {
    Guest::new("attacker", &[2, 3], command_line).passes("01.0", EDU_PATH, EDU).passes(
        "02.0",
        OTHER_EDU_PATH,
        EDU,
    )
}

fn beside_neighbour(name: &str, attacker: Guest, seconds: u64) -> Scenario {
    let neighbour = Guest::new("neighbour", &[1], &format!("neighbour seconds={seconds}"));
    hosted(&format!("attack/{name}"), &[attacker, neighbour])
        .expect("neighbour", "neighbour: unharmed")
        .ends("neighbour", POWER_OFF)
        .within(60 + 2 * seconds)
}

fn attack(name: &str, command_line: &str, seconds: u64) -> Scenario {
    let test = command_line.split(' ').next().unwrap_or(name);
    beside_neighbour(name, attacker(command_line), seconds)
        .expect("attacker", &format!("attack {test}: held"))
        .ends("attacker", POWER_OFF)
}

/// Its last step must end the attacker alone, by `end`.
fn fatal(name: &str, end: &str) -> Scenario {
    beside_neighbour(name, attacker(name).set("expect", "\"crash\""), 8)
        .expect("attacker", &format!("{name}: ending"))
        .ends("attacker", end)
}

/// The first stray access ends a guest whose configuration wants that.
fn stray_crash() -> Scenario {
    let attacker = attacker("sweep-mmio").set("stray_access", "\"crash\"").set("expect", "\"crash\"");
    beside_neighbour("stray-crash", attacker, 4)
        .expect("attacker", "sweep-mmio: 0xc0000000 to")
        .forbid("attacker", "places")
        .ends("attacker", BAD_ACCESS)
}

/// What keeps messages of the compatibility format away is one bit of the unit, which
/// no emulator obeys; the unit's tests show that it is never set.
fn compatibility_messages() -> Option<String> {
    Some(
        "QEMU delivers interrupt messages of the compatibility format even where VT-d blocks them".to_owned(),
    )
}
