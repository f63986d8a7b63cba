//! Programming an 82576 that was reset: the link, the bus, queues, and interrupts.

use access::RegisterWindow;
use gigabit::{Ring, Setup, change, read, write};
use spec::igb::{
    self, CHECKSUM_CHECK, CONTROL, CONTROL_EXTENDED, LINK_CHANGED, ONE_BUFFER, PCIE_CONTROL, ctrl, ctrl_ext,
    gcr, message, mode, other_allocation, queue, queue_allocation, throttle,
};

/// The least time between two messages for frames, in microseconds.
const THROTTLE_US: u16 = 20;

/// The speed is what both ends agree on; pause frames of the other end stop nobody here. Tags stay in
/// frames.
pub fn link(registers: &impl RegisterWindow) {
    let clear = ctrl::FORCE_SPEED
        | ctrl::FORCE_DUPLEX
        | ctrl::FLOW_CONTROL
        | ctrl::VLAN_MODE
        | ctrl::MASTER_DISABLE
        | ctrl::RESET;
    change(registers, CONTROL, clear, ctrl::LINK_UP | ctrl::FULL_DUPLEX);
    change(registers, CONTROL_EXTENDED, ctrl_ext::EXTENDED_VLAN, ctrl_ext::DRIVER_LOADED);
}

/// A request whose completion did not come is not sent again, and is not given up too early where the
/// function has no capability that says when.
pub fn bus(registers: &impl RegisterWindow) {
    let is_too_early = read(registers, PCIE_CONTROL) & (gcr::COMPLETION_TIMEOUT | gcr::CAPABILITY_2) == 0;
    let set = if is_too_early { gcr::COMPLETION_10_MS } else { 0 };
    change(registers, PCIE_CONTROL, gcr::COMPLETION_RESEND, set);
}

/// Queue 0 has all that comes, and is told to work (sections 4.5.9 and 4.5.10).
pub fn queues(registers: &impl RegisterWindow, setup: &Setup) {
    write(registers, igb::MULTIPLE_QUEUES, 0);
    write(registers, igb::VIRTUALIZATION, 0);
    write(registers, igb::RECEIVE_CHECKSUM, CHECKSUM_CHECK);
    place(registers, igb::RECEIVE_BASE_LOW, setup.receive);
    write(registers, igb::RECEIVE_BUFFERS, ONE_BUFFER);
    write(registers, igb::RECEIVE_HEAD, 0);
    write(registers, igb::RECEIVE_TAIL, 0);
    place(registers, igb::TRANSMIT_BASE_LOW, setup.transmit);
    write(registers, igb::TRANSMIT_HEAD_COPY, 0);
    write(registers, igb::TRANSMIT_HEAD, 0);
    write(registers, igb::TRANSMIT_TAIL, 0);
    for register in [igb::RECEIVE_QUEUE, igb::TRANSMIT_QUEUE] {
        write(registers, register, queue::THRESHOLDS | queue::ENABLE);
    }
}

/// Writes the base of a ring, low half and high half, and its bytes behind them.
fn place(registers: &impl RegisterWindow, base: u64, ring: Ring) {
    write(registers, base, ring.iova as u32);
    write(registers, base + 4, (ring.iova >> 32) as u32);
    write(registers, base + 8, ring.bytes);
}

/// Frames have a message; what else there is has another if there are two. Each masks itself and is
/// not pending once it is sent (section 7.3).
pub fn interrupts(registers: &impl RegisterWindow, setup: &Setup) {
    let other = setup.other_message();
    let messages = message(Setup::FRAMES) | message(other);
    let mode = mode::READ_CLEARS | mode::MANY_MESSAGES | mode::AUTO_MASK | mode::PENDING_CLEAR;
    write(registers, igb::INTERRUPT_MODE, mode);
    write(registers, igb::QUEUE_ALLOCATION, queue_allocation(Setup::FRAMES, Setup::FRAMES));
    write(registers, igb::OTHER_ALLOCATION, other_allocation(other));
    write(registers, igb::MESSAGE_THROTTLE, throttle(THROTTLE_US));
    write(registers, igb::MESSAGE_AUTO_CLEAR, messages);
    write(registers, igb::MESSAGE_AUTO_MASK, messages);
    write(registers, igb::INTERRUPT_MASK_SET, LINK_CHANGED);
}
