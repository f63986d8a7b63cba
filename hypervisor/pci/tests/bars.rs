//! Sizing BARs in the machine.

use access::fake_pci::{FakeConfigSpace, FakeFunction};
use pci::BarKind;
use pci::bar::{BarFault, size_all, size_bars};
use spec::{Bdf, Hpa, Width};

const AT: Bdf = Bdf::new(1, 0, 0);

#[test]
fn sizing_finds_kinds_and_sizes_and_restores_everything() {
    let config = FakeConfigSpace::with([(AT, FakeFunction::e1000e())]);
    config.change(AT, |function| function.put(4, 2, 7));
    let before = config.functions.borrow()[&AT].bytes.clone();
    let bars = size_bars(&config, AT).unwrap();
    let found = bars.map(|bar| bar.map(|bar| (bar.kind, bar.size, bar.host.0)));
    let memory = BarKind::Memory32 { prefetchable: false };
    assert_eq!(found[0], Some((memory, 0x2_0000, 0xfebc_0000)));
    assert_eq!(found[2], Some((BarKind::Io, 32, 0xc040)));
    assert_eq!(found[3], Some((memory, 0x4000, 0xfebb_0000)));
    assert_eq!(found[4], None);
    assert_eq!(config.functions.borrow()[&AT].bytes, before);
    // Decode was off before the first BAR was written, bus mastering as before.
    let writes = config.take_writes();
    assert_eq!(writes.first(), Some(&(AT, 4, Width::Word, 4)));
    assert_eq!(writes.last(), Some(&(AT, 4, Width::Word, 7)));
}

#[test]
fn a_wide_bar_takes_two_registers_and_is_not_truncated() {
    let function = FakeFunction::new(1, 2, 3).memory_bar(2, 1 << 33, 0x80_0000_0000, true, true);
    let config = FakeConfigSpace::with([(AT, function)]);
    let bars = size_bars(&config, AT).unwrap();
    let bar = bars[2].unwrap();
    assert_eq!((bar.kind, bar.size), (BarKind::Memory64 { prefetchable: true }, 1 << 33));
    assert_eq!(bar.host, Hpa(0x80_0000_0000));
    assert_eq!(bars[3], None);
}

#[test]
fn one_bar_that_makes_no_sense_hides_no_other() {
    let mut function = FakeFunction::e1000e().memory_bar(5, 0x1000, 0x8000_0000, true, false);
    function.allow(0x10, 4, 0xfffd_f000);
    function.allow(0x30, 4, 0xffff_f801);
    function.put(0x30, 4, 0xfeb4_0001);
    let config = FakeConfigSpace::with([(AT, function)]);
    let before = config.functions.borrow()[&AT].bytes.clone();
    let mut told = Vec::new();
    let rom = size_all(&config, AT, |number, sized| told.push((number, sized.map(|bar| bar.size))));
    assert_eq!(rom, 0x800);
    assert_eq!(
        told,
        [
            (0, Err(BarFault::Malformed)),
            (1, Ok(0x2_0000)),
            (2, Ok(32)),
            (3, Ok(0x4000)),
            (5, Err(BarFault::HalfMissing))
        ]
    );
    assert_eq!(size_bars(&config, AT), Err((0, BarFault::Malformed)));
    assert_eq!(config.functions.borrow()[&AT].bytes, before);
    for (_, offset, _, value) in config.take_writes() {
        assert!(offset != 0x30 || value & 1 == 0 || value == 0xfeb4_0001, "the ROM was decoded while sized");
    }
}

#[test]
fn registers_of_nobody_are_no_bars() {
    let mut ones = FakeFunction::new(1, 2, 3);
    ones.put(0x10, 4, u32::MAX);
    let config = FakeConfigSpace::with([(AT, ones)]);
    assert_eq!(size_bars(&config, AT), Ok([None; 6]));
    let gone = FakeConfigSpace::default();
    assert_eq!(size_bars(&gone, AT), Ok([None; 6]));
}
