//! A vCPU that takes its interrupts itself.
//!
//! A guest that owns its processors needs nobody between it and its interrupts: passed-
//! through devices interrupt its own table, the timer and the end of an interrupt are
//! registers of the processor, HLT sleeps. What is left to the hypervisor are the
//! registers that reach further than this processor ([`access::vcpu::DirectAccess`]);
//! their model is [`devices::LocalApic`], and what is allowed of a write is mirrored to
//! hardware here.
//!
//! A vCPU begins with the model, in xAPIC mode as operating systems expect it, and
//! changes over when its guest enters x2APIC mode. Kernels that never do, run as before.
//! While it takes its interrupts itself:
//! - an interrupt of a sibling or the chipset is sent to its processor with the guest's
//!   vector; nothing is queued or injected, but for what the 8259A gives through LINT0;
//! - a kick is an NMI, which is always intercepted: no maskable vector of such a processor
//!   is the hypervisor's;
//! - the chipset's timers, which vCPU 0 sees to otherwise, are the housekeeping CPU's.

use crate::host::Host;
use crate::mailbox::Delivery;
use crate::partition::Partition;
use crate::processor::VirtualProcessor;
use access::vcpu::{InterruptMode, Vcpu};
use devices::ApicEffect;
use spec::apic::FIRST_LEGAL_VECTOR;
use spec::local_apic::{
    DIVIDE, END_OF_INTERRUPT, ERROR_STATUS, IN_SERVICE, LVT_ERROR, LVT_MASKED, LVT_TIMER, SPURIOUS_VECTOR,
    TASK_PRIORITY, TIMER_DEADLINE, TIMER_MODE,
};

/// What a vCPU keeps while it takes its interrupts itself.
#[derive(Default, Debug)]
pub struct Direct {
    on: bool,
    /// Level-triggered vectors whose end an IOAPIC waits for.
    level: [u64; 4],
}

impl Direct {
    /// Whether it takes them itself now.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on
    }
}

impl<V: Vcpu> VirtualProcessor<V> {
    #[cold]
    pub(crate) fn go_direct<H: Host>(&mut self, partition: &Partition<H>) {
        let host = &partition.host;
        host.give_apic();
        self.cpu.set_interrupts(InterruptMode::Direct);
        self.collect_interrupts(partition);
        self.disarm(partition);
        self.direct = Direct { on: true, level: [0; 4] };
        host.write_apic(ERROR_STATUS, 0);
        for register in [TASK_PRIORITY, DIVIDE] {
            host.write_apic(register, self.apic.read(register, partition.now()).unwrap_or(0));
        }
        self.mirror(partition, SPURIOUS_VECTOR);
        if let Some(mailbox) = partition.mailboxes.get(self.index) {
            mailbox.set_delivery(Delivery::Physical);
        }
        if self.index == 0 {
            partition.leave_chipset_to_housekeeping(true);
        }
        self.forward(partition);
    }

    /// Back to the model, which is as after INIT or gone: nothing of what the guest's
    /// APIC had pending or in service is kept.
    #[cold]
    pub(crate) fn leave_direct<H: Host>(&mut self, partition: &Partition<H>) {
        if !self.direct.on {
            return;
        }
        if self.index == 0 {
            partition.leave_chipset_to_housekeeping(false);
        }
        if let Some(mailbox) = partition.mailboxes.get(self.index) {
            mailbox.set_delivery(Delivery::Mailbox);
        }
        partition.host.take_apic_back();
        self.cpu.set_interrupts(InterruptMode::Emulated);
        self.cpu.take_interrupts();
        self.direct = Direct::default();
        self.armed = None;
        self.needs_service = true;
    }

    /// An interrupt that was left in the mailbox, or that the model had accepted.
    #[cold]
    pub(crate) fn accept_directly<H: Host>(&mut self, partition: &Partition<H>, vector: u8, level: bool) {
        if vector < FIRST_LEGAL_VECTOR {
            return;
        }
        if level && let Some(word) = self.direct.level.get_mut(usize::from(vector >> 6)) {
            *word |= 1 << (vector & 63);
            self.cpu.set_interrupts(InterruptMode::DirectWithEoiExits);
        }
        partition.host.send_interrupt(partition, self.index, vector);
    }

    /// What follows a write to the model of a register that exits.
    #[cold]
    pub(crate) fn mirror<H: Host>(&mut self, partition: &Partition<H>, register: u8) {
        let host = &partition.host;
        let now = partition.now();
        // Switching the APIC off masks all of the local vector table.
        let registers: &[u8] = match register {
            SPURIOUS_VECTOR => &[SPURIOUS_VECTOR, LVT_TIMER, LVT_ERROR],
            LVT_TIMER => &[LVT_TIMER],
            LVT_ERROR => &[LVT_ERROR],
            ERROR_STATUS => &[ERROR_STATUS],
            _ => &[],
        };
        for &register in registers {
            let value = self.apic.read(register, now).unwrap_or(0);
            host.write_apic(register, hardware_value(register, value, host.has_tsc_deadline()));
        }
        self.forward(partition);
    }

    /// What the error status register shows: the model's errors and hardware's.
    pub(crate) fn error_status<H: Host>(&self, partition: &Partition<H>, register: u8) -> u64 {
        if register == ERROR_STATUS { partition.host.read_apic(ERROR_STATUS) } else { 0 }
    }

    /// The guest ends an interrupt while an IOAPIC waits for the end of one.
    #[cold]
    pub(crate) fn end_watched<H: Host>(&mut self, partition: &Partition<H>) -> ApicEffect {
        let host = &partition.host;
        let in_service = (0..8u8).rev().find_map(|word| {
            let bits = host.read_apic(IN_SERVICE + word) as u32;
            (bits != 0).then(|| word * 32 + 31 - bits.leading_zeros() as u8)
        });
        host.write_apic(END_OF_INTERRUPT, 0);
        let Some(vector) = in_service else { return ApicEffect::Changed };
        let Some(word) = self.direct.level.get_mut(usize::from(vector >> 6)) else {
            return ApicEffect::Changed;
        };
        let bit = 1 << (vector & 63);
        if *word & bit == 0 {
            return ApicEffect::Changed;
        }
        *word &= !bit;
        if self.direct.level == [0; 4] {
            self.cpu.set_interrupts(InterruptMode::Direct);
        }
        ApicEffect::EndOfInterrupt { vector, level: true }
    }

    /// Whether a write of the end-of-interrupt register is one for [`Self::end_watched`].
    pub(crate) fn ends_directly(&self, register: u8) -> bool {
        self.direct.on && register == END_OF_INTERRUPT
    }

    /// What the model has accepted goes to hardware.
    fn forward<H: Host>(&mut self, partition: &Partition<H>) {
        while let Some((vector, level)) = self.apic.take_pending() {
            self.accept_directly(partition, vector, level);
        }
    }
}

/// What a register of the model becomes in hardware. A processor without TSC-deadline
/// mode faults at its encoding: the timer stays masked then, as CPUID did not offer it. A
/// vector that no interrupt has would only be recorded as an error.
fn hardware_value(register: u8, value: u64, has_deadline: bool) -> u64 {
    const LEGAL_SPURIOUS: u64 = 0x1ff;
    let mode = value & u64::from(TIMER_MODE);
    let silent = value & !u64::from(TIMER_MODE) | u64::from(LVT_MASKED);
    match register {
        SPURIOUS_VECTOR => value & LEGAL_SPURIOUS,
        LVT_TIMER | LVT_ERROR if (value as u8) < FIRST_LEGAL_VECTOR => silent,
        LVT_TIMER if mode == TIMER_DEADLINE.into() && !has_deadline => silent,
        // The mode that there is not.
        LVT_TIMER if mode == TIMER_MODE.into() => silent,
        ERROR_STATUS => 0,
        _ => value,
    }
}
