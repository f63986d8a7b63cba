//! Reading a function's expansion ROM.
//!
//! The ROM of some functions shares its decoder with their registers (PCI Local Bus
//! Specification 3.0, section 6.2.5.2), so it is read once, while nobody uses the function,
//! and its decoder never turned on again. Guests get the copy.

use access::{ConfigSpace, RegisterWindow};
use spec::address::PAGE_BYTES;
use spec::pci_config::{COMMAND, ROM_BAR, bar, command};
use spec::{Bdf, Hpa};

/// Where the firmware put the ROM of `bytes` bytes, and how many bytes a copy takes. `None`:
/// nowhere, in no whole pages, or its size is none.
pub fn place<C: ConfigSpace + ?Sized>(config: &C, function: Bdf, bytes: u32) -> Option<(Hpa, u64)> {
    let held = config.read32(function, ROM_BAR);
    let place = Hpa(u64::from(held & !bar::ROM_FLAGS & !bar::ROM_ENABLE));
    let sound = place != Hpa(0) && place.is_aligned(PAGE_BYTES) && bytes.is_power_of_two();
    sound.then_some((place, u64::from(bytes).max(PAGE_BYTES)))
}

/// Reads the ROM of `bytes` bytes at `place` through `window` and gives it to `store`, 8 bytes
/// at an offset each, up to whole pages. The function masters nothing meanwhile; afterwards
/// its command register is as before and the ROM's decode off.
pub fn read<C: ConfigSpace + ?Sized, W: RegisterWindow + ?Sized>(
    config: &C,
    function: Bdf,
    (place, taken): (Hpa, u64),
    bytes: u32,
    window: &W,
    mut store: impl FnMut(u64, u64),
) {
    let before = config.read16(function, COMMAND);
    config.write16(function, COMMAND, before & !command::BUS_MASTER | command::MEMORY_SPACE);
    config.write32(function, ROM_BAR, place.0 as u32 | bar::ROM_ENABLE);
    for offset in (0..taken).step_by(8) {
        let half = |at: u64| match at < u64::from(bytes) {
            true => window.read32(at as usize).into(),
            // Behind a ROM of less than a page is nothing, or somebody else.
            false => u64::from(u32::MAX),
        };
        store(offset, half(offset) | half(offset + 4) << 32);
    }
    config.write32(function, ROM_BAR, place.0 as u32);
    config.write16(function, COMMAND, before);
}

#[cfg(test)]
mod tests {
    use super::*;
    use access::fake_pci::{FakeConfigSpace, FakeFunction, FakeWindow};
    use spec::Width;
    use std::vec::Vec;

    const AT: Bdf = Bdf::new(1, 0, 0);

    fn machine(held: u32) -> FakeConfigSpace {
        let mut function = FakeFunction::e1000e();
        function.allow(ROM_BAR, 4, 0xffff_f801);
        function.put(ROM_BAR, 4, held);
        function.put(COMMAND, 2, 0x0404);
        FakeConfigSpace::with([(AT, function)])
    }

    #[test]
    fn a_rom_is_decoded_only_while_it_is_read_and_masters_nothing_then() {
        let config = machine(0xfeb4_0001);
        let window = FakeWindow::new(0x1000);
        window.bytes.borrow_mut().fill(0x5a);
        let place = place(&config, AT, 0x800).unwrap();
        assert_eq!(place, (Hpa(0xfeb4_0000), 0x1000));
        let mut copy = Vec::new();
        read(&config, AT, place, 0x800, &window, |offset, value| {
            assert_eq!(offset, 8 * copy.len() as u64);
            let now = config.functions.borrow()[&AT].get(COMMAND, 2);
            assert_eq!(now & 6, 2, "decoding, not mastering");
            copy.push(value);
        });
        assert_eq!(copy.len(), 512);
        assert!(copy[..256].iter().all(|value| *value == 0x5a5a_5a5a_5a5a_5a5a));
        assert!(copy[256..].iter().all(|value| *value == u64::MAX), "nothing of what is behind it");
        assert!(window.read_log.borrow().iter().all(|(at, bytes)| *bytes == 4 && *at < 0x800));
        let after = config.functions.borrow()[&AT].clone();
        assert_eq!((after.get(COMMAND, 2), after.get(ROM_BAR, 4)), (0x0404, 0xfeb4_0000));
        assert_eq!(config.take_writes().last(), Some(&(AT, COMMAND, Width::Word, 0x0404)));
    }

    #[test]
    fn a_rom_that_is_nowhere_or_of_no_size_is_not_read() {
        assert_eq!(place(&machine(1), AT, 0x1_0000), None);
        assert_eq!(place(&machine(0xfeb4_0801), AT, 0x800), None, "in somebody's page");
        assert_eq!(place(&machine(0xfeb4_0000), AT, 0x1_8000), None);
        assert_eq!(place(&FakeConfigSpace::default(), AT, 0x1_0000), None, "a function that is gone");
    }
}
