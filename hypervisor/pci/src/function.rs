//! The guest's view of one function, emulated and passed-through alike.

use spec::address::PAGE_BYTES;
use spec::{Gpa, Hpa, Width};

use crate::effect::PciEffects;

/// How many places for BARs a function has: six BARs and the expansion ROM.
pub const BARS: usize = 7;
/// The expansion ROM's number among the BARs.
pub const ROM: u8 = 6;

/// What a BAR decodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BarKind {
    /// I/O ports. Its addresses are port numbers.
    Io,
    /// Memory below 4 GiB.
    Memory32 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// Memory anywhere; the BAR takes its own register and the next one.
    Memory64 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// The expansion ROM, below 4 GiB.
    Rom,
}

impl BarKind {
    /// Whether the BAR decodes memory rather than ports.
    pub const fn is_memory(self) -> bool {
        !matches!(self, Self::Io)
    }
}

/// One BAR of a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bar {
    /// What it decodes.
    pub kind: BarKind,
    /// Bytes (or ports) it decodes, a power of two.
    pub size: u64,
    /// Where the machine has it; `None` for an emulated function. A port number
    /// for [`BarKind::Io`].
    pub host: Option<Hpa>,
    /// Where the guest has it, whether decoded or not. A port number for
    /// [`BarKind::Io`].
    pub gpa: Gpa,
    /// Whether the guest has its decode on, so that it takes accesses at `gpa`.
    pub decoded: bool,
}

impl Bar {
    /// The address that the guest decodes it at; `None` while its decode is off.
    pub fn decoded_at(&self) -> Option<Gpa> {
        self.decoded.then_some(self.gpa)
    }
}

/// A range of whole pages of a BAR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageRange {
    /// Bytes from the start of the BAR, a multiple of 4 KiB.
    pub offset: u64,
    /// Length in bytes, a multiple of 4 KiB.
    pub bytes: u64,
}

/// The pages of a BAR that may be mapped into the guest: all but those that hold
/// any byte of a trapped region. Made by [`PciFunction::direct_ranges`].
pub struct DirectRanges<'a> {
    trapped: &'a [TrappedRegion],
    bar: u8,
    at: u64,
    end: u64,
}

impl Iterator for DirectRanges<'_> {
    type Item = PageRange;

    fn next(&mut self) -> Option<PageRange> {
        // Each trapped region can move the start once: bounded by their number.
        for _ in 0..=self.trapped.len() {
            if self.at >= self.end {
                return None;
            }
            let (mut next, mut behind) = (self.end, None);
            for region in self.trapped.iter().filter(|region| region.bar == self.bar) {
                let start = region.offset & !(PAGE_BYTES - 1);
                let end = region.offset.saturating_add(region.bytes).saturating_add(PAGE_BYTES - 1);
                let end = end & !(PAGE_BYTES - 1);
                if (start..end).contains(&self.at) {
                    behind = Some(end);
                } else if start > self.at {
                    next = next.min(start);
                }
            }
            match behind {
                Some(behind) => self.at = behind,
                None => {
                    let range = PageRange { offset: self.at, bytes: next - self.at };
                    self.at = next;
                    return Some(range);
                }
            }
        }
        None
    }
}

/// Part of a BAR whose accesses must come to the hypervisor: never mapped into the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrappedRegion {
    /// Number of the BAR.
    pub bar: u8,
    /// Bytes from the start of the BAR.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// A message as the guest programmed it: an untrusted value, not a right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GuestMsi {
    /// Address that the message would be written to.
    pub address: u64,
    /// Data that would be written.
    pub data: u32,
}

/// A message that the machine accepts: it names a remapping entry of this
/// function's requester ID.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HostMsi {
    /// Address of the message.
    pub address: u64,
    /// Data of the message.
    pub data: u32,
}

/// A message of a function became deliverable, changed, or stopped being so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageChange {
    /// Number of the message: MSI-X table entry, or MSI message.
    pub index: u16,
    /// What the guest wants sent; `None`: nothing any more.
    pub message: Option<GuestMsi>,
}

/// Why a host message was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageRefused {
    /// The function has no message of this index, or the guest took it back.
    NoSuchMessage,
    /// The messages of MSI share one address and all but the low bits of their
    /// data; this one does not fit the first.
    NotContiguous,
}

/// Configuration space and BARs of one function, as the guest sees them. What is behind the
/// BARs is another matter: the trapped registers of [`crate::PassedThrough`], or an emulated
/// device. No method panics or allocates, whatever the
/// guest passes; a wrong access reads ones and writes nothing, as on the bus.
pub trait PciFunction {
    /// Reads configuration space. `offset` may be unaligned.
    fn config_read(&mut self, offset: u16, width: Width) -> u32;

    /// Writes configuration space. `offset` may be unaligned.
    fn config_write(&mut self, offset: u16, width: Width, value: u32, effects: &mut PciEffects);

    /// The BARs; index [`ROM`] is the expansion ROM.
    fn bars(&self) -> [Option<Bar>; BARS];

    /// The parts of the BARs that must not be mapped; fixed at construction.
    fn trapped_regions(&self) -> &[TrappedRegion];

    /// The pages of a BAR that may be mapped into the guest. None of an emulated
    /// or I/O BAR, and none of a BAR smaller than a page: the rest of its page may
    /// belong to another function, so such a BAR is trapped as a whole.
    fn direct_ranges(&self, bar: u8) -> DirectRanges<'_> {
        let end = match self.bars().get(usize::from(bar)) {
            Some(Some(Bar { kind, size, host: Some(_), .. })) if kind.is_memory() => size & !(PAGE_BYTES - 1),
            _ => 0,
        };
        DirectRanges { trapped: self.trapped_regions(), bar, at: 0, end }
    }

    /// The function as after its reset: decode off, no messages, no bus mastering.
    /// Of a passed-through function this is the guest's view only; the hardware is
    /// reset by [`crate::reset`], and the owner then calls
    /// [`crate::PassedThrough::start`].
    fn reset(&mut self, effects: &mut PciEffects);

    /// The next message of a passed-through function that changed, after an access left
    /// [`PciEffects`] with messages; [`PciEffects::pop`] asks.
    fn next_message(&mut self) -> Option<MessageChange> {
        None
    }
}
