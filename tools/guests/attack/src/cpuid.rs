//! What the processor says of itself.

use crate::Environment;
use support::cpu::{cpuid, is_bare, try_rdmsr};
use support::println;

const TSC_DEADLINE: u32 = 0x6e0;

/// Prints the leaves and checks what must hold under the hypervisor.
pub fn run(_: &Environment) {
    for base in [0u32, 0x4000_0000, 0x8000_0000] {
        let last = cpuid(base, 0).eax.min(base + 0x20);
        for leaf in base..=last {
            let values = cpuid(leaf, 0);
            println!(
                "cpuid {leaf:08x}: {:08x} {:08x} {:08x} {:08x}",
                values.eax, values.ebx, values.ecx, values.edx
            );
        }
    }
    if is_bare() {
        println!("cpuid: ok, no hypervisor to check");
        return;
    }
    let extended = cpuid(0x8000_0001, 0);
    let checks = [
        ("hypervisor present", cpuid(1, 0).ecx >> 31 & 1 == 1),
        ("x2APIC", cpuid(1, 0).ecx >> 21 & 1 == 1),
        ("TSC deadline as offered", (cpuid(1, 0).ecx >> 24 & 1 == 1) == try_rdmsr(TSC_DEADLINE).is_ok()),
        ("no VMX", cpuid(1, 0).ecx >> 5 & 1 == 0),
        ("no SVM", extended.ecx >> 2 & 1 == 0),
        ("no SKINIT", extended.ecx >> 12 & 1 == 0),
        ("APIC ID 0", cpuid(1, 0).ebx >> 24 == 0),
        ("unknown leaf is quiet", {
            // A leaf past the last of its range: zeros on AMD, the last basic leaf on Intel.
            let values = cpuid(0x8fff_ffff, 0);
            let last = cpuid(cpuid(0, 0).eax, 0);
            (values.eax | values.ebx | values.ecx | values.edx) == 0 || values.eax == last.eax
        }),
    ];
    let mut right = true;
    for (what, holds) in checks {
        if !holds {
            println!("cpuid: WRONG, {what} does not hold");
            right = false;
        }
    }
    if right {
        println!("cpuid: ok");
    }
}
