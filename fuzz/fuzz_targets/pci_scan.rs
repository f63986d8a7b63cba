//! Configuration space: whatever the machine's functions say, the scan ends, leaves
//! their decoders as they were, and what it finds can be given away or is refused.
#![no_main]

use fuzz::Input;
use fuzz::machine::{self, Moody, Windows};
use libfuzzer_sys::fuzz_target;
use pci::ResetPath;
use platform::acpi::Ecam;
use platform::{Platform, Tables};
use spec::{Hpa, Width};
use vpci::{Grant, GuestBus, PassedThrough, Slot};

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let ecam = Ecam { base: Hpa(0xb000_0000), segment: 0, first_bus: 0, last_bus: input.u8() & 7 };
    let grants = input.u8();
    let functions = machine::functions(&mut input);
    let config = Moody::new(&functions, &mut input);
    let before = machine::decoders(&functions);

    let tables = Tables { ecam: vec![ecam], ..Tables::default() };
    let platform = Platform::discover(tables, Vec::new(), &config);
    if config.is_honest() {
        assert_eq!(machine::decoders(&functions), before);
    }
    machine::check(&platform);

    let windows = Windows::new(16);
    let mut bus = GuestBus::new(vpci::Windows::STANDARD, 31);
    let grant = Grant { interrupt_line: (grants & 1 != 0).then_some(17), rom: None, bars: None };
    for (number, function) in (1..32).zip(&platform.functions) {
        let _ = ResetPath::discover(&config, function.bdf).map(|path| path.methods().count());
        let before = machine::decoders(&functions);
        let discovered = PassedThrough::discover(&config, function.bdf, &grant, |_, _| windows.open());
        if config.is_honest() {
            assert_eq!(machine::decoders(&functions), before);
        }
        let Ok(mut given) = discovered else { continue };
        given.start();
        let _ = bus.insert(Slot::new(number, 0), given);
    }
    let _ = bus.place_bars();
    for number in 0..=32 {
        let slot = Slot::new(number, 0);
        machine::walk_as_guest(|offset, width| bus.config_read(slot, offset, width));
        for offset in (0..4096).step_by(44) {
            bus.ecam_read(u64::from(slot.0) << 12 | offset, Width::Dword);
        }
        if bus.function(slot).is_none() && number > 0 {
            break;
        }
    }
});
