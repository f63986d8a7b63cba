//! What drivers call the failures of requests, by number: a name is a place in the sender's memory.

use block::{Cause, Fault};

/// The names of all drivers of drives, and of what is none of them.
const NAMES: [&str; 27] = [
    "a failure of no known name",
    // NVMe.
    "invalid opcode",
    "invalid field",
    "command identifier conflict",
    "data transfer error",
    "internal error",
    "aborted",
    "invalid namespace or format",
    "invalid offset in a page",
    "write protected",
    "block out of range",
    "invalid queue size",
    "invalid interrupt vector",
    "write fault",
    "unrecovered read error",
    "an error without a name",
    // AHCI.
    "device fault",
    "interface error",
    "uncorrectable error",
    "address not found",
    "interface CRC error",
    "error",
    // Virtio.
    "less data than was asked for",
    "I/O error",
    "unsupported request",
    "an answer without a name",
    "read error",
];

const DONE: u64 = 0;
const MEDIUM: u64 = 1;
const COMMAND: u64 = 2;
const DRIVE: u64 = 3;

/// An outcome in 40 bits.
pub(crate) fn encode(outcome: Result<(), Fault>) -> u64 {
    let (kind, cause) = match outcome {
        Ok(()) => return DONE,
        Err(Fault::Drive) => return DRIVE,
        Err(Fault::Medium(cause)) => (MEDIUM, cause),
        Err(Fault::Command(cause)) => (COMMAND, cause),
    };
    let name = NAMES.iter().position(|name| *name == cause.name).unwrap_or(0);
    kind | (name as u64) << 8 | u64::from(cause.code) << 16
}

/// What these bits say; `None` where they say nothing.
pub(crate) fn decode(bits: u64) -> Option<Result<(), Fault>> {
    let name = NAMES.get(usize::try_from(bits >> 8 & 0xff).ok()?)?;
    let cause = Cause { name, code: u16::try_from(bits >> 16).ok()? };
    Some(match bits & 0xff {
        DONE if bits == DONE => Ok(()),
        DRIVE if bits == DRIVE => Err(Fault::Drive),
        MEDIUM => Err(Fault::Medium(cause)),
        COMMAND => Err(Fault::Command(cause)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_comes_as_it_is() {
        let causes = NAMES.map(|name| Cause { name, code: 0xfedc });
        let faults = causes.iter().flat_map(|cause| [Fault::Medium(*cause), Fault::Command(*cause)]);
        for outcome in faults.chain([Fault::Drive]).map(Err).chain([Ok(())]) {
            assert_eq!(decode(encode(outcome)), Some(outcome));
        }
        let stranger = Cause { name: "something else", code: 7 };
        let known = Cause { name: NAMES[0], code: 7 };
        assert_eq!(decode(encode(Err(Fault::Medium(stranger)))), Some(Err(Fault::Medium(known))));
        for bits in [4, DONE | 1 << 16, DRIVE | 1 << 8, MEDIUM | 0xff << 8, MEDIUM | 1 << 32, u64::MAX] {
            assert_eq!(decode(bits), None, "{bits:#x}");
        }
    }
}
