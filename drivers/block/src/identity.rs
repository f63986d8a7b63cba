//! Who a drive says that it is.

use core::fmt;

/// Characters that a device says: printable ASCII, anything else as `?`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Text<const N: usize>(pub [u8; N]);

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.iter().rposition(|&byte| byte != b' ' && byte != 0).map_or(0, |last| last + 1);
        self.0.iter().take(end).try_for_each(|&byte| {
            let shown = if matches!(byte, b' '..=b'~') { char::from(byte) } else { '?' };
            fmt::Write::write_char(f, shown)
        })
    }
}

/// Who a drive says that it is, with fields as long as NVMe and ATA have them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Serial number.
    pub serial: Text<20>,
    /// Model number.
    pub model: Text<40>,
    /// Firmware revision.
    pub firmware: Text<8>,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, serial number {}, firmware {}", self.model, self.serial, self.firmware)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn what_a_drive_says_is_shown_as_text_whatever_it_is() {
        let mut model = [b' '; 40];
        model[..9].copy_from_slice(b"Disk\x07\x1b[2J");
        let identity = Identity { serial: Text([0; 20]), model: Text(model), firmware: Text([0xff; 8]) };
        assert_eq!(identity.to_string(), "Disk??[2J, serial number , firmware ????????");
    }
}
