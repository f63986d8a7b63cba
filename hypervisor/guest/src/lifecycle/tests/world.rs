//! A machine whose processors are threads, and whose guest ends by a script.

extern crate std;

use super::super::*;
use crate::cpuid::{CpuidPolicy, GuestCpuidConfig};
use crate::host::{BusAccess, Host, Reply};
use crate::layout::GuestLayout;
use crate::mailbox;
use crate::snapshot::Snapshot;
use access::GuestMemory;
use access::memory::OutOfBounds;
use devices::ChipsetConfig;
use spec::{Gpa, Width};
use std::collections::VecDeque;
use std::string::ToString;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};
use std::vec::Vec;

/// Something is wrong when anything takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// An order.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Act {
    Stop,
    Restart,
    Halt,
    Freeze,
}

/// No memory, no devices; what is said and who is kicked is kept.
#[derive(Default)]
pub struct QuietHost {
    logged: Mutex<Vec<String>>,
}

pub struct Nothing;

impl GuestMemory for Nothing {
    fn read(&self, _: Gpa, _: &mut [u8]) -> Result<(), OutOfBounds> {
        Err(OutOfBounds)
    }
    fn write(&self, _: Gpa, _: &[u8]) -> Result<(), OutOfBounds> {
        Err(OutOfBounds)
    }
    fn contains(&self, _: Gpa, _: u64) -> bool {
        false
    }
}

impl BusAccess<QuietHost> for Nothing {
    fn port_read(&mut self, _: &Partition<QuietHost>, _: u16, _: Width) -> Reply<u32> {
        Reply::Nothing
    }
    fn port_write(&mut self, _: &Partition<QuietHost>, _: u16, _: Width, _: u32) -> Reply<()> {
        Reply::Nothing
    }
    fn port_endpoint(&self, _: u16) -> Option<(usize, u64)> {
        None
    }
    fn decodes(&self, _: Gpa) -> bool {
        false
    }
    fn memory_read(&mut self, _: &Partition<QuietHost>, _: Gpa, _: Width) -> Reply<u64> {
        Reply::Nothing
    }
    fn memory_write(&mut self, _: &Partition<QuietHost>, _: Gpa, _: Width, _: u64) -> Reply<()> {
        Reply::Nothing
    }
}

impl Host for QuietHost {
    type Memory = Nothing;
    type Bus = Nothing;
    fn now(&self) -> u64 {
        0
    }
    fn arm_timer(&self, _: Option<u64>) {}
    fn kick(&self, _: &Partition<Self>, _: usize) {}
    fn send_interrupt(&self, _: &Partition<Self>, _: usize, _: u8) {}
    fn give_apic(&self) {}
    fn take_apic_back(&self) {}
    fn read_apic(&self, _: u8) -> u64 {
        0
    }
    fn write_apic(&self, _: u8, _: u64) {}
    fn has_tsc_deadline(&self) -> bool {
        false
    }
    fn housekeeping_cpu(&self) -> u32 {
        0
    }
    fn wake_io(&self) {}
    fn wake_housekeeping(&self) {}
    fn console(&self, _: &Partition<Self>, _: usize, _: &[u8], _: bool) {}
    fn log(&self, _: &Partition<Self>, text: fmt::Arguments<'_>) {
        self.logged.lock().unwrap().push(text.to_string());
    }
    fn open_line(&self, _: &Partition<Self>, _: u8, _: u64) {}
    fn close_line(&self, _: &Partition<Self>, _: u8) {}
    fn lines_in_service(&self, _: &Partition<Self>) -> u32 {
        0
    }
    fn end_line(&self, _: &Partition<Self>, _: u8) {}
}

pub struct World {
    pub partition: Partition<QuietHost>,
    pub life: Lifecycle,
    pub loads_fail: AtomicBool,
    pub unclean: AtomicBool,
    /// How the guest ends each time; after that it runs on.
    script: Mutex<VecDeque<End>>,
    vcpus: usize,
    loads: AtomicUsize,
    halts: AtomicUsize,
    /// Calls of the stage so far, and the one at which an order comes.
    calls: AtomicUsize,
    act: Mutex<Option<(usize, Act)>>,
    loads_at_act: AtomicUsize,
    pub busy: AtomicBool,
    pub forged: AtomicBool,
    pub saves: AtomicUsize,
    pub restores: AtomicUsize,
    snapshot: Mutex<Snapshot>,
}

impl World {
    pub fn new(vcpus: usize, policy: Policy, script: &[End]) -> Self {
        let nothing = |_: u32, _: u32| [0; 4];
        let cpuid = GuestCpuidConfig { vcpus: vcpus as u32, tsc_khz: 1_000_000, modelled_timer: true };
        Self {
            partition: Partition::new(
                0,
                "test".into(),
                QuietHost::default(),
                Nothing,
                GuestLayout::new(64 << 20, vcpus as u32).unwrap(),
                CpuidPolicy::new(&nothing, cpuid),
                1_000_000_000,
                0,
                vcpus,
                chipset(),
                Nothing,
            ),
            life: Lifecycle::new(vcpus, policy),
            loads_fail: AtomicBool::new(false),
            unclean: AtomicBool::new(false),
            script: Mutex::new(script.iter().copied().collect()),
            vcpus,
            loads: AtomicUsize::new(0),
            halts: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            act: Mutex::new(None),
            loads_at_act: AtomicUsize::new(usize::MAX),
            busy: AtomicBool::new(false),
            forged: AtomicBool::new(false),
            saves: AtomicUsize::new(0),
            restores: AtomicUsize::new(0),
            snapshot: Mutex::new(Snapshot::new(vcpus)),
        }
    }

    /// Gives the order in the middle of the call with this number.
    pub fn at(&self, call: usize, act: Act) {
        *self.act.lock().unwrap() = Some((call, act));
    }

    /// Gives it now if it has not come.
    pub fn act_now(&self) {
        let act = self.act.lock().unwrap().take();
        if let Some((_, act)) = act {
            self.give(act);
        }
    }

    pub fn has_acted(&self) -> bool {
        self.loads_at_act.load(SeqCst) != usize::MAX
    }

    fn give(&self, act: Act) {
        self.loads_at_act.store(self.loads(), SeqCst);
        match act {
            Act::Stop => self.life.request_stop(&self.partition, format_args!("a test")),
            Act::Restart => _ = self.life.request_restart(&self.partition, format_args!("a test")),
            Act::Freeze => self.life.request_freeze(&self.partition, format_args!("a test")),
            Act::Halt => self.life.request_halt(&self.partition),
        }
    }

    fn called(&self) {
        let call = self.calls.fetch_add(1, SeqCst);
        let due = self.act.lock().unwrap().take_if(|(at, _)| *at <= call);
        if let Some((_, act)) = due {
            self.give(act);
        }
    }

    pub fn loads(&self) -> usize {
        self.loads.load(SeqCst)
    }

    /// Starts that had begun when the order came.
    pub fn loads_at_act(&self) -> usize {
        self.loads_at_act.load(SeqCst)
    }

    pub fn halts(&self) -> usize {
        self.halts.load(SeqCst)
    }

    pub fn logged(&self, text: &str) -> bool {
        self.partition.host.logged.lock().unwrap().iter().any(|line| line.contains(text))
    }

    /// A life with all processors; `then` is the housekeeping CPU. Ends when all have come back.
    pub fn live(&self, then: impl FnOnce(&Self)) {
        let all: Vec<usize> = (0..self.vcpus).collect();
        self.live_with(&all, then);
    }

    /// The same with these alone.
    pub fn live_with(&self, vcpus: &[usize], then: impl FnOnce(&Self)) {
        thread::scope(|scope| {
            for &vcpu in vcpus {
                scope.spawn(move || {
                    report_fit(self);
                    run(self, vcpu);
                });
            }
            // Also when `then` fails: else its threads would be waited for for ever.
            let _gone = Gone(self);
            then(self);
        });
    }

    /// The part of vCPU `vcpu` in the run that goes on, and no more.
    pub fn run_here(&self, vcpu: usize) {
        self.run(vcpu);
        self.life.left.fetch_add(1, SeqCst);
    }

    pub fn wait_until(&self, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < PATIENCE, "{} after {} starts", self.life.state_name(), self.loads());
            thread::yield_now();
        }
    }

    pub fn wait_until_over(&self) {
        self.wait_until(|world| world.life.is_over());
    }

    /// Waits for what need not come.
    pub fn wait_a_while(&self, done: impl Fn(&Self) -> bool) -> bool {
        (0..200).any(|_| {
            thread::yield_now();
            done(self)
        })
    }

    /// Lets the others go on for a while.
    pub fn rest(&self) {
        (0..50).for_each(|_| thread::yield_now());
    }
}

struct Gone<'a>(&'a World);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.life.request_halt(&self.0.partition);
        lose(self.0);
    }
}

fn chipset() -> Chipset {
    Chipset::new(ChipsetConfig {
        tsc_hz: 1_000_000_000,
        epoch_seconds: 0,
        start: 0,
        ioapic_id: 1,
        low_memory_bytes: 1 << 20,
        high_memory_bytes: 0,
    })
}

impl Stage for World {
    type Host = QuietHost;

    fn partition(&self) -> &Partition<QuietHost> {
        &self.partition
    }
    fn lifecycle(&self) -> &Lifecycle {
        &self.life
    }
    fn load(&self) -> Result<(), String> {
        self.loads.fetch_add(1, SeqCst);
        self.called();
        if self.loads_fail.load(SeqCst) { Err("no kernel".into()) } else { Ok(()) }
    }
    fn reset(&self, _: usize) {
        self.called();
    }
    fn run(&self, vcpu: usize) -> End {
        self.called();
        let mailbox = &self.partition.mailboxes[vcpu];
        if vcpu == 0 && !mailbox.has(mailbox::STOP) {
            let end = self.script.lock().unwrap().pop_front();
            if let Some(end) = end {
                self.called();
                self.partition.request_end(end);
            }
        }
        self.wait_until(|_| mailbox.has(mailbox::STOP));
        self.called();
        self.partition.ended().expect("a vCPU is stopped by an end")
    }
    fn save(&self, _: usize) -> Result<(), SaveFault> {
        self.called();
        self.saves.fetch_add(1, SeqCst);
        if self.busy.swap(false, SeqCst) { Err(SaveFault::Busy) } else { Ok(()) }
    }
    fn freeze(&self) -> Result<(), SaveFault> {
        self.called();
        assert_eq!(self.life.left.load(SeqCst), self.vcpus, "all have left, each once");
        self.partition.save(&mut self.snapshot.lock().unwrap())
    }
    fn thaw(&self) -> Result<(), RestoreFault> {
        self.called();
        if self.forged.load(SeqCst) {
            return Err(RestoreFault::Malformed);
        }
        let snapshot = self.snapshot.lock().unwrap();
        let restored = self.partition.check(&snapshot)?;
        self.partition.restore(&snapshot, restored);
        Ok(())
    }
    fn restore(&self, _: usize) {
        self.called();
        self.restores.fetch_add(1, SeqCst);
    }
    fn take_back(&self) -> bool {
        self.called();
        assert_eq!(self.life.left.load(SeqCst), self.vcpus, "all have left, each once");
        !self.unclean.load(SeqCst)
    }
    fn chipset(&self) -> Chipset {
        self.called();
        chipset()
    }
    fn halt_all(&self) {
        self.called();
        self.halts.fetch_add(1, SeqCst);
        self.life.request_halt(&self.partition);
    }
    fn sleep(&self) {
        self.called();
        thread::yield_now();
    }
    fn pause(&self) {
        self.called();
        thread::yield_now();
    }
}
