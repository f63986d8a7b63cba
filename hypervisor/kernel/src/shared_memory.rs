//! The memories that guests share, from the Plan to what is behind their BARs.

use crate::taken;
use alloc::vec::Vec;
use plan::{Plan, SharedMemoryPlan};
use vpci::BarMemory;

/// One of them.
pub struct SharedMemory {
    /// Where it is.
    pub at: BarMemory,
    /// Who shares it.
    pub peers: backends::SharedMemory,
}

/// Takes the memories of the Plan, full of zeroes. For what has none those who share it are refused.
pub fn bring_up(plan: &Plan) -> Vec<SharedMemory> {
    let mut memories = Vec::with_capacity(plan.shared_memory.len());
    for SharedMemoryPlan { name, bytes, peers } in &plan.shared_memory {
        let bytes = *bytes;
        match taken::take_zeroed(bytes) {
            Some(hpa) => {
                log::info!("shared memory {name}: {} KiB for {peers} functions", bytes >> 10);
                let peers = backends::SharedMemory::new(name.clone(), *peers);
                memories.push(SharedMemory { at: BarMemory { hpa, bytes }, peers });
            }
            None => log::error!("shared memory {name}: the machine has no {} KiB in one piece", bytes >> 10),
        }
    }
    memories
}
