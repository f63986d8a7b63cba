//! What one run of a guest leaves in a processor must not meet the next.

use super::check;
use core::arch::asm;
use support::cpu::{cpuid, rdmsr, wrmsr};
use support::println;

const CR4_OSFXSR: u64 = 1 << 9;
const CR4_OSXSAVE: u64 = 1 << 18;
const XSAVE: u32 = 1 << 26;

/// MSRs that a guest reaches without an exit, and what they are after INIT.
const MSRS: [(u32, u64); 9] = [
    (0xc000_0081, 0), // STAR
    (0xc000_0082, 0), // LSTAR
    (0xc000_0083, 0), // CSTAR
    (0xc000_0084, 0), // SFMASK
    (0xc000_0102, 0), // KERNEL_GS_BASE
    (0xc000_0103, 0), // TSC_AUX
    (0x174, 0),       // SYSENTER_CS
    (0x175, 0),       // SYSENTER_ESP
    (0x176, 0),       // SYSENTER_EIP
];
const PAT: (u32, u64) = (0x277, 0x0007_0406_0007_0406);

/// XSAVE's layout: 512 bytes that FXSAVE has too, 64 of header, then AVX.
const AREA: usize = 1024;
#[repr(C, align(64))]
struct Area([u8; AREA]);

impl Area {
    fn word(&self, offset: usize) -> u64 {
        let bytes = self.0.get(offset..offset + 8).and_then(|bytes| bytes.try_into().ok());
        u64::from_le_bytes(bytes.unwrap_or([0xff; 8]))
    }

    fn put(&mut self, offset: usize, value: u64) {
        if let Some(bytes) = self.0.get_mut(offset..offset + 8) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
    }
}

fn has_xsave() -> bool {
    cpuid(1, 0).ecx & XSAVE != 0
}

/// Components that XCR0 may have here, as far as the area holds them.
fn components() -> u64 {
    u64::from(cpuid(0xd, 0).eax) & 7
}

fn xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: CR4.OSXSAVE is set where the caller saw XSAVE.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high) };
    u64::from(high) << 32 | u64::from(low)
}

/// Switches FXSAVE and XSAVE on; nothing in the guest's code uses what they save.
pub fn switch_on() {
    let bits = CR4_OSFXSR | if has_xsave() { CR4_OSXSAVE } else { 0 };
    // SAFETY: the bits change no memory. CR0: no emulation (2), no lazy switch (3), monitor (1).
    unsafe {
        asm!("mov {r}, cr4", "or {r}, {bits}", "mov cr4, {r}", r = out(reg) _, bits = in(reg) bits);
        asm!("mov {r}, cr0", "and {r}, -13", "or {r}, 2", "mov cr0, {r}", r = out(reg) _);
    }
}

macro_rules! debug_registers {
    ($($number:literal)*) => { [$({
        let value: u64;
        // SAFETY: reads a register.
        unsafe { asm!(concat!("mov {}, dr", $number), out(reg) value) };
        value
    }),*] };
}

/// Everything must be as after INIT.
pub fn check_clean() {
    let debug = debug_registers!("0" "1" "2" "3" "6" "7");
    check(debug == [0, 0, 0, 0, 0xffff_0ff0, 0x400], format_args!("debug registers hold {debug:x?}"));
    for (msr, value) in MSRS.into_iter().chain([PAT]) {
        let found = rdmsr(msr);
        check(found == value, format_args!("MSR {msr:#x} holds {found:#x}"));
    }
    let (page_fault, priority): (u64, u64);
    // SAFETY: reads registers.
    unsafe { asm!("mov {}, cr2", "mov {}, cr8", out(reg) page_fault, out(reg) priority) };
    check((page_fault, priority) == (0, 0), format_args!("CR2 holds {page_fault:#x}, CR8 {priority}"));
    check_extended();
    println!("processor: state is clean");
}

fn check_extended() {
    let mut area = Area([0; AREA]);
    if has_xsave() {
        let found = xcr0();
        check(found == 1, format_args!("XCR0 holds {found:#x}"));
        let (all, high) = (components() as u32, 0u32);
        // SAFETY: all that CPUID offers is legal; XSAVE of three components fits the area.
        unsafe {
            asm!("xsetbv", in("ecx") 0, in("eax") all, in("edx") high);
            asm!("xsave64 [{}]", in(reg) &mut area, in("eax") all, in("edx") high);
        }
    } else {
        // SAFETY: the area is longer than 512 bytes.
        unsafe { asm!("fxsave64 [{}]", in(reg) &mut area) };
    }
    let control = area.word(0) & 0xffff;
    check(control == 0x37f, format_args!("FCW holds {control:#x}"));
    let tags = area.word(0) >> 16;
    check(tags == 0, format_args!("x87 status, tags and opcode hold {tags:#x}"));
    let pointers = [area.word(8), area.word(16)];
    check(pointers == [0, 0], format_args!("x87 pointers hold {pointers:x?}"));
    check(area.word(24) as u32 == 0x1f80, format_args!("MXCSR holds {:#x}", area.word(24) as u32));
    // x87 and SSE registers; behind the header the upper halves of AVX's.
    let registers = (32..416).chain(576..832).step_by(8);
    let dirty = registers.filter(|offset| area.word(*offset) != 0).count();
    check(dirty == 0, format_args!("{dirty} words of x87, SSE and AVX registers are left"));
}

/// Fills all of it with marks.
pub fn leave_marks() {
    const MARK: u64 = 0x4d41_524b_4d41_524b;
    let mut area = Area([0; AREA]);
    (32..416).chain(576..832).step_by(8).for_each(|offset| area.put(offset, MARK));
    // FCW, FSW, all tags valid, an opcode; pointers; MXCSR.
    area.put(0, 0x0123_00ff_0000_0300);
    area.put(8, MARK >> 16);
    area.put(16, MARK >> 16);
    area.put(24, 0x1fa0);
    area.put(512, if has_xsave() { components() } else { 0 });
    for (msr, _) in MSRS {
        wrmsr(msr, 0x1234_5678);
    }
    wrmsr(PAT.0, 0x0606_0606_0606_0606);
    // SAFETY: legal values; the guest's own code uses none of these registers.
    unsafe {
        if has_xsave() {
            asm!("xrstor64 [{}]", in(reg) &area, in("eax") components() as u32, in("edx") 0);
        } else {
            asm!("fxrstor64 [{}]", in(reg) &area);
        }
        let mark = MARK >> 32;
        asm!("mov dr0, {m}", "mov dr1, {m}", "mov dr2, {m}", "mov dr3, {m}", "mov cr2, {m}",
             "mov dr6, {six}", "mov dr7, {seven}", "mov cr8, {eight}", m = in(reg) mark,
             six = in(reg) 0xffff_4ff3u64, seven = in(reg) 0x4aau64, eight = in(reg) 9u64);
    }
}
