//! The lab: starts emulated machines, reads their consoles, runs scenarios.
//!
//! `cargo hv run` and `cargo hv test` are thin over this crate. A [`Machine`] is a
//! QEMU command line under construction; [`Machine::start`] makes it a [`Running`]
//! machine, and [`session::run`] sees it through to its end while [`Consoles`] splits
//! its serial line into the consoles of its guests. A [`Scenario`] is such a run with
//! expectations, on one [`Column`] of processor and IOMMU; their outcomes make a [`Matrix`].
#![forbid(unsafe_code)]

pub mod bench;
pub mod bochs;
pub mod column;
pub mod consoles;
pub mod demux;
pub mod drives;
pub mod emulated;
pub mod feature;
pub mod host;
pub mod http;
pub mod judge;
mod late;
mod look;
pub mod machine;
pub mod matrix;
pub mod partitions;
pub mod power_cuts;
pub mod process;
pub mod qemu;
pub mod qmp;
pub mod record;
pub mod reference;
pub mod runner;
pub mod running;
pub mod scenario;
pub mod scenarios;
pub mod screen;
pub mod session;
pub mod summary;
pub mod terminal;
mod trial;

pub use bochs::{Bochs, BochsMachine};
pub use column::Column;
pub use consoles::{Consoles, Logs, View};
pub use demux::{Demux, Line, Piece};
pub use emulated::Emulated;
pub use host::{Host, Vendor};
pub use http::PayloadServer;
pub use machine::{Boot, Iommu, Machine};
pub use matrix::Matrix;
pub use qemu::Qemu;
pub use record::Record;
pub use runner::{Report, Runner};
pub use running::{Ended, Running};
pub use scenario::{Scenario, Workshop};
pub use summary::Summary;
