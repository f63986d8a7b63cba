//! Programming a controller that was reset: errata, rings, interrupts, and the link.

use crate::controller::{Controller, Stage, WATCH_NS};
use crate::error::Error;
use access::{DmaMemory, RegisterWindow};
use network::MacAddress;
use spec::e1000e::{self, ctrl, ctrl_ext, rctl, tctl, txdctl};
use spec::e1000e::{cause, interrupt_allocation};

/// The message of frames.
const FRAMES: u8 = 0;
/// The least time between two messages for frames: 20 microseconds, in units of 256 ns.
const THROTTLE: u32 = 78;

impl<R: RegisterWindow, D: DmaMemory> Controller<R, D> {
    /// Makes a controller work that was reset.
    pub(crate) fn program(&mut self, now_ns: u64) -> Result<(), Error> {
        self.status_register()?;
        self.mac = Some(self.address()?);
        self.follow_errata();
        self.program_rings()?;
        self.program_interrupts();
        // Its own address, everybody else's behind the switch, and all groups: tables of addresses
        // (MTA, VFTA) do not matter then.
        let stations = rctl::ALL_STATIONS | rctl::ALL_GROUPS | rctl::BROADCAST;
        self.write(e1000e::RECEIVE_CONTROL, rctl::ENABLE | stations | rctl::STRIP_CHECK);
        self.write(e1000e::TRANSMIT_CONTROL, tctl::ENABLE | tctl::PAD | tctl::COLLISIONS | tctl::RETRY_LATE);
        // Only an enabled receiver takes its tail.
        let (_, _, tail) = self.receiver.place();
        self.dma.write_barrier();
        self.write(e1000e::RECEIVE_TAIL, tail);
        self.stage = Stage::Ready;
        (self.sent_ns, self.next_look_ns) = (now_ns, now_ns.saturating_add(WATCH_NS));
        self.look_link()
    }

    /// The address that the configuration gives.
    fn address(&self) -> Result<MacAddress, Error> {
        let ([a, b, c, d], high) =
            (self.read(e1000e::ADDRESS_LOW).to_le_bytes(), self.read(e1000e::ADDRESS_HIGH));
        let [e, f, _, _] = high.to_le_bytes();
        let mac = MacAddress([a, b, c, d, e, f]);
        let is_right = high & e1000e::ADDRESS_VALID != 0 && mac.is_station();
        if is_right { Ok(mac) } else { Err(Error::NoAddress(mac)) }
    }

    fn change(&self, register: u64, clear: u32, set: u32) {
        self.write(register, self.read(register) & !clear | set);
    }

    /// Sets what the specification update asks for, and takes the controller.
    fn follow_errata(&self) {
        for register in e1000e::TRANSMIT_DESCRIPTORS {
            let set = txdctl::ERRATA_SET | txdctl::GRANULARITY | txdctl::WRITE_BACK;
            self.change(register, txdctl::WRITE_BACK_MASK, set);
        }
        self.change(e1000e::TRANSMIT_ARBITRATION, e1000e::ARBITRATION_CLEAR, e1000e::ARBITRATION_SET);
        // The speed is what both ends agree on; pause frames of the other end stop nobody here.
        let clear = ctrl::FORCE_SPEED
            | ctrl::FORCE_DUPLEX
            | ctrl::FLOW_CONTROL
            | ctrl::ERRATA_CLEAR
            | ctrl::VLAN_MODE
            | ctrl::MASTER_DISABLE;
        self.change(e1000e::CONTROL, clear, ctrl::LINK_UP | ctrl::FULL_DUPLEX);
        let clear = ctrl_ext::ERRATA_CLEAR | ctrl_ext::AUTO_MASK | ctrl_ext::READ_MASK;
        let set = ctrl_ext::ERRATA_SET | ctrl_ext::DRIVER_LOADED | ctrl_ext::PENDING_CLEAR;
        self.change(e1000e::CONTROL_EXTENDED, clear, set);
        self.change(e1000e::PCIE_CONTROL, 0, e1000e::PCIE_SET | e1000e::PCIE_L1_WITHOUT_L0S);
        self.change(e1000e::PCIE_CONTROL_2, 0, e1000e::PCIE_2_SET);
        self.change(e1000e::RECEIVE_FILTER, 0, e1000e::FILTER_NO_ACK);
    }

    fn program_rings(&mut self) -> Result<(), Error> {
        self.receiver.clear()?;
        self.transmitter.clear()?;
        self.dma.write_barrier();
        let (receive, bytes, _) = self.receiver.place();
        self.write(e1000e::RECEIVE_BASE_LOW, receive as u32);
        self.write(e1000e::RECEIVE_BASE_HIGH, (receive >> 32) as u32);
        self.write(e1000e::RECEIVE_BYTES, bytes);
        self.write(e1000e::RECEIVE_HEAD, 0);
        self.write(e1000e::RECEIVE_TAIL, 0);
        self.write(e1000e::RECEIVE_CHECKSUM, e1000e::CHECKSUM_CHECK);
        let (transmit, bytes) = self.transmitter.place();
        self.write(e1000e::TRANSMIT_BASE_LOW, transmit as u32);
        self.write(e1000e::TRANSMIT_BASE_HIGH, (transmit >> 32) as u32);
        self.write(e1000e::TRANSMIT_BYTES, bytes);
        self.write(e1000e::TRANSMIT_HEAD, 0);
        self.write(e1000e::TRANSMIT_TAIL, 0);
        self.write(e1000e::TRANSMIT_GAP, e1000e::GAP);
        Ok(())
    }

    /// Frames have a message, which clears their causes; what else there is has another if there
    /// are two.
    fn program_interrupts(&self) {
        self.write(e1000e::INTERRUPT_ALLOCATION, interrupt_allocation(FRAMES, FRAMES, self.other_message()));
        self.write(e1000e::INTERRUPT_THROTTLE, THROTTLE);
        self.write(e1000e::INTERRUPT_AUTO_CLEAR, cause::RECEIVE | cause::TRANSMIT);
        self.arm();
    }

    /// Lets causes send messages: a message masks the causes that it clears, and what was set up
    /// may be lost.
    pub(crate) fn arm(&self) {
        let frames = if self.is_quiet { 0 } else { self.frame_causes() };
        self.write(e1000e::INTERRUPT_MASK_SET, frames | cause::OTHER | cause::LINK);
    }

    /// The causes of frames. With one message those without MSI-X are among them, in case it is MSI's.
    pub(crate) const fn frame_causes(&self) -> u32 {
        let without = if self.messages > 1 { 0 } else { cause::RECEIVE_TIMER | cause::WRITTEN_BACK };
        cause::RECEIVE | cause::TRANSMIT | without
    }

    /// The message of what is no frame.
    pub(crate) const fn other_message(&self) -> u8 {
        if self.messages > 1 { 1 } else { FRAMES }
    }
}
