use super::*;
use crate::problem::Problem;
use alloc::format;
use alloc::vec;

const TWO_LINUX: &str = include_str!("../../../../examples/two-linux.toml");

/// A guest with nothing wrong, and `more` keys.
fn guest(more: &str) -> String {
    format!("[guest.net]\ncpus = [1]\nmemory = \"512 MiB\"\nkernel = \"vmlinuz\"\n{more}")
}

/// What is told, as `line:column path: message; help`.
fn told(text: &str) -> Vec<String> {
    let of = |d: Diagnostic| format!("{}:{} {}: {}; {}", d.line, d.column, d.path, d.message, d.help);
    parse(text).expect_err("no diagnostic").into_iter().map(of).collect()
}

#[test]
fn the_example_says_what_it_should() {
    let (config, _) = parse(TWO_LINUX).unwrap();
    let net = &config.guest["net"];
    assert_eq!(net.cpus, [1]);
    assert_eq!(net.memory, platform::Memory::mib(512));
    assert_eq!(net.initrd.as_deref(), Some("net.cpio"));
    assert_eq!(net.pci[0].slot, platform::DevFn::new(1, 0));
    assert_eq!(format!("{}", net.pci[0].passthrough.as_ref().unwrap().path), "00:02.0/00.0");
    assert_eq!(format!("{}", net.pci[0].passthrough.as_ref().unwrap().id), "8086:10d3");
    let disk = &config.guest["disk"];
    assert_eq!(disk.cpus, [2, 3]);
    assert_eq!(format!("{}", disk.pci[0].passthrough.as_ref().unwrap().id), "1b36:0010");
    assert_eq!(config.guest.len(), 2);
}

#[test]
fn what_is_left_out_has_its_default() {
    let (config, _) = parse(&guest("")).unwrap();
    let net = &config.guest["net"];
    assert_eq!(config.hypervisor.console, crate::Console::Named(crate::ConsolePort::Auto));
    assert_eq!(net.on_power_off, crate::EndPolicy::Off);
    assert_eq!(net.on_reboot, crate::EndPolicy::Restart);
    assert_eq!(net.on_crash, crate::EndPolicy::Off);
    assert_eq!(net.expect, crate::Expect::PowerOff);
    assert_eq!((net.max_restarts, net.initrd.as_deref()), (None, None));
    assert!(net.modules.is_empty() && net.pci.is_empty() && net.command_line.is_empty());
}

#[test]
fn unknown_keys_come_with_a_suggestion() {
    assert_eq!(
        told(&guest("comand_line = \"x\"")),
        ["5:1 guest.net.comand_line: unknown key `comand_line`; did you mean `command_line`?"]
    );
    assert_eq!(
        told(&guest("on-reboot = \"off\"")),
        ["5:1 guest.net.on-reboot: unknown key `on-reboot`; did you mean `on_reboot`?"]
    );
    assert_eq!(told("[guests.net]\n"), ["1:2 guests: unknown key `guests`; did you mean `guest`?"]);
    assert_eq!(
        told("[hypervisor]\nfrobnicate = 1"),
        [
            "2:1 hypervisor.frobnicate: unknown key `frobnicate`; the keys here are `console`, `share_cores`, `barriers`, `io`, `runs_in`, `restarts` and `kill`"
        ]
    );
}

#[test]
fn a_console_is_a_word_or_a_card() {
    use crate::{Console, ConsolePort, SerialCard};
    let console = |value: &str| format!("[hypervisor]\nconsole = {value}\n") + &guest("");
    for &(port, word) in ConsolePort::ALL {
        let (config, _) = parse(&console(&format!("\"{word}\""))).unwrap();
        assert_eq!(config.hypervisor.console, Console::Named(port));
    }
    let (config, map) = parse(&console("{ path = \"00:03.0\", id = \"1b36:0002\", offset = 8 }")).unwrap();
    let card = SerialCard {
        path: "00:03.0".parse().unwrap(),
        id: "1b36:0002".parse().unwrap(),
        bar: 0,
        offset: 8,
        clock_hz: 1_843_200,
    };
    assert_eq!(config.hypervisor.console, Console::Card(card));
    let problem = Problem { path: "hypervisor.console.path".into(), message: "m".into(), help: "h".into() };
    let found = map.locate(&problem);
    assert_eq!((found.line, found.column), (2, 20));
    let bytes = postcard::to_allocvec(&config).unwrap();
    assert_eq!(postcard::from_bytes::<Config>(&bytes).unwrap(), config);
    assert_eq!(
        told(&console("\"com5\"")),
        ["2:11 hypervisor.console: unknown choice \"com5\"; did you mean \"com1\"?"]
    );
    assert_eq!(
        told(&console("2")),
        [
            "2:11 hypervisor.console: an integer does not fit here: expected \"auto\" or \"com1\" or \"com2\" or \
          \"com3\" or \"com4\" or \"none\" or a table; write it as \"auto\""
        ]
    );
    assert_eq!(
        told(&console("{ path = \"00:03\", port = 1 }")),
        [
            "2:11 hypervisor.console: the key `id` is missing; add id = \"8086:10d3\"",
            "2:20 hypervisor.console.path: \"00:03\" is not a path from the root; expected a path from the \
             root such as \"00:02.0\", or \"00:1c.0/00.0\" for a function behind a bridge",
            "2:29 hypervisor.console.port: unknown key `port`; the keys here are `path`, `id`, `bar`, `offset` and \
             `clock_hz`",
        ]
    );
}

#[test]
fn what_is_not_offered_yet_is_unknown() {
    for key in ["driver = \"ring3\"", "interrupts = \"direct\""] {
        let text = guest(&format!(
            "[[guest.net.pci]]\nslot = \"01.0\"\npassthrough = {{ path = \"00:02.0\", id = \"8086:10d3\" }}\n{key}"
        ));
        let told = told(&text);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("unknown key"), "{told:?}");
    }
}

#[test]
fn missing_keys_are_all_told_at_their_table() {
    assert_eq!(
        told("[guest.net]\n"),
        [
            "1:1 guest.net: the key `cpus` is missing; add cpus = [1]",
            "1:1 guest.net: the key `memory` is missing; add memory = \"256 MiB\"",
            "1:1 guest.net: the key `kernel` is missing; add kernel = \"...\"",
        ]
    );
}

#[test]
fn an_older_name_works_and_warns_with_the_new_one() {
    let (config, map) = parse(&guest("stray_access = \"crash\"\n")).unwrap();
    assert_eq!(config.guest["net"].unmapped_access, crate::UnmappedAccess::Crash);
    let [warning] = map.warnings() else { panic!("{:?}", map.warnings()) };
    assert_eq!((warning.line, warning.column, warning.path.as_str()), (5, 1, "guest.net.stray_access"));
    assert_eq!(warning.message, "`stray_access` is called `unmapped_access` now");
    assert_eq!(warning.help, "write `unmapped_access`; the older name still works");
    let (config, map) = parse(&guest("unmapped_access = \"crash\"\n")).unwrap();
    assert_eq!(config.guest["net"].unmapped_access, crate::UnmappedAccess::Crash);
    assert_eq!(map.warnings(), []);
}

#[test]
fn mistakes_under_an_older_name_are_told() {
    assert_eq!(
        told(&guest("stray_access = \"crahs\"\n")),
        ["5:16 guest.net.unmapped_access: unknown choice \"crahs\"; did you mean \"crash\"?"]
    );
    assert_eq!(
        told(&guest("stray_access = \"crash\"\nunmapped_access = \"ignore\"\n")),
        [
            "5:1 guest.net.stray_access: `stray_access` is an older name of `unmapped_access`, which is here too; \
          leave `stray_access` out"
        ]
    );
    assert_eq!(
        told(&guest("unmaped_access = \"crash\"\n")),
        ["5:1 guest.net.unmaped_access: unknown key `unmaped_access`; did you mean `unmapped_access`?"]
    );
}

#[test]
fn values_that_make_no_sense() {
    let memory = |value: &str| guest("").replace("\"512 MiB\"", value);
    assert_eq!(
        told(&memory("\"512 MB\"")),
        ["3:10 guest.net.memory: \"512 MB\" is not a size; expected a size such as \
         \"256 MiB\" (units: KiB, MiB, GiB, TiB)"]
    );
    assert_eq!(
        told(&memory("512")),
        ["3:10 guest.net.memory: an integer does not fit here: expected a size; write it as \"256 MiB\""]
    );
    assert_eq!(
        told(&guest("").replace("[1]", "[1, -2, \"x\"]")),
        [
            "2:12 guest.net.cpus[1]: -2 is out of range; use a number from 0 to 4294967295",
            "2:16 guest.net.cpus[2]: a string does not fit here: expected a number; write it as 1",
        ]
    );
    assert_eq!(
        told(&guest("").replace("[1]", "1")),
        ["2:8 guest.net.cpus: an integer does not fit here: expected a list, each a number; write it as [1]"]
    );
    assert_eq!(
        told(&guest("on_crash = \"halt\"")),
        ["5:12 guest.net.on_crash: unknown choice \"halt\"; did you mean \"halt-all\"?"]
    );
    assert_eq!(
        told(&guest("expect = \"sunshine\"")),
        ["5:10 guest.net.expect: unknown choice \"sunshine\"; use one of `power-off`, `reboot`, `crash`, \
         `refused` and `running`"]
    );
    assert_eq!(
        told("guest = 3"),
        ["1:9 guest: an integer does not fit here: expected tables by name; write it as { NAME = { ... } }"]
    );
}

#[test]
fn names_of_devices_that_make_no_sense() {
    let pci = |slot: &str, path: &str, id: &str| {
        guest(&format!(
            "[[guest.net.pci]]\nslot = \"{slot}\"\npassthrough = {{ path = \"{path}\", id = \"{id}\" }}"
        ))
    };
    assert!(parse(&pci("1f.7", "80:1c.0/00.0", "8086:10d3")).is_ok());
    for (slot, path, id, key) in [
        ("20.0", "00:02.0", "8086:10d3", "slot"),
        ("01.8", "00:02.0", "8086:10d3", "slot"),
        ("1", "00:02.0", "8086:10d3", "slot"),
        ("+1.0", "00:02.0", "8086:10d3", "slot"),
        ("01.0", "02.0", "8086:10d3", "passthrough.path"),
        ("01.0", "00:02.0/", "8086:10d3", "passthrough.path"),
        ("01.0", "000:02.0", "8086:10d3", "passthrough.path"),
        ("01.0", "00:02.0", "8086", "passthrough.id"),
        ("01.0", "00:02.0", "8086:10d3f", "passthrough.id"),
        ("01.0", "00:02.0", ":", "passthrough.id"),
    ] {
        let diagnostics = parse(&pci(slot, path, id)).unwrap_err();
        assert_eq!(diagnostics.len(), 1);
        assert_eq!(diagnostics[0].path, format!("guest.net.pci[0].{key}"));
    }
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    let diagnostics = parse("[guest.net]\ncpus = [1\nmemory = 3").unwrap_err();
    assert_eq!(diagnostics[0].path, "");
    assert!(diagnostics[0].line >= 2, "{diagnostics:?}");
}

#[test]
fn every_mistake_is_told_in_one_go() {
    let text =
        "[hypervisor]\nconsole = \"com5\"\n[guest.a]\ncpus = \"1\"\nmemory = \"1 GiB\"\nkernle = \"k\"\n";
    let told = told(text);
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[0].starts_with("2:11 hypervisor.console"));
    assert!(told[1].contains("the key `kernel` is missing"));
    assert!(told[2].starts_with("4:8 guest.a.cpus"));
    assert!(told[3].contains("did you mean `kernel`?"));
}

#[test]
fn a_problem_points_at_its_key_or_at_what_is_around_it() {
    let text = guest(
        "[[guest.net.pci]]\nslot = \"01.0\"\npassthrough = { path = \"00:02.0\", id = \"8086:10d3\" }\n",
    );
    let (_, map) = parse(&text).unwrap();
    let at = |path: &str| {
        let problem = Problem { path: path.into(), message: "m".into(), help: "h".into() };
        let found = map.locate(&problem);
        (found.line, found.column, text[found.span].to_string())
    };
    assert_eq!(at("guest.net.pci[0].passthrough.id"), (7, 40, "\"8086:10d3\"".to_string()));
    assert_eq!(at("guest.net.cpus[0]"), (2, 9, "1".to_string()));
    assert_eq!(at("guest.net.max_restarts"), (1, 8, "net".to_string()));
    assert_eq!(at("guest.nobody.cpus").0, 1);
}

#[test]
fn a_configuration_survives_the_bundle_encoding() {
    let (config, _) = parse(TWO_LINUX).unwrap();
    let bytes = postcard::to_allocvec(&config).unwrap();
    assert_eq!(postcard::from_bytes::<Config>(&bytes).unwrap(), config);
    assert!(bytes.len() < 256, "{} bytes", bytes.len());
}

#[test]
fn the_reference_lists_every_table_and_key() {
    let text = reference();
    for header in ["[hypervisor]", "[guest.NAME]", "[[guest.NAME.pci]]", "[guest.NAME.pci.passthrough]"] {
        assert!(text.contains(&format!("## `{header}`")), "{header} in {text}");
    }
    assert!(text.contains("| `memory` | Memory, a multiple of 2 MiB. | `\"256 MiB\"` | required |"));
    assert!(text.contains("`\"halt-all\"`: every guest is stopped"));
    assert!(text.contains("| `\"off\"` | `\"restart\"` |"));
}

/// `BLESS=1 cargo test -p plan reference` writes it anew.
#[test]
fn the_reference_in_the_examples_is_this_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/reference.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, reference()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    assert!(written == reference(), "run: BLESS=1 cargo test -p plan reference");
}

#[test]
fn suggestions_are_close_or_none() {
    let known = vec!["memory", "kernel", "cpus"];
    assert_eq!(reader::closest("cpu", &known), Some("cpus"));
    assert_eq!(reader::closest("Memory", &known), Some("memory"));
    assert_eq!(reader::closest("mem", &known), Some("memory"));
    assert_eq!(reader::closest("banana", &known), None);
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_mangled_configuration_panics(at in 0usize..1100, insert in "[\\[\\]{}=\",.a0\\-\n ]{0,3}", cut in 0usize..8) {
        let mut text: Vec<char> = TWO_LINUX.chars().collect();
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, insert.chars());
        let text: String = text.into_iter().collect();
        if let Err(diagnostics) = parse(&text) {
            proptest::prop_assert!(!diagnostics.is_empty());
        }
    }
}
