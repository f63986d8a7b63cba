//! Two guests at their PCI buses, with passed-through functions of one machine and emulated ones,
//! some of them behind root ports and in devices of several functions: no guest maps anything
//! outside the windows or where its ports do not forward, the hardware holds nothing but what it
//! was given, and no access of a guest reaches anything of the other's.
#![no_main]

use access::fake_pci::{FakeConfigSpace, FakeFunction};
use fuzz::Input;
use fuzz::guest_bus::Guest;
use fuzz::machine::{self, Windows};
use libfuzzer_sys::fuzz_target;
use spec::{Bdf, Hpa};
use vpci::{BarMemory, Slot};

const FIRST: [Bdf; 4] = [Bdf::new(1, 0, 0), Bdf::new(2, 0, 0), Bdf::new(3, 0, 0), Bdf::new(4, 0, 0)];
const SECOND: [Bdf; 2] = [Bdf::new(5, 0, 0), Bdf::new(6, 0, 0)];
/// What both guests share.
const MEMORY: BarMemory = BarMemory { hpa: Hpa(0x7000_0000), bytes: 1 << 20 };

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let shape = input.u8();
    let third = if shape & 0x80 == 0 { FakeFunction::nvme() } else { machine::function(&mut input) };
    let config = FakeConfigSpace::with([
        (FIRST[0], FakeFunction::e1000e()),
        (FIRST[1], FakeFunction::nvme()),
        (FIRST[2], third),
        (FIRST[3], FakeFunction::nvme()),
        (SECOND[0], FakeFunction::e1000e()),
        (SECOND[1], FakeFunction::nvme()),
    ]);
    let windows = [Windows::new(8), Windows::new(8)];
    let mut first = Guest::new(&config, &FIRST, &windows[0]);
    let pin = |bit: u8| shape >> bit & 1 != 0;
    first.give(Slot::new(1, 0), FIRST[0], pin(0), false);
    first.give(Slot::new(2, 0), FIRST[1], pin(1), true);
    first.give(Slot::new(2, 3), FIRST[2], pin(2), false);
    first.port(Slot::new(3, 0));
    first.give(Slot::behind(1, 0), FIRST[3], pin(3), true);
    first.emulate(Slot::behind(1, 5), 0, Some(MEMORY));
    let mut second = Guest::new(&config, &SECOND, &windows[1]);
    second.port(Slot::new(1, 0));
    second.port(Slot::new(1, 1));
    second.emulate(Slot::new(2, 0), 100, Some(MEMORY));
    second.give(Slot::behind(1, 0), SECOND[0], pin(4), false);
    second.give(Slot::behind(2, 0), SECOND[1], pin(5), true);
    second.emulate(Slot::behind(2, 1), 101, None);
    let mut guests = [first, second];
    for guest in &mut guests {
        let _ = guest.bus.place_bars();
    }
    config.take_writes();
    while !input.is_empty() {
        let kind = input.u8();
        let who = usize::from(kind >> 7);
        let others = windows[1 - who].accesses();
        guests[who].step(kind & 0x7f, &mut input);
        guests[who].follow(&mut input);
        guests[who].check();
        assert_eq!(windows[1 - who].accesses(), others, "a register of the other guest's");
        assert!(guests[1 - who].bus.next_effect().is_none());
        windows[who].forget_writes();
        guests[1 - who].check();
    }
});
