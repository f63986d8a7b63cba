//! Machine checks: what the banks say, and who has to end (Intel SDM vol. 3 chapter 17, AMD
//! APM vol. 2 chapter 9).
//!
//! A machine check comes anywhere, so its handler takes no lock and prints nothing that the
//! machine survives: what it found waits in [`PENDING`] for the housekeeping CPU.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

/// What reaches a processor's model-specific registers.
pub trait Registers {
    /// Reads one that CPUID and IA32_MCG_CAP say is there.
    fn read(&mut self, msr: u32) -> u64;
    /// Writes one.
    fn write(&mut self, msr: u32, value: u64);
}

const MCG_CAP: u32 = 0x179;
const MCG_STATUS: u32 = 0x17a;
/// IA32_MCG_CAP: the number of banks.
const BANKS: u64 = 0xff;
/// IA32_MCG_CAP bit 24: banks tell what can be recovered from (S and AR).
const TELLS_RECOVERY: u64 = 1 << 24;

/// IA32_MCG_STATUS: what was interrupted can go on.
const RIPV: u64 = 1 << 0;
/// What was interrupted is what failed.
const EIPV: u64 = 1 << 1;

/// IA32_MCi_STATUS: the bank holds an error.
const VALID: u64 = 1 << 63;
/// More than one came, and some are lost.
const OVERFLOW: u64 = 1 << 62;
/// Not corrected.
const UNCORRECTED: u64 = 1 << 61;
/// Its machine check was switched on.
const ENABLED: u64 = 1 << 60;
/// The register of the address holds one.
const HAS_ADDRESS: u64 = 1 << 58;
/// The processor's own state is lost (PCC).
const CONTEXT_CORRUPT: u64 = 1 << 57;
/// It was signalled, and is not only told (S).
const SIGNALED: u64 = 1 << 56;
/// Something has to be done before what was interrupted goes on (AR; TCC of AMD).
const ACTION_REQUIRED: u64 = 1 << 55;

/// CPUID 8000_0007 EBX bit 3: banks have MSRs of their own from C000_2000 on (AMD).
const SCALABLE: u32 = 1 << 3;
/// The banks that the MSRs from 400h on reach; what follows there is VT-x's.
const LEGACY_BANKS: u32 = 32;
/// The banks that the MSRs from C000_2000 on reach.
const SCALABLE_BANKS: u32 = 64;

/// The registers of a bank: control, status, address, one after the other.
fn registers_of(bank: u32, scalable: bool) -> Option<u32> {
    match scalable {
        true if bank < SCALABLE_BANKS => Some(0xc000_2000 + 0x10 * bank),
        false if bank < LEGACY_BANKS => Some(0x400 + 4 * bank),
        _ => None,
    }
}

/// An error that a bank held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Number of the bank.
    pub bank: u8,
    /// IA32_MCi_STATUS.
    pub status: u64,
    /// IA32_MCi_ADDR, where the bank has it.
    pub address: Option<u64>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.status & UNCORRECTED == 0 { "corrected" } else { "uncorrected" };
        write!(f, "{kind} error in bank {}: {:#x}", self.bank, self.status)?;
        match self.address {
            Some(address) => write!(f, " at {address:#x}"),
            None => Ok(()),
        }
    }
}

/// Who has to end because of a machine check.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Damage {
    /// Nobody: what was wrong is corrected, or is not what runs here.
    None,
    /// What was interrupted, and nothing else.
    Interrupted,
    /// Everything: nobody knows what is still right.
    Machine,
}

/// What a machine check did, and what the banks said.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    /// Who has to end.
    pub damage: Damage,
    /// IA32_MCG_STATUS.
    pub status: u64,
    /// The worst of the banks.
    pub worst: Option<Fault>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "machine check, status {:#x}", self.status)?;
        match &self.worst {
            Some(fault) => write!(f, ", {fault}"),
            None => f.write_str(", no bank holds an error"),
        }
    }
}

/// Damage by one bank. `global` is IA32_MCG_STATUS.
fn damage_of(status: u64, global: u64, tells_recovery: bool, scalable: bool) -> Damage {
    if status & (UNCORRECTED | ENABLED) != UNCORRECTED | ENABLED {
        // Corrected, or none of those for which a machine check is raised.
        return if status & CONTEXT_CORRUPT != 0 { Damage::Machine } else { Damage::None };
    }
    if status & (CONTEXT_CORRUPT | OVERFLOW) != 0 {
        return Damage::Machine;
    }
    // Intel's go to every processor of a package; this one goes on where it is not meant, and
    // where nothing that it uses is hit. AMD's come to the processor that met the error.
    let meant = scalable || global & RIPV == 0 || global & EIPV != 0;
    let optional = tells_recovery && status & (SIGNALED | ACTION_REQUIRED) != SIGNALED | ACTION_REQUIRED;
    let used = status & ACTION_REQUIRED != 0;
    if meant && (used || !optional) { Damage::Interrupted } else { Damage::None }
}

/// Reads and clears the banks of this processor, and judges. The next machine check can come
/// afterwards, unless the machine has to end: then what there is stays for who comes next.
pub fn take(registers: &mut impl Registers, scalable: bool) -> Finding {
    let capability = registers.read(MCG_CAP);
    let global = registers.read(MCG_STATUS);
    // What was interrupted cannot go on, whatever the banks say.
    let least = if global & RIPV == 0 { Damage::Interrupted } else { Damage::None };
    let mut finding = Finding { damage: least, status: global, worst: None };
    let mut rank = None;
    for bank in 0..(capability & BANKS) as u32 {
        let Some(control) = registers_of(bank, scalable) else { break };
        let status = registers.read(control + 1);
        if status & VALID == 0 {
            continue;
        }
        let damage = damage_of(status, global, capability & TELLS_RECOVERY != 0, scalable);
        finding.damage = finding.damage.max(damage);
        if rank < Some((damage, status & UNCORRECTED)) {
            rank = Some((damage, status & UNCORRECTED));
            let address = (status & HAS_ADDRESS != 0).then(|| registers.read(control + 2));
            finding.worst = Some(Fault { bank: bank as u8, status, address });
        }
    }
    if finding.damage != Damage::Machine {
        clear(registers, scalable, capability);
    }
    finding
}

/// Clears the banks, and lets the next machine check come (MCIP).
fn clear(registers: &mut impl Registers, scalable: bool, capability: u64) {
    for bank in 0..(capability & BANKS) as u32 {
        let Some(control) = registers_of(bank, scalable) else { break };
        registers.write(control + 1, 0);
    }
    registers.write(MCG_STATUS, 0);
}

/// Switches the banks of this processor on. Gives the first error that was there before.
pub fn switch_on(registers: &mut impl Registers, scalable: bool) -> Option<Fault> {
    let capability = registers.read(MCG_CAP);
    let mut earlier = None;
    for bank in 0..(capability & BANKS) as u32 {
        let Some(control) = registers_of(bank, scalable) else { break };
        let status = registers.read(control + 1);
        if status & VALID != 0 && earlier.is_none() {
            let address = (status & HAS_ADDRESS != 0).then(|| registers.read(control + 2));
            earlier = Some(Fault { bank: bank as u8, status, address });
        }
        registers.write(control, u64::MAX);
        registers.write(control + 1, 0);
    }
    earlier
}

/// What was found where nobody could say it: the status of the worst bank, 0 for none, of the
/// processor by its place. A later one overwrites an earlier.
static PENDING: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

/// Leaves what was found for the housekeeping CPU to tell.
fn leave(processor: usize, finding: &Finding) {
    let status = finding.worst.map_or(VALID, |fault| fault.status | VALID);
    if let Some(place) = PENDING.get(processor % PENDING.len()) {
        place.store(status, Ordering::Relaxed);
    }
}

/// Tells what was left since the last call.
pub fn report() {
    for (processor, place) in PENDING.iter().enumerate() {
        if place.load(Ordering::Relaxed) != 0 {
            let status = place.swap(0, Ordering::Relaxed);
            log::warn!(
                "processor {processor}: a machine check in the hypervisor was survived, bank status {status:#x}"
            );
        }
    }
}

#[cfg(target_os = "none")]
mod here {
    use super::{Damage, Finding, Registers, SCALABLE, leave, switch_on, take};
    use crate::console::panic;
    use crate::cpu::interrupts::Frame;
    use crate::cpu::{processor, registers};

    struct ThisProcessor;

    impl Registers for ThisProcessor {
        fn read(&mut self, msr: u32) -> u64 {
            // SAFETY: a processor with the machine check architecture has these registers,
            // as many as IA32_MCG_CAP counts; reading them changes nothing.
            unsafe { registers::read_msr(msr) }
        }
        fn write(&mut self, msr: u32, value: u64) {
            // SAFETY: as for reading; all ones switch a bank on, 0 clears a status.
            unsafe { registers::write_msr(msr, value) };
        }
    }

    /// Whether this processor has the machine check architecture (CPUID 1 EDX bits 7 and 14).
    fn is_there() -> bool {
        registers::has(|info| info.has_mce() && info.has_mca())
    }

    fn is_scalable() -> bool {
        registers::cpuid(0x8000_0000, 0).eax >= 0x8000_0007
            && registers::cpuid(0x8000_0007, 0).ebx & SCALABLE != 0
    }

    /// Switches the banks of this processor on and tells what was in them.
    pub fn init() {
        if is_there()
            && let Some(fault) = switch_on(&mut ThisProcessor, is_scalable())
        {
            log::warn!("processor {}: before the hypervisor ran: {fault}", processor::current_index());
        }
    }

    /// The machine check that made a guest exit, or kept it from being entered. Comes back
    /// unless the machine has to end.
    pub fn in_guest() -> Finding {
        let finding = take(&mut ThisProcessor, is_scalable());
        if finding.damage == Damage::Machine {
            panic::machine_check_in_guest(&finding);
        }
        finding
    }

    /// A machine check in the hypervisor itself. Returns where what was interrupted can go on.
    pub(crate) fn in_hypervisor(frame: &Frame) {
        if !is_there() {
            panic::exception(frame);
        }
        let finding = take(&mut ThisProcessor, is_scalable());
        match finding.damage {
            Damage::None => leave(processor::current_index(), &finding),
            _ => panic::machine_check(frame, &finding),
        }
    }
}

#[cfg(target_os = "none")]
pub(crate) use here::in_hypervisor;
#[cfg(target_os = "none")]
pub use here::{in_guest, init};

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::BTreeMap;

    /// Registers that are there; any other is #GP.
    struct Fake(BTreeMap<u32, u64>);

    impl Registers for Fake {
        fn read(&mut self, msr: u32) -> u64 {
            *self.0.get(&msr).unwrap_or_else(|| panic!("#GP: MSR {msr:#x}"))
        }
        fn write(&mut self, msr: u32, value: u64) {
            assert!(self.0.insert(msr, value).is_some(), "#GP: MSR {msr:#x}");
        }
    }

    /// A processor with `banks`, of which some hold errors.
    fn processor(capability: u64, global: u64, scalable: bool, errors: &[(u32, u64)]) -> Fake {
        let mut registers = BTreeMap::from([(MCG_CAP, capability), (MCG_STATUS, global)]);
        for bank in 0..(capability & BANKS) as u32 {
            let Some(control) = registers_of(bank, scalable) else { continue };
            for (offset, value) in [(0, 0), (1, 0), (2, 0xabc_0000)] {
                registers.insert(control + offset, value);
            }
        }
        for (bank, status) in errors {
            registers.insert(registers_of(*bank, scalable).unwrap() + 1, *status);
        }
        Fake(registers)
    }

    const MCIP: u64 = 1 << 2;
    const ERROR: u64 = VALID | UNCORRECTED | ENABLED;

    fn damage(capability: u64, global: u64, status: u64) -> Damage {
        let mut fake = processor(capability | 8, global | MCIP, false, &[(3, status)]);
        let finding = take(&mut fake, false);
        let cleared = (fake.0[&MCG_STATUS], fake.0[&(0x400 + 4 * 3 + 1)]) == (0, 0);
        assert_eq!(cleared, finding.damage != Damage::Machine, "{finding}");
        finding.damage
    }

    #[test]
    fn a_lost_context_ends_the_machine() {
        for global in [0, RIPV, RIPV | EIPV] {
            for capability in [0, TELLS_RECOVERY] {
                assert_eq!(damage(capability, global, ERROR | CONTEXT_CORRUPT), Damage::Machine);
                assert_eq!(damage(capability, global, ERROR | OVERFLOW), Damage::Machine);
            }
        }
    }

    #[test]
    fn an_error_that_is_contained_ends_what_was_interrupted() {
        let required = ERROR | SIGNALED | ACTION_REQUIRED;
        for capability in [0, TELLS_RECOVERY] {
            assert_eq!(damage(capability, RIPV | EIPV, required), Damage::Interrupted, "data");
            assert_eq!(damage(capability, 0, required), Damage::Interrupted, "instructions");
            assert_eq!(damage(capability, RIPV, required), Damage::None, "it is another processor's");
        }
        assert_eq!(damage(0, RIPV | EIPV, ERROR), Damage::Interrupted);
        // AMD sends none to processors that are not meant (TCC, and what nobody corrected).
        for status in [ERROR, ERROR | ACTION_REQUIRED] {
            let mut fake = processor(8, RIPV | MCIP, true, &[(3, status)]);
            assert_eq!(take(&mut fake, true).damage, Damage::Interrupted);
        }
    }

    #[test]
    fn what_cannot_go_on_ends_whatever_the_banks_say() {
        assert_eq!(damage(TELLS_RECOVERY, 0, 0), Damage::Interrupted);
        assert_eq!(damage(TELLS_RECOVERY, 0, VALID), Damage::Interrupted);
    }

    #[test]
    fn corrected_and_optional_errors_end_nobody() {
        assert_eq!(damage(0, RIPV | EIPV, VALID | ENABLED), Damage::None);
        assert_eq!(damage(TELLS_RECOVERY, RIPV | EIPV, ERROR), Damage::None, "told only");
        assert_eq!(
            damage(TELLS_RECOVERY, RIPV | EIPV, ERROR | SIGNALED),
            Damage::None,
            "found by a scrubber"
        );
    }

    #[test]
    fn banks_beyond_the_32nd_have_no_registers_there() {
        // What would be bank 32 is IA32_VMX_BASIC.
        let mut fake = processor(40, RIPV, false, &[(31, ERROR)]);
        assert_eq!(take(&mut fake, false).worst.unwrap().bank, 31);
        let mut fake = processor(64, RIPV, true, &[(63, ERROR | HAS_ADDRESS)]);
        let fault = take(&mut fake, true).worst.unwrap();
        assert_eq!((fault.bank, fault.address), (63, Some(0xabc_0000)));
        assert_eq!(fake.0[&0xc000_23f1], 0);
        let mut fake = processor(255, RIPV, true, &[]);
        assert!(take(&mut fake, true).worst.is_none());
    }

    #[test]
    fn the_worst_is_what_is_told() {
        let errors = [(0, VALID | ENABLED), (1, ERROR | CONTEXT_CORRUPT), (2, ERROR)];
        let fault = take(&mut processor(4, RIPV, false, &errors), false).worst.unwrap();
        assert_eq!(fault.bank, 1);
    }

    #[test]
    fn banks_are_switched_on_and_what_was_there_is_told_once() {
        let mut fake = processor(4, 0, false, &[(2, VALID)]);
        let earlier = switch_on(&mut fake, false);
        assert_eq!(earlier, Some(Fault { bank: 2, status: VALID, address: None }));
        assert!(
            (0..4).all(|bank| fake.0[&(0x400 + 4 * bank)] == u64::MAX && fake.0[&(0x401 + 4 * bank)] == 0)
        );
        assert_eq!(switch_on(&mut fake, false), None);
    }
}
