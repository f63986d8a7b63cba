//! The machine to emulate for a configuration: its processors, memory and devices.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lab::Machine;
use plan::DevicePath;

/// At least this many processors: the machine of the examples.
const LEAST_CPUS: u32 = 4;
/// For the hypervisor, the firmware and the bundle, in MiB.
const SPARE_MIB: u64 = 512;
/// Size of an emulated drive: a file with a hole of this size.
const DRIVE_BYTES: u64 = 256 << 20;

/// How QEMU calls a device, by what the device says it is.
const MODELS: [(&str, Model); 7] = [
    ("8086:10d3", Model::Network("e1000e")),
    ("8086:10c9", Model::Network("igb")),
    ("8086:100e", Model::Network("e1000")),
    ("1af4:1041", Model::Network("virtio-net-pci,iommu_platform=on,disable-legacy=on")),
    ("1b36:0010", Model::Drive("nvme")),
    ("1af4:1042", Model::Drive("virtio-blk-pci,iommu_platform=on,disable-legacy=on")),
    ("1234:11e8", Model::Edu),
];

/// The chipset's AHCI adapter, which is always there, and its ports.
const ADAPTER: (&str, &str) = ("00:1f.2", "8086:2922");
const ADAPTER_PORTS: u32 = 6;
/// Where its disk is that names no port. An image that the machine boots from is at port 0.
const ADAPTER_PORT: u32 = 1;

#[derive(Clone, Copy)]
enum Model {
    /// A NIC on a network of its own.
    Network(&'static str),
    /// A drive over a file of its own.
    Drive(&'static str),
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
    machine = machine.cpus(cpus_of(config).max(LEAST_CPUS)).memory_mib(memory_mib_of(config));
    let mut missing = Vec::new();
    let mut places: Vec<Place> = Vec::new();
    let passed = config.guest.values().flat_map(plan::GuestConfig::passed_through);
    let passed = passed.map(|(.., passthrough)| (None, passthrough.clone()));
    let owned = config.owned().map(|(kept, device)| (Some(kept), device));
    for (kept, passthrough) in passed.chain(owned) {
        let disk = match kept {
            Some(plan::Kept::Disk(disk)) => Some(disk),
            Some(plan::Kept::Uplink(_)) | None => None,
        };
        let id = passthrough.id.to_string();
        if (passthrough.path.to_string().as_str(), id.as_str()) == ADAPTER {
            let port = disk.and_then(|disk| config.disk.get(disk)?.port).unwrap_or(ADAPTER_PORT);
            match (disk, u8::try_from(port)) {
                (Some(disk), Ok(number)) if port < ADAPTER_PORTS => {
                    let image = drive(folder, &format!("sata{port}"), &partitions_of(config, disk))?;
                    machine = machine.sata(number, &image, keep);
                }
                (Some(_), _) => missing.push(format!("{} has {ADAPTER_PORTS} ports", passthrough.path)),
                (None, _) => {}
            }
            continue;
        }
        let model = MODELS.iter().find(|(known, _)| *known == id).map(|(_, model)| *model);
        let (Some(place), Some(model)) = (Place::of(&passthrough.path), model) else {
            missing.push(format!("the emulated machine has no {id} at {}", passthrough.path));
            continue;
        };
        if places.contains(&place) {
            continue; // Two guests want it; the hypervisor says to whom it goes.
        }
        if let Some(port) = place.new_port(&places) {
            machine = machine.device(&port);
        }
        let partitions = disk.map_or(Vec::new(), |disk| partitions_of(config, disk));
        machine = add(machine, model, place, folder, http_port, keep, &partitions)?;
        places.push(place);
    }
    Ok((machine, missing))
}

/// The partitions of a drive that the guests of `config` ask for, each with its share of the drive in
/// MiB: those with numbers in their places, then those with names.
fn partitions_of(config: &plan::Config, disk: &str) -> Vec<(String, u64)> {
    let wanted = || {
        let all = config.guest.values().flat_map(plan::GuestConfig::disks);
        all.filter(|(_, other, _)| *other == disk).filter_map(|(.., partition)| partition)
    };
    let numbers = wanted().filter_map(|name| match name {
        plan::PartitionName::Number(number) => Some(*number),
        plan::PartitionName::Text(_) => None,
    });
    let mut names: Vec<String> =
        (1..=numbers.max().unwrap_or(0)).map(|number| format!("part{number}")).collect();
    for name in wanted() {
        if let plan::PartitionName::Text(text) = name
            && !names.contains(text)
        {
            names.push(text.clone());
        }
    }
    // The tables themselves take some.
    let share = ((DRIVE_BYTES >> 20) - 2) / (names.len() as u64).max(1);
    names.into_iter().map(|name| (name, share)).collect()
}

/// How many processors `config` needs, the hypervisor's included.
pub fn cpus_of(config: &plan::Config) -> u32 {
    let most = config.guest.values().flat_map(|guest| &guest.cpus).max();
    most.map_or(1, |cpu| cpu.saturating_add(1))
}

/// How much memory `config` needs in MiB, the hypervisor's included.
pub fn memory_mib_of(config: &plan::Config) -> u32 {
    let guests: u64 = config.guest.values().map(|guest| guest.memory.bytes() >> 20).sum();
    u32::try_from(guests + SPARE_MIB).unwrap_or(u32::MAX)
}

fn add(
    machine: Machine,
    model: Model,
    place: Place,
    folder: &Path,
    http_port: u16,
    keep: bool,
    partitions: &[(String, u64)],
) -> Result<Machine> {
    let (name, at) = (place.name(), place.property());
    Ok(match model {
        // The whole address space: by default the device would mask addresses to 28 bits.
        Model::Edu => machine.device(&format!("edu,{at},dma_mask=0xffffffffffffffff")),
        Model::Drive(model) => {
            let image = drive(folder, &name, partitions)?;
            let snapshot = if keep { "off" } else { "on" };
            // In a list of options QEMU takes two commas for one.
            let file = image.display().to_string().replace(',', ",,");
            machine
                .argument("-drive")
                .argument(format!("if=none,id=drive{name},format=raw,snapshot={snapshot},file={file}"))
                .device(&format!("{model},serial=bulkhead{name},drive=drive{name},{at}"))
        }
        // The boot file name tells the guest `net` where the payload is.
        Model::Network(model) => machine
            .argument("-netdev")
            .argument(format!("user,id=net{name},bootfile=http://10.0.2.2:{http_port}/payload"))
            .device(&format!("{model},netdev=net{name},{at}")),
    })
}

/// Makes an empty drive with these partitions.
fn drive(folder: &Path, name: &str, partitions: &[(String, u64)]) -> Result<PathBuf> {
    let image = folder.join(format!("drive-{name}.img"));
    let file = std::fs::File::create(&image).with_context(|| format!("cannot make {}", image.display()))?;
    file.set_len(DRIVE_BYTES).with_context(|| format!("cannot size {}", image.display()))?;
    if !partitions.is_empty() {
        lab::partitions::write(&image, partitions)?;
    }
    Ok(image)
}

/// Where a function 0 is: on bus 00, or alone behind a root port, where a reset of the whole bus
/// reaches nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// The device's slot, or its root port's.
    root: u8,
    /// The slot behind the port.
    behind: Option<u8>,
}

impl Place {
    /// `00:02.0` or `00:02.0/00.0`; deeper places need switches that are not emulated here.
    fn of(path: &DevicePath) -> Option<Self> {
        let text = path.to_string();
        let mut parts = text.strip_prefix("00:")?.split('/').map(slot);
        let place =
            Self { root: parts.next()??, behind: parts.next().map(|slot| slot.ok_or(())).transpose().ok()? };
        // The host bridge is slot 0, the chipset slot 1f; a port has one device.
        let valid = (1..0x1f).contains(&place.root) && place.behind.unwrap_or(0) == 0;
        (valid && parts.next().is_none()).then_some(place)
    }

    fn name(self) -> String {
        format!("{:x}", self.root)
    }

    fn property(self) -> String {
        match self.behind {
            Some(slot) => format!("bus=port{},addr={slot:x}", self.name()),
            None => format!("addr={:x}", self.root),
        }
    }

    /// The root port that it needs and that none of `others` has brought.
    fn new_port(self, others: &[Self]) -> Option<String> {
        let there = others.iter().any(|other| other.root == self.root);
        let (name, root) = (self.name(), self.root);
        (self.behind.is_some() && !there)
            .then(|| format!("pcie-root-port,id=port{name},chassis={root},addr={root:x}"))
    }
}

/// The slot in `02.0`.
fn slot(part: &str) -> Option<u8> {
    u8::from_str_radix(part.strip_suffix(".0")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Option<Place> {
        Place::of(&text.parse().expect("a path"))
    }

    #[test]
    fn functions_are_on_the_root_bus_or_behind_a_port() {
        assert_eq!(place("00:02.0"), Some(Place { root: 2, behind: None }));
        assert_eq!(place("00:1e.0/00.0"), Some(Place { root: 0x1e, behind: Some(0) }));
        assert_eq!(place("00:02.1"), None);
        assert_eq!(place("00:1f.0"), None, "the chipset is there");
        assert_eq!(place("00:02.0/01.0"), None, "a port has one device");
        assert_eq!(place("00:02.0/00.1"), None);
        assert_eq!(place("00:02.0/00.0/00.0"), None);
    }

    #[test]
    fn a_port_comes_before_its_device_and_once() {
        let place = place("00:02.0/00.0").expect("a place");
        assert_eq!(place.property(), "bus=port2,addr=0");
        assert_eq!(place.new_port(&[]).as_deref(), Some("pcie-root-port,id=port2,chassis=2,addr=2"));
        assert_eq!(place.new_port(&[place]), None);
    }

    #[test]
    fn every_model_is_named_by_an_identity() {
        for id in MODELS.iter().map(|(id, _)| *id).chain([ADAPTER.1]) {
            assert!(id.parse::<plan::DeviceId>().is_ok(), "{id}");
        }
        assert!(ADAPTER.0.parse::<DevicePath>().is_ok());
    }
}
