//! Who is behind whom, on board files that QEMU gave.

use super::*;
use crate::{Isolation, Reason};
use alloc::string::ToString;
use alloc::vec;

fn bridges() -> Platform {
    serde_json::from_str(include_str!("../../../plan/tests/boards/bridges.json")).unwrap()
}

fn at<'p>(platform: &'p Platform, path: &str) -> &'p Function {
    platform.function_at(&path.parse().unwrap()).unwrap()
}

#[test]
fn a_board_file_reads_back() {
    let platform = bridges();
    let json = serde_json::to_string(&platform).unwrap();
    assert_eq!(serde_json::from_str::<Platform>(&json).unwrap(), platform);
    let compact = postcard::to_allocvec(&platform).unwrap();
    assert_eq!(postcard::from_bytes::<Platform>(&compact).unwrap(), platform);
    assert!(compact.len() * 8 < json.len());
}

/// Whether everything that `file` says is in `read` too.
fn is_within(file: &serde_json::Value, read: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Object};
    match (file, read) {
        (Object(file), Object(read)) => {
            file.iter().all(|(key, value)| read.get(key).is_some_and(|its| is_within(value, its)))
        }
        (Array(file), Array(read)) => {
            file.len() == read.len() && file.iter().zip(read).all(|(one, other)| is_within(one, other))
        }
        (one, other) => one == other,
    }
}

#[test]
fn the_board_files_say_nothing_that_is_not_read() {
    for (name, text) in [
        ("q35", include_str!("../../../../examples/boards/q35.json")),
        ("q35-amdvi", include_str!("../../../../examples/boards/q35-amdvi.json")),
        ("plan's q35", include_str!("../../../plan/tests/boards/q35.json")),
        ("plan's bridges", include_str!("../../../plan/tests/boards/bridges.json")),
    ] {
        let file: serde_json::Value = serde_json::from_str(text).unwrap();
        let platform: Platform = serde_json::from_str(text).unwrap();
        assert!(is_within(&file, &serde_json::to_value(&platform).unwrap()), "{name}");
        assert_eq!(platform.remapping.units.len(), 1, "{name}");
        assert!(platform.functions.iter().all(|function| platform.remapping_unit(function) == Some(0)));
    }
}

#[test]
fn a_board_file_that_is_none_is_refused() {
    let text = include_str!("../../../../examples/boards/q35-amdvi.json");
    let wrong = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        serde_json::from_str::<Platform>(&text.replacen(from, to, 1)).unwrap_err().to_string()
    };
    assert!(wrong("\"base\": \"0xfed80000\"", "\"base\": \"here\"").contains("invalid value"));
    assert!(wrong("\"requester\": \"00:14.0\"", "\"requester\": \"00:20.0\"").contains("invalid value"));
    assert!(wrong("\"io-apic\"", "\"io-apics\"").contains("unknown variant `io-apics`"));
    assert!(wrong("\"functions\": [", "\"function\": [").contains("missing field `functions`"));
}

#[test]
fn sources_of_interrupts() {
    let platform = bridges();
    assert_eq!(platform.io_apic_source(&platform.io_apics()[0]), Some((0, Bdf::new(0xff, 0, 0))));
    assert_eq!(platform.hpet_source(&platform.hpet().unwrap()), None);
    let mut platform = platform;
    let first = platform.io_apics()[0];
    platform.tables.madt.io_apics.insert(0, IoApic { id: 9, base: Hpa(0xfec1_0000), gsi_base: 24 });
    let source = Some((0, Bdf::new(0xff, 0, 0)));
    assert_eq!(platform.io_apic_pin(23), Some(IoApicPin { io_apic: first, pin: 23, source }));
    let beyond = platform.io_apic_pin(25).unwrap();
    assert_eq!((beyond.io_apic.id, beyond.pin, beyond.source), (9, 1, None), "no table names its source");
    assert_eq!(platform.io_apic_pin(24 + 256), None, "no I/O APIC has so many pins");
    platform.tables.madt.io_apics.retain(|io_apic| io_apic.gsi_base != 0);
    assert_eq!(platform.io_apic_pin(23), None);
}

#[test]
fn parents_in_a_loop_come_to_an_end() {
    let mut platform = bridges();
    platform.functions.iter_mut().find(|f| f.bdf == Bdf::new(0, 6, 0)).unwrap().parent =
        Some(Bdf::new(3, 0, 0));
    let function = at(&platform, "00:06.0/00.0/01.0/00.0");
    assert_eq!(platform.bridges_above(function).count(), platform.functions.len());
    // Nobody knows where they meet.
    let other = at(&platform, "00:0a.0");
    assert!(matches!(platform.isolation(function, other), Isolation::Together(Reason::Unknown(_))));
}

#[test]
fn nothing_is_where_no_table_says_so() {
    let platform = Platform::discover(Tables::default(), vec![], &crate::pci::tests::FakeBus::default());
    assert!(platform.functions.is_empty());
    assert_eq!(platform.processors().count(), 0);
    assert_eq!(platform.findings, []);
}

#[test]
fn threads_of_a_core() {
    let with = |highest: u32, leaf: [u32; 4]| {
        thread_bits(move |asked, _| match asked {
            0 => [highest, 0, 0, 0],
            0x0b => leaf,
            other => panic!("leaf {other:#x} is not needed"),
        })
    };
    assert_eq!(with(0x16, [1, 2, 0x100, 0]), 1);
    assert_eq!(with(0x16, [0, 1, 0x100, 0]), 0, "one thread a core");
    assert_eq!(with(0x16, [0, 0, 0, 0]), 0, "the leaf is empty");
    assert_eq!(with(0x16, [4, 8, 0x200, 0]), 0, "no level of threads");
    assert_eq!(with(0x0a, [1, 2, 0x100, 0]), 0, "no such leaf");

    let mut platform = bridges();
    assert!(!platform.share_core(2, 3) && platform.share_core(2, 2));
    platform.thread_bits = 1;
    assert!(platform.share_core(2, 3) && !platform.share_core(1, 2));
    platform.thread_bits = 200;
    assert!(platform.share_core(0, u32::MAX), "a board file that is edited by hand");
}

#[test]
fn processors_are_numbered_from_the_one_that_boots() {
    let mut platform = Platform::default();
    let processor = |apic_id| Processor { apic_id, acpi_uid: apic_id, enabled: true };
    platform.tables.madt.processors = [16, 17, 0, 2].map(processor).into();
    let order = |platform: &Platform| -> Vec<u32> { platform.processors().map(|it| it.apic_id).collect() };
    assert_eq!(order(&platform), [16, 17, 0, 2], "where nobody told");
    platform.set_boot_processor(0);
    assert_eq!(order(&platform), [0, 16, 17, 2]);
    assert_eq!(platform.findings, []);
    // A board file says it too.
    let text = serde_json::to_string(&platform).unwrap();
    assert_eq!(order(&serde_json::from_str(&text).unwrap()), [0, 16, 17, 2]);
    // One that the table does not list, or calls absent, is there all the same.
    for listed in [false, true] {
        platform.tables.madt.processors = [16, 17].map(processor).into();
        if listed {
            platform.tables.madt.processors.push(Processor { enabled: false, ..processor(4) });
        }
        platform.set_boot_processor(4);
        assert_eq!(order(&platform), [4, 16, 17]);
    }
    assert_eq!(platform.findings.len(), 2);
}
