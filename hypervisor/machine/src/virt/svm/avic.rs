//! AVIC: the processor keeps a guest's local APIC (AMD APM vol. 2 section 15.29), here in
//! x2APIC mode alone. Nothing here touches hardware but the doorbell.

use crate::cpu::registers;
use crate::memory::frames::InFrame;
use crate::virt::apic_page::{ApicPage, Bitmap};
use access::vcpu::{Exit, Posting};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use spec::apic::MESSAGE_ADDRESS;
use spec::local_apic::{COMMAND, END_OF_INTERRUPT, ID, PROCESSOR_PRIORITY};
use spec::svm::{Control, exit_code};
use spec::{Hpa, msr};

/// Entries of a physical APIC ID table in one frame (section 15.29.4).
const ENTRIES: usize = 512;
const VALID: u64 = 1 << 63;
const RUNNING: u64 = 1 << 62;
const PAGE: u64 = 0x000f_ffff_ffff_f000;
const PROCESSOR: u64 = 0xfff;
/// The address that the xAPIC page would have.
const APIC_BAR: u64 = MESSAGE_ADDRESS;

/// A guest's physical APIC ID table: where each vCPU's APIC is kept, by its ID.
#[repr(C, align(4096))]
pub struct PhysicalTable([AtomicU64; ENTRIES]);

// SAFETY: 4 KiB of atomics.
unsafe impl InFrame for PhysicalTable {}

/// One vCPU's part of AVIC.
pub struct Avic {
    /// The vAPIC backing page, and its hpa.
    pub page: (&'static ApicPage, Hpa),
    /// The guest's table, and its hpa.
    pub table: (&'static PhysicalTable, Hpa),
    /// Number of the vCPU, which is its APIC ID, below 512.
    pub index: u16,
    /// Number of the guest's last vCPU, below 512.
    pub last: u16,
    /// APIC ID of the processor that runs it.
    pub processor: AtomicU32,
}

impl Avic {
    fn entry(&self) -> &AtomicU64 {
        &self.table.0.0[usize::from(self.index) % ENTRIES]
    }

    /// Points a control block at it.
    pub fn set_up(&self, control: &mut Control) {
        control.avic_bar = APIC_BAR;
        control.avic_page = self.page.1.0;
        control.avic_physical = self.table.1.0 | u64::from(self.last);
    }

    /// The processor with the APIC ID `processor`, which runs the vCPU, keeps the APIC from
    /// the next entry on: nothing is pending. Siblings that find the entry ring that
    /// processor's doorbell; outside of the guest nobody hears it, and the next entry looks
    /// at what is pending anyhow, so the vCPU counts as running all the time.
    pub fn begin(&self, processor: u32) {
        self.page.0.take_interrupts();
        self.page.0.write(ID, self.index.into());
        self.processor.store(processor, Release);
        let running = VALID | RUNNING | self.page.1.0 & PAGE | u64::from(processor) & PROCESSOR;
        self.entry().store(running, Release);
    }

    /// The APIC is the model's again: what siblings send makes them exit.
    pub fn end(&self) {
        self.entry().store(0, Release);
    }

    /// Ends the level-triggered interrupt `vector`, which the processor leaves to software.
    pub fn end_of_interrupt(&self, vector: u8) {
        let page = self.page.0;
        page.remove(Bitmap::InService, vector);
        let (task, service) = (page.task_priority(), page.highest(Bitmap::InService).unwrap_or(0));
        let priority = if task >> 4 >= service >> 4 { task } else { service & 0xf0 };
        page.write(PROCESSOR_PRIORITY, priority.into());
    }
}

impl Posting for Avic {
    fn post(&self, vector: u8) {
        self.page.0.insert(Bitmap::Requests, vector);
        // SAFETY: the MSR exists with AVIC, without which nobody is told of this; it makes a
        // processor look at its guest's APIC, nothing else.
        unsafe { registers::write_msr(msr::AVIC_DOORBELL, self.processor.load(Acquire).into()) };
    }
}

/// What an exit says that AVIC does not do. The instruction is done with in all of these.
pub fn decode_exit(control: &Control) -> Exit {
    const WRITE: u64 = 1 << 32;
    let (code, info) = (control.exit_code, control.exit_info1);
    let register = (info >> 4) as u8;
    match code {
        // EXITINFO1 is the command.
        exit_code::AVIC_COMMAND => Exit::ApicWrite { register: COMMAND },
        _ if info & WRITE == 0 => Exit::Unexpected(code),
        _ if register == END_OF_INTERRUPT => Exit::EndOfInterrupt { vector: control.exit_info2 as u8 },
        // The value is in the backing page.
        _ => Exit::ApicWrite { register },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use access::vcpu::InterruptMode;
    use spec::svm::{Clean, Intercept1, Vmcb, virtual_interrupt};
    use std::boxed::Box;

    fn avic(index: u16) -> Avic {
        // SAFETY: zeros are a value of both types, which consist of atomics.
        let (page, table): (Box<ApicPage>, Box<PhysicalTable>) =
            unsafe { (Box::new(core::mem::zeroed()), Box::new(core::mem::zeroed())) };
        Avic {
            page: (Box::leak(page), Hpa(0x12_3456_7000)),
            table: (Box::leak(table), Hpa(0x8000)),
            index,
            last: 3,
            processor: AtomicU32::new(0),
        }
    }

    #[test]
    fn the_control_block_points_at_all_of_it() {
        let mut vmcb = Box::new(Vmcb::ZERO);
        avic(1).set_up(&mut vmcb.control);
        assert_eq!(vmcb.control.avic_page, 0x12_3456_7000);
        assert_eq!(vmcb.control.avic_physical, 0x8003);
        assert_eq!(vmcb.control.avic_bar, 0xfee0_0000);
    }

    #[test]
    fn an_entry_is_valid_while_the_processor_keeps_the_apic() {
        let avic = avic(2);
        avic.page.0.insert(Bitmap::Requests, 0x41);
        avic.begin(0x15);
        assert_eq!(avic.table.0.0[2].load(Relaxed), 0xc000_0012_3456_7015);
        assert_eq!((avic.page.0.highest(Bitmap::Requests), avic.page.0.read(ID)), (None, 2));
        avic.end();
        assert_eq!(avic.table.0.0[2].load(Relaxed), 0);
    }

    #[test]
    fn the_end_of_a_level_triggered_interrupt_lets_the_next_lower_on() {
        let avic = avic(0);
        for vector in [0x41, 0x91] {
            avic.page.0.insert(Bitmap::InService, vector);
        }
        avic.end_of_interrupt(0x91);
        assert_eq!(avic.page.0.highest(Bitmap::InService), Some(0x41));
        assert_eq!(avic.page.0.read(PROCESSOR_PRIORITY), 0x40);
        avic.page.0.write(spec::local_apic::TASK_PRIORITY, 0x55);
        avic.end_of_interrupt(0x41);
        assert_eq!(avic.page.0.read(PROCESSOR_PRIORITY), 0x55);
    }

    #[test]
    fn exits_tell_what_is_left_to_do() {
        let exited = |code, info1, info2| {
            let mut vmcb = Box::new(Vmcb::ZERO);
            vmcb.control.exit_code = code;
            vmcb.control.exit_info1 = info1;
            vmcb.control.exit_info2 = info2;
            decode_exit(&vmcb.control)
        };
        assert_eq!(exited(0x402, 1 << 32 | 0xb0, 0x91), Exit::EndOfInterrupt { vector: 0x91 });
        assert_eq!(exited(0x402, 1 << 32 | 0x3f0, 0), Exit::ApicWrite { register: 0x3f });
        assert_eq!(exited(0x402, 0x390, 0), Exit::Unexpected(0x402), "a read");
        let command = 5 << 32 | 0x4_0061;
        assert_eq!(exited(0x401, command, 1 << 32), Exit::ApicWrite { register: 0x30 });
    }

    #[test]
    fn it_is_on_with_its_intercepts_and_off_with_theirs() {
        const BITS: u64 = virtual_interrupt::AVIC | virtual_interrupt::X2AVIC | virtual_interrupt::MASKING;
        let mut vmcb = Box::new(Vmcb::ZERO);
        let control = &mut vmcb.control;
        control.clean = Clean::all();
        crate::virt::svm::control::take_interrupts(control, InterruptMode::Accelerated, 0x7000);
        assert_eq!(control.virtual_interrupt & BITS, BITS);
        assert_eq!(control.intercept1 & (Intercept1::INTR | Intercept1::HLT), Intercept1::INTR);
        let dirty = Clean::VIRTUAL_INTERRUPT | Clean::INTERCEPTS;
        assert!(!control.clean.intersects(dirty));
        crate::virt::svm::control::take_interrupts(control, InterruptMode::Emulated, 0x8000);
        assert_eq!(control.virtual_interrupt & BITS, virtual_interrupt::MASKING);
        assert_eq!((control.intercept1 & Intercept1::HLT, control.msr_map), (Intercept1::HLT, 0x8000));
    }
}
