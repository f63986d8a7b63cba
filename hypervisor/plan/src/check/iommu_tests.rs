//! What keeps functions apart and what does not, with the IOMMUs of both vendors.

use super::tests::{config, everyday, everyday_amd, plan, problems};
use crate::config::Config;
use crate::reserved::ReservedRange;
use alloc::string::ToString;
use platform::remapping::{Alias, ReservedMemory, Trouble, Unit};
use platform::{DevFn, Memory, MemoryKind, MemoryRegion, Platform};
use spec::{Bdf, Hpa, RequesterRange};

#[test]
fn no_iommu() {
    let config = config(&[("a", "cpus = [1]", &[("00:03.0", "1b36:0010")]), ("b", "cpus = [2]", &[])]);
    for board in [everyday(), everyday_amd()] {
        check_without_iommu(&config, board);
    }
}

fn check_without_iommu(config: &Config, mut board: Platform) {
    board.remapping.interrupts = false;
    assert_eq!(
        problems(config, &board),
        [
            "guest.a.pci[0].passthrough.path: the IOMMU does not remap interrupts, so a device could forge them; \
         enable interrupt remapping in the firmware, or remove the device"
        ]
    );
    board.remapping.units[0].requesters.retain(|range| !range.contains(Bdf::new(0, 3, 0)));
    assert_eq!(
        problems(config, &board),
        ["guest.a.pci[0].passthrough.path: no IOMMU covers 00:03.0; pass through a device that one covers"]
    );
    board.remapping = platform::Remapping::default();
    assert_eq!(
        problems(config, &board),
        [
            "guest.a.pci[0].passthrough.path: this machine shows no IOMMU, so a device could reach all memory; enable \
         the IOMMU (VT-d, AMD-Vi) in the firmware, or remove the device"
        ]
    );
    // The guest without a device starts all the same.
    assert_eq!(plan(config, &board).guests[0].name, "b");
}

#[test]
fn an_iommu_that_cannot_be_used() {
    let config = config(&[("a", "cpus = [1]", &[("00:03.0", "1b36:0010")])]);
    for mut board in [everyday(), everyday_amd()] {
        let at = board.remapping.units[0].base;
        board.remapping.units[0].trouble = Some(Trouble::Twice);
        assert_eq!(
            problems(&config, &board),
            [alloc::format!(
                "guest.a.pci[0].passthrough.path: the IOMMU that covers 00:03.0, at {at}, cannot be used: the firmware's \
                 table has two of it, which contradict each other; pass through a device that another one covers, or \
                 update the firmware"
            )]
        );
        // Another unit names somebody, and nobody can tell whom.
        board.remapping.units[0].trouble = None;
        board.remapping.units[0].requesters.clear();
        board.remapping.units[0].serves_rest = true;
        assert_eq!(problems(&config, &board), [""; 0]);
        let other = Unit { unsure: true, serves_rest: false, ..board.remapping.units[0].clone() };
        board.remapping.units.push(other);
        assert_eq!(
            problems(&config, &board),
            [alloc::format!(
                "guest.a.pci[0].passthrough.path: no IOMMU covers 00:03.0 by name, and the firmware does not say clearly \
                 whom the one at {at} covers; pass through a device that one covers by name, or update the firmware"
            )]
        );
    }
}

#[test]
fn an_iommu_is_nobodys() {
    let config = config(&[("a", "cpus = [1]", &[("00:01.0", "1022:1419")])]);
    assert!(
        problems(&config, &everyday_amd()).contains(
            &"guest.a.pci[0].passthrough.path: 00:01.0 is an IOMMU itself; pass through another device"
                .to_string()
        )
    );
}

#[test]
fn devices_whose_requests_carry_one_number() {
    let config = config(&[
        ("a", "cpus = [1]", &[("00:02.0/00.0", "8086:10d3")]),
        ("b", "cpus = [2]", &[("00:03.0", "1b36:0010")]),
    ]);
    let mut board = everyday_amd();
    let alias =
        |function, requester| Alias { segment: 0, functions: RequesterRange::one(function), requester };
    let (e1000e, nvme, shared) = (Bdf::new(1, 0, 0), Bdf::new(0, 3, 0), Bdf::new(0, 0x1e, 0));
    board.remapping.aliases = [alias(e1000e, shared)].into();
    // The number needs a unit as much as the function.
    assert_eq!(
        problems(&config, &board),
        [
            "guest.a.pci[0].passthrough.path: no IOMMU covers 00:1e.0, the number that requests of 00:02.0/00.0 carry \
         too; pass through a device that one covers"
        ]
    );
    board.remapping.units[0].requesters.push(RequesterRange::one(shared));
    let plan = plan(&config, &board);
    assert_eq!(plan.guests[0].functions[0].requesters, [e1000e, shared]);
    board.remapping.aliases.push(alias(nvme, shared));
    assert_eq!(
        problems(&config, &board),
        [
            "guest.b.pci[0].passthrough.path: 00:03.0 cannot be kept apart from 00:02.0/00.0 of guest `a`: the requests \
         of both carry the number 00:1e.0; give both to the same guest"
        ]
    );
    // One is the alias of the other.
    board.remapping.aliases = [alias(e1000e, nvme)].into();
    assert!(problems(&config, &board)[0].contains("the requests of both carry the number 00:03.0"));
}

#[test]
fn memory_that_the_firmware_keeps_using() {
    let mut config = config(&[("a", "cpus = [1]", &[("00:02.0/00.0", "8086:10d3")])]);
    let mut board = everyday();
    board.remapping.reserved.push(ReservedMemory {
        start: Hpa(0x7e00_0000),
        bytes: 0x2000,
        segment: 0,
        users: [RequesterRange::one(Bdf::new(1, 0, 0))].into(),
        readable: true,
        writable: true,
    });
    assert_eq!(
        problems(&config, &board),
        [
            "guest.a.pci[0].passthrough.path: the firmware uses 00:02.0/00.0 with 8192 bytes of its own memory at 0x7e000000; \
         set allow_reserved_memory = true to give the guest's device that memory too"
        ]
    );
    let guest = config.guest.get_mut("a").unwrap();
    guest.pci[0].allow_reserved_memory = true;
    guest.memory = Memory::mib(1800);
    // A guest's own memory has its place there too, and so may any other's.
    let told = problems(&config, &board);
    assert_eq!(told.len(), 1);
    assert!(
        told[0].ends_with("but its memory map says that it is free; pass through another device"),
        "{told:?}"
    );
    board.memory.push(MemoryRegion {
        start: Hpa(0x6000_0000),
        bytes: 0x2000_0000,
        kind: MemoryKind::Reserved,
    });
    config.guest.get_mut("a").unwrap().memory = Memory::mib(1400);
    board.remapping.reserved[0].start = Hpa(0x7f00_0000);
    assert_eq!(problems(&config, &board), [""; 0]);
    let reserved = &mut board.remapping.reserved[0];
    reserved.start = Hpa(0x4010_0000);
    board.memory.push(MemoryRegion { start: Hpa(0x4000_0000), bytes: 0x20_0000, kind: MemoryKind::Reserved });
    assert_eq!(
        problems(&config, &board),
        [
            "guest.a.pci[0].passthrough.path: the firmware uses 00:02.0/00.0 with 8192 bytes of its own memory at 0x40100000, \
         where the guest's own memory is; give the guest \"1 GiB\" or less"
        ]
    );
    config.guest.get_mut("a").unwrap().memory = Memory::mib(1024);
    // No guest is without memory below 1 MiB.
    board.remapping.reserved[0].start = Hpa(0xe_0000);
    board.memory.push(MemoryRegion { start: Hpa(0xe_0000), bytes: 0x2000, kind: MemoryKind::Reserved });
    let told = problems(&config, &board);
    assert!(told[0].contains("where the guest's own memory is; no amount of memory avoids that"), "{told:?}");
    board.remapping.reserved[0].start = Hpa(0x4010_0000);
    let plan = plan(&config, &board);
    let range = ReservedRange { start: Hpa(0x4010_0000), bytes: 0x2000, readable: true, writable: true };
    assert_eq!(plan.guests[0].reserved_memory, [range]);
}

#[test]
fn memory_that_the_firmware_uses_with_devices_of_two_guests() {
    let mut config = config(&[
        ("a", "cpus = [1]", &[("00:02.0/00.0", "8086:10d3")]),
        ("b", "cpus = [2]", &[("00:03.0", "1b36:0010")]),
    ]);
    for guest in config.guest.values_mut() {
        guest.pci[0].allow_reserved_memory = true;
    }
    let mut board = everyday_amd();
    board.memory.push(MemoryRegion { start: Hpa(0x6000_0000), bytes: 1 << 20, kind: MemoryKind::Reserved });
    let range = |page: u64, user| ReservedMemory {
        start: Hpa(0x6000_0000 + (page << 12)),
        bytes: 0x2000,
        segment: 0,
        users: [user].into(),
        readable: true,
        writable: page == 0,
    };
    // Next to each other.
    let (e1000e, nvme) = (Bdf::new(1, 0, 0), Bdf::new(0, 3, 0));
    board.remapping.reserved =
        [range(0, RequesterRange::one(e1000e)), range(2, RequesterRange::one(nvme))].into();
    assert_eq!(problems(&config, &board), [""; 0]);
    assert!(!plan(&config, &board).guests[1].reserved_memory[0].writable);
    // One page is both's.
    board.remapping.reserved[1].start = Hpa(0x6000_1000);
    assert_eq!(
        problems(&config, &board),
        [
            "guest.b.pci[0].passthrough.path: the firmware uses 00:03.0 with 8192 bytes of its own memory at 0x60001000, \
         and 00:02.0/00.0 of guest `a` too; give both to the same guest"
        ]
    );
    // One range for everybody, and one guest that has two of them.
    board.remapping.reserved = [range(0, RequesterRange::ALL)].into();
    assert_eq!(problems(&config, &board).len(), 1);
    let mut both = config.guest["a"].clone();
    let other = crate::PciConfig { slot: DevFn::new(2, 0), ..config.guest["b"].pci[0].clone() };
    both.pci.push(other);
    config.guest = [("both".into(), both)].into();
    let plan = plan(&config, &board);
    assert_eq!(plan.all_problems().count(), 0);
    assert_eq!(plan.guests[0].reserved_memory.len(), 1, "it is mapped once");
}
