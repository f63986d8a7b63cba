//! What an access to an emulated function costs in instructions where its model is in ring 0, and where it is in a
//! compartment in ring 3.
//!
//! Neither emulator charges for what a processor takes to switch address spaces: an entry and its way back write CR3
//! twice and GS base once, and take an interrupt return and an exception.

use std::path::Path;

use anyhow::Result;
use lab::bench::Column;

use super::exits;
use crate::choice::Cpu;
use crate::workshop::Workshop;

/// A function of each kind of registers.
const GUEST: &str = r#"
barriers = "none"

[network.lan]

[guest.bench]
cpus = [1]
memory = "64 MiB"
interrupts = "virtual"
kernel = "testguest"
command_line = "bench"
runs_in = "hypervisor"

[[guest.bench.pci]]
slot = "04.0"
emulate = "16550"

[[guest.bench.pci]]
slot = "05.0"
emulate = "ne2000"
network = "lan"

[[guest.bench.pci]]
slot = "06.0"
emulate = "virtio-rng"
"#;

/// Where models run, and what stands above the column.
const PLACES: [(&str, &str); 2] = [("hypervisor", "ring 0"), ("ring3", "ring 3")];

fn guest(place: &str) -> String {
    format!("[hypervisor]\nruns_in = \"{place}\"{GUEST}")
}

/// Measures on the processors of `cpu`: a column for each place.
///
/// # Errors
/// When something cannot be built, or a guest does not come to its end.
pub fn measure(workshop: &Workshop, folder: &Path, cpu: Cpu) -> Result<Vec<Column>> {
    let column = |(place, name): (&str, &str)| {
        let title = format!("{}, {name}", exits::title(cpu));
        let (ours, _) = exits::hypervisor(workshop, folder, cpu, &guest(place), &title)?;
        Ok(Column { title, ours, reference: None })
    };
    PLACES.into_iter().map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    #[test]
    fn the_configurations_are_some() {
        for (place, _) in PLACES {
            assert!(Source::parse(guest(place), "x".to_owned()).is_ok());
        }
    }
}
