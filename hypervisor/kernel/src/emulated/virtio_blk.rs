//! An emulated virtio block device.

use super::contents::Contents;
use super::place::Owner;
use super::virtio::Kind;
use alloc::string::String;
use core::fmt::Write as _;
use devices::blueprint::VirtioDevice;
use devices::device::MOST_REQUEST_BYTES;
use devices::virtio::block::Config;
use devices::{Backend, Endpoint};
use plan::Model;
use spec::virtio::block::{DEVICE_TYPE, ID_BYTES};
use vpci::EmulatedFunction;

/// The most queues: more processors share them.
const MOST_QUEUES: u16 = 4;
/// A mass storage controller that no other class says more of.
const KIND: Kind = Kind::new(DEVICE_TYPE, 0x01_8000, MOST_QUEUES, Model::VirtioBlk);
/// The most bytes of a segment of a drive that nobody polls.
const PAGE_BYTES: u32 = 4096;

/// The function, and what is behind it: a queue for each of the guest's processors, and a
/// message for each queue and for the configuration.
///
/// # Errors
/// A sentence about where the model cannot run.
pub fn build(owner: Owner<'_>, drive: Contents) -> Result<(EmulatedFunction, Endpoint), String> {
    let is_polled = matches!(drive.backend, Backend::Served);
    // Without a processor that polls one access does all that the queues hold: 128 requests, then, of
    // at most 256 KiB.
    let most_queues = if is_polled { MOST_QUEUES } else { 1 };
    let segment_bytes = if is_polled { MOST_REQUEST_BYTES } else { PAGE_BYTES };
    let queues = u16::try_from(owner.guest.config.cpus.len()).unwrap_or(most_queues).clamp(1, most_queues);
    let device = VirtioDevice::Block(config(&drive, queues, segment_bytes));
    KIND.build(owner, device, is_polled, drive.backend)
}

/// The device is known by its contents.
fn config(drive: &Contents, queues: u16, segment_bytes: u32) -> Config {
    let mut digits = String::new();
    for byte in drive.uuid {
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02x}");
    }
    let mut name = [0; ID_BYTES];
    name.iter_mut().zip(digits.bytes()).for_each(|(place, digit)| *place = digit);
    let shift = drive.block.shift();
    Config {
        sectors: drive.blocks.checked_shl(shift - 9).unwrap_or(u64::MAX),
        block_bytes: 1 << shift,
        segment_bytes,
        writable: drive.writable,
        can_discard: drive.can_discard,
        can_write_zeroes: drive.can_write_zeroes,
        most_discarded: drive.most_discarded,
        queues,
        name,
    }
}
