//! An emulated NVMe drive.

use super::contents::{Contents, serial_number};
use super::place::{Owner, place};
use alloc::string::String;
use devices::nvme::{Config, WINDOW_BYTES};
use devices::{Backend, Blueprint, Endpoint};
use plan::Model;
use vpci::{BarLayout, Description, EmulatedFunction, Identity, Slot};

/// The identity of QEMU's controller, whose class is what drivers look at. Linux takes no
/// "write zeroes" from it, which this one does not offer anyway.
const IDENTITY: Identity = Identity { vendor: 0x1b36, device: 0x0010, class: 0x01_0802, revision: 2 };
/// Messages of a controller: the admin queue's, and one for each pair of I/O queues.
const MESSAGES: u16 = 5;
/// Where things are in its BAR, for which the Plan left room.
const LAYOUT: BarLayout = BarLayout::new(WINDOW_BYTES, MESSAGES);
const FUNCTION: Description<'static> = Description {
    identity: IDENTITY,
    messages: MESSAGES,
    layout: LAYOUT,
    vendor_specific: &[],
    device_registers: 0,
};
const _: () = assert!(LAYOUT.bytes == Model::Nvme.bar_bytes());

/// The function, and what is behind it.
///
/// # Errors
/// A sentence about where the model cannot run.
pub fn build(owner: Owner<'_>, drive: Contents) -> Result<(EmulatedFunction, Endpoint), String> {
    let device = place(owner, Blueprint::Nvme(controller(&drive, owner.slot)))?;
    let BarLayout { table, pending, .. } = LAYOUT;
    let endpoint = Endpoint::new(device, drive.backend, MESSAGES, table, pending);
    Ok((EmulatedFunction::new(&FUNCTION), endpoint))
}

/// The controller of a drive. The namespace is known by its contents, the controller by its slot.
fn controller(drive: &Contents, slot: Slot) -> Config {
    Config {
        blocks: drive.blocks,
        block: drive.block,
        writable: drive.writable,
        is_polled: matches!(drive.backend, Backend::Served),
        messages: MESSAGES,
        serial: serial_number(slot, ""),
        uuid: drive.uuid,
        vendor: IDENTITY.vendor,
        subsystem_vendor: IDENTITY.vendor,
    }
}
