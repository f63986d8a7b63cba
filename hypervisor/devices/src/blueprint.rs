//! What the model of an emulated function is made of, in plain values.
//!
//! Whoever decides what a guest gets writes a [`Blueprint`], and whoever runs the model builds it: the hypervisor
//! itself, or a compartment, which gets the blueprint as bytes. So both make the same device.
//!
//! One thing is no plain value: where the random numbers of an entropy device come from is said by whoever builds
//! it ([`Source`]), for it is the processor that runs the model.

use crate::device::Device;
use crate::display::Display;
use crate::ide::{self, Ide};
use crate::ivshmem::Ivshmem;
use crate::ne2000::Ne2000;
use crate::nvme::{self, Nvme};
use crate::random::{Fault, Source, Tested};
use crate::serial::Serial;
use crate::virtio::block::{self, Block};
use crate::virtio::console::Console;
use crate::virtio::entropy::Entropy;
use crate::virtio::net::{self, Net};
use crate::virtio::transport::{Function, MOST_QUEUES, Transport};
use alloc::boxed::Box;
use core::fmt;
use network::MacAddress;
use serde::{Deserialize, Serialize};

mod needs;
#[cfg(test)]
mod tests;

pub use needs::Needs;

/// What a model is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Blueprint {
    /// A serial port.
    Serial,
    /// An NE2000 with this address.
    Ne2000(MacAddress),
    /// An IDE controller with these disks: master and slave of the primary channel, then of the secondary one.
    Ide([[Option<ide::Disk>; 2]; 2]),
    /// An NVMe controller.
    Nvme(nvme::Config),
    /// A virtio device.
    Virtio {
        /// Of which type.
        device: VirtioDevice,
        /// Messages of its PCI function.
        messages: u16,
        /// Whether somebody polls its queues.
        is_polled: bool,
        /// Whether it offers packed queues beside split ones.
        offers_packed: bool,
    },
    /// The registers of one that shares memory with others, which its guest reaches without the model.
    Ivshmem {
        /// Which of the peers it is.
        position: u16,
        /// How many there are.
        peers: u16,
    },
    /// A display. Its video memory is no business of the model's.
    Display {
        /// Bytes of the video memory.
        memory_bytes: u64,
        /// Dots of the machine's screen, in width and height.
        screen: Option<(usize, usize)>,
    },
}

/// What is special about a virtio device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum VirtioDevice {
    /// A block device.
    Block(block::Config),
    /// A network interface.
    Net {
        /// What it is made of.
        config: net::Config,
        /// Pairs of queues.
        pairs: u16,
    },
    /// A console.
    Console,
    /// An entropy device.
    Entropy,
}

impl VirtioDevice {
    /// How many queues it has.
    pub fn queues(&self) -> u16 {
        match self {
            Self::Block(config) => config.queues.clamp(1, MOST_QUEUES as u16),
            Self::Net { pairs, .. } => 2 * (*pairs).clamp(1, net::MOST_PAIRS) + 1,
            Self::Console => spec::virtio::console::QUEUES,
            Self::Entropy => spec::virtio::entropy::QUEUES,
        }
    }
}

/// Why a model cannot be built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unbuilt {
    /// It needs random numbers, and nothing gives any.
    NoSource,
    /// What gives random numbers fails its tests.
    Source(Fault),
}

impl fmt::Display for Unbuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSource => f.write_str("the processor has no random numbers"),
            Self::Source(fault) => write!(f, "the processor's random numbers are not used: {fault}"),
        }
    }
}

impl Blueprint {
    /// Builds the model. Only an entropy device uses `source`.
    ///
    /// # Errors
    /// What `source` lacks, where it is used.
    pub fn build(self, source: Option<Box<dyn Source>>) -> Result<Box<dyn Device>, Unbuilt> {
        Ok(match self {
            Self::Serial => Box::new(Serial::new()),
            Self::Ne2000(mac) => Box::new(Ne2000::new(mac)),
            Self::Ide(disks) => Box::new(Ide::new(disks)),
            Self::Nvme(config) => Box::new(Nvme::new(config)),
            Self::Virtio { device, messages, is_polled, offers_packed } => {
                let around = (messages, is_polled, offers_packed);
                match device {
                    VirtioDevice::Block(config) => transported(Block::new(config), around),
                    VirtioDevice::Net { config, pairs } => {
                        transported(Net::with_pairs(config, pairs), around)
                    }
                    VirtioDevice::Console => transported(Console::new(), around),
                    VirtioDevice::Entropy => {
                        let source =
                            Tested::new(source.ok_or(Unbuilt::NoSource)?).map_err(Unbuilt::Source)?;
                        transported(Entropy::new(source), around)
                    }
                }
            }
            Self::Ivshmem { position, peers } => Box::new(Ivshmem::new(position, peers)),
            Self::Display { memory_bytes, screen } => Box::new(Display::new(memory_bytes, screen)),
        })
    }

    /// Whether the model can be in a compartment. A display cannot: whoever shows it asks for its picture without
    /// an access of the guest's, and a compartment is asked for none.
    pub const fn can_be_apart(&self) -> bool {
        !matches!(self, Self::Display { .. })
    }
}

/// The device with the registers of virtio around it.
fn transported<F: Function + 'static>(
    function: F,
    (messages, is_polled, offers_packed): (u16, bool, bool),
) -> Box<dyn Device> {
    let device = Transport::new(function, messages, is_polled);
    Box::new(if offers_packed { device } else { device.with_split_queues() })
}
