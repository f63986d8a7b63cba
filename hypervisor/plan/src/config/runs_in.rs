//! Where models of emulated functions run, drivers, interpreters of instructions, and chipsets.

use super::{Config, DiskConfig, GuestConfig, Isolation, Model, PciConfig, Uplink};
use serde::{Deserialize, Serialize};

choice! {
    /// Where the model of an emulated function runs, which reads what the guest wrote, the driver of a device, or the
    /// interpreter of a guest's instructions and its chipset. Its
    /// place on the bus, its messages and what its requests do to drives and networks are the hypervisor's either way.
    pub enum RunsIn {
        /// in a compartment of its own in ring 3. A model reaches its guest's memory there and its own, a driver its
        /// device's registers and the memory that it has in common with that: what goes wrong there harms no other
        /// guest. An access costs the way there and back
        Ring3 = "ring3",
        /// in the hypervisor, in ring 0
        Hypervisor = "hypervisor",
    }
}

impl RunsIn {
    /// Where models run of which the configuration does not say it.
    pub const USUAL: Self = Self::Ring3;
    /// Where drivers run, and guests' machines: a drive reaches its guest's memory there, and an interpreted
    /// instruction costs no way to ring 3.
    pub const USUAL_OF_OTHERS: Self = Self::Hypervisor;
}

impl Model {
    /// Whether it can run there.
    pub const fn can_run_in(self, place: RunsIn) -> bool {
        match (place, self) {
            // The hypervisor asks for its picture whenever the screen is drawn, and a compartment answers accesses.
            (RunsIn::Ring3, Self::BochsDisplay) => false,
            (RunsIn::Ring3 | RunsIn::Hypervisor, _) => true,
        }
    }
}

impl Config {
    /// Where an emulated function with these keys runs.
    pub fn place_of(&self, pci: &PciConfig, model: Model) -> RunsIn {
        let wanted = pci.runs_in.or(self.hypervisor.runs_in).unwrap_or(RunsIn::USUAL);
        if model.can_run_in(wanted) { wanted } else { RunsIn::Hypervisor }
    }

    /// Where the driver of a disk with these keys runs.
    pub fn place_of_disk(&self, disk: &DiskConfig) -> RunsIn {
        let same = |other: &&DiskConfig| other.device.path == disk.device.path;
        let can_be_apart =
            disk.isolation != Some(Isolation::None) && self.disk.values().filter(same).count() == 1;
        let wanted = self.hypervisor.runs_in.filter(|_| can_be_apart);
        disk.runs_in.or(wanted).unwrap_or(RunsIn::USUAL_OF_OTHERS)
    }

    /// Where the driver of this interface runs.
    pub fn place_of_uplink(&self, uplink: &Uplink) -> RunsIn {
        uplink.runs_in.or(self.hypervisor.runs_in).unwrap_or(RunsIn::USUAL_OF_OTHERS)
    }

    /// Where the machine of a guest with these keys runs.
    pub fn place_of_machine(&self, guest: &GuestConfig) -> RunsIn {
        guest.runs_in.or(self.hypervisor.runs_in).unwrap_or(RunsIn::USUAL_OF_OTHERS)
    }
}
