//! Nothing is measured.

use alloc::boxed::Box;
use block::Drive;
use devices::{Device, Endpoint, Surroundings};
use nic::Nic;

/// The driver of a drive.
pub fn drive(driver: impl Drive + Send + 'static) -> Box<dyn Drive + Send> {
    Box::new(driver)
}

/// The driver of a network interface.
pub fn interface(driver: impl Nic + Send + 'static) -> Box<dyn Nic + Send> {
    Box::new(driver)
}

/// The model of a device.
pub fn model(device: Box<dyn Device>) -> Box<dyn Device> {
    device
}

/// Lets `serve` use an endpoint.
#[inline]
pub fn serve(
    serve: &mut dyn FnMut(&mut Endpoint, &mut Surroundings<'_>),
    endpoint: &mut Endpoint,
    around: &mut Surroundings<'_>,
) {
    serve(endpoint, around);
}

/// A turn of the housekeeping CPU for the emulated devices: whether another is due at once.
#[inline]
pub fn turn(run: impl FnOnce() -> bool) -> bool {
    run()
}

/// Whether this turn found something to do.
#[inline]
pub const fn worked(_: bool) {}
