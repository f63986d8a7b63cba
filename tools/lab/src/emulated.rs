//! A machine of either emulator.

use crate::bochs::BochsMachine;
use crate::machine::Machine;
use crate::running::Running;
use anyhow::Result;
use std::path::Path;

/// A machine that only needs to be started.
#[derive(Clone, Debug)]
pub enum Emulated {
    /// By QEMU.
    Qemu(Machine),
    /// By Bochs.
    Bochs(BochsMachine),
}

impl Emulated {
    /// Starts it; the emulator's own messages go to `logs`.
    ///
    /// # Errors
    /// The emulator does not start.
    pub fn start(&self, logs: &Path) -> Result<Running> {
        match self {
            Self::Qemu(machine) => machine.start(logs),
            Self::Bochs(machine) => machine.start(logs),
        }
    }
}

impl From<Machine> for Emulated {
    fn from(machine: Machine) -> Self {
        Self::Qemu(machine)
    }
}

impl From<BochsMachine> for Emulated {
    fn from(machine: BochsMachine) -> Self {
        Self::Bochs(machine)
    }
}
