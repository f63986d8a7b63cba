//! Why a compartment is no more.

pub use devices::ended::Ended;
