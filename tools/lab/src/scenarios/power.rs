//! What fails under the drives and the network of Debian's kernel: the power, and devices.

use super::POWER_OFF;
use crate::column::{Column, Need};
use crate::demux::HYPERVISOR;
use crate::feature::Feature;
use crate::machine::Machine;
use crate::power_cuts::PowerCuts;
use crate::scenario::{Config, Scenario, Subject};

/// All of them. What becomes of a flush or of an error does not depend on the IOMMU.
pub fn on(column: Column) -> Vec<Scenario> {
    if column == Column::SvmVtd { vec![cuts(column), faults(column)] } else { Vec::new() }
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

/// Two SATA disks and an NVMe drive with bad sectors, an NVMe drive that can be slowed, and one that
/// can be pulled out.
fn with_faults(machine: Machine) -> Machine {
    machine
        .failing_node("bad2")
        .failing_node("bad3")
        .failing_node("bad5")
        .slow_node("slow", "pace")
        .sata_on(2, "bad2")
        .sata_on(3, "bad3")
        .nvme_on(5, "bad5")
        .nvme_on(7, "slow")
        .nvme_to_pull(6)
}

/// A guest whose devices fail, one after the other, and one with a drive at the same adapter as the
/// failing disks, which notices nothing. Each error reaches the guest as its device's own and the log in
/// words; what can work again does.
fn faults(column: Column) -> Scenario {
    let config = Config::Inline(include_str!("faults.toml").to_owned());
    Scenario::new(column, Feature::Drives, "linux/faults", Subject::Hypervisor(config))
        .needs(Need::PassedFunction)
        .memory_mib(1536)
        .long()
        .serves_http()
        .sata(32, &[24])
        .on(with_faults)
        // 4 KiB take a second longer than the driver waits for a command, so one that is over passes and
        // the next does not. The emulator stands still while it waits for what a reset cancels.
        .incident("one", "/dev/vdb: may stall", &["qom-set -j /objects/pace limits {\"bps-total\":130}"])
        .incident("one", "/dev/vdb: a read failed", &["qom-set -j /objects/pace limits {\"bps-total\":0}"])
        .incident("one", "may lose its link", &["set_link net2 off"])
        .incident("one", "its link is lost", &["set_link net2 on"])
        // Slot control of the port at 00:06.0: power and its indicator off.
        .incident("one", "/dev/vdc: may be pulled out", &["o/w 0xcf8 0x8000306c", "o/h 0xcfc 0x700"])
        .expect(HYPERVISOR, "disk bad2: a read of 8 blocks at 2048 failed: aborted")
        .expect(HYPERVISOR, "disk bad5: a read of 8 blocks at 2048 failed: unrecovered read error")
        .expect(HYPERVISOR, "disk bad3: a read of 8 blocks at 2048 failed: aborted")
        .expect(HYPERVISOR, "disk slow failed: it did not complete command 0x02 of queue 1 in time")
        .expect(HYPERVISOR, "the uplink of network lan lost its link")
        .expect(HYPERVISOR, "the uplink of network lan has a link")
        .expect(HYPERVISOR, "disk pulled failed: its registers do not answer: it is not there any more")
        .expect("one", "faults: /dev/vda: a bad sector is an error, and the others work")
        .expect("one", "faults: /dev/nvme0n1: a bad sector is an error, and the others work")
        .expect("one", "faults: /dev/sda: a bad sector is an error, and the others work")
        .expect("one", "faults: /dev/vdb: works again")
        .expect("one", "its link is lost")
        .expect("one", "faults: eth0: works again")
        .expect("one", "faults: /dev/vdc: is gone")
        .expect("neighbour", "faults: /dev/vda: verified")
        // Linux' own words for a failed command have no colons around it.
        .forbid_anywhere(": FAILED:")
        .forbid(HYPERVISOR, "panicked")
        // The log has a line for a failure, not one for each request.
        .forbid(HYPERVISOR, "(failure 4)")
        .ends("one", POWER_OFF)
        .ends("neighbour", POWER_OFF)
        .all_as_expected()
        .within(400)
}
