//! What emulated virtio functions of every type are made of.

use super::place::{Owner, place_with};
use alloc::boxed::Box;
use alloc::string::String;
use devices::blueprint::VirtioDevice;
use devices::random::Source;
use devices::virtio::transport::{CAPABILITIES, CONFIG_ACCESS_BYTES, WINDOW_BYTES};
use devices::{Backend, Blueprint, Endpoint};
use plan::{Model, Ring};
use spec::virtio::pci::{DEVICE_BASE, REVISION, VENDOR};
use vpci::{BarLayout, Description, EmulatedFunction, Identity};

/// A type of device, as a function.
#[derive(Clone, Copy)]
pub struct Kind {
    identity: Identity,
    layout: BarLayout,
    /// The most messages: that of the configuration, and one for each queue.
    messages: u16,
}

impl Kind {
    /// A type (Virtual I/O Device, version 1.2, section 5) with its PCI class code, whose devices have
    /// so many queues at most and the BAR of `model`.
    pub const fn new(device_type: u16, class: u32, queues: u16, model: Model) -> Self {
        let messages = 1 + queues;
        let layout = BarLayout::new(WINDOW_BYTES, messages);
        assert!(layout.bytes == model.bar_bytes());
        let device = DEVICE_BASE + device_type;
        Self { identity: Identity { vendor: VENDOR, device, class, revision: REVISION }, layout, messages }
    }

    /// The function of a device, and what is behind it, with the queues that its plan says. Somebody polls it where
    /// that `is_polled`.
    ///
    /// # Errors
    /// A sentence about where the model cannot run.
    pub fn build(
        self,
        owner: Owner<'_>,
        device: VirtioDevice,
        is_polled: bool,
        backend: Backend,
    ) -> Result<(EmulatedFunction, Endpoint), String> {
        self.build_with(owner, (device, is_polled), backend, None)
    }

    /// The same, with random numbers from `source`.
    ///
    /// # Errors
    /// As [`build`](Self::build), or about what `source` gives.
    pub fn build_with(
        self,
        owner: Owner<'_>,
        (device, is_polled): (VirtioDevice, bool),
        backend: Backend,
        source: Option<Box<dyn Source>>,
    ) -> Result<(EmulatedFunction, Endpoint), String> {
        let Self { identity, layout, .. } = self;
        let messages = self.messages.min(1 + device.queues());
        let offers_packed = owner.function.ring == Ring::Packed;
        let blueprint = Blueprint::Virtio { device, messages, is_polled, offers_packed };
        let device = place_with(owner, blueprint, source)?;
        let endpoint = Endpoint::new(device, backend, messages, layout.table, layout.pending);
        let function = Description {
            identity,
            messages,
            layout,
            vendor_specific: CAPABILITIES,
            device_registers: CONFIG_ACCESS_BYTES,
        };
        Ok((EmulatedFunction::new(&function), endpoint))
    }
}
