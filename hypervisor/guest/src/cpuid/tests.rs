use super::*;

const CONFIG: GuestCpuidConfig = GuestCpuidConfig { vcpus: 3, tsc_khz: 2_000_000, modelled_timer: true };
const STATE: Dynamic = Dynamic { apic_id: 2, cr4_osxsave: false, apic_enabled: true };

fn text(bytes: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*bytes)
}

/// A host on which every bit of every leaf is set.
fn everything(amd: bool) -> impl Fn(u32, u32) -> Registers {
    move |leaf, subleaf| match (leaf, subleaf) {
        (0, _) if amd => [0x20, text(b"Auth"), text(b"cAMD"), text(b"enti")],
        (0, _) => [0x20, text(b"Genu"), text(b"ntel"), text(b"ineI")],
        (0x8000_0000, _) => [0x8000_0028, 0, 0, 0],
        (0xd, 2) => [256, 576, 0, 0],
        (0x8000_0008, _) => [0x3934, u32::MAX, u32::MAX, u32::MAX],
        (4 | 0x8000_001d, level) => [0xffff_c000 | (level.max(1)) << 5 | 1, 63, 63, 0],
        _ => [u32::MAX; 4],
    }
}

/// A host that has nothing but what every 64-bit processor has.
fn nothing(leaf: u32, _: u32) -> Registers {
    match leaf {
        0 => [1, text(b"Genu"), text(b"ntel"), text(b"ineI")],
        0x8000_0000 => [0x8000_0001, 0, 0, 0],
        0x8000_0001 => [0, 0, 0, 1 << 29],
        // What Intel answers to a leaf beyond the last.
        _ => [0xdead_beef; 4],
    }
}

#[test]
fn features_that_need_the_host_are_hidden() {
    for amd in [false, true] {
        let policy = CpuidPolicy::new(&everything(amd), CONFIG);
        let [_, _, ecx, edx] = policy.lookup(1, 0, STATE);
        for (bit, name) in [(3, "MONITOR"), (5, "VMX"), (6, "SMX"), (15, "PDCM"), (27, "OSXSAVE")] {
            assert_eq!(ecx >> bit & 1, 0, "{name}");
        }
        for (bit, name) in [(18, "PSN"), (21, "DS"), (22, "ACPI"), (29, "TM")] {
            assert_eq!(edx >> bit & 1, 0, "{name}");
        }
        let [eax, ebx, ecx, edx] = policy.lookup(7, 0, STATE);
        assert_eq!(eax, 0, "no further subleaf");
        for (bit, name) in
            [(1, "TSC_ADJUST"), (2, "SGX"), (4, "HLE"), (11, "RTM"), (16, "AVX512F"), (25, "PT")]
        {
            assert_eq!(ebx >> bit & 1, 0, "{name}");
        }
        for (bit, name) in [(3, "PKU"), (7, "CET"), (16, "LA57"), (22, "RDPID")] {
            assert_eq!(ecx >> bit & 1, 0, "{name}");
        }
        for (bit, name) in [(26, "SPEC_CTRL"), (27, "STIBP"), (29, "ARCH_CAPABILITIES"), (31, "SSBD")] {
            assert_eq!(edx >> bit & 1, 0, "{name}");
        }
        let [_, _, ecx, edx] = policy.lookup(0x8000_0001, 0, STATE);
        for (bit, name) in [(2, "SVM"), (12, "SKINIT"), (29, "MONITORX")] {
            assert_eq!(ecx >> bit & 1, 0, "{name}");
        }
        assert_eq!(edx >> 27 & 1, 0, "RDTSCP");
        assert_eq!(policy.lookup(0xa, 0, STATE), [0; 4], "no performance counters");
        assert_eq!(policy.lookup(0x8000_000a, 0, STATE), [0; 4], "no nested SVM");
    }
}

#[test]
fn virtual_features_do_not_need_the_host() {
    let policy =
        CpuidPolicy::new(&|leaf, subleaf| if leaf == 1 { [0; 4] } else { nothing(leaf, subleaf) }, CONFIG);
    let [_, _, ecx, _] = policy.lookup(1, 0, STATE);
    assert_eq!(ecx, 1 << 21 | 1 << 24 | 1 << 31);
}

#[test]
fn state_of_the_vcpu_shows() {
    let policy = CpuidPolicy::new(&everything(true), CONFIG);
    let off = Dynamic { apic_id: 1, cr4_osxsave: true, apic_enabled: false };
    let [_, ebx, ecx, edx] = policy.lookup(1, 0, off);
    assert_eq!(ebx >> 24, 1);
    assert_eq!(ebx >> 16 & 0xff, 3);
    assert_eq!(ecx >> 27 & 1, 1);
    assert_eq!(edx >> 9 & 1, 0);
    assert_eq!(policy.lookup(1, 0, STATE)[EDX] >> 9 & 1, 1);
    assert_eq!(policy.lookup(0x8000_0001, 0, off)[EDX] >> 9 & 1, 0);
    assert_eq!(policy.lookup(0x8000_0001, 0, STATE)[EDX] >> 9 & 1, 1);
}

#[test]
fn topology_is_cores_of_one_package() {
    for amd in [false, true] {
        let policy = CpuidPolicy::new(&everything(amd), CONFIG);
        assert_eq!(policy.lookup(0xb, 0, STATE), [0, 1, 0x100, 2]);
        assert_eq!(policy.lookup(0xb, 1, STATE), [2, 3, 0x201, 2]);
        assert_eq!(policy.lookup(0xb, 2, STATE), [0, 0, 2, 2]);
        assert_eq!(policy.lookup(0xb, 0x103, STATE), [0, 0, 3, 2]);
    }
    let amd = CpuidPolicy::new(&everything(true), CONFIG);
    assert_eq!(amd.lookup(0x8000_0008, 0, STATE)[ECX], 2 << 12 | 2);
    assert_eq!(amd.lookup(0x8000_001e, 0, STATE), [2, 2, 0, 0]);
    assert_eq!(amd.lookup(0x8000_001d, 3, STATE)[EAX] >> 14 & 0xfff, 3);
    assert_eq!(amd.lookup(0x8000_001d, 1, STATE)[EAX] >> 14 & 0xfff, 0);
    let intel = CpuidPolicy::new(&everything(false), CONFIG);
    assert_eq!(intel.lookup(4, 3, STATE)[EAX] >> 14, 3 << 12 | 3);
    assert_eq!(intel.lookup(4, 1, STATE)[EAX] >> 14, 3 << 12);
    assert_eq!(intel.lookup(4, 4, STATE), [0; 4]);
    assert_eq!(intel.lookup(0x8000_001e, 0, STATE), [0; 4]);
}

#[test]
fn one_processor_has_no_siblings() {
    let policy = CpuidPolicy::new(&everything(true), GuestCpuidConfig { vcpus: 1, ..CONFIG });
    assert_eq!(policy.lookup(0xb, 1, STATE)[..2], [0, 1]);
    assert_eq!(policy.lookup(1, 0, STATE)[EDX] >> 28 & 1, 0);
    assert_eq!(policy.lookup(0x8000_0001, 0, STATE)[ECX] >> 1 & 1, 0);
    assert_eq!(policy.lookup(0x8000_0008, 0, STATE)[ECX], 0);
}

#[test]
fn extended_state_ends_with_avx() {
    let policy = CpuidPolicy::new(&everything(true), CONFIG);
    assert_eq!(policy.lookup(0xd, 0, STATE), [7, 832, 832, 0]);
    assert_eq!(policy.lookup(0xd, 1, STATE), [7, 832, 0, 0]);
    assert_eq!(policy.lookup(0xd, 2, STATE), [256, 576, 0, 0]);
    assert_eq!(policy.lookup(0xd, 3, STATE), [0; 4]);
    assert_eq!(policy.lookup(0xd, u32::MAX, STATE), [0; 4]);
}

#[test]
fn hypervisor_leaves() {
    let policy = CpuidPolicy::new(&everything(true), CONFIG);
    let [last, ebx, ecx, edx] = policy.lookup(0x4000_0000, 0, STATE);
    assert_eq!(last, 0x4000_0010);
    let name = [ebx, ecx, edx].map(u32::to_le_bytes);
    assert_eq!(name.as_flattened(), b"KVMKVMKVM\0\0\0");
    assert_eq!(policy.lookup(0x4000_0001, 0, STATE), [0x0100_884a, 0, 0, 0]);
    assert_eq!(policy.lookup(0x4000_0010, 0, STATE), [2_000_000, 2_000_000, 0, 0]);
    for leaf in [0x4000_0002, 0x4000_0011, 0x4000_0100, 0x3fff_ffff] {
        assert_eq!(policy.lookup(leaf, 0, STATE), [0; 4]);
    }
}

#[test]
fn the_clock_is_stable_where_the_tsc_is() {
    let stable = |edx, name: &[u8; 12]| {
        let mut words = name.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
        let name = [0, words.next().unwrap(), words.next().unwrap(), words.next().unwrap()];
        let host = |leaf, subleaf| match leaf {
            0x8000_0007 => [0, 0, 0, edx],
            0x4000_0000 => name,
            _ => everything(true)(leaf, subleaf),
        };
        let policy = CpuidPolicy::new(&host, CONFIG);
        let told = policy.lookup(0x4000_0001, 0, STATE)[EAX] & 1 << 24 != 0;
        assert_eq!(told, policy.has_stable_clock());
        told
    };
    assert!(stable(1 << 8, b"KVMKVMKVM\0\0\0"), "it is invariant");
    assert!(!stable(0, b"KVMKVMKVM\0\0\0"), "it may stop, or change its rate");
    assert!(stable(0, b"TCGTCGTCGTCG"), "one for all");
}

#[test]
fn a_timer_that_may_stop_is_not_said_to_run_always() {
    let told = |modelled_timer, eax| {
        let host = |leaf, subleaf| if leaf == 6 { [eax, 0, 0, 0] } else { everything(true)(leaf, subleaf) };
        CpuidPolicy::new(&host, GuestCpuidConfig { modelled_timer, ..CONFIG }).lookup(6, 0, STATE)
    };
    assert_eq!(told(true, 0), [1 << 2, 0, 0, 0], "the model's");
    assert_eq!(told(false, 0), [0; 4], "the processor's");
    assert_eq!(told(false, u32::MAX), [1 << 2, 0, 0, 0]);
}

#[test]
fn frequencies_of_intel() {
    let policy = CpuidPolicy::new(&everything(false), CONFIG);
    assert_eq!(policy.lookup(0x15, 0, STATE), [1, 1, 2_000_000_000, 0]);
    assert_eq!(policy.lookup(0x16, 0, STATE), [2000, 2000, 0, 0]);
    assert_eq!(policy.lookup(0, 0, STATE)[EAX], 0x16);
    assert_eq!(CpuidPolicy::new(&everything(true), CONFIG).lookup(0, 0, STATE)[EAX], 0xd);
}

#[test]
fn a_rate_that_the_leaf_cannot_hold_is_not_told() {
    // A crystal is told in Hz, in 32 bits.
    let told = |tsc_khz| {
        let policy = CpuidPolicy::new(&everything(false), GuestCpuidConfig { tsc_khz, ..CONFIG });
        [0x15, 0x4000_0010].map(|leaf| policy.lookup(leaf, 0, STATE))
    };
    assert_eq!(told(4_294_967), [[1, 1, 4_294_967_000, 0], [4_294_967, 4_294_967, 0, 0]]);
    assert_eq!(told(4_294_968), [[0; 4], [4_294_968, 4_294_968, 0, 0]]);
    assert_eq!(told(6_000_000), [[0; 4], [6_000_000, 6_000_000, 0, 0]]);
}

#[test]
fn address_widths_are_for_four_levels() {
    let policy = CpuidPolicy::new(&everything(true), CONFIG);
    assert_eq!(policy.lookup(0x8000_0008, 0, STATE)[EAX], 48 << 8 | 52);
}

#[test]
fn leaves_that_the_host_lacks_are_zeros() {
    let policy = CpuidPolicy::new(&nothing, CONFIG);
    assert_eq!(policy.lookup(0, 0, STATE)[EAX], 0xb);
    assert_eq!(policy.lookup(7, 0, STATE), [0; 4]);
    assert_eq!(policy.lookup(0xd, 0, STATE), [0; 4]);
    assert_eq!(policy.lookup(0x8000_0000, 0, STATE)[EAX], 0x8000_0001);
    assert_eq!(policy.lookup(0x8000_0008, 0, STATE), [0; 4]);
    for leaf in [0x17, 0x1f, 0x8000_0022, 0x8fff_ffff, u32::MAX, 0xc000_0000] {
        assert_eq!(policy.lookup(leaf, 0, STATE), [0; 4]);
    }
}

#[test]
fn rows_of_a_leaf_are_together_and_in_order() {
    for vendor in [Vendors::Intel, Vendors::Amd] {
        let rows: alloc::vec::Vec<_> =
            ROWS.iter().filter(|row| row.vendors == Vendors::All || row.vendors == vendor).collect();
        for pair in rows.windows(2) {
            let next = (pair[0].leaf, pair[0].subleaf.map_or(u32::MAX, |subleaf| subleaf + 1));
            let continues = (pair[1].leaf, pair[1].subleaf.unwrap_or(0)) == next;
            let starts = pair[1].leaf > pair[0].leaf && pair[1].subleaf.unwrap_or(0) == 0;
            assert!(continues || starts, "{:x} {:x}", pair[0].leaf, pair[1].leaf);
            assert!(
                (0..BASIC).contains(&pair[1].leaf)
                    || (EXTENDED_FIRST..EXTENDED_FIRST + EXTENDED).contains(&pair[1].leaf)
            );
        }
    }
}
