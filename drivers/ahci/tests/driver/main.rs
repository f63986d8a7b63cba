//! The driver against an HBA with the least that it needs, which misbehaves on demand.

mod bench;
mod bring_up;
mod capacity;
mod fake;
mod hostile;
mod interleaving;
mod mending;
mod requests;
mod served;
