//! What a compartment is for.

/// What a compartment is for. All of them run one program, and each kind has a protocol of its own, in which the first word
/// of the area says what is asked. In the first call, and in no other, that is [`Kind::word`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Kind {
    /// The model of an emulated function: [`Build`](crate::Build) is its first call.
    Model = 0x6b69_0001,
    /// The driver of a device (crate `driver_compartment`).
    Driver = 0x6b69_0002,
    /// The interpreter of a virtual processor's instructions (crate `emulator_compartment`).
    Interpreter = 0x6b69_0003,
    /// A guest's chipset (crate `chipset_compartment`).
    Chipset = 0x6b69_0004,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Model, Self::Driver, Self::Interpreter, Self::Chipset];

    /// The first word of the area in the first call.
    pub const fn word(self) -> u64 {
        self as u64
    }

    /// Whose first call is in this area. `None` where it has another call, or none.
    pub fn of(area: &[u64]) -> Option<Self> {
        let word = area.first()?;
        Self::ALL.into_iter().find(|kind| kind.word() == *word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Operation;

    #[test]
    fn a_first_call_is_that_of_one_kind() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(&[kind.word(), 7]), Some(kind));
            assert_eq!(Operation::of(kind.word()), None, "{kind:?}");
        }
        for area in [&[][..], &[0], &[7, Kind::Model.word()], &[u64::MAX]] {
            assert_eq!(Kind::of(area), None, "{area:x?}");
        }
    }
}
