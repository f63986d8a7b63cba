//! Privileged instructions, with and without surviving their faults.

use core::arch::asm;
use core::arch::x86_64::CpuidResult;

/// The vector of the exception that an instruction raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault(pub u8);

/// #UD.
pub const UNDEFINED: Fault = Fault(6);
/// #GP.
pub const PROTECTION: Fault = Fault(13);

/// R11 after an instruction that [`crate::trap`] may have stepped over.
fn survived<T>(mark: u64, value: T) -> Result<T, Fault> {
    if mark == 0 { Ok(value) } else { Err(Fault((mark - 1) as u8)) }
}

/// Runs one instruction whose fault puts its vector + 1 into R11 and goes on behind
/// it: the trap handler finds the pair of addresses in the `.fixups` section.
#[macro_export]
macro_rules! survivable {
    ($mark:ident, $instruction:expr $(, $($operands:tt)*)?) => {
        ::core::arch::asm!(
            "xor r11d, r11d",
            concat!("2: ", $instruction),
            "3:",
            ".pushsection .fixups, \"a\"",
            ".quad 2b, 3b",
            ".popsection",
            out("r11") $mark
            $(, $($operands)*)?
        )
    };
}

/// Makes `try_NAME() -> Result<(), Fault>` of instructions that take RAX and ECX at
/// most and return nothing that matters.
macro_rules! probes {
    ($($(#[$doc:meta])* $name:ident = $instruction:literal;)*) => {$(
        $(#[$doc])*
        pub fn $name(rax: u64) -> Result<(), Fault> {
            let mark: u64;
            // SAFETY: the instruction faults or changes RAX, RCX, RDX, RBX at most.
            unsafe {
                survivable!(mark, $instruction, inout("rax") rax => _, inout("ecx") 0 => _, out("rdx") _);
            }
            survived(mark, ())
        }
    )*};
}

probes! {
    /// VMRUN (AMD APM vol. 3).
    try_vmrun = "vmrun rax";
    /// VMLOAD.
    try_vmload = "vmload rax";
    /// VMSAVE.
    try_vmsave = "vmsave rax";
    /// STGI.
    try_stgi = "stgi";
    /// CLGI.
    try_clgi = "clgi";
    /// SKINIT.
    try_skinit = "skinit eax";
    /// INVLPGA.
    try_invlpga = "invlpga rax, ecx";
    /// VMMCALL with an unknown number in RAX.
    try_vmmcall = "vmmcall";
    /// VMCALL, the other vendor's.
    try_vmcall = ".byte 0x0f, 0x01, 0xc1";
    /// VMXOFF, the other vendor's.
    try_vmxoff = ".byte 0x0f, 0x01, 0xc4";
    /// MONITOR.
    try_monitor = ".byte 0x0f, 0x01, 0xc8";
    /// RSM outside system management mode.
    try_rsm = ".byte 0x0f, 0xaa";
    /// GETSEC.
    try_getsec = ".byte 0x0f, 0x37";
}

/// A hypercall of KVM's interface with four operands; its answer. To be made only where CPUID
/// offers it.
pub fn hypercall(number: u64, operands: [u64; 4]) -> i64 {
    let [first, second, third, fourth] = operands;
    let mut answer = number;
    let intel = cpuid(0, 0).ebx == u32::from_le_bytes(*b"Genu");
    // SAFETY: the call reads and writes no memory. RBX is LLVM's own, hence the exchange.
    unsafe {
        if intel {
            asm!("xchg rbx, {first}", ".byte 0x0f, 0x01, 0xc1", "xchg rbx, {first}", first = in(reg) first,
                 inout("rax") answer, in("rcx") second, in("rdx") third, in("rsi") fourth);
        } else {
            asm!("xchg rbx, {first}", "vmmcall", "xchg rbx, {first}", first = in(reg) first,
                 inout("rax") answer, in("rcx") second, in("rdx") third, in("rsi") fourth);
        }
    }
    answer as i64
}

/// Does `STI` and then, in its shadow, what lets no interrupt in; returns with interrupts off.
pub fn sti_cli() {
    // SAFETY: as for `enable_interrupts`.
    unsafe { asm!("sti", "cli") };
}

/// Reads a model-specific register.
pub fn try_rdmsr(msr: u32) -> Result<u64, Fault> {
    let (mark, low, high): (u64, u32, u32);
    // SAFETY: reads no memory.
    unsafe { survivable!(mark, "rdmsr", in("ecx") msr, out("eax") low, out("edx") high) };
    survived(mark, u64::from(high) << 32 | u64::from(low))
}

/// Writes a model-specific register.
pub fn try_wrmsr(msr: u32, value: u64) -> Result<(), Fault> {
    let mark: u64;
    // SAFETY: the guest is the machine's only program; see the crate's head.
    unsafe {
        survivable!(mark, "wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32);
    }
    survived(mark, ())
}

/// Reads a model-specific register that is known to exist; 0 if it is not there.
pub fn rdmsr(msr: u32) -> u64 {
    try_rdmsr(msr).unwrap_or(0)
}

/// Writes a model-specific register that is known to exist.
pub fn wrmsr(msr: u32, value: u64) {
    let _ = try_wrmsr(msr, value);
}

/// Reads 4 bytes anywhere.
pub fn try_read32(address: u64) -> Result<u32, Fault> {
    let (mark, value): (u64, u32);
    // SAFETY: a read; it faults at worst.
    unsafe { survivable!(mark, "mov {v:e}, [{a}]", a = in(reg) address, v = out(reg) value) };
    survived(mark, value)
}

/// Writes 4 bytes anywhere but on Rust objects.
pub fn try_write32(address: u64, value: u32) -> Result<(), Fault> {
    let mark: u64;
    // SAFETY: callers name device registers, foreign memory or their own canaries.
    unsafe { survivable!(mark, "mov [{a}], {v:e}", a = in(reg) address, v = in(reg) value) };
    survived(mark, ())
}

macro_rules! memory {
    ($read:ident, $write:ident, $type:ty, $bytes:literal) => {
        #[doc = concat!("Reads ", $bytes, " bytes of a device or of memory that no Rust object lies in.")]
        pub fn $read(address: u64) -> $type {
            // SAFETY: callers name addresses without Rust objects; all of it is mapped.
            unsafe { core::ptr::with_exposed_provenance::<$type>(address as usize).read_volatile() }
        }
        #[doc = concat!("Writes ", $bytes, " bytes to a device or to memory that no Rust object lies in.")]
        pub fn $write(address: u64, value: $type) {
            // SAFETY: as above.
            unsafe { core::ptr::with_exposed_provenance_mut::<$type>(address as usize).write_volatile(value) }
        }
    };
}
memory!(read8, write8, u8, "1");
memory!(read16, write16, u16, "2");
memory!(read32, write32, u32, "4");
memory!(read64, write64, u64, "8");

macro_rules! ports {
    ($read:ident, $write:ident, $type:ty, $register:tt, $bytes:literal) => {
        #[doc = concat!("Reads ", $bytes, " bytes of a port.")]
        pub fn $read(port: u16) -> $type {
            let value: $type;
            // SAFETY: touches no memory.
            unsafe { asm!(concat!("in ", $register, ", dx"), in("dx") port, out($register) value) };
            value
        }
        #[doc = concat!("Writes ", $bytes, " bytes to a port.")]
        pub fn $write(port: u16, value: $type) {
            // SAFETY: the guest is the machine's only program; see the crate's head.
            unsafe { asm!(concat!("out dx, ", $register), in("dx") port, in($register) value) };
        }
    };
}
ports!(in8, out8, u8, "al", "1");

/// Writes all of `bytes` to a port by one instruction.
pub fn out8_all(port: u16, bytes: &[u8]) {
    // SAFETY: it reads `bytes`, forwards; a port does nothing to memory here.
    unsafe {
        asm!("cld; rep outsb", in("dx") port, inout("rsi") bytes.as_ptr() => _,
             inout("rcx") bytes.len() => _, options(nostack, readonly))
    };
}
ports!(in16, out16, u16, "ax", "2");

/// Reads `words` words of a port to `address`, where no Rust object lies, by one instruction.
pub fn in16_all(port: u16, address: u64, words: u64) {
    // SAFETY: callers name addresses without Rust objects.
    unsafe { asm!("cld; rep insw", in("dx") port, inout("rdi") address => _, inout("rcx") words => _) };
}

/// Writes `words` words from `address`, where no Rust object lies, to a port by one instruction.
pub fn out16_all(port: u16, address: u64, words: u64) {
    // SAFETY: as above; a port does nothing to memory here.
    unsafe { asm!("cld; rep outsw", in("dx") port, inout("rsi") address => _, inout("rcx") words => _) };
}
ports!(in32, out32, u32, "eax", "4");

/// CPUID of a leaf and subleaf.
pub fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    core::arch::x86_64::__cpuid_count(leaf, subleaf)
}

/// The time-stamp counter.
pub fn rdtsc() -> u64 {
    // SAFETY: reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Lets interrupts in.
pub fn enable_interrupts() {
    // SAFETY: the interrupt table is loaded by `trap::install`.
    unsafe { asm!("sti") };
}

/// The task priority, its upper half: CR8.
pub fn task_priority() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr8", out(reg) value) };
    value
}

/// Sets the task priority by CR8, 0 to 15.
pub fn set_task_priority(value: u64) {
    // SAFETY: as for `enable_interrupts`.
    unsafe { asm!("mov cr8, {}", in(reg) value & 15) };
}

/// Keeps interrupts out.
pub fn disable_interrupts() {
    // SAFETY: always allowed in ring 0.
    unsafe { asm!("cli") };
}

/// Lets interrupts in and halts until the next one, without a gap between.
pub fn wait_for_interrupt() {
    // SAFETY: as for `enable_interrupts`.
    unsafe { asm!("sti", "hlt") };
}

/// Halts for good.
pub fn halt() -> ! {
    loop {
        // SAFETY: halting is always allowed in ring 0.
        unsafe { asm!("cli", "hlt") };
    }
}

/// Whether the guest runs on the emulator itself, with no hypervisor between
/// (its signature is then TCG's).
pub fn is_bare() -> bool {
    let leaf = cpuid(0x4000_0000, 0);
    cpuid(1, 0).ecx & 1 << 31 == 0 || leaf.ebx == u32::from_le_bytes(*b"TCGT")
}
