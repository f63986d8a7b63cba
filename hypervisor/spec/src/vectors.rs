//! The hypervisor's own interrupt vectors. They are reserved exceptions' (Intel SDM vol. 3 table
//! 6-1), so that no guest can have a device use one.

/// First of them.
pub const OWN_FIRST: u8 = TIMER;
/// Last of them.
pub const OWN_LAST: u8 = DEVICE;
/// The local APIC's timer.
pub const TIMER: u8 = 0x16;
/// The local APIC's errors.
pub const APIC_ERROR: u8 = 0x17;
/// One processor makes another look at its mailbox.
pub const KICK: u8 = 0x18;
/// The IOMMUs' fault events.
pub const FAULT: u8 = 0x19;
/// The interrupt lines of passed-through functions, at the processor of their guest's first
/// vCPU.
pub const LINE: u8 = 0x1a;
/// Posted interrupts were announced: in the guest the processor takes it by itself, outside it
/// says nothing that the next entry does not see.
pub const POSTED: u8 = 0x1b;
/// The hypervisor's own devices, at the housekeeping CPU.
pub const DEVICE: u8 = 0x1c;
/// Spurious interrupts: no bit, and no end of interrupt unless it is in service, as an
/// interrupt that somebody sent with this vector (Intel SDM vol. 3 section 12.9). Its low 4 bits
/// are ones, as the oldest APICs want.
pub const SPURIOUS: u8 = 0x1f;
/// The lowest vector that a guest's device may use.
pub const FIRST_GUEST: u8 = 0x20;
