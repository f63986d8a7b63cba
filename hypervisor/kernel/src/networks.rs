//! The networks that the hypervisor switches, from the functions that it has taken for their uplinks to
//! networks that guests can be connected to.

pub mod sizes;

use crate::compartments::most_restarts;
use crate::guests::Common;
use crate::linked;
use crate::metered;
use crate::owned::{self, Taken};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use backends::Network;
use driver_compartment::{Driver as Which, RemoteNic, Room};
use network::LARGEST_BYTES;
use nic::Nic;
use plan::{Base, Driver, NetworkPlan, OwnedPlan, Plan, RunsIn};
use platform::Platform;
use sizes::{APART, FRAMES, REGISTERS_BAR, RINGS, VIRTIO_FRAMES};
use spec::address::PAGE_BYTES;

/// Bytes of heap for the frames that are under way: one at each guest's port, and what a network itself
/// has room for.
pub fn frame_bytes(plan: &Plan) -> u64 {
    let functions = plan.guests.iter().flat_map(|guest| &guest.emulated);
    let ports = functions.filter(|function| matches!(function.base, Base::Port(_))).count();
    let frames = plan.networks.len().saturating_mul(2).saturating_add(ports);
    (frames as u64)
        .saturating_mul((LARGEST_BYTES as u64).next_multiple_of(PAGE_BYTES).saturating_add(PAGE_BYTES))
}

/// Brings up the networks of the Plan. What goes wrong with one is said on the log, and costs those
/// who are connected to it.
pub fn bring_up(plan: &Plan, platform: &Platform, common: &Common) -> Vec<Network> {
    let mut networks = Vec::with_capacity(plan.networks.len());
    for network in &plan.networks {
        match start(network, plan, platform, common) {
            Ok(network) => networks.push(network),
            Err(reason) => log::error!("network {}: {reason}", network.name),
        }
    }
    networks
}

fn start(
    network: &NetworkPlan,
    plan: &Plan,
    platform: &Platform,
    common: &Common,
) -> Result<Network, String> {
    let name = &network.name;
    let owned = network.uplink.and_then(|place| Some((place, plan.owned.get(place)?)));
    let nic = owned.map(|owned| interface(name, owned, platform, common)).transpose()?;
    let started = Network::bring_up(name.clone(), nic, &common.clock)?;
    match (owned, started.uplink()) {
        (Some((_, owned)), Some((Some(mac), link))) => {
            log::info!("network {name}: its uplink is {}, {mac}, {link}", owned.function.bdf);
        }
        _ => log::info!("network {name}: it has no uplink"),
    }
    Ok(started)
}

/// The interface of a function, which was not started yet.
fn interface(
    network: &str,
    (place, owned): (usize, &OwnedPlan),
    platform: &Platform,
    common: &Common,
) -> Result<Box<dyn Nic + Send>, String> {
    let mut taken = owned::take(owned, platform, common)?;
    if owned.runs_in == RunsIn::Ring3 {
        return apart(network, (place, owned.driver), taken, common);
    }
    linked::interface(owned.driver, &mut taken)
}

/// The interface of a function whose driver is in ring 3.
fn apart(
    network: &str,
    (place, driver): (usize, Driver),
    taken: Taken<'_>,
    common: &Common,
) -> Result<Box<dyn Nic + Send>, String> {
    let (driver, bar, queue_bytes) = match driver {
        Driver::E1000e => (Which::E1000e, REGISTERS_BAR, FRAMES.bytes()),
        Driver::Igb => (Which::Igb, REGISTERS_BAR, FRAMES.bytes()),
        Driver::VirtioNet => {
            let layout = taken.virtio_layout()?;
            (Which::VirtioNet(layout), layout.bar, VIRTIO_FRAMES.bytes())
        }
        Driver::Nvme | Driver::Ahci | Driver::VirtioBlock => return Err("it is no network interface".into()),
    };
    let asked = owned::Wanted {
        name: format!("network.{network}"),
        place,
        driver,
        bar,
        queue_bytes,
        room: Room::Frames { area: APART, rings: RINGS },
        data: None,
        area_words: APART.words(),
    };
    let compartment = taken.apart(asked, common)?;
    let restarts = u16::try_from(most_restarts()).unwrap_or(u16::MAX);
    let nic = RemoteNic::new(compartment, APART, restarts);
    Ok(metered::interface(nic.ok_or("there is not enough memory for its frames")?))
}
