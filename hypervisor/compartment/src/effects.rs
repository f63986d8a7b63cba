//! Effects in words.

use crate::area::EFFECT_WORDS;
use crate::ended::Ended;
use devices::device::{DEVICE_BUFFER, DeviceEffect, MOST_REQUEST_BYTES, Operation, Request};
use spec::Gpa;

/// Kinds of effects, and of requests behind them.
const LINE: u64 = 0;
const MSI: u64 = 1;
const WAKE: u64 = 2;
const OUTPUT: u64 = 3;
const SUBMIT: u64 = 16;

/// Puts an effect in words.
pub(crate) fn encode(effect: DeviceEffect) -> [u64; EFFECT_WORDS] {
    match effect {
        DeviceEffect::Line => [LINE, 0, 0, 0, 0],
        DeviceEffect::Msi(index) => [MSI, index.into(), 0, 0, 0],
        DeviceEffect::Wake => [WAKE, 0, 0, 0, 0],
        DeviceEffect::Output => [OUTPUT, 0, 0, 0, 0],
        DeviceEffect::Submit(Request { tag, operation, at, gpa, bytes }) => {
            let operation = match operation {
                Operation::Read => 0,
                Operation::Write => 1,
                Operation::Flush => 2,
                Operation::Discard => 3,
                Operation::WriteZeroes => 4,
            };
            [SUBMIT + operation, tag.into(), at, gpa.0, bytes.into()]
        }
    }
}

/// The effect of these words. A request names a place in the guest's memory, or one in the device's
/// buffer, which a guest may name where a device takes its word; what is there is found out by whoever moves the
/// data.
pub(crate) fn decode(words: [u64; EFFECT_WORDS]) -> Result<DeviceEffect, Ended> {
    let narrow = |value: u64| u32::try_from(value).map_err(|_| Ended::Answer("a number that is too large"));
    let [kind, first, at, gpa, bytes] = words;
    let operation = match kind {
        LINE => return Ok(DeviceEffect::Line),
        MSI => {
            let index = u16::try_from(first).map_err(|_| Ended::Answer("a message that it has not"))?;
            return Ok(DeviceEffect::Msi(index));
        }
        WAKE => return Ok(DeviceEffect::Wake),
        OUTPUT => return Ok(DeviceEffect::Output),
        _ => match kind.checked_sub(SUBMIT) {
            Some(0) => Operation::Read,
            Some(1) => Operation::Write,
            Some(2) => Operation::Flush,
            Some(3) => Operation::Discard,
            Some(4) => Operation::WriteZeroes,
            _ => return Err(Ended::Answer("an effect that there is not")),
        },
    };
    let request = Request { tag: narrow(first)?, operation, at, gpa: Gpa(gpa), bytes: narrow(bytes)? };
    if operation.moves_data() && request.bytes > MOST_REQUEST_BYTES {
        return Err(Ended::Answer("a request that no device makes"));
    }
    Ok(DeviceEffect::Submit(request))
}

/// Where in the device's buffer a request's data is, and how many bytes, if it is there.
pub(crate) fn buffer_range(request: &Request) -> Option<(u64, u64)> {
    let start = request.gpa.0.checked_sub(DEVICE_BUFFER.0)?;
    request.operation.moves_data().then_some((start, request.bytes.into()))
}
