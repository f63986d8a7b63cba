//! What the display's monitor says of itself (VESA, E-EDID Standard, release A, section 3).

/// Bytes of it.
pub(super) const BYTES: usize = 128;

/// What a monitor likes that has no reason to like anything else.
const USUAL: (u16, u16) = (1024, 768);
/// The least that it may like: Linux's console takes no less.
const LEAST: (u16, u16) = (640, 480);
/// Dots and lines that no picture has, between those that it has.
const BLANK_DOTS: u16 = 160;
const BLANK_LINES: u16 = 45;
const PICTURES_PER_SECOND: u32 = 60;

/// The dots in width and height that the monitor likes: those of `screen` where the memory holds two
/// such pictures, and the fields of [`of`] such numbers.
pub(super) fn preferred(memory_bytes: u64, screen: Option<(usize, usize)>) -> (u16, u16) {
    let of_screen = screen.and_then(|(width, height)| {
        let (width, height) = (u16::try_from(width).ok()?, u16::try_from(height).ok()?);
        let bytes = 2 * 4 * u64::from(width) * u64::from(height);
        let sound = width >= LEAST.0 && height >= LEAST.1 && width < 4096 && height < 4096;
        // A text has whole characters in a line.
        (sound && width.is_multiple_of(8) && bytes <= memory_bytes && clock(width, height).is_some())
            .then_some((width, height))
    });
    of_screen.unwrap_or(USUAL)
}

/// Dots in a second for such pictures, in units of 10 kHz.
fn clock(width: u16, height: u16) -> Option<u16> {
    let dots = u32::from(width + BLANK_DOTS) * u32::from(height + BLANK_LINES);
    u16::try_from(dots.checked_mul(PICTURES_PER_SECOND)? / 10_000).ok()
}

/// What a monitor says that likes so many dots, fewer than 4096 each way.
pub(super) fn of((width, height): (u16, u16)) -> [u8; BYTES] {
    const HEADER: [u8; 8] = [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
    // "BLK", three letters of five bits; product 1; of week 1 in 2026; version 1.4.
    const WHO: [u8; 12] = [0x09, 0x8b, 1, 0, 0, 0, 0, 0, 1, 36, 1, 4];
    // Digital, 8 bits a color; 40 by 30 cm; gamma 2.2; RGB, and the first timing is the preferred one.
    const WHAT: [u8; 5] = [0xa0, 40, 30, 120, 0x06];
    // The chromaticities of sRGB.
    const COLORS: [u8; 10] = [0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54];
    // 640 by 480, 800 by 600 and 1024 by 768, with 60 pictures a second.
    const ESTABLISHED: [u8; 3] = [0x21, 0x08, 0x00];
    // 1280 by 1024, 1280 by 720, 1440 by 900, 1600 by 1200, 1920 by 1080; three places are free.
    const STANDARD: [u8; 16] = [0x81, 0x80, 0x81, 0xc0, 0x95, 0x00, 0xa9, 0x40, 0xd1, 0xc0, 1, 1, 1, 1, 1, 1];
    const NAME: [u8; 18] = *b"\0\0\0\xfc\0Bulkhead\n    ";
    // 50 to 75 pictures and 30 to 160 thousand lines a second, 600 million dots.
    const LIMITS: [u8; 18] = [0, 0, 0, 0xfd, 0, 50, 75, 30, 160, 60, 1, 0x0a, 32, 32, 32, 32, 32, 32];
    const NOTHING: [u8; 18] = [0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let timing = timing(width, height);
    let parts: [&[u8]; 10] =
        [&HEADER, &WHO, &WHAT, &COLORS, &ESTABLISHED, &STANDARD, &timing, &NAME, &LIMITS, &NOTHING];
    let mut edid = [0; BYTES];
    for (place, byte) in edid.iter_mut().zip(parts.into_iter().flatten()) {
        *place = *byte;
    }
    let sum = edid.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(last) = edid.last_mut() {
        *last = sum.wrapping_neg();
    }
    edid
}

/// The preferred timing (section 3.10.2).
fn timing(width: u16, height: u16) -> [u8; 18] {
    // Of the blank dots and lines a synchronisation comes after some and has some.
    const SYNC: [u8; 4] = [48, 32, 3 << 4 | 6, 0];
    let [clock_low, clock_high] = clock(width, height).unwrap_or(0).to_le_bytes();
    let of =
        |picture: u16, blank: u16| [picture as u8, blank as u8, (picture >> 8) as u8 & 15].map(|byte| byte);
    let [dots, blank_dots, dots_high] = of(width, BLANK_DOTS);
    let [lines, blank_lines, lines_high] = of(height, BLANK_LINES);
    let [after, sync, lines_sync, high] = SYNC;
    [
        clock_low,
        clock_high,
        dots,
        blank_dots,
        dots_high << 4,
        lines,
        blank_lines,
        lines_high << 4,
        after,
        sync,
        lines_sync,
        high,
        // 400 by 300 mm.
        400_u16 as u8,
        300_u16 as u8,
        1 << 4 | 1,
        0,
        0,
        // Digital, with a synchronisation of its own for lines and pictures.
        0x1e,
    ]
}
