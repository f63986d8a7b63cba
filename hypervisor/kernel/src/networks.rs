//! The networks that the hypervisor switches, from the functions that it has taken for their uplinks to
//! networks that guests can be connected to.

use crate::guests::Common;
use crate::metered;
use crate::owned;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use backends::Network;
use network::LARGEST_BYTES;
use nic::Nic;
use plan::{Base, Driver, NetworkPlan, OwnedPlan, Plan};
use platform::Platform;
use spec::address::PAGE_BYTES;

/// Frames that an interface has room for, of either kind: as many as its rings have at most.
const FRAMES: e1000e::Sizes = e1000e::Sizes { transmit: 256, receive: 256 };
const VIRTIO_FRAMES: virtio_net::Sizes = virtio_net::Sizes { transmit: 256, receive: 256 };
/// The BAR with the registers of an 82574, or an 82576.
const REGISTERS_BAR: u8 = 0;

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
    let owned = network.uplink.and_then(|place| plan.owned.get(place));
    let nic = owned.map(|owned| interface(owned, platform, common)).transpose()?;
    let started = Network::bring_up(name.clone(), nic, &common.clock)?;
    match (owned, started.uplink()) {
        (Some(owned), Some((Some(mac), link))) => {
            log::info!("network {name}: its uplink is {}, {mac}, {link}", owned.function.bdf);
        }
        _ => log::info!("network {name}: it has no uplink"),
    }
    Ok(started)
}

/// The interface of a function, which was not started yet.
fn interface(owned: &OwnedPlan, platform: &Platform, common: &Common) -> Result<Box<dyn Nic + Send>, String> {
    let mut taken = owned::take(owned, platform, common)?;
    match owned.driver {
        Driver::E1000e => {
            let access = taken.access(REGISTERS_BAR, FRAMES.bytes())?;
            taken.master_bus();
            let controller = e1000e::Controller::new(access, FRAMES).map_err(|error| error.to_string())?;
            Ok(metered::interface(controller))
        }
        Driver::Igb => {
            let access = taken.access(REGISTERS_BAR, FRAMES.bytes())?;
            taken.master_bus();
            let controller = igb::Controller::new(access, FRAMES).map_err(|error| error.to_string())?;
            Ok(metered::interface(controller))
        }
        Driver::VirtioNet => {
            let layout = taken.virtio_layout()?;
            let access = taken.access(layout.bar, VIRTIO_FRAMES.bytes())?;
            taken.master_bus();
            let interface = virtio_net::Interface::new(access, layout, VIRTIO_FRAMES);
            Ok(metered::interface(interface.map_err(|error| error.to_string())?))
        }
        Driver::Nvme | Driver::Ahci | Driver::VirtioBlock => Err("it is no network interface".into()),
    }
}
