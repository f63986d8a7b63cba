//! The addresses that were seen behind one port.
//!
//! Each port that may send from any address has a table of its own, so that who floods one with
//! addresses forgets its own alone; and a destination that is forgotten is flooded to such ports,
//! so that nobody is out of reach.

use crate::mac::MacAddress;
use crate::vlan::Vlan;
use alloc::boxed::Box;

#[cfg(test)]
mod tests;

/// How long an address is known after it was last seen (802.1Q, table 8-6).
pub(crate) const AGE_NS: u64 = 300_000_000_000;
/// Places in which an address can be.
const WAYS: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: MacAddress,
    vlan: Option<Vlan>,
    seen_ns: u64,
}

impl Entry {
    const fn is_fresh(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.seen_ns) < AGE_NS
    }
}

/// A table of fixed size.
#[derive(Debug)]
pub(crate) struct Learned {
    sets: Box<[[Option<Entry>; WAYS]]>,
}

impl Learned {
    /// Room for at least `addresses` addresses.
    pub fn new(addresses: usize) -> Self {
        let sets = addresses.div_ceil(WAYS).max(1);
        Self { sets: alloc::vec![[None; WAYS]; sets].into() }
    }

    /// `address` was seen in `vlan`. The address of its set that was not seen for longest is
    /// forgotten if there is no room.
    pub fn learn(&mut self, address: MacAddress, vlan: Option<Vlan>, now_ns: u64) {
        let place = self.place(address, vlan);
        let Some(set) = self.sets.get_mut(place) else { return };
        let is_same =
            |way: &Option<Entry>| way.is_some_and(|entry| (entry.address, entry.vlan) == (address, vlan));
        let way = match set.iter().position(is_same) {
            Some(place) => set.get_mut(place),
            None => set.iter_mut().min_by_key(|way| way.map(|entry| entry.seen_ns)),
        };
        if let Some(way) = way {
            *way = Some(Entry { address, vlan, seen_ns: now_ns });
        }
    }

    /// When `address` was last seen in `vlan`, if that is not too long ago.
    pub fn seen_ns(&self, address: MacAddress, vlan: Option<Vlan>, now_ns: u64) -> Option<u64> {
        let set = self.sets.get(self.place(address, vlan))?;
        let entry = set.iter().flatten().find(|entry| (entry.address, entry.vlan) == (address, vlan))?;
        entry.is_fresh(now_ns).then_some(entry.seen_ns)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.sets.fill([None; WAYS]);
    }

    /// The set of an address. Who chooses addresses of one set forgets its own; nothing is lost.
    fn place(&self, address: MacAddress, vlan: Option<Vlan>) -> usize {
        let [a, b, c, d, e, f] = address.0;
        let [high, low] = vlan.map_or(0, Vlan::number).to_be_bytes();
        let key = u64::from_be_bytes([high, low, a, b, c, d, e, f]);
        // Multiplicative hashing by the golden ratio; the high bits are the good ones.
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        hash as usize % self.sets.len().max(1)
    }
}
