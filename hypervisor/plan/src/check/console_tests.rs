//! Which serial port the console is at, where tables and configurations lie too.

use super::tests::{bridges, config, everyday, plan};
use crate::text::parse;
use crate::{Config, ConsolePlan, Plan};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use platform::acpi::{SerialAddress, SerialInterrupt, SerialPort, SerialRate};
use platform::pci::{Bar, BarKind};
use platform::{MemoryKind, MemoryRegion, Platform};
use spec::{Bdf, Hpa};

/// A guest with these keys and functions, and the console that is said.
fn with_console(console: &str, functions: &[(&str, &str)]) -> Config {
    let mut config = config(&[("one", "cpus = [1]", functions)]);
    let text = format!(
        "[hypervisor]\nconsole = {console}\n[guest.x]\ncpus = [1]\nmemory = \"1 GiB\"\nkernel = \"k\"\n"
    );
    config.hypervisor = parse(&text).unwrap_or_else(|errors| panic!("{text}\n{errors:?}")).0.hypervisor;
    config
}

fn names(plan: &Plan) -> Vec<String> {
    plan.console.iter().map(|port| port.name.to_string()).collect()
}

fn problems(plan: &Plan) -> Vec<String> {
    plan.all_problems().map(ToString::to_string).collect()
}

fn named(addresses: &[SerialAddress]) -> Platform {
    let mut board = everyday();
    let port =
        |address: &SerialAddress| SerialPort { address: *address, rate: SerialRate::Keep, interrupt: None };
    board.tables.serial_ports = addresses.iter().map(port).collect();
    board
}

fn memory(base: u64) -> SerialAddress {
    SerialAddress::Memory { base: Hpa(base), stride: 4, wide: true }
}

/// The everyday machine with a serial card at 00:09.0: BAR 0 at I/O ports, BAR 2 in memory.
fn with_card() -> Platform {
    let mut board = everyday();
    let mut card = board.function_at(&"00:03.0".parse().unwrap()).unwrap().clone();
    card.bdf = Bdf::new(0, 9, 0);
    card.path = "00:09.0".parse().unwrap();
    card.id = "1b36:0002".parse().unwrap();
    card.class = 0x07_0002;
    let bar =
        |index, kind, address, bytes| Bar { index, kind, prefetchable: false, address: Hpa(address), bytes };
    card.bars = Vec::from([
        bar(0, BarKind::Port, 0xd800, 16),
        bar(2, BarKind::Memory32, 0xfd00_0000, 4096),
        bar(3, BarKind::Memory32, 0, 4096),
    ]);
    board.functions.push(card);
    board
}

#[test]
fn without_tables_it_is_com1() {
    let plan = plan(&with_console("\"auto\"", &[]), &everyday());
    assert_eq!((names(&plan), plan.warnings.len()), (Vec::from(["COM1".to_string()]), 0));
    assert_eq!(plan.console[0].address, SerialAddress::Port(0x3f8));
}

#[test]
fn what_the_tables_name_goes_before_com1() {
    let plan =
        plan(&with_console("\"auto\"", &[]), &named(&[SerialAddress::Port(0x2f8), memory(0xfedc_9010)]));
    assert_eq!(names(&plan), ["COM2", "the firmware's serial port at 0xfedc9010 in memory", "COM1"]);
    let interrupts: Vec<_> = plan.console.iter().map(|port| port.interrupt).collect();
    assert_eq!(interrupts, [Some(SerialInterrupt::Isa(3)), None, Some(SerialInterrupt::Isa(4))]);
    assert_eq!(plan.warnings.len(), 0);
    let again = super::tests::plan(&with_console("\"auto\"", &[]), &named(&[SerialAddress::Port(0x3f8)]));
    assert_eq!(names(&again), ["COM1"], "once is enough");
}

#[test]
fn a_named_port_is_that_one_whatever_the_tables_say() {
    let board = named(&[memory(0xfedc_9000)]);
    for (word, port, isa) in [("com1", 0x3f8, 4), ("com2", 0x2f8, 3), ("com3", 0x3e8, 4), ("com4", 0x2e8, 3)]
    {
        let plan = plan(&with_console(&format!("\"{word}\""), &[]), &board);
        let [ConsolePlan { address, interrupt, function, .. }] = &plan.console[..] else {
            panic!("{plan:?}")
        };
        assert_eq!(
            (*address, *interrupt, *function),
            (SerialAddress::Port(port), Some(SerialInterrupt::Isa(isa)), None)
        );
    }
    assert_eq!(plan(&with_console("\"none\"", &[]), &board).console, []);
}

/// Over RAM, interrupt controllers, IOMMUs, the board's own ports: one warning, and COM1.
#[test]
fn tables_that_name_what_is_no_port_are_warned_of_and_left() {
    let said = |address: SerialAddress, edit: &dyn Fn(&mut Platform)| {
        let mut board = named(&[address]);
        edit(&mut board);
        let plan = plan(&with_console("\"auto\"", &[]), &board);
        assert_eq!(
            (names(&plan), problems(&plan)),
            (Vec::from(["COM1".to_string()]), Vec::new()),
            "{address:?}"
        );
        let [warning] = &plan.warnings[..] else { panic!("{:?}", plan.warnings) };
        assert_eq!(warning.path, "hypervisor.console");
        warning.message.strip_prefix("the serial port that the firmware's tables name ").unwrap().to_string()
    };
    let same = |_: &mut Platform| {};
    assert_eq!(said(memory(0x20_0000), &same), "is over memory");
    assert_eq!(said(memory(0xfec0_0000), &same), "is over the registers of an I/O APIC");
    assert_eq!(said(memory(0xfee0_0ff0), &same), "is over the registers of the local APICs");
    assert_eq!(said(memory(0xfed9_0000), &same), "is over the registers of an IOMMU");
    assert_eq!(said(memory(0xfed0_0000), &same), "is over the registers of the event timer (HPET)");
    assert_eq!(said(memory(1 << 60), &same), "is beyond what the processors can address (52 bits)");
    for port in [0x20, 0x60, 0x70, 0xf9, 0xff, 0xcf8, 0xcf4] {
        assert_eq!(
            said(SerialAddress::Port(port), &same),
            "is over I/O ports that are the board's own",
            "{port:#x}"
        );
    }
    // Power management begins at 0x600 there.
    assert_eq!(said(SerialAddress::Port(0x5fd), &same), "is over I/O ports that are the board's own");
    // RAM that a page in the middle of a reserved range is.
    let ram = |board: &mut Platform| {
        board.memory.push(MemoryRegion { start: Hpa(0xfd00_0000), bytes: 8192, kind: MemoryKind::Usable });
    };
    assert_eq!(said(memory(0xfd00_0ff0), &ram), "is over memory");
}

#[test]
fn firmware_that_reserves_the_registers_of_its_port_is_no_objection() {
    let mut board = named(&[memory(0xfedc_9000)]);
    board.memory.push(MemoryRegion { start: Hpa(0xfedc_0000), bytes: 0x2_0000, kind: MemoryKind::Reserved });
    assert_eq!(names(&plan(&with_console("\"auto\"", &[]), &board))[1], "COM1");
}

#[test]
fn a_card_is_found_by_path_and_identity() {
    let board = with_card();
    let at = |keys: &str| {
        plan(&with_console(&format!("{{ path = \"00:09.0\", id = \"1b36:0002\"{keys} }}"), &[]), &board)
    };
    for (keys, address) in [
        ("", SerialAddress::Port(0xd800)),
        (", offset = 8", SerialAddress::Port(0xd808)),
        (", bar = 2, offset = 512", SerialAddress::Memory { base: Hpa(0xfd00_0200), stride: 1, wide: false }),
    ] {
        let plan = at(keys);
        assert_eq!(problems(&plan), [""; 0]);
        let [ConsolePlan { address: found, interrupt, function, rate, .. }] = &plan.console[..] else {
            panic!("{plan:?}")
        };
        assert_eq!((*found, *interrupt, *function), (address, None, Some(Bdf::new(0, 9, 0))));
        assert_eq!(*rate, SerialRate::PC);
    }
    let fast = at(", clock_hz = 14745600");
    assert_eq!(fast.console[0].rate, SerialRate::Set { baud: 115_200, clock_hz: 14_745_600 });
    for (keys, said) in [
        (
            ", offset = 9",
            "offset: 8 registers at 9 do not fit into the 16 bytes of BAR 0; leave the key out for the first port",
        ),
        (
            ", offset = 4294967295",
            "offset: 8 registers at 4294967295 do not fit into the 16 bytes of BAR 0; leave the key out for the first port",
        ),
        (", bar = 1", "bar: 00:09.0 has no BAR 1 with an address; its first usable one is bar = 0"),
        (", bar = 3", "bar: 00:09.0 has no BAR 3 with an address; its first usable one is bar = 0"),
        (
            ", clock_hz = 0",
            "clock_hz: a port without a clock sends nothing; leave the key out for a PC's 1843200",
        ),
    ] {
        let plan = at(keys);
        assert_eq!(
            (problems(&plan), plan.console.len()),
            (Vec::from([format!("hypervisor.console.{said}")]), 0)
        );
    }
}

#[test]
fn what_is_no_serial_card_is_refused() {
    let mut board = with_card();
    let at = |board: &Platform, path: &str, id: &str| {
        problems(&plan(&with_console(&format!("{{ path = \"{path}\", id = \"{id}\" }}"), &[]), board))
    };
    assert_eq!(
        at(&board, "00:1e.0", "1b36:0002"),
        ["hypervisor.console.path: there is no device at 00:1e.0; use another path, or \"com1\""]
    );
    assert_eq!(
        at(&board, "00:09.0", "1b36:0003"),
        [
            "hypervisor.console.id: the device at 00:09.0 is 1b36:0002 and not 1b36:0003; use id = \"1b36:0002\" if that \
          is the one"
        ]
    );
    assert_eq!(
        at(&board, "00:03.0", "1b36:0010"),
        [
            "hypervisor.console.path: the device at 00:03.0 is no serial port but of class 0x0108; use another path, or \
          \"com1\""
        ]
    );
    // BARs are claims: over the I/O APIC, over configuration space.
    let card = board.functions.last_mut().unwrap();
    card.bars[0].address = Hpa(0xcf8);
    assert_eq!(
        at(&board, "00:09.0", "1b36:0002"),
        [
            "hypervisor.console.bar: BAR 0 of 00:09.0 is over I/O ports that are the board's own; let the firmware assign \
          resources anew, or use another port"
        ]
    );
    // Over the ports of another.
    let neighbour = board.functions.iter_mut().find(|function| function.bdf == Bdf::new(0, 3, 0)).unwrap();
    let bar = Bar { index: 1, kind: BarKind::Port, prefetchable: false, address: Hpa(0xd800), bytes: 32 };
    neighbour.bars.push(bar);
    board.functions.last_mut().unwrap().bars[0].address = Hpa(0xd810);
    assert_eq!(
        at(&board, "00:09.0", "1b36:0002"),
        [
            "hypervisor.console.bar: BAR 0 of 00:09.0 is over BAR 1 of 00:03.0; let the firmware assign resources anew, \
             or use another port"
        ]
    );
    let card = board.functions.last_mut().unwrap();
    card.bars[0].kind = BarKind::Memory32;
    card.bars[0].address = Hpa(0xfec0_0000);
    assert_eq!(
        at(&board, "00:09.0", "1b36:0002"),
        [
            "hypervisor.console.bar: BAR 0 of 00:09.0 is over the registers of an I/O APIC; let the firmware assign \
          resources anew, or use another port"
        ]
    );
}

#[test]
fn the_consoles_card_is_no_guests() {
    let mut board = with_card();
    board.functions.last_mut().unwrap().capabilities.advanced_features_reset = true;
    let card = [("00:09.0", "1b36:0002")];
    let refused = "guest.one.pci[0].passthrough.path: the hypervisor's console is at 00:09.0; name another port as \
                   `console` of [hypervisor], such as \"com1\", or pass through another device";
    let by_key = with_console("{ path = \"00:09.0\", id = \"1b36:0002\" }", &card);
    assert!(problems(&plan(&by_key, &board)).contains(&refused.to_string()));
    assert!(!problems(&plan(&with_console("\"com2\"", &card), &board)).contains(&refused.to_string()));
    // The same card by the tables, at ports and in memory.
    for address in [
        SerialAddress::Port(0xd808),
        SerialAddress::Memory { base: Hpa(0xfd00_0000), stride: 1, wide: false },
    ] {
        board.tables.serial_ports =
            Vec::from([SerialPort { address, rate: SerialRate::Keep, interrupt: None }]);
        assert!(
            problems(&plan(&with_console("\"auto\"", &card), &board)).contains(&refused.to_string()),
            "{address:?}"
        );
        assert!(!problems(&plan(&with_console("\"com1\"", &card), &board)).contains(&refused.to_string()));
    }
    assert_eq!(problems(&plan(&with_console("\"com1\"", &[]), &bridges())), [""; 0]);
}
