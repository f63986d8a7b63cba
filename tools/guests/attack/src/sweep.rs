//! Sweeps over whole ranges: ports, model-specific registers, addresses, instructions.

use crate::Environment;
use support::cpu::{self, Fault, PROTECTION, UNDEFINED, is_bare, rdmsr, try_rdmsr, try_wrmsr};
use support::cpu::{in8, in16, in32, out8, out16, out32};
use support::{apic, paging, pci, println};

const EFER: u32 = 0xc000_0080;
const SVME: u64 = 1 << 12;
const VM_HSAVE_PA: u32 = 0xc001_0117;

/// Ports whose writes end or silence the guest itself: power and reset, the
/// keyboard controller's reset line, fast A20, COM1.
fn ends_guest(port: u16) -> bool {
    let touched = port..=port.saturating_add(3);
    let among = |first: u16, last: u16| *touched.start() <= last && *touched.end() >= first;
    among(0x600, 0x60b)
        || among(0xcf9, 0xcf9)
        || among(0x64, 0x64)
        || among(0x92, 0x92)
        || among(0x3f8, 0x3ff)
}

/// Every port, read and written in every width. On the emulator itself bytes are read
/// only: its UART stops it at a wider read, and wild writes reach its own controls.
pub fn ports(_: &Environment) {
    let functions = pci::functions().count();
    let mut sum = 0u32;
    for port in 0..=u16::MAX {
        sum = sum.wrapping_add(in8(port).into());
        if !is_bare() {
            sum = sum.wrapping_add(in16(port).into()).wrapping_add(in32(port));
        }
    }
    println!("sweep-ports: read all, sum {sum:#x}");
    if !is_bare() {
        for port in (0..=u16::MAX).filter(|port| !ends_guest(*port)) {
            out8(port, 0xff);
            out16(port, 0);
            out32(port, 0xffff_ffff);
        }
        // What the writes above set in the guest's own devices.
        out32(0xcf8, 0);
        out8(0x21, 0xff);
        out8(0xa1, 0xff);
    }
    match pci::functions().count() == functions {
        true => println!("attack sweep-ports: held"),
        false => println!("attack sweep-ports: BROKEN, the functions on the bus changed"),
    }
}

/// Every model-specific register that exists somewhere, and many that do not.
pub fn msrs(_: &Environment) {
    let ranges = [
        0u32..0x2000,
        0x4000_0000..0x4000_0200,
        0x4b56_4d00..0x4b56_4d10,
        0x8086_0000..0x8086_0010,
        0xc000_0000..0xc000_2000,
        0xc001_0000..0xc001_2000,
        0xc002_0000..0xc002_0100,
        0xffff_ff00..0xffff_ffff,
    ];
    let (mut read, mut refused) = (0, 0);
    for msr in ranges.into_iter().flatten() {
        match try_rdmsr(msr) {
            Ok(value) => {
                read += 1;
                if !tolerable(try_wrmsr(msr, value)) {
                    println!("attack sweep-msr: BROKEN, write of {msr:#x} raised another exception than #GP");
                    return;
                }
            }
            Err(PROTECTION) => {
                refused += 1;
                if !(tolerable(try_wrmsr(msr, 0)) && tolerable(try_wrmsr(msr, u64::MAX))) {
                    println!("attack sweep-msr: BROKEN, write of {msr:#x} raised another exception than #GP");
                    return;
                }
            }
            Err(Fault(vector)) => {
                println!("attack sweep-msr: BROKEN, read of {msr:#x} raised {vector}");
                return;
            }
        }
    }
    println!("sweep-msr: {read} can be read, {refused} not");
    if !is_bare() && !keeps_virtualization_away() {
        return;
    }
    println!("attack sweep-msr: held");
}

fn tolerable(result: Result<(), Fault>) -> bool {
    matches!(result, Ok(()) | Err(PROTECTION))
}

/// AMD-V must not be to be had from inside.
fn keeps_virtualization_away() -> bool {
    let _ = try_wrmsr(EFER, rdmsr(EFER) | SVME);
    if rdmsr(EFER) & SVME != 0 {
        println!("attack sweep-msr: BROKEN, EFER.SVME can be set");
        return false;
    }
    if try_wrmsr(VM_HSAVE_PA, 0x20_0000).is_ok() && rdmsr(VM_HSAVE_PA) == 0x20_0000 {
        println!("attack sweep-msr: BROKEN, the host save area can be set");
        return false;
    }
    if try_wrmsr(0x800 + apic::SVR, 0x1ff).is_err() && apic::is_x2apic() {
        println!("attack sweep-msr: BROKEN, the APIC is gone");
        return false;
    }
    true
}

/// Reads and writes outside memory: `from=`, `to=` and `step=` choose; without them
/// the 32-bit PCI window, which on any bus may be empty.
pub fn mmio(environment: &Environment) {
    let from = environment.number("from", 0xc000_0000);
    let to = environment.number("to", 0xe000_0000);
    let step = environment.number("step", 0x10_0000).max(4096);
    println!("sweep-mmio: {from:#x} to {to:#x}");
    let (mut address, mut accesses, mut strange) = (from, 0, 0);
    while address < to {
        // The guest's own devices answer for themselves.
        let own = pci::functions().any(|function| function.bar(0) & !0xf_ffff == address & !0xf_ffff);
        if !own && paging::map(address) {
            if let Ok(value) = cpu::try_read32(address) {
                strange += u32::from(value != u32::MAX);
            }
            if !is_bare() {
                let _ = cpu::try_write32(address, 0x5a5a_5a5a);
                let _ = cpu::try_write32(address | 0xffd, 0x5a5a_5a5a); // across a page's end
            }
            accesses += 1;
        }
        address = address.saturating_add(step);
    }
    println!("sweep-mmio: {accesses} places, {strange} of them not all ones");
    match is_bare() || strange == 0 {
        true => println!("attack sweep-mmio: held"),
        false => println!("attack sweep-mmio: BROKEN, something answers where nothing is"),
    }
}

/// Instructions of virtualisation itself: each must raise #UD or #GP.
pub fn svm(_: &Environment) {
    let _ = try_wrmsr(EFER, rdmsr(EFER) | if is_bare() { 0 } else { SVME });
    let probes: [(&str, fn(u64) -> Result<(), Fault>); 13] = [
        ("VMRUN", cpu::try_vmrun),
        ("VMLOAD", cpu::try_vmload),
        ("VMSAVE", cpu::try_vmsave),
        ("STGI", cpu::try_stgi),
        ("CLGI", cpu::try_clgi),
        ("SKINIT", cpu::try_skinit),
        ("INVLPGA", cpu::try_invlpga),
        ("VMCALL", cpu::try_vmcall),
        ("VMXOFF", cpu::try_vmxoff),
        ("RSM", cpu::try_rsm),
        ("GETSEC", cpu::try_getsec),
        ("MONITOR", cpu::try_monitor),
        ("VMMCALL", cpu::try_vmmcall),
    ];
    let mut broken = false;
    for (name, probe) in probes {
        let result = probe(0x60_0000);
        println!("svm {name}: {result:?}");
        // Both calls may be answered, and MONITOR may be offered, without harm.
        let harmless = matches!(name, "VMMCALL" | "VMCALL" | "MONITOR");
        broken |= !(matches!(result, Err(UNDEFINED | PROTECTION)) || harmless && result.is_ok());
    }
    println!("attack svm: {}", if broken { "BROKEN" } else { "held" });
}
