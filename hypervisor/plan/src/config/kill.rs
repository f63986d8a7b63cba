//! Compartments that are ended on purpose.

use super::{CompartmentName, Config, FunctionName, MachinePart, RunsIn};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// A compartment that is ended at a time: its name, `@` and milliseconds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Kill {
    /// Which.
    pub compartment: CompartmentName,
    /// Milliseconds from the start of the guests.
    pub at_ms: u32,
}

/// A text that is no [`Kill`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoKill;

impl fmt::Display for NoKill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "expected a compartment and milliseconds, such as \"net:03.0@2500\", \"net:interpreter@2500\", \
             \"disk.system@2500\" or \"network.lan@2500\"",
        )
    }
}

impl core::error::Error for NoKill {}

impl FromStr for Kill {
    type Err = NoKill;
    fn from_str(text: &str) -> Result<Self, NoKill> {
        let (name, at_ms) = text.split_once('@').ok_or(NoKill)?;
        let (compartment, at_ms) = (name.parse().map_err(|_| NoKill)?, at_ms.parse().map_err(|_| NoKill)?);
        Ok(Self { compartment, at_ms })
    }
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.compartment, self.at_ms)
    }
}

impl Config {
    /// The compartments that its guests' emulated functions run in, its drivers and its guests' machines, by name.
    pub fn compartments(&self) -> impl Iterator<Item = CompartmentName> {
        self.places().filter_map(|(name, place)| (place == RunsIn::Ring3).then_some(name))
    }

    /// What can run in a compartment, each with where it does.
    fn places(&self) -> impl Iterator<Item = (CompartmentName, RunsIn)> {
        let functions = self.functions().map(|(name, place)| (name.into(), place));
        let disks = self
            .disk
            .iter()
            .map(move |(name, disk)| (CompartmentName::Disk(name.clone()), self.place_of_disk(disk)));
        let uplinks = self.network.iter().filter_map(move |(name, network)| {
            let place = self.place_of_uplink(network.uplink.as_ref()?);
            Some((CompartmentName::Network(name.clone()), place))
        });
        let machines = self.guest.iter().flat_map(move |(name, guest)| {
            let named = |part| CompartmentName::Machine { guest: name.clone(), part };
            MachinePart::ALL.map(|part| (named(part), self.place_of_machine(guest)))
        });
        functions.chain(machines).chain(disks).chain(uplinks)
    }

    /// The emulated functions, each with where it runs.
    fn functions(&self) -> impl Iterator<Item = (FunctionName<'_>, RunsIn)> {
        self.guest.iter().flat_map(move |(guest, config)| {
            let name = |slot| FunctionName { guest, slot };
            config.emulated().map(move |(_, pci, model)| (name(pci.slot), self.place_of(pci, model)))
        })
    }

    /// Why there is no such compartment, and what to do about it; `None` where there is one.
    pub fn missing_compartment(&self, name: &CompartmentName) -> Option<(String, String)> {
        let message = match self.places().find(|(other, _)| other == name) {
            Some((_, RunsIn::Ring3)) => return None,
            Some((_, RunsIn::Hypervisor)) => {
                format!("`{name}` runs in the hypervisor and has no compartment")
            }
            None => format!("there is no compartment `{name}`"),
        };
        let names: Vec<_> = self.compartments().map(|name| format!("`{name}`")).collect();
        let help = match names.as_slice() {
            [] => "nothing has one: write runs_in = \"ring3\" in its table".to_string(),
            [name] => format!("the only one is {name}"),
            [names @ .., last] => format!("those that there are: {} and {last}", names.join(", ")),
        };
        Some((message, help))
    }
}
