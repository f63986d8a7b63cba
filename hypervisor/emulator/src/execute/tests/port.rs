//! Strings at a port of a device that takes them whole.

use super::*;

/// A device that takes strings whole, and says how many calls it had.
#[derive(Default)]
struct WholePorts {
    calls: usize,
    bytes: Vec<u8>,
}

impl Ports for WholePorts {
    fn input(&mut self, _: u16, width: Width) -> Option<u32> {
        let mut bytes = [0; 4];
        self.input_string(0, width, &mut bytes[..width.bytes() as usize]);
        Some(u32::from_le_bytes(bytes))
    }
    fn output(&mut self, _: u16, width: Width, value: u32) {
        self.output_string(0, width, &value.to_le_bytes()[..width.bytes() as usize]);
    }
    fn input_string(&mut self, _: u16, _: Width, bytes: &mut [u8]) -> Moved {
        self.calls += 1;
        for byte in bytes {
            *byte = self.bytes.len() as u8 ^ 0x5a;
            self.bytes.push(*byte);
        }
        Moved::All
    }
    fn output_string(&mut self, _: u16, _: Width, bytes: &[u8]) -> Moved {
        self.calls += 1;
        self.bytes.extend_from_slice(bytes);
        Moved::All
    }
}

/// A machine at a repeated string instruction for port 0x1f0, of `count` words at `at`.
fn at_port_string(opcode: u8, at: u64, count: u64) -> Machine {
    let mut machine = Machine::new(&[0xf3, 0x66, opcode]);
    machine.vcpu.registers[RDX] = 0x1f0;
    machine.vcpu.registers[RDI] = at;
    machine.vcpu.registers[RSI] = at;
    machine.vcpu.registers[RCX] = count;
    machine
}

fn run_ports(machine: &mut Machine, ports: &mut WholePorts, access: PortAccess) -> Outcome {
    string_port(&mut machine.vcpu, &machine.memory, ports, &mut Recent::default(), access)
}

#[test]
fn a_string_of_a_port_is_one_call_and_one_exit() {
    let mut machine = at_port_string(0x6d, DATA + 0x100, 256);
    let mut ports = WholePorts::default();
    assert_eq!(run_ports(&mut machine, &mut ports, INSW), Outcome::Done);
    assert_eq!((ports.calls, ports.bytes.len()), (1, 512));
    let registers = machine.vcpu.registers;
    assert_eq!((registers[RCX], registers[RDI], machine.vcpu.rip), (0, DATA + 0x300, CODE + 3));
    let mut moved = [0; 512];
    machine.memory.read(Gpa(DATA + 0x100), &mut moved).unwrap();
    assert_eq!(moved[..], ports.bytes);

    let mut machine = at_port_string(0x6f, DATA, 256);
    machine.memory.write(Gpa(DATA), &moved).unwrap();
    let mut ports = WholePorts::default();
    assert_eq!(run_ports(&mut machine, &mut ports, PortAccess { input: false, ..INSW }), Outcome::Done);
    assert_eq!((ports.calls, &ports.bytes[..]), (1, &moved[..]));
    assert_eq!((machine.vcpu.registers[RCX], machine.vcpu.registers[RSI]), (0, DATA + 512));
}

#[test]
fn a_string_of_a_port_down_in_memory_or_traced_goes_by_elements() {
    let mut machine = at_port_string(0x6d, DATA + 6, 4);
    machine.vcpu.rflags |= 1 << 10;
    let mut ports = WholePorts::default();
    assert_eq!(run_ports(&mut machine, &mut ports, INSW), Outcome::Done);
    assert_eq!((ports.calls, machine.vcpu.registers[RDI]), (4, DATA - 2));
    let mut machine = at_port_string(0x6d, DATA, 4);
    machine.vcpu.rflags |= 1 << 8;
    let mut ports = WholePorts::default();
    assert!(matches!(run_ports(&mut machine, &mut ports, INSW), Outcome::Inject(_)));
    assert_eq!((ports.calls, machine.vcpu.registers[RCX]), (1, 3));
}

#[test]
fn a_string_of_a_port_stops_before_the_page_that_faults() {
    // The page behind is read-only.
    let mut machine = at_port_string(0x6d, DATA + 0xff0, 20);
    machine.vcpu.control.cr0 |= CR0_WP;
    let entry = machine.memory.read64(leaf(DATA + 0x1000)).unwrap();
    machine.memory.write64(leaf(DATA + 0x1000), entry & !2).unwrap();
    let mut ports = WholePorts::default();
    let outcome = run_ports(&mut machine, &mut ports, INSW);
    assert!(matches!(outcome, Outcome::Inject(Event::Exception { vector: 14, .. })), "{outcome:?}");
    assert_eq!(ports.bytes.len(), 16, "what fits was taken, and no more");
    assert_eq!((machine.vcpu.registers[RCX], machine.vcpu.registers[RDI]), (12, DATA + 0x1000));
    assert_eq!(machine.vcpu.rip, CODE);
}
