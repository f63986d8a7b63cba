//! What a guest's life ([`guest::lifecycle`]) asks of this machine.

use crate::display::Display;
use crate::guests::{Common, Guest};
use crate::host::{KernelHost, MACHINE};
use alloc::format;
use alloc::string::String;
use core::sync::atomic::Ordering;
use devices::Chipset;
use devices::snapshot::{RestoreFault, SaveFault};
use guest::host::Host;
use guest::lifecycle::{Lifecycle, Stage};
use guest::partition::{End, Partition};
use guest::start_image::StartImage;
use handoff::bundle::{Bundle, ItemKind};
use machine::cpu::interrupts;
use machine::memory::heap;
use spin::Once;

/// What guests are started from, once it is verified.
pub static BUNDLE: Once<Bundle<'static>> = Once::new();
/// What all guests have in common.
pub static COMMON: Once<Common> = Once::new();

impl Stage for Guest {
    type Host = KernelHost;

    fn partition(&self) -> &Partition<KernelHost> {
        &self.partition
    }

    fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// Scrubs the guest's memory, puts its start image there, and gives it its functions.
    fn load(&self) -> Result<(), String> {
        let _loading = heap::loading();
        let partition = &self.partition;
        partition.memory.zero_all();
        self.display.iter().for_each(Display::scrub);
        let bundle = BUNDLE.get().ok_or("there is no bundle")?;
        let name = &partition.name;
        let item = bundle.find(ItemKind::Start, name).ok_or("its start image is not in the bundle")?;
        for item in bundle.start_files(name).chain([item]) {
            item.verify().map_err(|error| format!("{error}"))?;
        }
        let file = |number: u64| {
            let index = usize::try_from(number.checked_sub(1)?).ok()?;
            bundle.start_files(name).nth(index).map(|item| item.contents)
        };
        let image = StartImage::parse(item.contents).map_err(|error| format!("{error}"))?;
        image.place(&partition.memory, &partition.layout, file).map_err(|error| format!("{error}"))?;
        partition
            .bus()
            .assign(partition, |assignment, report| {
                partition.log(format_args!("{} at {}: {report}", assignment.requester, assignment.slot));
            })
            .map_err(|error| format!("{error}"))?;
        if let Some(processor) = self.processors.first() {
            processor.start(Some(&image));
        }
        Ok(())
    }

    fn reset(&self, vcpu: usize) {
        if let Some(processor) = self.processors.get(vcpu) {
            processor.start(None);
        }
    }

    fn run(&self, vcpu: usize) -> End {
        self.processors.get(vcpu).map_or(End::Stopped, |processor| processor.run(&self.partition))
    }

    fn save(&self, vcpu: usize) -> Result<(), SaveFault> {
        self.save_vcpu(vcpu)
    }

    fn freeze(&self) -> Result<(), SaveFault> {
        self.freeze_all()
    }

    fn thaw(&self) -> Result<(), RestoreFault> {
        self.thaw_all()
    }

    fn restore(&self, vcpu: usize) {
        self.restore_vcpu(vcpu);
    }

    fn take_back(&self) -> bool {
        let clean = self.partition.bus().revoke(&self.partition);
        self.await_drives();
        if clean {
            self.account.note(self.partition.bus().holdings());
            self.partition.memory.zero_all();
            self.display.iter().for_each(Display::scrub);
            // What was frozen is forgotten with the guest.
            if let Some(room) = &self.room {
                room.memory.zero_all();
            }
        }
        clean
    }

    fn chipset(&self) -> Chipset {
        self.common.chipset(&self.partition.layout)
    }

    fn halt_all(&self) {
        let guests = MACHINE.get().map_or(&[][..], |machine| &machine.guests);
        for guest in guests {
            guest.lifecycle.request_halt(&guest.partition);
        }
    }

    fn sleep(&self) {
        // A kick between the look and the HLT stays pending until STI.
        interrupts::halt_until_interrupt();
        interrupts::take_vectors();
        interrupts::was_kicked();
    }
}

impl Guest {
    /// Waits until no drive reads or writes the guest's memory any more, so that what it writes to the medium
    /// is the guest's data and not what comes after. The guest's functions are reset, so that none begins.
    /// It takes as long as a drive may take for a request, or until it failed and reaches no memory.
    fn await_drives(&self) {
        self.awaits_drives.store(true, Ordering::SeqCst);
        while self.partition.lends_memory() {
            self.sleep();
        }
        self.awaits_drives.store(false, Ordering::SeqCst);
    }

    /// The housekeeping CPU took something back from a drive, which the guest may wait for.
    pub fn drive_is_done(&self) {
        if self.awaits_drives.load(Ordering::SeqCst) && !self.partition.lends_memory() {
            self.partition.host.kick(&self.partition, 0);
        }
    }
}

/// A processor that runs no guest any more: it sleeps for good.
pub fn park() -> ! {
    machine::cpu::timer::disarm_timer();
    loop {
        interrupts::halt_until_interrupt();
        interrupts::take_vectors();
        interrupts::was_kicked();
    }
}
