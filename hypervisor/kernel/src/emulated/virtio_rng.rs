//! An emulated virtio entropy device.

use super::place::Owner;
use super::virtio::Kind;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use devices::blueprint::VirtioDevice;
use devices::random::{Fault, Source};
use devices::{Backend, Endpoint};
use machine::cpu::random::Generator;
use plan::Model;
use spec::virtio::entropy::{DEVICE_TYPE, QUEUES};
use vpci::{EmulatedFunction, Slot};

/// A function of a class that there was no name for (PCI Code and ID Assignment Specification, section
/// 1.1), as QEMU's is.
const KIND: Kind = Kind::new(DEVICE_TYPE, 0x00_ff00, QUEUES, Model::VirtioRng);

/// The processor's generator, as one guest uses it.
struct Processors {
    generator: Generator,
    guest: String,
    slot: Slot,
}

impl Source for Processors {
    fn word(&mut self) -> Option<u64> {
        self.generator.word()
    }

    fn given_up(&mut self, fault: Fault) {
        let Self { guest, slot, .. } = self;
        log::error!("{guest}: {slot}: it gets no random numbers of the processor's any more: {fault}");
    }
}

/// The function, and what is behind it.
///
/// # Errors
/// A sentence about the processor that has no random numbers, or whose numbers fail their tests.
pub fn build(owner: Owner<'_>) -> Result<(EmulatedFunction, Endpoint), String> {
    let Owner { guest, slot, .. } = owner;
    let guest = &guest.name;
    let generator = Generator::detect();
    let generator =
        generator.ok_or_else(|| format!("{slot}: the processor has neither RDSEED nor RDRAND"))?;
    log::info!("{guest}: {slot}: {} device, by {}", Model::VirtioRng.text(), generator.name());
    let source = Box::new(Processors { generator, guest: guest.clone(), slot });
    KIND.build_with(owner, (VirtioDevice::Entropy, false), Backend::Served, Some(source))
}
