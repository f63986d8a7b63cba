//! What powers the machine off: the `_S5` package (ACPI Specification 6.5,
//! section 7.4.2).

use crate::bytes::u8_at;
use serde::{Deserialize, Serialize};

/// Sleep types of the state S5, as PM1 control registers take them (bits 10 to 12).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SoftOff {
    /// For PM1a control.
    pub pm1a: u8,
    /// For PM1b control.
    pub pm1b: u8,
}

const NAME_OP: u8 = 0x08;
const PACKAGE_OP: u8 = 0x12;
const ROOT: u8 = b'\\';

/// Finds `Name (_S5, Package {a, b, ...})` in the AML of `table` by its bytes
/// (section 20.2.5). No AML is interpreted: nearly all firmware writes it literally,
/// and a machine that does not stays halted instead.
pub(crate) fn find_soft_off(table: &[u8]) -> Option<SoftOff> {
    let mut from = 0;
    while let Some(found) = table.get(from..)?.windows(4).position(|name| name == b"_S5_") {
        let at = from + found;
        if is_defined_at(table, at)
            && let Some(soft_off) = package(table.get(at + 4..)?)
        {
            return Some(soft_off);
        }
        from = at + 4;
    }
    None
}

/// Whether the name at `at` is that of a NameOp, with or without the root prefix.
fn is_defined_at(table: &[u8], at: usize) -> bool {
    let before = |bytes: usize| at.checked_sub(bytes).and_then(|at| u8_at(table, at));
    before(1) == Some(NAME_OP) || before(1) == Some(ROOT) && before(2) == Some(NAME_OP)
}

/// The first two elements of a package; the second is 0 where there is only one.
fn package(aml: &[u8]) -> Option<SoftOff> {
    if u8_at(aml, 0)? != PACKAGE_OP {
        return None;
    }
    // The package's length has 0 to 3 more bytes, as the upper two bits say.
    let length_bytes = 1 + usize::from(u8_at(aml, 1)? >> 6);
    let elements = u8_at(aml, 1 + length_bytes)?;
    let (pm1a, rest) = integer(aml.get(2 + length_bytes..)?)?;
    let pm1b = if elements > 1 { integer(rest)?.0 } else { 0 };
    (elements > 0 && pm1a < 8 && pm1b < 8).then_some(SoftOff { pm1a: pm1a as u8, pm1b: pm1b as u8 })
}

/// A literal integer, and what follows it.
fn integer(aml: &[u8]) -> Option<(u32, &[u8])> {
    let number = |bytes: usize| {
        let field = aml.get(1..1 + bytes)?;
        let value = field.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
        Some((value, aml.get(1 + bytes..)?))
    };
    match u8_at(aml, 0)? {
        0x00 => Some((0, aml.get(1..)?)),
        0x01 => Some((1, aml.get(1..)?)),
        0x0a => number(1),
        0x0b => number(2),
        0x0c => number(4),
        _ => None,
    }
}
