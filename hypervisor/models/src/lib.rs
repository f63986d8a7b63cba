//! The program of a compartment: it has the model of one emulated function, the driver of one device, the interpreter
//! of a guest's instructions, or a guest's chipset, and runs in ring 3.
//!
//! It is entered for each call of the model ([`compartment`]), of the driver ([`driver_compartment`]), of the interpreter ([`emulator_compartment`]), or of the chipset
//! ([`chipset_compartment`]), does what the call says, and leaves. What is unsafe
//! here reaches no further than the compartment does: it runs with the rights of ring 3 in an address space of its
//! own, in which there are its stack, its heap, the area, and the memory of one guest; or instead of that one device's
//! registers, and the memory that its driver has in common with it.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod chipset;
pub mod driver;
pub mod guest;
pub mod heap;
pub mod interpreter;
pub mod random;
pub mod registers;
pub mod shared_with_device;
pub mod state;
