//! Shared memory between virtual machines, as QEMU's "ivshmem-doorbell" device has it (QEMU, Device
//! Specification for Inter-VM shared memory device, revision 1).

/// Vendor ID.
pub const VENDOR: u16 = 0x1af4;
/// Device ID.
pub const DEVICE: u16 = 0x1110;
/// Revision: no interrupts by the pin.
pub const REVISION: u8 = 1;
/// Class code: a RAM controller.
pub const CLASS: u32 = 0x05_0000;

/// Registers, in bytes from the start of BAR 0, each 4 bytes wide.
pub mod register {
    /// Interrupt mask, of the pin.
    pub const INTERRUPT_MASK: u64 = 0;
    /// Interrupt status, of the pin.
    pub const INTERRUPT_STATUS: u64 = 4;
    /// IVPosition: who this peer is.
    pub const POSITION: u64 = 8;
    /// Doorbell: the peer in the upper 16 bits, its vector in the lower ones.
    pub const DOORBELL: u64 = 12;
    /// Bytes of all of them.
    pub const BYTES: u64 = 16;
}

/// What is written to the doorbell.
pub mod doorbell {
    /// How far left the peer is.
    pub const PEER_SHIFT: u32 = 16;
}
