//! MSI of a passed-through function: the guest's in the image, the hardware's own.

use access::ConfigSpace;
use spec::Bdf;
use spec::pci_capability::msi;

use super::message::Messages;
use super::policy;
use crate::image::{ConfigImage, Field};
use crate::message::{GuestMsi, HostMsi, MessageRefused};

/// Where the parts of the structure are, fixed at discovery.
#[derive(Clone, Copy)]
pub(super) struct Msi {
    at: u16,
    wide: bool,
    maskable: bool,
    /// Logarithm of how many messages the function can send.
    capable: u16,
    /// What the hardware's control was last set to.
    control: u16,
    /// What the hardware's mask bits were last set to.
    mask: u32,
}

/// What the guest asks of MSI.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct MsiWish {
    /// How many messages it enabled; 0 while MSI is off.
    pub count: u16,
    base: GuestMsi,
    mask: u32,
}

impl MsiWish {
    /// Message `index` as the function would send it: the number goes into the low
    /// bits of the data (PCI Express Base Specification section 6.1.4.5).
    pub fn message(&self, index: u16) -> Option<GuestMsi> {
        let low = u32::from(self.count.saturating_sub(1));
        let data = self.base.data & !low | u32::from(index);
        (index < self.count).then_some(GuestMsi { data, ..self.base })
    }
}

impl Msi {
    /// Bytes of the structure whose control is `control`.
    pub const fn bytes(control: u16) -> u16 {
        match (control & msi::WIDE_ADDRESS != 0, control & msi::MASKABLE != 0) {
            (false, false) => 0x0a,
            (true, false) => 0x0e,
            (false, true) => 0x14,
            (true, true) => 0x18,
        }
    }

    /// Lays the structure at `at`, whose control is `control`, into the image.
    pub fn lay(image: &mut ConfigImage, at: u16, control: u16, hardware: impl Fn(u16) -> u8) -> Self {
        let wide = control & msi::WIDE_ADDRESS != 0;
        let maskable = control & msi::MASKABLE != 0;
        // 6 and 7 are reserved: no function sends more than 32 messages.
        let capable = (control >> msi::CAPABLE_SHIFT & msi::COUNT_MASK).min(5);
        let this = Self { at, wide, maskable, capable, control: 0, mask: u32::MAX };
        image.lay(at, policy::MSI, &hardware);
        if wide {
            image.lay(at, &[Field::virtualised(msi::ADDRESS_HIGH, 4, u32::MAX)], &hardware);
        }
        image.lay(at, &[Field::virtualised(this.data() - at, 2, 0xffff)], &hardware);
        if maskable {
            let ones = u32::MAX >> (32 - (1_u32 << capable));
            let mask = this.mask_bits() - at;
            image.lay(at, &[Field::virtualised(mask, 4, ones), Field::live(mask + 4, 4, ones)], &hardware);
        }
        this
    }

    /// Whether each message has a mask bit.
    pub fn maskable(&self) -> bool {
        self.maskable
    }

    /// How many messages the function can send.
    pub fn capable(&self) -> u16 {
        1 << self.capable
    }

    /// What the guest asks for.
    pub fn wish(&self, image: &ConfigImage) -> MsiWish {
        let control = image.get16(self.at + msi::CONTROL);
        if control & msi::ENABLE == 0 {
            return MsiWish::default();
        }
        let enabled = (control >> msi::ENABLED_SHIFT & msi::COUNT_MASK).min(self.capable);
        let high = if self.wide { image.get32(self.at + msi::ADDRESS_HIGH) } else { 0 };
        let address = u64::from(high) << 32 | u64::from(image.get32(self.at + msi::ADDRESS));
        let data = u32::from(image.get16(self.data()));
        let mask = if self.maskable { image.get32(self.mask_bits()) } else { 0 };
        MsiWish { count: 1 << enabled, base: GuestMsi { address, data }, mask }
    }

    /// Whether `host` can stand for message `index`: the hardware makes the others
    /// out of the first.
    ///
    /// # Errors
    /// It cannot.
    pub fn check(
        &self,
        wish: &MsiWish,
        messages: &Messages,
        index: u16,
        host: HostMsi,
    ) -> Result<(), MessageRefused> {
        let low = u32::from(wish.count.saturating_sub(1));
        let fits = match (index, messages.host(0)) {
            (0, _) => host.data & low == 0,
            (_, Some(first)) => first.address == host.address && first.data | u32::from(index) == host.data,
            (_, None) => false,
        };
        // The hardware's data register has 16 bits.
        let fits = fits && host.data <= 0xffff && (self.wide || host.address <= u32::MAX.into());
        if fits { Ok(()) } else { Err(MessageRefused::NotContiguous) }
    }

    /// Writes the first host message, from which the hardware makes the others.
    /// Nothing is sent meanwhile.
    pub fn program<C: ConfigSpace + ?Sized>(&mut self, config: &C, function: Bdf, host: HostMsi) {
        if self.maskable {
            self.write_mask(config, function, u32::MAX);
        } else {
            self.write_control(config, function, 0);
        }
        config.write32(function, self.at + msi::ADDRESS, host.address as u32);
        if self.wide {
            config.write32(function, self.at + msi::ADDRESS_HIGH, (host.address >> 32) as u32);
        }
        config.write16(function, self.data(), host.data as u16);
    }

    /// Makes the hardware's enable and mask bits follow the guest's, as far as host
    /// messages stand behind them. `active` is false while MSI-X or a reset has
    /// precedence.
    pub fn settle<C: ConfigSpace + ?Sized>(
        &mut self,
        config: &C,
        function: Bdf,
        wish: &MsiWish,
        messages: &Messages,
        active: bool,
    ) {
        let count = if active { wish.count } else { 0 };
        let unanswered = (0..count)
            .filter(|index| messages.host(*index).is_none())
            .fold(0_u32, |mask, index| mask | 1 << index);
        // Without mask bits nothing may be sent until every message is answered for.
        let ready = count != 0 && (self.maskable || unanswered == 0);
        let control = match ready {
            true => msi::ENABLE | (count.trailing_zeros() as u16) << msi::ENABLED_SHIFT,
            false => 0,
        };
        if !ready {
            self.write_control(config, function, control);
        }
        if self.maskable {
            self.write_mask(config, function, if ready { wish.mask | unanswered } else { u32::MAX });
        }
        self.write_control(config, function, control);
    }

    /// The hardware was reset, or was never looked at: writes everything anew.
    pub fn forget<C: ConfigSpace + ?Sized>(&mut self, config: &C, function: Bdf) {
        config.write16(function, self.at + msi::CONTROL, 0);
        self.control = 0;
        if self.maskable {
            config.write32(function, self.mask_bits(), u32::MAX);
            self.mask = u32::MAX;
        }
    }

    fn write_control<C: ConfigSpace + ?Sized>(&mut self, config: &C, function: Bdf, control: u16) {
        if self.control != control {
            config.write16(function, self.at + msi::CONTROL, control);
            self.control = control;
        }
    }

    fn write_mask<C: ConfigSpace + ?Sized>(&mut self, config: &C, function: Bdf, mask: u32) {
        if self.mask != mask {
            config.write32(function, self.mask_bits(), mask);
            self.mask = mask;
        }
    }

    fn data(&self) -> u16 {
        self.at + if self.wide { 0x0c } else { 0x08 }
    }

    fn mask_bits(&self) -> u16 {
        self.at + if self.wide { 0x10 } else { 0x0c }
    }
}
