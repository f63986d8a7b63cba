//! What a guest's life ([`guest::lifecycle`]) asks of this machine.

use crate::guests::{Common, Guest};
use crate::host::{KernelHost, MACHINE};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use devices::Chipset;
use devices::snapshot::{RestoreFault, SaveFault};
use guest::acpi;
use guest::lifecycle::{Lifecycle, Stage};
use guest::loader::{self, LoadImage};
use guest::partition::{End, Partition};
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

    /// Scrubs the guest's memory, loads it and gives it its functions.
    fn load(&self) -> Result<(), String> {
        let _loading = heap::loading();
        let partition = &self.partition;
        partition.memory.zero_all();
        let bundle = BUNDLE.get().ok_or("there is no bundle")?;
        let name = &partition.name;
        let item = |kind| match bundle.find(kind, name) {
            None => Ok(None),
            Some(item) => item.verify().map(|()| Some(item.contents)).map_err(|error| format!("{error}")),
        };
        let kernel = item(ItemKind::Kernel)?.ok_or("its kernel is not in the bundle")?;
        let initrd = item(ItemKind::Initrd)?;
        let mut modules: Vec<(&str, &[u8])> = Vec::with_capacity(self.plan.config.modules.len());
        for module in bundle.modules(name) {
            module.verify().map_err(|error| format!("{error}"))?;
            modules.push((module.name, module.contents));
        }
        let image =
            LoadImage { kernel, initrd, modules: &modules, command_line: &self.plan.config.command_line };
        acpi::build(&partition.memory, &partition.layout).map_err(|error| format!("{error}"))?;
        let entry =
            loader::load(&partition.memory, &partition.layout, image).map_err(|error| format!("{error}"))?;
        partition
            .bus()
            .assign(partition, |assignment, report| {
                partition.log(format_args!("{} at {}: {report}", assignment.requester, assignment.slot));
            })
            .map_err(|error| format!("{error}"))?;
        if let Some(processor) = self.processors.first() {
            processor.start(Some(&entry));
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
        if clean {
            self.account.note(self.partition.bus().holdings());
            self.partition.memory.zero_all();
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

/// A processor that runs no guest any more: it sleeps for good.
pub fn park() -> ! {
    machine::cpu::timer::disarm_timer();
    loop {
        interrupts::halt_until_interrupt();
        interrupts::take_vectors();
        interrupts::was_kicked();
    }
}
