//! The driver against controllers: a small one that misbehaves on demand, and the emulated one.

mod bring_up;
mod capacity;
mod emulated;
mod fake;
mod hostile;
mod requests;
