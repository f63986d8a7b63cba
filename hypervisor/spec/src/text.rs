//! Serde for what people read as text, without an allocation.

use core::fmt;
use serde::de::{Error, Unexpected, Visitor};

/// Takes a string and gives it to the function; `None` from it is an error.
pub(crate) struct FromText<F>(pub F);

impl<'de, T, F: FnOnce(&str) -> Option<T>> Visitor<'de> for FromText<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address as text")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &"an address as text"))
    }
}
