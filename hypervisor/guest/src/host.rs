//! What a guest at run time needs of the machine around it.

use crate::partition::Partition;
use access::GuestMemory;
use core::fmt;
use spec::{Gpa, Width};

/// The machine as a running guest sees it. `kernel` implements it over the real
/// one, tests over a script. Every method may be called from any processor.
pub trait Host: Sized {
    /// The guest's memory.
    type Memory: GuestMemory;
    /// What stands on the guest's PCI bus.
    type Bus: BusAccess<Self>;

    /// The time-stamp counter.
    fn now(&self) -> u64;
    /// Sets this processor's timer to the TSC value `deadline`, or switches it off.
    /// When it fires, the guest exits with vector [`TIMER_VECTOR`].
    fn arm_timer(&self, deadline: Option<u64>);
    /// Makes the processor that runs vCPU `vcpu` of the partition exit and look at
    /// its mailbox.
    fn kick(&self, partition: &Partition<Self>, vcpu: usize);
    /// Sends the interrupt `vector`, which is the guest's own, to the processor that runs
    /// vCPU `vcpu`, which takes its interrupts itself.
    fn send_interrupt(&self, partition: &Partition<Self>, vcpu: usize, vector: u8);
    /// Leaves this processor's local APIC to its guest: the hypervisor's own timer and
    /// vectors are silenced.
    fn give_apic(&self);
    /// Takes this processor's local APIC back into a known state: the timer stopped, every
    /// source masked, all priorities taken, nothing in service.
    fn take_apic_back(&self);
    /// Reads x2APIC register `register` of this processor.
    fn read_apic(&self, register: u8) -> u64;
    /// Writes x2APIC register `register` of this processor. `value` must be one that the
    /// register takes.
    fn write_apic(&self, register: u8, value: u64);
    /// Whether the processors have IA32_TSC_DEADLINE.
    fn has_tsc_deadline(&self) -> bool;
    /// APIC ID of the processor that runs no guest.
    fn housekeeping_cpu(&self) -> u32;
    /// Makes the housekeeping CPU look at the chipsets that are left to it
    /// ([`Partition::look_after_chipset`]).
    fn wake_housekeeping(&self);
    /// Makes the housekeeping CPU look at the emulated devices that it polls and serves
    /// ([`Partition::serve_endpoint`]).
    fn wake_io(&self);
    /// vCPU `vcpu`, which runs on this processor, told of something by an endpoint that others serve: it is
    /// served now, or by the housekeeping CPU soon. No lock is held. Whether the vCPU has to look at its interrupts.
    fn serve_io(&self, partition: &Partition<Self>, vcpu: usize, endpoint: usize) -> bool {
        let _ = (partition, vcpu, endpoint);
        self.wake_io();
        false
    }
    /// Writes part of a line of the guest's console `console`, of which the one at its serial port is 0;
    /// `complete` ends the line.
    fn console(&self, partition: &Partition<Self>, console: usize, line: &[u8], complete: bool);
    /// Writes a line about a guest to the hypervisor's log.
    fn log(&self, partition: &Partition<Self>, text: fmt::Arguments<'_>);

    /// A machine check made the guest exit on this processor: reads the banks, tells what they
    /// say, and clears them. Whether the guest can go on. Where the machine cannot, this does
    /// not come back.
    fn survives_machine_check(&self, partition: &Partition<Self>) -> bool {
        let _ = partition;
        false
    }

    /// Routes the machine's pin behind one of the guest's lines, the global system
    /// interrupt `gsi`: its redirection entry, which [`iommu::Iommu::remap_pin`] gave.
    fn open_line(&self, partition: &Partition<Self>, gsi: u8, entry: u64);
    /// Masks that pin and ends its interrupt.
    fn close_line(&self, partition: &Partition<Self>, gsi: u8);
    /// The guest's lines whose interrupts are in service at the machine's pins, a bit for
    /// each global system interrupt.
    fn lines_in_service(&self, partition: &Partition<Self>) -> u32;
    /// Ends the interrupt at the machine's pin behind `gsi`; a line that is still asserted
    /// interrupts again.
    fn end_line(&self, partition: &Partition<Self>, gsi: u8);
}

/// The guest's PCI bus, as the exit handlers reach it. What an access asks of the
/// nested tables, the IOMMU and the interrupt remapping is done before it returns.
pub trait BusAccess<H: Host>: Send {
    /// Reads a port: configuration mechanism 1 or an I/O BAR. Nothing is there at others, such as
    /// of a byte at 0xcf9.
    fn port_read(&mut self, partition: &Partition<H>, port: u16, width: Width) -> Reply<u32>;
    /// Writes a port.
    fn port_write(&mut self, partition: &Partition<H>, port: u16, width: Width, value: u32) -> Reply<()>;
    /// The emulated device at a port: its number, and where in its space of offsets that is.
    fn port_endpoint(&self, port: u16) -> Option<(usize, u64)>;
    /// Whether something decodes the address; nothing is read.
    fn decodes(&self, gpa: Gpa) -> bool;
    /// Reads memory-mapped configuration space or a trapped part of a BAR.
    fn memory_read(&mut self, partition: &Partition<H>, gpa: Gpa, width: Width) -> Reply<u64>;
    /// Writes there.
    fn memory_write(&mut self, partition: &Partition<H>, gpa: Gpa, width: Width, value: u64) -> Reply<()>;
}

/// Who answers an access to the guest's bus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply<T> {
    /// The bus did.
    Done(T),
    /// An emulated device does, once the bus is not locked any more.
    Endpoint {
        /// Which of the partition's.
        number: usize,
        /// Where in its space of offsets; of one with one BAR bytes from the start of that.
        offset: u64,
    },
    /// Nobody: nothing decodes the address.
    Nothing,
}

pub use spec::vectors::{
    DEVICE as DEVICE_VECTOR, FAULT as FAULT_VECTOR, FIRST_GUEST as FIRST_GUEST_VECTOR, KICK as KICK_VECTOR,
    LINE as LINE_VECTOR, TIMER as TIMER_VECTOR,
};
