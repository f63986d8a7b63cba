//! Code page 437, which VGA's font has, in the characters of the log's.

/// What stands for 0x80 to 0xff: letters without their accents, and lines and blocks as ASCII draws them.
const UPPER: &[u8; 128] = b"CueaaaaceeeiiiAAEaAooouuyOUcLYPfaiounNao?--??!<>\
    ###|++++++|+++++++++-++++++++=+++++++++++++#####aBGpSsutFTOd?fen=+><??/~o..vn2# ";

/// The character that is shown for a byte; one that nothing stands for is a question mark.
pub fn character(byte: u8) -> char {
    match byte {
        0 => ' ',
        b' '..=b'~' => byte.into(),
        0x07 => '.',
        0x10 | 0x1a => '>',
        0x11 | 0x1b => '<',
        0x18 => '^',
        0x19 => 'v',
        0x80.. => UPPER.get(usize::from(byte & 0x7f)).copied().map_or('?', char::from),
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_a_character_of_the_logs_font() {
        for byte in 0..=u8::MAX {
            assert!((' '..='~').contains(&character(byte)), "{byte:#x}");
        }
        let of = |bytes: &[u8]| bytes.iter().map(|byte| character(*byte)).collect::<std::string::String>();
        // A box, a block, small e with an acute accent, plus or minus, the last.
        assert_eq!(of(&[0xc9, 0xcd, 0xbb, 0xba, 0xc4, 0xb3, 0xdb, 0x82, 0xf1, 0xff]), "+=+|-|#e+ ");
    }
}
