//! What a function may not claim, and what does not fit into a guest.

use super::tests::{Ask, config, everyday, problems};
use crate::config::{Backing, Model, PciConfig};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use platform::pci::{Bar, BarKind, Window};
use platform::{DevFn, MemoryKind, MemoryRegion, Platform};
use spec::Hpa;

const NVME: &str = "00:03.0";
const E1000E: &str = "00:02.0/00.0";

/// One guest with the NVMe drive, whose first BAR is at `address` and has `bytes` bytes.
fn board(address: u64, bytes: u64) -> Platform {
    let mut board = everyday();
    let drive = board.functions.iter_mut().find(|it| format!("{}", it.path) == NVME).unwrap();
    let kind = BarKind::Memory64;
    drive.bars = Vec::from([Bar { index: 0, kind, prefetchable: false, address: Hpa(address), bytes }]);
    board
}

const ASK: Ask<'static> = ("a", "cpus = [1]", &[(NVME, "1b36:0010")]);

/// What is said against the drive's BAR there.
fn said(board: &Platform) -> Option<String> {
    let problems = problems(&config(&[ASK]), board);
    assert!(problems.len() < 2, "{problems:?}");
    let said = problems.into_iter().next()?;
    let (said, help) = said.split_once("; ").unwrap();
    assert_eq!(help, "let the firmware assign resources anew, or leave the device out");
    let said = said.strip_prefix("guest.a.pci[0].passthrough.path: BAR 0 of 00:03.0 at ").unwrap();
    let (_, claim) = said.split_once(" to ").unwrap();
    Some(claim.split_once(' ').unwrap().1.into())
}

fn claim(address: u64) -> Option<String> {
    said(&board(address, 0x4000))
}

#[test]
fn a_bar_over_what_is_somebody_elses_is_refused() {
    assert_eq!(claim(0xfe00_0000), None);
    assert_eq!(claim(0x100_0000), Some("is over memory".into()));
    assert_eq!(claim(0xfee0_0000), Some("is over the registers of the local APICs".into()));
    assert_eq!(claim(0xfeef_c000), Some("is over the registers of the local APICs".into()));
    assert_eq!(claim(0xfec0_0000), Some("is over the registers of an I/O APIC".into()));
    assert_eq!(claim(0xb000_0000), Some("is over the configuration space of PCI".into()));
    assert_eq!(claim(0xbfff_c000), Some("is over the configuration space of PCI".into()));
    let unit = everyday().remapping.units[0].base;
    assert_eq!(claim(unit.0 & !0x3fff), Some("is over the registers of an IOMMU".into()));
    let mut board = board(0xfd00_0000, 0x4000);
    board.memory.push(MemoryRegion { start: Hpa(0xfd00_3000), bytes: 0x1000, kind: MemoryKind::Reserved });
    let reserved = "is over a range that the firmware's memory map reserves";
    assert_eq!(said(&board), Some(reserved.into()));
}

#[test]
fn a_bar_over_the_event_timer_or_memory_of_the_firmware_is_refused() {
    let mut timer = board(0xfed0_0000, 0x4000);
    timer.tables.hpet = Some(platform::acpi::Hpet { base: Hpa(0xfed0_1000), ..hpet() });
    assert_eq!(said(&timer), Some("is over the registers of the event timer (HPET)".into()));
}

fn hpet() -> platform::acpi::Hpet {
    everyday().tables.hpet.expect("the machine has one")
}

#[test]
fn a_bar_that_no_processor_reaches_is_refused() {
    let beyond = |bits, address| {
        let mut board = board(address, 0x4000);
        board.address_bits = bits;
        said(&board)
    };
    assert_eq!(beyond(36, 0xf_ffff_c000), None);
    let what = |bits| Some(format!("is beyond what the processors can address ({bits} bits)"));
    assert_eq!(beyond(36, 0x10_0000_0000), what(36));
    assert_eq!(beyond(0, 1 << 52), what(52));
    assert_eq!(beyond(60, 1 << 52), what(52));
    assert_eq!(beyond(0, !0x3fff), what(52));
}

#[test]
fn a_bar_is_where_the_bridges_lead_and_over_no_other() {
    let with_window = |start, bytes, path: &str| {
        let mut board = everyday();
        for port in board.functions.iter_mut().filter(|it| it.bridge.is_some()) {
            port.windows = Vec::new();
        }
        let port = board.functions.iter_mut().find(|it| format!("{}", it.path) == "00:02.0").unwrap();
        port.windows = Vec::from([Window { start: Hpa(start), bytes, prefetchable: false }]);
        let ask: [(&str, &str); 1] = [(path, if path == NVME { "1b36:0010" } else { "8086:10d3" })];
        problems(&config(&[("a", "cpus = [1]", &ask)]), &board)
    };
    assert_eq!(with_window(0xfe60_0000, 0x20_0000, E1000E), Vec::<String>::new());
    let outside = with_window(0x9000_0000, 0x10_0000, E1000E);
    assert_eq!(outside.len(), 3, "{outside:?}");
    assert!(outside.iter().all(|it| it.contains("is outside of what the bridge 00:02.0 leads to")));
    // The drive is not behind that port, so accesses to it would go astray.
    let board = everyday();
    let drive = board.functions.iter().find(|it| format!("{}", it.path) == NVME).unwrap();
    let start = drive.bars[0].address.0 & !0xf_ffff;
    let inside = with_window(start, 0x10_0000, NVME);
    assert_eq!(inside.len(), 1, "{inside:?}");
    assert!(inside[0].contains("is in what the bridge 00:02.0 leads to, and the device is not behind it"));
}

#[test]
fn bars_that_overlap_are_refused_even_in_one_device() {
    let mut board = board(0xfd00_0000, 0x4000);
    let drive = board.functions.iter_mut().find(|it| format!("{}", it.path) == NVME).unwrap();
    let again = Bar { index: 2, address: Hpa(0xfd00_2000), bytes: 0x1000, ..drive.bars[0] };
    drive.bars.push(again);
    let said = problems(&config(&[ASK]), &board);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("BAR 0 of 00:03.0 at 0xfd000000 to 0xfd004000 is over BAR 2 of 00:03.0"));
    assert!(said[1].contains("is over BAR 0 of 00:03.0"));
}

#[test]
fn a_range_of_devices_that_the_firmware_reserves_is_no_objection() {
    // Some firmware reserves all that its host bridge leads to.
    let mut board = everyday();
    let region = |start, bytes| MemoryRegion { start: Hpa(start), bytes, kind: MemoryKind::Reserved };
    board.memory.push(region(0xc000_0000, 0x3ec0_0000));
    let ask = config(&[("a", "cpus = [1]", &[(E1000E, "8086:10d3")])]);
    assert_eq!(problems(&ask, &board), Vec::<String>::new());
    // Or all between memory and 4 GiB, the interrupt controllers with it.
    let mut board = everyday();
    board.functions.retain(|function| format!("{}", function.path).starts_with("00:02.0"));
    board.memory.push(region(0xfe60_0000, 0x10_0000));
    assert_eq!(problems(&ask, &board).len(), 3, "nobody else is in it");
    board.memory.push(region(0x8000_0000, 0x8000_0000));
    board.memory.retain(|region| region.start != Hpa(0xfe60_0000));
    assert_eq!(
        problems(&config(&[("a", "cpus = [1]", &[(E1000E, "8086:10d3")])]), &board),
        Vec::<String>::new()
    );
}

#[test]
fn what_does_not_fit_into_the_guests_windows_is_said_with_the_window() {
    let mut board = board(0x40_0000_0000, 256 << 30);
    let said = problems(&config(&[ASK]), &board);
    assert_eq!(
        said,
        [
            "guest.a.pci[0].passthrough.path: BAR 0 of 00:03.0 needs 256 GiB of the guest's room for devices, and \
          its window above 4 GiB, of 128 GiB from 0x2000000000, cannot hold it; make its BAR smaller (Resizable \
          BAR in the firmware), or leave a device out"
        ]
    );
    let drive = board.functions.iter_mut().find(|it| format!("{}", it.path) == NVME).unwrap();
    drive.bars[0].bytes = 128 << 30;
    assert_eq!(problems(&config(&[ASK]), &board), Vec::<String>::new());
    // Two that fit alone do not fit together; ports are no part of it.
    let drive = board.functions.iter_mut().find(|it| format!("{}", it.path) == NVME).unwrap();
    let half = drive.bars[0];
    drive.bars.push(Bar { index: 2, address: Hpa(0x80_0000_0000), ..half });
    let said = problems(&config(&[ASK]), &board);
    assert!(said.len() == 1 && said[0].contains("BAR 2 of 00:03.0 needs 128 GiB"), "{said:?}");
}

#[test]
fn the_bars_of_emulated_functions_need_room_too() {
    // Nothing above 4 GiB, and 16 KiB less than the window below it.
    let mut board = board(0x8000_0000, 0x1000_0000);
    board.address_bits = 32;
    let drive = board.functions.iter_mut().find(|it| format!("{}", it.path) == NVME).unwrap();
    let first = drive.bars[0];
    let others = (1..15).map(|shift| Bar { bytes: 0x1000_0000 >> shift, index: 2, ..first });
    drive.bars.extend(others);
    let ask = |drives: u8| {
        let mut config = config(&[ASK]);
        let slots = (0..drives).map(|number| {
            let backing = Backing { image: Some("root.img".into()), ..Backing::default() };
            let place = config.guest["a"].pci[0].clone();
            PciConfig {
                slot: DevFn::new(number + 2, 0),
                passthrough: None,
                emulate: Some(Model::Nvme),
                backing: Some(backing),
                ..place
            }
        });
        let slots: Vec<_> = slots.collect();
        config.guest.get_mut("a").unwrap().pci.extend(slots);
        let said = problems(&config, &board);
        said.into_iter().filter(|said| said.contains("room for devices")).collect::<Vec<_>>()
    };
    assert_eq!(ask(1), Vec::<String>::new());
    assert_eq!(
        ask(2),
        [
            "guest.a.pci[2].emulate: the BAR of the emulated function in slot 03.0 needs 16384 bytes of the guest's \
             room for devices, and its window above 4 GiB, of 0 bytes from 0x100000000, cannot hold it; make its \
             BAR smaller (Resizable BAR in the firmware), or leave a device out"
        ]
    );
}

#[test]
fn a_guest_fits_what_its_processors_can_address() {
    let mut board = board(0xfe00_0000, 0x4000);
    board.address_bits = 36;
    board.memory.push(MemoryRegion { start: Hpa(1 << 32), bytes: 60 << 30, kind: MemoryKind::Usable });
    let ask = |memory: &str| {
        problems(&config(&[("a", &format!("cpus = [1]\nmemory = \"{memory}\""), &[])]), &board)
    };
    assert_eq!(ask("31 GiB"), Vec::<String>::new());
    assert_eq!(
        ask("33 GiB"),
        [
            "guest.a.memory: 33 GiB are more than a guest of these processors can address; give it \"31 GiB\" or less"
        ]
    );
}
