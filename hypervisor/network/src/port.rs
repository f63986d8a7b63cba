//! A port of a switch.

use crate::counters::Counters;
use crate::learning::Learned;
use crate::mac::MacAddress;
use crate::rate::{Bucket, RateLimit};
use crate::vlan::{Tagging, Vlan};

/// A port's number: its place in what the switch was made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortId(pub u16);

/// Which VLANs a port is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortVlan {
    /// In this one, or in that of untagged frames where there is none. What it sends and is
    /// given has no tag.
    Access(Option<Vlan>),
    /// In all; frames are tagged, but those of no VLAN.
    Trunk,
}

impl PortVlan {
    /// What is done to a frame of `vlan`, which has a tag or not, for such a port. `None` where
    /// it is not in that VLAN.
    pub(crate) fn tagging(self, vlan: Option<Vlan>, has_tag: bool) -> Option<Tagging> {
        match (self, vlan) {
            (Self::Access(own), _) if own != vlan => None,
            (Self::Access(_), _) if has_tag => Some(Tagging::Untag),
            (Self::Trunk, Some(vlan)) if !has_tag => Some(Tagging::Insert(vlan)),
            _ => Some(Tagging::Keep),
        }
    }
}

/// What the configuration says of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortConfig {
    /// The address of what is behind it. What is sent there comes to this port alone, and to
    /// nobody where this port does not take it.
    pub mac: Option<MacAddress>,
    /// Whether it may send from any address that is no other port's, as an uplink does. Else it
    /// sends from its own alone.
    pub any_source: bool,
    /// Its VLANs.
    pub vlan: PortVlan,
    /// What it may send, if that is limited.
    pub rate_limit: Option<RateLimit>,
    /// Whether it and other isolated ports do not reach each other.
    pub is_isolated: bool,
}

impl PortConfig {
    /// A port of a guest, which sends from `mac` alone, without a VLAN or a limit.
    pub const fn guest(mac: MacAddress) -> Self {
        Self {
            mac: Some(mac),
            any_source: false,
            vlan: PortVlan::Access(None),
            rate_limit: None,
            is_isolated: false,
        }
    }

    /// The port of a network interface of the machine, behind which is everybody.
    pub const fn uplink() -> Self {
        Self { mac: None, any_source: true, vlan: PortVlan::Trunk, rate_limit: None, is_isolated: false }
    }
}

/// A port, and what there is to know of it.
#[derive(Debug)]
pub(crate) struct Port {
    pub config: PortConfig,
    pub is_up: bool,
    pub bucket: Option<Bucket>,
    /// Where it may send from any address.
    pub learned: Option<Learned>,
    pub counters: Counters,
}

impl Port {
    pub fn new(config: PortConfig, learned: usize) -> Self {
        Self {
            config,
            is_up: false,
            bucket: config.rate_limit.map(Bucket::new),
            learned: config.any_source.then(|| Learned::new(learned)),
            counters: Counters::default(),
        }
    }
}
