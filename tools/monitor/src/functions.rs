//! The functions on the guest's bus: Bulkhead's virtio models with what this host puts behind them.

use std::fs::File;
use std::io::Read as _;

use anyhow::{Context, Result, anyhow};
use devices::medium::Medium as _;
use devices::random::{Fault, Source, Tested};
use devices::virtio::block::{Block, Config};
use devices::virtio::entropy::Entropy;
use devices::virtio::transport::{CAPABILITIES, CONFIG_ACCESS_BYTES, Function, Transport, WINDOW_BYTES};
use devices::{Backend, Endpoint};
use spec::virtio::pci::{DEVICE_BASE, REVISION, VENDOR};
use spec::virtio::{block, entropy};
use vpci::{BarLayout, Description, EmulatedFunction, Identity};

use crate::disk::{Disk, SECTOR_BYTES};

/// A mass storage controller that no other class says more of.
const BLOCK_CLASS: u32 = 0x01_8000;
/// A function of a class that there was no name for.
const ENTROPY_CLASS: u32 = 0x00_ff00;
/// The most bytes of a segment: one access does all that a queue holds.
const SEGMENT_BYTES: u32 = 4096;
/// Where the host has random numbers.
const RANDOM: &str = "/dev/urandom";

/// A function's configuration space, and what is behind it.
pub type Built = (EmulatedFunction, Endpoint);

/// A drive over `disk`, called `name`.
pub fn drive(disk: Disk, name: &str) -> Built {
    let mut id = [0; block::ID_BYTES];
    id.iter_mut().zip(name.bytes()).for_each(|(place, byte)| *place = byte);
    let device = Block::new(Config {
        sectors: disk.bytes() / SECTOR_BYTES,
        block_bytes: SECTOR_BYTES as u32,
        segment_bytes: SEGMENT_BYTES,
        writable: !disk.is_read_only(),
        can_discard: false,
        can_write_zeroes: false,
        most_discarded: 0,
        queues: 1,
        name: id,
    });
    build(device, block::DEVICE_TYPE, BLOCK_CLASS, Backend::Medium(Box::new(disk)))
}

/// An entropy device over the host's random numbers.
///
/// # Errors
/// The host has none, or they fail the tests of the model.
pub fn random() -> Result<Built> {
    let file = File::open(RANDOM).with_context(|| format!("cannot open {RANDOM}"))?;
    let source = Tested::new(Box::new(Host(file)));
    let source = source.map_err(|fault| anyhow!("the random numbers of {RANDOM} are not used: {fault}"))?;
    Ok(build(Entropy::new(source), entropy::DEVICE_TYPE, ENTROPY_CLASS, Backend::Served))
}

/// The host's random numbers.
struct Host(File);

impl Source for Host {
    fn word(&mut self) -> Option<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact(&mut bytes).ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    fn given_up(&mut self, fault: Fault) {
        eprintln!("monitor: the guest gets no random numbers any more: {fault}");
    }
}

/// A virtio device that nobody polls, as a function: a message for its configuration and one a queue.
fn build<F: Function + 'static>(device: F, device_type: u16, class: u32, backend: Backend) -> Built {
    let messages = 1 + device.queues().0;
    let layout = BarLayout::new(WINDOW_BYTES, messages);
    let device = Transport::new(device, messages, false);
    let endpoint = Endpoint::new(Box::new(device), backend, messages, layout.table, layout.pending);
    let function = EmulatedFunction::new(&Description {
        identity: Identity { vendor: VENDOR, device: DEVICE_BASE + device_type, class, revision: REVISION },
        messages,
        layout,
        vendor_specific: CAPABILITIES,
        device_registers: CONFIG_ACCESS_BYTES,
    });
    (function, endpoint)
}
