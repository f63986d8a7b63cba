//! Writes the corpus: for each target a few inputs that are right, for the fuzzer to
//! start from. Run it in this folder, and look at what changed before it is committed.

use firmware::GuestFiles;
use fuzz::firmware::{DSDT, SIGNATURES};
use guest::layout::GuestLayout;
use handoff::{Builder, ItemKind, Program};
use plan::Config;
use std::fs;
use std::io;
use std::path::Path;

mod drivers;

fn main() -> io::Result<()> {
    for (target, seeds) in [
        ("config_toml", config_toml()),
        ("bundle", bundle()),
        ("acpi_tables", acpi_tables()),
        ("pci_scan", pci_scan()),
        ("pci_guest", pci_guest()),
        ("decode", decode()),
        ("execute", execute()),
        ("loader", loader()),
        ("start_image", start_image()),
        ("chipset", chipset()),
        ("nvme", drivers::nvme()),
        ("virtio_blk", drivers::virtio_blk()),
        ("virtio_character", drivers::virtio_character()),
        ("nvme_driver", drivers::nvme_driver()),
        ("switch", drivers::switch()),
        ("network_backend", drivers::network_backend()),
        ("e1000e", drivers::e1000e()),
        ("igb", drivers::igb()),
        ("ahci", drivers::ahci()),
        ("vtd", vtd()),
        ("amdvi", amdvi()),
    ] {
        let folder = Path::new("corpus").join(target);
        fs::create_dir_all(&folder)?;
        for (name, bytes) in seeds {
            fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(())
}

type Seeds = Vec<(&'static str, Vec<u8>)>;

fn config_toml() -> Seeds {
    let every_key = r#"[hypervisor]
console = "none"
io = "guest"
runs_in = "ring3"
kill = ["a:03.0@2500"]
[guest.a]
cpus = [1, 2]
memory = "1 GiB"
kernel = "k"
modules = ["m", "n"]
on_power_off = "halt-all"
on_reboot = "restart"
on_crash = "off"
max_restarts = 3
expect = "running"
[[guest.a.pci]]
slot = "01.0"
passthrough = { path = "00:1c.0/00.0", id = "8086:10d3" }
allow_reserved_memory = true
[[guest.a.pci]]
slot = "02.0"
emulate = "nvme"
runs_in = "hypervisor"
backing = { image = "root.img" }
[[guest.a.pci]]
slot = "03.0"
emulate = "virtio-rng"
runs_in = "ring3"
ring = "split"
"#;
    let wrong = "guest = 1\n[guest.\"b c\"]\ncpu = [-1, 0x7fffffff]\nmemory = \"3 MB\"\nkernel = '''\n!'''\n\
                 [[guest.\"b c\".pci]]\nslot = \"01.0\"\nemulate = \"bochs-display\"\nruns_in = \"ring3\"\n";
    vec![
        ("two-linux", include_bytes!("../../../examples/two-linux.toml").to_vec()),
        ("every-key", every_key.into()),
        ("wrong", wrong.into()),
        ("no-toml", b"[guest\n= \xc3\xa9".to_vec()),
    ]
}

fn configuration() -> Config {
    let (config, _) = plan::text::parse(include_str!("../../../examples/two-linux.toml"))
        .expect("the example's configuration");
    config
}

fn bundle() -> Seeds {
    let empty = Builder::new(&Config::default()).and_then(Builder::build).expect("a bundle");
    let mut whole = Builder::new(&configuration()).expect("a bundle");
    let program =
        Program { address: 0x40_0000, entry: 0x40_0000, text: &[0x0f, 0x0b], rodata: &[1], data: &[2], zero_bytes: 8 };
    let program = program.to_bytes();
    for (kind, guest, name, contents) in [
        (ItemKind::Kernel, "net", "vmlinuz", &b"kernel"[..]),
        (ItemKind::Kernel, "disk", "vmlinuz", b"kernel"),
        (ItemKind::Initrd, "net", "net.cpio", b"070701"),
        (ItemKind::Module, "net", "b", b""),
        (ItemKind::Module, "net", "a", b"module"),
        (ItemKind::Start, "net", "start", b"image"),
        (ItemKind::Symbols, "", "symbols", b""),
        (ItemKind::Program, "", "models", &program),
    ] {
        whole.add(kind, guest, name, contents.to_vec()).expect("an item");
    }
    let whole = whole.build().expect("a bundle");
    let with = |kind: u8, bytes: &[u8]| [&[kind, 0x40, 0], bytes].concat();
    vec![
        ("empty", with(0, &empty)),
        ("sealed", with(1, &whole)),
        ("cut", with(1, &whole[..whole.len() / 2])),
        ("followed", with(0x40, &[&whole[..], &[7; 512]].concat())),
    ]
}

/// A table as [`fuzz::firmware::tables`] reads it.
fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let place = SIGNATURES.iter().position(|other| *other == signature).expect("a signature");
    [&[place as u8][..], &(body.len() as u16).to_le_bytes(), &[0, 0], body].concat()
}

fn madt() -> Vec<u8> {
    let entries: [&[u8]; 11] = [
        &[0, 0, 0xe0, 0xfe, 1, 0, 0, 0],
        &[0, 8, 0, 0, 1, 0, 0, 0],
        &[0, 8, 1, 2, 1, 0, 0, 0],
        &[9, 16, 0, 0, 0x2c, 1, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0],
        &[1, 12, 2, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0],
        &[2, 10, 0, 9, 20, 0, 0, 0, 0x0f, 0],
        &[3, 8, 5, 0, 7, 0, 0, 0],
        &[4, 6, 0xff, 0, 0, 1],
        &[10, 12, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0],
        &[5, 12, 0, 0, 0, 0, 0, 0xfd, 1, 0, 0, 0],
        &[0x10, 16, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0],
    ];
    table(b"APIC", &entries.concat())
}

fn dmar() -> Vec<u8> {
    let structures: [&[u8]; 5] = [
        &[38, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        // A unit for the function 00:02.0 and what is behind the bridge 00:01.0.
        &[0, 0, 34, 0, 0, 1, 0, 0, 0, 0, 0xd9, 0xfe, 0, 0, 0, 0],
        &[1, 8, 0, 0, 0, 0, 2, 0, 2, 10, 0, 0, 0, 0, 1, 0, 0, 0],
        // One for the rest, the IOAPIC and the HPET.
        &[
            0, 0, 32, 0, 1, 0, 0, 0, 0, 0x10, 0xd9, 0xfe, 0, 0, 0, 0, 3, 8, 0, 0, 2, 0xf0, 0x1f, 0, 4, 8, 0,
            0, 0, 0, 0xf, 0,
        ],
        // Reserved memory of 00:02.0.
        &[
            1, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0x7e, 0, 0, 0, 0, 0xff, 0xff, 0x7f, 0x7e, 0, 0, 0, 0, 1, 8, 0,
            0, 0, 0, 2, 0,
        ],
    ];
    table(b"DMAR", &structures.concat())
}

fn ivrs() -> Vec<u8> {
    // The unit 00:00.2 in an old and a new block, a range for what is behind 00:01.0 with
    // that as alias, the IOAPIC and the HPET, a device of the name space.
    let new: [&[u8]; 7] = [
        &[2, 0x10, 0, 0, 0, 0, 0, 0],
        &[0x43, 0, 1, 0, 0, 8, 0, 0, 4, 0xff, 1, 0, 0, 0, 0, 0],
        &[0x46, 8, 0, 0, 0, 0, 0, 0x80],
        &[0x48, 0, 0, 0xd7, 2, 0xa0, 0, 1],
        &[0x48, 0, 0, 0, 0, 0xa0, 0, 2],
        &[
            0xf0, 0xa5, 0, 0, b'A', b'M', b'D', b'I', b'0', b'0', b'2', b'0', 0, 0, 0, 0, 0, 0, 0, 0, 2, 1,
            b'F',
        ],
        &[1, 0, 0, 0],
    ];
    let block = |kind: u8, own: &[u8], entries: &[u8]| {
        let header = [2, 0, 0x40, 0, 0, 0, 0xd8, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let length = 4 + header.len() + own.len() + entries.len();
        [&[kind, 0x20, length as u8, 0], &header[..], own, entries].concat()
    };
    let memory = |kind: u8, flags: u8, last: u8| {
        let range = [0, 0, 0, 0x7e, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0];
        [&[kind, flags, 32, 0, 0x10, 0, last, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &range].concat()
    };
    let blocks = [
        vec![1, 0x30, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        block(0x10, &[], &[3, 8, 0, 0, 4, 0xff, 0, 0]),
        block(0x40, &[0xd7, 0x29, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &new.concat()),
        memory(0x20, 7, 0),
        memory(0x21, 8, 0),
        memory(0x22, 3, 0x1f),
    ];
    table(b"IVRS", &blocks.concat())
}

fn fadt() -> Vec<u8> {
    let mut body = vec![0; 240];
    let mut put = |at: usize, field: &[u8]| body[at - 36..at - 36 + field.len()].copy_from_slice(field);
    put(40, &(DSDT.0 as u32).to_le_bytes());
    put(46, &[9, 0]);
    put(48, &[0xb2, 0, 0, 0, 2, 3]);
    put(56, &[0, 6]);
    put(64, &[4, 6]);
    put(76, &[8, 6]);
    put(88, &[4, 2, 0, 4]);
    put(108, &[0x32]);
    put(112, &(1_u32 << 10 | 1 << 8).to_le_bytes());
    put(116, &[1, 8, 0, 1, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0, 0x0f]);
    put(172, &[1, 16, 0, 2, 4, 0x18, 0, 0, 0, 0, 0, 0]);
    table(b"FACP", &body)
}

fn acpi_tables() -> Seeds {
    let mcfg = table(b"MCFG", &[&[0; 8][..], &[0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]].concat());
    let hpet =
        table(b"HPET", &[1, 0xa2, 0x86, 0x80, 0, 64, 0, 0, 0, 0, 0xd0, 0xfe, 0, 0, 0, 0, 0, 0x80, 0, 0]);
    // Name (_S5_, Package () { 5, 5, 0, 0 })
    let sleep = b"\x10\x20\\_SB_\x08_S5_\x12\x08\x04\x0a\x05\x0a\x05\x00\x00";
    let whole = [madt(), mcfg, dmar(), hpet, fadt(), table(b"DSDT", sleep), table(b"SSDT", sleep)].concat();
    let mut rsdp = b"\0\0RSD PTR \0BHKHD \0\x40\0\x0f\0".to_vec();
    rsdp.extend([0; 36]);
    vec![
        ("machine", [&[2][..], &whole].concat()),
        ("processors", [&[2][..], &madt()].concat()),
        ("remapping", [&[2][..], &dmar()].concat()),
        ("remapping-amd", [&[2][..], &madt(), &ivrs()].concat()),
        ("remapping-both", [&[2][..], &dmar(), &ivrs()].concat()),
        ("root-pointer", rsdp),
    ]
}

fn pci_scan() -> Seeds {
    let express_bridge = [0x08, 0, 4, 1, 1, 0, 0x1a, 0, 1, 0, 0, 0];
    let functions = [
        &[1, 7, 6][..],
        &express_bridge,
        &[0x00, 1, 6, 0],
        &[0x10, 0, 1, 0],
        &[0x18, 0, 2, 0],
        &[0x20, 0, 7, 0],
        // Its capability list is a loop.
        &[0x28, 0, 2, 1, 0, 0x41, 0, 0x40, 0, 0, 0],
    ]
    .concat();
    let lies = [&[0x83][..], &[0; 8], &[0, 0, 0, 0x80]].concat();
    let ecam = vec![0, 0, 1, 0x10, 0, 6, 0];
    vec![
        ("bridge", functions.clone()),
        ("moody", [functions, lies].concat()),
        ("extended", ecam),
        ("legacy-bridge", vec![3, 1, 2, 0x10, 0, 5, 2, 1, 0, 0x1a, 0, 2, 0, 0, 0, 0x08, 2, 3, 0]),
    ]
}

fn pci_guest() -> Seeds {
    // A step is a byte for its kind, then its operands.
    let write = |slot: u8, offset: u8, width: u8, value: u32| {
        [&[5, slot, offset, width][..], &value.to_le_bytes()].concat()
    };
    let bar = |which: u8, offset: u16, width: u8, value: u64| {
        [&[7, which][..], &offset.to_le_bytes(), &[width], &value.to_le_bytes()].concat()
    };
    let drive = [
        write(2, 4, 1, 6),
        write(2, 0x42, 1, 0x8000),
        bar(0, 0x2000, 3, 0xfee0_0000),
        bar(0, 0x2008, 3, 0x41),
        vec![10, 1, 2],
        write(2, 0x10, 2, 0xd000_0000),
        vec![11, 1, 2],
        write(2, 0x88, 1, 0xa810),
        vec![11, 0],
    ];
    let adapter = [
        write(1, 4, 1, 7),
        write(1, 0xd4, 2, 0xfee0_1000),
        write(1, 0xdc, 1, 0x51),
        write(1, 0xd2, 1, 1),
        write(1, 0x14, 2, 0xc000_0000),
        write(1, 0xcc, 1, 3),
        write(1, 0xcc, 1, 0),
        [&[0][..], &0x0804_u16.to_le_bytes(), &[0, 1, 4, 2, 7, 0, 0, 0], &[2, 4, 2]].concat(),
        [&[4][..], &0x8010_u32.to_le_bytes(), &[3], &u64::MAX.to_le_bytes()].concat(),
    ];
    // Of the second guest: what is behind its second port, 5 in the list of its places.
    let of_second = |step: Vec<u8>| [vec![step[0] | 0x80], step[1..].to_vec()].concat();
    let behind = [
        write(2, 4, 1, 6),
        write(5, 4, 1, 6),
        bar(0, 0x2000, 3, 0xfee0_0000),
        write(2, 0x20, 2, 0xc000_c000),
        write(2, 0x18, 2, 0x0007_0700),
        write(6, 4, 1, 6),
        vec![10, 1, 5],
        write(2, 4, 1, 2),
        write(2, 0x3e, 1, 0x40),
        write(2, 0x3e, 1, 0),
        vec![12, 5],
        vec![13, 7],
    ];
    let behind = behind.map(of_second);
    vec![
        ("drive", [&[0][..], &drive.concat()].concat()),
        ("adapter", [&[7][..], &adapter.concat()].concat()),
        ("behind-ports", [&[0][..], &behind.concat()].concat()),
        ("third", [&[0x80, 7, 0][..], &write(3, 4, 1, 6), &write(3, 0x82, 1, 0x51)].concat()),
    ]
}

fn decode() -> Seeds {
    let code: [(&str, u8, &[u8]); 14] = [
        ("load", 2, &[0x8b, 0x04, 0x25, 0, 0, 0xe0, 0xfe]),
        ("store", 2, &[0xc7, 0x80, 0xb0, 0, 0, 0, 0, 0, 0, 0]),
        ("wide-immediate", 2, &[0x48, 0xc7, 0x45, 0xf8, 0xff, 0xff, 0xff, 0x7f]),
        ("rip-relative", 2, &[0x44, 0x0f, 0xb6, 0x0d, 0x10, 0, 0, 0]),
        ("movs", 0, &[0xf3, 0x66, 0xa5]),
        ("outs", 1, &[0xf3, 0x2e, 0x6e]),
        ("cmpxchg", 1, &[0xf0, 0x0f, 0xb1, 0x8c, 0x88, 4, 0, 0, 0]),
        ("bts", 2, &[0xf0, 0x48, 0x0f, 0xba, 0x28, 0x3f]),
        ("movbe", 2, &[0x0f, 0x38, 0xf1, 0x07]),
        ("offset", 0, &[0x67, 0xa1, 0, 0, 0xe0, 0xfe]),
        ("cpuid", 2, &[0x0f, 0xa2]),
        ("mov-cr", 2, &[0x44, 0x0f, 0x22, 0xc0]),
        ("vmmcall", 2, &[0x0f, 0x01, 0xd9]),
        ("in", 1, &[0x66, 0xed]),
    ];
    code.into_iter().map(|(name, size, bytes)| (name, [&[size], bytes].concat())).collect()
}

/// `file` with `field` at `offset`.
fn put(file: &mut [u8], offset: usize, field: &[u8]) {
    file[offset..offset + field.len()].copy_from_slice(field);
}

/// A bzImage of protocol 2.15 that prefers 2 MiB and needs 1 MiB.
fn bzimage() -> Vec<u8> {
    let mut file = vec![0; 512 * 3 + 0x400];
    put(&mut file, 0x1f1, &[2]);
    put(&mut file, 0x1f4, &[0x40]);
    put(&mut file, 0x1fe, b"\x55\xaa\xeb\x6aHdrS\x0f\x02");
    put(&mut file, 0x211, &[1]);
    put(&mut file, 0x22c, &0x7fff_ffff_u32.to_le_bytes());
    put(&mut file, 0x230, &0x20_0000_u32.to_le_bytes());
    put(&mut file, 0x234, &[1, 0, 1]);
    put(&mut file, 0x238, &2047_u32.to_le_bytes());
    put(&mut file, 0x258, &0x20_0000_u64.to_le_bytes());
    put(&mut file, 0x260, &0x10_0000_u32.to_le_bytes());
    file
}

/// A 64-bit ELF of segments: kind, contents, virtual and physical address, bytes.
fn elf64(entry: u64, parts: &[(u32, &[u8], u64, u64, u64)]) -> Vec<u8> {
    let mut file = vec![0; 64 + 56 * parts.len()];
    put(&mut file, 0, b"\x7fELF\x02\x01\x01");
    put(&mut file, 18, &[62]);
    put(&mut file, 24, &entry.to_le_bytes());
    put(&mut file, 32, &[64]);
    put(&mut file, 54, &[56, 0, parts.len() as u8]);
    for (index, (kind, contents, linear, physical, bytes)) in parts.iter().enumerate() {
        let at = 64 + 56 * index;
        let numbers = [file.len() as u64, *linear, *physical, contents.len() as u64, *bytes];
        put(&mut file, at, &kind.to_le_bytes());
        for (field, number) in numbers.iter().enumerate() {
            put(&mut file, at + 8 + 8 * field, &number.to_le_bytes());
        }
        file.extend(*contents);
    }
    file
}

fn multiboot(flags: u32, addresses: &[u32]) -> Vec<u8> {
    let checksum = 0_u32.wrapping_sub(0x1bad_b002).wrapping_sub(flags);
    let fields = [0x1bad_b002, flags, checksum].into_iter().chain(addresses.iter().copied());
    let mut header: Vec<u8> = fields.flat_map(u32::to_le_bytes).collect();
    header.resize(0x40, 0x90);
    header
}

/// A processor and its memory, and then the code, in the order in which the target reads them.
fn execute() -> Seeds {
    const RCX: usize = 1;
    const RDI: usize = 7;
    let (long, protected) = (0, 1);
    let code: [(&str, u8, &[u8]); 7] = [
        ("store", long, &[0x89, 0x03]),
        ("load", protected, &[0x8b, 0x03]),
        ("exchange", long, &[0xf0, 0x0f, 0xb1, 0x0b]),
        ("push", long, &[0xff, 0x33]),
        ("copy", long, &[0xf3, 0xa5]),
        ("compare", protected, &[0xf3, 0xa6]),
        ("out", long, &[0xf3, 0x6f]),
    ];
    let seed = |mode: u8, code: &[u8]| {
        let mut seed = vec![mode, 0, 2, 2, 0, 0, 0];
        for register in 0..16 {
            // Three elements; a place in memory; one at the device.
            seed.extend_from_slice(match register {
                RCX => &[2, 3][..],
                RDI => &[1, 0],
                _ => &[0, 0x10, 0],
            });
        }
        seed.extend([0; 5]);
        seed.extend([0xff, 0]);
        match mode == long {
            true => seed.extend([0, 0x10, 0]),
            false => seed.extend([2, 0x10, 0, 0x20, 0, 0, 0, 0, 0]),
        }
        // A write; port 0x10, dwords, out; a task to call; no other memory.
        seed.extend([1, 0x10, 0, 2, 0, 0x18, 0, 0, 0]);
        seed.extend_from_slice(code);
        seed
    };
    code.into_iter().map(|(name, mode, code)| (name, seed(mode, code))).collect()
}

fn loader() -> Seeds {
    let pvh_note = b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0\x40\0\x10\0";
    let code = [0xc3; 0x80];
    let kernel_at = 0xffff_ffff_8010_0000;
    let pvh = elf64(0, &[(1, &code, kernel_at, 0x10_0000, 0x3000), (4, pvh_note, 0, 0, 0)]);
    let header = multiboot(3, &[]);
    let multiboot_elf = elf64(kernel_at + 0x40, &[(1, &header, kernel_at, 0x10_0000, 0x3000)]);
    let addresses = multiboot(1 << 16, &[0x10_0000, 0x10_0000, 0, 0x10_2000, 0x10_0020]);
    // What is loaded with it, the initrd's bytes, the command line, and the first module.
    let with = |shape: u8, kernel: &[u8]| [&[shape, 0x34, 0x12, 4], &b"quietfirst"[..], kernel].concat();
    vec![
        ("bzimage", with(0x61, &bzimage())),
        ("pvh", with(0x67, &pvh)),
        ("multiboot-elf", with(0x63, &multiboot_elf)),
        ("multiboot", with(0x66, &addresses)),
        ("many-processors", with(0x69, &bzimage())),
    ]
}

/// Images of guests with 4 MiB of memory; the target has one file for them.
fn start_image() -> Seeds {
    let layout = GuestLayout::new(4 << 20, 2).expect("a layout");
    let image = |kernel: &[u8]| {
        let files =
            GuestFiles { kernel, initrd: None, modules: &[], command_line: "quiet", has_display: true };
        let prepared = firmware::prepare(&layout, files).expect("a kernel that loads");
        [&[2][..], &prepared.into_image()].concat()
    };
    let header = multiboot(3, &[]);
    let kernel_at = 0xffff_ffff_8010_0000;
    let elf = elf64(kernel_at + 0x40, &[(1, &header, kernel_at, 0x10_0000, 0x3000)]);
    let mut short = image(&elf);
    short.truncate(0x400);
    vec![("linux", image(&bzimage())), ("multiboot", image(&elf)), ("short", short)]
}

fn chipset() -> Seeds {
    // Ports go by their place in the target's list.
    let out = |port: u8, value: u8| vec![4, port, 0, value, 0, 0, 0];
    let wait = |ticks: u16| [&[0][..], &ticks.to_le_bytes()].concat();
    let pic: Vec<u8> =
        [(0, 0x11), (1, 0x20), (1, 4), (1, 1), (1, 0xfb), (2, 0x11), (3, 0x28), (3, 2), (3, 1), (3, 0)]
            .into_iter()
            .flat_map(|(port, value)| out(port, value))
            .collect();
    let timer = [out(7, 0x34), out(4, 0x10), out(4, 0), wait(u16::MAX), vec![10, 1], vec![2, 0, 0]].concat();
    let clock = [out(11, 0x0b), out(12, 0x72), out(11, 0x0c), vec![2, 12, 0]].concat();
    let serial =
        [out(17, 0x0f), out(18, 0x07), out(20, 0x0b), out(16, b'x'), vec![10, 2, b'y'], vec![2, 16, 0]]
            .concat();
    let pin = |pin: u8, low: u32| [&[7, 0x10 + 2 * pin][..], &low.to_le_bytes()].concat();
    let apic = |kind: u8, rest: &[u8]| [&[12, kind], rest].concat();
    let local = [
        apic(4, &[0x0f, 0xff, 1, 0, 0]),
        apic(4, &[0x32, 0x30, 0, 2, 0]),
        apic(4, &[0x3e, 0x0b, 0, 0, 0]),
        apic(4, &[0x38, 0, 1, 0, 0]),
        wait(u16::MAX),
        apic(8, &[]),
        apic(4, &[0x0b, 0, 0, 0, 0]),
        apic(4, &[0x30, 0x31, 0, 4, 0]),
        apic(6, &[0x0d]),
        apic(1, &[0x30, 0x31, 0, 8, 0]),
    ]
    .concat();
    let level = [pin(9, 0x8039), vec![9, 9, 1, 11, 0x39, 9, 9, 0, 11, 0x39]].concat();
    let power = [out(26, 1), vec![10, 0], out(27, 0x00), vec![4, 27, 1, 0, 0x34, 0, 0], out(29, 6)].concat();
    let begin = [0_u8, 0, 0];
    vec![
        ("legacy", [&begin[..], &pic, &timer, &clock].concat()),
        ("serial", [&begin[..], &pin(4, 0x34), &serial].concat()),
        ("local", [&begin[..], &local].concat()),
        ("level", [&begin[..], &level, &power].concat()),
        ("stopped-clock", [&[1, 2, 2][..], &pic, &timer, &local].concat()),
    ]
}

/// What is asked of remapping units: everything once.
fn life_of_a_domain() -> Vec<u8> {
    let life: [&[u8]; 9] = [
        // A domain for both units, memory in it, a function attached.
        &[0, 0, 0, 0, 0, 1],
        &[0, 1, 3, 1, 2, 1, 0, 1, 0, 0],
        &[0, 5, 7, 0, 0, 0, 0],
        // Interrupts.
        &[0, 7, 0, 0, 0, 0, 0, 8, 0],
        &[0, 9, 0x41, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0],
        &[0, 11, 0, 0, 3, 0],
        &[0, 8, 0, 0],
        // And all of it back.
        &[0, 3, 3, 1, 2, 1],
        &[0, 6, 0, 0, 0, 4, 0, 13],
    ];
    life.concat()
}

fn amdvi() -> Seeds {
    // A function and two units, none of which lies; where events go.
    let honest = [0, 0, 0, 0, 0, 0, 0, 0, 5, 0];
    let life = life_of_a_domain();
    // A page fault of 05:03.1, and a page request.
    let event = [&[0, 12, 1][..], &0x2030_0000_0000_0519_u64.to_le_bytes(), &[6], &[0x55; 8]].concat();
    let request = [&[0, 12, 0][..], &0x1000_0015_0000_0010_u64.to_le_bytes(), &[7], &[0x77; 8]].concat();
    vec![
        ("life", [&honest[..], &life].concat()),
        // Without the command that invalidates everything, and without wide entries.
        (
            "other",
            [&honest[..4], &[1], &(1_u64 << 6 | 1 << 7).to_le_bytes(), &[0, 0, 0, 5, 0], &life].concat(),
        ),
        ("events", [&honest[..], &event, &request, &life].concat()),
        ("lies", [&honest[..5], &[0x81], &[0; 7], &[0x80], &[0, 0, 5, 0], &life].concat()),
    ]
}

fn vtd() -> Seeds {
    // Two units, neither of which lies.
    let honest = [0, 0, 0, 0];
    let life = life_of_a_domain();
    let lies = [&[0x82][..], &[0; 8], &(1_u64 << 4).to_le_bytes()].concat();
    vec![
        ("life", [&honest[..], &life].concat()),
        ("lies", [&[0][..], &lies, &[0, 0], &life].concat()),
        // Write buffers, and no 1 GiB pages.
        (
            "other",
            [&[1][..], &(1_u64 << 4 | 1 << 35).to_le_bytes(), &1_u64.to_le_bytes(), &[0, 0, 0], &life]
                .concat(),
        ),
        ("fault", [&honest[..], &life[..20], &[0, 12, 0, 13, 0, 2, 0, 0, 0, 0, 0, 0, 0]].concat()),
    ]
}
