//! A virtual processor: exit in, resume out.
//!
//! VMX, SVM and a scripted fake stand behind [`Vcpu`]. The backend reports facts;
//! what to do about an exit is decided in `guest`, once for both vendors.

mod exit;

pub use exit::{EXIT_KINDS, Exit, NestedAccess, PortAccess, TaskSource};

/// The sixteen general registers, numbered as instructions encode them.
/// RSP (4) is kept by the backend's control block while the guest is out; the
/// backend's [`Vcpu::register`] knows.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct GeneralRegisters(pub [u64; 16]);

/// Index of RAX in [`GeneralRegisters`].
pub const RAX: usize = 0;
/// Index of RCX.
pub const RCX: usize = 1;
/// Index of RDX.
pub const RDX: usize = 2;
/// Index of RBX.
pub const RBX: usize = 3;
/// Index of RSP.
pub const RSP: usize = 4;
/// Index of RBP.
pub const RBP: usize = 5;
/// Index of RSI.
pub const RSI: usize = 6;
/// Index of RDI.
pub const RDI: usize = 7;

/// A segment register with its hidden part. `attributes` are in the layout of
/// bits 8 to 15 and 20 to 23 of a descriptor, joined (AMD APM vol. 2 section
/// 15.5.1): type 0-3, S 4, DPL 5-6, P 7, AVL 8, L 9, D/B 10, G 11.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Selector.
    pub selector: u16,
    /// Joined attributes; 0 means unusable.
    pub attributes: u16,
    /// Limit in bytes, with granularity applied.
    pub limit: u32,
    /// Base address.
    pub base: u64,
}

/// Which segment register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SegmentName {
    /// Extra.
    Es = 0,
    /// Code.
    Cs = 1,
    /// Stack.
    Ss = 2,
    /// Data.
    Ds = 3,
    /// FS.
    Fs = 4,
    /// GS.
    Gs = 5,
    /// Local descriptor table.
    Ldtr = 6,
    /// Task register.
    Tr = 7,
}

/// Control and mode registers that most exits do not need.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct ControlRegisters {
    /// CR0.
    pub cr0: u64,
    /// CR2.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER as the guest sees it.
    pub efer: u64,
}

/// An event to deliver through the guest's interrupt table at the next entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A maskable interrupt; the guest can take it now.
    Interrupt(u8),
    /// A non-maskable interrupt.
    Nmi,
    /// An exception, with its error code where it has one.
    Exception {
        /// Exception vector, 0 to 31.
        vector: u8,
        /// Error code, for the vectors that push one.
        error: Option<u32>,
    },
}

impl Event {
    /// #UD.
    pub const UNDEFINED: Self = Self::Exception { vector: 6, error: None };
    /// #GP(0).
    pub const PROTECTION: Self = Self::Exception { vector: 13, error: Some(0) };

    /// Whether it is a fault, whose handler returns to the instruction: neither an abort nor
    /// a trap (Intel SDM vol. 3 table 6-1), of which debug exceptions are those that
    /// software raises here.
    pub const fn is_fault(self) -> bool {
        const DEBUG: u8 = 1;
        const BREAKPOINT: u8 = 3;
        const OVERFLOW: u8 = 4;
        const DOUBLE_FAULT: u8 = 8;
        const MACHINE_CHECK: u8 = 18;
        match self {
            Self::Exception { vector, .. } => {
                !matches!(vector, DEBUG | BREAKPOINT | OVERFLOW | DOUBLE_FAULT | MACHINE_CHECK)
            }
            Self::Interrupt(_) | Self::Nmi => false,
        }
    }
}

/// What the hypervisor wants of the next entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Resume {
    /// Deliver this event. An event whose delivery was interrupted by the last
    /// exit is delivered again by the backend itself before anything new.
    pub inject: Option<Event>,
    /// Exit with [`Exit::InterruptWindow`] once a maskable interrupt can be taken.
    pub interrupt_window: bool,
    /// Exit with [`Exit::NmiWindow`] once an NMI can be taken.
    pub nmi_window: bool,
    /// An interrupt waits for a lower task priority: exit with [`Exit::WriteControl`] when
    /// the guest writes CR8, or with [`Exit::InterruptWindow`] when it has written a lower
    /// value.
    pub priority_window: bool,
}

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

/// One virtual processor on the physical processor that runs it.
pub trait Vcpu {
    /// Says what the next entry is to do. Without it nothing is asked of an entry.
    fn prepare(&mut self, resume: Resume);
    /// Runs the guest until it exits.
    fn enter(&mut self) -> Exit;

    /// Whether barriers against speculation stand between this processor's guest and the
    /// hypervisor: then it is entered by [`Vcpu::enter_guarded`].
    fn is_guarded(&self) -> bool {
        false
    }
    /// As [`Vcpu::enter`], with the barriers before and after.
    fn enter_guarded(&mut self) -> Exit {
        self.enter()
    }

    /// General register `index` (0 to 15, as instructions encode them).
    fn register(&self, index: usize) -> u64;
    /// Sets general register `index`.
    fn set_register(&mut self, index: usize, value: u64);
    /// Instruction pointer (an offset in CS).
    fn rip(&self) -> u64;
    /// Sets the instruction pointer.
    fn set_rip(&mut self, value: u64);
    /// Flags.
    fn rflags(&self) -> u64;
    /// Sets the flags.
    fn set_rflags(&mut self, value: u64);
    /// Control registers and EFER.
    fn control(&self) -> ControlRegisters;
    /// Sets control registers and EFER; values must be consistent.
    fn set_control(&mut self, control: ControlRegisters);
    /// A segment register.
    fn segment(&self, name: SegmentName) -> Segment;
    /// Sets a segment register.
    fn set_segment(&mut self, name: SegmentName, segment: Segment);
    /// Base and limit of the global descriptor table.
    fn global_table(&self) -> (u64, u16);
    /// Base and limit of the global (false) or interrupt (true) descriptor table.
    fn set_descriptor_table(&mut self, interrupt: bool, base: u64, limit: u16);
    /// Current privilege level, 0 to 3.
    fn privilege_level(&self) -> u8;
    /// Reads an MSR that the backend holds for the guest; `None` if it holds none
    /// of that number.
    fn read_msr(&self, msr: u32) -> Option<u64>;
    /// Writes an MSR that the backend holds for the guest; false if it holds none
    /// of that number.
    fn write_msr(&mut self, msr: u32, value: u64) -> bool;

    /// RIP of the instruction after the one that exited, where the hardware says.
    fn next_rip(&self) -> Option<u64>;
    /// The bytes of the faulting instruction, where the hardware gives them.
    fn fetched_bytes(&self) -> &[u8];
    /// Whether an event waits to be delivered again, since the last exit interrupted that.
    fn is_delivering(&self) -> bool;
    /// Forgets the event whose delivery the last exit interrupted: it is being delivered
    /// otherwise. Gives its error code, if it has one.
    fn take_interrupted(&mut self) -> Option<u32>;
    /// Whether the guest could take a maskable interrupt right now (IF set, no
    /// shadow, nothing being delivered).
    fn can_take_interrupt(&self) -> bool;
    /// Whether the guest could take an NMI right now.
    fn can_take_nmi(&self) -> bool;
    /// Sets the four page-directory pointers, checked, that go with CR3 where there is PAE
    /// without long mode (Intel SDM vol. 3 section 4.4.1). A processor that reads them at
    /// each walk needs none.
    fn set_pae_pointers(&mut self, pointers: [u64; 4]) {
        let _ = pointers;
    }
    /// Switches the breakpoints off that are one task's alone (DR7's L0 to L3 and LE). For
    /// processors that leave task switches to software.
    fn end_local_breakpoints(&mut self) {}
    /// Ends the shadow of STI or MOV SS, as stepping over an instruction does.
    fn clear_interrupt_shadow(&mut self);
    /// The task priority that MOV to CR8 sets, 0 to 15.
    fn cr8(&self) -> u8;
    /// Sets the task priority, 8 bits as in the register of the local APIC: CR8 is its upper
    /// half, and all of it is kept only with [`InterruptMode::Accelerated`].
    fn set_task_priority(&mut self, value: u8);
    /// Sets XCR0, which the backend leaves to the guest; `value` is legal on this machine.
    fn set_xcr0(&mut self, value: u64);
    /// The vectors of the interrupts that the hardware delivered to this processor
    /// since the last call, as a bitmap; called after [`Exit::Interrupt`] and
    /// [`Exit::Kick`].
    fn take_interrupts(&mut self) -> [u64; 4];
    /// Makes the guest exit with [`Exit::Timer`] when the TSC, as the hypervisor reads it, has
    /// come to `deadline`, from its HLT too; `None` is never. False where the processor cannot
    /// do that: then some interrupt has to come.
    fn exit_at(&mut self, deadline: Option<u64>) -> bool {
        let _ = deadline;
        false
    }
    /// Lets the physical processor sleep until an interrupt or a kick reaches it.
    /// One that came since the guest's last exit ends the sleep at once; what came
    /// is told by [`Vcpu::take_interrupts`].
    fn sleep(&mut self);
    /// Forgets cached translations of this guest before the next entry. Called on
    /// its own processor after its nested tables lost or changed an entry.
    fn flush_translations(&mut self);
    /// Changes who takes interrupts. What is pending for the hypervisor then is taken
    /// first ([`Vcpu::take_interrupts`]). A processor that is to keep the APIC
    /// ([`InterruptMode::Accelerated`]) begins with nothing pending and nothing in service, and
    /// with the task priority that was set last.
    fn set_interrupts(&mut self, interrupts: InterruptMode);
    /// Makes `vector` (16 to 255) pending in the APIC that the processor keeps. The end of
    /// one that is level-triggered exits with [`Exit::EndOfInterrupt`].
    fn request(&mut self, vector: u8, level: bool);
    /// Ends what [`Exit::EndOfInterrupt`] told, as far as the processor has not.
    fn end_kept(&mut self, vector: u8);
    /// What the guest wrote, after [`Exit::ApicWrite`] told that it wrote `register`.
    fn kept_write(&self, register: u8) -> u64;
    /// Takes out what the APIC that the processor keeps holds. Others that post meanwhile have
    /// to look whether it still does.
    fn kept_apic(&mut self) -> KeptApic;
    /// Where others leave interrupts for [`InterruptMode::Accelerated`]; `None` where they have
    /// to ask the vCPU itself.
    fn posting(&self) -> Option<&'static dyn Posting>;
    /// Lets in what is held back while the guest's loop runs, kicks among it; what came is told
    /// by [`Vcpu::take_interrupts`]. For loops in which no entry gets as far as to take it.
    fn let_events_in(&mut self) {}
    /// What the hardware says of the last exit, where it was refused or unasked for: in words,
    /// and as a number.
    fn explanation(&self) -> Option<(&'static str, u64)> {
        None
    }
    /// The guest has left this processor for now: it takes events again as outside of a
    /// guest's loop.
    fn release(&mut self);
    /// Back to the state after INIT (Intel SDM vol. 3 table 10-1, AMD APM vol. 2
    /// table 14-1), general registers included.
    fn reset(&mut self);
}
