//! Models of emulated functions in ring 0.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use devices::random::Source;
use devices::{Blueprint, Device};

/// The device of this blueprint, whose random numbers are from `source` where it has some.
///
/// # Errors
/// What `source` lacks, in words.
pub fn model(blueprint: Blueprint, source: Option<Box<dyn Source>>) -> Result<Box<dyn Device>, String> {
    blueprint.build(source).map_err(|error| error.to_string())
}
