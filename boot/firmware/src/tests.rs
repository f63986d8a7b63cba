mod machines;

use super::*;
use crate::map::{MEMORY_MAP, MemoryKind};
use access::GuestMemory;
use access::fake_processor::StillProcessor;
use access::memory::VecMemory;
use access::vcpu::{RAX, RBX, RSI, SegmentName};
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use guest::layout::ACPI_AREA;
use guest::start_image::{StartError, StartImage};
use place::{COMMAND_LINE, START_INFO};

const MIB: u64 = 1 << 20;

fn guest() -> (VecMemory, GuestLayout) {
    (VecMemory::new(16 << 20), GuestLayout::new(16 * MIB, 1).unwrap())
}

fn files<'a>(kernel: &'a [u8]) -> GuestFiles<'a> {
    GuestFiles { kernel, initrd: None, modules: &[], command_line: "console=ttyS0", has_display: false }
}

fn refused(kernel: &[u8]) -> LoadError {
    prepare(&guest().1, files(kernel)).unwrap_err()
}

/// A guest's image on a machine: what the hypervisor makes of it.
struct Started(Vec<u8>);

impl Started {
    fn apply(&self, vcpu: &mut StillProcessor) {
        StartImage::parse(&self.0).unwrap().start(vcpu);
    }

    fn rip(&self) -> Gpa {
        let mut vcpu = StillProcessor::real();
        self.apply(&mut vcpu);
        Gpa(vcpu.rip)
    }
}

/// Places an image of `files` in zeroed memory of this layout, as the hypervisor does.
fn place(
    memory: &VecMemory,
    layout: &GuestLayout,
    image: Vec<u8>,
    files: GuestFiles<'_>,
) -> Result<Started, StartError> {
    let contents: Vec<&[u8]> = core::iter::once(files.kernel)
        .chain(files.initrd)
        .chain(files.modules.iter().map(|(_, content)| *content))
        .collect();
    let file = |number: u64| contents.get(number.checked_sub(1)? as usize).copied();
    StartImage::parse(&image)?.place(memory, layout, file)?;
    Ok(Started(image))
}

/// Prepares a guest and places it.
fn load(memory: &VecMemory, layout: &GuestLayout, files: GuestFiles<'_>) -> Result<Started, LoadError> {
    let image = prepare(layout, files)?.into_image();
    Ok(place(memory, layout, image, files).unwrap())
}

fn put(file: &mut [u8], offset: usize, bytes: &[u8]) {
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn bytes(memory: &VecMemory, gpa: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    memory.read(Gpa(gpa), &mut bytes).unwrap();
    bytes
}

fn text(memory: &VecMemory, gpa: u64) -> alloc::string::String {
    let bytes = bytes(memory, gpa, 256);
    let end = bytes.iter().position(|byte| *byte == 0).unwrap();
    core::str::from_utf8(&bytes[..end]).unwrap().to_string()
}

fn read32(memory: &VecMemory, gpa: u64) -> u64 {
    memory.read32(Gpa(gpa)).unwrap().into()
}

fn read64(memory: &VecMemory, gpa: u64) -> u64 {
    memory.read64(Gpa(gpa)).unwrap()
}

const KERNEL_BYTES: usize = 0x1000;

/// A bzImage of protocol 2.15 that prefers 2 MiB and needs 1 MiB.
fn bzimage() -> Vec<u8> {
    let mut file = vec![0; 512 * 3];
    file[0x1f1] = 2;
    put(&mut file, 0x1f4, &((KERNEL_BYTES / 16) as u32).to_le_bytes());
    put(&mut file, 0x1fe, &[0x55, 0xaa, 0xeb, 0x6a]);
    put(&mut file, 0x202, b"HdrS\x0f\x02");
    file[0x211] = 1;
    put(&mut file, 0x22c, &0x7fff_ffffu32.to_le_bytes());
    put(&mut file, 0x230, &0x20_0000u32.to_le_bytes());
    file[0x234] = 1;
    put(&mut file, 0x236, &1u16.to_le_bytes());
    put(&mut file, 0x238, &2047u32.to_le_bytes());
    put(&mut file, 0x258, &(2 * MIB).to_le_bytes());
    put(&mut file, 0x260, &(MIB as u32).to_le_bytes());
    file.extend((0..KERNEL_BYTES).map(|index| index as u8));
    file
}

#[test]
fn bzimage_gets_its_zero_page() {
    let (memory, layout) = guest();
    let kernel = bzimage();
    let initrd = vec![0x5a; 0x1801];
    let entry = load(&memory, &layout, GuestFiles { initrd: Some(&initrd), ..files(&kernel) }).unwrap();
    assert_eq!(entry.rip(), Gpa(2 * MIB + 0x200));
    assert_eq!(bytes(&memory, 2 * MIB, KERNEL_BYTES), kernel[512 * 3..]);
    let page = START_INFO.0;
    assert_eq!(bytes(&memory, page + 0x202, 6), b"HdrS\x0f\x02");
    assert_eq!(bytes(&memory, page + 0x210, 1), [0xff]);
    assert_eq!(read64(&memory, page + 0x70), ACPI_AREA.0);
    assert_eq!(text(&memory, read32(&memory, page + 0x228)), "console=ttyS0");
    let ramdisk = read32(&memory, page + 0x218);
    assert_eq!(read32(&memory, page + 0x21c), 0x1801);
    assert_eq!(ramdisk, 16 * MIB - 0x2000, "as high as it can be, on a page");
    assert_eq!(bytes(&memory, ramdisk, 0x1801), initrd);
    let ranges = bytes(&memory, page + 0x1e8, 1)[0];
    assert_eq!(usize::from(ranges), 7);
    assert_eq!(read64(&memory, page + 0x2d0 + 20 * 3), MIB);
    assert_eq!(read64(&memory, page + 0x2d0 + 20 * 3 + 8), 15 * MIB);
    assert_eq!(read32(&memory, page + 0x2d0 + 20 * 3 + 16), 1);
    assert_eq!(bytes(&memory, page, 0x40), [0; 0x40], "there is no screen");
}

#[test]
fn linux_is_told_of_the_screen_that_there_is() {
    let (memory, layout) = guest();
    load(&memory, &layout, GuestFiles { has_display: true, ..files(&bzimage()) }).unwrap();
    let screen = bytes(&memory, START_INFO.0, 0x40);
    // Mode, columns, no monochrome adapter, rows, VGA, lines of a character.
    assert_eq!((screen[6], screen[7], screen[10], screen[14], screen[15], screen[16]), (3, 80, 3, 25, 1, 16));
    assert_eq!(read64(&memory, START_INFO.0 + 0x70), ACPI_AREA.0);
}

#[test]
fn linux_starts_in_64_bit_mode_on_its_own_tables() {
    let (memory, layout) = guest();
    let mut vcpu = StillProcessor::real();
    vcpu.registers = [7; 16];
    load(&memory, &layout, files(&bzimage())).unwrap().apply(&mut vcpu);
    assert_eq!(vcpu.rip, 2 * MIB + 0x200);
    assert_eq!(vcpu.registers[RSI], START_INFO.0);
    assert_eq!((vcpu.registers[RBX], vcpu.rflags), (0, 2));
    assert_eq!(vcpu.segments[SegmentName::Cs as usize].attributes, 0xa9b);
    let paging = emulator::walk::Paging::of(&vcpu);
    for linear in [0, vcpu.rip, 15 * MIB, 0xffff_ffff] {
        let got = paging.translate(&memory, linear, emulator::walk::Access::Write);
        assert_eq!(got, Ok(Gpa(linear)));
    }
    assert!(paging.translate(&memory, 4 << 30, emulator::walk::Access::Read).is_err());
    // What the selectors say is what the registers hold.
    let (base, limit) = vcpu.tables[0];
    assert_eq!(limit, 47);
    assert_eq!(read64(&memory, base + 0x10), 0x00af_9b00_0000_ffff);
    assert_eq!(read64(&memory, base + 0x18), 0x00cf_9300_0000_ffff);
    assert_eq!(read64(&memory, base + 0x20), 0x0000_8b00_0000_0067);
}

#[test]
fn a_bzimage_that_unpacks_itself_beyond_memory_is_refused() {
    // Loaded lower, it would go to 16 MiB all the same, which is past the end.
    let mut kernel = bzimage();
    put(&mut kernel, 0x258, &(16 * MIB).to_le_bytes());
    for relocatable in [1, 0] {
        kernel[0x234] = relocatable;
        let error = refused(&kernel);
        assert!(matches!(error, LoadError::TooLittleMemory { start: Gpa(0x100_0000), .. }));
        assert!(error.to_string().ends_with("so its guest needs 17 MiB of memory at least"), "{error}");
    }
    // One that would like to be too low goes up.
    put(&mut kernel, 0x258, &0x1000_u64.to_le_bytes());
    kernel[0x234] = 1;
    let (memory, layout) = guest();
    assert_eq!(load(&memory, &layout, files(&kernel)).unwrap().rip(), Gpa(2 * MIB + 0x200));
    kernel[0x234] = 0;
    assert!(matches!(refused(&kernel), LoadError::NoRoom { start: Gpa(0x1000), .. }));
}

#[test]
fn the_bios_data_area_tells_of_memory_below_1_mib() {
    for kernel in [bzimage(), pvh(MIB, true)] {
        let (memory, layout) = guest();
        load(&memory, &layout, files(&kernel)).unwrap();
        let word = |at| read32(&memory, at) as u16;
        assert_eq!((word(0x413), word(0x40e)), (639, 0x9fc0));
        assert_eq!(read32(&memory, 0x9_fc00) as u8, 1, "KiB of the extended area");
        assert!(
            MEMORY_MAP.iter().any(|range| range.start == Gpa(0x9_fc00) && range.kind == MemoryKind::Reserved)
        );
    }
}

#[test]
fn segments_below_1_mib_are_loaded_beside_what_the_loader_has_there() {
    let (memory, layout) = guest();
    // Over the usual places of the command line and the lists.
    let low = |start: u64, bytes| {
        let start = start as u32;
        let mut kernel = header(1 << 16, &[start, start, 0, start + bytes, start]);
        kernel.resize(0x100, 0xcc);
        kernel
    };
    let kernel = low(0x8000, 0x3_0000);
    let modules = [("name", &b"module"[..])];
    let whole = GuestFiles { command_line: "a b", modules: &modules, ..files(&kernel) };
    let mut vcpu = StillProcessor::long(0);
    load(&memory, &layout, whole).unwrap().apply(&mut vcpu);
    assert_eq!(vcpu.rip, 0x8000);
    let info = vcpu.registers[RBX];
    let field = |at: u64| u64::from(read32(&memory, info + at));
    assert_eq!(text(&memory, field(16)), "a b");
    assert!((0x3_8000..0x9_0000).contains(&field(16)) && (0x3_8000..0x9_0000).contains(&field(24)));
    let module = u64::from(read32(&memory, field(24)));
    assert!(module >= MIB, "modules are above");
    assert_eq!(read32(&memory, 0x8010 - 0x10), 0x1bad_b002);
    // The BIOS's own and the loader's own are nobody's.
    for (start, bytes) in [(0x1000, 0x1000), (0x2fff, 0x100), (0x9_f000, 0xd00), (0x9_f000, 0x2000)] {
        assert!(matches!(refused(&low(start, bytes)), LoadError::NoRoom { .. }), "{start:#x}");
    }
    let everything = low(0x3000, 0x9_cc00);
    assert!(matches!(refused(&everything), LoadError::NoRoom { what: "the list of modules", .. }));
}

#[test]
fn bad_bzimages_are_refused() {
    let broken = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut kernel = bzimage();
        change(&mut kernel);
        refused(&kernel)
    };
    assert!(matches!(broken(&|kernel| kernel[0x206] = 0x0b), LoadError::Unsupported(_)));
    assert!(matches!(broken(&|kernel| kernel[0x236] = 0), LoadError::Unsupported(_)));
    assert!(matches!(broken(&|kernel| kernel[0x211] = 0), LoadError::Unsupported(_)));
    assert!(matches!(broken(&|kernel| kernel[0x201] = 0xff), LoadError::Malformed(_)));
    assert!(matches!(broken(&|kernel| kernel[0x201] = 0), LoadError::Malformed(_)));
    assert!(matches!(broken(&|kernel| kernel[0x230] = 3), LoadError::Malformed(_)));
    assert!(matches!(broken(&|kernel| kernel[0x1f1] = 200), LoadError::Malformed(_)));
    assert!(matches!(broken(&|kernel| kernel.truncate(0x900)), LoadError::Malformed(_)));
    assert!(matches!(broken(&|kernel| kernel[0x1f7] = 0xff), LoadError::Malformed(_)));
    assert!(matches!(
        broken(&|kernel| put(kernel, 0x260, &u32::MAX.to_le_bytes())),
        LoadError::TooLittleMemory { .. }
    ));
    for length in 0..0x600 {
        refused(&bzimage()[..length]);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (_, layout) = guest();
    let kernel = bzimage();
    let initrd = vec![0; 14 << 20];
    let load = |files| prepare(&layout, files).map(drop);
    let error = load(GuestFiles { initrd: Some(&initrd), ..files(&kernel) }).unwrap_err();
    assert!(matches!(error, LoadError::NoRoom { what: "the initrd", .. }), "{error}");
    let long = "x".repeat(2048);
    let error = load(GuestFiles { command_line: &long, ..files(&kernel) });
    assert_eq!(error, Err(LoadError::CommandLine(2047)));
    let error = load(GuestFiles { command_line: "a\0b", ..files(&kernel) });
    assert_eq!(error, Err(LoadError::Zero("the command line")));
    let error = load(GuestFiles { modules: &[("m", b"x")], ..files(&kernel) });
    assert!(matches!(error, Err(LoadError::Unsupported(_))));
}

#[derive(Clone, Copy)]
struct Part<'a> {
    kind: u32,
    content: &'a [u8],
    virtual_start: u64,
    physical_start: u64,
    memory_bytes: u64,
}

/// An ELF file of these segments.
fn elf(wide: bool, entry: u64, parts: &[Part<'_>]) -> Vec<u8> {
    let (header, size) = if wide { (64, 56) } else { (52, 32) };
    let mut file = vec![0; header + size * parts.len()];
    put(&mut file, 0, &[0x7f, b'E', b'L', b'F', 1 + u8::from(wide), 1, 1]);
    put(&mut file, 18, &[if wide { 62 } else { 3 }]);
    if wide {
        put(&mut file, 24, &entry.to_le_bytes());
        file[32] = header as u8;
        put(&mut file, 54, &[size as u8, 0, parts.len() as u8]);
    } else {
        put(&mut file, 24, &(entry as u32).to_le_bytes());
        file[28] = header as u8;
        put(&mut file, 42, &[size as u8, 0, parts.len() as u8]);
    }
    for (index, part) in parts.iter().enumerate() {
        let at = header + size * index;
        let numbers = [
            file.len() as u64,
            part.virtual_start,
            part.physical_start,
            part.content.len() as u64,
            part.memory_bytes,
        ];
        put(&mut file, at, &part.kind.to_le_bytes());
        for (field, number) in numbers.iter().enumerate() {
            if wide {
                put(&mut file, at + 8 + 8 * field, &number.to_le_bytes());
            } else {
                put(&mut file, at + 4 + 4 * field, &(*number as u32).to_le_bytes());
            }
        }
        file.extend(part.content);
    }
    file
}

fn code(content: &[u8]) -> Part<'_> {
    Part { kind: 1, content, virtual_start: 0xffff_ffff_8010_0000, physical_start: MIB, memory_bytes: 0x3000 }
}

fn note(entry: u64, wide: bool) -> Vec<u8> {
    let mut note = vec![4, 0, 0, 0, if wide { 8 } else { 4 }, 0, 0, 0, 18, 0, 0, 0];
    note.extend(b"Xen\0");
    note.extend(&entry.to_le_bytes()[..if wide { 8 } else { 4 }]);
    note
}

fn pvh(entry: u64, wide: bool) -> Vec<u8> {
    // Another note before the one that counts.
    let mut notes = vec![3, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0];
    notes.extend(b"GN\0\0hello\0\0\0");
    notes.extend(note(entry, wide));
    let notes_part = Part { kind: 4, content: &notes, virtual_start: 0, physical_start: 0, memory_bytes: 0 };
    elf(true, 0, &[code(&[0xc3; 0x1234]), notes_part])
}

#[test]
fn pvh_gets_its_start_info() {
    for wide in [false, true] {
        let (memory, layout) = guest();
        let kernel = pvh(MIB + 0x40, wide);
        let modules = [("second", &b"two"[..])];
        let files = GuestFiles { initrd: Some(b"first"), modules: &modules, ..files(&kernel) };
        let entry = load(&memory, &layout, files).unwrap();
        assert_eq!(bytes(&memory, MIB, 0x1234), vec![0xc3; 0x1234]);
        assert_eq!(bytes(&memory, MIB + 0x1234, 0x3000 - 0x1234), vec![0; 0x3000 - 0x1234]);

        let info = START_INFO.0;
        assert_eq!(read32(&memory, info), 0x336e_c578);
        assert_eq!(read32(&memory, info + 4), 1);
        assert_eq!(read32(&memory, info + 12), 2);
        assert_eq!(text(&memory, read64(&memory, info + 24)), "console=ttyS0");
        assert_eq!(read64(&memory, info + 32), ACPI_AREA.0);
        let list = read64(&memory, info + 16);
        assert_eq!(bytes(&memory, read64(&memory, list), 5), b"first");
        assert_eq!(read64(&memory, list + 8), 5);
        assert_eq!(bytes(&memory, read64(&memory, list + 32), 3), b"two");
        assert_eq!(text(&memory, read64(&memory, list + 48)), "second");
        let map = read64(&memory, info + 40);
        assert_eq!(read32(&memory, info + 48) as usize, 7);
        assert_eq!((read64(&memory, map + 72), read64(&memory, map + 80)), (MIB, 15 * MIB));

        let mut vcpu = StillProcessor::long(0);
        entry.apply(&mut vcpu);
        assert_eq!((vcpu.rip, vcpu.registers[RBX]), (MIB + 0x40, info));
        assert_eq!((vcpu.control.cr0, vcpu.control.cr4, vcpu.control.efer), (0x11, 0, 0));
        assert_eq!(vcpu.segments[SegmentName::Cs as usize].attributes, 0xc9b);
        assert_eq!(vcpu.segments[SegmentName::Tr as usize].attributes, 0x8b);
    }
}

#[test]
fn bad_elfs_are_refused() {
    assert!(matches!(refused(&pvh(MIB + 0x3000, false)), LoadError::Malformed(_)), "entry outside");
    let long = code(&[0; 0x3001]);
    assert!(matches!(refused(&elf(true, 0, &[long])), LoadError::Malformed(_)), "file above memory");
    let loads = |physical_start, memory_bytes| {
        let entry = note(physical_start, true);
        let notes = Part { kind: 4, content: &entry, virtual_start: 0, physical_start: 0, memory_bytes: 0 };
        let part = Part { physical_start, memory_bytes, ..code(b"code") };
        refused(&elf(true, 0, &[part, notes]))
    };
    for (start, bytes) in [(0x9_f000, 0x1000), (15 * MIB, MIB + 1), (u64::MAX & 0xffff_f000, 0x1000)] {
        assert!(matches!(loads(start, bytes), LoadError::NoRoom { .. }), "{start:x}");
    }
    let notes = note(MIB, false);
    let notes = Part { kind: 4, content: &notes, virtual_start: 0, physical_start: 0, memory_bytes: 0 };
    let twice = elf(true, 0, &[code(b"a"), code(b"b"), notes]);
    assert!(matches!(refused(&twice), LoadError::Overlap { .. }));
    let kernel = pvh(MIB, false);
    for length in 0..kernel.len() {
        refused(&kernel[..length]);
    }
    let mut other = kernel.clone();
    other[18] = 0xb7;
    assert!(matches!(refused(&other), LoadError::Unsupported(_)));
    assert_eq!(refused(b"nothing that is known"), LoadError::Unknown);
}

/// Content that starts with a multiboot header.
fn header(flags: u32, addresses: &[u32]) -> Vec<u8> {
    let mut content = Vec::new();
    for field in [0x1bad_b002, flags, 0u32.wrapping_sub(0x1bad_b002).wrapping_sub(flags)] {
        content.extend(field.to_le_bytes());
    }
    for address in addresses {
        content.extend(address.to_le_bytes());
    }
    content.resize(0x100, 0x90);
    content
}

#[test]
fn multiboot_elf_of_either_size() {
    for wide in [false, true] {
        let (memory, layout) = guest();
        let content = header(3, &[]);
        let part = Part { virtual_start: 0xc010_0000, ..code(&content) };
        let kernel = elf(wide, 0xc010_0040, &[part]);
        let modules = [("one", &b"first"[..]), ("two arg", &b"second"[..])];
        let entry = load(&memory, &layout, GuestFiles { modules: &modules, ..files(&kernel) }).unwrap();

        let info = START_INFO.0;
        assert_eq!(read32(&memory, info), 0b10_0100_1101);
        assert_eq!((read32(&memory, info + 4), read32(&memory, info + 8)), (639, 15 * 1024));
        assert_eq!(text(&memory, read32(&memory, info + 16)), "console=ttyS0");
        assert_eq!(read32(&memory, info + 20), 2);
        let list = read32(&memory, info + 24);
        let start = read32(&memory, list);
        assert_eq!(start, MIB + 0x3000, "right after the kernel");
        assert_eq!(read32(&memory, list + 4) - start, 5);
        assert_eq!(bytes(&memory, start, 5), b"first");
        assert_eq!(read32(&memory, list + 16) % 0x1000, 0);
        assert_eq!(text(&memory, read32(&memory, list + 24)), "two arg");
        let map = read32(&memory, info + 48);
        assert_eq!(read32(&memory, info + 44), 24 * 7 as u64);
        assert_eq!(read32(&memory, map), 20);
        assert_eq!(read64(&memory, map + 72 + 4), MIB);
        assert_eq!(text(&memory, read32(&memory, info + 64)), "bulkhead");

        let mut vcpu = StillProcessor::long(0);
        entry.apply(&mut vcpu);
        assert_eq!(vcpu.rip, MIB + 0x40, "the entry's virtual address, translated");
        assert_eq!((vcpu.registers[RAX], vcpu.registers[RBX]), (0x2bad_b002, info));
        assert_eq!(vcpu.control.cr0, 0x11);
    }
}

#[test]
fn multiboot_by_its_own_addresses() {
    let (memory, layout) = guest();
    let mut kernel = vec![0xaa; 0x20];
    kernel.extend(header(1 << 16, &[0x10_0010, 0x10_0000, 0, 0x10_2000, 0x10_0030]));
    let entry = load(&memory, &layout, files(&kernel)).unwrap();
    assert_eq!(entry.rip(), Gpa(0x10_0030));
    // The header is at 0x20 of the file and 0x10 of the memory.
    assert_eq!(bytes(&memory, MIB, 0x110), kernel[0x10..]);
    assert_eq!(bytes(&memory, MIB + 0x110, 0x10), [0; 0x10]);
}

#[test]
fn bad_multiboot_headers_are_refused() {
    let addresses = |addresses: [u32; 5]| refused(&header(1 << 16, &addresses));
    for fields in [
        // Header before its own load address, load before the file, ends before starts,
        // more than there is, entry outside.
        [0x10_0000, 0x10_0010, 0, 0, 0x10_0010],
        [0x10_0010, 0x10_0000, 0, 0, 0x10_0010],
        [0x10_0000, 0x10_0000, 0xf_0000, 0, 0x10_0000],
        [0x10_0000, 0x10_0000, 0x10_0101, 0, 0x10_0000],
        [0x10_0000, 0x10_0000, 0, 0x10_0001, 0x10_0000],
        [0x10_0000, 0x10_0000, 0, 0, 0x10_0100],
        [0x10_0000, 0x10_0000, 0, 0, 0xf_ffff],
    ] {
        assert!(matches!(addresses(fields), LoadError::Malformed(_)), "{fields:x?}");
    }
    assert!(matches!(addresses([0x1000, 0x1000, 0, 0, 0x1000]), LoadError::NoRoom { .. }));
    assert!(matches!(refused(&header(1 << 3, &[])), LoadError::Unsupported(_)));
    assert!(matches!(refused(&header(0, &[])), LoadError::Malformed(_)), "neither ELF nor addresses");
    let mut checksum = header(0, &[]);
    checksum[8] ^= 1;
    assert_eq!(refused(&checksum), LoadError::Unknown);
    let kernel = header(1 << 16, &[0x10_0000, 0x10_0000, 0, 0, 0x10_0000]);
    for length in 0..32 {
        refused(&kernel[..length]);
    }
    // Outside every segment.
    let content = header(3, &[]);
    assert!(matches!(refused(&elf(false, 0x40, &[code(&content)])), LoadError::Malformed(_)));
}

#[test]
fn errors_are_sentences() {
    for (error, text) in [
        (LoadError::CommandLine(3), "the command line is longer than 3 bytes"),
        (LoadError::Zero("the command line"), "the command line has a zero in it"),
        (
            LoadError::NoRoom { what: "the initrd", start: Gpa(4096), bytes: 5 },
            "the initrd (5 bytes at gpa 0x1000) does not fit into the guest's memory",
        ),
        (
            LoadError::Overlap { what: "a", with: "b", start: Gpa(4096), bytes: 5 },
            "a (5 bytes at gpa 0x1000) would overwrite b",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

proptest::proptest! {
    /// A file with a byte changed loads or is refused; it does nothing else.
    #[test]
    fn changed_files_are_survived(
        which in 0usize..4, offset in 0usize..0x700, value in proptest::prelude::any::<u8>(),
        second in 0usize..0x100, other in proptest::prelude::any::<u8>(),
    ) {
        let content = header(1 << 16, &[0x10_0000, 0x10_0000, 0, 0, 0x10_0000]);
        let mut file = match which {
            0 => bzimage(),
            1 => pvh(MIB, true),
            2 => elf(false, 0x8010_0000, &[code(&content)]),
            _ => content,
        };
        let bytes = file.len();
        file[offset % bytes] = value;
        file[second % bytes] = other;
        let (memory, layout) = guest();
        let modules = [("m", &b"module"[..])];
        let files = GuestFiles { modules: if which == 0 { &[] } else { &modules }, ..files(&file) };
        let _ = load(&memory, &layout, files);
        proptest::prop_assert_eq!(read32(&memory, 0), 0);
        proptest::prop_assert!(COMMAND_LINE.0 > START_INFO.0);
    }
}

#[test]
fn a_file_is_in_the_image_by_its_number_alone() {
    let kernel = bzimage();
    let initrd = vec![7; 8 << 20];
    let files = GuestFiles { initrd: Some(&initrd), ..files(&kernel) };
    let image = prepare(&guest().1, files).unwrap().into_image();
    assert!(image.len() < 64 << 10, "{} bytes", image.len());
}

/// A real kernel, if `BULKHEAD_TEST_KERNEL` names one.
#[test]
fn a_real_kernel() {
    extern crate std;
    let Some(path) = std::env::var_os("BULKHEAD_TEST_KERNEL") else { return };
    let kernel = std::fs::read(path).unwrap();
    let memory = VecMemory::new(256 << 20);
    let layout = GuestLayout::new(256 * MIB, 1).unwrap();
    let started = load(&memory, &layout, files(&kernel)).unwrap();
    assert!(started.rip().0 >= MIB);
}
