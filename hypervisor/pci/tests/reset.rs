//! The reset ladder, with functions that do as they are told and others.

use access::clock::SteppingClock;
use access::fake_pci::{FakeConfigSpace, FakeFunction, ResetBehaviour};
use pci::reset::{OwnedBus, Progress, ResetFault, Stepwise};
use pci::{Quarantine, ResetMethod, ResetPath};
use spec::{Bdf, Width};

const AT: Bdf = Bdf::new(1, 0, 0);
const BRIDGE: Bdf = Bdf::new(0, 3, 0);
const WORKS: ResetBehaviour = ResetBehaviour::Works { silent_reads: 7 };

fn machine(function: FakeFunction) -> FakeConfigSpace {
    FakeConfigSpace::with([(BRIDGE, FakeFunction::bridge(1)), (AT, function)])
}

fn path(config: &FakeConfigSpace) -> ResetPath {
    let path = ResetPath::discover(config, AT).unwrap();
    config.take_writes();
    path
}

/// What the function holds.
fn holds(config: &FakeConfigSpace, at: u16, bytes: u16) -> u32 {
    config.functions.borrow()[&AT].get(at, bytes)
}

fn clock() -> SteppingClock {
    SteppingClock::new(500_000)
}

const ALONE: Option<OwnedBus<'static>> = Some(OwnedBus { bridge: BRIDGE, others: &[] });

#[test]
fn function_level_reset_restores_and_leaves_everything_off() {
    let config = machine(FakeFunction::nvme());
    let path = path(&config);
    config.change(AT, |function| {
        function.put(4, 2, 7);
        function.put(0x42, 2, 0x8040);
        function.put(0x3c, 1, 11);
    });
    let report = path.reset(&config, &clock(), None).unwrap();
    assert_eq!(report.method, ResetMethod::FunctionLevel);
    assert!(report.quiesced && report.failed.iter().all(Option::is_none));
    let after = config.functions.borrow()[&AT].clone();
    assert_eq!(after.get(0x10, 4), 0xfe00_4004);
    assert_eq!(after.get(0x14, 4), 0x8);
    assert_eq!(after.get(4, 2), 0x0400);
    assert_eq!(after.get(0x42, 2), 0x0040);
    assert_eq!(after.get(0x88, 2), 0x2010, "but for no-snoop");
    assert_eq!(after.get(0x3c, 1), 0, "as at boot");
    // Bus mastering was off before anything else.
    assert_eq!(config.writes.borrow()[0], (AT, 4, Width::Word, 0x0403));
    assert_eq!(report.to_string(), "reset by function-level reset");
}

#[test]
fn outstanding_requests_get_time_and_are_reported() {
    let config = machine(FakeFunction::nvme());
    let path = path(&config);
    config.change(AT, |function| function.put(0x8a, 2, 0x20));
    let report = path.reset(&config, &clock(), None).unwrap();
    assert!(!report.quiesced);
    assert!(report.to_string().ends_with("; requests were outstanding"));
}

#[test]
fn the_ladder_climbs_past_resets_that_do_nothing() {
    let mut function = FakeFunction::e1000e();
    let config = machine(function.clone());
    let report = path(&config).reset(&config, &clock(), ALONE).unwrap();
    assert_eq!(report.method, ResetMethod::SecondaryBus);
    assert_eq!(report.failed[2], Some((ResetMethod::PowerState, ResetFault::NotReset)));
    assert!(report.to_string().contains("D3hot and back to D0: the function kept its state"));
    assert_eq!(config.functions.borrow()[&AT].get(0x10, 4), 0xfebc_0000);
    assert_eq!(config.functions.borrow()[&BRIDGE].get(0x3e, 2), 0, "the bus is out of reset");

    function.power_state = WORKS;
    let config = machine(function);
    let report = path(&config).reset(&config, &clock(), ALONE).unwrap();
    assert_eq!(report.method, ResetMethod::PowerState);
    assert_eq!(config.functions.borrow()[&AT].get(0xcc, 2) & 3, 0);
}

#[test]
fn conventional_functions_have_a_rung_of_their_own() {
    let mut function = FakeFunction::new(0x10ec, 0x8139, 0x02_0000)
        .memory_bar(0, 0x1000, 0x8000_0000, false, false)
        .with_advanced_features(0x50);
    function.function_level = WORKS;
    let config = machine(function);
    let path = path(&config);
    assert_eq!(path.methods().collect::<Vec<_>>(), [ResetMethod::AdvancedFeatures]);
    assert_eq!(path.reset(&config, &clock(), None).unwrap().method, ResetMethod::AdvancedFeatures);
    assert_eq!(config.functions.borrow()[&AT].get(0x10, 4), 0x8000_0000);
}

#[test]
fn a_function_that_never_returns_is_quarantined() {
    let mut function = FakeFunction::nvme();
    function.function_level = ResetBehaviour::Kills;
    let config = machine(function.clone());
    let path = path(&config);
    let quarantine = path.reset(&config, &clock(), None).unwrap_err();
    assert_eq!(quarantine.failed[0], Some((ResetMethod::FunctionLevel, ResetFault::NoReturn)));
    let sentence = "01:00.0 is quarantined: no reset worked; \
                    function-level reset: the function did not come back";
    assert_eq!(quarantine.to_string(), sentence);
    // The reset of its bus revives it, where the bus is its guest's alone.
    let report = path.reset(&config, &clock(), ALONE).unwrap();
    assert_eq!(report.method, ResetMethod::SecondaryBus);
    assert_eq!(report.failed[0], Some((ResetMethod::FunctionLevel, ResetFault::Absent)));

    function.bus = ResetBehaviour::Kills;
    let config = machine(function);
    let quarantine = path.reset(&config, &clock(), ALONE).unwrap_err();
    assert_eq!(quarantine.failed[3], Some((ResetMethod::SecondaryBus, ResetFault::NoReturn)));
}

#[test]
fn without_any_way_it_is_quarantined_with_bus_mastering_off() {
    let function =
        FakeFunction::new(0x1234, 0x11e8, 0xff_0000).memory_bar(0, 0x10_0000, 0xfea0_0000, false, false);
    let config = machine(function);
    let path = path(&config);
    config.change(AT, |function| function.put(4, 2, 7));
    let quarantine = path.reset(&config, &clock(), None).unwrap_err();
    assert_eq!(quarantine, Quarantine { function: AT, failed: [None; 4] });
    assert!(quarantine.to_string().contains("offers no reset"));
    assert_eq!(config.functions.borrow()[&AT].get(4, 2), 0x0400);
}

#[test]
fn another_identity_after_the_reset_is_no_success() {
    let mut function = FakeFunction::nvme();
    function.identity_after = Some(0x5678_1234);
    let config = machine(function);
    let quarantine = path(&config).reset(&config, &clock(), None).unwrap_err();
    let fault = ResetFault::Replaced { identity: 0x5678_1234 };
    assert_eq!(quarantine.failed[0], Some((ResetMethod::FunctionLevel, fault)));
    assert!(quarantine.to_string().contains("1234:5678 answers instead"));
}

#[test]
fn a_bar_that_does_not_take_its_address_again_is_no_success() {
    let config = machine(FakeFunction::nvme());
    let path = path(&config);
    config.change(AT, |function| function.allow(0x10, 4, 0));
    let quarantine = path.reset(&config, &clock(), None).unwrap_err();
    let fault = ResetFault::NotRestored { register: 0x10 };
    assert_eq!(quarantine.failed[0], Some((ResetMethod::FunctionLevel, fault)));
}

#[test]
fn a_bus_is_reset_with_all_that_is_on_it_or_not_at_all() {
    let other = Bdf::new(1, 0, 1);
    let config = FakeConfigSpace::with([
        (BRIDGE, FakeFunction::bridge(1)),
        (AT, FakeFunction::e1000e()),
        (other, FakeFunction::nvme()),
    ]);
    let others = [ResetPath::discover(&config, other).unwrap()];
    let bus = Some(OwnedBus { bridge: BRIDGE, others: &others });
    config.change(other, |function| function.put(4, 2, 7));
    path(&config).reset(&config, &clock(), bus).unwrap();
    assert_eq!(config.functions.borrow()[&other].get(0x10, 4), 0xfe00_4004);
    assert_eq!(config.functions.borrow()[&other].get(4, 2), 0x0400);
    // A bridge that leads elsewhere is not touched.
    config.change(BRIDGE, |bridge| bridge.put(0x19, 1, 2));
    config.take_writes();
    let quarantine = path(&config).reset(&config, &clock(), bus).unwrap_err();
    assert_eq!(quarantine.failed[3], Some((ResetMethod::SecondaryBus, ResetFault::WrongBridge)));
    assert!(config.take_writes().iter().all(|write| write.0 != BRIDGE));
}

#[test]
fn an_absent_function_has_no_path() {
    assert!(ResetPath::discover(&FakeConfigSpace::default(), AT).is_none());
}

/// What a port or a function of a device with several needs, so that its requests pass the
/// IOMMU: source validation, translation blocking, both redirects, upstream forwarding.
const SERVICES: u32 = 0x1f;

#[test]
fn the_access_control_services_are_in_force_after_each_reset() {
    let mut function = FakeFunction::nvme().with_access_control(0x150, 0x5f);
    function.put(0x156, 2, SERVICES);
    let config = machine(function);
    let path = path(&config);
    for _ in 0..2 {
        path.reset(&config, &clock(), None).unwrap();
        assert_eq!(holds(&config, 0x156, 2), SERVICES);
    }
    // A function that does not take them again is given to nobody.
    config.change(AT, |function| function.allow(0x156, 2, 0));
    let quarantine = path.reset(&config, &clock(), None).unwrap_err();
    let fault = ResetFault::NotRestored { register: 0x156 };
    assert_eq!(quarantine.failed[0], Some((ResetMethod::FunctionLevel, fault)));
}

#[test]
fn a_reset_of_the_bus_puts_the_services_of_all_its_functions_back() {
    let other = Bdf::new(1, 0, 1);
    let mut function = FakeFunction::nvme().with_access_control(0x150, 0x5f);
    function.put(0x156, 2, SERVICES);
    let config = FakeConfigSpace::with([
        (BRIDGE, FakeFunction::bridge(1)),
        (AT, FakeFunction::e1000e()),
        (other, function),
    ]);
    let others = [ResetPath::discover(&config, other).unwrap()];
    path(&config).reset(&config, &clock(), Some(OwnedBus { bridge: BRIDGE, others: &others })).unwrap();
    assert_eq!(config.functions.borrow()[&other].get(0x156, 2), SERVICES);
}

#[test]
fn resizable_bars_have_their_sizes_again() {
    let function = FakeFunction::nvme()
        .memory_bar(2, 64 << 20, 0x9_0000_0000, true, true)
        .with_resizable_bar(0x200, 2, 6);
    let config = machine(function);
    let path = path(&config);
    path.reset(&config, &clock(), None).unwrap();
    assert_eq!(holds(&config, 0x208, 4) >> 8, 6);
    assert_eq!((holds(&config, 0x18, 4), holds(&config, 0x1c, 4)), (0xc, 9));
    // One that stays at its size after a reset is noticed, although its address fits.
    config.change(AT, |function| function.allow(0x208, 4, 0));
    let quarantine = path.reset(&config, &clock(), None).unwrap_err();
    let fault = ResetFault::NotRestored { register: 0x208 };
    assert_eq!(quarantine.failed[0], Some((ResetMethod::FunctionLevel, fault)));
}

#[test]
fn a_bar_of_another_size_after_the_reset_is_no_success() {
    let config = machine(FakeFunction::nvme());
    let path = path(&config);
    config.change(AT, |function| function.allow(0x10, 4, !0x1fff));
    let quarantine = path.reset(&config, &clock(), None).unwrap_err();
    let fault = ResetFault::NotRestored { register: 0x10 };
    assert_eq!(quarantine.failed[0], Some((ResetMethod::FunctionLevel, fault)));
}

#[test]
fn errors_are_reported_by_nobody_after_a_reset() {
    let mut function = FakeFunction::nvme().with_extended(1, 0x100);
    function.put(0x88, 2, 0x281f);
    for mask in [0x108, 0x114] {
        function.allow(mask, 4, u32::MAX);
    }
    let config = machine(function);
    let path = path(&config);
    path.reset(&config, &clock(), None).unwrap();
    assert_eq!(holds(&config, 0x88, 2), 0x2010);
    assert_eq!((holds(&config, 0x108, 4), holds(&config, 0x114, 4)), (u32::MAX, u32::MAX));
    assert_eq!(holds(&config, 4, 2) & 0x140, 0);
}

#[test]
fn what_reaches_past_the_iommu_is_off_after_a_reset() {
    let mut function = FakeFunction::nvme().with_extended(0xf, 0x100).with_extended(0x10, 0x140);
    for (control, bits) in [(0x106, 0x8000), (0x148, 1)] {
        function.allow(control, 2, bits);
        function.put(control, 2, bits);
    }
    // It comes out of its resets with address translation on.
    let config = machine(function.powered_on());
    let path = path(&config);
    path.reset(&config, &clock(), None).unwrap();
    assert_eq!((holds(&config, 0x106, 2), holds(&config, 0x148, 2)), (0, 0));
    config.change(AT, |function| function.allow(0x106, 2, 0));
    assert!(path.reset(&config, &clock(), None).is_err());
}

#[test]
fn the_proof_decodes_no_ports_and_no_memory_that_moved() {
    let mut function = FakeFunction::e1000e();
    function.power_state = WORKS;
    let config = machine(function);
    let path = path(&config);
    let decoded = |config: &FakeConfigSpace| {
        let writes = config.take_writes();
        writes.iter().filter(|write| write.1 == 4).fold(0, |bits, write| bits | write.3 & 3)
    };
    path.reset(&config, &clock(), None).unwrap();
    assert_eq!(decoded(&config), 2);
    // The guest had its function lose the addresses that it was given.
    config.change(AT, |function| function.put(0x14, 4, 0));
    path.reset(&config, &clock(), None).unwrap();
    assert_eq!(decoded(&config), 0);
    assert_eq!(holds(&config, 0x14, 4), 0xfebe_0000);
}

#[test]
fn a_function_that_takes_long_is_waited_for_and_told_about() {
    let mut function = FakeFunction::nvme();
    // A read each millisecond.
    function.function_level = ResetBehaviour::Works { silent_reads: 9_000 };
    let config = machine(function);
    let path = path(&config);
    let told = std::cell::RefCell::new(Vec::new());
    let note = |function: Bdf, seconds: u64| {
        told.borrow_mut().push((function, seconds));
        true
    };
    let report = path.reset_while(&config, &clock(), None, &note).unwrap();
    assert_eq!(report.method, ResetMethod::FunctionLevel);
    assert_eq!(told.take(), [(AT, 1), (AT, 2), (AT, 4), (AT, 8)]);
    // Whoever waits may have something better to do.
    let quarantine = path.reset_while(&config, &clock(), None, &|_, seconds| seconds < 4).unwrap_err();
    assert_eq!(quarantine.failed[0], Some((ResetMethod::FunctionLevel, ResetFault::NoReturn)));
}

#[test]
fn a_function_that_was_pulled_out_is_not_waited_for() {
    // A root port whose slot is empty, has something in it, or says nothing since there is no slot.
    for (capabilities, status, waits) in [(0x0142, 0, false), (0x0142, 0x40, true), (0x0042, 0, true)] {
        let mut function = FakeFunction::nvme();
        function.bus = ResetBehaviour::Kills;
        let mut port = FakeFunction::bridge(1).with_express(0x54, false);
        port.put(0x56, 2, capabilities);
        port.put(0x6e, 2, status);
        let config = FakeConfigSpace::with([(BRIDGE, port), (AT, function)]);
        let path = path(&config);
        config.change(AT, |function| function.silent = u32::MAX);
        let told = std::cell::Cell::new(0);
        let quarantine = path
            .reset_while(&config, &clock(), ALONE, &|_, seconds| {
                told.set(seconds);
                true
            })
            .unwrap_err();
        let fault = if waits { ResetFault::NoReturn } else { ResetFault::Absent };
        assert_eq!(quarantine.failed[3], Some((ResetMethod::SecondaryBus, fault)));
        assert_eq!(told.get(), if waits { 32 } else { 0 }, "{capabilities:#x}, {status:#x}");
    }
}

#[test]
fn resets_that_are_known_to_do_harm_are_not_tried() {
    let mut function = FakeFunction::nvme();
    function.put(0, 4, 0x148c_1022);
    let config = machine(function.powered_on());
    let path = path(&config);
    assert_eq!(path.methods().count(), 0);
    path.reset(&config, &clock(), None).unwrap_err();
    assert!(config.take_writes().iter().all(|write| write.1 != 0x88 && write.1 != 0x89));
    let report = path.reset(&config, &clock(), ALONE).unwrap();
    assert_eq!(report.method, ResetMethod::SecondaryBus);

    let mut function = FakeFunction::e1000e();
    function.put(0, 4, 0x0030_168c);
    let config = machine(function.powered_on());
    let path = ResetPath::discover(&config, AT).unwrap();
    let quarantine = path.reset(&config, &clock(), ALONE).unwrap_err();
    assert_eq!(quarantine.failed[3], None);
    assert_eq!(config.functions.borrow()[&BRIDGE].get(0x3e, 2), 0);
}

/// Climbs the ladder step by step. How often it was to be come back to, and what came of it.
fn stepwise(config: &FakeConfigSpace, reset: &mut Stepwise) -> (usize, Progress) {
    let mut now_ns = 7;
    reset.begin(config, now_ns);
    for steps in 0.. {
        match reset.step(config, now_ns) {
            Progress::Waits { until_ns } => {
                assert!(until_ns > now_ns, "it waits for something to come");
                now_ns = until_ns;
            }
            over => {
                assert_eq!(reset.step(config, now_ns), over, "it stays so");
                return (steps, over);
            }
        }
    }
    unreachable!("it is over once")
}

/// Nobody who climbs step by step gets somewhere else than who waits.
#[test]
fn step_by_step_the_ladder_leads_to_the_same() {
    let mut revived = FakeFunction::nvme();
    revived.function_level = ResetBehaviour::Kills;
    let mut lost = revived.clone();
    lost.bus = ResetBehaviour::Kills;
    let mut replaced = FakeFunction::nvme();
    replaced.identity_after = Some(0x5678_1234);
    let mut powered = FakeFunction::e1000e();
    powered.power_state = WORKS;
    let mut busy = FakeFunction::nvme();
    busy.put(0x8a, 2, 0x20);
    let functions = [
        FakeFunction::nvme(),
        FakeFunction::e1000e(),
        FakeFunction::new(0x8086, 0x2922, 0x01_0601),
        revived,
        lost,
        replaced,
        powered,
        busy,
    ];
    for (number, function) in functions.into_iter().enumerate() {
        for bus in [None, ALONE] {
            let (waited, stepped) = (machine(function.clone()), machine(function.clone()));
            let before = path(&waited).reset(&waited, &clock(), bus);
            let mut reset = Stepwise::new(path(&stepped), bus.map(|bus| bus.bridge));
            for life in 0..2 {
                let (steps, over) = stepwise(&stepped, &mut reset);
                match &before {
                    Ok(report) if life == 0 => {
                        assert_eq!(over, Progress::Done(report.method), "function {number}");
                        assert!(steps > 0, "function {number}");
                        assert_eq!(
                            holds(&stepped, 4, 2) & 7,
                            holds(&waited, 4, 2) & 7,
                            "function {number}: all off"
                        );
                        assert_eq!(holds(&stepped, 0x10, 4), holds(&waited, 0x10, 4), "function {number}");
                    }
                    Err(quarantine) if life == 0 => {
                        let last = quarantine.failed.iter().flatten().last().map(|(_, fault)| *fault);
                        assert_eq!(over, Progress::Failed(last), "function {number}");
                        assert_eq!(holds(&stepped, 4, 2) & 4, 0, "function {number}: no bus master");
                    }
                    // What it does in a second life the fakes do not all say.
                    _ => {}
                }
            }
        }
    }
}
