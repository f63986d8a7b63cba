//! A function of the machine behind its policy: what the guest does to its
//! configuration space changes an image, and the image decides what reaches the
//! hardware.

mod discover;
mod message;
mod msi;
mod msix;
pub mod policy;
mod trapped;

use access::{ConfigSpace, RegisterWindow};
use alloc::boxed::Box;
use alloc::vec::Vec;
use spec::pci_capability::{express, msix as msix_spec, power};
use spec::pci_config::{COMMAND, command};
use spec::{Bdf, Gpa, Width};

use pci::bar::BarKind;
use pci::capability::CapabilityFault;

use crate::bar::{BARS, Bar, GuestBars, TrappedRegion};
use crate::effect::PciEffects;
use crate::function::PciFunction;
use crate::image::ConfigImage;
use crate::message::{HostMsi, MessageChange, MessageRefused};
use message::Messages;
use msi::{Msi, MsiWish};
use msix::{Msix, MsixWish, Shifted};
use trapped::Trapped;

pub use discover::{Grant, PassthroughError, Rom};

/// A function of the machine, given to a guest.
///
/// `C` reaches configuration space; `W` reaches the pages of its BARs that are
/// trapped. Everything that an access needs was cached at discovery: a device that
/// changes its registers later changes what its guest reads in status registers,
/// and nothing else.
pub struct PassedThrough<C, W> {
    config: C,
    function: Bdf,
    image: ConfigImage,
    bars: GuestBars,
    trapped: Vec<Trapped<W>>,
    regions: Box<[TrappedRegion]>,
    messages: Messages,
    power: Option<Power>,
    msi: Option<Msi>,
    msix: Option<Msix>,
    express: Option<Express>,
    /// The function's INTx was given to the guest, and it has one.
    pin: bool,
    may_master: bool,
    /// Its requests are forwarded by the guest's root port.
    forwarded: bool,
    /// No reset of it worked: nothing is written to it until one does.
    quarantined: bool,
    /// It does not answer its guest, which reads ones.
    silent: bool,
    fault: Option<CapabilityFault>,
    seen: Seen,
    hardware_command: u16,
}

/// Where power management is, and the state that the guest put the function in.
struct Power {
    at: u16,
    state: u16,
    keeps_state: bool,
}

/// Where PCI Express is, and what its device control holds in the hardware.
struct Express {
    at: u16,
    control: u16,
}

/// What was last told with effects.
#[derive(Default)]
struct Seen {
    bus_master: bool,
    pin: bool,
    bars: [Option<Gpa>; BARS],
    msi: MsiWish,
    msix: MsixWish,
}

impl<C: ConfigSpace, W: RegisterWindow> PassedThrough<C, W> {
    /// The function's address in the machine.
    pub fn bdf(&self) -> Bdf {
        self.function
    }

    /// Why its capability list could only be followed so far, for the log.
    pub fn capability_fault(&self) -> Option<CapabilityFault> {
        self.fault
    }

    /// How many messages it can send: how many remapping entries it can need.
    pub fn message_count(&self) -> u16 {
        self.messages.count()
    }

    /// Lets the guest's bus-master bit through to the hardware, or not. Given when
    /// the function is attached to its domain, and nothing before; taken away
    /// before it is detached.
    pub fn allow_bus_master(&mut self, allowed: bool) {
        self.may_master = allowed;
        self.settle_hardware_command();
    }

    /// Its reset has not happened yet: until [`PassedThrough::start`] it does not answer
    /// its guest, as a function in its reset does not.
    pub fn hold(&mut self) {
        self.silent = true;
    }

    /// No reset of it worked: bus mastering and decode are off, and whatever its guest
    /// writes, they stay so until [`PassedThrough::start`]. For its guest it is gone.
    pub fn quarantine(&mut self) {
        self.may_master = false;
        self.silent = true;
        self.quarantined = true;
        self.hardware_command = command::INTERRUPT_DISABLE;
        self.config.write16(self.function, COMMAND, command::INTERRUPT_DISABLE);
    }

    /// Makes the hardware, fresh from its reset and with its BARs restored, agree
    /// with the guest's view: decode on, every message masked, then what the guest
    /// had programmed and was answered for.
    pub fn start(&mut self) {
        self.quarantined = false;
        self.silent = false;
        self.hardware_command = 0;
        self.config.write16(self.function, COMMAND, 0);
        if let Some(msi) = &mut self.msi {
            msi.forget(&self.config, self.function);
        }
        if let Some(msix) = &mut self.msix {
            self.config.write16(self.function, msix.at + msix_spec::CONTROL, 0);
            msix.control = 0;
        }
        // The table is in memory: it answers only while the decode is on.
        self.settle_hardware_command();
        if let Some((msix, window)) = table(&mut self.msix, &self.trapped) {
            msix.mask_all(&window);
        }
        if let Some(express) = &mut self.express {
            express.control = self.config.read16(self.function, express.at + express::DEVICE_CONTROL);
        }
        self.settle_express();
        self.program_messages();
    }

    /// Reads `width` bytes at `offset` bytes into a BAR, in a trapped region.
    pub fn bar_read(&mut self, bar: u8, offset: u64, width: Width) -> u64 {
        self.trapped_read(bar, offset, width)
    }

    /// Writes `width` bytes at `offset` bytes into a BAR, in a trapped region.
    pub fn bar_write(&mut self, bar: u8, offset: u64, width: Width, value: u64, effects: &mut PciEffects) {
        self.trapped_write(bar, offset, width, value, effects);
    }

    /// Tells the function which host message stands for its message `index`, in answer to a
    /// [`MessageChange`]. `None` where there is to be none.
    ///
    /// # Errors
    /// The function has no such message, or the host's does not fit what it can send.
    pub fn set_host_message(&mut self, index: u16, message: Option<HostMsi>) -> Result<(), MessageRefused> {
        if self.messages.wanted(index).is_none() {
            return Err(MessageRefused::NoSuchMessage);
        }
        let msi = !self.seen.msix.enabled;
        if let (true, Some(msi), Some(host)) = (msi, &self.msi, message) {
            msi.check(&self.seen.msi, &self.messages, index, host)?;
        }
        // The hardware holds it already: a write would stop messages for nothing.
        if self.messages.host(index) == message {
            return Ok(());
        }
        // The hardware makes the other messages of MSI out of the first: they are
        // answered for anew when it changes.
        if msi && index == 0 {
            for other in 1..self.messages.count() {
                self.messages.set_host(other, None);
            }
        }
        self.messages.set_host(index, message);
        if let Some(host) = message {
            self.program(index, host);
        }
        if msi {
            self.settle_messages_hardware();
        } else {
            self.settle_entry(index);
        }
        Ok(())
    }
    /// Writes what stands for the messages into the hardware again.
    fn program_messages(&mut self) {
        for index in 0..self.messages.count() {
            let Some(host) = self.messages.host(index) else { continue };
            self.program(index, host);
        }
        self.settle_messages_hardware();
    }

    fn program(&mut self, index: u16, host: HostMsi) {
        if self.seen.msix.enabled {
            if let Some((msix, window)) = table(&mut self.msix, &self.trapped) {
                msix.program(&window, index, host);
            }
        } else if index == 0
            && let Some(msi) = &mut self.msi
        {
            msi.program(&self.config, self.function, host);
        }
    }

    /// Lets everything that follows from the image happen, after a write to it.
    fn settle(&mut self, effects: &mut PciEffects) {
        if self.take_reset() {
            self.reset(effects);
            effects.reset_requested();
            return;
        }
        self.settle_command(effects);
        self.settle_bars(effects);
        self.settle_messages(effects);
        self.settle_pin(effects);
        self.settle_express();
    }

    /// Whether the guest just asked for a reset: by the function-level reset bit,
    /// or by coming back from D3hot where that loses the state.
    fn take_reset(&mut self) -> bool {
        if let Some(express) = &self.express {
            let at = express.at + express::DEVICE_CONTROL;
            let control = self.image.get16(at);
            if control & express::INITIATE_RESET != 0 {
                // The bit reads 0 (PCI Express Base Specification section 7.5.3.4).
                self.image.replace(at, Width::Word, (control & !express::INITIATE_RESET).into());
                return true;
            }
        }
        let Some(power) = &mut self.power else { return false };
        let at = power.at + power::CONTROL;
        let control = self.image.get16(at);
        match (power.state, control & power::STATE_MASK) {
            (power::STATE_D3_HOT, power::STATE_D0) => {
                power.state = power::STATE_D0;
                !power.keeps_state
            }
            (_, state @ (power::STATE_D0 | power::STATE_D3_HOT)) => {
                power.state = state;
                false
            }
            // D1 and D2 are not offered: the write is ignored.
            (before, _) => {
                self.image.replace(at, Width::Word, (control & !power::STATE_MASK | before).into());
                false
            }
        }
    }

    /// The guest's command register, without what does not work in D3hot, and mastering no bus
    /// where nothing forwards its requests.
    fn command(&self) -> u16 {
        let mut command = self.image.get16(COMMAND);
        if !self.forwarded {
            command &= !command::BUS_MASTER;
        }
        match &self.power {
            Some(Power { state: power::STATE_D3_HOT, .. }) => {
                command & !(command::IO_SPACE | command::MEMORY_SPACE | command::BUS_MASTER)
            }
            _ => command,
        }
    }

    fn settle_command(&mut self, effects: &mut PciEffects) {
        let master = self.command() & command::BUS_MASTER != 0;
        if self.seen.bus_master != master {
            self.seen.bus_master = master;
            effects.bus_master(master);
        }
        self.settle_hardware_command();
    }

    /// The hardware's command register: its decode of memory is always on, the rest
    /// follows the guest as far as it was allowed. Ports are never decoded: no access of a
    /// guest's reaches one, and a function could put them over somebody else's.
    fn settle_hardware_command(&mut self) {
        if self.quarantined {
            return;
        }
        let guest = self.command();
        let mut wanted = 0;
        for bar in self.bars.current(&self.image, 0).iter().flatten() {
            wanted |= match bar.kind {
                BarKind::Io | BarKind::Rom => 0,
                _ => command::MEMORY_SPACE,
            };
        }
        if self.may_master {
            wanted |= guest & command::BUS_MASTER;
        }
        if !self.pin || guest & command::INTERRUPT_DISABLE != 0 {
            wanted |= command::INTERRUPT_DISABLE;
        }
        if self.hardware_command != wanted {
            self.config.write16(self.function, COMMAND, wanted);
            self.hardware_command = wanted;
        }
    }

    fn settle_bars(&mut self, effects: &mut PciEffects) {
        let bars = self.bars();
        for (number, (bar, seen)) in (0_u8..).zip(bars.iter().zip(&mut self.seen.bars)) {
            let now = bar.as_ref().and_then(Bar::decoded_at);
            if *seen == now {
                continue;
            }
            if seen.is_some() {
                effects.unmap_bar(number);
            }
            if let Some(gpa) = now {
                effects.map_bar(number, gpa);
            }
            *seen = now;
        }
    }

    /// What the guest asks of MSI-X and MSI. MSI-X wins where it enables both,
    /// which it must not (PCI Express Base Specification section 6.1.4).
    fn message_wishes(&self) -> (MsixWish, MsiWish) {
        let msix = match &self.msix {
            Some(msix) => Msix::wish(self.image.get16(msix.at + msix_spec::CONTROL)),
            None => MsixWish::default(),
        };
        match &self.msi {
            Some(msi) if !msix.enabled => (msix, msi.wish(&self.image)),
            _ => (msix, MsiWish::default()),
        }
    }

    fn settle_messages(&mut self, effects: &mut PciEffects) {
        let (msix, msi) = self.message_wishes();
        if (msix, msi) == (self.seen.msix, self.seen.msi) {
            return;
        }
        // Entries of the one are no entries of the other: begin anew.
        if msix.enabled != self.seen.msix.enabled {
            for index in 0..self.messages.count() {
                if self.messages.want(index, None, false) {
                    effects.messages();
                }
            }
        }
        (self.seen.msix, self.seen.msi) = (msix, msi);
        for index in 0..self.messages.count() {
            self.want_message(index, effects);
        }
        self.settle_messages_hardware();
    }

    /// Finds what the guest wants sent as message `index`.
    fn want_message(&mut self, index: u16, effects: &mut PciEffects) {
        let before = self.messages.wanted(index);
        let (wanted, keep_host) = match (&self.msix, &self.msi) {
            (Some(msix), _) if self.seen.msix.enabled => (msix.wanted(index, self.seen.msix, before), false),
            (_, Some(msi)) => (self.seen.msi.message(index), !msi.maskable()),
            _ => (None, false),
        };
        if self.messages.want(index, wanted, keep_host) {
            effects.messages();
        }
    }

    fn settle_messages_hardware(&mut self) {
        let wish = self.seen.msix;
        if let Some(msi) = &mut self.msi {
            msi.settle(&self.config, self.function, &self.seen.msi, &self.messages, !wish.enabled);
        }
        if let Some((msix, window)) = table(&mut self.msix, &self.trapped) {
            let mut control = 0;
            if wish.enabled {
                control |= msix_spec::ENABLE;
            }
            if wish.masked {
                control |= msix_spec::FUNCTION_MASK;
            }
            if msix.control != control {
                self.config.write16(self.function, msix.at + msix_spec::CONTROL, control);
                msix.control = control;
            }
            for index in 0..msix.table.messages() {
                msix.settle(&window, index, wish, &self.messages);
            }
        }
    }

    /// Makes one entry of the hardware's MSI-X table follow the guest's.
    fn settle_entry(&mut self, index: u16) {
        if let Some((msix, window)) = table(&mut self.msix, &self.trapped) {
            msix.settle(&window, index, self.seen.msix, &self.messages);
        }
    }

    /// INTx is the guest's while it was given, the guest lets it, and no kind of
    /// message is enabled.
    fn settle_pin(&mut self, effects: &mut PciEffects) {
        let messages = self.seen.msix.enabled || self.seen.msi.count != 0;
        let pin = self.pin && !messages && self.command() & command::INTERRUPT_DISABLE == 0;
        if self.seen.pin != pin {
            self.seen.pin = pin;
            effects.interrupt_pin(pin);
        }
    }

    fn settle_express(&mut self) {
        if self.quarantined {
            return;
        }
        let Some(express) = &mut self.express else { return };
        let at = express.at + express::DEVICE_CONTROL;
        let mut forwarded = self.image.get16(at) & policy::EXPRESS_FORWARDED;
        if forwarded & express::MAX_READ_REQUEST > 5 << 12 {
            // 6 and 7 are reserved: the function keeps what it has.
            forwarded = forwarded & !express::MAX_READ_REQUEST | express.control & express::MAX_READ_REQUEST;
        }
        let wanted = express.control & !policy::EXPRESS_NEVER & !policy::EXPRESS_FORWARDED | forwarded;
        if express.control != wanted {
            self.config.write16(self.function, at, wanted);
            express.control = wanted;
        }
    }
}

/// The table's shadow with the window to the hardware's table.
fn table<'a, W: RegisterWindow>(
    msix: &'a mut Option<Msix>,
    trapped: &'a [Trapped<W>],
) -> Option<(&'a mut Msix, Shifted<'a, W>)> {
    let msix = msix.as_mut()?;
    let place = trapped.iter().find(|trapped| trapped.holds(msix.bar, msix.table_range.start))?;
    let table = msix.table_range.start - place.region.offset;
    Some((msix, Shifted { window: &place.window, table }))
}

impl<C: ConfigSpace, W: RegisterWindow> PciFunction for PassedThrough<C, W> {
    fn config_read(&mut self, offset: u16, width: Width) -> u32 {
        if self.silent {
            return width.mask() as u32;
        }
        self.image.read(offset, width, |at| self.config.read32(self.function, at))
    }

    fn config_write(&mut self, offset: u16, width: Width, value: u32, effects: &mut PciEffects) {
        if self.silent {
            return;
        }
        let (config, function) = (&self.config, self.function);
        self.image.write(offset, width, value, |at, ones| config.write8(function, at, ones));
        self.settle(effects);
    }

    fn bars(&self) -> [Option<Bar>; BARS] {
        self.bars.current(&self.image, self.command())
    }

    fn trapped_regions(&self) -> &[TrappedRegion] {
        &self.regions
    }

    fn set_forwarded(&mut self, forwarded: bool, effects: &mut PciEffects) {
        if self.forwarded != forwarded {
            self.forwarded = forwarded;
            self.settle_command(effects);
        }
    }

    fn reset(&mut self, effects: &mut PciEffects) {
        self.silent = false;
        self.image.reset();
        if let Some(msix) = &mut self.msix {
            msix.table.reset();
        }
        if let Some(power) = &mut self.power {
            power.state = power::STATE_D0;
        }
        self.settle(effects);
    }

    fn next_message(&mut self) -> Option<MessageChange> {
        self.messages.next()
    }
}
