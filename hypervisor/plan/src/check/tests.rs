//! Every bad input with its message, on two machines whose board files QEMU gave.

use crate::text::parse;
use crate::{Config, Plan, build, check_without_machine};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use platform::{AccessControl, DevFn, Memory, MemoryKind, MemoryRegion, Platform};
use spec::{Bdf, Hpa};

const TWO_LINUX: &str = include_str!("../../../../examples/two-linux.toml");

/// 4 processors, 2 GiB, e1000e at 00:02.0, nvme at 00:03.0.
pub(super) fn q35() -> Platform {
    serde_json::from_str(include_str!("../../tests/boards/q35.json")).unwrap()
}

/// The machine that the example is for: the same, but the e1000e is behind a root port.
pub(super) fn everyday() -> Platform {
    serde_json::from_str(include_str!("../../../../examples/boards/q35.json")).unwrap()
}

/// The everyday machine with AMD's IOMMU.
pub(super) fn everyday_amd() -> Platform {
    serde_json::from_str(include_str!("../../../../examples/boards/q35-amdvi.json")).unwrap()
}

/// A machine with bridges of every kind, a switch without ACS, devices without MSI,
/// and a device of two functions. All can be reset, which of these conventional devices
/// would otherwise be the first thing to say.
pub(super) fn bridges() -> Platform {
    let mut board: Platform = serde_json::from_str(include_str!("../../tests/boards/bridges.json")).unwrap();
    board.functions.iter_mut().for_each(|function| function.capabilities.advanced_features_reset = true);
    board
}

/// A guest: its name, its keys, path and identity of its functions.
pub(super) type Ask<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// A configuration of guests, each with its keys besides kernel and memory, and the
/// path and identity of its functions.
pub(super) fn config(guests: &[Ask<'_>]) -> Config {
    let mut text = String::new();
    for (name, keys, functions) in guests {
        text += &format!("[guest.{name}]\nkernel = \"vmlinuz\"\n{keys}\n");
        if !keys.contains("memory") {
            text += "memory = \"256 MiB\"\n";
        }
        for (index, (path, id)) in functions.iter().enumerate() {
            let slot = index + 1;
            text += &format!(
                "[[guest.{name}.pci]]\nslot = \"{slot:02x}.0\"\n\
                 passthrough = {{ path = \"{path}\", id = \"{id}\" }}\n"
            );
        }
    }
    parse(&text).unwrap_or_else(|errors| panic!("{text}\n{errors:?}")).0
}

pub(super) fn plan(config: &Config, platform: &Platform) -> Plan {
    build(config, platform, &|_| true)
}

/// Every problem as text.
pub(super) fn problems(config: &Config, platform: &Platform) -> Vec<String> {
    plan(config, platform).all_problems().map(ToString::to_string).collect()
}

/// The problems of a guest whose only function this is.
pub(super) fn problems_of(function: &str) -> Vec<String> {
    let text = format!(
        "[guest.a]\ncpus = [1]\nmemory = \"64 MiB\"\nkernel = \"k\"\n[[guest.a.pci]]\nslot = \"01.0\"\n{function}"
    );
    let (config, _) = parse(&text).unwrap_or_else(|errors| panic!("{errors:?}"));
    let has_file = |file: crate::FileRef<'_>| file.name != "missing";
    check_without_machine(&config, &has_file).iter().map(|problem| problem.to_string()).collect()
}

#[test]
fn a_guest_has_one_ide_controller() {
    let drive = "emulate = \"ide\"\nbacking = { image = \"root.img\" }\n";
    assert_eq!(problems_of(drive), [""; 0]);
    let two = format!(
        "{drive}[[guest.a.pci]]\nslot = \"02.0\"\nemulate = \"nvme\"\nbacking = {{ image = \"root.img\" }}\n\
         [[guest.a.pci]]\nslot = \"03.0\"\n{drive}[[guest.a.pci]]\nslot = \"04.0\"\n{drive}"
    );
    let problem = |index: usize| {
        format!(
            "guest.a.pci[{index}].emulate: the guest has an IDE controller already, and there is one place for its \
             ports; give it a second drive by second_backing, or use \"nvme\" for the other drives"
        )
    };
    assert_eq!(problems_of(&two), [problem(2), problem(3)]);
}

#[test]
fn a_function_is_the_machines_or_an_emulated_one() {
    let emulated = "emulate = \"nvme\"\nbacking = { image = \"root.img\" }\n";
    assert_eq!(problems_of(emulated), [""; 0]);
    assert_eq!(
        problems_of(""),
        [
            "guest.a.pci[0].slot: nothing says what stands there; add passthrough = { path = \"...\", id = \"...\" }, \
          or emulate = \"nvme\""
        ]
    );
    let both = format!("{emulated}passthrough = {{ path = \"00:02.0\", id = \"8086:10d3\" }}");
    assert_eq!(
        problems_of(&both),
        [
            "guest.a.pci[0].emulate: the function is passed through already; remove one of the two, or give each a \
          slot of its own"
        ]
    );
    let keys = format!("{emulated}gsi = 16\nrom = true\nallow_reserved_memory = true");
    assert_eq!(
        problems_of(&keys),
        ["allow_reserved_memory", "gsi", "rom"].map(|key| format!(
            "guest.a.pci[0].{key}: an emulated function has nothing of the kind; remove the key"
        ))
    );
    assert_eq!(
        problems_of("emulate = \"nvme\"\nbacking = { image = \"missing\" }"),
        ["guest.a.pci[0].backing.image: there is no file `missing`; put the file there, or correct its name"]
    );
}

#[test]
fn the_example_fits_the_everyday_machine() {
    the_example_fits(&everyday());
}

#[test]
fn the_example_fits_the_everyday_machine_of_the_other_vendor() {
    the_example_fits(&everyday_amd());
}

fn the_example_fits(board: &Platform) {
    let (config, _) = parse(TWO_LINUX).unwrap();
    let plan = plan(&config, board);
    assert_eq!(plan.warnings, []);
    assert_eq!(plan.all_problems().count(), 0, "{plan:?}");
    let [disk, net] = &plan.guests[..] else { panic!("{plan:?}") };

    assert_eq!((net.name.as_str(), &net.apic_ids[..], net.memory_bytes), ("net", &[1][..], 512 << 20));
    let e1000e = &net.functions[0];
    assert_eq!((e1000e.bdf, e1000e.slot), (Bdf::new(1, 0, 0), DevFn::new(1, 0)));
    assert_eq!(e1000e.requesters, [Bdf::new(1, 0, 0)]);
    assert_eq!((e1000e.msi_messages, e1000e.msix_messages), (1, 5));
    let sizes: Vec<u64> = e1000e.bars.iter().map(|bar| bar.bytes).collect();
    assert_eq!(sizes, [0x2_0000, 0x2_0000, 0x20, 0x4000]);
    assert_eq!(e1000e.rom_bytes, 0, "nobody asked for it");

    assert_eq!((disk.name.as_str(), &disk.apic_ids[..]), ("disk", &[2, 3][..]));
    let nvme = &disk.functions[0];
    assert_eq!((nvme.bdf, nvme.msi_messages, nvme.msix_messages), (Bdf::new(0, 3, 0), 0, 65));
    assert_eq!((e1000e.line, nvme.line), (None, None), "nobody asked for a line");
}

#[test]
fn no_guest() {
    assert_eq!(
        problems(&Config::default(), &q35()),
        ["guest: there is no guest; add a table such as [guest.linux], with cpus, memory and kernel"]
    );
}

#[test]
fn names_of_guests() {
    let mut config = config(&[("hypervisor", "cpus = [1]", &[])]);
    let guest = config.guest["hypervisor"].clone();
    config.guest.insert("a b".into(), crate::GuestConfig { cpus: [2].into(), ..guest });
    assert_eq!(
        problems(&config, &q35()),
        [
            "guest.a b: this is no name for a guest; use up to 32 letters, digits, `-` and `_`",
            "guest.hypervisor: this name is the hypervisor's own on the console; choose another name",
        ]
    );
}

#[test]
fn processors() {
    let config =
        config(&[("a", "cpus = [0, 1, 1]", &[]), ("b", "cpus = []", &[]), ("c", "cpus = [2, 1, 4]", &[])]);
    assert_eq!(
        problems(&config, &q35()),
        [
            "guest.a.cpus[0]: processor 0 stays with the hypervisor; use a processor from 1 on",
            "guest.a.cpus[2]: processor 1 is there twice; name each processor once",
            "guest.b.cpus: the guest has no processor; give it one, such as cpus = [1]",
            "guest.c.cpus[1]: processor 1 belongs to guest `a` already; give each processor to one guest",
            "guest.c.cpus[2]: there is no processor 4: this machine has 4 processors, counted from 0; use \
         processors from 1 to 3",
        ]
    );
}

#[test]
fn processors_are_counted_without_the_disabled_ones() {
    let mut board = q35();
    board.tables.madt.processors[1].enabled = false;
    let plan = plan(&config(&[("a", "cpus = [1, 2]", &[])]), &board);
    assert_eq!(plan.guests[0].apic_ids, [2, 3]);
    let problems = problems(&config(&[("a", "cpus = [3]", &[])]), &board);
    assert!(problems[0].contains("this machine has 3 processors"), "{problems:?}");
}

#[test]
fn memory() {
    let of = |memory: &str| {
        let keys = format!("cpus = [1]\nmemory = \"{memory}\"");
        problems(&config(&[("a", &keys, &[])]), &q35())
    };
    assert_eq!(of("8 MiB"), ["guest.a.memory: 8 MiB is too little for a guest; give it \"16 MiB\" or more"]);
    assert_eq!(of("129 MiB"), ["guest.a.memory: 129 MiB is not a multiple of 2 MiB; use \"130 MiB\""]);
    assert_eq!(
        of("1 TiB"),
        [
            "guest.a.memory: 1 TiB is more than a guest can have; give it \"127 GiB\" or less",
            "guest.a.memory: 1 TiB do not fit: of the machine's 2044 MiB there are 2012 MiB left for it; give it \
         \"2012 MiB\" or less, or less to the guests before it",
        ]
    );
    assert_eq!(of("2012 MiB"), [""; 0]);
}

#[test]
fn tables_of_small_pages_count() {
    let mut board = q35();
    let of = |memory: &str, board: &Platform| {
        let keys = format!("cpus = [1]\nmemory = \"{memory}\"");
        problems(&config(&[("a", &keys, &[])]), board)
    };
    assert_eq!(of("2012 MiB", &board).len(), 0);
    board.small_code_pages = true;
    assert_eq!(
        of("2012 MiB", &board),
        [
            "guest.a.memory: 2012 MiB do not fit: of the machine's 2044 MiB there are 2008 MiB left for it; give it \
          \"2008 MiB\" or less, or less to the guests before it"
        ]
    );
    assert_eq!(of("2008 MiB", &board).len(), 0);
}

#[test]
fn memory_of_all_guests_together() {
    let half = "memory = \"1 GiB\"";
    let config =
        config(&[("a", &format!("cpus = [1]\n{half}"), &[]), ("b", &format!("cpus = [2]\n{half}"), &[])]);
    let plan = plan(&config, &q35());
    assert_eq!(plan.guests.len(), 1);
    assert_eq!(plan.refused[0].name, "b");
    assert_eq!(
        plan.refused[0].problems[0].to_string(),
        "guest.b.memory: 1 GiB do not fit: of the machine's 2044 MiB there are 988 MiB left for it; give it \
         \"988 MiB\" or less, or less to the guests before it"
    );
}

#[test]
fn a_refused_guest_takes_no_memory() {
    let half = "memory = \"1 GiB\"";
    let config =
        config(&[("a", &format!("cpus = [9]\n{half}"), &[]), ("b", &format!("cpus = [2]\n{half}"), &[])]);
    let plan = plan(&config, &q35());
    assert_eq!(plan.guests[0].name, "b");
    assert_eq!(plan.refused[0].name, "a");
}

#[test]
fn files() {
    let config = config(&[("a", "cpus = [1]\ninitrd = \"i\"\nmodules = [\"m\", \"n\", \"n\", \"\"]", &[])]);
    let has = |file: crate::FileRef<'_>| file.name == "n";
    let told: Vec<_> = check_without_machine(&config, &has).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "guest.a.modules[2]: module `n` is there twice; name each module once",
            "guest.a.kernel: there is no file `vmlinuz`; put the file there, or correct its name",
            "guest.a.initrd: there is no file `i`; put the file there, or correct its name",
            "guest.a.modules[0]: there is no file `m`; put the file there, or correct its name",
            "guest.a.modules[3]: the name of the file is empty; name the file, or leave the key out",
        ]
    );
}

#[test]
fn slots() {
    let mut config = config(&[("a", "cpus = [1]", &[("00:02.0", "8086:10d3"), ("00:03.0", "1b36:0010")])]);
    let pci = &mut config.guest.get_mut("a").unwrap().pci;
    pci[0].slot = DevFn::new(0, 0);
    pci[1].slot = DevFn::new(1, 2);
    assert_eq!(
        problems(&config, &q35()),
        [
            "guest.a.pci[0].slot: slot 00 holds the guest's host bridge; use a slot from \"01.0\" to \"1f.0\"",
            "guest.a.pci[1].slot: 01.2 is function 2 of a device; each function is a device of its own here: use \
         function 0 of a free slot",
        ]
    );
    let pci = &mut config.guest.get_mut("a").unwrap().pci;
    pci[0].slot = DevFn::new(4, 0);
    pci[1].slot = DevFn::new(4, 0);
    assert_eq!(problems(&config, &q35()), ["guest.a.pci[1].slot: slot 04.0 is used twice; use another slot"]);
}

#[test]
fn devices_that_are_not_there_or_not_the_same() {
    let config = config(&[(
        "a",
        "cpus = [1]",
        &[
            ("00:05.0", "8086:10d3"),
            ("00:05.0/00.0", "dead:beef"),
            ("00:03.0", "8086:10d3"),
            ("00:1f.0", "8086:2918"),
        ],
    )]);
    assert_eq!(
        problems(&config, &q35()),
        [
            "guest.a.pci[0].passthrough.path: there is no device at 00:05.0; 8086:10d3 is at \"00:02.0\"",
            "guest.a.pci[1].passthrough.path: there is no device at 00:05.0/00.0; no dead:beef is in this machine",
            "guest.a.pci[2].passthrough.id: the device at 00:03.0 is 1b36:0010 and not 8086:10d3; use id = \
         \"1b36:0010\" if that is the one; 8086:10d3 is at \"00:02.0\"",
            "guest.a.pci[3].passthrough.path: the device at 00:1f.0 is a bridge; pass through the functions behind it",
        ]
    );
}

#[test]
fn a_device_for_two() {
    let e1000e = ("00:02.0", "8086:10d3");
    let config = config(&[("a", "cpus = [1]", &[e1000e, e1000e]), ("b", "cpus = [2]", &[e1000e])]);
    assert_eq!(
        problems(&config, &q35()),
        [
            "guest.a.pci[1].passthrough.path: 00:02.0 is passed through twice; pass each function to one guest, once",
            "guest.b.pci[0].passthrough.path: 00:02.0 belongs to guest `a` already; pass each function to one guest, \
         once",
        ]
    );
}

#[test]
fn threads_of_one_core() {
    let mut config = config(&[("a", "cpus = [1]", &[]), ("b", "cpus = [2, 3]", &[])]);
    let mut board = q35();
    assert_eq!(plan(&config, &board).all_problems().count(), 0);
    board.thread_bits = 1;
    let halves = plan(&config, &board);
    assert_eq!(halves.all_problems().count(), 0, "2 and 3 are the core of b");
    let warnings: Vec<_> = halves.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with(
        "guest.a.cpus[0]: processor 1 is a thread of the core on which the hypervisor serves all guests"
    ));
    board.thread_bits = 2;
    let found = |index, cpu| {
        format!(
            "guest.b.cpus[{index}]: processor {cpu} and processor 1 of guest `a` are threads of one core, so each \
             guest can measure what the other does; give both to one guest, leave one of them unused, or allow it \
             with `share_cores = true` under `[hypervisor]`"
        )
    };
    assert_eq!(problems(&config, &board), [found(0, 2), found(1, 3)]);
    assert_eq!(plan(&config, &board).guests.len(), 1, "the first has the core");
    config.hypervisor.share_cores = true;
    let allowed = plan(&config, &board);
    assert_eq!((allowed.guests.len(), allowed.all_problems().count()), (2, 0), "it is no error then");
    let warnings: Vec<_> = allowed.warnings.iter().map(ToString::to_string).collect();
    let shared: Vec<_> = warnings.iter().filter(|warning| warning.contains("of guest `a`")).collect();
    assert_eq!(shared, [&found(0, 2), &found(1, 3)]);
}

#[test]
fn devices_behind_one_conventional_bridge() {
    let mut board = bridges();
    let [e1000, rtl8139] = [("00:04.0/01.0", "8086:100e"), ("00:04.0/02.0", "10ec:8139")];
    // Their interrupt lines are not the point here.
    for function in &mut board.functions {
        function.interrupt = None;
    }
    let two = config(&[("a", "cpus = [1]", &[e1000]), ("b", "cpus = [2]", &[rtl8139])]);
    assert_eq!(
        problems(&two, &board),
        [
            "guest.b.pci[0].passthrough.path: 00:04.0/02.0 cannot be kept apart from 00:04.0/01.0 of guest `a`: both are \
         behind the PCI bridge 00:04.0, which hides from the IOMMU who is who; give both to the same guest"
        ]
    );
    let one = config(&[("a", "cpus = [1]", &[e1000, rtl8139])]);
    let plan = plan(&one, &board);
    let requesters: Vec<_> =
        plan.guests[0].functions.iter().map(|function| &function.requesters[..]).collect();
    assert_eq!(requesters, [[Bdf::new(1, 1, 0), Bdf::new(1, 0, 0)], [Bdf::new(1, 2, 0), Bdf::new(1, 0, 0)],]);
}

#[test]
fn devices_that_reach_each_other() {
    let xhci = ("00:06.0/00.0/00.0/00.0", "1b36:000d");
    let nvme = ("00:06.0/00.0/01.0/00.0", "1b36:0010");
    let config_switch = config(&[("a", "cpus = [1]", &[xhci]), ("b", "cpus = [2]", &[nvme])]);
    assert_eq!(
        problems(&config_switch, &bridges()),
        [
            "guest.b.pci[0].passthrough.path: 00:06.0/00.0/01.0/00.0 cannot be kept apart from 00:06.0/00.0/00.0/00.0 of \
         guest `a`: both are behind the switch 03:00.0, whose port 04:01.0 lets what is behind it reach the others (no \
         ACS); give both to the same guest"
        ]
    );
    let mut board = bridges();
    for function in &mut board.functions {
        if function.id.to_string() == "104c:8233" {
            function.capabilities.access_control =
                Some(AccessControl { offset: 0x100, services: 0x5f, ..AccessControl::default() });
        }
    }
    let plan = plan(&config_switch, &board);
    assert_eq!(plan.all_problems().count(), 0);
    // The port of each, and the root port above both.
    let ports: Vec<_> =
        plan.guests.iter().map(|guest| &guest.functions[0].access_controls).map(|list| list.len()).collect();
    assert_eq!(ports, [2, 2]);
    assert_eq!(plan.guests[1].functions[0].access_controls[0].0, Bdf::new(4, 1, 0));

    let edu = [("00:07.0", "1234:11e8"), ("00:07.1", "1234:11e8")];
    let config_device = config(&[("a", "cpus = [1]", &edu[..1]), ("b", "cpus = [2]", &edu[1..])]);
    assert_eq!(
        problems(&config_device, &bridges()),
        [
            "guest.b.pci[0].passthrough.path: 00:07.1 cannot be kept apart from 00:07.0 of guest `a`: they are functions \
         of one device, or behind them, and 00:07.1 does not say that it keeps out of the others (no ACS); give both to \
         the same guest"
        ]
    );
    assert_eq!(problems(&config(&[("a", "cpus = [1]", &edu)]), &bridges()), [""; 0]);
}

#[test]
fn bars_that_cannot_be_kept_apart() {
    let config = config(&[("a", "cpus = [1]", &[("00:02.0", "8086:10d3")])]);
    let mut board = q35();
    let nvme = board.functions.iter_mut().find(|function| function.bdf == Bdf::new(0, 3, 0)).unwrap();
    nvme.bars[0].address = Hpa(0xfebc_3f00);
    assert_eq!(
        problems(&config, &board),
        [
            "guest.a.pci[0].passthrough.path: BAR 3 of 00:02.0 is on the same page of 4 KiB as a BAR of 00:03.0, which the \
         guest would reach too; give both devices to the same guest, or plug one elsewhere"
        ]
    );
    let e1000e = board.functions.iter_mut().find(|function| function.bdf == Bdf::new(0, 2, 0)).unwrap();
    e1000e.bars[3].address = Hpa(0);
    assert_eq!(
        problems(&config, &board),
        [
            "guest.a.pci[0].passthrough.path: the firmware gave BAR 3 of 00:02.0 no address; let the firmware assign \
         resources, or plug the device elsewhere"
        ]
    );
}

#[test]
fn expansion_roms() {
    let ask = |path, id| {
        let mut config = config(&[("a", "cpus = [1]", &[(path, id)])]);
        config.guest.get_mut("a").unwrap().pci[0].rom = true;
        config
    };
    let plan = plan(&ask("00:02.0/00.0", "8086:10d3"), &everyday());
    assert_eq!(plan.guests[0].functions[0].rom_bytes, 0x4_0000);
    assert_eq!(
        problems(&ask("00:03.0", "1b36:0010"), &everyday()),
        ["guest.a.pci[0].rom: 00:03.0 has no expansion ROM; remove the key"]
    );
}

#[test]
fn phantom_functions() {
    let config = config(&[("a", "cpus = [1]", &[("00:02.0", "8086:10d3")])]);
    let mut board = q35();
    let e1000e = board.functions.iter_mut().find(|function| function.bdf == Bdf::new(0, 2, 0)).unwrap();
    e1000e.capabilities.express.as_mut().unwrap().phantom_functions = true;
    assert_eq!(
        problems(&config, &board),
        [
            "guest.a.pci[0].passthrough.path: 00:02.0 sends requests under numbers of functions that do not exist; pass \
         through another device"
        ]
    );
}

#[test]
fn a_board_without_anything_refuses_and_does_not_panic() {
    let (config, _) = parse(TWO_LINUX).unwrap();
    let plan = plan(&config, &Platform::default());
    assert!(plan.guests.is_empty());
    assert_eq!(plan.refused.len(), 2);
    for refusal in &plan.refused {
        assert!(refusal.problems.iter().any(|problem| problem.path.ends_with("memory")));
    }
}

proptest::proptest! {
    /// What two guests get never overlaps, whatever they ask for.
    #[test]
    fn no_two_guests_share_anything(
        asks in proptest::collection::vec(
            (proptest::collection::vec(0u32..6, 0..4), 0u64..1200, proptest::collection::vec(0usize..30, 0..4)),
            1..5,
        ),
    ) {
        let board = bridges();
        let mut config = Config::default();
        for (index, (cpus, mib, functions)) in asks.iter().enumerate() {
            let pci = functions.iter().enumerate().filter_map(|(slot, function)| {
                let function = board.functions.get(*function)?;
                Some(crate::PciConfig {
                    slot: DevFn::new(slot as u8 + 1, 0),
                    passthrough: Some(crate::Passthrough { path: function.path.clone(), id: function.id }),
                    emulate: None, runs_in: None,
                    backing: None,
                    second_backing: None,
                    network: None,
                    mac: None,
                    vlan: None,
                    rate_limit: None,
                    isolated: false,
                    ring: None, shared_memory: None, video_memory: None,
                    allow_reserved_memory: false,
                    gsi: None,
                    rom: false,
                })
            }).collect();
            let base = super::tests::config(&[("x", "cpus = [1]", &[])]).guest["x"].clone();
            let guest = crate::GuestConfig { cpus: cpus.clone(), memory: Memory::mib(*mib), pci, ..base };
            config.guest.insert(format!("g{index}"), guest);
        }
        let plan = plan(&config, &board);
        proptest::prop_assert_eq!(plan.guests.len() + plan.refused.len(), asks.len());
        let mut processors = Vec::new();
        let mut requesters: Vec<(usize, Bdf)> = Vec::new();
        let mut memory = 0;
        for (index, guest) in plan.guests.iter().enumerate() {
            processors.extend(&guest.apic_ids);
            memory += guest.memory_bytes;
            for function in &guest.functions {
                requesters.extend(function.requesters.iter().map(|requester| (index, *requester)));
            }
        }
        let count = processors.len();
        processors.sort_unstable();
        processors.dedup();
        proptest::prop_assert_eq!(processors.len(), count);
        proptest::prop_assert!(!processors.contains(&0));
        proptest::prop_assert!(memory <= 2012 << 20);
        for (guest, requester) in &requesters {
            proptest::prop_assert!(requesters.iter().all(|(other, it)| it != requester || other == guest));
        }
    }

    #[test]
    fn no_memory_map_panics(map in proptest::collection::vec((0u64.., 0u64.., 0u8..2), 0..8)) {
        let mut board = q35();
        board.memory = map.into_iter().map(|(start, bytes, kind)| MemoryRegion {
            start: Hpa(start),
            bytes,
            kind: if kind == 0 { MemoryKind::Usable } else { MemoryKind::Reserved },
        }).collect();
        let (config, _) = parse(TWO_LINUX).unwrap();
        plan(&config, &board);
    }
}

#[test]
fn a_command_line_with_a_zero() {
    let config = config(&[("a", "cpus = [1]\ncommand_line = \"quiet\\u0000 init=/x\"", &[])]);
    assert_eq!(
        problems(&config, &q35()),
        ["guest.a.command_line: the command line has a zero in it, which would end it; take the zero out"]
    );
}

#[test]
fn tables_for_large_bars_are_part_of_the_memory() {
    let config = config(&[("a", "cpus = [1]\nmemory = \"1700 MiB\"", &[("00:03.0", "1b36:0010")])]);
    let mut board = q35();
    let drive = board.functions.iter_mut().find(|function| function.id.to_string() == "1b36:0010").unwrap();
    let of_memory = |board: &Platform| {
        problems(&config, board).into_iter().filter(|it| it.starts_with("guest.a.memory")).count()
    };
    drive.bars[0].bytes = 64 << 20;
    assert_eq!(of_memory(&board), 0);
    let drive = board.functions.iter_mut().find(|function| function.id.to_string() == "1b36:0010").unwrap();
    drive.bars[0].bytes = 64 << 30; // That takes 384 MiB.
    assert_eq!(of_memory(&board), 1);
}
