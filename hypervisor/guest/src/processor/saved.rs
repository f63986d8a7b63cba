//! A vCPU that has left its guest for [`End::Frozen`](crate::partition::End::Frozen), saved and put back.

use super::{Activity, VirtualProcessor};
use crate::cpuid::CpuidPolicy;
use crate::exits::offered_cr4;
use crate::msr::{Mtrrs, efer_is_legal, xcr0_is_legal};
use crate::snapshot::Section;
use access::vcpu::{Event, SavedProcessor, Vcpu};
use devices::LocalApic;
use devices::snapshot::{self, RestoreFault, SaveFault};
use serde::{Deserialize, Serialize};
use spec::processor::{CR0_PG, EFER_LMA};

/// Changes with each change of [`State`] or of what it holds.
const VERSION: u16 = 1;

/// All of a vCPU. What only makes it faster, or is for the log, begins anew.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct State<P, A, M> {
    cpu: P,
    apic: A,
    mtrrs: M,
    activity: Activity,
    exception: Option<Event>,
    nmis: u8,
    pv_eoi: u64,
    clock_msrs: [u64; 2],
}

type Owned = State<SavedProcessor, LocalApic, Mtrrs>;

impl<V: Vcpu> VirtualProcessor<V> {
    /// Writes it out, on its own processor. Nothing of it changes.
    ///
    /// # Errors
    /// The section is too small.
    pub fn save(&self, into: &mut Section) -> Result<(), SaveFault> {
        let state = State {
            cpu: self.cpu.save(),
            apic: &self.apic,
            mtrrs: &self.mtrrs,
            activity: self.activity,
            exception: self.exception,
            nmis: self.nmis,
            pv_eoi: self.pv_eoi.register(),
            clock_msrs: self.clock_msrs,
        };
        into.save(VERSION, &state)
    }

    /// Reads what [`VirtualProcessor::save`] wrote, on any processor, and changes nothing. `cpuid` is
    /// what the guest is told of its processors.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, from: &Section, cpuid: &CpuidPolicy) -> Result<(), RestoreFault> {
        let state: Owned = from.restore(VERSION)?;
        state.apic.check(&self.apic)?;
        snapshot::has(state.mtrrs.are_possible(), "a memory type register")?;
        snapshot::has(state.nmis <= 2, "NMIs that wait")?;
        snapshot::has(state.pv_eoi & 2 == 0, "the address for ends of interrupts")?;
        let events = [state.exception, state.cpu.delivery];
        snapshot::has(events.into_iter().flatten().all(is_event), "an event to be delivered")?;
        check_modes(&state.cpu, cpuid)?;
        snapshot::has(self.cpu.accepts(&state.cpu), "a register of the processor")
    }

    /// Becomes as the vCPU was that was saved, on its own processor. It was [checked](Self::check)
    /// before.
    ///
    /// # Errors
    /// It cannot be read; this vCPU is as after a reset.
    pub fn restore(&mut self, from: &Section) -> Result<(), RestoreFault> {
        self.restart();
        let state: Owned = from.restore(VERSION)?;
        self.cpu.restore(&state.cpu);
        self.cpu.set_task_priority(state.apic.task_priority());
        self.apic = state.apic;
        self.mtrrs = state.mtrrs;
        self.activity = state.activity;
        self.exception = state.exception;
        self.nmis = state.nmis;
        self.pv_eoi.set_register(state.pv_eoi);
        self.clock_msrs = state.clock_msrs;
        self.timer_dirty = true;
        Ok(())
    }
}

/// Whether an entry can be asked to deliver it.
fn is_event(event: Event) -> bool {
    match event {
        Event::Exception { vector, .. } => vector < 32 && vector != 2,
        Event::Interrupt(_) | Event::Nmi => true,
    }
}

/// What a guest cannot switch on by itself, no snapshot does.
fn check_modes(cpu: &SavedProcessor, cpuid: &CpuidPolicy) -> Result<(), RestoreFault> {
    let control = &cpu.control;
    let offered_state = cpuid.offered_xcr0();
    snapshot::has(efer_is_legal(control.efer, control.efer, false), "EFER")?;
    snapshot::has(control.efer & EFER_LMA == 0 || control.cr0 & CR0_PG != 0, "EFER.LMA without paging")?;
    snapshot::has(control.cr4 & !offered_cr4(cpuid) == 0, "CR4")?;
    snapshot::has(control.cr0 >> 32 == 0, "CR0")?;
    snapshot::has(cpu.own.xcr0 == 1 || xcr0_is_legal(cpu.own.xcr0, offered_state), "XCR0")
}
