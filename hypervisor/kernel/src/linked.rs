//! Drivers and models that are linked into ring 0, and nowhere else are they named there. Without the feature
//! `ring0` there are none, and what the configuration would have in ring 0 is refused with a sentence.

#[cfg(feature = "ring0")]
mod drives;
#[cfg(feature = "ring0")]
mod interfaces;
#[cfg(feature = "ring0")]
mod models;
#[cfg(feature = "ring0")]
pub use drives::{drives, first_port};
#[cfg(feature = "ring0")]
pub use interfaces::interface;
#[cfg(feature = "ring0")]
pub use models::model;

#[cfg(not(feature = "ring0"))]
mod nothing;
#[cfg(not(feature = "ring0"))]
pub use nothing::{drives, first_port, interface, model};
