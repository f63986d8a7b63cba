//! What a guest's machine must do; first on the emulator itself, which proves the
//! test guest right, then under the hypervisor.

use super::linux::IN_RING_0;
use super::{EDU, EDU_PATH, Guest, POWER_OFF, bare_machine, hosted, hosted_with, no_failure};
use crate::column::{Column, Need};
use crate::demux::{FIRMWARE, HYPERVISOR};
use crate::feature::Feature;
use crate::scenario::{Config, Scenario, Subject};

/// Tests by their command line, and the line that says that all went well.
const TESTS: &[(&str, &str)] = &[
    ("hello", "hello, world"),
    ("cpuid", "cpuid: ok"),
    ("tasks", "tasks: done"),
    ("timers", "timers: done"),
    ("timers xapic", "timers: done"),
    ("ipi", "ipi: done"),
    ("ipi xapic", "ipi: done"),
    ("msi", "msi: done"),
    ("pic", "pic: done"),
    ("pic xapic", "pic: done"),
];

/// The guest alone on the emulator. Attacks too: there is nobody to attack, but what
/// they believe of their own machine must hold.
pub fn bare() -> Vec<Scenario> {
    let attacks = [
        "dma",
        "forged-msi",
        "bars",
        "config",
        "sweep-ports",
        "sweep-msr",
        "sweep-mmio",
        "svm",
        "rewrite",
        "processor",
        "init-storm",
    ];
    let mut list: Vec<_> = TESTS.iter().map(|(test, done)| alone(test, done)).collect();
    list.extend(attacks.map(|test| alone(test, &format!("attack {test}: held"))));
    list.push(alone("neighbour seconds=2", "neighbour: unharmed"));
    list.push(alone("nested-faults", "nested-faults: ending"));
    list.push(alone("frozen", "frozen: done"));
    list.push(alone("intx cpus=2", "intx: done"));
    list.push(alone("intx-storm", "attack intx-storm: held"));
    list
}

fn alone(test: &str, done: &str) -> Scenario {
    let subject = Subject::Bare(test.to_owned());
    let name = format!("bare/{}", name_of(test));
    let scenario = Scenario::new(Column::SvmVtd, Feature::Expectations, &name, subject);
    no_failure(scenario.on(bare_machine)).expect(FIRMWARE, done)
}

/// The same under the hypervisor.
fn hosted_one(column: Column, test: &str, done: &str) -> Scenario {
    let guest = Guest::new("one", &[1, 2], test).passes_on(column, "01.0", EDU_PATH, EDU);
    let feature = match test.split(' ').next() {
        Some("msi") => Feature::Passthrough,
        Some("pic") => Feature::LegacyInterrupts,
        _ => Feature::Processors,
    };
    let name = format!("guest/{}", name_of(test));
    // Its chipset is in ring 3 on one column.
    let scenario = match (test, column) {
        ("pic xapic", Column::SvmVtd) => {
            hosted(column, feature, &name, &[in_ring_3(guest)]).expect(HYPERVISOR, CHIPSET)
        }
        _ => hosted(column, feature, &name, &[guest]),
    };
    let scenario = scenario.expect("one", done).ends("one", POWER_OFF);
    if feature == Feature::Passthrough { scenario.needs(Need::PassedFunction) } else { scenario }
}

/// What is said of the chipset of a guest of that name which is in ring 3.
const CHIPSET: &str = "one: chipset: in ring 3";

fn in_ring_3(guest: Guest) -> Guest {
    guest.set("runs_in", "\"ring3\"")
}

/// All of them, and two guests that share nothing but the serial line.
pub fn hosted_tests(column: Column) -> Vec<Scenario> {
    let one = |&(test, done): &(&str, &str)| match (test, column) {
        // QEMU's processors switch tasks without a look at the bit that asks for a trap, and by
        // themselves: no entry delivers what they raise.
        ("tasks", Column::VmxBochs) => hosted_one(column, "tasks trap=1 bad=1", done),
        _ => hosted_one(column, test, done),
    };
    let mut list: Vec<_> = TESTS.iter().map(one).collect();
    let two = [Guest::new("one", &[1], "hello"), Guest::new("two", &[2, 3], "ipi")];
    list.push(
        hosted(column, Feature::Processors, "guest/two", &two)
            .expect("one", "hello, world")
            .expect("two", "ipi: done")
            .ends("one", POWER_OFF)
            .ends("two", POWER_OFF),
    );
    list.push(shared_memory(column));
    if matches!(column, Column::SvmVtd | Column::VmxBochs) {
        list.push(behind_barriers(column));
    }
    list.push(frozen(column));
    if matches!(column, Column::SvmVtd | Column::VmxBochs) {
        list.push(frozen_storm(column));
    }
    list.extend(BY_INTERRUPTS.iter().map(|(test, done)| by_interrupts(column, test, done, "direct")));
    if matches!(column, Column::SvmVtd | Column::VmxBochs) {
        list.extend(BY_INTERRUPTS.iter().map(|(test, done)| by_interrupts(column, test, done, "virtual")));
    }
    if column.keeps_apics() {
        // The 8259A takes the APIC away from the processor, and gives it back.
        list.push(by_interrupts(column, "pic", "pic: done", "virtual"));
        list.extend(BY_INTERRUPTS.iter().map(|(test, done)| by_interrupts(column, test, done, "emulated")));
    }
    if column == Column::SvmVtd {
        list.extend(NEWER_SVM.iter().map(|(test, done)| on_ryzen(test, done)));
    }
    list
}

/// Two guests that share memory and ring each other, one with its interrupts virtual. In between each rings
/// at nobody's, and moves its memory about in its address space.
fn shared_memory(column: Column) -> Scenario {
    let peer = |name, cpu| Guest::new(name, &[cpu], "shared-memory").shares("02.0", "board");
    let guests = [peer("one", 1), peer("two", 2).set("interrupts", "\"virtual\"")];
    let mut scenario = hosted(column, Feature::SharedMemory, "guest/shared-memory", &guests);
    if let Subject::Hypervisor(Config::Inline(text)) = &mut scenario.subject {
        text.push_str("[shared_memory.board]\nsize = \"2 MiB\"\n");
    }
    if column == Column::SvmAmdVi {
        scenario.add_keys(IN_RING_0);
    }
    scenario
        .expect(HYPERVISOR, "shared memory board: 2048 KiB for 2 functions")
        .expect("one", "attack shared-memory: held")
        .expect("two", "attack shared-memory: held")
        .ends("one", POWER_OFF)
        .ends("two", POWER_OFF)
}

/// Frozen in the middle of its work until its neighbour has ended, and again, at once: the guest
/// looks at everything that it has, and at the time.
fn frozen(column: Column) -> Scenario {
    const MENU: &[u8] = b"\x14";
    let one = Guest::new("one", &[1, 2], "frozen")
        .set("memory", "\"32 MiB\"")
        .set("interrupts", "\"virtual\"")
        .set("snapshot", "true");
    let neighbour = Guest::new("watcher", &[3], "neighbour seconds=6");
    // Its chipset is in ring 3 on one column, and what is kept of it is the same.
    let scenario = match column {
        Column::SvmVtd => hosted(column, Feature::Snapshots, "guest/frozen", &[in_ring_3(one), neighbour])
            .expect(HYPERVISOR, CHIPSET),
        _ => hosted(column, Feature::Snapshots, "guest/frozen", &[one, neighbour]),
    };
    scenario
        .types("one", "frozen: step 3", MENU)
        .types(HYPERVISOR, "c: let it go on", b"f1")
        .types(HYPERVISOR, "shall one be frozen?", b"y")
        .types("watcher", "neighbour: unharmed", MENU)
        .types(HYPERVISOR, "c: let it go on", b"c1y")
        .types("one", "frozen: step 8", MENU)
        .types(HYPERVISOR, "c: let it go on", b"f1y")
        .types(HYPERVISOR, "one: is frozen", MENU)
        .types(HYPERVISOR, "c: let it go on", b"c1y")
        .expect(HYPERVISOR, "one: is being frozen: by the menu of the console")
        .expect(HYPERVISOR, "bytes of state and 32768 KiB of memory are kept")
        .expect(HYPERVISOR, "one: is frozen")
        .expect(HYPERVISOR, "1  one: frozen, started 1 times")
        .expect(HYPERVISOR, "one: goes on")
        .expect(HYPERVISOR, "one: is frozen")
        .expect(HYPERVISOR, "one: goes on")
        .expect("one", "frozen registers: ok")
        .expect("one", "frozen memory: ok")
        .expect("one", "frozen time: ok")
        .expect("one", "frozen: done")
        .ends("one", POWER_OFF)
        .ends("watcher", POWER_OFF)
}

/// Frozen while one of its processors resets the other again and again.
fn frozen_storm(column: Column) -> Scenario {
    let storm = Guest::new("one", &[1, 2], "init-storm")
        .set("memory", "\"32 MiB\"")
        .set("interrupts", "\"virtual\"")
        .set("snapshot", "true");
    let mut scenario = hosted(column, Feature::Snapshots, "attack/frozen-storm", &[storm]).types(
        "one",
        "init-storm: starting",
        b"\x14f1y",
    );
    for _ in 0..2 {
        scenario = scenario
            .types(HYPERVISOR, "one: is frozen", b"\x14c1y")
            .types(HYPERVISOR, "one: goes on", b"\x14f1y")
            .expect(HYPERVISOR, "one: is frozen")
            .expect(HYPERVISOR, "one: goes on");
    }
    scenario
        .types(HYPERVISOR, "one: is frozen", b"\x14c1y")
        .expect("one", "attack init-storm: held")
        .ends("one", POWER_OFF)
}

/// Kicks and interrupts between processors whose entries and exits do everything that there is
/// against speculation: no register of the guest's may be changed by it.
fn behind_barriers(column: Column) -> Scenario {
    let guest = Guest::new("one", &[1, 2], "ipi").set("interrupts", "\"emulated\"");
    hosted_with(column, Feature::Processors, "guest/barriers", "barriers = \"all\"", &[guest])
        .expect(HYPERVISOR, "barriers against speculation: at exits fill the return stack")
        .expect("one", "ipi: done")
        .ends("one", POWER_OFF)
}

/// Tests in which interrupts come from everywhere.
const BY_INTERRUPTS: &[(&str, &str)] =
    &[("timers", "timers: done"), ("ipi", "ipi: done"), ("msi", "msi: done")];

/// What interrupts, timers, their ends and HLT cost where the hypervisor takes them.
pub const EXITS_OF_INTERRUPTS: &[&str] = &["interrupt", "halt", "interrupt-window"];

/// What delivering an interrupt and waiting for one cost where its model delivers.
pub const EXITS_OF_DELIVERY: &[&str] = &["halt", "interrupt-window", "end-of-interrupt"];

/// With interrupts taken by who is said; by default a guest in x2APIC mode takes them
/// itself where the machine lets it.
fn by_interrupts(column: Column, test: &str, done: &str, who: &str) -> Scenario {
    let guest = Guest::new("one", &[1, 2], test).passes_on(column, "01.0", EDU_PATH, EDU);
    // The guest says so when its local APIC is in x2APIC mode.
    let guest = guest.set("interrupts", &format!("{who:?}")).set("ready", &format!("\"{test}: starting\""));
    let kept = who == "virtual" && column.keeps_apics();
    let feature = match who {
        "direct" => Feature::DirectInterrupts,
        _ if kept => Feature::KeptApic,
        _ => Feature::Processors,
    };
    let scenario = hosted(column, feature, &format!("guest/{test}-{who}"), &[guest]);
    let mut scenario = scenario.expect("one", done).ends("one", POWER_OFF);
    if who == "direct" {
        scenario = scenario.steady_without("one", EXITS_OF_INTERRUPTS).needs(Need::DirectInterrupts);
    }
    if kept {
        scenario = scenario.steady_without("one", EXITS_OF_DELIVERY).needs(Need::KeptApic);
        if test == "ipi" {
            // Thousands of its siblings' are posted. One was an NMI, one ended the guest.
            scenario = scenario.steady_at_most("one", &["interrupt"], 4);
        }
        if test == "timers" {
            // The guest's exits at its deadlines are no interrupts; one ended it.
            scenario = scenario.steady_at_most("one", &["interrupt"], 4);
        }
    }
    if test == "msi" { scenario.needs(Need::PassedFunction) } else { scenario }
}

/// Tests that exit by instructions whose length the processor tells, and that make it
/// flush.
const NEWER_SVM: &[(&str, &str)] =
    &[("cpuid", "cpuid: ok"), ("timers", "timers: done"), ("ipi xapic", "ipi: done")];

/// The same on a processor that has what QEMU's lacks.
fn on_ryzen(test: &str, done: &str) -> Scenario {
    let guest = Guest::new("one", &[1, 2], test);
    let name = format!("guest/{}", name_of(test));
    hosted(Column::SvmVtd, Feature::NewerSvm, &name, &[guest])
        .on_ryzen()
        .cpus(3)
        .expect(HYPERVISOR, "next_rip: true, flush_by_asid: true")
        .expect("one", done)
        .ends("one", POWER_OFF)
}

fn name_of(test: &str) -> String {
    let words = test.split_whitespace().filter(|word| !word.contains('='));
    words.collect::<Vec<_>>().join("-")
}
