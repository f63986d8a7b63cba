//! One image on many machines.

use super::*;
use guest::layout::LOW_MEMORY_END;
use place::LISTS_END;

proptest::proptest! {
    /// Whatever the machine leaves below 4 GiB: a kernel is told of that memory and no other, or the guest is
    /// refused; and what was prepared is the same.
    #[test]
    fn an_image_is_of_no_machine(low_mib in 3u64..4096, memory_mib in 17u64..4096, which in 0usize..3) {
        let kernel = match which {
            0 => bzimage(),
            1 => pvh(MIB, true),
            _ => elf(false, 0x8010_0000, &[code(&header(3, &[]))]),
        };
        let files = GuestFiles { initrd: Some(b"initrd"), ..files(&kernel) };
        let (low, bytes) = (low_mib * MIB, memory_mib * MIB);
        let layout = GuestLayout::new(bytes, 1).unwrap();
        let prepared = prepare(&layout, files).unwrap();
        let fits = prepared.fits(low);
        let there = layout.with_low_memory_end(low).unwrap();
        let memory = VecMemory::new(1 << 30);
        let started = place(&memory, &there, prepared.into_image(), files);
        proptest::prop_assert_eq!(started.is_ok(), fits.is_ok());
        let Ok(started) = started else { return Ok(()) };
        let map = told_map(&memory, &started);
        proptest::prop_assert!(map.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
        let low_bytes = bytes.min(low).min(LOW_MEMORY_END.0);
        let usable: Vec<(u64, u64)> =
            map.iter().filter(|range| range.2 == 1).map(|range| (range.0, range.1)).collect();
        let mut expected = vec![(0, 0x9_fc00), (MIB, low_bytes - MIB)];
        if bytes > low_bytes {
            expected.push((4 << 30, bytes - low_bytes));
        }
        proptest::prop_assert_eq!(usable, expected);
    }
}

/// The memory map as the kernel reads it by its protocol: start, length and type.
fn told_map(memory: &VecMemory, started: &Started) -> Vec<(u64, u64, u64)> {
    let mut vcpu = StillProcessor::real();
    started.apply(&mut vcpu);
    let info = START_INFO.0;
    let (start, step, count) = if vcpu.registers[RAX] == 0x2bad_b002 {
        let kib = read32(memory, info + 8);
        let list = read32(memory, info + 48);
        assert_eq!(kib * 1024, read64(memory, list + 3 * 24 + 12), "what begins at 1 MiB");
        (list + 4, 24, read32(memory, info + 44) / 24)
    } else if vcpu.registers[RSI] == info {
        (info + 0x2d0, 20, bytes(memory, info + 0x1e8, 1)[0].into())
    } else {
        (read64(memory, info + 40), 24, read32(memory, info + 48))
    };
    assert!(start < LISTS_END.0);
    let entry = |at| (read64(memory, at), read64(memory, at + 8), read32(memory, at + 16));
    (0..count).map(|index| entry(start + step * index)).collect()
}

#[test]
fn what_can_be_anywhere_is_where_every_machine_has_memory() {
    let kernel = bzimage();
    let initrd = vec![7; 5 << 20];
    let files = GuestFiles { initrd: Some(&initrd), ..files(&kernel) };
    let large = GuestLayout::new(3 << 30, 1).unwrap();
    let prepared = prepare(&large, files).unwrap();
    assert_eq!(prepared.fits(1 << 30), Ok(()));
    let error = prepared.fits((1 << 30) - 1).unwrap_err();
    assert!(matches!(error, LoadError::NoRoom { what: "the initrd", .. }), "{error}");
    let there = large.with_low_memory_end(512 << 20).unwrap();
    let error = place(&VecMemory::new(16 << 20), &there, prepared.into_image(), files).err().unwrap();
    assert!(matches!(error, StartError::LowMemory { needed: Gpa(0x4000_0000), .. }), "{error}");
}
