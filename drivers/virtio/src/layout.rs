//! Where a virtio function has its registers (section 4.1.4).

use crate::error::Error;
use access::ConfigSpace;
use pci::capability::walk;
use serde::{Deserialize, Serialize};
use spec::pci_capability::id::VENDOR_SPECIFIC;
use spec::pci_config::CONFIG_BYTES;
use spec::virtio::pci::{common, structure, structure_capability as field};
use spec::{Bdf, Width};

/// The registers of a function, which are all behind one BAR. Offsets are in bytes from its start, and
/// what is said here is wholly within it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Layout {
    /// The number of the BAR.
    pub bar: u8,
    /// Where the common configuration begins.
    pub(crate) common: usize,
    /// Where the driver notifies, how many bytes there are for it, and how many are from one queue's
    /// number to the next.
    pub(crate) notify: usize,
    pub(crate) notify_bytes: u32,
    pub(crate) notify_multiplier: u32,
    /// Where the configuration of the type of device begins, and its bytes.
    pub(crate) device: usize,
    pub(crate) device_bytes: u32,
}

/// What one capability says.
#[derive(Clone, Copy)]
struct Place {
    bar: u8,
    offset: u32,
    bytes: u32,
    /// Where the capability is.
    at: u16,
}

impl Layout {
    /// Reads where the registers of `function` are. `memory_bytes` says how large the BAR of a number
    /// is, if it is one of memory. Of each structure the first place counts that can be used (section
    /// 4.1.4.1), and of the common configuration that alone decides on the BAR.
    ///
    /// # Errors
    /// [`Error::Layout`].
    pub fn find<C: ConfigSpace + ?Sized>(
        config: &C,
        function: Bdf,
        memory_bytes: impl Fn(u8) -> Option<u64>,
    ) -> Result<Self, Error> {
        let find = |kind, bytes: u32, bar: Option<u8>| {
            first(config, function, kind, |place: &Place| {
                let end = u64::from(place.offset) + u64::from(place.bytes);
                place.bytes >= bytes
                    && place.offset.is_multiple_of(4)
                    && bar.is_none_or(|bar| bar == place.bar)
                    && memory_bytes(place.bar).is_some_and(|all| end <= all)
            })
        };
        let common = find(structure::COMMON, common::BYTES, None);
        let common = common.ok_or(Error::Layout("no capability says where its virtio registers are"))?;
        let elsewhere = "not all of its virtio registers are behind one BAR";
        let notify = find(structure::NOTIFY, 2, Some(common.bar)).ok_or(Error::Layout(elsewhere))?;
        let device = find(structure::DEVICE, 4, Some(common.bar)).ok_or(Error::Layout(elsewhere))?;
        let multiplier = config.read(function, notify.at + field::MULTIPLIER, Width::Dword);
        Ok(Self {
            bar: common.bar,
            common: common.offset as usize,
            notify: notify.offset as usize,
            notify_bytes: notify.bytes,
            notify_multiplier: multiplier,
            device: device.offset as usize,
            device_bytes: device.bytes,
        })
    }
}

/// The first place of a structure that `is_right`.
fn first<C: ConfigSpace + ?Sized>(
    config: &C,
    function: Bdf,
    kind: u8,
    is_right: impl Fn(&Place) -> bool,
) -> Option<Place> {
    let wanted = if kind == structure::NOTIFY { field::NOTIFY_BYTES } else { field::BYTES };
    let mut found = None;
    // A list that is broken counts as far as it goes.
    let _ = walk(config, function, |id, at| {
        let byte = |offset| config.read8(function, at + offset);
        let is_one = id == VENDOR_SPECIFIC
            && at.saturating_add(wanted) <= CONFIG_BYTES
            && u16::from(byte(field::LENGTH)) >= wanted
            && byte(field::STRUCTURE) == kind;
        if found.is_none() && is_one {
            let dword = |offset| config.read(function, at + offset, Width::Dword);
            let (offset, bytes) = (dword(field::OFFSET), dword(field::STRUCTURE_BYTES));
            found = Some(Place { bar: byte(field::BAR), offset, bytes, at }).filter(|place| is_right(place));
        }
        Ok(())
    });
    found
}

#[cfg(test)]
mod tests;
