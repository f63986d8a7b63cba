//! The driver's side of a virtio device, for tests of the device's: its queues, and the registers.

use super::transport::Transport;
use crate::Device;
use crate::testing::{Bench, VecMedium};
use access::GuestMemory;
use access::memory::VecMemory;
use spec::virtio::pci::common;
use spec::virtio::status;
use spec::{Gpa, Width};
use std::vec::Vec;

mod ring;

pub use ring::{RING_BYTES, Ring, describe};

/// Bytes of the guest's memory.
pub const MEMORY: usize = 0x40_0000;
/// Where the data of requests may be, to the end of the memory.
pub const DATA: u64 = 0x30_0000;

/// A device with its driver: the device itself, or what stands for it.
pub struct Driver<D, M = VecMemory> {
    /// The device, its memory and its medium.
    pub bench: Bench<D, M>,
    /// Its queues.
    pub rings: Vec<Ring>,
}

/// The driver of the device itself.
pub type Guest<F, M = VecMemory> = Driver<Transport<F>, M>;

impl<D: Device> Driver<D> {
    /// A device at power-up.
    pub fn new(device: D, medium: VecMedium) -> Self {
        Self::with_memory(device, VecMemory::new(MEMORY), medium)
    }
}

impl<D: Device, M: GuestMemory> Driver<D, M> {
    /// A device at power-up, that reaches a memory of at least [`MEMORY`] bytes.
    pub fn with_memory(device: D, memory: M, medium: VecMedium) -> Self {
        Self { bench: Bench::new(device, memory, medium), rings: Vec::new() }
    }

    /// Reads a register of the common configuration.
    pub fn common(&mut self, offset: u64, width: Width) -> u64 {
        self.bench.read(offset, width)
    }

    /// Writes a register of the common configuration.
    pub fn set_common(&mut self, offset: u64, width: Width, value: u64) {
        self.bench.write(offset, width, value);
    }

    /// `device_status`.
    pub fn status(&mut self) -> u8 {
        self.common(common::STATUS, Width::Byte) as u8
    }

    /// Adds bits to `device_status`, as drivers do.
    pub fn add_status(&mut self, bits: u8) {
        let value = self.status() | bits;
        self.set_common(common::STATUS, Width::Byte, value.into());
    }

    /// The features that the device offers.
    pub fn offered(&mut self) -> u64 {
        (0..2).fold(0, |all, select| {
            self.set_common(common::DEVICE_FEATURE_SELECT, Width::Dword, select);
            all | self.common(common::DEVICE_FEATURE, Width::Dword) << (32 * select)
        })
    }

    /// The features that the driver took.
    pub fn taken(&mut self) -> u64 {
        (0..2).fold(0, |all, select| {
            self.set_common(common::DRIVER_FEATURE_SELECT, Width::Dword, select);
            all | self.common(common::DRIVER_FEATURE, Width::Dword) << (32 * select)
        })
    }

    /// Takes features. Whether the device agrees.
    pub fn negotiate(&mut self, features: u64) -> bool {
        self.add_status(status::ACKNOWLEDGE);
        self.add_status(status::DRIVER);
        for select in 0..2 {
            self.set_common(common::DRIVER_FEATURE_SELECT, Width::Dword, select);
            self.set_common(common::DRIVER_FEATURE, Width::Dword, features >> (32 * select) & 0xffff_ffff);
        }
        self.add_status(status::FEATURES_OK);
        self.status() & status::FEATURES_OK != 0
    }

    /// Puts a queue where it belongs and enables it.
    pub fn enable(&mut self, number: u16, size: u16, vector: u16, features: u64) {
        let ring = Ring::new(number, size, features);
        self.set_common(common::QUEUE_SELECT, Width::Word, number.into());
        self.set_common(common::QUEUE_SIZE, Width::Word, size.into());
        self.set_common(common::QUEUE_VECTOR, Width::Word, vector.into());
        for (offset, gpa) in [
            (common::QUEUE_DESCRIPTORS, ring.descriptors()),
            (common::QUEUE_DRIVER, ring.driver_area()),
            (common::QUEUE_DEVICE, ring.device_area()),
        ] {
            self.set_common(offset, Width::Dword, gpa & 0xffff_ffff);
            self.set_common(offset + 4, Width::Dword, gpa >> 32);
        }
        self.set_common(common::QUEUE_ENABLE, Width::Word, 1);
        let zeros = [0; RING_BYTES as usize];
        self.bench.memory.write(Gpa(ring.descriptors()), &zeros).expect("a ring in memory");
        self.rings.retain(|other| other.number != ring.number);
        self.rings.push(ring);
        self.rings.sort_by_key(|ring| ring.number);
    }

    /// All of it: every queue of `size` descriptors, with the messages from 1 on, or without messages.
    pub fn start(&mut self, features: u64, size: u16, has_messages: bool) {
        assert!(self.negotiate(features), "the device does not agree");
        let queues = self.common(common::QUEUES, Width::Word) as u16;
        if has_messages {
            self.set_common(common::CONFIG_VECTOR, Width::Word, 0);
        }
        for number in 0..queues {
            let vector = if has_messages { 1 + number } else { spec::virtio::pci::NO_VECTOR };
            self.enable(number, size, vector, features);
        }
        self.add_status(status::DRIVER_OK);
    }

    /// Tells the device of what was made available in a queue, if it wants to know. Whether it did.
    pub fn notify(&mut self, queue: u16) -> bool {
        let Some(ring) = self.rings.get_mut(usize::from(queue)) else { return false };
        let wants = ring.must_notify(&self.bench.memory);
        if wants {
            self.kick(queue);
        }
        wants
    }

    /// Tells the device of a queue, whether it wants to know or not.
    pub fn kick(&mut self, queue: u16) {
        let notify = super::transport::NOTIFY + u64::from(queue) * 4;
        self.bench.write(notify, Width::Word, queue.into());
    }

    /// Resets one queue alone. Whether that is over.
    pub fn reset_queue(&mut self, queue: u16) -> bool {
        self.set_common(common::QUEUE_SELECT, Width::Word, queue.into());
        self.set_common(common::QUEUE_RESET, Width::Word, 1);
        self.common(common::QUEUE_RESET, Width::Word) == 0
    }

    /// Writes 0 to `device_status`. Whether the reset is over.
    pub fn reset(&mut self) -> bool {
        self.set_common(common::STATUS, Width::Byte, 0);
        self.status() == 0
    }
}
