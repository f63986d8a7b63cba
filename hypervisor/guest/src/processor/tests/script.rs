//! A vCPU whose exits are a script, and the host around it.

extern crate std;

use super::super::*;
use crate::cpuid::{CpuidPolicy, GuestCpuidConfig};
use crate::host::{BusAccess, Reply};
use crate::layout::GuestLayout;
use access::fake_processor::StillProcessor;
use access::memory::VecMemory;
use access::vcpu::{
    ApicVirtualization, ControlRegisters, Execution, Exit, InterruptMode, KeptApic, Posting, ProcessorState,
    SavedProcessor, Saving,
};
use core::cell::{Cell, RefCell};
use core::fmt;
use devices::{Chipset, ChipsetConfig};
use spec::{Gpa, Width};
use std::collections::{BTreeMap, VecDeque};
use std::string::{String, ToString};
use std::vec::Vec;

pub(super) const IF: u64 = 1 << 9;

#[derive(Default)]
pub(super) struct FakeHost {
    pub(super) now: Cell<u64>,
    pub(super) armed: RefCell<Vec<Option<u64>>>,
    /// Of which console, what, and whether it ended the line.
    pub(super) printed: RefCell<Vec<(usize, String, bool)>>,
    pub(super) kicked: RefCell<Vec<usize>>,
    pub(super) logged: RefCell<Vec<String>>,
    /// The machine's pins: in service, and ended.
    pub(super) in_service: Cell<u32>,
    pub(super) ended: RefCell<Vec<u8>>,
    /// Interrupts sent to processors, as vCPU and vector.
    pub(super) sent: RefCell<Vec<(usize, u8)>>,
    /// The x2APIC of the machine, by register, and every write in order.
    pub(super) apic: RefCell<BTreeMap<u8, u64>>,
    pub(super) apic_writes: RefCell<Vec<(u8, u64)>>,
    /// How often the local APIC was given, taken back, and the housekeeping CPU woken.
    pub(super) handed: Cell<[usize; 3]>,
    /// The endpoints that were to be served, each with the vCPU that told of something; nobody by one that served.
    pub(super) served: RefCell<Vec<(Option<usize>, usize)>>,
    /// Machine checks that were looked at, and whether a guest survives them.
    pub(super) machine_checks: Cell<usize>,
    pub(super) survives: Cell<bool>,
    /// A vCPU can be made to exit at a TSC.
    pub(super) timed_exits: Cell<bool>,
}

impl FakeHost {
    pub(super) fn count(&self, what: usize) {
        let mut counts = self.handed.get();
        counts[what] += 1;
        self.handed.set(counts);
    }
}

pub(super) struct NoBus;

impl Host for FakeHost {
    type Memory = VecMemory;
    type Bus = NoBus;
    fn now(&self) -> u64 {
        self.now.set(self.now.get() + 1);
        self.now.get()
    }
    fn arm_timer(&self, deadline: Option<u64>) {
        self.armed.borrow_mut().push(deadline);
    }
    fn kick(&self, _: &Partition<Self>, vcpu: usize) {
        self.kicked.borrow_mut().push(vcpu);
    }
    fn send_interrupt(&self, _: &Partition<Self>, vcpu: usize, vector: u8) {
        self.sent.borrow_mut().push((vcpu, vector));
    }
    fn give_apic(&self) {
        self.count(0);
    }
    fn take_apic_back(&self) {
        self.count(1);
    }
    fn read_apic(&self, register: u8) -> u64 {
        self.apic.borrow().get(&register).copied().unwrap_or(0)
    }
    fn write_apic(&self, register: u8, value: u64) {
        self.apic_writes.borrow_mut().push((register, value));
    }
    fn has_tsc_deadline(&self) -> bool {
        false
    }
    fn housekeeping_cpu(&self) -> u32 {
        99
    }
    fn wake_io(&self) {
        self.served.borrow_mut().push((None, 0));
    }
    /// Whoever serves uses the endpoint, so nobody may have it locked.
    fn serve_io(&self, partition: &Partition<Self>, vcpu: usize, endpoint: usize) -> bool {
        self.served.borrow_mut().push((Some(vcpu), endpoint));
        let mut has_run = false;
        let own = partition.serve_endpoint_on(vcpu, endpoint, &mut |_, _| has_run = true);
        assert!(has_run);
        own
    }
    fn wake_housekeeping(&self) {
        self.count(2);
    }
    fn console(&self, _: &Partition<Self>, console: usize, line: &[u8], complete: bool) {
        self.printed.borrow_mut().push((console, String::from_utf8_lossy(line).into_owned(), complete));
    }
    fn log(&self, _: &Partition<Self>, text: fmt::Arguments<'_>) {
        self.logged.borrow_mut().push(text.to_string());
    }
    fn survives_machine_check(&self, _: &Partition<Self>) -> bool {
        self.machine_checks.set(self.machine_checks.get() + 1);
        self.survives.get()
    }
    fn open_line(&self, _: &Partition<Self>, _: u8, _: u64) {}
    fn close_line(&self, _: &Partition<Self>, _: u8) {}
    fn lines_in_service(&self, _: &Partition<Self>) -> u32 {
        self.in_service.get()
    }
    fn end_line(&self, _: &Partition<Self>, gsi: u8) {
        self.in_service.set(self.in_service.get() & !(1 << gsi));
        self.ended.borrow_mut().push(gsi);
    }
}

impl BusAccess<FakeHost> for NoBus {
    fn port_read(&mut self, _: &Partition<FakeHost>, _: u16, _: Width) -> Reply<u32> {
        Reply::Nothing
    }
    fn port_write(&mut self, _: &Partition<FakeHost>, _: u16, _: Width, _: u32) -> Reply<()> {
        Reply::Nothing
    }
    fn port_endpoint(&self, _: u16) -> Option<(usize, u64)> {
        None
    }
    fn decodes(&self, _: Gpa) -> bool {
        false
    }
    fn memory_read(&mut self, _: &Partition<FakeHost>, _: Gpa, _: Width) -> Reply<u64> {
        Reply::Nothing
    }
    fn memory_write(&mut self, _: &Partition<FakeHost>, _: Gpa, _: Width, _: u64) -> Reply<()> {
        Reply::Nothing
    }
}

/// XCR0 on the machine: x87, SSE, AVX.
pub(super) const STATE: u32 = 7;

pub(super) fn cpuid(leaf: u32, _: u32) -> [u32; 4] {
    match leaf {
        0 => [0xd, 0, 0, 0],
        // PAE.
        1 => [0, 0, 0, 1 << 6],
        0xd => [STATE, 0, 0, 0],
        _ => [0; 4],
    }
}

const TSC_HZ: u64 = 1_000_000_000;

pub(super) fn chipset() -> Chipset {
    Chipset::new(ChipsetConfig {
        tsc_hz: TSC_HZ,
        epoch_seconds: 0,
        start: 0,
        ioapic_id: 1,
        low_memory_bytes: 1 << 20,
        high_memory_bytes: 0,
    })
}

pub(super) fn partition(vcpus: usize) -> Partition<FakeHost> {
    Partition::new(
        0,
        "test".into(),
        FakeHost::default(),
        VecMemory::new(1 << 16),
        GuestLayout::new(64 << 20, vcpus as u32).unwrap(),
        CpuidPolicy::new(
            &cpuid,
            GuestCpuidConfig { vcpus: vcpus as u32, tsc_khz: 1_000_000, modelled_timer: true },
        ),
        TSC_HZ,
        0,
        vcpus,
        chipset(),
        NoBus,
    )
}

/// What one turn in the guest brings, or one sleep.
#[derive(Clone, Default, Debug)]
pub(super) struct Turn {
    pub(super) exit: Option<Exit>,
    pub(super) vectors: Vec<u8>,
    pub(super) registers: Vec<(usize, u64)>,
    pub(super) rflags: Option<u64>,
    /// TSC ticks that it takes.
    pub(super) takes: u64,
    /// Somebody ends the guest meanwhile, and the kick that goes with it does not get through.
    pub(super) stops: bool,
    /// Somebody freezes the guest meanwhile.
    pub(super) freezes: bool,
    /// What the guest moved to CR8, without an exit.
    pub(super) cr8: Option<u8>,
    /// Whether an NMI can be taken from now on.
    pub(super) takes_nmi: Option<bool>,
}

pub(super) fn exit(exit: Exit) -> Turn {
    Turn { exit: Some(exit), ..Turn::default() }
}

pub(super) fn device(vector: u8) -> Turn {
    Turn { exit: Some(Exit::Interrupt), vectors: std::vec![vector], ..Turn::default() }
}

/// A vCPU whose exits are a script; it ends the partition when that is over.
pub(super) struct Scripted<'a> {
    pub(super) still: StillProcessor,
    pub(super) turns: VecDeque<Turn>,
    pub(super) sleeps: VecDeque<Turn>,
    pub(super) slept: usize,
    /// How often held events were let in.
    pub(super) let_in: usize,
    pub(super) prepared: Resume,
    pub(super) resumes: Vec<Resume>,
    pub(super) interrupts: [u64; 4],
    pub(super) cr8: u8,
    pub(super) takes_nmi: bool,
    /// Called at each entry with its number.
    pub(super) on_enter: Option<fn(&Partition<FakeHost>, usize)>,
    pub(super) modes: Vec<InterruptMode>,
    /// What was made pending in the APIC that the processor keeps.
    pub(super) requested: Vec<(u8, bool)>,
    pub(super) kept: KeptApic,
    /// Where the guest was to exit by itself, each time it changed.
    pub(super) deadlines: Vec<Option<u64>>,
    pub(super) tsc_offset: u64,
    pub(super) partition: &'a Partition<FakeHost>,
}

impl Scripted<'_> {
    pub(super) fn play(&mut self, turn: &Turn) {
        for vector in &turn.vectors {
            self.interrupts[usize::from(vector >> 6)] |= 1 << (vector & 63);
        }
        for &(register, value) in &turn.registers {
            self.still.registers[register] = value;
        }
        if let Some(flags) = turn.rflags {
            self.still.rflags = flags;
        }
        let now = &self.partition.host.now;
        now.set(now.get() + turn.takes);
        if turn.stops {
            self.partition.request_end(End::Stopped);
        }
        if turn.freezes {
            self.partition.request_end(End::Frozen);
        }
        self.cr8 = turn.cr8.unwrap_or(self.cr8);
        self.takes_nmi = turn.takes_nmi.unwrap_or(self.takes_nmi);
    }
}

impl ProcessorState for Scripted<'_> {
    fn register(&self, index: usize) -> u64 {
        self.still.register(index)
    }
    fn set_register(&mut self, index: usize, value: u64) {
        self.still.set_register(index, value);
    }
    fn rip(&self) -> u64 {
        self.still.rip
    }
    fn set_rip(&mut self, value: u64) {
        self.still.rip = value;
    }
    fn rflags(&self) -> u64 {
        self.still.rflags
    }
    fn set_rflags(&mut self, value: u64) {
        self.still.rflags = value;
    }
    fn control(&self) -> ControlRegisters {
        self.still.control
    }
    fn set_control(&mut self, control: ControlRegisters) {
        self.still.control = control;
    }
    fn segment(&self, name: SegmentName) -> Segment {
        self.still.segment(name)
    }
    fn set_segment(&mut self, name: SegmentName, segment: Segment) {
        self.still.set_segment(name, segment);
    }
    fn global_table(&self) -> (u64, u16) {
        self.still.global_table()
    }
    fn set_descriptor_table(&mut self, interrupt: bool, base: u64, limit: u16) {
        self.still.set_descriptor_table(interrupt, base, limit);
    }
    fn privilege_level(&self) -> u8 {
        0
    }
    fn read_msr(&self, _: u32) -> Option<u64> {
        None
    }
    fn write_msr(&mut self, _: u32, _: u64) -> bool {
        false
    }
    fn set_xcr0(&mut self, value: u64) {
        self.still.set_xcr0(value);
    }
    fn clear_interrupt_shadow(&mut self) {}
    fn next_rip(&self) -> Option<u64> {
        Some(self.still.rip + 2)
    }
    fn fetched_bytes(&self) -> &[u8] {
        &[]
    }
    fn is_delivering(&self) -> bool {
        self.still.is_delivering()
    }
    fn take_interrupted(&mut self) -> Option<u32> {
        self.still.take_interrupted()
    }
}

impl Saving for Scripted<'_> {
    fn save(&self) -> SavedProcessor {
        self.still.save()
    }
    fn restore(&mut self, saved: &SavedProcessor) {
        self.still.restore(saved);
    }
    fn accepts(&self, saved: &SavedProcessor) -> bool {
        self.still.accepts(saved)
    }
}

impl Execution for Scripted<'_> {
    fn set_tsc_offset(&mut self, offset: u64) {
        self.tsc_offset = offset;
    }
    fn reset(&mut self) {
        self.still.rip = 0xfff0;
    }
    fn prepare(&mut self, resume: Resume) {
        self.prepared = resume;
    }
    fn enter(&mut self) -> Exit {
        self.resumes.push(core::mem::take(&mut self.prepared));
        if let Some(hook) = self.on_enter {
            hook(self.partition, self.resumes.len());
        }
        let Some(turn) = self.turns.pop_front() else {
            self.partition.request_end(End::Stopped);
            return Exit::Kick;
        };
        self.play(&turn);
        if turn.exit == Some(Exit::Interrupt) {
            self.partition.host.now.set(self.partition.host.now.get() + 1000);
        }
        turn.exit.unwrap_or(Exit::Kick)
    }
    fn release(&mut self) {}
    fn can_take_interrupt(&self) -> bool {
        self.still.rflags & IF != 0
    }
    fn can_take_nmi(&self) -> bool {
        self.takes_nmi
    }
    fn let_events_in(&mut self) {
        self.let_in += 1;
    }
    fn take_interrupts(&mut self) -> [u64; 4] {
        core::mem::take(&mut self.interrupts)
    }
    fn exit_at(&mut self, deadline: Option<u64>) -> bool {
        let timed = self.partition.host.timed_exits.get();
        if timed && self.deadlines.last() != Some(&deadline) {
            self.deadlines.push(deadline);
        }
        timed
    }
    fn sleep(&mut self) {
        self.slept += 1;
        match self.sleeps.pop_front() {
            Some(turn) => self.play(&turn),
            None => _ = self.partition.request_end(End::Stopped),
        }
    }
    fn flush_translations(&mut self) {}
}

impl ApicVirtualization for Scripted<'_> {
    fn cr8(&self) -> u8 {
        self.cr8
    }
    fn set_task_priority(&mut self, value: u8) {
        self.cr8 = value >> 4;
    }
    fn set_interrupts(&mut self, interrupts: InterruptMode) {
        self.modes.push(interrupts);
    }
    fn request(&mut self, vector: u8, level: bool) {
        self.requested.push((vector, level));
    }
    fn end_kept(&mut self, _: u8) {}
    fn kept_write(&self, _: u8) -> u64 {
        3
    }
    fn kept_apic(&mut self) -> KeptApic {
        self.kept
    }
    fn posting(&self) -> Option<&'static dyn Posting> {
        None
    }
}

impl<'a> Scripted<'a> {
    /// In 64-bit mode with interrupts enabled.
    pub(super) fn new(partition: &'a Partition<FakeHost>, turns: &[Turn], sleeps: &[Turn]) -> Self {
        let mut still = StillProcessor::long(0);
        still.rflags = 2 | IF;
        Self {
            still,
            turns: turns.iter().cloned().collect(),
            sleeps: sleeps.iter().cloned().collect(),
            slept: 0,
            let_in: 0,
            prepared: Resume::default(),
            resumes: Vec::new(),
            interrupts: [0; 4],
            cr8: 0,
            takes_nmi: true,
            on_enter: None,
            modes: Vec::new(),
            requested: Vec::new(),
            kept: KeptApic::default(),
            deadlines: Vec::new(),
            tsc_offset: 0,
            partition,
        }
    }
}

/// Plays the script on vCPU `index`, whose local APIC software has switched on in
/// x2APIC mode, without the 8259A; interrupts are enabled.
pub(super) fn play<'a>(
    partition: &'a Partition<FakeHost>,
    index: usize,
    turns: &[Turn],
    sleeps: &[Turn],
) -> VirtualProcessor<Scripted<'a>> {
    let mut vp = ready(partition, index, turns, sleeps);
    assert_eq!(vp.run(partition), End::Stopped);
    vp
}

/// That vCPU, before it runs.
pub(super) fn ready<'a>(
    partition: &'a Partition<FakeHost>,
    index: usize,
    turns: &[Turn],
    sleeps: &[Turn],
) -> VirtualProcessor<Scripted<'a>> {
    let mut vp = VirtualProcessor::new(index, Scripted::new(partition, turns, sleeps));
    let base = vp.apic.base();
    vp.apic.set_base(base | 0xc00).unwrap();
    for (register, value) in [(0x0f, 0x1ff), (0x35, 1 << 16)] {
        let _ = vp.apic.write(register, value, 0).unwrap();
    }
    vp
}

/// The same with a guest whose every exit interrupts the delivery of an event, until it ends.
pub(super) fn deliver<'a>(
    partition: &'a Partition<FakeHost>,
    turns: &[Turn],
) -> (VirtualProcessor<Scripted<'a>>, End) {
    let mut vp = VirtualProcessor::new(0, Scripted::new(partition, turns, &[]));
    vp.cpu.still.delivering = true;
    let end = vp.run(partition);
    (vp, end)
}

pub(super) fn injected(vp: &VirtualProcessor<Scripted<'_>>) -> Vec<Option<Event>> {
    vp.cpu.resumes.iter().map(|resume| resume.inject).collect()
}
