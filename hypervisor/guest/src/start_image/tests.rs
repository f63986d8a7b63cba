use super::*;
use access::fake_processor::StillProcessor;
use access::memory::VecMemory;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

const MIB: u64 = 1 << 20;
/// Two files of a guest.
const FILES: [&[u8]; 2] = [b"the kernel", b"the initial RAM disk"];

fn layout() -> GuestLayout {
    GuestLayout::new(4 * MIB, 1).unwrap()
}

/// An image whose own bytes are `own`; a piece of file 0 has its place in those.
fn image(pieces: &[[u64; 4]], patches: &[[u64; 5]], own: &[u8]) -> Vec<u8> {
    let mut words = vec![pieces.len() as u64, patches.len() as u64, 2 * MIB];
    words.extend((0..16).map(|register| 0x100 + register));
    words.extend([0x10_0000, LONG_MODE.0, 0x8000, LONG_MODE.1, LONG_MODE.2]);
    words.extend([0x1000, 47]);
    words.extend((0..8_u64).flat_map(|number| [(0x10 + number) | 0xa9b << 16 | 0xffff << 32, number << 40]));
    assert_eq!(words.len() as u64, HEADER_WORDS);
    let table = 8 * (words.len() + 4 * pieces.len() + 5 * patches.len()) as u64;
    for [gpa, bytes, offset, file] in pieces {
        words.extend([*gpa, *bytes, offset + if *file == OWN_FILE { table } else { 0 }, *file]);
    }
    words.extend(patches.as_flattened());
    let mut image: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
    image.extend(own);
    image
}

fn place_on(layout: &GuestLayout, memory: &VecMemory, image: &[u8]) -> Result<(), StartError> {
    let file = |number: u64| FILES.get(number.checked_sub(1)? as usize).copied();
    StartImage::parse(image)?.place(memory, layout, file)
}

fn placed(image: &[u8]) -> Result<VecMemory, StartError> {
    let memory = VecMemory::new(4 << 20);
    place_on(&layout(), &memory, image).map(|()| memory)
}

fn bytes(memory: &VecMemory, gpa: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    memory.read(Gpa(gpa), &mut bytes).unwrap();
    bytes
}

#[test]
fn pieces_go_to_their_places() {
    let pieces = [[0x1000, 3, 2, OWN_FILE], [MIB, 6, 4, 1], [MIB + 6, 3, 0, 1], [2 * MIB, 20, 0, 2]];
    let memory = placed(&image(&pieces, &[], b"..own")).unwrap();
    assert_eq!(bytes(&memory, 0xfff, 5), b"\0own\0");
    assert_eq!(bytes(&memory, MIB, 10), b"kernelthe\0");
    assert_eq!(bytes(&memory, 2 * MIB, 21), b"the initial RAM disk\0");
}

#[test]
fn the_first_processor_gets_its_registers() {
    let image = image(&[], &[], b"");
    let mut vcpu = StillProcessor::real();
    vcpu.rflags = 0x202;
    StartImage::parse(&image).unwrap().start(&mut vcpu);
    assert_eq!(vcpu.registers, core::array::from_fn(|register| 0x100 + register as u64));
    assert_eq!((vcpu.rip, vcpu.rflags), (0x10_0000, 2));
    let control = ControlRegisters { cr0: 0x8000_0011, cr3: 0x8000, cr4: 0x20, efer: 0x500, ..vcpu.control };
    assert_eq!(vcpu.control, control);
    for (number, segment) in (0..).zip(vcpu.segments) {
        let expected = Segment {
            selector: 0x10 + number,
            attributes: 0xa9b,
            limit: 0xffff,
            base: u64::from(number) << 40,
        };
        assert_eq!(segment, expected);
    }
    assert_eq!(vcpu.tables, [(0x1000, 47), (0, 0)]);
}

#[test]
fn facts_are_added_to_what_is_there() {
    let low = Fact::LowBytes as u64;
    // 16 bytes whose sum is 0 by the last of them, and 8 more.
    let own = [&1_u64.to_le_bytes()[..], &[0; 7], &[0xff], &MIB.wrapping_neg().to_le_bytes()].concat();
    let patches = [
        [0x2000, 8, Fact::HighBytes as u64, 3, 0x200f],
        [0x2008, 2, Fact::LowKib as u64, 1, 0x200f],
        [0x200a, 1, Fact::HighRanges as u64, 24, 0x200f],
        [0x2010, 8, low, 1, 0],
    ];
    let image = image(&[[0x2000, 24, 0, OWN_FILE]], &patches, &own);
    let memory = VecMemory::new(4 << 20);
    let layout = layout().with_low_memory_end(3 * MIB).unwrap();
    place_on(&layout, &memory, &image).unwrap();
    assert_eq!(memory.read64(Gpa(0x2000)), Ok(1 + 3 * MIB));
    assert_eq!(bytes(&memory, 0x2008, 3), [0, 12, 24]);
    assert_eq!(memory.read64(Gpa(0x2010)), Ok(2 * MIB));
    let sum = bytes(&memory, 0x2000, 16).iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    assert_eq!(sum, 0);
}

#[test]
fn what_has_no_place_is_refused_in_words() {
    let wrong = |piece, expected: &str| {
        let error = placed(&image(&[[0x1000, 1, 0, OWN_FILE], piece], &[], b"own")).err().unwrap();
        assert_eq!(error.to_string(), ["its start image is damaged: piece 1 ", expected].concat());
    };
    for gpa in [4 * MIB, 4 * MIB - 1, 1 << 40, u64::MAX, u64::MAX - 1] {
        wrong([gpa, 2, 0, 1], "has a place where its guest has no memory");
    }
    for (bytes, offset) in [(11, 0), (1, 10), (u64::MAX, 0), (2, u64::MAX), (u64::MAX, u64::MAX)] {
        wrong([MIB, bytes, offset, 1], "reaches past the end of its file");
    }
    for file in [3, u64::MAX] {
        wrong([MIB, 1, 0, file], "is of a file that its guest does not have");
    }
    wrong([0x1000, 1, 0, 1], "does not come after the one before it");
    wrong([0, 1, 0, 1], "does not come after the one before it");
}

#[test]
fn patches_change_pieces_alone() {
    let wrong = |patch, expected: &str| {
        let error = placed(&image(&[[0x1000, 8, 0, OWN_FILE]], &[patch], &[0; 8])).err().unwrap();
        assert_eq!(error.to_string(), ["its start image is damaged: patch 0 ", expected].concat());
    };
    for gpa in [0xfff, 0x1001, 0x2000, 4 * MIB, u64::MAX, u64::MAX - 7] {
        wrong([gpa, 8, 0, 1, 0], "is outside of every piece");
    }
    wrong([0x1000, 8, 0, 1, 0x1008], "is outside of every piece");
    for bytes in [0, 3, 9, u64::MAX] {
        wrong([0x1000, bytes, 0, 1, 0], "has an impossible width");
    }
    wrong([0x1000, 8, 7, 1, 0], "is of an unknown fact");
    wrong([0x1000, 8, u64::MAX, 1, 0], "is of an unknown fact");
}

#[test]
fn forged_counts_and_modes_are_refused() {
    let forged = |index: usize, value: u64| {
        let mut image = image(&[[0x1000, 1, 0, OWN_FILE]], &[[0x1000, 1, 0, 1, 0]], b"own");
        image[8 * index..8 * index + 8].copy_from_slice(&value.to_le_bytes());
        StartImage::parse(&image).map(drop)
    };
    for count in [3, 1 << 32, 1 << 61, u64::MAX] {
        assert_eq!(forged(0, count), Err(StartError::Short), "{count:#x} pieces");
    }
    assert_eq!(forged(1, 3), Err(StartError::Short));
    assert_eq!(forged(1, u64::MAX), Err(StartError::Patches(u64::MAX)));
    // Paging off in long mode, VMXE, SVME, and nothing at all.
    for (index, value) in [(20, 0x11), (22, 0x2020), (23, 0x1500), (20, 0)] {
        assert_eq!(forged(index, value), Err(StartError::Mode));
    }
    let whole = image(&[[0x1000, 1, 0, OWN_FILE]], &[], b"o");
    for length in 0..whole.len() - 1 {
        assert_eq!(StartImage::parse(&whole[..length]).map(drop), Err(StartError::Short));
    }
}

#[test]
fn a_machine_with_too_little_memory_below_4_gib_is_told() {
    let mut image = image(&[], &[], b"");
    image[16..24].copy_from_slice(&(3 * MIB + 1).to_le_bytes());
    let there = layout().with_low_memory_end(3 * MIB).unwrap();
    let error = place_on(&there, &VecMemory::new(4 << 20), &image).unwrap_err();
    assert_eq!(
        error.to_string(),
        "its start image goes up to gpa 0x300001, and on this machine its memory below 4 GiB ends at gpa 0x300000: \
         bridges above its functions claim what follows"
    );
}

proptest! {
    /// Whatever words stand there, an image is placed or refused, and the processor starts in one of
    /// two modes.
    #[test]
    fn no_image_does_more(changes in prop::collection::vec((0usize..64, any::<u64>(), 0u32..64), 0..6)) {
        let pieces = [[0x1000, 3, 2, OWN_FILE], [MIB, 6, 4, 1], [2 * MIB, 20, 0, 2]];
        let mut image = image(&pieces, &[[0x1000, 2, 0, 1, 0x1002]], b"..own");
        for (index, value, shift) in changes {
            let at = 8 * index;
            if let Some(word) = image.get_mut(at..at + 8) {
                word.copy_from_slice(&(value >> shift).to_le_bytes());
            }
        }
        let placed = placed(&image);
        if let Err(error) = &placed {
            prop_assert!(error.to_string().starts_with("its start image "));
        }
        if let Ok(image) = StartImage::parse(&image) {
            let mut vcpu = StillProcessor::real();
            image.start(&mut vcpu);
            let mode = (vcpu.control.cr0, vcpu.control.cr4, vcpu.control.efer);
            prop_assert!(mode == LONG_MODE || mode == PROTECTED_MODE);
        }
    }
}
