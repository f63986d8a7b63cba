use super::*;
use crate::functions;
use spec::local_apic::{COMMAND, END_OF_INTERRUPT, ID, SPURIOUS_VECTOR};

/// A machine with an entropy device and nothing else.
fn machine() -> Machine {
    let layout = GuestLayout::new(4 << 20, 1).expect("a layout");
    let memory = Memory::new(&layout).expect("memory");
    let functions = vec![functions::random().expect("random numbers")];
    Machine::new(&layout, memory, functions, Duration::from_secs(1_700_000_000))
}

/// The gpa of a register of the xAPIC's.
fn xapic(register: u8) -> Gpa {
    layout::LOCAL_APIC + (u64::from(register) << 4)
}

#[test]
fn the_8254_interrupts_by_the_8259a() {
    let mut machine = machine();
    // Vectors from 0x20 on, IRQ 0 alone; the shortest period.
    let program =
        [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xfe), (0x43, 0x34), (0x40, 0), (0x40, 1)];
    for (port, value) in program {
        machine.port_write(port, Width::Byte, value);
    }
    let time = machine.tick().expect("the timer runs");
    assert!(!machine.has_interrupt() && time <= Duration::from_millis(1));
    std::thread::sleep(time);
    machine.tick();
    assert!(machine.has_interrupt());
    assert_eq!(machine.take_interrupt(), Some(0x20));
    assert!(!machine.has_interrupt());
}

#[test]
fn an_interrupt_to_itself_waits_for_its_priority() {
    let mut machine = machine();
    machine.memory_write(xapic(SPURIOUS_VECTOR), Width::Dword, 0x1ff);
    machine.memory_write(xapic(COMMAND), Width::Dword, 1 << 18 | 0x45);
    assert!(machine.has_interrupt());
    machine.set_priority(4);
    assert!(!machine.has_interrupt(), "class 4 is held back");
    machine.set_priority(3);
    assert_eq!((machine.priority(), machine.take_interrupt()), (3, Some(0x45)));
    machine.memory_write(xapic(COMMAND), Width::Dword, 1 << 18 | 0x42);
    assert!(!machine.has_interrupt(), "one of its class is in service");
    machine.memory_write(xapic(END_OF_INTERRUPT), Width::Dword, 0);
    assert_eq!(machine.take_interrupt(), Some(0x42));
}

#[test]
fn in_x2apic_mode_the_registers_are_msrs() {
    let mut machine = machine();
    let base = machine.msr_read(msr::APIC_BASE).expect("a base");
    assert_eq!(machine.msr_read(msr::X2APIC_FIRST + u32::from(ID)), None, "not in this mode");
    assert!(machine.msr_write(msr::APIC_BASE, base | 1 << 10));
    assert_eq!(machine.msr_read(msr::X2APIC_FIRST + u32::from(ID)), Some(0));
    assert!(!machine.msr_write(msr::X2APIC_FIRST + u32::from(ID), 1), "read-only");
    assert!(!machine.msr_write(msr::APIC_BASE, base), "there is no way back but by disabling");
    assert_eq!(machine.msr_read(0x10), None, "that is the processor's");
    machine.memory_read(xapic(ID), Width::Dword);
    assert_eq!(machine.unclaimed(), 1);
}

#[test]
fn the_function_answers_on_the_bus_and_behind_its_bar() {
    let mut machine = machine();
    let config = layout::ECAM + (u64::from(FIRST_DEVICE) << 15);
    assert_eq!(machine.memory_read(config, Width::Dword), 0x1044_1af4, "virtio, an entropy device");
    machine.port_write(0xcf8, Width::Dword, 0x8000_0000 | u32::from(FIRST_DEVICE) << 11);
    assert_eq!(machine.port_read(0xcfc, Width::Dword), 0x1044_1af4);
    assert_eq!(machine.memory_read(config + (1 << 15), Width::Dword), 0xffff_ffff, "nothing is behind it");
    // A BAR, and decoding.
    machine.memory_write(config + 0x10, Width::Dword, layout::PCI_WINDOW_32.0);
    machine.memory_write(config + 0x14, Width::Dword, 0);
    machine.memory_write(config + 4, Width::Word, 6);
    let queues = machine.memory_read(layout::PCI_WINDOW_32 + 0x12, Width::Word);
    assert_eq!((queues, machine.unclaimed()), (1, 0));
    machine.memory_write(config + 4, Width::Word, 0);
    machine.memory_read(layout::PCI_WINDOW_32 + 0x12, Width::Word);
    assert_eq!(machine.unclaimed(), 1);
}

#[test]
fn ends_are_what_the_guest_asks_for() {
    let mut machine = machine();
    machine.port_write(layout::PM1A_CONTROL_PORT, Width::Word, 1 << 13);
    assert_eq!(machine.end(), None, "another sleep state");
    let off = u32::from(layout::SLEEP_TYPE_OFF) << 10 | 1 << 13;
    machine.port_write(layout::PM1A_CONTROL_PORT, Width::Word, off);
    assert_eq!(machine.end(), Some(End::PowerOff));
    let mut machine = self::machine();
    machine.port_write(layout::RESET_PORT, Width::Byte, layout::RESET_VALUE.into());
    assert_eq!(machine.end(), Some(End::Reset));
}

#[test]
fn what_is_typed_is_read_at_the_serial_port() {
    let mut machine = machine();
    assert!(machine.receive(b'x'));
    assert_eq!(machine.port_read(layout::COM1_PORT + 5, Width::Byte) & 1, 1, "data is ready");
    assert_eq!(machine.port_read(layout::COM1_PORT, Width::Byte), u32::from(b'x'));
}
