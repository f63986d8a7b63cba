//! The one place that knows which vendors there are.

use super::Backend;
use super::svm::Svm;
use super::vmx::Vmx;
use alloc::format;
use alloc::string::String;

/// Something to be done with the backend of this machine, whichever it is.
pub trait WithBackend {
    /// What comes of it.
    type Output;
    /// Does it.
    fn with<B: Backend>(self, backend: B) -> Self::Output;
}

/// Finds out what this processor has, and does `then` with it: the vendor is matched here
/// and nowhere else.
///
/// # Errors
/// A sentence that says what is missing of each vendor's.
pub fn choose<W: WithBackend>(then: W) -> Result<W::Output, String> {
    let no_svm = match Svm::detect() {
        Ok(svm) => return Ok(then.with(svm)),
        Err(reason) => reason,
    };
    match Vmx::detect() {
        Ok(vmx) => Ok(then.with(vmx)),
        Err(no_vmx) => Err(format!("{no_svm}; {no_vmx}")),
    }
}
