//! A drive.

mod area;
mod remote;
mod serve;
mod slots;
#[cfg(test)]
mod tests;

pub use area::DriveSizes;
pub use remote::RemoteDrive;
pub use serve::{DriveServer, Drives, One};
