//! Which frames the driver wants, as it says by the control queue (section 5.1.6.5).

use network::{MacAddress, Parts};
use serde::{Deserialize, Serialize};
use spec::ethernet::ADDRESS_BYTES;
use spec::virtio::net::{control, feature};

/// The most addresses of each table that are kept.
const TABLE: usize = 32;

/// Addresses of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Table {
    addresses: [MacAddress; TABLE],
    count: usize,
    /// There were more than are kept: every address of the kind is taken for one.
    overflows: bool,
}

impl Table {
    const EMPTY: Self = Self { addresses: [MacAddress::BROADCAST; TABLE], count: 0, overflows: false };

    /// The table of these addresses.
    fn of(addresses: &[[u8; ADDRESS_BYTES]]) -> Self {
        let mut table = Self::EMPTY;
        for (place, address) in table.addresses.iter_mut().zip(addresses) {
            *place = MacAddress(*address);
        }
        table.count = addresses.len().min(TABLE);
        table.overflows = addresses.len() > TABLE;
        table
    }

    fn has(&self, address: MacAddress) -> bool {
        self.overflows || self.addresses.get(..self.count).unwrap_or_default().contains(&address)
    }
}

/// The filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Filter {
    mac: MacAddress,
    promiscuous: bool,
    all_groups: bool,
    stations: Table,
    groups: Table,
}

impl Filter {
    /// The filter of an interface with this address after a reset: everything passes.
    pub const fn new(mac: MacAddress) -> Self {
        Self { mac, promiscuous: true, all_groups: false, stations: Table::EMPTY, groups: Table::EMPTY }
    }

    /// The address of the interface, by the driver's last word.
    pub const fn mac(&self) -> MacAddress {
        self.mac
    }

    /// Whether the driver wants this frame.
    pub fn wants(&self, frame: &Parts<'_>) -> bool {
        let [addresses, ..] = frame.pieces();
        let Some(destination) = addresses.first_chunk().copied().map(MacAddress) else { return false };
        self.promiscuous
            || destination == MacAddress::BROADCAST
            || if destination.is_group() {
                self.all_groups || self.groups.has(destination)
            } else {
                destination == self.mac || self.stations.has(destination)
            }
    }

    /// Does a command. `None`, and nothing changes, where there is no such one, or it was not agreed on.
    pub fn command(&mut self, command: &[u8], features: u64) -> Option<()> {
        let (&[class, which], said) = command.split_first_chunk()?;
        match (class, which) {
            control::SET_ADDRESS if features & feature::CONTROL_MAC != 0 => {
                let mac = MacAddress(said.try_into().ok()?);
                self.mac = Some(mac).filter(|mac| mac.is_station())?;
            }
            _ if features & feature::CONTROL_RECEIVE == 0 => return None,
            control::PROMISCUOUS => self.promiscuous = decode_switch(said)?,
            control::ALL_GROUPS => self.all_groups = decode_switch(said)?,
            control::SET_TABLES => {
                let (stations, rest) = split_table(said)?;
                let (groups, _) = split_table(rest)?;
                (self.stations, self.groups) = (Table::of(stations), Table::of(groups));
            }
            _ => return None,
        }
        Some(())
    }

    /// Whether there can be such a filter.
    pub fn is_possible(&self) -> bool {
        self.mac.is_station() && self.stations.count <= TABLE && self.groups.count <= TABLE
    }

    /// The driver has more addresses than anybody looks at.
    pub const fn overflow(&mut self) {
        self.stations.overflows = true;
        self.groups.overflows = true;
    }
}

/// On or off.
fn decode_switch(said: &[u8]) -> Option<bool> {
    said.first().map(|value| *value != 0)
}

/// The addresses of a table, and what is behind it.
fn split_table(bytes: &[u8]) -> Option<(&[[u8; ADDRESS_BYTES]], &[u8])> {
    let (count, rest) = bytes.split_first_chunk()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let (table, rest) = rest.split_at_checked(count.checked_mul(ADDRESS_BYTES)?)?;
    Some((table.as_chunks().0, rest))
}

#[cfg(test)]
mod tests;
