//! What a reset needs to know of a function and what it must put back, read once
//! at boot: a device that was owned by a guest is not asked again.

use access::ConfigSpace;

use super::extended::Extended;
use super::fault::ResetFault;
use super::quirks::{self, Quirks};
use crate::bar::{HostBar, register, size_bars};
use crate::capability::walk;
use spec::Bdf;
use spec::pci_capability::{advanced_features, express, id, msi, msix, power};
use spec::pci_config::{
    BAR0, CACHE_LINE_SIZE, COMMAND, INTERRUPT_LINE, LATENCY_TIMER, REVISION_ID, ROM_BAR, VENDOR_ID, bar,
    command,
};

/// How a function can be reset, and the registers that a reset loses.
#[derive(Clone, Debug)]
pub struct ResetPath {
    function: Bdf,
    identity: u32,
    /// PCI Express, where it offers a function-level reset.
    pub(super) function_level: Option<u16>,
    /// Advanced features, where they offer a function-level reset.
    pub(super) advanced_features: Option<u16>,
    /// Power management, where D3hot loses the state.
    pub(super) power_reset: Option<u16>,
    /// PCI Express.
    pub(super) express: Option<u16>,
    msi: Option<u16>,
    msix: Option<u16>,
    pub(super) quirks: Quirks,
    bars: [u32; 6],
    /// What the BARs were when they were sized; `None` where they made no sense.
    sized: Option<[Option<HostBar>; 6]>,
    rom: u32,
    cache_line: u8,
    latency: u8,
    interrupt_line: u8,
    express_controls: ExpressControls,
    extended: Extended,
}

/// Controls of PCI Express that the firmware set.
#[derive(Clone, Copy, Default, Debug)]
struct ExpressControls {
    device: u16,
    link: Option<u16>,
    device_2: Option<u16>,
}

impl ResetPath {
    /// Looks at a function at boot, before any guest had it: its access control
    /// services are enabled by then, and they are what a reset puts back. `None` if
    /// nothing answers.
    pub fn discover<C: ConfigSpace + ?Sized>(config: &C, function: Bdf) -> Option<Self> {
        let identity = config.read32(function, VENDOR_ID);
        if identity as u16 == u16::MAX {
            return None;
        }
        let mut path = Self {
            function,
            identity,
            function_level: None,
            advanced_features: None,
            power_reset: None,
            express: None,
            msi: None,
            msix: None,
            quirks: quirks::of(identity, config.read32(function, REVISION_ID) >> 8),
            bars: [0; 6],
            sized: size_bars(config, function).ok(),
            rom: config.read32(function, ROM_BAR) & !bar::ROM_ENABLE,
            cache_line: config.read8(function, CACHE_LINE_SIZE),
            latency: config.read8(function, LATENCY_TIMER),
            interrupt_line: config.read8(function, INTERRUPT_LINE),
            express_controls: ExpressControls::default(),
            extended: Extended::discover(config, function),
        };
        for (number, saved) in (0_u16..).zip(&mut path.bars) {
            *saved = config.read32(function, BAR0 + 4 * number);
        }
        // A fault ends the list: what was found before it counts.
        let _ = walk(config, function, |id, at| {
            path.note(config, id, at);
            Ok(())
        });
        Some(path)
    }

    /// The function's address.
    pub fn function(&self) -> Bdf {
        self.function
    }

    /// Its BARs as they were sized at boot; `None` where they made no sense.
    pub fn bars(&self) -> Option<&[Option<HostBar>; 6]> {
        self.sized.as_ref()
    }

    /// Vendor ID in the low half, device ID in the high half.
    pub fn identity(&self) -> u32 {
        self.identity
    }

    fn note<C: ConfigSpace + ?Sized>(&mut self, config: &C, id: u8, at: u16) {
        let function = self.function;
        match id {
            // The last registers of each structure must be inside configuration space.
            id::EXPRESS if self.express.is_none() && at <= 0x100 - express::BYTES_V1_INTEGRATED => {
                self.express = Some(at);
                let offered = config.read32(function, at + express::DEVICE_CAPABILITIES);
                if offered & express::FUNCTION_LEVEL_RESET != 0 {
                    self.function_level = Some(at);
                }
                self.express_controls = ExpressControls::read(config, function, at);
            }
            id::ADVANCED_FEATURES if at <= 0x100 - advanced_features::BYTES => {
                let offered = config.read8(function, at + advanced_features::CAPABILITIES);
                if offered & advanced_features::FUNCTION_LEVEL_RESET != 0 {
                    self.advanced_features = Some(at);
                }
            }
            id::POWER_MANAGEMENT if at <= 0x100 - power::BYTES => {
                let control = config.read16(function, at + power::CONTROL);
                if control & power::NO_SOFT_RESET == 0 {
                    self.power_reset = Some(at);
                }
            }
            id::MSI if at <= 0x100 - 4 => self.msi = Some(at),
            id::MSIX if at <= 0x100 - msix::BYTES => self.msix = Some(at),
            _ => {}
        }
    }

    /// Whether the memory BARs may be decoded: there are some, and each still is where
    /// it was at boot. One that lost its address would decode address 0.
    pub(super) fn may_decode<C: ConfigSpace + ?Sized>(&self, config: &C) -> bool {
        let Some(sized) = &self.sized else { return false };
        let mut memory = sized.iter().flatten().filter(|bar| bar.kind.is_memory()).peekable();
        let is_at_boot = |number: u16, saved: u32| config.read32(self.function, BAR0 + 4 * number) == saved;
        memory.peek().is_some()
            && memory.all(|bar| bar.host.0 != 0)
            && (0_u16..).zip(self.bars).all(|(number, saved)| is_at_boot(number, saved))
    }

    /// Puts back what the reset lost, and proves it: the BARs with their sizes, the
    /// controls of the firmware without its reporting of errors, and the access control
    /// services; decode, bus mastering and messages off.
    pub(super) fn restore<C: ConfigSpace + ?Sized>(&self, config: &C) -> Result<(), ResetFault> {
        let function = self.function;
        let off = command::INTERRUPT_DISABLE;
        config.write16(function, COMMAND, off);
        self.extended.restore(config, function);
        for (number, saved) in (0_u16..).zip(self.bars) {
            config.write32(function, BAR0 + 4 * number, saved);
        }
        config.write32(function, ROM_BAR, self.rom);
        config.write8(function, CACHE_LINE_SIZE, self.cache_line);
        config.write8(function, LATENCY_TIMER, self.latency);
        config.write8(function, INTERRUPT_LINE, self.interrupt_line);
        if let Some(at) = self.express {
            self.express_controls.restore(config, function, at);
        }
        for (control, enable) in self.message_controls() {
            let now = config.read16(function, control);
            config.write16(function, control, now & !enable);
        }
        self.verify(config)
    }

    /// Whether what was restored reads back.
    fn verify<C: ConfigSpace + ?Sized>(&self, config: &C) -> Result<(), ResetFault> {
        let function = self.function;
        let check = |holds: bool, register: u16| {
            if holds { Ok(()) } else { Err(ResetFault::NotRestored { register }) }
        };
        for (number, saved) in (0_u16..).zip(self.bars) {
            let register = BAR0 + 4 * number;
            check(config.read32(function, register) == saved, register)?;
        }
        let running = command::IO_SPACE | command::MEMORY_SPACE | command::BUS_MASTER;
        check(config.read16(function, COMMAND) & running == 0, COMMAND)?;
        for (control, enable) in self.message_controls() {
            check(config.read16(function, control) & enable == 0, control)?;
        }
        if let Some(at) = self.express {
            let at = at + express::DEVICE_CONTROL;
            check(config.read16(function, at) & express::ERROR_REPORTING == 0, at)?;
        }
        self.extended.verify(config, function)?;
        self.verify_sizes(config)
    }

    /// Whether the BARs decode as much as at boot: another size would decode what is
    /// somebody else's, or leave the guest with registers that nothing answers for.
    fn verify_sizes<C: ConfigSpace + ?Sized>(&self, config: &C) -> Result<(), ResetFault> {
        let Some(before) = &self.sized else { return Ok(()) };
        let after = match size_bars(config, self.function) {
            Ok(after) => after,
            Err((bar, _)) => return Err(ResetFault::NotRestored { register: register(bar) }),
        };
        match (0_u8..).zip(before.iter().zip(&after)).find(|(_, (before, after))| before != after) {
            Some((bar, _)) => Err(ResetFault::NotRestored { register: register(bar) }),
            None => Ok(()),
        }
    }

    /// The control registers of MSI and MSI-X, with their enable bits.
    fn message_controls(&self) -> impl Iterator<Item = (u16, u16)> {
        let msi = self.msi.map(|at| (at + msi::CONTROL, msi::ENABLE));
        let msix = self.msix.map(|at| (at + msix::CONTROL, msix::ENABLE));
        [msi, msix].into_iter().flatten()
    }
}

impl ExpressControls {
    fn read<C: ConfigSpace + ?Sized>(config: &C, function: Bdf, at: u16) -> Self {
        let capabilities = config.read16(function, at + express::CAPABILITIES);
        let kind = (capabilities & express::TYPE_MASK) >> express::TYPE_SHIFT;
        let linked = kind == express::TYPE_ENDPOINT || kind == express::TYPE_LEGACY_ENDPOINT;
        let second = capabilities & express::VERSION_MASK >= 2;
        let read =
            |offset: u16, bytes: u16| (at <= 0x100 - bytes).then(|| config.read16(function, at + offset));
        Self {
            // A guest's function reports no errors, which the root could make a system
            // error of, and its requests snoop, whether the IOMMU can force that or not.
            device: config.read16(function, at + express::DEVICE_CONTROL)
                & !(express::INITIATE_RESET | express::ERROR_REPORTING | express::NO_SNOOP),
            link: if linked { read(express::LINK_CONTROL, express::BYTES_V1) } else { None },
            device_2: if second { read(express::DEVICE_CONTROL_2, express::BYTES_V2) } else { None },
        }
    }

    fn restore<C: ConfigSpace + ?Sized>(&self, config: &C, function: Bdf, at: u16) {
        config.write16(function, at + express::DEVICE_CONTROL, self.device);
        if let Some(link) = self.link {
            config.write16(function, at + express::LINK_CONTROL, link);
        }
        if let Some(device_2) = self.device_2 {
            config.write16(function, at + express::DEVICE_CONTROL_2, device_2);
        }
    }
}
