//! An emulated serial port that is a function of its own.

use super::place::{Owner, place};
use alloc::string::String;
use devices::serial::PORTS;
use devices::{Backend, Blueprint, Endpoint};
use guest::layout::intx_gsi;
use plan::Model;
use vpci::{Conventional, EmulatedFunction, Identity, PortWindow};

/// QEMU's `pci-serial`: a 16550-compatible controller at one I/O BAR of eight ports. Linux's 8250_pci has
/// no entry for it and needs none: it takes any function of this class that has one such BAR, as do the
/// drivers of other systems; those of Windows are bound to the ID by a file of QEMU's.
const FUNCTION: Conventional = Conventional {
    identity: Identity { vendor: 0x1b36, device: 0x0002, class: 0x07_0002, revision: 1 },
    bars: &[PortWindow { place: 0, ports: PORTS as u16, at: 0 }],
    fixed: &[],
    has_pin: true,
    registers: &[],
};
const _: () = assert!(Model::Serial.has_ports() && Model::Serial.bar_bytes() == PORTS);

/// The function, and what is behind it.
///
/// # Errors
/// A sentence about where the model cannot run.
pub fn build(owner: Owner<'_>) -> Result<(EmulatedFunction, Endpoint), String> {
    let lines = [Some(intx_gsi(owner.slot.device(), 0)), None];
    let endpoint = Endpoint::with_lines(place(owner, Blueprint::Serial)?, Backend::Served, lines);
    Ok((EmulatedFunction::conventional(&FUNCTION), endpoint))
}
