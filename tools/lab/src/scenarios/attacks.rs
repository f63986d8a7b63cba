//! An attacker beside a neighbour: the attack must fail, and the neighbour must see
//! nothing of it.

use super::{
    BAD_ACCESS, EDU, EDU_PATH, Guest, IMAGE, OTHER_EDU_PATH, POWER_OFF, REBOOT, STOPPED, TRIPLE_FAULT,
    hosted, hosted_with,
};
use crate::column::{Column, Need};
use crate::demux::HYPERVISOR;
use crate::feature::Feature;
use crate::machine::Iommu;
use crate::scenario::{Models, Scenario};

/// All of them; where there is no IOMMU, attackers without a device.
pub fn on(column: Column) -> Vec<Scenario> {
    let mut list = by_a_device(column);
    list.push(served_functions(column));
    list.push(hostile_model(column));
    let others = by_the_processor(column).into_iter().chain(by_the_end(column));
    // These are shown every day on the same processor beside the other IOMMU, with which they have nothing
    // to do.
    let is_repeated = column == Column::SvmAmdVi;
    list.extend(others.map(|scenario| if is_repeated { scenario.long() } else { scenario }));
    list
}

/// Needs a device to attack with. The seconds are the neighbour's: it watches longer
/// than the attack takes.
fn by_a_device(column: Column) -> Vec<Scenario> {
    use Feature::{ConfigIsolation, DmaIsolation, InterruptIsolation};
    let attack = |feature, name, command_line, seconds| {
        attack(column, feature, name, command_line, seconds).needs(Need::PassedFunction)
    };
    let mut dma = attack(DmaIsolation, "dma", "dma", 25);
    let mut forged = attack(InterruptIsolation, "forged-msi", "forged-msi remappable", 25);
    if column.reports_faults() {
        dma = dma.expect(HYPERVISOR, "DMA of attacker blocked");
        // Whose they are QEMU does not say.
        forged = forged.expect(HYPERVISOR, "sent interrupt");
    }
    let mut compatibility = attack(InterruptIsolation, "forged-msi-compatibility", "forged-msi", 25);
    if column.iommu() == Iommu::Intel {
        compatibility = compatibility.skip(COMPATIBILITY_MESSAGES);
    }
    let bars = attack(ConfigIsolation, "bars", "bars", 5).expect(HYPERVISOR, "which is refused");
    vec![dma, forged, compatibility, bars, attack(ConfigIsolation, "config", "config", 8)]
}

/// Needs nothing but instructions.
fn by_the_processor(column: Column) -> Vec<Scenario> {
    use Feature::{Commands, Emulation, Storms, Sweeps};
    let attack = |feature, name, command_line, seconds| attack(column, feature, name, command_line, seconds);
    let fatal = |feature, name, end| fatal(column, feature, name, end);
    vec![
        sweep_ports(column),
        attack(Sweeps, "sweep-msr", "sweep-msr", 10),
        attack(Sweeps, "sweep-mmio", "sweep-mmio", 8).expect(HYPERVISOR, "where it has nothing"),
        // Behind the guest's memory, where the host's goes on.
        attack(Sweeps, "sweep-mmio-behind", "sweep-mmio from=0x4000000 to=0xc0000000 step=0x800000", 8),
        attack(Sweeps, "sweep-mmio-high", "sweep-mmio from=0x100000000 to=0x2000000000 step=0x10000000", 8),
        attack(Emulation, "svm", "svm", 3),
        rewrite(column),
        attack(Storms, "init-storm", "init-storm rounds=500", 10),
        // Messages through the memory-mapped APIC take another way in.
        attack(Storms, "init-storm-xapic", "init-storm rounds=200 xapic", 10),
        attack(Commands, "commands", "commands", 10),
        attack_on(column, Commands, "commands-virtual", virtually(column, "commands"), 10)
            .needs(Need::KeptApic),
        drive(column, ""),
        drive(column, VIRTUAL).needs(Need::KeptApic),
        functions(column),
        processor_state(column),
        fatal(Storms, "nested-faults", TRIPLE_FAULT),
        unmapped_crash(column),
        fatal(Emulation, "wild-fetch", BAD_ACCESS).expect(HYPERVISOR, "Fetch at gpa"),
        fatal(Emulation, "unemulated", BAD_ACCESS).expect(HYPERVISOR, "by what is not emulated"),
    ]
}

/// By what a guest leaves behind, and by not letting go.
fn by_the_end(column: Column) -> Vec<Scenario> {
    vec![
        low_vectors(column, ""),
        low_vectors(column, VIRTUAL).needs(Need::KeptApic),
        delivery_into_nothing(column, ""),
        delivery_into_nothing(column, VIRTUAL).needs(Need::KeptApic),
        reboot_loop(column),
    ]
}

/// After the name of a scenario whose attacker leaves its interrupts to the hypervisor.
const VIRTUAL: &str = "-virtual";

fn of(who: &str, guest: Guest) -> Guest {
    if who == VIRTUAL { guest.set("interrupts", "\"virtual\"") } else { guest }
}

/// Each way to have the vectors of exceptions pending, and each way to give the local APIC
/// back, a start of the guest for each pair.
fn low_vectors(column: Column, who: &str) -> Scenario {
    let guest = Guest::new("attacker", &[2, 3], "low-vectors")
        .set("memory", "\"16 MiB\"")
        .set("on_power_off", "\"restart\"")
        .set("on_reboot", "\"restart\"")
        .set("on_crash", "\"restart\"")
        .set("max_restarts", "29");
    beside_neighbour(column, Feature::Storms, &format!("low-vectors{who}"), of(who, guest), 8)
        .expect("attacker", "attack low-vectors: held")
        .ends("attacker", POWER_OFF)
        .within(150)
}

/// Guests whose events are delivered to a stack where nothing is: they end, and what they did
/// and where is told. QEMU's AMD-V refuses the state that it leaves itself when such a delivery
/// of a processor's own interrupt faults; there the others show it.
fn delivery_into_nothing(column: Column, who: &str) -> Scenario {
    let guest = |name: &str, cpu: u32| {
        let guest = Guest::new(name, &[cpu], &format!("deliver-{name}"));
        of(who, guest.set("memory", "\"16 MiB\"").set("expect", "\"crash\""))
    };
    let by_itself = who != VIRTUAL && matches!(column, Column::SvmVtd | Column::SvmAmdVi);
    let all = [("nmi", 2), ("interrupt", 3), ("string", 4)];
    let attackers = if by_itself { &all[..1] } else { &all[..] };
    let mut guests = vec![Guest::new("neighbour", &[1], "neighbour seconds=4")];
    guests.extend(attackers.iter().map(|&(name, cpu)| guest(name, cpu)));
    let scenario = hosted(column, Feature::Storms, &format!("attack/deliver{who}"), &guests).cpus(5);
    let scenario = scenario.expect("neighbour", "neighbour: unharmed").ends("neighbour", POWER_OFF);
    let told = attackers.iter().fold(scenario, |scenario, (name, _)| {
        scenario.expect(name, "deliver: ending").ends(name, BAD_ACCESS)
    });
    told.expect(HYPERVISOR, "an event cannot be delivered")
}

/// A guest that resets again and again is stopped when another's end stops all.
fn reboot_loop(column: Column) -> Scenario {
    let guests = [
        Guest::new("attacker", &[2, 3], "reboot")
            .set("on_reboot", "\"restart\"")
            .set("expect", "\"running\""),
        Guest::new("neighbour", &[1], "neighbour seconds=3").set("on_power_off", "\"halt-all\""),
    ];
    hosted(column, Feature::Lifecycle, "attack/reboot-loop", &guests)
        .expect("neighbour", "neighbour: unharmed")
        .ends("attacker", STOPPED)
        .ends("neighbour", POWER_OFF)
}

fn attacker(column: Column, command_line: &str) -> Guest {
    Guest::new("attacker", &[2, 3], command_line).passes_on(column, "01.0", EDU_PATH, EDU).passes_on(
        column,
        "02.0",
        OTHER_EDU_PATH,
        EDU,
    )
}

/// Leaves its interrupts to the hypervisor.
fn virtually(column: Column, command_line: &str) -> Guest {
    attacker(column, command_line).set("interrupts", "\"virtual\"")
}

fn beside_neighbour(column: Column, feature: Feature, name: &str, attacker: Guest, seconds: u64) -> Scenario {
    let guests = [attacker, neighbour(seconds)];
    unharmed(hosted(column, feature, &format!("attack/{name}"), &guests), seconds)
}

/// Watches for so long.
fn neighbour(seconds: u64) -> Guest {
    Guest::new("neighbour", &[1], &format!("neighbour seconds={seconds}"))
}

/// The neighbour that watches for so long sees nothing.
fn unharmed(scenario: Scenario, seconds: u64) -> Scenario {
    scenario.expect("neighbour", "neighbour: unharmed").ends("neighbour", POWER_OFF).within(60 + 2 * seconds)
}

fn attack(column: Column, feature: Feature, name: &str, command_line: &str, seconds: u64) -> Scenario {
    attack_on(column, feature, name, attacker(column, command_line), seconds)
}

/// A second processor swaps instructions and operands after the exit. They are interpreted in ring 3 on one column of each
/// vendor, where the interpreters and the chipset are lost again and again meanwhile, and in ring 0 on the others.
fn rewrite(column: Column) -> Scenario {
    // An entry into ring 3 takes by far the most in an emulator.
    let rounds = match column {
        Column::SvmVtd => 8000,
        Column::VmxBochs => 1000,
        _ => return attack(column, Feature::Emulation, "rewrite", "rewrite", 15),
    };
    let attacker = attacker(column, &format!("rewrite rounds={rounds}")).set("runs_in", "\"ring3\"");
    // No more often in a minute than one is made anew.
    let kill = |number| ["interpreter", "chipset"].map(|part| format!("attacker:{part}@{}", 100 * number));
    let kills: Vec<_> = (1..10).flat_map(kill).collect();
    let (keys, guests) = (format!("kill = {kills:?}\n"), [attacker, neighbour(15)]);
    let scenario = hosted_with(column, Feature::Emulation, "attack/rewrite", &keys, &guests);
    unharmed(scenario, 15)
        .expect("attacker", "attack rewrite: held")
        .ends("attacker", POWER_OFF)
        .expect(HYPERVISOR, "attacker: vCPU 0: interpreter: in ring 3")
        .expect(HYPERVISOR, "attacker: chipset: in ring 3")
        .expect(HYPERVISOR, "restarts; the last time: it was killed")
        .forbid(HYPERVISOR, "for good")
}

/// The chipset that answers is in ring 3 on one column, and in ring 0 on the others.
fn sweep_ports(column: Column) -> Scenario {
    let attacker = attacker(column, "sweep-ports");
    if column != Column::SvmVtd {
        return attack_on(column, Feature::Sweeps, "sweep-ports", attacker, 30);
    }
    let attacker = attacker.set("runs_in", "\"ring3\"");
    attack_on(column, Feature::Sweeps, "sweep-ports", attacker, 60)
        .expect(HYPERVISOR, "attacker: chipset: in ring 3")
}

fn attack_on(column: Column, feature: Feature, name: &str, attacker: Guest, seconds: u64) -> Scenario {
    let test = attacker.test().to_owned();
    beside_neighbour(column, feature, name, attacker, seconds)
        .expect("attacker", &format!("attack {test}: held"))
        .ends("attacker", POWER_OFF)
}

/// Its last step must end the attacker alone, by `end`.
fn fatal(column: Column, feature: Feature, name: &str, end: &str) -> Scenario {
    let attacker = attacker(column, name).set("expect", "\"crash\"");
    beside_neighbour(column, feature, name, attacker, 8)
        .expect("attacker", &format!("{name}: ending"))
        .ends("attacker", end)
}

/// An emulated drive is told everything wrong, by two processors at once.
fn drive(column: Column, who: &str) -> Scenario {
    let attacker = of(who, Guest::new("attacker", &[2, 3], "nvme").drive("03.0"));
    let scenario = attack_on(column, Feature::EmulatedFunctions, &format!("nvme{who}"), attacker, 8);
    // There the attack on all functions has this one, and takes its place every day.
    if column == Column::VmxBochs && who.is_empty() { scenario.long() } else { scenario }
}

/// Each model of an emulated function is told everything wrong, by two processors at once: drives of
/// images, and a network that leads nowhere. The neighbour has a drive and two interfaces there.
fn functions(column: Column) -> Scenario {
    if column == Column::VmxBochs {
        return attacked_functions(column, "functions", "rounds=20 flood=300", [IMAGE; 4]);
    }
    // With an IOMMU they are attacked every day where their drive is the hypervisor's.
    attacked_functions(column, "functions", "", [IMAGE; 4]).long()
}

/// A drive that reads and writes the memory of both guests itself.
const DRIVE: &str =
    "[disk.system]\ndevice = { path = \"00:03.0\", id = \"1b36:0010\" }\nisolation = \"none\"\n\n";

/// Who asks for something does it, in the exit by which that is told.
pub(super) const BY_GUESTS: &str = "[hypervisor]\nio = \"guest\"\n\n";

/// Rounds of what takes longest, and milliseconds of a flood: a third of what the long tests do, for in ring 3 each
/// access takes longer, by far the most in an emulator, which forgets all translations where CR3 is written.
const SOME: &str = "rounds=70 flood=500";

/// The same of parts of a disk that the hypervisor keeps. The neighbour's is behind one of the
/// attacker's, and before another.
fn served_functions(column: Column) -> Scenario {
    let part = |number: u32| format!("{{ disk = \"system\", partition = {number} }}");
    let [one, two, three, four] = [1, 2, 3, 4].map(part);
    let mut scenario = attacked_functions(column, "functions-served", SOME, [&one, &two, &three, &four]);
    scenario.add_keys(DRIVE);
    // On one of the columns the attacker's own processors do the work, and the models are in ring 0.
    if column == Column::SvmAmdVi {
        scenario.add_keys("[hypervisor]\nio = \"guest\"\nruns_in = \"hypervisor\"\n\n");
    }
    scenario.needs(Need::PassedFunction).nvme(32).partitions(&[8, 4, 8, 8])
}

/// Over these backings: of the attacker's virtio drive, the neighbour's, and the attacker's IDE and NVMe
/// drives.
fn attacked_functions(column: Column, name: &str, words: &str, on: [&str; 4]) -> Scenario {
    let [virtio, neighbours, ide, nvme] = on;
    let connected = |guest: Guest, slot: &str, model: &str, address: u32| {
        let mac = format!("\"52:54:00:00:0a:0{address}\"");
        guest.emulates(slot, model).with("network", "\"lan\"").with("mac", &mac)
    };
    let attacker = Guest::new("attacker", &[2, 3], &format!("functions {words}"))
        .emulates("03.0", "virtio-blk")
        .with("backing", virtio)
        .emulates("04.0", "ide")
        .with("backing", ide)
        .emulates("05.0", "nvme")
        .with("backing", nvme)
        .emulates("08.0", "bochs-display");
    let attacker = connected(connected(attacker, "06.0", "virtio-net", 3), "07.0", "ne2000", 4);
    let neighbour = Guest::new("neighbour", &[1], "functions-neighbour seconds=400")
        .emulates("03.0", "virtio-blk")
        .with("backing", neighbours);
    let neighbour = connected(connected(neighbour, "04.0", "virtio-net", 1), "05.0", "virtio-net", 2);
    let mut scenario =
        hosted(column, Feature::EmulatedFunctions, &format!("attack/{name}"), &[attacker, neighbour]);
    scenario.add_keys("[network.lan]\n\n");
    ["nvme", "virtio-blk", "virtio-net", "ide", "ne2000", "display"]
        .into_iter()
        .fold(scenario, |scenario, model| scenario.expect("attacker", &format!("attack {model}: held")))
        .expect("neighbour", "neighbour: unharmed")
        .ends("attacker", POWER_OFF)
        .ends("neighbour", POWER_OFF)
        .within(400)
}

/// The program of compartments is the attacker, and does what its guest says: each attack is ended and told, and its
/// device goes on, in an exit of its guest's as well as on the housekeeping CPU. The neighbour has a model that
/// the same program is.
fn hostile_model(column: Column) -> Scenario {
    let ports = ["06.0", "07.0", "08.0", "09.0"];
    // Where a line takes as long as at a real port, most of what the hypervisor says of each is lost: then the guest
    // alone tells, which sees that each was ended and that its device goes on.
    let (vectors, words, slots): (usize, &str, &[&str]) = match column {
        Column::VmxBochs => (33, " quiet", &[]),
        _ => (256, "", &["03.0", "04.0"]),
    };
    let attacker = Guest::new("attacker", &[2], &format!("hostile-model vectors={vectors}{words}"))
        .emulates("03.0", "16550")
        .emulates("04.0", "ne2000")
        .with("network", "\"lan\"")
        .with("mac", "\"52:54:00:00:0a:04\"")
        .emulates("05.0", "ide")
        .with("backing", IMAGE);
    let attacker = ports.into_iter().fold(attacker, |guest, slot| guest.emulates(slot, "16550"));
    let neighbour = Guest::new("neighbour", &[1], "neighbour serial seconds=10").emulates("03.0", "16550");
    let (name, keys) = ("attack/hostile-model", "restarts = 5000\n");
    let mut scenario = hosted_with(column, Feature::EmulatedFunctions, name, keys, &[attacker, neighbour]);
    scenario.add_keys("[network.lan]\n\n");
    let ends = || {
        let interrupts = std::iter::repeat_n(&hostile::INTERRUPT_END, vectors);
        hostile::INSTRUCTIONS.iter().map(|(_, end)| end).chain(interrupts)
    };
    // The serial port's, then the network interface's.
    let told = slots.iter().flat_map(|slot| ends().map(move |end| (slot, end)));
    let scenario = told.fold(scenario.models(Models::Hostile), |scenario, (slot, end)| {
        let text = format!("attacker:{slot}: its compartment ended and is made anew: {end}");
        scenario.expect(HYPERVISOR, &text)
    });
    let scenario = scenario
        // What is told at the end comes through any flood.
        .expect(
            HYPERVISOR,
            "1 restarts, and is gone; the last time: its answer makes no sense: its state is not taken",
        )
        .expect("attacker", "attack hostile-model: held")
        .ends("attacker", POWER_OFF)
        .expect("neighbour", "neighbour: unharmed")
        .ends("neighbour", POWER_OFF)
        .forbid(HYPERVISOR, "neighbour:03.0: its compartment ended")
        .within(120);
    // What is beside it has nothing to do with this: the processor is the same.
    if column == Column::SvmAmdVi { scenario.long() } else { scenario }
}

/// Tries everything that a processor's state can be made to hold, twice: what the first run
/// leaves in the processor must not meet the second.
fn processor_state(column: Column) -> Scenario {
    let attacker = Guest::new("attacker", &[2, 3], "processor")
        .set("on_reboot", "\"restart\"")
        .set("max_restarts", "1")
        .set("expect", "\"reboot\"");
    let run = |scenario: Scenario| {
        scenario.expect("attacker", "processor: state is clean").expect("attacker", "attack processor: held")
    };
    run(run(beside_neighbour(column, Feature::Emulation, "processor", attacker, 12))).ends("attacker", REBOOT)
}

/// The first unmapped access ends a guest whose configuration wants that.
fn unmapped_crash(column: Column) -> Scenario {
    let attacker =
        attacker(column, "sweep-mmio").set("unmapped_access", "\"crash\"").set("expect", "\"crash\"");
    beside_neighbour(column, Feature::Sweeps, "unmapped-crash", attacker, 4)
        .expect("attacker", "sweep-mmio: 0xc0000000 to")
        .forbid("attacker", "places")
        .ends("attacker", BAD_ACCESS)
}

/// What keeps messages of the compatibility format away is one bit of the unit, which
/// no emulator obeys; the unit's tests show that it is never set.
const COMPATIBILITY_MESSAGES: &str =
    "QEMU delivers interrupt messages of the compatibility format even where VT-d blocks them";
