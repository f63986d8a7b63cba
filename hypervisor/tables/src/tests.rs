//! What holds of every table, checked against fake memory.

mod atomicity;
mod behaviour;
mod model;
mod recorder;

use crate::{Geometry, PageSize};

const KIB4: u64 = 1 << 12;
const MIB2: u64 = 1 << 21;
const GIB1: u64 = 1 << 30;

fn four_levels() -> Geometry {
    Geometry::processor(4, PageSize::Size1GiB)
}

fn not_coherent() -> Geometry {
    Geometry { coherent: false, force_snoop: true, ..four_levels() }
}
