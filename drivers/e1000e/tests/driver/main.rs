//! The driver on a scripted 82574, by the tests that drivers of its kind share and some of its own.

mod bring_up;
#[path = "../../../gigabit/tests/shared/fake.rs"]
mod fake;
#[path = "../../../gigabit/tests/shared/frames.rs"]
mod frames;
#[path = "../../../gigabit/tests/shared/hostile.rs"]
mod hostile;
#[path = "../../../gigabit/tests/shared/start.rs"]
mod start;
mod twin;
