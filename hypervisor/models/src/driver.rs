//! A driver, and what ring 0 mapped for it.

use crate::registers::Registers;
use crate::shared_with_device::DeviceMemory;
use driver_compartment::layout::{BAR, QUEUES};
use driver_compartment::{Description, serve_first};

pub use driver_compartment::Server;

/// Serves the first call, which makes the driver. `None` where it could not be made, which the area says.
///
/// # Safety
/// What the call says of registers and of memory for queues is mapped at [`BAR`] and [`QUEUES`], for as long as the
/// program runs, and nothing else of the program is there.
// Inlined, it would have its part of the stack at each entry.
#[inline(never)]
pub unsafe fn build(words: &mut [u64]) -> Option<Server> {
    serve_first(words, |description| {
        let Description { registers_bytes, own, own_bytes, .. } = *description;
        let too_many = "it has more than there are addresses for";
        let registers_bytes = usize::try_from(registers_bytes).map_err(|_| too_many)?;
        let own_bytes = usize::try_from(own_bytes).map_err(|_| too_many)?;
        // SAFETY: the caller's promise.
        let registers = unsafe { Registers::new(BAR as *mut u8, registers_bytes) };
        // SAFETY: the caller's promise.
        let memory = unsafe { DeviceMemory::new(QUEUES as *mut u8, own_bytes, own) };
        description.build(registers, memory)
    })
}
