//! The machine's virtualisation and its guests' processors, with the vendor's types left
//! behind: they are called through here when a guest is built, starts and ends, and
//! never between.

use crate::host::KernelHost;
use access::vcpu::{EXIT_KINDS, Posting};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use devices::snapshot::{RestoreFault, SaveFault};
use emulator_compartment::RemoteEmulator;
use guest::VirtualProcessor;
use guest::partition::{End, Partition};
use guest::snapshot::Section;
use guest::start_image::StartImage;
use machine::cpu::apic;
use machine::memory::frames::Pool;
use machine::virt::{self, Backend, Place, WithBackend};
use spec::Hpa;
use spin::mutex::TicketMutex;
use tables::{Geometry, NestedTables};

/// What the machine's processors can do for guests.
pub trait Virtualization: Send + Sync {
    /// Switches it on for this processor.
    ///
    /// # Errors
    /// A sentence: what this processor lacks.
    fn enable(&self) -> Result<(), String>;

    /// Whether guests can take their interrupts themselves.
    fn offers_direct_interrupts(&self) -> bool;

    /// Whether processors can keep their guests' local APICs.
    fn keeps_apics(&self) -> bool;

    /// The shape of nested tables.
    fn geometry(&self) -> Geometry;

    /// Empty nested tables made of frames of `pool`.
    ///
    /// # Errors
    /// A sentence.
    fn nested_tables(&self, pool: Pool) -> Result<Box<dyn NestedTables>, String>;

    /// A guest's virtual processors over the nested tables at `nested`. Each is to run on
    /// one processor, where [`Virtualization::enable`] succeeded. `None`: there is no memory
    /// for them.
    fn processors(&self, vcpus: usize, nested: Hpa) -> Option<Box<[Box<dyn GuestProcessor>]>>;
}

/// A virtual processor of a guest.
pub trait GuestProcessor: Send + Sync {
    /// Puts it into its state before a guest's first instruction, or back to there.
    /// The first of a guest starts as its image says; the others wait for a start-up message.
    fn start(&self, image: Option<&StartImage<'_>>);

    /// Runs the guest on this processor until the guest ends; afterwards the processor
    /// takes interrupts as outside of a guest again.
    fn run(&self, partition: &Partition<KernelHost>) -> End;

    /// Has its instructions interpreted by that from now on.
    fn set_interpreter(&self, interpreter: Box<RemoteEmulator>);

    /// Writes it out, on its own processor, after it has left a guest that was frozen.
    ///
    /// # Errors
    /// See [`VirtualProcessor::save`].
    fn save(&self, into: &mut Section) -> Result<(), SaveFault>;

    /// Reads what was written, and changes nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&self, from: &Section, partition: &Partition<KernelHost>) -> Result<(), RestoreFault>;

    /// Becomes as it was saved, on its own processor.
    ///
    /// # Errors
    /// It was not checked.
    fn restore(&self, from: &Section) -> Result<(), RestoreFault>;

    /// Where others leave interrupts while its processor keeps its local APIC.
    fn posting(&self) -> Option<&'static dyn Posting>;

    /// Exits by kind: all, and since the guest of this run said that it is up. Waits until
    /// the guest has left the processor.
    fn exits(&self) -> ([u64; EXIT_KINDS], Option<[u64; EXIT_KINDS]>);
}

/// The virtualisation of this machine.
///
/// # Errors
/// A sentence: what the processors lack.
pub fn detect() -> Result<Box<dyn Virtualization>, String> {
    virt::choose(Erase)?
}

struct Erase;

impl WithBackend for Erase {
    type Output = Result<Box<dyn Virtualization>, String>;

    fn with<B: Backend>(self, mut backend: B) -> Self::Output {
        log::info!("{}: {backend:?}", B::NAME);
        backend.prepare().map_err(|_| format!("there is no memory for what {} needs", B::NAME))?;
        Ok(Box::new(backend))
    }
}

impl<B: Backend> Virtualization for B {
    fn enable(&self) -> Result<(), String> {
        B::detect().map_err(|reason| format!("one of its processors cannot run it: {reason}"))?;
        Backend::enable(self).map_err(|reason| format!("{} cannot be switched on: {reason}", B::NAME))
    }

    fn offers_direct_interrupts(&self) -> bool {
        B::DIRECT_INTERRUPTS
    }

    fn keeps_apics(&self) -> bool {
        self.keeps_apic()
    }

    fn geometry(&self) -> Geometry {
        Backend::geometry(self)
    }

    fn nested_tables(&self, pool: Pool) -> Result<Box<dyn NestedTables>, String> {
        match Backend::nested_tables(self, pool) {
            Ok(tables) => Ok(Box::new(tables)),
            Err(error) => Err(format!("{error}")),
        }
    }

    fn processors(&self, vcpus: usize, nested: Hpa) -> Option<Box<[Box<dyn GuestProcessor>]>> {
        let shared = self.share(vcpus).ok()?;
        let processor = |index| {
            let vcpu = self.new_vcpu(nested, Place { index, vcpus, shared: &shared }).ok()?;
            let processor = TicketMutex::new(VirtualProcessor::new(index, vcpu));
            Some(Box::new(processor) as Box<dyn GuestProcessor>)
        };
        (0..vcpus).map(processor).collect()
    }
}

impl<V: access::vcpu::Vcpu + Send> GuestProcessor for TicketMutex<VirtualProcessor<V>> {
    fn start(&self, image: Option<&StartImage<'_>>) {
        let mut processor = self.lock();
        processor.restart();
        if let Some(image) = image {
            image.start(&mut processor.cpu);
        }
    }

    fn run(&self, partition: &Partition<KernelHost>) -> End {
        let mut processor = self.lock();
        let end = processor.run(partition);
        processor.cpu.release();
        apic::drain();
        end
    }

    fn set_interpreter(&self, interpreter: Box<RemoteEmulator>) {
        self.lock().interpreter.apart = Some(interpreter);
    }

    fn save(&self, into: &mut Section) -> Result<(), SaveFault> {
        self.lock().save(into)
    }

    fn check(&self, from: &Section, partition: &Partition<KernelHost>) -> Result<(), RestoreFault> {
        self.lock().check(from, &partition.cpuid)
    }

    fn restore(&self, from: &Section) -> Result<(), RestoreFault> {
        self.lock().restore(from)
    }

    fn posting(&self) -> Option<&'static dyn Posting> {
        self.lock().cpu.posting()
    }

    fn exits(&self) -> ([u64; EXIT_KINDS], Option<[u64; EXIT_KINDS]>) {
        let processor = self.lock();
        let steady = processor
            .exits_when_ready
            .map(|before| core::array::from_fn(|kind| processor.exits[kind].saturating_sub(before[kind])));
        (processor.exits, steady)
    }
}
