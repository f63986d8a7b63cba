//! INS and OUTS.
//!
//! The processor has checked the privilege for the port (CPL and IOPL, the permission
//! bitmap of the task) before it exited (Intel SDM vol. 3 section 26.1.1, AMD APM vol. 2
//! section 15.10.2); what is left are the checks of the string in memory.

use super::bus::Bus;
use super::outcome::{Outcome, Stop};
use super::place::WAITING;
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
    /// Reads from a port. `None` where that is not known yet, as in [`Bus::read`].
    fn input(&mut self, port: u16, width: Width) -> Option<u32>;
    /// Writes to a port.
    fn output(&mut self, port: u16, width: Width, value: u32);
    /// Reads from a port over and over, `width` bytes each time, until `bytes` are full.
    fn input_string(&mut self, port: u16, width: Width, bytes: &mut [u8]) -> Moved {
        let _ = (port, width, bytes);
        Moved::Nothing
    }
    /// Writes `bytes` to a port over and over, `width` of them each time.
    fn output_string(&mut self, port: u16, width: Width, bytes: &[u8]) -> Moved {
        let _ = (port, width, bytes);
        Moved::Nothing
    }
}

/// What became of a string at a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moved {
    /// It was read or written.
    All,
    /// Nothing was: whoever has the port wants to be asked each time.
    Nothing,
    /// It is not known yet, as in [`Bus::read`].
    Waiting,
}

/// How many bytes a port is given, or gives, in one call.
const PIECE_BYTES: u64 = 2048;
/// How many pieces one exit carries out at most, so that a guest cannot keep the processor in the
/// hypervisor for longer than that.
const PIECES_MAX: usize = 8;

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
    let (moved, waits) = pieces(vcpu, &strings, &processor, &mut walker, ports, access);
    if moved > 0 && !strings.is_left(vcpu) {
        return processor.finish(vcpu, instruction.length, processor.flags);
    }
    if moved == PIECES_MAX || moved > 0 && waits {
        return processor.leave(vcpu, processor.flags);
    }
    if waits {
        return Outcome::Waiting;
    }
    let result = strings.run(vcpu, &processor, |vcpu, _| {
        let (source, destination) = strings.places(vcpu, &mut walker, &processor)?;
        let Some(place) = source.or(destination).filter(|place| place.is_memory(memory)) else {
            return Err(Outcome::Unsupported.into());
        };
        // No page faulted: all of the string is memory.
        if access.input {
            let value = ports.input(access.port, width).ok_or(WAITING)?;
            place.write(memory, &mut NoBus, NOWHERE, value.into());
        } else {
            let value = place.read(memory, &mut NoBus, NOWHERE)?;
            ports.output(access.port, width, value as u32);
        }
        Ok(processor.flags)
    });
    match result {
        // What was moved in pieces stays so.
        Err(Stop::Outcome(Outcome::Waiting)) if moved > 0 => processor.leave(vcpu, processor.flags),
        Err(stop) => stop.outcome(vcpu),
        Ok(outcome) => outcome,
    }
}

/// Moves as much as can be moved in pieces that are on one page each, and says how many those were, and whether the
/// next one has to wait. What is left, such as an element that crosses to the next page or a page that faults, is for
/// whoever goes on element by element.
fn pieces<V: ProcessorState, M: GuestMemory, P: Ports>(
    vcpu: &mut V,
    strings: &Strings,
    processor: &Processor,
    walker: &mut Walker<M>,
    ports: &mut P,
    access: PortAccess,
) -> (usize, bool) {
    let memory = walker.memory;
    let mut buffer = [0; PIECE_BYTES as usize];
    for done in 0..PIECES_MAX {
        let Some((gpa, bytes)) = strings.piece(vcpu, walker, processor, PIECE_BYTES) else {
            return (done, false);
        };
        let Some(piece) = buffer.get_mut(..bytes as usize).filter(|piece| !piece.is_empty()) else {
            return (done, false);
        };
        // That it is memory is known before anything is taken from the port: what is on one page is
        // so as a whole.
        let (looked_at, _) = piece.split_at_mut(if access.input { 1 } else { piece.len() });
        if memory.read(gpa, looked_at).is_err() {
            return (done, false);
        }
        let moved = if access.input {
            ports.input_string(access.port, access.width, piece)
        } else {
            ports.output_string(access.port, access.width, piece)
        };
        if moved != Moved::All {
            return (done, moved == Moved::Waiting);
        }
        if access.input {
            // It was memory just now; should it not be any more, the data is lost.
            let _ = memory.write(gpa, piece);
        }
        strings.step_over(vcpu, bytes);
    }
    (PIECES_MAX, false)
}

/// A page that no guest has.
const NOWHERE: Gpa = Gpa(u64::MAX);

/// Floats. Reached only if memory went away between two looks at it.
struct NoBus;

impl Bus for NoBus {
    fn read(&mut self, _: Gpa, width: Width) -> Option<u64> {
        Some(width.mask())
    }
    fn write(&mut self, _: Gpa, _: Width, _: u64) {}
}
