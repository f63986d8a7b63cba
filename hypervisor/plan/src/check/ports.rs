//! The ports of networks that guests have.

use super::{Report, earlier_guests};
use crate::config::{Config, GuestConfig, Model, PciConfig, StandsOn};
use crate::plan::PortPlan;
use alloc::format;
use core::num::NonZero;
use network::{MacAddress, PortConfig, PortVlan, RateLimit, Vlan};
use platform::DevFn;

/// The least that a port may send at once, in bytes: the largest frame there is.
const LEAST_BURST: u32 = 64 << 10;

/// What is on a drive, for what is none.
pub(crate) fn check_no_drive(index: usize, pci: &PciConfig, report: &mut Report) {
    for (key, _) in pci.backings() {
        report.add(format_args!("pci[{index}].{key}"), "the emulated function is no drive", "remove the key");
    }
}

/// Keys of a network interface, for what is none.
pub(crate) fn check_no_port(index: usize, pci: &PciConfig, why: &str, report: &mut Report) {
    for (key, _) in pci.port_keys().iter().filter(|(_, given)| *given) {
        report.add(format_args!("pci[{index}].{key}"), why, "remove the key");
    }
}

/// The queues of a virtio function, for what is none.
pub(crate) fn check_ring(index: usize, pci: &PciConfig, report: &mut Report) {
    if pci.ring.is_some() && !pci.emulate.is_some_and(Model::is_virtio) {
        report.add(format_args!("pci[{index}].ring"), "only virtio functions have queues", "remove the key");
    }
}

/// An emulated network interface is connected to a network, on which nobody has its address.
pub(crate) fn check_port(
    config: &Config,
    (name, guest): (&str, &GuestConfig),
    index: usize,
    report: &mut Report,
) {
    let Some(pci) = guest.pci.get(index) else { return };
    let key = |key: &str| format!("pci[{index}].{key}");
    check_no_drive(index, pci, report);
    if let Some(vlan) = pci.vlan.filter(|vlan| vlan_of(*vlan).is_none()) {
        report.add(key("vlan"), format_args!("there is no VLAN {vlan}"), "use one from 1 to 4094");
    }
    if pci.rate_limit.is_some_and(|limit| limit.bytes() == 0) {
        report.add(key("rate_limit"), "the guest could send nothing", "give it \"64 KiB\" or more");
    }
    let mac = address(name, pci);
    if !mac.is_station() {
        let message = format!("{mac} is no address of one interface");
        report.add(key("mac"), message, "use one such as \"52:54:00:12:34:56\"");
    }
    let Some(network) = pci.network.as_deref() else {
        let help = "add network = \"...\", and a table [network.NAME]";
        return report.add(key("emulate"), "nothing says where the network interface is connected", help);
    };
    if !config.network.contains_key(network) {
        let help = format!("add a table [network.{network}]; it may be empty");
        report.add(key("network"), format_args!("there is no network `{network}`"), help);
    }
    let earlier = earlier_guests(config, name)
        .flat_map(|(other, guest)| guest.ports().map(move |(_, pci, network)| (other, pci, network)));
    let own = guest.ports().take_while(|(place, ..)| *place != index);
    let mut others = earlier.chain(own.map(|(_, pci, network)| (name, pci, network)));
    let is_same =
        |(owner, pci, its): &(&str, &PciConfig, &str)| *its == network && address(owner, pci) == mac;
    if let Some((owner, ..)) = others.find(is_same) {
        let message = format!("{mac} belongs to guest `{owner}` already");
        report.add(key("mac"), message, "give each interface on a network its own address");
    }
}

/// The port of an emulated network interface of guest `name`; `None` for what is none.
pub(crate) fn port(name: &str, pci: &PciConfig) -> Option<PortPlan> {
    let network = pci
        .network
        .clone()
        .filter(|_| pci.emulate.is_some_and(|model| model.stands_on() == StandsOn::Network))?;
    let rate_limit = pci.rate_limit.and_then(|limit| {
        let bytes_per_second = NonZero::new(limit.bytes())?;
        // What it may send in some 16 ms.
        let burst = u32::try_from(limit.bytes() >> 6).unwrap_or(u32::MAX).max(LEAST_BURST);
        Some(RateLimit { bytes_per_second, burst_bytes: NonZero::new(burst)? })
    });
    let config = PortConfig {
        vlan: PortVlan::Access(pci.vlan.and_then(vlan_of)),
        rate_limit,
        is_isolated: pci.isolated,
        ..PortConfig::guest(address(name, pci))
    };
    Some(PortPlan { network, config })
}

fn vlan_of(number: u32) -> Option<Vlan> {
    Vlan::new(u16::try_from(number).ok()?)
}

/// The address of an interface of guest `name`.
fn address(name: &str, pci: &PciConfig) -> MacAddress {
    pci.mac.unwrap_or_else(|| own_address(name, pci.slot))
}

/// The address of an interface for which the configuration names none: the same for a guest and slot
/// at each start, and that of no manufacturer's (bit 1 of the first byte; bit 0 is a group's).
fn own_address(guest: &str, slot: DevFn) -> MacAddress {
    // FNV-1a of 64 bits. Two that are the same are found as those of the configuration are.
    let of = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = guest.bytes().chain([0, slot.byte()]).fold(0xcbf2_9ce4_8422_2325, of);
    let [a, b, c, d, e, f, ..] = hash.to_be_bytes();
    MacAddress([a & !3 | 2, b, c, d, e, f])
}
