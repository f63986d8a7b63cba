//! A network interface.

mod area;
mod patience;
mod remote;
mod serve;
#[cfg(test)]
mod tests;

pub use area::NicSizes;
pub use remote::RemoteNic;
pub use serve::NicServer;
