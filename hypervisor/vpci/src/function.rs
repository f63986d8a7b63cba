//! The guest's view of one function, emulated and passed-through alike.

use spec::Width;
use spec::address::PAGE_BYTES;

use crate::bar::{BARS, Bar, DirectRanges, TrappedRegion};
use crate::effect::PciEffects;
use crate::message::MessageChange;

/// Configuration space and BARs of one function, as the guest sees them. What is behind the
/// BARs is another matter: the trapped registers of [`crate::PassedThrough`], or an emulated
/// device. No method panics or allocates, whatever the
/// guest passes; a wrong access reads ones and writes nothing, as on the bus.
pub trait PciFunction {
    /// Reads configuration space. `offset` may be unaligned.
    fn config_read(&mut self, offset: u16, width: Width) -> u32;

    /// Writes configuration space. `offset` may be unaligned.
    fn config_write(&mut self, offset: u16, width: Width, value: u32, effects: &mut PciEffects);

    /// The BARs; index 6 is the expansion ROM.
    fn bars(&self) -> [Option<Bar>; BARS];

    /// How many bytes into [`FIXED`](crate::FIXED) `port` is, if the function decodes it at present
    /// although no BAR says so.
    fn fixed_port(&self, port: u16) -> Option<u64> {
        let _ = port;
        None
    }

    /// The parts of the BARs that must not be mapped; fixed at construction.
    fn trapped_regions(&self) -> &[TrappedRegion];

    /// The pages of a BAR that may be mapped into the guest. None of the registers of an emulated function
    /// or of an I/O BAR, and none of a BAR smaller than a page: the rest of its page may
    /// belong to another function, so such a BAR is trapped as a whole.
    fn direct_ranges(&self, bar: u8) -> DirectRanges<'_> {
        let end = match self.bars().get(usize::from(bar)) {
            Some(Some(Bar { kind, size, host: Some(_), .. })) if kind.is_memory() => size & !(PAGE_BYTES - 1),
            _ => 0,
        };
        DirectRanges::new(self.trapped_regions(), bar, end)
    }

    /// Whether the root port above the function forwards its requests; on the root bus they
    /// need none, and at first they are forwarded. While they are not, the function reaches no
    /// memory and sends no message, whatever its own bus-master bit says.
    fn set_forwarded(&mut self, forwarded: bool, effects: &mut PciEffects);

    /// The function as after its reset: decode off, no messages, no bus mastering.
    /// Of a passed-through function this is the guest's view only; the hardware is
    /// reset by [`pci::reset`], and the owner then calls
    /// [`crate::PassedThrough::start`].
    fn reset(&mut self, effects: &mut PciEffects);

    /// The next message of a passed-through function that changed, after an access left
    /// [`PciEffects`] with messages; [`PciEffects::pop`] asks.
    fn next_message(&mut self) -> Option<MessageChange> {
        None
    }
}
