//! What an access to a function asks of the hypervisor.

use spec::Gpa;

use crate::bar::BARS;
use crate::message::MessageChange;
use crate::slot::Slot;

/// Why a BAR may not be where the guest put it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Refusal {
    /// It is not wholly inside a window for its kind: there may be memory, the
    /// configuration space of the bus, or an interrupt controller.
    #[default]
    OutsideWindows,
    /// It overlaps another BAR.
    Overlaps {
        /// Whose BAR that is.
        slot: Slot,
        /// Number of that BAR.
        bar: u8,
    },
}

/// What the configuration space of an emulated function lets its device do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Enables {
    /// It may read and write memory, and send messages.
    pub bus_master: bool,
    /// It may assert its line.
    pub line: bool,
    /// MSI-X is enabled.
    pub messages: bool,
    /// All of its messages are masked.
    pub masked: bool,
}

/// One thing to do because of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PciEffect {
    /// The function must not master the bus (false), or may (true).
    BusMaster(bool),
    /// The function's INTx reaches the guest (true), or must not (false).
    InterruptPin(bool),
    /// Take the BAR out of the guest, on every processor, before going on.
    UnmapBar {
        /// Number of the BAR; 6 is the expansion ROM.
        bar: u8,
    },
    /// Give the guest the BAR, but for its trapped regions.
    MapBar {
        /// Number of the BAR; 6 is the expansion ROM.
        bar: u8,
        /// Where; a port number for an I/O BAR.
        gpa: Gpa,
    },
    /// The guest put a BAR where it must not be; it stays unmapped. For the log.
    BarRefused {
        /// Number of the BAR; 6 is the expansion ROM.
        bar: u8,
        /// Where the guest put it; a port number for an I/O BAR.
        gpa: Gpa,
        /// Why it was refused.
        refusal: Refusal,
    },
    /// A message became deliverable, changed, or is no more (`message` is `None`).
    /// Make or drop its remapping entry and answer with
    /// [`crate::PassedThrough::set_host_message`].
    Message(MessageChange),
    /// What the guest lets the device behind an emulated function do.
    Enables(Enables),
    /// The guest reset the function: its own view is reset already; reset the
    /// hardware, then let it start again.
    ResetRequested,
}

/// The effects of one access, as a set.
///
/// It holds the newest state of each thing that can change and which of them did,
/// so it never overflows and loses nothing, however much one access touches: an
/// effect that a later one overtakes need not be seen. [`PciEffects::pop`] yields
/// them in the order that is safe: what takes rights away comes before what gives
/// them, and bus mastering is given last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PciEffects {
    unmap: u8,
    map: u8,
    refused: u8,
    gpa: [Gpa; BARS],
    refusals: [Refusal; BARS],
    bus_master: Option<bool>,
    interrupt_pin: Option<bool>,
    enables: Option<Enables>,
    messages: bool,
    reset: bool,
}

impl PciEffects {
    /// No effects.
    pub const fn new() -> Self {
        Self {
            unmap: 0,
            map: 0,
            refused: 0,
            gpa: [Gpa(0); BARS],
            refusals: [Refusal::OutsideWindows; BARS],
            bus_master: None,
            interrupt_pin: None,
            enables: None,
            messages: false,
            reset: false,
        }
    }

    /// Whether there is nothing to do.
    pub const fn is_empty(&self) -> bool {
        self.unmap == 0
            && self.map == 0
            && self.refused == 0
            && self.bus_master.is_none()
            && self.interrupt_pin.is_none()
            && self.enables.is_none()
            && !self.messages
            && !self.reset
    }

    /// The BAR is to be mapped at `gpa`. A number that no BAR has is ignored.
    pub fn map_bar(&mut self, bar: u8, gpa: Gpa) {
        if let Some(place) = self.gpa.get_mut(usize::from(bar)) {
            *place = gpa;
            self.map |= 1 << bar;
            self.refused &= !(1 << bar);
        }
    }

    /// The BAR is to be unmapped. A number that no BAR has is ignored.
    pub fn unmap_bar(&mut self, bar: u8) {
        if usize::from(bar) < BARS {
            self.unmap |= 1 << bar;
            self.map &= !(1 << bar);
            self.refused &= !(1 << bar);
        }
    }

    /// The BAR stays unmapped at `gpa`. A number that no BAR has is ignored.
    pub(crate) fn refuse_bar(&mut self, bar: u8, gpa: Gpa, refusal: Refusal) {
        let place = usize::from(bar);
        if let (Some(at), Some(why)) = (self.gpa.get_mut(place), self.refusals.get_mut(place)) {
            (*at, *why) = (gpa, refusal);
            self.refused |= 1 << bar;
            self.map &= !(1 << bar);
        }
    }

    /// The function may or must not master the bus.
    pub fn bus_master(&mut self, enabled: bool) {
        self.bus_master = Some(enabled);
    }

    /// The function's INTx reaches the guest or must not.
    pub fn interrupt_pin(&mut self, enabled: bool) {
        self.interrupt_pin = Some(enabled);
    }

    /// What the guest lets the device behind an emulated function do has changed.
    pub fn enables(&mut self, enables: Enables) {
        self.enables = Some(enables);
    }

    /// [`crate::PciFunction::next_message`] has something.
    pub fn messages(&mut self) {
        self.messages = true;
    }

    /// The guest reset the function.
    pub fn reset_requested(&mut self) {
        self.reset = true;
    }

    /// Adds what a function asks for, which is newer than what is here, but for its
    /// mappings, and tells whether it has any: the bus decides about them, for it sees
    /// every function. What the bus decided before stays: one access can be several
    /// writes.
    pub(crate) fn collect(&mut self, asked: &Self) -> bool {
        self.bus_master = asked.bus_master.or(self.bus_master);
        self.interrupt_pin = asked.interrupt_pin.or(self.interrupt_pin);
        self.enables = asked.enables.or(self.enables);
        self.messages |= asked.messages;
        self.reset |= asked.reset;
        asked.map | asked.unmap != 0
    }

    /// Takes the next effect that takes something away from the guest.
    pub(crate) fn pop_revocation(&mut self) -> Option<PciEffect> {
        if let Some(false) = self.bus_master {
            self.bus_master = None;
            return Some(PciEffect::BusMaster(false));
        }
        if let Some(false) = self.interrupt_pin {
            self.interrupt_pin = None;
            return Some(PciEffect::InterruptPin(false));
        }
        take_lowest(&mut self.unmap).map(|bar| PciEffect::UnmapBar { bar })
    }

    /// Takes the next effect; `next_message` is that of the function whose effects these are.
    pub fn pop(&mut self, next_message: impl FnOnce() -> Option<MessageChange>) -> Option<PciEffect> {
        if let Some(revocation) = self.pop_revocation() {
            return Some(revocation);
        }
        if let Some(bar) = take_lowest(&mut self.map) {
            return Some(PciEffect::MapBar { bar, gpa: self.at(bar) });
        }
        if let Some(bar) = take_lowest(&mut self.refused) {
            let refusal = self.refusals.get(usize::from(bar)).copied().unwrap_or_default();
            return Some(PciEffect::BarRefused { bar, gpa: self.at(bar), refusal });
        }
        if let Some(enables) = self.enables.take() {
            return Some(PciEffect::Enables(enables));
        }
        if self.messages {
            if let Some(change) = next_message() {
                return Some(PciEffect::Message(change));
            }
            self.messages = false;
        }
        if core::mem::take(&mut self.reset) {
            return Some(PciEffect::ResetRequested);
        }
        if let Some(enabled) = self.interrupt_pin.take() {
            return Some(PciEffect::InterruptPin(enabled));
        }
        self.bus_master.take().map(PciEffect::BusMaster)
    }

    fn at(&self, bar: u8) -> Gpa {
        self.gpa.get(usize::from(bar)).copied().unwrap_or_default()
    }
}

/// Clears the lowest set bit and returns its position.
fn take_lowest(bits: &mut u8) -> Option<u8> {
    if *bits == 0 {
        return None;
    }
    let lowest = bits.trailing_zeros() as u8;
    *bits &= *bits - 1;
    Some(lowest)
}
