//! Who asks for a function of the machine, as the checks of functions see it.

use super::earlier_guests;
use crate::config::{Config, GuestConfig, Passthrough, PciConfig};
use alloc::format;
use alloc::string::String;
use platform::{DevicePath, Function, Platform};

/// A function of the machine that somebody asks for.
pub(crate) struct Wanted<'a> {
    pub platform: &'a Platform,
    /// Which function.
    pub device: &'a Passthrough,
    /// Who asks.
    pub owner: Owner<'a>,
    /// What its keys begin with, behind the owner's own.
    pub prefix: String,
}

/// Who can own a function of the machine.
#[derive(Clone, Copy)]
pub(crate) enum Owner<'a> {
    /// A guest, to which it is passed through.
    Guest(&'a GuestConfig),
    /// The hypervisor, which drives it.
    Hypervisor(&'a Config),
}

impl Owner<'_> {
    /// Whether the function at `path` is this owner's.
    pub fn asks_for(self, path: &DevicePath) -> bool {
        match self {
            Self::Guest(guest) => guest.asks_for(path),
            Self::Hypervisor(config) => config.owned().any(|(_, device)| device.path == *path),
        }
    }
}

impl Wanted<'_> {
    /// The path of a key.
    pub fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }
}

/// A function that a guest asks for.
pub(crate) struct Request<'a> {
    pub config: &'a Config,
    /// The guest's name.
    pub name: &'a str,
    pub guest: &'a GuestConfig,
    pub pci: &'a PciConfig,
    /// Its place in the guest's list.
    pub index: usize,
    pub wanted: Wanted<'a>,
}

/// The functions that are the hypervisor's or earlier guests', each with the words for its owner.
pub(crate) fn earlier_functions<'r>(
    request: &'r Request<'_>,
) -> impl Iterator<Item = (String, &'r Function)> {
    let platform = request.wanted.platform;
    let owned = request.config.owned().map(|(kept, device)| (format!("{kept}"), device.path));
    let earlier = earlier_guests(request.config, request.name).flat_map(|(owner, guest)| {
        guest.passed_through().map(move |(.., wanted)| (format!("guest `{owner}`"), wanted.path.clone()))
    });
    owned.chain(earlier).filter_map(|(owner, path)| Some((owner, platform.function_at(&path)?)))
}
