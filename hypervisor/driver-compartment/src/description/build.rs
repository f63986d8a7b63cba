//! From what a compartment is for to what serves it.

use crate::description::{Description, Driver, Room};
use crate::drive::{DriveServer, DriveSizes, Drives, One};
use crate::memory::Divided;
use crate::nic::{NicServer, NicSizes};
use access::device::MessageInterrupt;
use access::{DeviceAccess, DmaMemory, RegisterWindow};
use ahci::Hba;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use block::{Drive, State};
use nic::Nic;
use virtio::Layout;

/// What serves a compartment's areas.
pub enum Server {
    /// Drives, each with its area.
    Drives(DriveServer),
    /// One interface.
    Interface(NicServer),
}

impl Server {
    /// How many areas it serves.
    pub fn areas(&self) -> usize {
        match self {
            Self::Drives(server) => server.drives(),
            Self::Interface(_) => 1,
        }
    }

    /// Does what the area of number `index` says, and answers there. Ring 0 has an area for each drive, and one
    /// for an interface.
    pub fn serve(&mut self, index: usize, area: &mut [u64]) {
        match self {
            Self::Drives(server) => server.serve(index, area),
            Self::Interface(server) => server.serve(area),
        }
    }
}

impl Description {
    /// Bytes of memory for queues, which is mapped in the compartment and for its device: what a driver in ring
    /// 0 takes without the data of requests. `None` where the driver and the room do not belong together.
    pub fn own_bytes_needed(&self) -> Option<usize> {
        let data = |requests: DriveSizes, all: usize| all.checked_sub(requests.data_bytes());
        match (self.driver, self.room) {
            (Driver::Nvme, Room::Requests(sizes)) => data(sizes, nvme_sizes(sizes).bytes()),
            (Driver::VirtioBlock(_), Room::Requests(sizes)) => data(sizes, virtio_sizes(sizes).bytes()),
            (Driver::Ahci { ports }, Room::Requests(sizes)) => {
                let one = data(sizes, ahci_sizes(ports, sizes).port_bytes())?;
                one.checked_mul(ports.count_ones() as usize)
            }
            (Driver::E1000e, Room::Frames { rings, .. }) => {
                Some(e1000e::Sizes { transmit: rings, receive: rings }.bytes())
            }
            (Driver::Igb, Room::Frames { rings, .. }) => {
                Some(igb::Sizes { transmit: rings, receive: rings }.bytes())
            }
            (Driver::VirtioNet(_), Room::Frames { rings, .. }) => {
                Some(virtio_net::Sizes { transmit: rings, receive: rings }.bytes())
            }
            _ => None,
        }
    }

    /// Makes the driver, which touches no register yet but the one that says what ports an adapter has.
    ///
    /// # Errors
    /// Why it cannot be made, in words.
    pub fn build<R: RegisterWindow + 'static, D: DmaMemory + 'static>(
        &self,
        registers: R,
        own: D,
    ) -> Result<Server, String> {
        match self.room {
            Room::Requests(sizes) => self.drives(registers, own, sizes).map(Server::Drives),
            Room::Frames { area, rings } => {
                self.interface(registers, own, area, rings).map(Server::Interface)
            }
        }
    }

    fn drives<R: RegisterWindow + 'static, D: DmaMemory + 'static>(
        &self,
        registers: R,
        own: D,
        sizes: DriveSizes,
    ) -> Result<DriveServer, String> {
        let count = if let Driver::Ahci { ports } = self.driver { ports.count_ones() } else { 1 };
        let dma = Divided::new(own, self.data, sizes.data_bytes(), count as usize);
        let access = DeviceAccess { registers, dma, interrupt: MessageInterrupt { messages: self.messages } };
        match self.driver {
            Driver::Nvme => one(
                nvme::Controller::new(access, nvme_sizes(sizes)).map_err(|error| error.to_string()),
                sizes,
            ),
            Driver::VirtioBlock(layout) => {
                let device = virtio_blk::Device::new(access, layout, virtio_sizes(sizes));
                one(device.map_err(|error| error.to_string()), sizes)
            }
            Driver::Ahci { ports } => {
                let hba = Hba::new(access, ahci_sizes(ports, sizes)).map_err(|error| error.to_string())?;
                let count = hba.drives();
                Ok(DriveServer::new(Box::new(Adapter(hba)), count, sizes))
            }
            Driver::E1000e | Driver::Igb | Driver::VirtioNet(_) => Err("it is no drive".into()),
        }
    }

    fn interface<R: RegisterWindow + 'static, D: DmaMemory + 'static>(
        &self,
        registers: R,
        dma: D,
        area: NicSizes,
        rings: u16,
    ) -> Result<NicServer, String> {
        let access = DeviceAccess { registers, dma, interrupt: MessageInterrupt { messages: self.messages } };
        let nic: Box<dyn Nic> = match self.driver {
            Driver::E1000e => {
                let sizes = e1000e::Sizes { transmit: rings, receive: rings };
                Box::new(e1000e::Controller::new(access, sizes).map_err(|error| error.to_string())?)
            }
            Driver::Igb => {
                let sizes = igb::Sizes { transmit: rings, receive: rings };
                Box::new(igb::Controller::new(access, sizes).map_err(|error| error.to_string())?)
            }
            Driver::VirtioNet(layout) => virtio_interface(access, layout, rings)?,
            driver => return Err(format!("{driver:?} is no network interface")),
        };
        Ok(NicServer::new(nic, area))
    }
}

fn virtio_interface<R: RegisterWindow + 'static, D: DmaMemory + 'static>(
    access: DeviceAccess<R, D>,
    layout: Layout,
    rings: u16,
) -> Result<Box<dyn Nic>, String> {
    let sizes = virtio_net::Sizes { transmit: rings, receive: rings };
    let interface = virtio_net::Interface::new(access, layout, sizes).map_err(|error| error.to_string())?;
    Ok(Box::new(interface))
}

fn one<D: Drive + 'static>(drive: Result<D, String>, sizes: DriveSizes) -> Result<DriveServer, String> {
    Ok(DriveServer::new(Box::new(One(drive?)), 1, sizes))
}

const fn nvme_sizes(sizes: DriveSizes) -> nvme::Sizes {
    let DriveSizes { requests, request_bytes } = sizes;
    // Its queue has no more.
    let commands = if requests < 255 { requests } else { 255 };
    nvme::Sizes { requests, request_bytes, commands }
}

const fn virtio_sizes(sizes: DriveSizes) -> virtio_blk::Sizes {
    let DriveSizes { requests, request_bytes } = sizes;
    let commands = if requests < 64 { requests } else { 64 };
    virtio_blk::Sizes { requests, request_bytes, commands }
}

const fn ahci_sizes(ports: u32, sizes: DriveSizes) -> ahci::Sizes {
    let DriveSizes { requests, request_bytes } = sizes;
    ahci::Sizes { ports, requests, request_bytes }
}

/// The drives of an adapter, which is reset once for all of them.
struct Adapter<R: RegisterWindow, D: DmaMemory>(Hba<R, D>);

impl<R: RegisterWindow, D: DmaMemory> Drives for Adapter<R, D> {
    fn drive(&mut self, index: usize) -> Option<&mut dyn Drive> {
        self.0.drive(index).map(|port| port as &mut dyn Drive)
    }

    fn start(&mut self, index: usize, now_ns: u64) {
        if self.0.is_up() {
            if let Some(port) = self.0.drive(index) {
                port.start(now_ns);
            }
            return;
        }
        // One that is being reset starts all of them, this one too.
        let waits = self.0.drive(index).is_some_and(|port| port.status().state == State::Starting);
        if !waits || self.0.failure().is_some() {
            self.0.start(now_ns);
        }
    }

    fn poll(&mut self, index: usize, now_ns: u64) -> Option<u64> {
        if self.0.is_up() {
            return self.0.drive(index)?.poll(now_ns).deadline_ns;
        }
        self.0.poll(now_ns)
    }

    fn is_ours(&self) -> bool {
        self.0.is_up()
    }
}
