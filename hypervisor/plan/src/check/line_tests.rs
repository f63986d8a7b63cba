//! Interrupt lines: who gets one, and every reason why not.

use super::tests::{bridges, config, plan, problems};
use crate::LinePlan;
use crate::config::{Config, Model, NetworkConfig, PciConfig};
use alloc::string::String;
use alloc::vec::Vec;
use platform::{DeviceId, Function, Platform};
use spec::{Bdf, Hpa};

const E1000: (&str, &str) = ("00:04.0/01.0", "8086:100e");
const RTL8139: (&str, &str) = ("00:04.0/02.0", "10ec:8139");

/// The machine with bridges, but nobody at its root besides the bridge with the e1000 (GSI
/// 21) and the rtl8139 (GSI 22).
fn quiet() -> Platform {
    let mut board = bridges();
    board.functions.retain(|function| {
        let first = function.path.hops.first().map_or(0, |hop| hop.device());
        function.bdf.bus() < 0x80 && matches!(first, 0 | 4 | 0x1f)
    });
    board
}

/// The same machine if nobody knew it.
fn unknown() -> Platform {
    let mut board = quiet();
    board.functions[0].subsystem = Some(DeviceId { vendor: 0x1043, device: 0x8534 });
    board
}

fn guest(functions: &[(&str, &str)]) -> Config {
    config(&[("a", "cpus = [1]", functions)])
}

fn with_gsi(mut config: Config, index: usize, gsi: u32) -> Config {
    config.guest.get_mut("a").unwrap().pci[index].gsi = Some(gsi);
    config
}

fn lines(config: &Config, board: &Platform) -> Vec<Option<LinePlan>> {
    let plan = plan(config, board);
    assert_eq!(plan.all_problems().count(), 0, "{plan:?}");
    plan.guests[0].functions.iter().map(|function| function.line).collect()
}

/// The one problem.
fn problem(config: &Config, board: &Platform) -> String {
    let mut problems = problems(config, board);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

fn edit(board: &mut Platform, bdf: Bdf, change: impl Fn(&mut Function)) {
    board.functions.iter_mut().filter(|function| function.bdf == bdf).for_each(change);
}

#[test]
fn a_function_without_messages_gets_its_line_on_a_machine_that_is_known() {
    let io_apic = Hpa(0xfec0_0000);
    let source = Bdf::new(0xff, 0, 0);
    let line = |gsi: u32| Some(LinePlan { gsi, io_apic, pin: gsi as u8, source, intx: 0 });
    assert_eq!(lines(&guest(&[E1000, RTL8139]), &quiet()), [line(21), line(22)]);
}

#[test]
fn elsewhere_the_configuration_says_where_it_ends() {
    assert_eq!(
        problem(&guest(&[E1000]), &unknown()),
        "guest.a.pci[0].passthrough.path: 00:04.0/01.0 has neither MSI nor MSI-X, and where its INTA ends stands \
         only in the firmware's code; say it with gsi = N, the number that Linux on this machine shows before \
         `-fasteoi` in /proc/interrupts"
    );
    let said = lines(&with_gsi(guest(&[E1000]), 0, 18), &unknown());
    assert_eq!(said[0].map(|line| (line.gsi, line.pin)), Some((18, 18)));
}

#[test]
fn a_board_file_may_know_it() {
    let mut board = unknown();
    edit(&mut board, Bdf::new(1, 1, 0), |function| function.gsi = Some(19));
    assert_eq!(
        problem(&guest(&[E1000]), &board),
        "guest.a.pci[0].passthrough.path: 00:04.0/01.0 has neither MSI nor MSI-X, and where its INTA ends stands \
         only in the firmware's code; say it with gsi = 19",
        "at boot it is not known"
    );
    assert_eq!(lines(&with_gsi(guest(&[E1000]), 0, 19), &board)[0].map(|line| line.gsi), Some(19));
    assert_eq!(
        problem(&with_gsi(guest(&[E1000]), 0, 18), &board),
        "guest.a.pci[0].gsi: INTA of 00:04.0/01.0 ends at global system interrupt 19 and not 18; use gsi = 19"
    );
}

#[test]
fn a_shared_line_is_nobodys() {
    let board = bridges();
    // 00:05.0/00.0 takes the same turn as the e1000 behind the bridge at 00:04.0.
    assert_eq!(
        problem(&guest(&[E1000]), &board),
        "guest.a.pci[0].passthrough.path: 00:04.0/01.0 shares its interrupt line, global system interrupt 21, with \
         00:05.0/00.0; plug one of the two elsewhere, or pass through a device with MSI or MSI-X"
    );
    let both = with_gsi(with_gsi(guest(&[E1000, RTL8139]), 0, 18), 1, 18);
    let problems = problems(&both, &unknown());
    assert_eq!(problems.len(), 2, "the configuration itself says that they share: {problems:?}");
    assert!(problems[0].contains("with 00:04.0/02.0") && problems[1].contains("with 00:04.0/01.0"));
}

#[test]
fn lines_that_meet_on_the_way_are_shared_wherever_they_end() {
    let mut board = unknown();
    // Slot 5 of the bridge takes the same turn as slot 1.
    let mut twin = board.function(Bdf::new(1, 1, 0)).unwrap().clone();
    twin.bdf = Bdf::new(1, 5, 0);
    twin.path = "00:04.0/05.0".parse().unwrap();
    twin.bars.clear();
    board.functions.push(twin);
    let problem = problem(&with_gsi(guest(&[E1000]), 0, 18), &board);
    assert!(problem.contains("global system interrupt 18, with 00:04.0/05.0"), "{problem}");
}

#[test]
fn a_bridge_on_the_line_is_the_hypervisors_and_silent() {
    let mut board = quiet();
    edit(&mut board, Bdf::new(0, 4, 0), |bridge| {
        bridge.interrupt = bridge.interrupt.map(|mut its| {
            its.pin = 1;
            its
        })
    });
    assert!(lines(&guest(&[E1000]), &board)[0].is_some());
}

#[test]
fn inputs_of_the_board_and_of_nobody_are_refused() {
    assert_eq!(
        problem(&with_gsi(guest(&[E1000]), 0, 9), &unknown()),
        "guest.a.pci[0].gsi: global system interrupt 9 of 00:04.0/01.0 is in use by the board itself; pass through \
         a device with MSI or MSI-X"
    );
    assert_eq!(
        problem(&with_gsi(guest(&[E1000]), 0, 400), &unknown()),
        "guest.a.pci[0].gsi: no I/O APIC has an input for global system interrupt 400 of 00:04.0/01.0; pass through \
         a device with MSI or MSI-X"
    );
    let mut board = quiet();
    board.remapping.units.iter_mut().for_each(|unit| unit.io_apics.clear());
    assert_eq!(
        problem(&guest(&[E1000]), &board),
        "guest.a.pci[0].passthrough.path: the firmware does not say under which number the IOMMU knows the I/O APIC \
         of global system interrupt 21 of 00:04.0/01.0; pass through a device with MSI or MSI-X"
    );
}

#[test]
fn a_function_without_a_pin_has_no_line() {
    let mut board = quiet();
    edit(&mut board, Bdf::new(1, 1, 0), |function| function.interrupt = None);
    assert_eq!(lines(&guest(&[E1000]), &board), [None], "its driver polls");
    assert_eq!(
        problem(&with_gsi(guest(&[E1000]), 0, 21), &board),
        "guest.a.pci[0].gsi: 00:04.0/01.0 has no interrupt pin; remove the key"
    );
}

#[test]
fn two_lines_do_not_meet_in_the_guest() {
    let mut config = guest(&[E1000, RTL8139]);
    config.guest.get_mut("a").unwrap().pci[1].slot = "09.0".parse().unwrap();
    assert_eq!(
        problem(&config, &quiet()),
        "guest.a.pci[1].slot: in the guest, the interrupt line of 00:04.0/02.0 in slot 09.0 would be that of slot \
         01.0; use the next slot"
    );
}

#[test]
fn a_function_of_another_guest_that_says_it_has_no_pin_is_not_believed() {
    let mut board = quiet();
    board.remapping.units[0].serves_rest = true;
    edit(&mut board, Bdf::new(1, 2, 0), |function| {
        function.interrupt = None;
        function.path = "00:1d.0".parse().unwrap();
        function.bdf = Bdf::new(0, 0x1d, 0);
        function.parent = None;
        function.bars.clear();
    });
    assert!(lines(&guest(&[E1000]), &board)[0].is_some(), "the board's own functions are believed");
    let silent = ("00:1d.0", "10ec:8139");
    let two = |board: &Platform| {
        let config = config(&[("a", "cpus = [1]", &[E1000]), ("b", "cpus = [2]", &[silent])]);
        problems(&config, board)
    };
    assert_eq!(two(&board), [""; 0], "its pins end at the inputs 16 to 19");
    let moved = |device: u8| {
        let mut board = board.clone();
        edit(&mut board, Bdf::new(0, 0x1d, 0), |function| {
            function.bdf = Bdf::new(0, device, 0);
            function.path = alloc::format!("00:{device:02x}.0").parse().unwrap();
        });
        let path = alloc::format!("00:{device:02x}.0");
        let config =
            config(&[("a", "cpus = [1]", &[E1000]), ("b", "cpus = [2]", &[(path.as_str(), "10ec:8139")])]);
        problems(&config, &board)
    };
    assert_eq!(
        moved(9),
        [
            "guest.a.pci[0].passthrough.path: 00:04.0/01.0 shares its interrupt line, global system interrupt 21, with \
             00:09.0, whose word that it has no pin nothing holds it to; plug one of the two elsewhere, or pass through \
             a device with MSI or MSI-X"
        ]
    );
    // Where the wires lead is not known, but that they meet is.
    let mut board = unknown();
    edit(&mut board, Bdf::new(1, 2, 0), |function| function.interrupt = None);
    let both = config(&[("a", "cpus = [1]", &[E1000]), ("b", "cpus = [2]", &[RTL8139])]);
    let problems = problems(&with_gsi(both, 0, 18), &board);
    assert!(problems.iter().any(|told| told.contains("whose word that it has no pin")), "{problems:?}");
}

#[test]
fn an_emulated_functions_line_is_not_one_of_the_machines() {
    let mut config = guest(&[E1000]);
    config.network.insert("lan".into(), NetworkConfig { uplink: None });
    let pci = &mut config.guest.get_mut("a").unwrap().pci;
    let emulated = PciConfig {
        slot: "09.0".parse().unwrap(),
        passthrough: None,
        emulate: Some(Model::Ne2000),
        network: Some("lan".into()),
        ..pci[0].clone()
    };
    pci.push(emulated);
    assert_eq!(
        problem(&config, &quiet()),
        "guest.a.pci[0].slot: in the guest, the interrupt line of 00:04.0/01.0 in slot 01.0 would be that of slot \
         09.0; use the next slot"
    );
    config.guest.get_mut("a").unwrap().pci[1].slot = "0a.0".parse().unwrap();
    assert_eq!(problems(&config, &quiet()), [""; 0]);
}
