//! Values that registers do not take: #GP, and nothing changes.

use super::{CODE, check, is_intel};
use support::cpu::{self, Fault, PROTECTION, is_bare, rdmsr, try_rdmsr, try_wrmsr, write8, write64};
use support::trap::call_wild;
use support::{paging, println, survivable};

const EFER: u32 = 0xc000_0080;
const CR4: u32 = 4;

/// Makes `NAME(value)` of a MOV to a register, and reads it back by `reads`.
macro_rules! moves {
    ($($name:ident = $write:literal;)*) => {$(
        fn $name(value: u64) -> Result<(), Fault> {
            let mark: u64;
            // SAFETY: values that are taken are put back by the caller.
            unsafe { survivable!(mark, $write, in("rax") value) };
            if mark == 0 { Ok(()) } else { Err(Fault((mark - 1) as u8)) }
        }
    )*};
}

moves! {
    write_cr0 = "mov cr0, rax";
    write_cr3 = "mov cr3, rax";
    write_cr4 = "mov cr4, rax";
    write_cr8 = "mov cr8, rax";
    write_dr6 = "mov dr6, rax";
    write_dr7 = "mov dr7, rax";
}

fn try_xsetbv(register: u32, value: u64) -> Result<(), Fault> {
    let mark: u64;
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: nothing in the guest's code uses extended state.
    unsafe { survivable!(mark, "xsetbv", in("ecx") register, in("eax") low, in("edx") high) };
    if mark == 0 { Ok(()) } else { Err(Fault((mark - 1) as u8)) }
}

macro_rules! read {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: reads a register.
        unsafe { core::arch::asm!(concat!("mov {}, ", $register), out(reg) value) };
        value
    }};
}

fn refused(result: Result<(), Fault>, what: core::fmt::Arguments<'_>) {
    check(result == Err(PROTECTION), format_args!("{what} gives {result:?}"));
}

/// Tries them. What QEMU takes without a look, where no hypervisor is between, is left to Bochs.
pub fn run() {
    if !is_bare() {
        hidden_features();
        model_specific();
    }
    if is_intel() {
        strict_control();
    }
    for high in [1u64 << 32, 1 << 63] {
        refused(write_dr7(read!("dr7") | high), format_args!("DR7 with {high:#x}"));
        refused(write_dr6(read!("dr6") | high), format_args!("DR6 with {high:#x}"));
    }
    addresses();
    far_end_of_code();
    println!("processor: registers are tried");
}

/// Features that CPUID does not tell the guest of cannot be switched on.
fn hidden_features() {
    let before = read!("cr4");
    // LA57, VMXE, SMXE, PKE, CET, PKS, UINTR, FRED, and what nobody has.
    for bit in [12, 13, 14, 22, 23, 24, 25, 32, 63] {
        refused(write_cr4(before | 1 << bit), format_args!("CR{CR4} bit {bit}"));
    }
    refused(write_cr4(before & !(1 << 5)), format_args!("CR{CR4} without PAE in long mode"));
    check(read!("cr4") == before, format_args!("CR{CR4} changed"));
    for (register, value) in
        [(1, 1), (0, 0), (0, 2), (0, 5), (0, 0x207), (0, 0xe7), (0, 0x6_0007), (0, 1 << 63 | 1), (2, 1)]
    {
        refused(try_xsetbv(register, value), format_args!("XCR{register} = {value:#x}"));
    }
    // SVME, LMSLE, FFXSR, TCE, automatic IBRS, reserved bits.
    let efer = rdmsr(EFER);
    for bit in [1, 9, 12, 13, 14, 15, 21, 63] {
        refused(try_wrmsr(EFER, efer | 1 << bit), format_args!("EFER bit {bit}"));
    }
    refused(try_wrmsr(EFER, efer & !(1 << 8)), format_args!("EFER without LME while paging"));
    check(rdmsr(EFER) == efer, format_args!("EFER changed"));
}

fn model_specific() {
    refused(try_wrmsr(0x277, 0x0007_0406_0007_0402), format_args!("a PAT with a type that there is not"));
    let base = rdmsr(0x1b);
    for value in [base & !0xfff_f000 | 0xfed0_0000, base | 1 << 52, base | 1] {
        refused(try_wrmsr(0x1b, value), format_args!("IA32_APIC_BASE = {value:#x}"));
    }
    for msr in 0xc001_0000..=0xc001_0007 {
        check(
            try_rdmsr(msr) == Ok(0) && try_wrmsr(msr, 0x42).is_ok(),
            format_args!("MSR {msr:#x} is not there"),
        );
    }
    check(
        try_rdmsr(0xc001_1020) == Err(PROTECTION),
        format_args!("a mitigation that does nothing is offered"),
    );
}

/// What a processor checks by itself; QEMU does not.
fn strict_control() {
    let (cr0, cr3, cr4) = (read!("cr0"), read!("cr3"), read!("cr4"));
    for (what, value) in
        [("NW without CD", cr0 | 1 << 29), ("PG without PE", cr0 & !1), ("a bit above 31", cr0 | 1 << 32)]
    {
        refused(write_cr0(value), format_args!("CR0 with {what}"));
    }
    refused(write_cr3(cr3 | 1 << 60), format_args!("CR3 with bit 60"));
    refused(write_cr8(16), format_args!("CR8 = 16"));
    check(
        (cr0, cr3, cr4) == (read!("cr0"), read!("cr3"), read!("cr4")),
        format_args!("a control register changed"),
    );
}

/// Registers that hold addresses: #GP, or they keep what they were given. An entry with
/// them must not fail.
fn addresses() {
    const NOWHERE: u64 = 1 << 62;
    for msr in [0xc000_0082, 0xc000_0083, 0xc000_0100, 0xc000_0101, 0xc000_0102, 0x175, 0x176] {
        let before = rdmsr(msr);
        let result = try_wrmsr(msr, NOWHERE);
        check(matches!(result, Ok(()) | Err(PROTECTION)), format_args!("MSR {msr:#x} gives {result:?}"));
        let _ = cpu::cpuid(0, 0);
        check(try_wrmsr(msr, before).is_ok(), format_args!("MSR {msr:#x} does not take what it had"));
    }
    // MOV RAX, NOWHERE; JMP RAX.
    let code = [0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x40, 0xff, 0xe0];
    let bytes = super::place(&code);
    let fault = call_wild(CODE, bytes, 0);
    check(fault.is_some(), format_args!("code runs at {NOWHERE:#x}"));
}

/// CPUID in the last bytes of the lower half of addresses: the next instruction is nowhere.
fn far_end_of_code() {
    const LAST: u64 = 0x7fff_ffff_fffe;
    const LARGE: u64 = 0x80 | 3;
    let at = LAST & !0x1f_ffff;
    let physical = CODE & !0x1f_ffff;
    if !paging::map_to(at, physical, LARGE) {
        return check(false, format_args!("no tables are left"));
    }
    for (address, byte) in (LAST & 0x1f_ffff | physical..).zip([0x0f, 0xa2]) {
        write8(address, byte);
    }
    write64(super::DATA, 0);
    let fault = call_wild(LAST, 2, 0);
    check(matches!(fault, Some(13 | 14)), format_args!("beyond the last address: {fault:?}"));
}
