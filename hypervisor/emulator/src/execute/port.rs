//! INS and OUTS.
//!
//! The processor has checked the privilege for the port (CPL and IOPL, the permission
//! bitmap of the task) before it exited (Intel SDM vol. 3 section 26.1.1, AMD APM vol. 2
//! section 15.10.2); what is left are the checks of the string in memory.

use super::bus::Bus;
use super::outcome::Outcome;
use super::processor::Processor;
use super::recent::{Recent, fetch};
use super::string::Strings;
use crate::decode::{Operation, StringOperation};
use crate::walk::Walker;
use access::GuestMemory;
use access::vcpu::{PortAccess, ProcessorState, RDX};
use spec::{Gpa, Width};

/// The guest's ports.
pub trait Ports {
    /// Reads from a port.
    fn input(&mut self, port: u16, width: Width) -> u32;
    /// Writes to a port.
    fn output(&mut self, port: u16, width: Width, value: u32);
}

/// Carries out the INS or OUTS that exited with `access`. Its string has to be in
/// memory.
pub fn string_port<V: ProcessorState, M: GuestMemory, P: Ports>(
    vcpu: &mut V,
    memory: &M,
    ports: &mut P,
    recent: &mut Recent,
    access: PortAccess,
) -> Outcome {
    let processor = Processor::of(vcpu);
    let mut walker = Walker { memory, paths: &mut recent.paths };
    let known = match fetch(vcpu, &mut walker, &processor, &mut recent.decoded) {
        Ok(known) => known,
        Err(stop) => return stop.outcome(vcpu),
    };
    let instruction = known.instruction;
    let expected = if access.input { StringOperation::Input } else { StringOperation::Output };
    let Operation::String { operation, repeat } = instruction.operation else {
        return Outcome::Retry;
    };
    let width = instruction.width;
    // Rewritten since, or another port: what is there now exits by itself.
    if operation != expected || width != access.width || vcpu.register(RDX) as u16 != access.port {
        return Outcome::Retry;
    }
    let strings = Strings { operation, repeat, instruction };
    let result = strings.run(vcpu, &processor, |vcpu, _| {
        let (source, destination) = strings.places(vcpu, &mut walker, &processor)?;
        let Some(place) = source.or(destination).filter(|place| place.is_memory(memory)) else {
            return Err(Outcome::Unsupported.into());
        };
        // No page faulted: all of the string is memory.
        if access.input {
            let value = ports.input(access.port, width);
            place.write(memory, &mut NoBus, NOWHERE, value.into());
        } else {
            let value = place.read(memory, &mut NoBus, NOWHERE);
            ports.output(access.port, width, value as u32);
        }
        Ok(processor.flags)
    });
    result.unwrap_or_else(|stop| stop.outcome(vcpu))
}

/// A page that no guest has.
const NOWHERE: Gpa = Gpa(u64::MAX);

/// Floats. Reached only if memory went away between two looks at it.
struct NoBus;

impl Bus for NoBus {
    fn read(&mut self, _: Gpa, width: Width) -> u64 {
        width.mask()
    }
    fn write(&mut self, _: Gpa, _: Width, _: u64) {}
}
