//! Text that people wrote: UTF-8, with or without the mark that some editors put before it.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// Reads the text in `path`, which is `what`.
///
/// # Errors
/// When it cannot be read, or is in another encoding, which the error names.
pub fn read(path: &Path, what: &str) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {what} {}", path.display()))?;
    decode(&bytes).with_context(|| format!("cannot read {what} {}", path.display()))
}

fn decode(bytes: &[u8]) -> Result<String> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    const ADVICE: &str = "save it as UTF-8";
    // Text begins with a character of ASCII, so its other byte is 0 there.
    let wide = match bytes {
        [0xff, 0xfe, ..] | [1..=255, 0, ..] => Some("little"),
        [0xfe, 0xff, ..] | [0, 1..=255, ..] => Some("big"),
        _ => None,
    };
    if let Some(end) = wide {
        bail!("this is UTF-16 ({end}-endian), as Windows PowerShell writes it; {ADVICE}");
    }
    let text = bytes.strip_prefix(MARK).unwrap_or(bytes);
    match std::str::from_utf8(text) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let before = text.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let byte = text.get(error.valid_up_to()).copied().unwrap_or(0);
            bail!("the byte {byte:#04x} in line {line} is no UTF-8, perhaps Latin-1 (ISO 8859-1); {ADVICE}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> String {
        decode(bytes).expect_err("this is no UTF-8").to_string()
    }

    #[test]
    fn a_mark_before_the_text_is_no_part_of_it() {
        assert_eq!(decode(b"\xef\xbb\xbf{ }").expect("UTF-8"), "{ }");
        assert_eq!(decode("{ \"\u{e9}\" }".as_bytes()).expect("UTF-8"), "{ \"\u{e9}\" }");
        assert_eq!(decode(b"").expect("nothing"), "");
        assert_eq!(decode(b"x").expect("one character"), "x");
    }

    #[test]
    fn other_encodings_are_named() {
        let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        for bytes in [wide("\u{feff}{ }"), wide("{ }")] {
            assert!(refused(&bytes).contains("UTF-16 (little-endian)"), "{}", refused(&bytes));
        }
        for bytes in [&b"\xfe\xff\0{"[..], b"\0{\0}"] {
            assert!(refused(bytes).contains("UTF-16 (big-endian)"), "{}", refused(bytes));
        }
        let latin = refused(b"# a\n# caf\xe9\n");
        assert!(latin.contains("0xe9 in line 2") && latin.contains("Latin-1"), "{latin}");
    }
}
