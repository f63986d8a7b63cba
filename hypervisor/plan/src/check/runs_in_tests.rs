//! Where emulated functions run.

use super::tests::{plan, q35};
use crate::text::parse;
use crate::{CompartmentName, Kill, Killed, MachinePart, Model, Plan, PlannedKill, RunsIn};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use platform::Platform;

const DRIVE: &str = "emulate = \"nvme\"\nbacking = { image = \"root.img\" }";
const DISPLAY: &str = "emulate = \"bochs-display\"";
const RING3: &str = "runs_in = \"ring3\"";
const HYPERVISOR: &str = "runs_in = \"hypervisor\"";

/// A guest whose functions have these keys, beside what the table of the hypervisor says.
fn text(hypervisor: &str, functions: &[&str]) -> String {
    let mut text =
        format!("[hypervisor]\n{hypervisor}\n[guest.a]\ncpus = [1]\nmemory = \"64 MiB\"\nkernel = \"k\"\n");
    for (index, keys) in functions.iter().enumerate() {
        text += &format!("[[guest.a.pci]]\nslot = \"{:02x}.0\"\n{keys}\n", index + 1);
    }
    text
}

fn planned(hypervisor: &str, functions: &[&str]) -> Plan {
    let text = text(hypervisor, functions);
    let (config, _) = parse(&text).unwrap_or_else(|errors| panic!("{text}\n{errors:?}"));
    plan(&config, &q35())
}

fn places(hypervisor: &str, functions: &[&str]) -> Vec<RunsIn> {
    let plan = planned(hypervisor, functions);
    assert_eq!(plan.all_problems().count(), 0);
    plan.guests[0].emulated.iter().map(|function| function.runs_in).collect()
}

fn problems(function: &str) -> Vec<String> {
    planned("", &[function]).all_problems().map(ToString::to_string).collect()
}

#[test]
fn a_function_says_it_or_the_hypervisors_table() {
    let with = |place: &str| format!("{DRIVE}\n{place}");
    let functions = [DRIVE, &with(RING3), &with(HYPERVISOR)];
    for (hypervisor, usual) in [("", RunsIn::USUAL), (RING3, RunsIn::Ring3), (HYPERVISOR, RunsIn::Hypervisor)]
    {
        assert_eq!(
            places(hypervisor, &functions),
            [usual, RunsIn::Ring3, RunsIn::Hypervisor],
            "{hypervisor}"
        );
        // Whoever does the work for it does so in either place.
        for io in ["housekeeping", "guest"] {
            let hypervisor = format!("{hypervisor}\nio = \"{io}\"");
            assert_eq!(places(&hypervisor, &functions), [usual, RunsIn::Ring3, RunsIn::Hypervisor]);
        }
    }
}

/// What cannot run in ring 3 does not where only the hypervisor's table says so.
#[test]
fn a_function_runs_where_it_can() {
    assert_eq!(places(RING3, &[DISPLAY, DRIVE]), [RunsIn::Hypervisor, RunsIn::Ring3]);
    assert_eq!(places(RING3, &[&format!("{DISPLAY}\n{HYPERVISOR}")]), [RunsIn::Hypervisor]);
    for (model, word) in Model::ALL {
        assert!(model.can_run_in(RunsIn::Hypervisor), "{word}");
        assert_eq!(model.can_run_in(RunsIn::Ring3), *model != Model::BochsDisplay, "{word}");
    }
}

/// What has no place of its own is where the hypervisor's table says, or where it usually is.
#[test]
fn the_hypervisors_table_is_for_drivers_and_machines_too() {
    let place = |hypervisor: &str, guest: &str| {
        let text = text(hypervisor, &[]).replacen("kernel", &format!("{guest}\nkernel"), 1);
        let (config, _) = parse(&text).unwrap();
        plan(&config, &q35()).guests[0].runs_in
    };
    let (ring3, hypervisor) = (RunsIn::Ring3, RunsIn::Hypervisor);
    assert_eq!(["", RING3, HYPERVISOR].map(|table| place(table, "")), [hypervisor, ring3, hypervisor]);
    assert_eq!(["", RING3, HYPERVISOR].map(|table| place(table, RING3)), [ring3; 3]);
    assert_eq!(["", RING3, HYPERVISOR].map(|table| place(table, HYPERVISOR)), [hypervisor; 3]);
}

#[test]
fn a_place_that_cannot_be_is_told_with_what_to_write() {
    assert_eq!(
        problems(&format!("{DISPLAY}\n{RING3}")),
        [
            "guest.a.pci[0].runs_in: no \"bochs-display\" can run in \"ring3\" yet; write runs_in = \"hypervisor\", or \
             remove the key"
        ]
    );
    let passed = "passthrough = { path = \"00:03.0\", id = \"1b36:0010\" }";
    for place in [RING3, HYPERVISOR] {
        assert_eq!(
            problems(&format!("{passed}\n{place}")),
            [
                "guest.a.pci[0].runs_in: the function is passed through, so that no model of it runs; remove the \
                 key"
            ]
        );
    }
}

#[test]
fn words_that_are_no_place() {
    let of = |text: String| {
        let told = parse(&text).expect_err("no diagnostic");
        told.into_iter().map(|it| format!("{}: {}; {}", it.path, it.message, it.help)).collect::<Vec<_>>()
    };
    let said = of(text("runs_in = \"ring0\"", &[]));
    assert!(said[0].starts_with("hypervisor.runs_in: ") && said[0].contains("\"ring3\""), "{said:?}");
    let said = of(text("", &[&format!("{DRIVE}\nruns_in = 3")]));
    assert!(
        said[0].starts_with("guest.a.pci[0].runs_in: ") && said[0].contains("\"hypervisor\""),
        "{said:?}"
    );
}

#[test]
fn a_compartment_is_called_as_its_function() {
    let text = text(RING3, &[DRIVE, DISPLAY, DRIVE]);
    let (config, _) = parse(&text).unwrap();
    let plan = plan(&config, &q35());
    let guest = &plan.guests[0];
    let names: Vec<_> = guest.compartments().map(|(number, name)| (number, name.to_string())).collect();
    assert_eq!(names, [(0, "a:01.0".to_string()), (2, "a:03.0".to_string())]);
    assert_eq!(guest.function_name(1).map(|name| name.to_string()).as_deref(), Some("a:02.0"));
    assert_eq!(guest.function_name(3), None);
}

/// A compartment is the machine's memory, beside the guest's, whose place in the compartment's page tables counts too.
#[test]
fn compartments_take_memory() {
    let left = |place: &str, functions: &[&str]| {
        let text = text(place, functions).replace("\"64 MiB\"", "\"4096 MiB\"");
        let (config, _) = parse(&text).unwrap();
        let problem = plan(&config, &q35()).all_problems().next().unwrap().to_string();
        let (_, rest) = problem.split_once("there are ").unwrap();
        rest.split_once(" MiB").unwrap().0.parse::<u64>().unwrap()
    };
    let rng = "emulate = \"virtio-rng\"";
    // Its processor's interpreter and its chipset are there with them.
    let (none, three, four) = (left(HYPERVISOR, &[rng; 6]), left(RING3, &[rng; 3]), left(RING3, &[rng; 4]));
    assert_eq!((none - three, none - four), (6, 8));
}

/// Whoever is ended is named as the kernel numbers guests and functions, in the order of time.
#[test]
fn compartments_that_are_ended() {
    let of = |kill: &str, places: &str| {
        let text = text(&format!("{places}\nkill = {kill}"), &[DISPLAY, DRIVE, DRIVE])
            + "[guest.b]\ncpus = [2]\nmemory = \"64 MiB\"\nkernel = \"k\"\n\
               [[guest.b.pci]]\nslot = \"1f.0\"\nemulate = \"virtio-rng\"\n";
        let (config, _) = parse(&text).unwrap_or_else(|errors| panic!("{text}\n{errors:?}"));
        plan(&config, &q35())
    };
    let problems = |kill: &str, places: &str| {
        of(kill, places).all_problems().map(ToString::to_string).collect::<Vec<_>>()
    };
    let plan = of("[\"b:1f.0@20\", \"a:03.0@7\", \"a:02.0@4294967295\", \"a:03.0@30\"]", RING3);
    assert_eq!(plan.all_problems().count(), 0);
    let kill = |at_ms, guest, function| PlannedKill { at_ms, whose: Killed::Function { guest, function } };
    assert_eq!(plan.kills, [kill(7, 0, 2), kill(20, 1, 0), kill(30, 0, 2), kill(u32::MAX, 0, 1)]);
    let those = "those that there are: `a:02.0`, `a:03.0`, `b:1f.0`, `a:interpreter`, `a:chipset`, `b:interpreter` and `b:chipset`";
    assert_eq!(
        problems("[\"a:02.0@1\", \"a:04.0@1\", \"c:02.0@1\", \"a:01.0@1\"]", RING3),
        [
            format!("hypervisor.kill[1]: there is no compartment `a:04.0`; {those}"),
            format!("hypervisor.kill[2]: there is no compartment `c:02.0`; {those}"),
            format!("hypervisor.kill[3]: `a:01.0` runs in the hypervisor and has no compartment; {those}"),
        ]
    );
    assert_eq!(
        problems("[\"a:02.0@1\"]", HYPERVISOR),
        [
            "hypervisor.kill[0]: `a:02.0` runs in the hypervisor and has no compartment; nothing has one: write \
             runs_in = \"ring3\" in its table"
        ]
    );
}

/// The interpreters of all processors of a guest are ended together, and its chipset, where they have compartments.
#[test]
fn machines_that_are_ended() {
    let of = |guest: &str, hypervisor: &str| {
        let text = text(hypervisor, &[]).replace("[guest.a]\n", &format!("[guest.a]\n{guest}\n"));
        let text = text + "[guest.b]\ncpus = [2]\nmemory = \"64 MiB\"\nkernel = \"k\"\nruns_in = \"ring3\"\n";
        let (config, _) = parse(&text).unwrap_or_else(|errors| panic!("{text}\n{errors:?}"));
        plan(&config, &q35())
    };
    let plan = of(RING3, "kill = [\"b:interpreter@9\", \"a:chipset@3\"]");
    assert_eq!(plan.all_problems().count(), 0);
    let kill = |at_ms, guest, part| PlannedKill { at_ms, whose: Killed::Machine { guest, part } };
    assert_eq!(plan.kills, [kill(3, 0, MachinePart::Chipset), kill(9, 1, MachinePart::Interpreter)]);
    let plan = of("", "kill = [\"a:interpreter@3\", \"c:interpreter@3\"]");
    assert_eq!(plan.kills, []);
    assert_eq!(
        plan.all_problems().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "hypervisor.kill[0]: `a:interpreter` runs in the hypervisor and has no compartment; those that there are: `b:interpreter` and `b:chipset`",
            "hypervisor.kill[1]: there is no compartment `c:interpreter`; those that there are: `b:interpreter` and `b:chipset`",
        ]
    );
}

/// Those of a guest that does not start are no business of the hypervisor's.
#[test]
fn compartments_of_a_guest_that_is_refused() {
    let text =
        text(&format!("{RING3}\nkill = [\"a:01.0@5\"]"), &[DRIVE]).replace("cpus = [1]", "cpus = [99]");
    let (config, _) = parse(&text).unwrap();
    let plan = plan(&config, &q35());
    assert_eq!((plan.refused.len(), plan.kills.len()), (1, 0));
}

#[test]
fn how_a_kill_is_written() {
    let kill: Kill = "net:03.0@2500".parse().unwrap();
    let name = CompartmentName::Function { guest: "net".into(), slot: "03.0".parse().unwrap() };
    assert_eq!((kill.compartment.clone(), kill.at_ms), (name, 2500));
    assert_eq!(kill.to_string(), "net:03.0@2500");
    let disk = Kill { compartment: CompartmentName::Disk("system".into()), at_ms: 7 };
    assert_eq!((disk.to_string().as_str(), "disk.system@7".parse()), ("disk.system@7", Ok(disk.clone())));
    for (part, text) in
        [(MachinePart::Interpreter, "net:interpreter@7"), (MachinePart::Chipset, "net:chipset@7")]
    {
        let kill = Kill { compartment: CompartmentName::Machine { guest: "net".into(), part }, at_ms: 7 };
        assert_eq!((kill.to_string().as_str(), text.parse()), (text, Ok(kill.clone())));
    }
    let uplink = Kill { compartment: CompartmentName::Network("lan".into()), at_ms: 7 };
    assert_eq!((uplink.to_string().as_str(), "network.lan@7".parse()), ("network.lan@7", Ok(uplink.clone())));
    for wrong in [
        "disk.@5",
        "network.@5",
        "networks.a@5",
        "disks.a@5",
        "disk@5",
        ":interpreter@5",
        "interpreter@5",
        "net:interpreters@5",
        "",
        "net",
        "net@5",
        "net:03.0",
        "net:03.0@",
        "net:3@5",
        "net:03.0@-1",
        "net:03.0@4294967296",
    ] {
        let said = wrong.parse::<Kill>().expect_err(wrong).to_string();
        assert!(said.contains("\"net:03.0@2500\""), "{said}");
    }
    let told = parse("[hypervisor]\nkill = [\"net:03.0\"]\n").expect_err("no diagnostic");
    assert_eq!(
        (told[0].line, told[0].path.as_str(), told[0].message.as_str()),
        (2, "hypervisor.kill[0]", "\"net:03.0\" is not a compartment and when")
    );
}

const DISKS: &str = "[disk.nvme]\ndevice = { path = \"00:03.0\", id = \"1b36:0010\" }\n\
                     [disk.sata]\ndevice = { path = \"00:1f.2\", id = \"8086:2922\" }\nport = 0\n";

/// What a configuration of these disks is planned as, with these keys of the one, the other and the hypervisor.
fn with_disks([nvme, sata, hypervisor]: [&str; 3]) -> Plan {
    let disks = DISKS.replacen("[disk.sata]", &format!("{nvme}\n[disk.sata]"), 1) + sata;
    let text = format!("[hypervisor]\n{hypervisor}\n{disks}\n");
    let guest = "[guest.a]\ncpus = [1]\nmemory = \"64 MiB\"\nkernel = \"k\"\n[[guest.a.pci]]\nslot = \"01.0\"\n\
                 emulate = \"nvme\"\nbacking = { disk = \"nvme\", partition = 1 }\n";
    let (config, _) = parse(&(text + guest)).unwrap_or_else(|errors| panic!("{errors:?}"));
    plan(&config, &q35())
}

/// A driver says it, or the hypervisor's table, and in ring 3 its drive reaches no guest's memory.
#[test]
fn where_drivers_run() {
    let places = |keys| {
        let plan = with_disks(keys);
        assert_eq!(plan.all_problems().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
        let disk = |name: &str| plan.disks.iter().find(|disk| disk.name == name).unwrap();
        let place = |name: &str| plan.owned[disk(name).owned].runs_in;
        (place("nvme"), place("sata"), disk("nvme").reaches.len())
    };
    let (ring3, hypervisor) = (RunsIn::Ring3, RunsIn::Hypervisor);
    assert_eq!(places(["", "", ""]), (hypervisor, hypervisor, 1));
    assert_eq!(places(["", "", RING3]), (ring3, ring3, 0));
    assert_eq!(places([HYPERVISOR, "", RING3]), (hypervisor, ring3, 1));
    assert_eq!(places(["isolation = \"none\"", "", RING3]), (hypervisor, ring3, 1));
    assert_eq!(places([RING3, "", HYPERVISOR]), (ring3, hypervisor, 0));
    assert_eq!(places([HYPERVISOR, RING3, ""]), (hypervisor, ring3, 1));
}

#[test]
fn what_a_driver_in_ring_3_cannot_have() {
    let problems =
        |keys: [&str; 3]| -> Vec<_> { with_disks(keys).problems.iter().map(ToString::to_string).collect() };
    assert_eq!(
        problems([&format!("{RING3}\nisolation = \"none\""), "", ""]),
        [
            "disk.nvme.isolation: a driver in ring 3 must not reach the memory of guests, and its drive would for it; \
             remove the key, or write runs_in = \"hypervisor\""
        ]
    );
    let second = "\n[disk.second]\ndevice = { path = \"00:1f.2\", id = \"8086:2922\" }\nport = 1\n";
    assert_eq!(
        problems(["", &format!("{RING3}{second}"), ""]),
        ["disk.second.runs_in: several drives are at its controller, whose driver in ring 3 has one; write \
             runs_in = \"hypervisor\" for all of them"]
    );
    assert_eq!(problems(["", second, ""]), [""; 0]);
    assert_eq!(problems(["", second, RING3]), [""; 0]);
}

/// Drivers are ended as models are, where they have a compartment.
#[test]
fn drivers_that_are_ended() {
    let kill = "kill = [\"disk.nvme@9\", \"disk.nvme@3\"]";
    let in_ring_0 = format!("{HYPERVISOR}\n{kill}");
    let of_another = format!("{HYPERVISOR}\nkill = [\"disk.system@3\"]");
    let plan = with_disks([RING3, "", kill]);
    assert_eq!(plan.all_problems().count(), 0);
    let at = |at_ms| PlannedKill { at_ms, whose: Killed::Driver(plan.disks[0].owned) };
    assert_eq!((plan.disks[0].name.as_str(), plan.kills.as_slice()), ("nvme", [at(3), at(9)].as_slice()));
    let plan = with_disks(["", RING3, &in_ring_0]);
    let said = plan.problems.iter().map(ToString::to_string).next();
    assert_eq!(
        (said.as_deref(), plan.kills.len()),
        (
            Some(
                "hypervisor.kill[0]: `disk.nvme` runs in the hypervisor and has no compartment; the only one is `disk.sata`"
            ),
            0
        )
    );
    let plan = with_disks([RING3, "", &of_another]);
    let said = plan.problems.iter().map(ToString::to_string).next();
    assert_eq!(
        said.as_deref(),
        Some("hypervisor.kill[0]: there is no compartment `disk.system`; the only one is `disk.nvme`")
    );
}

/// A guest that is connected to nothing.
const ALONE: &str = "[guest.a]\ncpus = [1]\nmemory = \"64 MiB\"\nkernel = \"k\"\n";

/// A network with an uplink with these keys besides, and these of the hypervisor.
fn with_uplink([uplink, hypervisor]: [&str; 2]) -> Plan {
    let text = format!(
        "[hypervisor]\n{hypervisor}\n[network.lan]\n\
         uplink = {{ path = \"00:02.0\", id = \"8086:10d3\"{uplink} }}\n[network.inside]\n\
         {ALONE}"
    );
    let (config, _) = parse(&text).unwrap_or_else(|errors| panic!("{errors:?}"));
    plan(&config, &q35())
}

/// The driver of an uplink says where it runs, and is ended by the name of its network.
#[test]
fn drivers_of_uplinks() {
    let apart = format!(", {RING3}");
    for (keys, place) in
        [(["", RING3], RunsIn::Ring3), (["", ""], RunsIn::Hypervisor), ([&apart, HYPERVISOR], RunsIn::Ring3)]
    {
        let plan = with_uplink(keys);
        assert_eq!(plan.all_problems().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
        assert_eq!(plan.owned.iter().map(|owned| owned.runs_in).collect::<Vec<_>>(), [place], "{keys:?}");
    }
    let plan = with_uplink([&apart, "kill = [\"network.lan@9\", \"network.lan@3\"]"]);
    assert_eq!(plan.all_problems().count(), 0);
    let at = |at_ms| PlannedKill { at_ms, whose: Killed::Driver(0) };
    assert_eq!(plan.kills, [at(3), at(9)]);
    let said = |uplink, name| {
        let plan = with_uplink([uplink, &format!("kill = [\"network.{name}@3\"]")]);
        assert_eq!(plan.kills.len(), 0);
        plan.problems.iter().map(ToString::to_string).next()
    };
    let no = "has no compartment; nothing has one: write runs_in = \"ring3\" in its table";
    assert_eq!(
        said("", "lan"),
        Some(format!("hypervisor.kill[0]: `network.lan` runs in the hypervisor and {no}"))
    );
    for name in ["inside", "outside"] {
        let none = format!("hypervisor.kill[0]: there is no compartment `network.{name}`");
        assert_eq!(said(&apart, name), Some(format!("{none}; the only one is `network.lan`")));
    }
}

/// What refuses an interface refuses it wherever its driver is to be; without an IOMMU it is the device that would
/// reach all memory, not its driver.
#[test]
fn an_uplink_in_ring_3_without_an_iommu_is_refused() {
    let text =
        format!("[network.lan]\nuplink = {{ path = \"00:02.0\", id = \"8086:10d3\", {RING3} }}\n{ALONE}");
    let (config, _) = parse(&text).unwrap();
    let mut board = q35();
    board.remapping.interrupts = false;
    let of =
        |board: &Platform| plan(&config, board).problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        of(&board),
        [
            "network.lan.uplink.path: the IOMMU does not remap interrupts, so a device could forge them; enable \
             interrupt remapping in the firmware, or remove the device"
        ]
    );
    board.remapping.units.clear();
    let said = of(&board);
    assert!(said.len() == 1 && said[0].contains("shows no IOMMU"), "{said:?}");
}
