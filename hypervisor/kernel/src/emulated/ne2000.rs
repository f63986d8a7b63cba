//! An emulated NE2000 of the PCI kind.

use crate::metered;
use devices::ne2000::{Ne2000, WINDOW_BYTES};
use devices::{Backend, Endpoint};
use guest::layout::intx_gsi;
use network::MacAddress;
use plan::Model;
use vpci::{Conventional, EmulatedFunction, Identity, PortWindow, Slot};

/// Realtek's RTL8029AS (data sheet, section 4): an Ethernet controller.
const FUNCTION: Conventional = Conventional {
    identity: Identity { vendor: 0x10ec, device: 0x8029, class: 0x02_0000, revision: 0 },
    bars: &[PortWindow { place: 0, ports: WINDOW_BYTES as u16, at: 0 }],
    fixed: &[],
    has_pin: true,
    registers: &[],
};
const _: () = assert!(Model::Ne2000.has_ports() && Model::Ne2000.bar_bytes() == WINDOW_BYTES);

/// The function in `slot`, and what is behind it: an interface with the address `mac`.
pub fn build(mac: MacAddress, slot: Slot) -> (EmulatedFunction, Endpoint) {
    let lines = [Some(intx_gsi(slot.device(), 0)), None];
    let endpoint = Endpoint::with_lines(metered::model(Ne2000::new(mac)), Backend::Served, lines);
    (EmulatedFunction::conventional(&FUNCTION), endpoint)
}
