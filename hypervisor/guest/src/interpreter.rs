//! Who carries out the instructions of a virtual processor that reach for what is not memory.

use crate::host::Host;
use crate::partition::{End, Partition};
use access::vcpu::{NestedAccess, PortAccess, ProcessorState};
use alloc::boxed::Box;
use compartment::Ended;
use emulator::{Bus, Outcome, Ports, Recent};
use emulator_compartment::RemoteEmulator;
use spec::Gpa;

/// The interpreter of one virtual processor: the hypervisor, or a compartment of its own.
#[derive(Default)]
pub struct Interpreter {
    /// What the processor did lately. Where it has a compartment, steps over instructions alone are in it.
    pub recent: Recent,
    /// The compartment.
    pub apart: Option<Box<RemoteEmulator>>,
}

impl Interpreter {
    /// As [`emulator::memory_access`]. [`Outcome::Waiting`] where the compartment is gone, and the guest ends.
    #[inline]
    pub fn memory_access<V: ProcessorState, H: Host, B: Bus>(
        &mut self,
        cpu: &mut V,
        partition: &Partition<H>,
        bus: &mut B,
        gpa: Gpa,
        access: NestedAccess,
    ) -> Outcome {
        let Some(apart) = &mut self.apart else {
            return emulator::memory_access(cpu, &partition.memory, bus, &mut self.recent, gpa, access);
        };
        let outcome = apart.memory_access(cpu, bus, (gpa, access), || partition.host.now());
        outcome.unwrap_or_else(|ended| gone(cpu, partition, ended))
    }

    /// As [`emulator::string_port`], and as [`memory_access`](Self::memory_access).
    pub fn string_port<V: ProcessorState, H: Host, P: Ports>(
        &mut self,
        cpu: &mut V,
        partition: &Partition<H>,
        ports: &mut P,
        access: PortAccess,
    ) -> Outcome {
        let Some(apart) = &mut self.apart else {
            return emulator::string_port(cpu, &partition.memory, ports, &mut self.recent, access);
        };
        let outcome = apart.string_port(cpu, ports, access, || partition.host.now());
        outcome.unwrap_or_else(|ended| gone(cpu, partition, ended))
    }

    /// Has `see` see what was fetched for the last access that was [`Outcome::Unsupported`].
    pub fn with_unsupported<T>(&self, see: impl FnOnce(&[u8]) -> T) -> T {
        match &self.apart {
            Some(apart) => see(apart.unsupported()),
            None => see(self.recent.unsupported().as_slice()),
        }
    }
}

/// The guest ends whose instruction nobody carries out.
#[cold]
fn gone<V: ProcessorState, H: Host>(cpu: &V, partition: &Partition<H>, ended: Ended) -> Outcome {
    let rip = cpu.rip();
    partition.log(format_args!("its interpreter is gone, at {rip:#x}: {ended}"));
    partition.request_end(End::EmulatorFailed);
    Outcome::Waiting
}
