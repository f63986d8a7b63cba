//! Port accesses.

use super::{advance, raise};
use crate::host::Host;
use crate::interpreter::{Interpreted, Interpreter};
use crate::partition::Partition;
use crate::processor::VirtualProcessor;
use access::vcpu::{PortAccess, ProcessorState, RAX, Vcpu};
use emulator::decode::Known;
use emulator::{Moved, Ports};
use spec::Width;

/// Handles IN, OUT, INS and OUTS.
#[inline(never)]
pub fn handle<V: Vcpu, H: Host>(vp: &mut VirtualProcessor<V>, partition: &Partition<H>, access: PortAccess) {
    if access.string {
        return string(vp, partition, access);
    }
    if !advance(vp, partition, Known::Port) {
        return;
    }
    let mask = access.width.mask();
    if !access.input {
        let value = vp.cpu.register(RAX) & mask;
        vp.needs_service |= partition.port_write(vp.index, access.port, access.width, value as u32);
        return;
    }
    let (value, needs_service) = partition.port_read(vp.index, access.port, access.width);
    vp.needs_service |= needs_service;
    let rax = vp.cpu.register(RAX);
    // IN of 32 bits clears the upper half, as every 32-bit operation does.
    let kept = if access.width == Width::Dword { 0 } else { rax & !mask };
    vp.cpu.set_register(RAX, kept | u64::from(value) & mask);
}

/// The guest's ports, for a string instruction.
struct GuestPorts<'a, H: Host> {
    partition: &'a Partition<H>,
    index: usize,
    needs_service: bool,
}

impl<H: Host> Ports for GuestPorts<'_, H> {
    fn input(&mut self, port: u16, width: Width) -> Option<u32> {
        let (value, needs_service) = self.partition.port_read(self.index, port, width);
        self.needs_service |= needs_service;
        Some(value)
    }

    fn output(&mut self, port: u16, width: Width, value: u32) {
        self.needs_service |= self.partition.port_write(self.index, port, width, value);
    }

    fn input_string(&mut self, port: u16, width: Width, bytes: &mut [u8]) -> Moved {
        let moved = self.partition.port_read_string(self.index, port, width, bytes);
        self.needs_service |= moved == Some(true);
        if moved.is_some() { Moved::All } else { Moved::Nothing }
    }

    fn output_string(&mut self, port: u16, width: Width, bytes: &[u8]) -> Moved {
        let moved = self.partition.port_write_string(self.index, port, width, bytes);
        self.needs_service |= moved == Some(true);
        if moved.is_some() { Moved::All } else { Moved::Nothing }
    }
}

#[cold]
fn string<V: Vcpu, H: Host>(vp: &mut VirtualProcessor<V>, partition: &Partition<H>, access: PortAccess) {
    let (outcome, needs_service) = move_string(vp.index, &mut vp.cpu, &mut vp.interpreter, partition, access);
    vp.needs_service |= needs_service;
    match outcome {
        Interpreted::GoesOn => {}
        Interpreted::Gone => vp.needs_service = true,
        Interpreted::Raises(event) => raise(vp, event),
        Interpreted::Unsupported => raise(vp, access::vcpu::Event::PROTECTION),
    }
}

/// Carries out what one exit may of a string instruction of vCPU `index`. Whether that has to look at
/// its interrupts too.
pub(crate) fn move_string<V: ProcessorState, H: Host>(
    index: usize,
    cpu: &mut V,
    interpreter: &mut Interpreter,
    partition: &Partition<H>,
    access: PortAccess,
) -> (Interpreted, bool) {
    let mut ports = GuestPorts { partition, index, needs_service: false };
    let outcome = interpreter.string_port(cpu, partition, &mut ports, access);
    (outcome, ports.needs_service)
}
