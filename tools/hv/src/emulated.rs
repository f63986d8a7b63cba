//! The machine to emulate for a configuration: its processors, memory and devices.

use std::path::Path;

use anyhow::{Context, Result};
use lab::Machine;
use plan::{DevicePath, PciConfig};

/// At least this many processors: the machine of the examples.
const LEAST_CPUS: u32 = 4;
/// For the hypervisor, the firmware and the bundle, in MiB.
const SPARE_MIB: u64 = 512;
/// Size of an emulated NVMe drive: a file with a hole of this size.
const DRIVE_BYTES: u64 = 256 << 20;

/// How QEMU calls a device, by what the device says it is.
const MODELS: [(&str, Model); 5] = [
    ("8086:10d3", Model::Network("e1000e")),
    ("8086:100e", Model::Network("e1000")),
    ("1af4:1041", Model::Network("virtio-net-pci,iommu_platform=on,disable-legacy=on")),
    ("1b36:0010", Model::Nvme),
    ("1234:11e8", Model::Edu),
];

#[derive(Clone, Copy)]
enum Model {
    /// A NIC on a network of its own.
    Network(&'static str),
    Nvme,
    Edu,
}

/// Gives `machine` what `config` asks for. What the emulator does not have is left out, and the
/// returned lines say so: the hypervisor will refuse the guest with its own words.
///
/// `folder` is for drives; `http_port` is where the lab serves the payload.
///
/// # Errors
/// When a drive's file cannot be made.
pub fn equip(
    mut machine: Machine,
    config: &plan::Config,
    folder: &Path,
    http_port: u16,
    keep: bool,
) -> Result<(Machine, Vec<String>)> {
    let guests = || config.guest.values();
    let most = guests().flat_map(|guest| &guest.cpus).max().map_or(0, |cpu| cpu.saturating_add(1));
    let memory: u64 = guests().map(|guest| guest.memory.bytes() >> 20).sum::<u64>() + SPARE_MIB;
    machine = machine.cpus(most.max(LEAST_CPUS)).memory_mib(u32::try_from(memory).unwrap_or(u32::MAX));
    let mut missing = Vec::new();
    let mut slots = Vec::new();
    for PciConfig { passthrough, .. } in guests().flat_map(|guest| &guest.pci) {
        let id = passthrough.id.to_string();
        let model = MODELS.iter().find(|(known, _)| *known == id).map(|(_, model)| *model);
        let (Some(slot), Some(model)) = (root_slot(&passthrough.path), model) else {
            missing.push(format!("the emulated machine has no {id} at {}", passthrough.path));
            continue;
        };
        if slots.contains(&slot) {
            continue; // Two guests want it; the hypervisor says to whom it goes.
        }
        slots.push(slot);
        machine = match model {
            Model::Edu => machine.edu(slot),
            Model::Nvme => {
                let image = folder.join(format!("drive-{slot:02x}.img"));
                let file = std::fs::File::create(&image)
                    .with_context(|| format!("cannot make {}", image.display()))?;
                file.set_len(DRIVE_BYTES).with_context(|| format!("cannot size {}", image.display()))?;
                machine.nvme(slot, &image, keep)
            }
            // The boot file name tells the guest `net` where the payload is.
            Model::Network(model) => machine
                .argument("-netdev")
                .argument(format!("user,id=net{slot:x},bootfile=http://10.0.2.2:{http_port}/payload"))
                .device(&format!("{model},netdev=net{slot:x},addr={slot:x}")),
        };
    }
    Ok((machine, missing))
}

/// The slot of a function 0 on bus 00; other places need bridges that are not emulated here.
fn root_slot(path: &DevicePath) -> Option<u8> {
    let text = path.to_string();
    let slot = text.strip_prefix("00:")?.strip_suffix(".0")?;
    u8::from_str_radix(slot, 16).ok().filter(|slot| (1..0x1f).contains(slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_functions_of_the_root_bus_can_be_placed() {
        let slot = |text: &str| root_slot(&text.parse().expect("a path"));
        assert_eq!(slot("00:02.0"), Some(2));
        assert_eq!(slot("00:1e.0"), Some(0x1e));
        assert_eq!(slot("00:02.1"), None);
        assert_eq!(slot("00:1f.0"), None, "the chipset is there");
    }

    #[test]
    fn every_model_is_named_by_an_identity() {
        for (id, _) in MODELS {
            assert!(id.parse::<plan::DeviceId>().is_ok(), "{id}");
        }
    }
}
