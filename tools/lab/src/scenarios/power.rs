//! Power cuts under the drives of Debian's kernel.

use super::POWER_OFF;
use crate::column::{Column, Need};
use crate::feature::Feature;
use crate::power_cuts::PowerCuts;
use crate::scenario::{Config, Scenario, Subject};

/// All of them. What becomes of a flush does not depend on the IOMMU.
pub fn on(column: Column) -> Vec<Scenario> {
    if column == Column::SvmVtd { vec![cuts(column)] } else { Vec::new() }
}

/// What each guest has, with the slot of the guest's bus and the name of the device there.
const MODELS: [(&str, &str, &str); 3] =
    [("virtio-blk", "03.0", "/dev/vda"), ("nvme", "04.0", "/dev/nvme0n1"), ("ide", "05.0", "/dev/sda")];

/// Two guests with a drive of each model, one over a SATA disk and the other over an NVMe drive. Each
/// writes records to one of its drives after the other, so that no flush of another's helps.
fn cuts(column: Column) -> Scenario {
    const WANTED: PowerCuts = PowerCuts { cuts: 1000, records: 150, models: &["virtio-blk", "NVMe", "IDE"] };
    let mut config = "[disk.sata]\ndevice = { path = \"00:1f.2\", id = \"8086:2922\" }\n\
                      [disk.system]\ndevice = { path = \"00:03.0\", id = \"1b36:0010\" }\n"
        .to_owned();
    for (cpu, name, disk) in [(1, "one", "sata"), (2, "two", "system")] {
        let devices = MODELS.map(|(_, _, device)| device).join(",");
        config.push_str(&format!(
            "[guest.{name}]\ncpus = [{cpu}]\nmemory = \"256 MiB\"\nkernel = \"vmlinuz-cloud\"\n\
             initrd = \"appliance.cpio\"\n\
             command_line = \"console=ttyS0 panic=-1 ide disk={devices} records={}\"\n",
            WANTED.records
        ));
        for (number, (model, slot, _)) in (1..).zip(MODELS) {
            config.push_str(&format!(
                "[[guest.{name}.pci]]\nslot = \"{slot}\"\nemulate = \"{model}\"\n\
                 backing = {{ disk = \"{disk}\", partition = {number} }}\n"
            ));
        }
    }
    let subject = Subject::Hypervisor(Config::Inline(config));
    let mut scenario = Scenario::new(column, Feature::Drives, "linux/power-cuts", subject)
        .needs(Need::PassedFunction)
        .long()
        .nvme(20)
        .partitions(&[5, 5, 5])
        .sata(20, &[5, 5, 5])
        .power_cuts(WANTED)
        .forbid_anywhere("FAILED")
        .forbid("hypervisor", "panicked");
    for guest in ["one", "two"] {
        for (_, _, device) in MODELS {
            scenario = scenario.expect(guest, &format!("disk: {device}: flushed {} records", WANTED.records));
        }
        scenario = scenario.ends(guest, POWER_OFF);
    }
    scenario.all_as_expected().within(600)
}
