//! ACPI tables: whatever the firmware wrote, there is a platform and a board file.
#![no_main]

use access::fake_pci::{FakeConfigSpace, FakeFunction};
use fuzz::{Input, firmware, machine};
use libfuzzer_sys::fuzz_target;
use platform::acpi::Ecam;
use platform::memory::MemoryImage;
use platform::{Platform, Tables};
use spec::{Bdf, Hpa};

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let (mut memory, rsdp) = match input.u8() {
        // The input as it is, where a BIOS has its tables: root pointer and all.
        kind @ 0..2 => {
            let image = MemoryImage { pieces: vec![(Hpa(0xf_0000), input.rest().to_vec())] };
            (image, Hpa(if kind == 0 { 0 } else { 0xf_0000 }))
        }
        _ => (firmware::tables(&mut input), firmware::RSDP),
    };
    // The BIOS data area, and the rest of the range that is searched.
    memory.pieces.push((Hpa(0), vec![0x7f; 0x500]));
    memory.pieces.push((Hpa(0xe_0000), vec![0; 0x2_0000]));
    let mut tables = Tables::read(&memory, rsdp);
    for ecam in &tables.ecam {
        let (start, bytes) = ecam.range();
        assert!(start.checked_add(bytes - 1).is_some());
        for bus in [ecam.first_bus, ecam.last_bus] {
            let address = ecam.address(Bdf::new(bus, 31, 7)).expect("a bus of the range");
            assert!(address >= start && address - start <= bytes - 4096);
        }
    }
    // Scanning every bus takes long, and is the business of another target.
    tables.ecam.truncate(1);
    tables.ecam.iter_mut().for_each(|ecam| (ecam.first_bus, ecam.last_bus) = (0, 1));
    if tables.ecam.is_empty() {
        tables.ecam.push(Ecam { base: Hpa(0xb000_0000), segment: 0, first_bus: 0, last_bus: 1 });
    }
    let functions = [
        (Bdf::new(0, 1, 0), FakeFunction::bridge(1)),
        (Bdf::new(0, 2, 0), FakeFunction::e1000e()),
        (Bdf::new(1, 0, 0), FakeFunction::nvme()),
    ];
    machine::check(&Platform::discover(tables, Vec::new(), &FakeConfigSpace::with(functions)));
});
