//! The driver of the 82574: see `gigabit/world.rs`.
#![no_main]

#[path = "../../drivers/gigabit/tests/shared/fake.rs"]
#[allow(dead_code, reason = "the driver's tests need all of it")]
mod fake;
#[path = "../../drivers/e1000e/tests/driver/twin.rs"]
#[allow(dead_code, unused_imports, reason = "the driver's tests need all of it")]
mod twin;
#[path = "gigabit/world.rs"]
mod world;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| world::run(data));
