//! The local APIC of one virtual processor (Intel SDM vol. 3 chapter 11), in xAPIC
//! and x2APIC mode.
//!
//! It has two interfaces: [`LocalApic::read`] and [`LocalApic::write`] are the x2APIC
//! MSRs, [`LocalApic::mmio_read`] and [`LocalApic::mmio_write`] the xAPIC page.
//! Each is closed in the other's mode. Messages to others come out as
//! [`ApicEffect::Send`]; whether one is for this APIC, others decide from its
//! [`ApicAddress`] without touching it.

use access::vcpu::KeptApic;
use spec::apic::{DeliveryMode, Destination, FIRST_LEGAL_VECTOR, InterruptMessage, MESSAGE_ADDRESS};

mod address;
mod registers;
mod state;
mod timer;
mod vectors;

#[cfg(test)]
mod tests;

pub use address::{ApicAddress, ApicMode};
pub use timer::MINIMUM_PERIOD_TICKS;

use serde::{Deserialize, Serialize};
use spec::local_apic::LVT_MASKED;
use timer::Timer;
use vectors::VectorSet;

/// The access is refused: deliver #GP(0).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault;

/// The time in ticks of the TSC. Few registers count in it, so it is asked for only there:
/// reading the TSC takes tens of cycles.
pub trait Now {
    /// Ticks.
    fn ticks(self) -> u64;
}

impl Now for u64 {
    fn ticks(self) -> u64 {
        self
    }
}

impl<F: FnOnce() -> u64> Now for F {
    #[inline]
    fn ticks(self) -> u64 {
        self()
    }
}

/// What a write to a register causes outside of the APIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum ApicEffect {
    /// Nothing.
    None,
    /// Nothing but this APIC's own state, which its [`ApicAddress`] is part of.
    Changed,
    /// The guest sent this message. A fixed self-IPI never shows up here: it is
    /// already in this APIC's IRR.
    Send(InterruptMessage),
    /// The guest ended the interrupt `vector`.
    EndOfInterrupt {
        /// The vector that was in service.
        vector: u8,
        /// It was level-triggered: the IOAPICs are to be told.
        level: bool,
    },
    /// The timer changed; ask for [`LocalApic::deadline`] again. Its event may have
    /// come at once, so ask for [`LocalApic::deliverable`] too.
    TimerChanged,
}

/// IA32_APIC_BASE: the bootstrap processor.
const BASE_BOOTSTRAP: u64 = 1 << 8;
/// IA32_APIC_BASE: x2APIC mode.
const BASE_X2APIC: u64 = 1 << 10;
/// IA32_APIC_BASE: enabled.
const BASE_ENABLED: u64 = 1 << 11;
/// The one gpa at which the registers are.
const BASE_ADDRESS: u64 = MESSAGE_ADDRESS;

/// SVR: software enable.
const SVR_ENABLED: u32 = 1 << 8;
/// SVR: no end-of-interrupt broadcast to the IOAPICs.
const SVR_SUPPRESS_EOI_BROADCAST: u32 = 1 << 12;

/// ESR: a message with a vector below 16 was to be sent.
const ERROR_SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
/// ESR: an interrupt with a vector below 16 came in.
const ERROR_RECEIVE_ILLEGAL_VECTOR: u32 = 1 << 6;
/// ESR: a register that does not exist was accessed (xAPIC mode).
const ERROR_ILLEGAL_REGISTER: u32 = 1 << 7;

/// LVT entries but for the timer's, from register 0x33 on.
const LVT_ENTRIES: usize = 5;
const LVT_LINT0: usize = 2;
const LVT_LINT1: usize = 3;
const LVT_ERROR: usize = 4;

/// LVT delivery modes (bits 8 to 10).
const LVT_MODE: u32 = 7 << 8;
const LVT_NMI: u32 = 4 << 8;
const LVT_EXTINT: u32 = 7 << 8;

/// A virtual local APIC.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LocalApic {
    id: u32,
    /// IA32_APIC_BASE.
    base: u64,
    /// Spurious-interrupt vector register.
    svr: u32,
    /// Task priority, 8 bits; CR8 is its upper half.
    tpr: u8,
    /// Processor priority: kept up to date because `deliverable` is on the way of
    /// every entry.
    ppr: u8,
    /// Logical ID of xAPIC mode.
    logical: u8,
    /// Upper 4 bits of the DFR: 15 flat, 0 cluster.
    format: u8,
    icr: u64,
    irr: VectorSet,
    isr: VectorSet,
    tmr: VectorSet,
    /// Errors that a read of the ESR shows, as of the last write to it.
    esr: u32,
    /// Errors since then.
    errors: u32,
    /// Thermal, performance, LINT0, LINT1, error.
    lvt: [u32; LVT_ENTRIES],
    timer: Timer,
}

impl LocalApic {
    /// A local APIC in xAPIC mode with the given ID (8 bits show in xAPIC mode).
    ///
    /// The bootstrap processor's is as firmware leaves it, in virtual wire mode:
    /// software-enabled, 8259A interrupts at LINT0, NMI at LINT1. An operating system
    /// that never heard of APICs runs with it. The others are as after power-up.
    pub fn new(apic_id: u32, bootstrap: bool) -> Self {
        let mut apic = Self {
            id: apic_id,
            base: BASE_ADDRESS | BASE_ENABLED | if bootstrap { BASE_BOOTSTRAP } else { 0 },
            svr: 0xff,
            tpr: 0,
            ppr: 0,
            logical: 0,
            format: 0xf,
            icr: 0,
            irr: VectorSet::default(),
            isr: VectorSet::default(),
            tmr: VectorSet::default(),
            esr: 0,
            errors: 0,
            lvt: [LVT_MASKED; LVT_ENTRIES],
            timer: Timer::new(),
        };
        if bootstrap {
            apic.svr |= SVR_ENABLED;
            apic.lvt[LVT_LINT0] = LVT_EXTINT;
            apic.lvt[LVT_LINT1] = LVT_NMI;
        }
        apic
    }

    /// INIT: everything but the ID and IA32_APIC_BASE, and so the mode, is as after
    /// power-up (section 11.4.7.3): software-disabled, all LVT entries masked, timer stopped.
    pub fn reset(&mut self) {
        let base = self.base;
        *self = Self { base, ..Self::new(self.id, false) };
    }

    /// IA32_APIC_BASE.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Writes IA32_APIC_BASE. Refused are the mode changes that figure 11-9 does not
    /// have, reserved bits, and moving the page. Disabling loses all state, the
    /// timer's too: ask for [`deadline`](Self::deadline) again.
    pub fn set_base(&mut self, value: u64) -> Result<(), Fault> {
        if value & !(BASE_BOOTSTRAP | BASE_X2APIC | BASE_ENABLED) != BASE_ADDRESS {
            return Err(Fault);
        }
        let mode = |base: u64| (base & BASE_ENABLED != 0, base & BASE_X2APIC != 0);
        match (mode(self.base), mode(value)) {
            // x2APIC without enable does not exist; it is entered from xAPIC mode
            // only, and left by disabling only.
            (_, (false, true)) | ((false, _), (true, true)) | ((true, true), (true, false)) => {
                return Err(Fault);
            }
            ((true, _), (false, false)) => {
                self.base = value;
                self.reset();
            }
            ((true, false), (true, true)) => {
                self.base = value;
                // Section 11.12.5.1: the upper half of the ICR is not kept.
                self.icr &= 0xffff_ffff;
            }
            _ => self.base = value,
        }
        Ok(())
    }

    /// Whether it is in x2APIC mode: registers are MSRs.
    pub fn is_x2apic(&self) -> bool {
        self.base & (BASE_ENABLED | BASE_X2APIC) == BASE_ENABLED | BASE_X2APIC
    }

    /// Whether it is globally enabled (IA32_APIC_BASE bit 11).
    pub fn is_enabled(&self) -> bool {
        self.base & BASE_ENABLED != 0
    }

    /// Whether it is in xAPIC mode: registers are in the page at 0xfee0_0000.
    pub fn is_xapic(&self) -> bool {
        self.base & (BASE_ENABLED | BASE_X2APIC) == BASE_ENABLED
    }

    /// SVR bit 8.
    fn is_software_enabled(&self) -> bool {
        self.svr & SVR_ENABLED != 0
    }

    /// What it answers to now. Publish it again after each access that can change
    /// it: INIT, IA32_APIC_BASE, LDR, DFR, SVR.
    pub fn address(&self) -> ApicAddress {
        ApicAddress {
            id: self.id,
            mode: match (self.is_enabled(), self.is_x2apic()) {
                (false, _) => ApicMode::Disabled,
                (true, false) => ApicMode::Xapic,
                (true, true) => ApicMode::X2apic,
            },
            logical: self.logical,
            flat: self.format == 0xf,
            software_enabled: self.is_software_enabled(),
        }
    }

    /// Takes a fixed or lowest-priority interrupt into the IRR. An illegal vector
    /// becomes an error; a disabled APIC takes nothing.
    pub fn accept(&mut self, vector: u8, level: bool) {
        if !self.is_enabled() || !self.is_software_enabled() {
            return;
        }
        if vector < FIRST_LEGAL_VECTOR {
            self.report(ERROR_RECEIVE_ILLEGAL_VECTOR);
            return;
        }
        self.irr.insert(vector);
        self.tmr.set(vector, level);
    }

    /// The vector that the processor would take now if it has interrupts enabled:
    /// the highest of the IRR, where its class is above the processor priority.
    #[inline]
    pub fn deliverable(&self) -> Option<u8> {
        let vector = self.irr.highest()?;
        (vector >> 4 > self.ppr >> 4 && self.is_enabled()).then_some(vector)
    }

    /// Whether anything is pending, deliverable or not.
    #[inline]
    pub fn has_pending(&self) -> bool {
        self.irr.highest().is_some()
    }

    /// The highest vector of the IRR where the processor priority holds it back.
    /// When CR8 drops below its class (`vector >> 4`) it may become deliverable:
    /// intercept that, or use it as the threshold.
    pub fn pending_below_priority(&self) -> Option<u8> {
        let vector = self.irr.highest()?;
        (vector >> 4 <= self.ppr >> 4).then_some(vector)
    }

    /// The processor took `vector`: it moves from the IRR to the ISR. A vector that
    /// is not in the IRR is ignored.
    pub fn acknowledge(&mut self, vector: u8) {
        if self.irr.contains(vector) {
            self.irr.remove(vector);
            self.isr.insert(vector);
            // What `update_priority` would find: a vector of a class below the priority
            // neither passes the task priority nor what is in service already.
            if vector >> 4 > self.ppr >> 4 {
                self.ppr = vector & 0xf0;
            }
        }
    }

    /// Takes the highest vector out of the IRR whatever the priority, for an APIC of
    /// hardware that takes over from here. With it goes whether it is level-triggered.
    pub fn take_pending(&mut self) -> Option<(u8, bool)> {
        let vector = self.irr.highest()?;
        self.irr.remove(vector);
        Some((vector, self.tmr.contains(vector)))
    }

    /// Goes on with what a processor kept meanwhile.
    pub fn take_back(&mut self, kept: &KeptApic) {
        self.tpr = kept.task_priority;
        self.irr = VectorSet::of(kept.requests);
        self.isr = VectorSet::of(kept.in_service);
        self.tmr = VectorSet::of(kept.level);
        self.update_priority();
    }

    /// Whether the processor can keep the interrupts of this APIC from here on: nothing is
    /// in service, which no software can put into the ISR of hardware. The timer may stay
    /// here.
    #[inline]
    pub fn can_hand_over(&self) -> bool {
        self.is_x2apic() && self.isr.highest().is_none()
    }

    /// Whether hardware can have the timer too: it has not been started, and so does not
    /// notice that hardware's counts at another speed.
    pub fn can_hand_over_timer(&self) -> bool {
        !self.timer.was_started()
    }

    /// Whether the end of a level-triggered interrupt concerns the IOAPICs.
    pub fn broadcasts_ends(&self) -> bool {
        self.svr & SVR_SUPPRESS_EOI_BROADCAST == 0
    }

    /// Task priority register, 8 bits: the class is its upper half, which is CR8.
    pub fn task_priority(&self) -> u8 {
        self.tpr
    }

    /// Writes CR8 (bits 0 to 3 count): the class of the task priority. The lower half
    /// becomes 0, so call it only where CR8 changed.
    pub fn set_cr8(&mut self, cr8: u8) {
        self.tpr = cr8 << 4;
        self.update_priority();
    }

    /// Whether interrupts of the 8259A reach the processor as such: LINT0 passes
    /// them on, or the APIC is globally disabled and the pin is INTR. As a fixed interrupt or
    /// NMI of LINT0 they do not come.
    pub fn accepts_external(&self) -> bool {
        !self.is_enabled() || self.lvt[LVT_LINT0] & (LVT_MASKED | LVT_MODE) == LVT_EXTINT
    }

    /// Tick at which [`expire`](Self::expire) is to be called. It may be in the past,
    /// then call it now; after the call it is not.
    #[inline]
    pub fn deadline(&self) -> Option<u64> {
        self.timer.deadline()
    }

    /// Lets the timer fire if its time has come. However long ago that was, it is
    /// one interrupt.
    pub fn expire(&mut self, now: u64) {
        if self.timer.advance(now) {
            self.raise_local(self.timer.lvt());
        }
    }

    /// IA32_TSC_DEADLINE; 0 when nothing is armed or the timer is in another mode.
    pub fn tsc_deadline(&self) -> u64 {
        self.timer.tsc_deadline()
    }

    /// Writes IA32_TSC_DEADLINE. 0 disarms; a tick that has passed fires at once.
    pub fn set_tsc_deadline(&mut self, value: u64, now: u64) {
        self.timer.set_tsc_deadline(value);
        self.expire(now);
    }

    /// Whether the end of the interrupt in service can be left to the guest: `vector` is
    /// the highest in service, no IOAPIC waits for its end, and nothing is pending that
    /// the end would have to let through.
    pub fn can_leave_eoi_to_guest(&self, vector: u8) -> bool {
        self.isr.highest() == Some(vector) && !self.tmr.contains(vector) && self.irr.highest().is_none()
    }

    /// Ends the highest interrupt in service; nothing where none is. What a write of
    /// the EOI register does, for an end that the guest noted elsewhere.
    pub fn end_of_interrupt(&mut self) -> ApicEffect {
        let Some(vector) = self.isr.highest() else { return ApicEffect::None };
        self.isr.remove(vector);
        self.update_priority();
        let level = self.tmr.contains(vector) && self.broadcasts_ends();
        ApicEffect::EndOfInterrupt { vector, level }
    }

    /// Processor priority (section 11.8.3.1).
    fn update_priority(&mut self) {
        let in_service = self.isr.highest().unwrap_or(0);
        self.ppr = if self.tpr >> 4 >= in_service >> 4 { self.tpr } else { in_service & 0xf0 };
    }

    /// An interrupt of the local vector table in fixed mode.
    fn raise_local(&mut self, entry: u32) {
        if entry & LVT_MASKED == 0 {
            self.accept(entry as u8, false);
        }
    }

    /// Records an error, and raises the error interrupt unless this error is
    /// already recorded (writing the ESR arms it again). An illegal vector in the
    /// error interrupt itself is only recorded: raising it would come back here.
    fn report(&mut self, error: u32) {
        if self.errors & error != 0 {
            return;
        }
        self.errors |= error;
        let entry = self.lvt[LVT_ERROR];
        if entry & LVT_MASKED != 0 {
            return;
        }
        let vector = entry as u8;
        if vector < FIRST_LEGAL_VECTOR {
            self.errors |= ERROR_RECEIVE_ILLEGAL_VECTOR;
        } else {
            self.accept(vector, false);
        }
    }

    /// Software disable: all LVT entries are masked and stay so (section 11.4.7.2).
    fn set_svr(&mut self, value: u32, now: u64) {
        // What was due before comes before.
        self.expire(now);
        self.svr = value & (0xff | SVR_ENABLED | SVR_SUPPRESS_EOI_BROADCAST);
        if !self.is_software_enabled() {
            for entry in &mut self.lvt {
                *entry |= LVT_MASKED;
            }
            self.timer.set_lvt(self.timer.lvt() | LVT_MASKED, now);
        }
    }

    /// A write to the lower half of the ICR sends (section 11.6.1).
    fn send(&mut self, icr: u64) -> ApicEffect {
        // Delivery status (bit 12) reads as idle: a message is gone when it is written.
        self.icr = icr & !(1 << 12);
        let vector = icr as u8;
        let Some(mode) = DeliveryMode::from_bits((icr >> 8) as u8) else { return ApicEffect::Changed };
        let (assert, level) = (icr >> 14 & 1 != 0, icr >> 15 & 1 != 0);
        match mode {
            // An 8259A's interrupt cannot be sent; INIT level de-assert, which only
            // set arbitration IDs, does nothing since the Pentium 4.
            DeliveryMode::ExtInt => return ApicEffect::Changed,
            DeliveryMode::Init if level && !assert => return ApicEffect::Changed,
            DeliveryMode::Fixed | DeliveryMode::LowestPriority if vector < FIRST_LEGAL_VECTOR => {
                self.report(ERROR_SEND_ILLEGAL_VECTOR);
                return ApicEffect::Changed;
            }
            _ => {}
        }
        let destination = match icr >> 18 & 3 {
            1 => Destination::ToSelf,
            2 => Destination::All,
            3 => Destination::AllButSelf,
            _ => {
                let id = if self.is_x2apic() { (icr >> 32) as u32 } else { (icr >> 56) as u32 };
                if icr >> 11 & 1 != 0 { Destination::Logical(id) } else { Destination::Physical(id) }
            }
        };
        if destination == Destination::ToSelf && mode == DeliveryMode::Fixed {
            self.accept(vector, false);
            return ApicEffect::Changed;
        }
        // Messages of the ICR are edge-triggered whatever bit 15 says.
        ApicEffect::Send(InterruptMessage { destination, mode, vector, level: false })
    }

    /// Self-IPI (section 11.12.11).
    fn send_self(&mut self, vector: u8) {
        if vector < FIRST_LEGAL_VECTOR {
            self.report(ERROR_SEND_ILLEGAL_VECTOR);
        } else {
            self.accept(vector, false);
        }
    }
}
