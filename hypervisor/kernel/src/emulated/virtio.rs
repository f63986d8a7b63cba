//! What emulated virtio functions of every type are made of.

use crate::metered;
use devices::virtio::transport::{CAPABILITIES, CONFIG_ACCESS_BYTES, Function, Transport, WINDOW_BYTES};
use devices::{Backend, Endpoint};
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

    /// The function of a device, and what is behind it, with the queues of `ring`. Somebody polls it where
    /// that `is_polled`.
    pub fn build<F: Function + 'static>(
        self,
        device: F,
        ring: Ring,
        is_polled: bool,
        backend: Backend,
    ) -> (EmulatedFunction, Endpoint) {
        let Self { identity, layout, .. } = self;
        let messages = self.messages.min(1 + device.queues().0);
        let device = Transport::new(device, messages, is_polled);
        let device = match ring {
            Ring::Split => device.with_split_queues(),
            Ring::Packed => device,
        };
        let endpoint = Endpoint::new(metered::model(device), backend, messages, layout.table, layout.pending);
        let function = Description {
            identity,
            messages,
            layout,
            vendor_specific: CAPABILITIES,
            device_registers: CONFIG_ACCESS_BYTES,
        };
        (EmulatedFunction::new(&function), endpoint)
    }
}
