//! VT-x, Intel's virtual machine extensions (Intel SDM vol. 3 chapters 23 to 31 and
//! appendices A to C).

pub mod capability;
pub mod control;
pub mod error;
pub mod event;
pub mod exit;
pub mod field;
pub mod interruptibility;
pub mod qualification;
pub mod segment;
