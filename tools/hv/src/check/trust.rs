//! Who trusts what: a picture of the two floors below the guests.

use plan::{
    Base, CompartmentName, DiskPlan, Driver, EmulatedPlan, GuestPlan, MachinePart, Memory, NetworkPlan, Plan,
    RunsIn,
};
use std::iter::once;

/// The most characters of a line, where guests share it.
const WIDTH: usize = 100;
/// What stands between two columns.
const BETWEEN: &str = " | ";

/// A guest's column: the guest, and its compartments.
struct Column {
    guest: Vec<String>,
    compartments: Vec<String>,
    width: usize,
}

/// The picture, in lines. A guest stands on its compartments, and all of them on ring 0.
pub fn picture(plan: &Plan) -> String {
    let mut lines = vec![
        "what trusts what: a guest trusts what stands below it, and nothing that stands beside it".to_owned(),
        String::new(),
    ];
    let columns: Vec<Column> = plan.guests.iter().map(column).collect();
    let mut left = columns.as_slice();
    while !left.is_empty() {
        let (these, rest) = left.split_at(fitting(left));
        rows("guests", these, |column| &column.guest, &mut lines);
        lines.push(rule(these));
        rows("ring 3", these, |column| &column.compartments, &mut lines);
        lines.push(rule(these));
        left = rest;
    }
    for (label, line) in once("ring 3").chain(std::iter::repeat("")).zip(drivers(plan)) {
        lines.push(format!("{label:6}{BETWEEN}{line}"));
    }
    for (label, line) in once("ring 0").chain(std::iter::repeat("")).zip(ring_0(plan)) {
        lines.push(format!("{label:6}{BETWEEN}{line}"));
    }
    lines.push(String::new());
    lines.push(
        "a compartment reaches its guest's memory and its own, and nothing else; ring 0 reaches all"
            .to_owned(),
    );
    if drivers(plan).next().is_some() {
        lines.push(
            "that of a driver reaches what its device stores or carries, and no guest's memory".to_owned(),
        );
    }
    lines.join("\n")
}

fn column(guest: &GuestPlan) -> Column {
    let shared = guest.emulated.iter().filter_map(|function| match &function.base {
        Base::SharedMemory(peer) => Some(format!("and shared memory {}", peer.memory)),
        _ => None,
    });
    let own = format!("{}: {} of memory", guest.name, Memory(guest.memory_bytes));
    let guest_lines: Vec<String> = once(own).chain(shared).collect();
    let apart = guest
        .compartments()
        .filter_map(|(number, name)| Some(format!("{name} {}", guest.emulated.get(number)?.model.text())));
    let name = |part| CompartmentName::Machine { guest: guest.name.clone(), part }.to_string();
    let interpreter = name(MachinePart::Interpreter);
    let interpreters = match (guest.runs_in, guest.apic_ids.len()) {
        (RunsIn::Hypervisor, _) => None,
        (RunsIn::Ring3, 1) => Some(interpreter),
        (RunsIn::Ring3, count) => Some(format!("{interpreter}, {count} of them")),
    };
    let chipset = (guest.runs_in == RunsIn::Ring3).then(|| name(MachinePart::Chipset));
    let mut compartments: Vec<String> = interpreters.into_iter().chain(chipset).chain(apart).collect();
    if compartments.is_empty() {
        compartments.push("-".to_owned());
    }
    let width = guest_lines.iter().chain(&compartments).map(String::len).max().unwrap_or(0);
    Column { guest: guest_lines, compartments, width }
}

/// How many of these columns stand beside each other, at least one.
fn fitting(columns: &[Column]) -> usize {
    let ends = columns.iter().scan("ring 3".len(), |end, column| {
        *end += BETWEEN.len() + column.width;
        Some(*end)
    });
    ends.take_while(|end| *end <= WIDTH).count().max(1)
}

fn rows(label: &str, columns: &[Column], of: impl Fn(&Column) -> &[String], lines: &mut Vec<String>) {
    let height = columns.iter().map(|column| of(column).len()).max().unwrap_or(0);
    for row in 0..height {
        let label = if row == 0 { label } else { "" };
        let cells = columns.iter().map(|column| {
            let text = of(column).get(row).map_or("", String::as_str);
            format!("{text:width$}", width = column.width)
        });
        let line = once(format!("{label:6}")).chain(cells).collect::<Vec<_>>().join(BETWEEN);
        lines.push(line.trim_end().to_owned());
    }
}

fn rule(columns: &[Column]) -> String {
    let dashes = columns.iter().map(|column| "-".repeat(column.width));
    once("-".repeat("ring 3".len())).chain(dashes).collect::<Vec<_>>().join("-+-")
}

/// What runs in ring 0, for all guests alike.
fn ring_0(plan: &Plan) -> impl Iterator<Item = String> {
    let functions = plan.guests.iter().flat_map(|guest| {
        guest
            .emulated
            .iter()
            .enumerate()
            .filter(|(_, function)| function.runs_in == RunsIn::Hypervisor)
            .filter_map(|(number, function)| {
                Some(format!("{} {}", guest.function_name(number)?, in_ring_0(function)))
            })
    });
    let (here, apart): (Vec<&GuestPlan>, Vec<&GuestPlan>) =
        plan.guests.iter().partition(|guest| guest.runs_in == RunsIn::Hypervisor);
    let here: Vec<&str> = here.iter().map(|guest| guest.name.as_str()).collect();
    let own = match (here.as_slice(), apart.is_empty()) {
        (_, true) => "processors, chipset and bus".to_owned(),
        ([], false) => "processors and bus".to_owned(),
        (here, false) => format!("processors and bus; the chipset of {}", here.join(" and ")),
    };
    once(format!("the hypervisor: what keeps guests apart, and each one's {own}"))
        .chain(functions)
        .chain(
            plan.disks.iter().filter(|disk| !is_apart(plan, disk.owned)).filter_map(|disk| drive(plan, disk)),
        )
        .chain(plan.networks.iter().map(|network| switch(plan, network)))
}

/// The drivers that run in ring 3, for all guests that use them.
fn drivers(plan: &Plan) -> impl Iterator<Item = String> {
    let disks = plan.disks.iter().filter(|disk| is_apart(plan, disk.owned));
    let disks = disks.filter_map(|disk| drive(plan, disk));
    let uplinks = plan.networks.iter().filter_map(|network| {
        let uplink = network.uplink.filter(|place| is_apart(plan, *place))?;
        let driver = driver(plan.owned.get(uplink)?.driver);
        Some(format!("network {}: the driver of {driver}", network.name))
    });
    disks.chain(uplinks)
}

fn is_apart(plan: &Plan, owned: usize) -> bool {
    plan.owned.get(owned).is_some_and(|owned| owned.runs_in == RunsIn::Ring3)
}

fn in_ring_0(function: &EmulatedPlan) -> String {
    let model = function.model.text();
    if function.model.can_run_in(RunsIn::Ring3) {
        model.to_owned()
    } else {
        format!("{model}, which cannot run in ring 3 yet")
    }
}

fn drive(plan: &Plan, disk: &DiskPlan) -> Option<String> {
    let driver = driver(plan.owned.get(disk.owned)?.driver);
    let reach = match disk.reaches.as_slice() {
        [] => String::new(),
        guests => format!("; the drive itself reaches the memory of {}", guests.join(" and ")),
    };
    Some(format!("disk {}: the driver of {driver}{reach}", disk.name))
}

fn switch(plan: &Plan, network: &NetworkPlan) -> String {
    let uplink = network.uplink.filter(|place| !is_apart(plan, *place));
    let uplink = uplink.and_then(|place| plan.owned.get(place));
    let uplink =
        uplink.map_or_else(String::new, |owned| format!(", and the driver of {}", driver(owned.driver)));
    format!("network {}: its switch{uplink}", network.name)
}

const fn driver(driver: Driver) -> &'static str {
    match driver {
        Driver::Nvme => "NVMe controllers",
        Driver::Ahci => "SATA controllers",
        Driver::VirtioBlock => "virtio drives",
        Driver::E1000e => "82574 interfaces",
        Driver::Igb => "82576 interfaces",
        Driver::VirtioNet => "virtio interfaces",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::Platform;

    /// The picture of a configuration on the everyday machine.
    fn drawn(config: &str) -> String {
        let board = include_str!("../../../../examples/boards/q35.json");
        let board: Platform = serde_json::from_str(board).expect("a board file");
        let (config, _) = plan::text::parse(config).expect("a configuration");
        let plan = plan::build(&config, &board, &|_| true);
        assert_eq!(plan.all_problems().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
        picture(&plan)
    }

    fn guest(name: &str, cpu: u32, functions: &[&str]) -> String {
        let mut text = format!("[guest.{name}]\ncpus = [{cpu}]\nmemory = \"64 MiB\"\nkernel = \"k\"\n");
        for (index, keys) in functions.iter().enumerate() {
            text += &format!("[[guest.{name}.pci]]\nslot = \"{:02x}.0\"\n{keys}\n", index + 1);
        }
        text
    }

    #[test]
    fn each_function_stands_where_it_runs() {
        let config = [
            "[network.lan]\n[shared_memory.mail]\nsize = \"2 MiB\"\n\
             [disk.system]\ndevice = { path = \"00:03.0\", id = \"1b36:0010\" }\n",
            &guest(
                "control",
                1,
                &[
                    "emulate = \"virtio-blk\"\nbacking = { disk = \"system\", partition = 1 }",
                    "emulate = \"virtio-net\"\nnetwork = \"lan\"",
                    "emulate = \"bochs-display\"",
                    "emulate = \"ivshmem\"\nshared_memory = \"mail\"\nruns_in = \"hypervisor\"",
                ],
            ),
            &guest("net", 2, &[]),
        ]
        .concat();
        assert_eq!(
            drawn(&config),
            "\
what trusts what: a guest trusts what stands below it, and nothing that stands beside it

guests | control: 64 MiB of memory | net: 64 MiB of memory
       | and shared memory mail    |
-------+---------------------------+----------------------
ring 3 | control:01.0 virtio-blk   | -
       | control:02.0 virtio-net   |
-------+---------------------------+----------------------
ring 0 | the hypervisor: what keeps guests apart, and each one's processors, chipset and bus
       | control:03.0 bochs-display, which cannot run in ring 3 yet
       | control:04.0 ivshmem
       | disk system: the driver of NVMe controllers; the drive itself reaches the memory of control
       | network lan: its switch

a compartment reaches its guest's memory and its own, and nothing else; ring 0 reaches all"
        );
    }

    /// A driver in ring 3 is beside the guests' compartments, and its drive reaches no guest's memory.
    #[test]
    fn a_driver_stands_where_it_runs() {
        let config = [
            "[disk.system]\ndevice = { path = \"00:03.0\", id = \"1b36:0010\" }\nruns_in = \"ring3\"\n",
            &guest(
                "control",
                1,
                &["emulate = \"virtio-blk\"\nbacking = { disk = \"system\", partition = 1 }\nruns_in = \"ring3\""],
            ),
        ]
        .concat();
        assert_eq!(
            drawn(&config),
            "\
what trusts what: a guest trusts what stands below it, and nothing that stands beside it

guests | control: 64 MiB of memory
-------+--------------------------
ring 3 | control:01.0 virtio-blk
-------+--------------------------
ring 3 | disk system: the driver of NVMe controllers
ring 0 | the hypervisor: what keeps guests apart, and each one's processors, chipset and bus

a compartment reaches its guest's memory and its own, and nothing else; ring 0 reaches all
that of a driver reaches what its device stores or carries, and no guest's memory"
        );
    }

    /// Interpreters in ring 3 stand below their guest, by the name that they are ended by.
    #[test]
    fn an_interpreter_stands_where_it_runs() {
        let config = [
            guest("one", 1, &[]).replace("kernel", "runs_in = \"ring3\"\nkernel"),
            guest("two", 2, &[]).replace("cpus = [2]", "cpus = [2, 3]\nruns_in = \"ring3\""),
        ]
        .concat();
        let drawn = drawn(&config);
        assert!(drawn.contains("\nring 3 | one:interpreter       | two:interpreter, 2 of them\n"), "{drawn}");
    }

    /// A guest that runs in ring 3 has its chipset there, and its interpreters.
    #[test]
    fn a_chipset_stands_where_it_runs() {
        let apart = guest("apart", 1, &[]).replacen("\nmemory", "\nruns_in = \"ring3\"\nmemory", 1);
        let both = drawn(&[apart.as_str(), &guest("net", 2, &[])].concat());
        assert!(
            both.contains(
                "\
ring 3 | apart:interpreter       | -
       | apart:chipset           |
-------+-------------------------+----------------------
ring 0 | the hypervisor: what keeps guests apart, and each one's processors and bus; the chipset of net
"
            ),
            "{both}"
        );
        let alone = drawn(&apart);
        assert!(alone.contains("apart, and each one's processors and bus\n"), "{alone}");
    }

    /// The driver of an uplink in ring 3 leaves its switch behind.
    #[test]
    fn an_uplinks_driver_stands_where_it_runs() {
        let drawn = |key: &str| {
            let uplink = format!("uplink = {{ path = \"00:02.0/00.0\", id = \"8086:10d3\"{key} }}");
            drawn(&format!(
                "[network.lan]\n{uplink}\n{}",
                guest("net", 1, &["emulate = \"virtio-net\"\nnetwork = \"lan\"\nruns_in = \"ring3\""])
            ))
        };
        let apart = drawn(", runs_in = \"ring3\"");
        assert!(
            apart.contains("\nring 3 | network lan: the driver of 82574 interfaces\nring 0 | "),
            "{apart}"
        );
        assert!(apart.contains("\n       | network lan: its switch\n"), "{apart}");
        assert!(
            apart.ends_with("reaches what its device stores or carries, and no guest's memory"),
            "{apart}"
        );
        let together = drawn("");
        let both = "network lan: its switch, and the driver of 82574 interfaces";
        assert!(together.contains(both) && !together.contains("that of a driver"), "{together}");
    }

    /// Many guests, and long names, take several rows; no line is longer for it.
    #[test]
    fn guests_that_do_not_fit_beside_each_other_follow() {
        let guests = ["a-guest-with-quite-a-long-name-01", "b-guest-with-quite-a-long-name-02", "c"];
        let guests = guests.map(|name| name.get(..name.len().min(32)).expect("a name").to_owned());
        let text: String = guests
            .iter()
            .zip(1..)
            .map(|(name, cpu)| guest(name, cpu, &["emulate = \"virtio-console\"\nruns_in = \"ring3\""]))
            .collect();
        let drawn = drawn(&text);
        assert!(drawn.lines().all(|line| line.len() <= WIDTH), "{drawn}");
        assert_eq!(drawn.lines().filter(|line| line.starts_with("guests")).count(), 2, "{drawn}");
        for name in guests {
            assert_eq!(drawn.matches(&format!("{name}:01.0 virtio-console")).count(), 1, "{drawn}");
        }
        assert_eq!(drawn.matches("ring 0 | ").count(), 1, "{drawn}");
    }
}
