//! An emulated virtio entropy device.

use super::virtio::Kind;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use devices::random::{Fault, Source, Tested};
use devices::virtio::entropy::Entropy;
use devices::{Backend, Endpoint};
use machine::cpu::random::Generator;
use plan::{Model, Ring};
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
pub fn build(guest: &str, slot: Slot, ring: Ring) -> Result<(EmulatedFunction, Endpoint), String> {
    let generator = Generator::detect();
    let generator =
        generator.ok_or_else(|| format!("{slot}: the processor has neither RDSEED nor RDRAND"))?;
    log::info!("{guest}: {slot}: {} device, by {}", Model::VirtioRng.text(), generator.name());
    let source = Box::new(Processors { generator, guest: guest.into(), slot });
    let source = Tested::new(source)
        .map_err(|fault| format!("{slot}: the processor's random numbers are not used: {fault}"))?;
    Ok(KIND.build(Entropy::new(source), ring, false, Backend::Served))
}
