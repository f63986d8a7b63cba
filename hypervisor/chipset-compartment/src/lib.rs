//! The protocol between ring 0 and a compartment in which a guest's chipset is, in ring 3.
//!
//! One guest has one compartment for it, in which none of the guest's memory is: a chipset has no need of that.
//! [`RemoteChipset`] is ring 0's side, with the methods of [`devices::Chipset`]. [`ChipsetServer`] is the compartment's, with the
//! chipset itself, the same as in ring 0. It is entered under the lock that is the chipset's in ring 0, too.
//!
//! # A call
//! Ring 0 writes which of the chipset's methods it is, its arguments and the time. The answer has the value, what
//! the caller has to do (effects), when the chipset wants a tick, the lines that are asserted and the level of INTR: who asks for those
//! enters nobody, and neither does a line that is set to the level that it has.
//!
//! With the answer comes the state of the parts ([`Part`](devices::chipset::parts::Part)) that the call changed, in bytes
//! as a snapshot has it. Ring 0 keeps them, and reads none of them: they are what a compartment that is made anew begins with, and
//! the call that was not answered is made once more. A call reaches nothing but the chipset, and none of its effects was applied before its answer was found
//! sound, so it was never made: nobody sees a difference.
//!
//! # What a hostile chipset can do
//! - To its guest: reads as it likes, interrupts of the modes that an I/O APIC sends, text on its console, its reset and its end, no timer.
//!   It reaches none of its memory and none of its registers.
//! - To nobody else anything. The effects of each call are those that the call can have, and no more than a chipset has; a message goes to processors
//!   of its guest; the end of an interrupt is told of lines that ring 0 said were asserted, and only where a guest can end one. What is none of
//!   that ends the compartment, and after a few times its guest.
//! - To time: each call is bounded by [`Compartment::enter`](compartment::Compartment::enter), and once it was told what time it is it wants no tick at
//!   that time.
//! - To itself, made anew: its state is its own bytes. A state that is none is refused there.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod answer;
mod area;
mod call;
mod effects;
mod remote;
mod serve;
mod state;
#[cfg(test)]
mod tests;

pub use area::AREA_WORDS;
pub use remote::RemoteChipset;
pub use serve::ChipsetServer;
