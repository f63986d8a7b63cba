//! What a device shows.

use super::Endpoint;
use crate::picture::Picture;

impl Endpoint {
    /// What is to be seen on it, where it is a display.
    pub fn picture(&self) -> Option<Picture> {
        self.device.picture()
    }
}
