//! The driver on a scripted 82574.

mod bring_up;
mod fake;
mod frames;
mod hostile;
