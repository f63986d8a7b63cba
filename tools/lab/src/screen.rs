//! What a machine's screen shows, as the emulator copies it.

use anyhow::{Context, Result, bail};

/// A screen's dots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Screen {
    width: usize,
    /// Red, green and blue of each dot, a line behind the other.
    dots: Vec<[u8; 3]>,
}

impl Screen {
    /// Reads a portable pixmap (`P6`, 8 bits a color), which is how QEMU writes one.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(file: &[u8]) -> Result<Self> {
        // Four words, each ended by one byte of white space.
        let mut words = file.splitn(5, u8::is_ascii_whitespace);
        let mut word = || words.next().and_then(|word| std::str::from_utf8(word).ok()).unwrap_or_default();
        let kind = word();
        let mut number = || word().parse::<usize>().context("no portable pixmap");
        let (width, height, most) = (number()?, number()?, number()?);
        let dots = words.next().unwrap_or_default();
        if (kind, most) != ("P6", 255) || Some(dots.len()) != width.checked_mul(3 * height) {
            bail!("no portable pixmap of {width} by {height} dots of 8 bits a color");
        }
        Ok(Self { width, dots: dots.as_chunks().0.to_vec() })
    }

    fn height(&self) -> usize {
        self.dots.len() / self.width.max(1)
    }

    /// The dot in column `x` of line `y`.
    fn dot(&self, x: usize, y: usize) -> Option<[u8; 3]> {
        self.dots.get(y * self.width + x).copied().filter(|_| x < self.width)
    }

    /// How many dots have this color.
    fn count(&self, color: [u8; 3]) -> usize {
        self.dots.iter().filter(|dot| **dot == color).count()
    }

    /// How many of a thousand.
    fn share(&self, color: [u8; 3]) -> usize {
        1000 * self.count(color) / self.dots.len().max(1)
    }

    /// Whether it is thirds of red, green and blue from above, all over.
    ///
    /// # Errors
    /// What it is instead.
    pub fn is_in_thirds(&self) -> Result<(), String> {
        let wanted = [[255, 0, 0], [0, 255, 0], [0, 0, 255]];
        for (third, color) in wanted.into_iter().enumerate() {
            let y = self.height() * (2 * third + 1) / 6;
            for x in [0, self.width / 2, self.width.saturating_sub(1)] {
                let dot = self.dot(x, y);
                if dot != Some(color) {
                    return Err(format!("in column {x} of line {y} is {dot:?} and not {color:?}"));
                }
            }
        }
        let shares = wanted.map(|color| self.share(color));
        if shares.iter().any(|share| *share < 320) {
            Err(format!("the shares are {shares:?}"))
        } else {
            Ok(())
        }
    }

    /// Whether it is white text on blue, as VGA has these colors, with black around it.
    ///
    /// # Errors
    /// What it is instead.
    pub fn is_text_on_blue(&self) -> Result<(), String> {
        let (blue, black) = (self.share([0, 0, 0xaa]), self.share([0, 0, 0]));
        // Letters are smooth: few of their dots are quite white.
        let (white, corner) = (self.count([255, 255, 255]), self.dot(0, 0));
        let is_text = blue > 150 && black > 0 && white > 0 && corner == Some([0, 0, 0]);
        let told =
            || format!("{blue} of 1000 dots are blue, {black} black; {white} are white; first: {corner:?}");
        if is_text { Ok(()) } else { Err(told()) }
    }

    /// Whether it is the log: gray text on black.
    ///
    /// # Errors
    /// What it is instead.
    pub fn is_log(&self) -> Result<(), String> {
        let black = self.share([0, 0, 0]);
        let colored = self.dots.iter().filter(|[red, green, blue]| red != green || green != blue).count();
        let is_log = (700..990).contains(&black) && colored == 0;
        if is_log { Ok(()) } else { Err(format!("{black} of 1000 dots are black, {colored} have a color")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(lines: &[[u8; 3]]) -> Screen {
        let mut file = format!("P6\n4 {}\n255\n", lines.len()).into_bytes();
        lines.iter().for_each(|color| (0..4).for_each(|_| file.extend(color)));
        Screen::parse(&file).unwrap()
    }

    #[test]
    fn thirds_are_told_from_what_is_nearly_so() {
        let (red, green, blue) = ([255, 0, 0], [0, 255, 0], [0, 0, 255]);
        assert_eq!(screen(&[red, green, blue]).is_in_thirds(), Ok(()));
        assert!(screen(&[blue, green, red]).is_in_thirds().is_err());
        assert!(screen(&[red, red, red, red, green, blue, blue, blue]).is_in_thirds().is_err());
        assert!(screen(&[[0; 3]]).is_in_thirds().is_err());
    }

    #[test]
    fn text_and_the_log_are_not_the_same() {
        let (blue, white, black) = ([0, 0, 0xaa], [255; 3], [0; 3]);
        let text = screen(&[black, blue, white, blue]);
        assert_eq!(text.is_text_on_blue(), Ok(()));
        assert!(text.is_log().is_err());
        let log = screen(&[black, black, white, black, black]);
        assert_eq!(log.is_log(), Ok(()));
        assert!(log.is_text_on_blue().is_err());
        assert!(screen(&[black]).is_log().is_err());
    }

    #[test]
    fn what_is_no_pixmap_is_refused() {
        for file in [&b""[..], b"P6\n1 1\n255\nab", b"P5\n1 1\n255\nabc", b"P6\n1 -1\n255\nabc"] {
            assert!(Screen::parse(file).is_err());
        }
        assert!(Screen::parse(b"P6\n1 1\n255\n \n ").is_ok(), "dots may look like white space");
    }
}
