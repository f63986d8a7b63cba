//! An emulated function that shares memory with others.

use super::place::{Owner, place};
use crate::shared_memory::SharedMemory;
use alloc::format;
use alloc::string::String;
use devices::ivshmem::VECTORS;
use devices::{Backend, Blueprint, Endpoint};
use plan::{Model, PeerPlan};
use spec::ivshmem::{CLASS, DEVICE, REVISION, VENDOR, register};
use vpci::{BarLayout, Description, EmulatedFunction, Identity};

const IDENTITY: Identity = Identity { vendor: VENDOR, device: DEVICE, class: CLASS, revision: REVISION };
const LAYOUT: BarLayout = BarLayout::new(register::BYTES, VECTORS);
const FUNCTION: Description<'static> = Description {
    identity: IDENTITY,
    messages: VECTORS,
    layout: LAYOUT,
    vendor_specific: &[],
    device_registers: 0,
};
const _: () = assert!(LAYOUT.bytes == Model::Ivshmem.bar_bytes());

/// The function, and what is behind it, of this peer; it is endpoint `number` of guest `index`.
///
/// # Errors
/// A sentence about the memory that is not there.
pub fn build(
    owner: Owner<'_>,
    memories: &mut [SharedMemory],
    peer: &PeerPlan,
    (index, number): (usize, usize),
) -> Result<(EmulatedFunction, Endpoint), String> {
    let PeerPlan { memory: name, position } = peer;
    let memory = memories.iter_mut().find(|memory| memory.peers.name == *name);
    let memory = memory.ok_or_else(|| format!("its shared memory {name} cannot be used"))?;
    if !memory.peers.add_peer(*position, index, number) {
        return Err(format!("shared memory {name} has no place for it"));
    }
    let peers = u16::try_from(memory.peers.room()).unwrap_or(u16::MAX);
    let device = place(owner, Blueprint::Ivshmem { position: *position, peers })?;
    let endpoint = Endpoint::new(device, Backend::Served, VECTORS, LAYOUT.table, LAYOUT.pending);
    Ok((EmulatedFunction::with_memory(&FUNCTION, memory.at), endpoint))
}
