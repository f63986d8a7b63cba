//! Second-stage page tables: what guests and their devices may reach.
//!
//! There is one walker, [`PageTable`]; a [`Format`] says what the bits of an entry
//! are. [`Npt`] and [`Ept`] translate a guest's processors, [`VtdSecondLevel`] and
//! [`AmdVi`] its devices. Hardware walks the tables while they change, so:
//! - every entry is written whole, and a table is complete (and written back, for
//!   a walker that does not snoop) before the entry that leads to it;
//! - a change happens wholly or not at all: [`PageTable::map`] looks for overlaps
//!   and takes all its frames before its first write;
//! - frames that a table no longer needs come back only through [`Changed`], once
//!   the caller has flushed what hardware had cached.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

#[cfg(test)]
extern crate std;

mod changed;
mod format;
mod formats;
mod frames_needed;
mod map;
mod nested;
mod page_table;
#[cfg(test)]
mod tests;
mod unmap;

pub use changed::{Changed, Unflushed};
pub use format::{Format, MemoryType, PageSize, Permissions};
pub use formats::{AmdVi, Ept, Npt, VtdSecondLevel};
pub use frames_needed::{Extent, SPLIT_FRAMES, frames_needed};
pub use nested::{Nested, NestedTables};
pub use page_table::{Geometry, MapError, PageTable, Translation};
