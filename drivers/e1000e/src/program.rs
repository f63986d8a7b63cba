//! Programming an 82574 that was reset: errata, rings, interrupts, and the link.

use access::RegisterWindow;
use gigabit::{Setup, change, write};
use spec::e1000e::{self, cause, ctrl, ctrl_ext, interrupt_allocation, txdctl};

/// The least time between two messages for frames: 20 microseconds, in units of 256 ns.
const THROTTLE: u32 = 78;

/// Sets what the specification update asks for, and takes the controller.
pub fn follow_errata(registers: &impl RegisterWindow) {
    for register in e1000e::TRANSMIT_DESCRIPTORS {
        let set = txdctl::ERRATA_SET | txdctl::GRANULARITY | txdctl::WRITE_BACK;
        change(registers, register, txdctl::WRITE_BACK_MASK, set);
    }
    change(registers, e1000e::TRANSMIT_ARBITRATION, e1000e::ARBITRATION_CLEAR, e1000e::ARBITRATION_SET);
    // The speed is what both ends agree on; pause frames of the other end stop nobody here.
    let clear = ctrl::FORCE_SPEED
        | ctrl::FORCE_DUPLEX
        | ctrl::FLOW_CONTROL
        | ctrl::ERRATA_CLEAR
        | ctrl::VLAN_MODE
        | ctrl::MASTER_DISABLE;
    change(registers, e1000e::CONTROL, clear, ctrl::LINK_UP | ctrl::FULL_DUPLEX);
    let clear = ctrl_ext::ERRATA_CLEAR | ctrl_ext::AUTO_MASK | ctrl_ext::READ_MASK;
    let set = ctrl_ext::ERRATA_SET | ctrl_ext::DRIVER_LOADED | ctrl_ext::PENDING_CLEAR;
    change(registers, e1000e::CONTROL_EXTENDED, clear, set);
    change(registers, e1000e::PCIE_CONTROL, 0, e1000e::PCIE_SET | e1000e::PCIE_L1_WITHOUT_L0S);
    change(registers, e1000e::PCIE_CONTROL_2, 0, e1000e::PCIE_2_SET);
    change(registers, e1000e::RECEIVE_FILTER, 0, e1000e::FILTER_NO_ACK);
}

/// Tells it where its rings are.
pub fn rings(registers: &impl RegisterWindow, setup: &Setup) {
    write(registers, e1000e::RECEIVE_BASE_LOW, setup.receive.iova as u32);
    write(registers, e1000e::RECEIVE_BASE_HIGH, (setup.receive.iova >> 32) as u32);
    write(registers, e1000e::RECEIVE_BYTES, setup.receive.bytes);
    write(registers, e1000e::RECEIVE_HEAD, 0);
    write(registers, e1000e::RECEIVE_TAIL, 0);
    write(registers, e1000e::RECEIVE_CHECKSUM, e1000e::CHECKSUM_CHECK);
    write(registers, e1000e::TRANSMIT_BASE_LOW, setup.transmit.iova as u32);
    write(registers, e1000e::TRANSMIT_BASE_HIGH, (setup.transmit.iova >> 32) as u32);
    write(registers, e1000e::TRANSMIT_BYTES, setup.transmit.bytes);
    write(registers, e1000e::TRANSMIT_HEAD, 0);
    write(registers, e1000e::TRANSMIT_TAIL, 0);
    write(registers, e1000e::TRANSMIT_GAP, e1000e::GAP);
}

/// Frames have a message, which clears their causes; what else there is has another if there
/// are two.
pub fn interrupts(registers: &impl RegisterWindow, setup: &Setup) {
    let allocation = interrupt_allocation(Setup::FRAMES, Setup::FRAMES, setup.other_message());
    write(registers, e1000e::INTERRUPT_ALLOCATION, allocation);
    write(registers, e1000e::INTERRUPT_THROTTLE, THROTTLE);
    write(registers, e1000e::INTERRUPT_AUTO_CLEAR, cause::RECEIVE | cause::TRANSMIT);
}

/// The causes of frames. With one message those without MSI-X are among them, in case it is MSI's.
pub const fn frame_causes(setup: &Setup) -> u32 {
    let without = if setup.messages > 1 { 0 } else { cause::RECEIVE_TIMER | cause::WRITTEN_BACK };
    cause::RECEIVE | cause::TRANSMIT | without
}
