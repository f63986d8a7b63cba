//! What emulated devices stand on, while guests are built: drives and networks are brought up, guests get
//! their parts of them, and their memory is mapped for drives that reach it.

use crate::reach::Reach;
use crate::shared_memory::SharedMemory;
use crate::taken::Taken;
use alloc::string::String;
use alloc::vec::Vec;
use backends::{Disk, Network};
use iommu::Iommu;
use spin::mutex::TicketMutex;

/// The memory of guests that a drive reads and writes itself.
pub struct DriveReach {
    /// The drive.
    pub disk: String,
    /// The guests.
    pub guests: Vec<String>,
    /// Where it finds their memory.
    pub reach: Reach,
}

/// All of it.
pub struct Backings {
    /// The drives that the hypervisor keeps.
    pub disks: Vec<Disk>,
    /// What of them reaches the memory of guests.
    pub reaches: Vec<DriveReach>,
    /// The networks that it switches.
    pub networks: Vec<Network>,
    /// The memories that guests share.
    pub memories: Vec<SharedMemory>,
}

impl Backings {
    /// Has the drives that reach a guest's memory find it. Where one cannot, its data is copied.
    pub fn reach_memory(
        &mut self,
        (guest, name): (usize, &str),
        taken: &mut Taken,
        iommu: Option<&TicketMutex<impl Iommu>>,
    ) {
        for DriveReach { disk: drive, guests, reach } in &mut self.reaches {
            let disk = self.disks.iter_mut().find(|disk| disk.name == *drive);
            let Some(disk) = disk.filter(|_| guests.iter().any(|guest| guest == name)) else { continue };
            match reach.map(taken, iommu) {
                Ok(at) => {
                    log::info!("disk {drive} reads and writes the memory of {name} itself");
                    disk.reach(guest, at);
                }
                Err(error) => log::warn!("disk {drive}: data of {name} is copied: {error}"),
            }
        }
    }

    /// Forgets what is of a guest that is not built after all.
    pub fn remove(&mut self, guest: usize) {
        self.disks.iter_mut().for_each(|disk| disk.remove_parts(guest));
        self.networks.iter_mut().for_each(|network| network.remove_ports(guest));
        self.memories.iter_mut().for_each(|memory| memory.peers.remove_peers(guest));
    }
}
