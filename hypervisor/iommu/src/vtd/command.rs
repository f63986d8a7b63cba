//! The global command register, and the bounded wait for what it starts (VT-d
//! specification section 11.4.4).

use crate::IommuError;
use access::{Clock, RegisterWindow, wait_until};
use spec::vtd::{Global, PROTECTED_MEMORY_ENABLE, PROTECTED_MEMORY_STATUS, TABLE_MODE, capability, register};

/// How long a unit may take for anything. Real ones take microseconds; some were
/// seen to take milliseconds.
pub(crate) const TIMEOUT_NS: u64 = 1_000_000_000;

/// The state bits that are set.
pub(crate) fn states(registers: &impl RegisterWindow) -> Global {
    status(registers) & Global::STATES
}

pub(super) fn status(registers: &impl RegisterWindow) -> Global {
    Global::from_bits_retain(registers.read32(register::GLOBAL_STATUS))
}

/// Switches the state `bit` on or off and waits until it is.
pub(crate) fn switch(
    registers: &impl RegisterWindow,
    clock: &impl Clock,
    bit: Global,
    on: bool,
    what: &'static str,
) -> Result<(), IommuError> {
    let mut wanted = states(registers);
    wanted.set(bit, on);
    registers.write32(register::GLOBAL_COMMAND, wanted.bits());
    wait_for(registers, clock, bit, on, what)
}

/// Gives the one-time command `bit` and waits until hardware has taken it.
pub(crate) fn command(
    registers: &impl RegisterWindow,
    clock: &impl Clock,
    bit: Global,
    what: &'static str,
) -> Result<(), IommuError> {
    registers.write32(register::GLOBAL_COMMAND, (states(registers) | bit).bits());
    // The write buffer's status bit falls when it is done, the others rise.
    wait_for(registers, clock, bit, bit != Global::WRITE_BUFFER_FLUSH, what)
}

fn wait_for(
    registers: &impl RegisterWindow,
    clock: &impl Clock,
    bit: Global,
    set: bool,
    what: &'static str,
) -> Result<(), IommuError> {
    wait_until(clock, TIMEOUT_NS, || status(registers).contains(bit) == set)
        .map_err(|_| IommuError::TimedOut(what))
}

/// Ends translation by tables of another mode than legacy. The mode may change only while
/// translation is off (section 11.4.5), so there is a gap, in which protected memory regions
/// hold the devices where the unit has them.
pub(crate) fn leave_other_table_mode(
    registers: &impl RegisterWindow,
    clock: &impl Clock,
    cap: u64,
) -> Result<(), IommuError> {
    let is_legacy = registers.read64(register::ROOT_TABLE) & TABLE_MODE == 0;
    if is_legacy || !states(registers).contains(Global::TRANSLATION) {
        return Ok(());
    }
    if cap & capability::PROTECTED_MEMORY == capability::PROTECTED_MEMORY {
        protect_memory(registers, clock)?;
    }
    switch(registers, clock, Global::TRANSLATION, false, "translation off")
}

/// Has the unit block all DMA while it does not translate.
fn protect_memory(registers: &impl RegisterWindow, clock: &impl Clock) -> Result<(), IommuError> {
    let state = registers.read32(register::PROTECTED_MEMORY);
    if state & PROTECTED_MEMORY_STATUS != 0 {
        // Firmware's own regions; their limits may not change while they are on.
        return Ok(());
    }
    registers.write32(register::PROTECTED_LOW_BASE, 0);
    registers.write32(register::PROTECTED_LOW_LIMIT, u32::MAX);
    registers.write64(register::PROTECTED_HIGH_BASE, 1 << 32);
    registers.write64(register::PROTECTED_HIGH_LIMIT, u64::MAX);
    registers.write32(register::PROTECTED_MEMORY, state | PROTECTED_MEMORY_ENABLE);
    wait_until(clock, TIMEOUT_NS, || {
        registers.read32(register::PROTECTED_MEMORY) & PROTECTED_MEMORY_STATUS != 0
    })
    .map_err(|_| IommuError::TimedOut("protected memory regions on"))
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
