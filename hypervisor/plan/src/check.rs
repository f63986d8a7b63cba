//! The checks. Each adds every problem that it sees, with the smallest fix.

#[cfg(test)]
mod bar_tests;
pub(crate) mod bars;
pub(crate) mod console;
#[cfg(test)]
mod console_tests;
pub(crate) mod devices;
#[cfg(test)]
mod disk_tests;
pub(crate) mod display;
#[cfg(all(test, feature = "toml"))]
mod display_tests;
pub(crate) mod files;
mod firmware_memory;
#[cfg(test)]
mod function_tests;
pub(crate) mod guest_memory;
#[cfg(test)]
mod guest_memory_tests;
#[cfg(test)]
mod iommu_tests;
#[cfg(test)]
mod line_tests;
pub(crate) mod lines;
pub(crate) mod machine;
#[cfg(test)]
mod network_tests;
pub(crate) mod networks;
pub(crate) mod owned;
#[cfg(test)]
mod pair_tests;
pub(crate) mod pairs;
pub(crate) mod ports;
mod request;
pub(crate) mod rules;
pub(crate) mod runs_in;
#[cfg(all(test, feature = "toml"))]
mod runs_in_tests;
pub(crate) mod shared_memory;
#[cfg(all(test, feature = "toml"))]
mod shared_memory_tests;
#[cfg(test)]
mod snapshot_tests;
#[cfg(test)]
mod tests;
mod units;

use crate::config::{Config, GuestConfig};
use crate::problem::Problem;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Display};

/// Collects problems of one guest, or of one drive or network of the hypervisor's.
pub(crate) struct Report {
    prefix: String,
    pub problems: Vec<Problem>,
}

impl Report {
    pub fn of_guest(name: &str) -> Self {
        Self { prefix: alloc::format!("guest.{name}"), problems: Vec::new() }
    }

    pub fn of_disk(name: &str) -> Self {
        Self { prefix: alloc::format!("disk.{name}"), problems: Vec::new() }
    }

    pub fn of_network(name: &str) -> Self {
        Self { prefix: alloc::format!("network.{name}"), problems: Vec::new() }
    }

    /// A problem with the guest's key `key`.
    pub fn add(&mut self, key: impl Display, message: impl Display, help: impl Display) {
        let path = alloc::format!("{}.{key}", self.prefix);
        self.problems.push(Problem { path, message: message.to_string(), help: help.to_string() });
    }
}

/// The guests before this one; they are first to have what two ask for.
pub(crate) fn earlier_guests<'a>(
    config: &'a Config,
    name: &'a str,
) -> impl Iterator<Item = (&'a str, &'a GuestConfig)> {
    config
        .guest
        .iter()
        .map(|(other, guest)| (other.as_str(), guest))
        .take_while(move |(other, _)| *other != name)
}

/// `1 processor`, `2 processors`.
pub(crate) struct Count<'a>(pub usize, pub &'a str);

impl Display for Count<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}
