//! The global command register, and the bounded wait for what it starts (VT-d
//! specification section 11.4.4).

use crate::IommuError;
use access::{Clock, RegisterWindow, wait_until};
use spec::vtd::{PROTECTED_MEMORY_ENABLE, PROTECTED_MEMORY_STATUS, global, register};

/// How long a unit may take for anything. Real ones take microseconds; some were
/// seen to take milliseconds.
pub(crate) const TIMEOUT_NS: u64 = 1_000_000_000;

/// The state bits that are set.
pub(crate) fn states(registers: &impl RegisterWindow) -> u32 {
    registers.read32(register::GLOBAL_STATUS) & global::STATES
}

/// Switches the state `bit` on or off and waits until it is.
pub(crate) fn switch(
    registers: &impl RegisterWindow,
    clock: &impl Clock,
    bit: u32,
    on: bool,
    what: &'static str,
) -> Result<(), IommuError> {
    let others = states(registers) & !bit;
    registers.write32(register::GLOBAL_COMMAND, others | if on { bit } else { 0 });
    wait_for(registers, clock, bit, on, what)
}

/// Gives the one-time command `bit` and waits until hardware has taken it.
pub(crate) fn command(
    registers: &impl RegisterWindow,
    clock: &impl Clock,
    bit: u32,
    what: &'static str,
) -> Result<(), IommuError> {
    registers.write32(register::GLOBAL_COMMAND, states(registers) | bit);
    // The write buffer's status bit falls when it is done, the others rise.
    wait_for(registers, clock, bit, bit != global::WRITE_BUFFER_FLUSH, what)
}

fn wait_for(
    registers: &impl RegisterWindow,
    clock: &impl Clock,
    bit: u32,
    set: bool,
    what: &'static str,
) -> Result<(), IommuError> {
    wait_until(clock, TIMEOUT_NS, || (registers.read32(register::GLOBAL_STATUS) & bit != 0) == set)
        .map_err(|_| IommuError::TimedOut(what))
}

/// Switches the protected memory regions off that firmware may have left on. They
/// block DMA whatever the tables say, so they go last, when the tables hold.
pub(crate) fn release_protected_memory(
    registers: &impl RegisterWindow,
    clock: &impl Clock,
) -> Result<(), IommuError> {
    let state = registers.read32(register::PROTECTED_MEMORY);
    registers.write32(register::PROTECTED_MEMORY, state & !PROTECTED_MEMORY_ENABLE);
    wait_until(clock, TIMEOUT_NS, || {
        registers.read32(register::PROTECTED_MEMORY) & PROTECTED_MEMORY_STATUS == 0
    })
    .map_err(|_| IommuError::TimedOut("protected memory regions off"))
}
