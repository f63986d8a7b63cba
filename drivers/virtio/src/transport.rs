//! The registers of a virtio function (section 4.1.4.3 and behind).

use crate::error::Error;
use crate::layout::Layout;
use crate::queue::Queue;
use access::{DmaBuffer, RegisterWindow};
use spec::virtio::pci::{NO_VECTOR, common};
use spec::virtio::{feature, split, status};

/// How long a device may take to be reset.
pub const RESET_NS: u64 = 10_000_000_000;
/// How often it is asked whether it is.
pub const RESET_LOOK_NS: u64 = 2_000_000;
/// How often a configuration is read that changes meanwhile.
const GENERATIONS: usize = 16;
/// What every driver here takes, if it is offered: that needs nothing of it.
const ALWAYS: u64 = feature::ORDER_PLATFORM | feature::EVENT_INDEX;
/// What it does not do without.
const NEEDED: u64 = feature::VERSION_1 | feature::ACCESS_PLATFORM;

/// The registers.
#[derive(Debug)]
pub struct Transport<R> {
    registers: R,
    layout: Layout,
}

impl<R: RegisterWindow> Transport<R> {
    /// The registers of the function that `layout` is of, in a window of its BAR.
    pub const fn new(registers: R, layout: Layout) -> Self {
        Self { registers, layout }
    }

    /// `device_status`.
    ///
    /// # Errors
    /// [`Error::Removed`]: no device has all bits set, of which some are reserved.
    pub fn status(&self) -> Result<u8, Error> {
        match self.registers.read8(self.common(common::STATUS)) {
            u8::MAX => Err(Error::Removed),
            status => Ok(status),
        }
    }

    /// Begins to reset the device.
    pub fn reset(&self) {
        self.registers.write8(self.common(common::STATUS), 0);
    }

    /// Whether the device is reset: it knows nothing of queues then, and reads and writes no memory
    /// (section 2.4).
    ///
    /// # Errors
    /// [`Error::Removed`].
    pub fn is_reset(&self) -> Result<bool, Error> {
        Ok(self.status()? == 0)
    }

    /// Looks whether the device still works.
    ///
    /// # Errors
    /// [`Error::Removed`], [`Error::NeedsReset`] and [`Error::Reset`].
    pub fn check(&self) -> Result<(), Error> {
        let status = self.status()?;
        if status & status::NEEDS_RESET != 0 {
            return Err(Error::NeedsReset);
        }
        if status & status::DRIVER_OK == 0 {
            return Err(Error::Reset);
        }
        Ok(())
    }

    /// Meets a device that was reset, and gives what it offers.
    ///
    /// # Errors
    /// [`Error::Removed`], and [`Error::Legacy`] and [`Error::BypassesIommu`] for what cannot be had.
    pub fn offered(&self) -> Result<u64, Error> {
        self.add_status(status::ACKNOWLEDGE)?;
        self.add_status(status::DRIVER)?;
        let half = |select: u32| {
            self.registers.write32(self.common(common::DEVICE_FEATURE_SELECT), select);
            u64::from(self.registers.read32(self.common(common::DEVICE_FEATURE)))
        };
        let offered = half(0) | half(1) << 32;
        if offered & feature::VERSION_1 == 0 {
            return Err(Error::Legacy);
        }
        if offered & feature::ACCESS_PLATFORM == 0 {
            return Err(Error::BypassesIommu);
        }
        Ok(offered)
    }

    /// Takes of what is `offered` what is `wanted` and what every driver takes. Gives what was agreed on.
    ///
    /// # Errors
    /// [`Error::Removed`] and [`Error::Features`].
    pub fn agree(&self, offered: u64, wanted: u64) -> Result<u64, Error> {
        let agreed = offered & (wanted | ALWAYS | NEEDED);
        for (select, half) in [(0, agreed as u32), (1, (agreed >> 32) as u32)] {
            self.registers.write32(self.common(common::DRIVER_FEATURE_SELECT), select);
            self.registers.write32(self.common(common::DRIVER_FEATURE), half);
        }
        self.add_status(status::FEATURES_OK)?;
        if self.status()? & status::FEATURES_OK == 0 {
            return Err(Error::Features);
        }
        Ok(agreed)
    }

    /// Has changes of the configuration send message `message`.
    ///
    /// # Errors
    /// [`Error::Message`].
    pub fn set_configuration_message(&self, message: u16) -> Result<(), Error> {
        let at = self.common(common::CONFIG_VECTOR);
        self.registers.write16(at, message);
        if self.registers.read16(at) == NO_VECTOR { Err(Error::Message(None)) } else { Ok(()) }
    }

    /// The most descriptors that the device has for a queue.
    ///
    /// # Errors
    /// [`Error::Size`].
    pub fn most_entries(&self, queue: u16) -> Result<u16, Error> {
        self.registers.write16(self.common(common::QUEUE_SELECT), queue);
        let entries = self.registers.read16(self.common(common::QUEUE_SIZE));
        let is_right = entries.is_power_of_two() && entries <= split::MOST_DESCRIPTORS;
        if is_right { Ok(entries) } else { Err(Error::Size { queue, entries }) }
    }

    /// Tells the device where `queue` is, which was [cleared](Queue::clear), and has it send `message`.
    ///
    /// # Errors
    /// [`Error::Message`] and [`Error::Notify`].
    pub fn enable<B: DmaBuffer>(&self, queue: &mut Queue<B>, message: u16) -> Result<(), Error> {
        let (number, [descriptors, available, used]) = (queue.number(), queue.places());
        let registers = &self.registers;
        registers.write16(self.common(common::QUEUE_SELECT), number);
        registers.write16(self.common(common::QUEUE_SIZE), queue.size());
        registers.write16(self.common(common::QUEUE_VECTOR), message);
        if registers.read16(self.common(common::QUEUE_VECTOR)) == NO_VECTOR {
            return Err(Error::Message(Some(number)));
        }
        for (register, place) in [
            (common::QUEUE_DESCRIPTORS, descriptors),
            (common::QUEUE_DRIVER, available),
            (common::QUEUE_DEVICE, used),
        ] {
            registers.write32(self.common(register), place.0 as u32);
            registers.write32(self.common(register) + 4, (place.0 >> 32) as u32);
        }
        let times = registers.read16(self.common(common::QUEUE_NOTIFY));
        queue.set_doorbell(self.doorbell(number, times)?);
        registers.write16(self.common(common::QUEUE_ENABLE), 1);
        Ok(())
    }

    /// Where in the BAR a queue is notified, by what its register says.
    fn doorbell(&self, queue: u16, times: u16) -> Result<usize, Error> {
        let offset = u64::from(times) * u64::from(self.layout.notify_multiplier);
        let is_inside = offset.is_multiple_of(2) && offset + 2 <= u64::from(self.layout.notify_bytes);
        if is_inside { Ok(self.layout.notify + offset as usize) } else { Err(Error::Notify(queue)) }
    }

    /// Has the device begin.
    ///
    /// # Errors
    /// [`Error::Removed`].
    pub fn begin(&self) -> Result<(), Error> {
        self.add_status(status::DRIVER_OK)
    }

    /// Tells the device that `queue` has something for it. What that is was made visible before.
    pub fn notify<B: DmaBuffer>(&self, queue: &Queue<B>) {
        self.registers.write16(queue.doorbell(), queue.number());
    }

    /// What `read` makes of the configuration, all of it from one moment (section 2.5.1).
    ///
    /// # Errors
    /// What `read` gives, and [`Error::Generation`].
    pub fn configuration<T>(&self, read: impl Fn(&Self) -> Result<T, Error>) -> Result<T, Error> {
        for _ in 0..GENERATIONS {
            let before = self.generation();
            let value = read(self);
            if self.generation() == before {
                return value;
            }
        }
        Err(Error::Generation)
    }

    /// What is another once the configuration has changed since it was read last.
    pub fn generation(&self) -> u8 {
        self.registers.read8(self.common(common::GENERATION))
    }

    /// Reads a byte of the configuration.
    ///
    /// # Errors
    /// [`Error::Configuration`] where it has none there; likewise below.
    pub fn read8(&self, offset: usize) -> Result<u8, Error> {
        Ok(self.registers.read8(self.device(offset, 1)?))
    }

    /// Reads 2 bytes.
    ///
    /// # Errors
    /// As [`read8`](Self::read8).
    pub fn read16(&self, offset: usize) -> Result<u16, Error> {
        Ok(self.registers.read16(self.device(offset, 2)?))
    }

    /// Reads 4 bytes.
    ///
    /// # Errors
    /// As [`read8`](Self::read8).
    pub fn read32(&self, offset: usize) -> Result<u32, Error> {
        Ok(self.registers.read32(self.device(offset, 4)?))
    }

    fn device(&self, offset: usize, bytes: usize) -> Result<usize, Error> {
        if offset + bytes <= self.layout.device_bytes as usize {
            Ok(self.layout.device + offset)
        } else {
            Err(Error::Configuration("its configuration ends before what it says to have"))
        }
    }

    const fn common(&self, register: u64) -> usize {
        self.layout.common + register as usize
    }

    fn add_status(&self, bits: u8) -> Result<(), Error> {
        let status = self.status()?;
        self.registers.write8(self.common(common::STATUS), status | bits);
        Ok(())
    }
}
