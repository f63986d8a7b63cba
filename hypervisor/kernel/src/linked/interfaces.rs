//! Drivers of network interfaces in ring 0.

use crate::metered;
use crate::networks::sizes::{FRAMES, REGISTERS_BAR, VIRTIO_FRAMES};
use crate::owned::Taken;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use nic::Nic;
use plan::Driver;

/// The interface of a function with this driver, which was not started.
///
/// # Errors
/// Why there is none, in words.
pub fn interface(driver: Driver, taken: &mut Taken<'_>) -> Result<Box<dyn Nic + Send>, String> {
    match driver {
        Driver::E1000e => {
            let access = taken.access(REGISTERS_BAR, FRAMES.bytes())?;
            taken.master_bus();
            let controller = e1000e::Controller::new(access, FRAMES).map_err(|error| error.to_string())?;
            Ok(metered::interface(controller))
        }
        Driver::Igb => {
            let access = taken.access(REGISTERS_BAR, FRAMES.bytes())?;
            taken.master_bus();
            let controller = igb::Controller::new(access, FRAMES).map_err(|error| error.to_string())?;
            Ok(metered::interface(controller))
        }
        Driver::VirtioNet => {
            let layout = taken.virtio_layout()?;
            let access = taken.access(layout.bar, VIRTIO_FRAMES.bytes())?;
            taken.master_bus();
            let interface = virtio_net::Interface::new(access, layout, VIRTIO_FRAMES);
            Ok(metered::interface(interface.map_err(|error| error.to_string())?))
        }
        Driver::Nvme | Driver::Ahci | Driver::VirtioBlock => Err("it is no network interface".into()),
    }
}
