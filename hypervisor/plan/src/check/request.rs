//! What a guest asks for, as the checks of functions see it.

use super::rules::earlier_guests;
use crate::config::{Config, GuestConfig, Passthrough, PciConfig};
use alloc::format;
use alloc::string::String;
use platform::{Function, Platform};

/// A function that a guest asks for.
pub(crate) struct Request<'a> {
    pub config: &'a Config,
    /// The guest's name.
    pub name: &'a str,
    pub guest: &'a GuestConfig,
    pub pci: &'a PciConfig,
    /// Which function of the machine.
    pub wanted: &'a Passthrough,
    /// Its place in the guest's list.
    pub index: usize,
    pub platform: &'a Platform,
}

impl Request<'_> {
    /// The path of a key of the request.
    pub fn key(&self, key: &str) -> String {
        format!("pci[{}].passthrough.{key}", self.index)
    }
}

/// The functions of earlier guests, each with its guest's name.
pub(crate) fn earlier_functions<'r>(
    request: &'r Request<'_>,
) -> impl Iterator<Item = (&'r str, &'r Function)> {
    earlier_guests(request.config, request.name).flat_map(|(owner, guest)| {
        let functions =
            guest.passed_through().filter_map(|(.., wanted)| request.platform.function_at(&wanted.path));
        functions.map(move |function| (owner, function))
    })
}
