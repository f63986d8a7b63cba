//! What is on the board beside processors and memory: interrupt controllers, configuration space, the clock
//! that tells the date, and power.

pub mod config_space;
pub mod ioapic;
pub mod pic;
pub mod power;
pub mod wall_clock;
