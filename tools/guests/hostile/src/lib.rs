//! What a model in ring 3 tries whose guest has taken it over, and how its guest tells it to.
//!
//! The program behaves like the one that it stands for until its guest writes a [`command`] into its own memory,
//! where the model reaches it: then the next call is the attack. The table of attacks is one for who does them,
//! for the guest that asks for them, and for the lab, which knows what the hypervisor has to say of each.
#![no_std]

#[macro_use]
mod instructions;

/// Makes constants of the table.
macro_rules! table {
    ($($instructions:literal => $end:literal,)*) => {
        /// Code in ring 3, and how the hypervisor has to say that it ended. Code that comes to its end gives up.
        pub const INSTRUCTIONS: &[(&str, &str)] = &[$(($instructions, $end)),*];
    };
}
instructions!(table);

/// What code says that comes to its end, as the line where it gave up.
pub const GAVE_UP: u32 = 4242;

/// What comes of `INT n`, whatever n is: no gate is ring 3's.
pub const INTERRUPT_END: &str = "exception 13";

/// Where the guest writes what the next call is to be, and as what.
pub mod command {
    /// The guest-physical address. There are words.
    pub const GPA: u64 = 0x180_0000;
    /// The first word, where there is a command. The program takes it away once it begins.
    pub const ARMED: u64 = 0x0bad_c0de_5eed_f00d;
    /// The word that says what: see [`super::What`].
    pub const WHAT: u64 = 1;
    /// Its argument.
    pub const ARGUMENT: u64 = 2;
    /// Its second argument.
    pub const SECOND: u64 = 3;
    /// The word that says which model is to do it.
    pub const WHO: u64 = 4;
    /// The word that says where: 1 is on the housekeeping CPU, whose ring 3 has interrupts on; else anywhere.
    pub const WHERE: u64 = 5;
}

/// Models, as a command names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// A serial port.
    Serial,
    /// An NE2000.
    Ne2000,
    /// An IDE controller.
    Ide,
    /// Any other.
    Other,
}

/// Kinds of attacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// The instructions of this number in [`INSTRUCTIONS`].
    Instructions,
    /// `INT n`, where n is the argument.
    Interrupt,
    /// Serves the call, then makes this word of the area the second argument.
    Answer,
    /// Serves the call, then makes every word of the area that from this one on the second argument.
    Scribble,
    /// Serves the call, and wants this effect done ([`Wish`]) as often as there is room.
    Wish,
    /// Serves the call, and says that every word of its state is ones.
    State,
}

impl What {
    /// By their number.
    pub const ALL: [Self; 6] =
        [Self::Instructions, Self::Interrupt, Self::Answer, Self::Scribble, Self::Wish, Self::State];
}

/// Effects that no model in order has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Whoever polls it is to come.
    Wake,
    /// A message that it may have.
    Message,
    /// A message that it has not.
    NoMessage,
    /// Its line is to be looked at.
    Line,
    /// Something is printed, without end.
    Output,
    /// A request far behind the end of every medium.
    Behind,
    /// A request whose data is where its guest has no memory.
    NoMemory,
    /// A request whose data is behind the end of the model's buffer.
    NoBuffer,
    /// A request with more bytes than any has.
    Huge,
    /// The end of the medium is to be forgotten, and all behind it.
    Forget,
}

impl Wish {
    /// By their number.
    pub const ALL: [Self; 10] = [
        Self::Wake,
        Self::Message,
        Self::NoMessage,
        Self::Line,
        Self::Output,
        Self::Behind,
        Self::NoMemory,
        Self::NoBuffer,
        Self::Huge,
        Self::Forget,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_ends_as_the_hypervisor_says_it() {
        for (instructions, end) in INSTRUCTIONS {
            let is_told = ["", "it gave up", "it did not come back in time"].contains(end)
                || end.strip_prefix("exception ").is_some_and(|vector| vector.parse::<u8>().is_ok());
            assert!(is_told && !instructions.is_empty(), "{instructions}: {end}");
        }
    }

    #[test]
    fn numbers_are_places() {
        assert!(What::ALL.iter().enumerate().all(|(number, what)| *what as usize == number));
        assert!(Wish::ALL.iter().enumerate().all(|(number, wish)| *wish as usize == number));
    }
}
