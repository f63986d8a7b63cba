//! Who takes a guest's interrupts, and the part of a local APIC that a processor keeps for it.

/// Who takes the interrupts that reach the physical processor while the guest runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum InterruptMode {
    /// The hypervisor: each is an exit. The local APIC is a model; HLT exits.
    #[default]
    Emulated,
    /// The hypervisor takes what reaches the processor, but the processor keeps the part of
    /// the guest's local APIC (x2APIC) that says what it takes next, and delivers that:
    /// task priority, end of interrupt, self-IPI, what is pending and in service do not
    /// exit, nor does HLT (Intel SDM vol. 3 chapter 31, AMD APM vol. 2 section 15.29).
    Accelerated,
    /// The guest, through its own table. Of the local APIC's registers (x2APIC) those go
    /// through that concern this processor alone: task priority, timer count, end of
    /// interrupt, what is pending and in service. HLT does not exit.
    Direct,
    /// As `Direct`, but the end of an interrupt exits: an IOAPIC waits for one.
    DirectWithEoiExits,
}

impl InterruptMode {
    /// Whether the guest's own interrupt table is reached without the hypervisor.
    pub const fn is_direct(self) -> bool {
        matches!(self, Self::Direct | Self::DirectWithEoiExits)
    }
}

/// What a guest may do to an x2APIC register without an exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DirectAccess {
    /// Read it.
    pub read: bool,
    /// Write it.
    pub write: bool,
}

impl DirectAccess {
    /// For x2APIC register `register` (MSR `0x800 + register`, Intel SDM vol. 3 table
    /// 11-6): those whose effect stays on this processor and between its guest's own
    /// handlers. What can reach another processor (ICR), switch the APIC off (SVR) or be
    /// delivered as something else than a plain vector (local vector table) exits, and so
    /// does what would tell the machine's APIC IDs.
    pub const fn to(register: u8) -> Self {
        use spec::local_apic::*;
        let (read, write) = match register {
            TASK_PRIORITY | INITIAL_COUNT | DIVIDE => (true, true),
            // In service, trigger mode and requests are one after the other.
            PROCESSOR_PRIORITY | IN_SERVICE..=REQUESTS_LAST | CURRENT_COUNT => (true, false),
            END_OF_INTERRUPT | SELF_IPI => (false, true),
            _ => (false, false),
        };
        Self { read, write }
    }

    /// The same where the processor keeps the guest's APIC ([`InterruptMode::Accelerated`]):
    /// it keeps no timer.
    pub const fn to_kept(register: u8) -> Self {
        use spec::local_apic::*;
        match register {
            INITIAL_COUNT | CURRENT_COUNT | DIVIDE => Self { read: false, write: false },
            _ => Self::to(register),
        }
    }
}

/// What the APIC that a processor keeps holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeptApic {
    /// Task priority.
    pub task_priority: u8,
    /// Pending vectors, a bit each.
    pub requests: [u64; 4],
    /// Vectors in service.
    pub in_service: [u64; 4],
    /// Vectors that are level-triggered.
    pub level: [u64; 4],
}

/// Where other processors leave interrupts for a vCPU whose processor keeps its APIC.
pub trait Posting: Sync {
    /// Leaves the edge-triggered interrupt `vector` (16 to 255), and tells the vCPU's
    /// processor. That delivers it without an exit if it is in the guest, else at its next
    /// entry.
    fn post(&self, vector: u8);
}

/// APIC virtualisation (APICv, AVIC), and the task priority that every processor keeps.
pub trait ApicVirtualization {
    /// The task priority that MOV to CR8 sets, 0 to 15.
    fn cr8(&self) -> u8;
    /// Sets the task priority, 8 bits as in the register of the local APIC: CR8 is its upper
    /// half, and all of it is kept only with [`InterruptMode::Accelerated`].
    fn set_task_priority(&mut self, value: u8);

    /// Changes who takes interrupts. What is pending for the hypervisor then is taken first
    /// ([`Execution::take_interrupts`](super::Execution::take_interrupts)). A processor that is
    /// to keep the APIC ([`InterruptMode::Accelerated`]) begins with nothing pending and nothing
    /// in service, and with the task priority that was set last.
    fn set_interrupts(&mut self, interrupts: InterruptMode);
    /// Makes `vector` (16 to 255) pending in the APIC that the processor keeps. The end of
    /// one that is level-triggered exits with [`Exit::EndOfInterrupt`](super::Exit::EndOfInterrupt).
    fn request(&mut self, vector: u8, level: bool);
    /// Ends what [`Exit::EndOfInterrupt`](super::Exit::EndOfInterrupt) told, as far as the
    /// processor has not.
    fn end_kept(&mut self, vector: u8);
    /// What the guest wrote, after [`Exit::ApicWrite`](super::Exit::ApicWrite) told that it
    /// wrote `register`.
    fn kept_write(&self, register: u8) -> u64;
    /// Takes out what the APIC that the processor keeps holds. Others that post meanwhile have
    /// to look whether it still does.
    fn kept_apic(&mut self) -> KeptApic;
    /// Where others leave interrupts for [`InterruptMode::Accelerated`]; `None` where they have
    /// to ask the vCPU itself.
    fn posting(&self) -> Option<&'static dyn Posting>;
}
