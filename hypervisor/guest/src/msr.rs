//! Which MSRs a guest has, as a table: default deny.
//!
//! What is not here is #GP, as on a processor that lacks it, and is logged once
//! per MSR. MSRs that reach the local APIC, the paravirtual clock or the control
//! block are told by [`Policy`]; the caller does them.

use serde::{Deserialize, Serialize};
use spec::msr;

/// What becomes of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// The vCPU backend holds it (EFER, PAT, SYSCALL registers, bases).
    Backend,
    /// Local APIC base.
    ApicBase,
    /// Local APIC timer deadline.
    TscDeadline,
    /// x2APIC register of this number.
    X2Apic(u8),
    /// Memory type register of this index in [`Mtrrs`].
    Mtrr(usize),
    /// Paravirtual wall clock: a gpa to write it to.
    WallClock,
    /// Paravirtual system time: a gpa to keep it at, bit 0 enables.
    SystemTime,
    /// Paravirtual end of interrupt: a gpa at which it is noted, bit 0 enables.
    PvEoi,
    /// How often this vCPU has left its guest; writes are dropped.
    Exits,
    /// The time-stamp counter: reads as it is; writes are dropped, since other
    /// processors and the paravirtual clock rely on it.
    Tsc,
    /// Reads this value; writes are dropped, as processors do with registers whose
    /// bits are all reserved-ignored.
    Constant(u64),
    /// #GP.
    Deny,
}

/// How often the vCPU that reads it has left its guest, the read included. Bulkhead's own, in
/// a range that no processor has; guests use it to find out what costs them exits.
pub const EXITS: u32 = 0x4248_0000;

/// Number of memory type registers held: the default type, 11 fixed ranges, 8
/// variable ranges of two registers each.
pub const MTRRS: usize = 1 + 11 + 16;

/// One line of the table: first MSR, last MSR, what becomes of it.
type Row = (u32, u32, Policy);

/// Sorted by number. Values are what a plain processor without the feature gives.
const TABLE: &[Row] = &[
    // Machine check addresses of the P5: read by old kernels at boot.
    (0x0, 0x1, Policy::Constant(0)),
    (msr::TSC, msr::TSC, Policy::Tsc),
    (0x11, 0x11, Policy::WallClock),
    (0x12, 0x12, Policy::SystemTime),
    // Platform ID.
    (0x17, 0x17, Policy::Constant(0)),
    (msr::APIC_BASE, msr::APIC_BASE, Policy::ApicBase),
    // Microcode: loading does nothing, no revision.
    (0x79, 0x79, Policy::Constant(0)),
    (0x8b, 0x8b, Policy::Constant(0)),
    // 8 variable ranges, fixed ranges, write-combining.
    (msr::MTRRCAP, msr::MTRRCAP, Policy::Constant(0x508)),
    (msr::SYSENTER_CS, msr::SYSENTER_EIP, Policy::Backend),
    // Machine check: no banks.
    (0x179, 0x17b, Policy::Constant(0)),
    // Miscellaneous enables: fast strings; no branch trace, no event sampling (Intel).
    (0x1a0, 0x1a0, Policy::Constant(0x1801)),
    // Debug control: no last-branch records.
    (0x1d9, 0x1d9, Policy::Constant(0)),
    (0x200, 0x20f, Policy::Mtrr(12)),
    (0x250, 0x250, Policy::Mtrr(1)),
    (0x258, 0x259, Policy::Mtrr(2)),
    (0x268, 0x26f, Policy::Mtrr(4)),
    (msr::PAT, msr::PAT, Policy::Backend),
    (msr::MTRR_DEF_TYPE, msr::MTRR_DEF_TYPE, Policy::Mtrr(0)),
    (msr::TSC_DEADLINE, msr::TSC_DEADLINE, Policy::TscDeadline),
    (msr::X2APIC_FIRST, msr::X2APIC_LAST, Policy::X2Apic(0)),
    (EXITS, EXITS, Policy::Exits),
    (0x4b56_4d00, 0x4b56_4d00, Policy::WallClock),
    (0x4b56_4d01, 0x4b56_4d01, Policy::SystemTime),
    (0x4b56_4d04, 0x4b56_4d04, Policy::PvEoi),
    (msr::EFER, msr::SFMASK, Policy::Backend),
    (msr::FS_BASE, msr::KERNEL_GS_BASE, Policy::Backend),
    // Performance counters and what they select, which no CPUID bit tells of: they count
    // nothing (AMD).
    (0xc001_0000, 0xc001_0007, Policy::Constant(0)),
    // SYSCFG, HWCR: nothing set (AMD).
    (0xc001_0010, 0xc001_0010, Policy::Constant(0)),
    (0xc001_0015, 0xc001_0015, Policy::Constant(0)),
    // Northbridge and interrupt-pending configuration (AMD).
    (0xc001_001f, 0xc001_001f, Policy::Constant(0)),
    (0xc001_0055, 0xc001_0055, Policy::Constant(0)),
    // OS-visible workarounds: none known to hold (AMD).
    (0xc001_0140, 0xc001_0141, Policy::Constant(0)),
    // Data cache and decode configuration: LFENCE serialises (AMD). Load-store configuration
    // (C001_1020) is not there, so that no kernel believes its bit against speculative stores.
    (0xc001_1022, 0xc001_1022, Policy::Constant(0)),
    (0xc001_1029, 0xc001_1029, Policy::Constant(2)),
];

/// What becomes of an access to `number`.
#[inline]
pub fn policy(number: u32) -> Policy {
    // What a running guest uses, without a search.
    match number {
        msr::X2APIC_FIRST..=msr::X2APIC_LAST => Policy::X2Apic((number - msr::X2APIC_FIRST) as u8),
        msr::TSC_DEADLINE => Policy::TscDeadline,
        _ => search(number),
    }
}

fn search(number: u32) -> Policy {
    let row = TABLE.partition_point(|&(first, _, _)| first <= number).checked_sub(1);
    let Some(&(first, last, policy)) = row.and_then(|row| TABLE.get(row)) else { return Policy::Deny };
    if number > last {
        return Policy::Deny;
    }
    match policy {
        Policy::Mtrr(index) => Policy::Mtrr(index + (number - first) as usize),
        Policy::X2Apic(_) => Policy::X2Apic((number - first) as u8),
        other => other,
    }
}

/// A guest's memory type registers. They are held and read back; nested paging
/// decides the types, so they have no effect.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mtrrs([u64; MTRRS]);

impl Default for Mtrrs {
    fn default() -> Self {
        let mut registers = [0; MTRRS];
        // Enabled, fixed ranges enabled, default write-back.
        registers[0] = 0xc06;
        // Fixed ranges: write-back, as the hole below 1 MiB is memory here.
        registers[1..12].fill(0x0606_0606_0606_0606);
        Self(registers)
    }
}

impl Mtrrs {
    /// Whether each register could have been written like that.
    pub fn are_possible(&self) -> bool {
        let mut written = Self::default();
        self.0.into_iter().enumerate().all(|(index, value)| written.write(index, value))
    }

    /// Reads the register with this index.
    pub fn read(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    /// Writes a register; false (#GP) where a reserved bit or type is set (Intel
    /// SDM vol. 3 section 12.11.2).
    pub fn write(&mut self, index: usize, value: u64) -> bool {
        const ADDRESS: u64 = (1 << 48) - 1;
        let type_ok = |memory_type: u64| matches!(memory_type & 0xff, 0 | 1 | 4 | 5 | 6);
        let legal = match index {
            0 => value & !0xcff == 0 && type_ok(value),
            1..12 => value.to_le_bytes().iter().all(|&byte| type_ok(byte.into())),
            // Base registers are even among the variable ones.
            _ if index.is_multiple_of(2) => value & !(ADDRESS & !0xf00) == 0 && type_ok(value),
            _ => value & !(ADDRESS & !0x7ff) == 0,
        };
        if let (true, Some(register)) = (legal, self.0.get_mut(index)) {
            *register = value;
        }
        legal
    }
}

/// Whether a guest may set EFER to `value` (AMD APM vol. 2 section 3.1.7): only SCE, LME,
/// LMA and NXE, which both vendors have and CPUID shows, and LME not while paging is on.
pub fn efer_is_legal(value: u64, current: u64, paging: bool) -> bool {
    const ALLOWED: u64 = 1 | 1 << 8 | 1 << 10 | 1 << 11;
    const LME: u64 = 1 << 8;
    value & !ALLOWED == 0 && !(paging && (value ^ current) & LME != 0)
}

/// Whether XCR0 may be `value` where `offered` are the state components that the guest
/// has (Intel SDM vol. 1 section 13.3): x87 always, AVX only with SSE.
pub fn xcr0_is_legal(value: u64, offered: u64) -> bool {
    const X87: u64 = 1;
    const SSE: u64 = 1 << 1;
    const AVX: u64 = 1 << 2;
    value & !offered == 0 && value & X87 != 0 && (value & AVX == 0 || value & SSE != 0)
}

/// Remembers which MSRs were refused, to log each once. Bounded: when full, no
/// more is logged.
#[derive(Default)]
pub struct LoggedOnce {
    seen: [u32; 32],
    count: usize,
}

impl LoggedOnce {
    /// Whether `number` is refused for the first time and there is room.
    pub fn is_new(&mut self, number: u32) -> bool {
        let seen = self.seen.get(..self.count).unwrap_or(&[]);
        if seen.contains(&number) {
            return false;
        }
        let Some(slot) = self.seen.get_mut(self.count) else { return false };
        *slot = number;
        self.count += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_does_not_overlap() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].1 < pair[1].0, "{:#x} and {:#x}", pair[0].0, pair[1].0);
        }
    }

    #[test]
    fn unknown_is_denied_and_ranges_are_indexed() {
        assert_eq!(policy(0x2), Policy::Deny);
        assert_eq!(policy(0xc001_0114), Policy::Deny, "VM_CR");
        assert_eq!(policy(0xc001_0117), Policy::Deny, "VM_HSAVE_PA");
        assert_eq!(policy(0xffff_ffff), Policy::Deny);
        assert_eq!(policy(0x830), Policy::X2Apic(0x30));
        assert_eq!(policy(0x20f), Policy::Mtrr(27));
        assert_eq!(policy(0x26f), Policy::Mtrr(11));
        assert_eq!(policy(0x900), Policy::Deny);
    }

    #[test]
    fn the_old_performance_counters_are_there_and_count_nothing() {
        for number in 0xc001_0000..=0xc001_0007 {
            assert_eq!(policy(number), Policy::Constant(0), "{number:#x}");
        }
        assert_eq!(policy(0xc001_0008), Policy::Deny);
    }

    #[test]
    fn a_mitigation_that_would_do_nothing_is_not_offered() {
        assert_eq!(policy(0xc001_1020), Policy::Deny);
    }

    #[test]
    fn every_memory_type_register_has_its_place() {
        let mut used = [false; MTRRS];
        for number in 0..0x400 {
            if let Policy::Mtrr(index) = policy(number) {
                assert!(!core::mem::replace(&mut used[index], true), "{number:#x}");
            }
        }
        assert!(used.iter().all(|&used| used));
    }

    #[test]
    fn reserved_memory_types_fault() {
        let mut mtrrs = Mtrrs::default();
        assert!(!mtrrs.write(0, 0xc02));
        assert!(!mtrrs.write(1, 0x0606_0306_0606_0606));
        assert!(!mtrrs.write(12, 0xf00));
        assert!(!mtrrs.write(13, 1 << 50));
        assert!(mtrrs.write(12, 0xe000_0000));
        assert!(mtrrs.write(13, 0xffff_e000_0800));
        assert_eq!(mtrrs.read(12), 0xe000_0000);
        assert_eq!(mtrrs.read(MTRRS), 0);
    }

    #[test]
    fn efer_keeps_svme_and_paging_safe() {
        assert!(efer_is_legal(0xd01, 0xd00, true));
        assert!(!efer_is_legal(0x1d01, 0xd01, true), "SVME is not the guest's");
        assert!(!efer_is_legal(0, 0x500, true), "LME while paging");
        assert!(efer_is_legal(0x100, 0, false));
        assert!(!efer_is_legal(1 << 14, 0, false), "FFXSR, of which CPUID says nothing");
    }

    #[test]
    fn extended_state_is_what_is_offered_and_goes_together() {
        for (value, offered, legal) in [
            (1, 7, true),
            (3, 7, true),
            (7, 7, true),
            (7, 3, false),
            (5, 7, false),
            (2, 7, false),
            (0, 7, false),
            (0xe7, 7, false),
            (1 << 63 | 1, 7, false),
            (1, 0, false),
        ] {
            assert_eq!(xcr0_is_legal(value, offered), legal, "{value:#x} of {offered:#x}");
        }
    }

    #[test]
    fn refusals_are_logged_once_and_bounded() {
        let mut logged = LoggedOnce::default();
        assert!(logged.is_new(7));
        assert!(!logged.is_new(7));
        let more = (100..1000).filter(|&msr| logged.is_new(msr)).count();
        assert_eq!(more, 31);
    }
}
