//! The host's console, as the lab reads it: `kvm| text` for each whole line of the guest.

use std::io::Write as _;

/// The name under which the lab finds the lines.
const OWNER: &str = "kvm";

/// Writes a line. Without a console there is nobody to tell that.
pub fn line(text: &str) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{OWNER}| {text}");
    let _ = output.flush();
}

/// Waits until the host's UART has sent everything: it may be turned off next.
pub fn drain() {
    let _ = rustix::termios::tcdrain(std::io::stdout());
}

/// Bytes of a guest's UART until they are a line.
#[derive(Default)]
pub struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes a byte; gives the line that it ends.
    pub fn take(&mut self, byte: u8) -> Option<String> {
        if byte == b'\n' {
            let bytes = std::mem::take(&mut self.partial);
            return Some(String::from_utf8_lossy(&bytes).trim_end().to_owned());
        }
        self.partial.push(byte);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_once_it_ends() {
        let mut lines = Lines::default();
        let told: Vec<String> =
            b"bench cpuid 1\r\nhalf".iter().filter_map(|byte| lines.take(*byte)).collect();
        assert_eq!(told, ["bench cpuid 1"]);
        assert_eq!(lines.take(b'\n').as_deref(), Some("half"));
    }
}
