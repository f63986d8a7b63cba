//! The machine, as running guests see it through [`guest::host::Host`].

use crate::guests::Guest;
use crate::lines;
use alloc::boxed::Box;
use core::fmt;
use guest::assignment::AssignedBus;
use guest::host::{Host, KICK_VECTOR};
use guest::partition::Partition;
use iommu::Units;
use machine::chipset::config_space::MachineConfigSpace;
use machine::console;
use machine::cpu::machine_check::{self, Damage};
use machine::cpu::tsc::TscClock;
use machine::cpu::{apic, processor, registers, timer};
use machine::memory::frames::Pool;
use machine::memory::guest_ram::GuestRam;
use machine::memory::mmio::Window;
use spin::Once;
use spin::mutex::TicketMutex;

/// The IOMMUs of the machine.
pub type Iommus = Units<Window, Pool, TscClock>;
/// The PCI bus of a guest.
pub type Bus = AssignedBus<&'static MachineConfigSpace, Window, Iommus, TscClock>;

/// Everything that lives as long as the machine is on.
pub struct Machine {
    /// The guests that the Plan lets start, in its order.
    pub guests: Box<[Guest]>,
    /// Number of guests that the Plan refused as they were expected to be.
    pub refused_as_expected: usize,
    /// Number of guests that the Plan refused.
    pub refused: usize,
}

/// The machine, once everything is allocated.
pub static MACHINE: Once<Machine> = Once::new();
/// The IOMMUs, once they deny everything.
pub static IOMMUS: Once<TicketMutex<Iommus>> = Once::new();

/// The way from a partition to the machine.
#[derive(Clone, Copy)]
pub struct KernelHost;

impl Host for KernelHost {
    type Memory = GuestRam;
    type Bus = Bus;

    #[inline]
    fn now(&self) -> u64 {
        registers::read_tsc()
    }

    fn arm_timer(&self, deadline: Option<u64>) {
        match deadline {
            Some(deadline) => timer::arm_timer(deadline),
            None => timer::disarm_timer(),
        }
    }

    fn kick(&self, partition: &Partition<Self>, vcpu: usize) {
        let Some(id) = processor_of(partition, vcpu) else { return };
        if partition.direct_interrupts {
            // No vector of its processors is ours.
            apic::send_nmi(id);
        } else {
            apic::send_interrupt(id, KICK_VECTOR);
        }
    }

    fn send_interrupt(&self, partition: &Partition<Self>, vcpu: usize, vector: u8) {
        if let Some(id) = processor_of(partition, vcpu) {
            apic::send_interrupt(id, vector);
        }
    }

    fn give_apic(&self) {
        timer::disarm_timer();
        apic::mask_all();
    }

    fn take_apic_back(&self) {
        timer::disarm_timer();
        apic::mask_all();
        timer::init();
    }

    fn read_apic(&self, register: u8) -> u64 {
        apic::read(register).into()
    }

    fn write_apic(&self, register: u8, value: u64) {
        apic::write(register, value as u32);
    }

    fn has_tsc_deadline(&self) -> bool {
        timer::has_deadline_mode()
    }

    fn housekeeping_cpu(&self) -> u32 {
        processor::apic_id(0).unwrap_or(0)
    }

    fn wake_io(&self) {
        crate::housekeeping::wake_io();
    }

    fn serve_io(&self, partition: &Partition<Self>, vcpu: usize, endpoint: usize) -> bool {
        crate::clients::serve(partition, vcpu, endpoint)
    }

    fn wake_housekeeping(&self) {
        crate::housekeeping::wake();
    }

    fn console(&self, partition: &Partition<Self>, console: usize, line: &[u8], complete: bool) {
        console::write_guest(partition.first_console.saturating_add(console), complete, line);
    }

    fn log(&self, partition: &Partition<Self>, text: fmt::Arguments<'_>) {
        log::info!("{}: {text}", partition.name);
    }

    fn survives_machine_check(&self, partition: &Partition<Self>) -> bool {
        let finding = machine_check::in_guest();
        log::error!("{}: {finding}", partition.name);
        finding.damage == Damage::None
    }

    fn open_line(&self, partition: &Partition<Self>, gsi: u8, entry: u64) {
        lines::open(partition, gsi, entry);
    }

    fn close_line(&self, partition: &Partition<Self>, gsi: u8) {
        lines::close(partition, gsi);
    }

    fn lines_in_service(&self, partition: &Partition<Self>) -> u32 {
        lines::in_service(partition)
    }

    fn end_line(&self, partition: &Partition<Self>, gsi: u8) {
        lines::end(partition, gsi);
    }
}

/// APIC ID of the processor that runs vCPU `vcpu`.
fn processor_of(partition: &Partition<KernelHost>, vcpu: usize) -> Option<u32> {
    let guest = MACHINE.get()?.guests.get(partition.index)?;
    guest.plan.apic_ids.get(vcpu).copied()
}
