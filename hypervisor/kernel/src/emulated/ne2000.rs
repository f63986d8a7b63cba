//! An emulated NE2000 of the PCI kind.

use super::place::{Owner, place};
use alloc::string::String;
use devices::ne2000::WINDOW_BYTES;
use devices::{Backend, Blueprint, Endpoint};
use guest::layout::intx_gsi;
use network::MacAddress;
use plan::Model;
use vpci::{Conventional, EmulatedFunction, Identity, PortWindow};

/// Realtek's RTL8029AS (data sheet, section 4): an Ethernet controller.
const FUNCTION: Conventional = Conventional {
    identity: Identity { vendor: 0x10ec, device: 0x8029, class: 0x02_0000, revision: 0 },
    bars: &[PortWindow { place: 0, ports: WINDOW_BYTES as u16, at: 0 }],
    fixed: &[],
    has_pin: true,
    registers: &[],
};
const _: () = assert!(Model::Ne2000.has_ports() && Model::Ne2000.bar_bytes() == WINDOW_BYTES);

/// The function, and what is behind it: an interface with the address `mac`.
///
/// # Errors
/// A sentence about where the model cannot run.
pub fn build(owner: Owner<'_>, mac: MacAddress) -> Result<(EmulatedFunction, Endpoint), String> {
    let lines = [Some(intx_gsi(owner.slot.device(), 0)), None];
    let endpoint = Endpoint::with_lines(place(owner, Blueprint::Ne2000(mac))?, Backend::Served, lines);
    Ok((EmulatedFunction::conventional(&FUNCTION), endpoint))
}
