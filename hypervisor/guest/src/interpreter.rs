//! Who carries out the instructions of a virtual processor that reach for what is not memory.

use crate::host::Host;
use crate::partition::{End, Partition};
use access::vcpu::{Event, NestedAccess, PortAccess, ProcessorState};
use alloc::boxed::Box;
use compartment::Ended;
use emulator::{Bus, Outcome, Ports, Recent};
use emulator_compartment::RemoteEmulator;
use spec::Gpa;

/// What became of an instruction, for its guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interpreted {
    /// The guest goes on where its RIP is: behind it, or at it once more.
    GoesOn,
    /// This has to be injected: see [`Outcome::Inject`].
    Raises(Event),
    /// It is none that is carried out here. Nothing was done.
    Unsupported,
    /// There is nobody to carry it out, and the guest ends.
    Gone,
}

impl From<Outcome> for Interpreted {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            // A guest's bus always knows; nothing would have been done, as of an instruction that is tried again.
            Outcome::Done | Outcome::Retry | Outcome::Waiting => Self::GoesOn,
            Outcome::Inject(event) => Self::Raises(event),
            Outcome::Unsupported => Self::Unsupported,
        }
    }
}

/// The interpreter of one virtual processor: the hypervisor, or a compartment of its own.
#[derive(Default)]
pub struct Interpreter {
    /// What the processor did lately. Where it has a compartment, steps over instructions alone are in it.
    pub recent: Recent,
    /// The compartment.
    pub apart: Option<Box<RemoteEmulator>>,
}

impl Interpreter {
    /// As [`emulator::memory_access`].
    #[inline]
    pub fn memory_access<V: ProcessorState, H: Host, B: Bus>(
        &mut self,
        cpu: &mut V,
        partition: &Partition<H>,
        bus: &mut B,
        gpa: Gpa,
        access: NestedAccess,
    ) -> Interpreted {
        let Some(apart) = &mut self.apart else {
            return emulator::memory_access(cpu, &partition.memory, bus, &mut self.recent, gpa, access)
                .into();
        };
        let outcome = apart.memory_access(cpu, bus, (gpa, access), || partition.host.now());
        outcome.map_or_else(|ended| gone(cpu, partition, ended), Interpreted::from)
    }

    /// As [`emulator::string_port`], and as [`memory_access`](Self::memory_access).
    pub fn string_port<V: ProcessorState, H: Host, P: Ports>(
        &mut self,
        cpu: &mut V,
        partition: &Partition<H>,
        ports: &mut P,
        access: PortAccess,
    ) -> Interpreted {
        let Some(apart) = &mut self.apart else {
            return emulator::string_port(cpu, &partition.memory, ports, &mut self.recent, access).into();
        };
        let outcome = apart.string_port(cpu, ports, access, || partition.host.now());
        outcome.map_or_else(|ended| gone(cpu, partition, ended), Interpreted::from)
    }

    /// Has `see` see what was fetched for the last access that was [`Interpreted::Unsupported`].
    pub fn with_unsupported<T>(&self, see: impl FnOnce(&[u8]) -> T) -> T {
        match &self.apart {
            Some(apart) => see(apart.unsupported()),
            None => see(self.recent.unsupported().as_slice()),
        }
    }
}

/// The guest ends whose instruction nobody carries out.
#[cold]
fn gone<V: ProcessorState, H: Host>(cpu: &V, partition: &Partition<H>, ended: Ended) -> Interpreted {
    let rip = cpu.rip();
    partition.log(format_args!("its interpreter is gone, at {rip:#x}: {ended}"));
    partition.request_end(End::EmulatorFailed);
    Interpreted::Gone
}
