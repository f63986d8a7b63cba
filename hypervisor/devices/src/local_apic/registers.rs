//! The registers of the local APIC, by number: MSR minus 0x800 in x2APIC mode,
//! page offset divided by 16 in xAPIC mode (Intel SDM vol. 3 tables 11-1 and 11-6).

use super::{ApicEffect, ERROR_ILLEGAL_REGISTER, Fault, LocalApic, Now};
use crate::local_apic::ApicAddress;
use spec::local_apic::*;

const IN_SERVICE_LAST: u8 = TRIGGER_MODE - 1;
const TRIGGER_MODE_LAST: u8 = REQUESTS - 1;

/// Version 0x15 (integrated), LVT entries 0 to 5, end-of-interrupt broadcast can
/// be suppressed.
const VERSION_VALUE: u32 = 0x15 | 5 << 16 | 1 << 24;

/// Read-only bits of an LVT entry: delivery status and remote IRR. Both read 0.
const LVT_READ_ONLY: u32 = 1 << 12 | 1 << 14;

/// Bits that software can set in an LVT entry.
pub(super) const fn lvt_writable(register: u8) -> u32 {
    match register {
        LVT_TIMER => 0x0007_00ff,
        LVT_THERMAL | LVT_PERFORMANCE => 0x0001_07ff,
        LVT_LINT0 | LVT_LINT1 => 0x0001_a7ff,
        _ => 0x0001_00ff,
    }
}

/// Bits that a WRMSR may have set, without #GP; `None` where the register cannot
/// be written in x2APIC mode at all.
const fn msr_writable(register: u8) -> Option<u64> {
    Some(match register {
        TASK_PRIORITY => 0xff,
        END_OF_INTERRUPT | ERROR_STATUS => 0,
        SPURIOUS_VECTOR => 0x13ff,
        // The delivery status (bit 12) is gone in this mode, but is written back by
        // software that knows it from the other.
        COMMAND => 0xffff_ffff_000c_dfff,
        LVT_TIMER..=LVT_ERROR => (lvt_writable(register) | LVT_READ_ONLY) as u64,
        INITIAL_COUNT => 0xffff_ffff,
        DIVIDE => 0xb,
        SELF_IPI => 0xff,
        _ => return None,
    })
}

impl LocalApic {
    /// RDMSR of `0x800 + register`. Faults outside of x2APIC mode, and for registers
    /// that do not exist or are write-only.
    pub fn read(&self, register: u8, now: impl Now) -> Result<u64, Fault> {
        if !self.is_x2apic() {
            return Err(Fault);
        }
        match register {
            ID => Ok(u64::from(self.id)),
            LOGICAL_DESTINATION => Ok(u64::from(ApicAddress::x2apic_logical(self.id))),
            COMMAND => Ok(self.icr),
            ARBITRATION_PRIORITY | REMOTE_READ | DESTINATION_FORMAT | END_OF_INTERRUPT | COMMAND_HIGH
            | SELF_IPI => Err(Fault),
            _ => self.load(register, now).map(u64::from).ok_or(Fault),
        }
    }

    /// WRMSR of `0x800 + register`. Faults outside of x2APIC mode, for registers that
    /// do not exist or are read-only, and for reserved bits.
    pub fn write(&mut self, register: u8, value: u64, now: impl Now) -> Result<ApicEffect, Fault> {
        if !self.is_x2apic() || value & !msr_writable(register).ok_or(Fault)? != 0 {
            return Err(Fault);
        }
        match register {
            COMMAND => Ok(self.send(value)),
            SELF_IPI => {
                self.send_self(value as u8);
                Ok(ApicEffect::Changed)
            }
            _ => self.store(register, value as u32, now).ok_or(Fault),
        }
    }

    /// Reads 32 bits of the xAPIC page at `offset` (0 to 0xfff). Where there is no
    /// register it reads 0 and the ESR says so. In another mode the page is not
    /// there: ones.
    pub fn mmio_read(&mut self, offset: u32, now: impl Now) -> u32 {
        if !self.is_xapic() {
            return u32::MAX;
        }
        let Some(register) = register_at(offset) else { return self.no_register() };
        match register {
            ID => self.id << 24,
            LOGICAL_DESTINATION => u32::from(self.logical) << 24,
            DESTINATION_FORMAT => u32::from(self.format) << 28 | 0x0fff_ffff,
            COMMAND => self.icr as u32,
            COMMAND_HIGH => (self.icr >> 32) as u32,
            // Arbitration is from the time of the APIC bus; EOI is write-only.
            ARBITRATION_PRIORITY | REMOTE_READ | END_OF_INTERRUPT => 0,
            _ => match self.load(register, now) {
                Some(value) => value,
                None => self.no_register(),
            },
        }
    }

    /// Writes 32 bits of the xAPIC page at `offset` (0 to 0xfff). Read-only
    /// registers, the ID among them, ignore it; where there is no register the ESR
    /// says so. In another mode nothing happens.
    pub fn mmio_write(&mut self, offset: u32, value: u32, now: impl Now) -> ApicEffect {
        if !self.is_xapic() {
            return ApicEffect::Changed;
        }
        let Some(register) = register_at(offset) else {
            self.no_register();
            return ApicEffect::Changed;
        };
        match register {
            LOGICAL_DESTINATION => self.logical = (value >> 24) as u8,
            DESTINATION_FORMAT => self.format = (value >> 28) as u8,
            COMMAND => return self.send(self.icr & !0xffff_ffff | u64::from(value)),
            // Only the destination is there.
            COMMAND_HIGH => self.icr = self.icr & 0xffff_ffff | u64::from(value & 0xff00_0000) << 32,
            ID
            | VERSION
            | ARBITRATION_PRIORITY
            | PROCESSOR_PRIORITY
            | REMOTE_READ
            | IN_SERVICE..=REQUESTS_LAST
            | CURRENT_COUNT => {}
            _ => match self.store(register, value, now) {
                Some(effect) => return effect,
                None => {
                    self.no_register();
                }
            },
        }
        ApicEffect::Changed
    }

    /// Registers that read alike in both modes.
    fn load(&self, register: u8, now: impl Now) -> Option<u32> {
        Some(match register {
            VERSION => VERSION_VALUE,
            TASK_PRIORITY => u32::from(self.tpr),
            PROCESSOR_PRIORITY => u32::from(self.ppr),
            SPURIOUS_VECTOR => self.svr,
            IN_SERVICE..=IN_SERVICE_LAST => self.isr.register(register - IN_SERVICE),
            TRIGGER_MODE..=TRIGGER_MODE_LAST => self.tmr.register(register - TRIGGER_MODE),
            REQUESTS..=REQUESTS_LAST => self.irr.register(register - REQUESTS),
            ERROR_STATUS => self.esr,
            LVT_TIMER => self.timer.lvt(),
            LVT_THERMAL..=LVT_ERROR => *self.lvt.get(usize::from(register - LVT_THERMAL))?,
            INITIAL_COUNT => self.timer.initial_count(),
            CURRENT_COUNT => self.timer.current_count(now.ticks()),
            DIVIDE => self.timer.divide(),
            _ => return None,
        })
    }

    /// Registers that are written alike in both modes.
    fn store(&mut self, register: u8, value: u32, now: impl Now) -> Option<ApicEffect> {
        match register {
            TASK_PRIORITY => {
                self.tpr = value as u8;
                self.update_priority();
            }
            END_OF_INTERRUPT => return Some(self.end_of_interrupt()),
            SPURIOUS_VECTOR => {
                // Masking can only take a deadline away, so the caller's stays good.
                self.set_svr(value, now.ticks());
            }
            ERROR_STATUS => self.esr = core::mem::take(&mut self.errors),
            LVT_TIMER => {
                // What was due under the old entry comes before the new one counts.
                let now = now.ticks();
                self.expire(now);
                self.timer.set_lvt(self.lvt_value(register, value), now);
                return Some(ApicEffect::TimerChanged);
            }
            LVT_THERMAL..=LVT_ERROR => {
                let value = self.lvt_value(register, value);
                *self.lvt.get_mut(usize::from(register - LVT_THERMAL))? = value;
            }
            INITIAL_COUNT => {
                self.timer.set_initial_count(value, now.ticks());
                return Some(ApicEffect::TimerChanged);
            }
            DIVIDE => {
                let now = now.ticks();
                self.expire(now);
                self.timer.set_divide(value, now);
                return Some(ApicEffect::TimerChanged);
            }
            _ => return None,
        }
        Some(ApicEffect::Changed)
    }

    /// What an LVT entry becomes: a software-disabled APIC keeps it masked.
    fn lvt_value(&self, register: u8, value: u32) -> u32 {
        let value = value & lvt_writable(register);
        if self.is_software_enabled() { value } else { value | LVT_MASKED }
    }

    fn no_register(&mut self) -> u32 {
        self.report(ERROR_ILLEGAL_REGISTER);
        0
    }
}

/// The register at a page offset; registers are 16 bytes apart and 4 bytes long.
fn register_at(offset: u32) -> Option<u8> {
    if offset & 0xf != 0 {
        return None;
    }
    match u8::try_from(offset >> 4) {
        // Only x2APIC mode has it.
        Ok(SELF_IPI) | Err(_) => None,
        Ok(register) => Some(register),
    }
}
