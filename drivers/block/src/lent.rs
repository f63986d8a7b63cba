//! Memory of somebody else's that a request's data is in.

use alloc::boxed::Box;
use spec::Iova;
use spec::address::PAGE_BYTES;

/// What a drive can begin at: a multiple of this (NVMe base specification 2.0, section 4.1.1: the offset
/// of a first entry is a multiple of 4).
const ALIGNMENT: u64 = 4;

/// Pages that are together the data of one request: it may begin within the first and end within the last.
#[derive(Debug)]
pub(crate) struct Lent {
    pages: Box<[Iova]>,
    /// Where in the first page it begins.
    offset: u64,
    /// 0 where nothing was lent.
    bytes: usize,
}

impl Lent {
    /// Room for `bytes` bytes, wherever in a page they begin.
    pub fn new(bytes: usize) -> Self {
        let pages = bytes.div_ceil(PAGE_BYTES as usize) + 1;
        Self { pages: core::iter::repeat_n(Iova(0), pages).collect(), offset: 0, bytes: 0 }
    }

    /// Nothing is lent.
    pub const fn clear(&mut self) {
        self.bytes = 0;
    }

    /// Whether something is.
    pub const fn is_set(&self) -> bool {
        self.bytes != 0
    }

    /// How many bytes are.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes `parts`, each with its bytes. Whether they are whole pages but for the first's start and the
    /// last's end, as a drive needs them, and there is room; else nothing is lent.
    pub fn set(&mut self, parts: &mut dyn Iterator<Item = (Iova, usize)>) -> bool {
        self.clear();
        match self.collect(parts) {
            Some(bytes) => self.bytes = bytes,
            None => return false,
        }
        self.is_set()
    }

    fn collect(&mut self, parts: &mut dyn Iterator<Item = (Iova, usize)>) -> Option<usize> {
        let (mut total, mut count, mut ends_a_page) = (0_usize, 0, true);
        for (start, bytes) in parts {
            let is_first = total == 0;
            let begins_right = if is_first {
                start.is_aligned(ALIGNMENT)
            } else {
                start.is_aligned(PAGE_BYTES) && ends_a_page
            };
            let end = start.checked_add(bytes as u64).filter(|_| bytes != 0 && begins_right)?;
            if is_first {
                self.offset = start.page_offset();
            }
            let mut page = start.align_down(PAGE_BYTES);
            while page < end {
                *self.pages.get_mut(count)? = page;
                count += 1;
                page = page.checked_add(PAGE_BYTES)?;
            }
            ends_a_page = end.is_aligned(PAGE_BYTES);
            total = total.checked_add(bytes)?;
        }
        Some(total)
    }

    /// Where byte `start` of the data is.
    pub fn at(&self, start: u64) -> Iova {
        let place = start.saturating_add(self.offset);
        let page = usize::try_from(place / PAGE_BYTES).ok().and_then(|page| self.pages.get(page));
        page.map_or(Iova(0), |page| Iova(page.0 + place % PAGE_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lent(parts: &[(u64, usize)]) -> Option<Lent> {
        let mut lent = Lent::new(4 * PAGE_BYTES as usize);
        lent.set(&mut parts.iter().map(|&(start, bytes)| (Iova(start), bytes))).then_some(lent)
    }

    #[test]
    fn pages_from_anywhere_are_one_data() {
        let lent =
            lent(&[(0x5e00, 0x200), (0x9000, 0x2000), (0x3000, 0x100)]).expect("as a drive needs them");
        assert_eq!(lent.bytes(), 0x2300);
        for (start, at) in [(0, 0x5e00), (0x1ff, 0x5fff), (0x200, 0x9000), (0x21ff, 0xafff), (0x2200, 0x3000)]
        {
            assert_eq!(lent.at(start), Iova(at), "{start:#x}");
        }
    }

    #[test]
    fn what_no_drive_takes_is_not_lent() {
        for parts in [
            &[] as &[_],
            &[(0x1002, 0x200)],
            &[(0x1000, 0)],
            &[(0x1000, 0x200), (0x2000, 0x200)],
            &[(0x1000, 0x1000), (0x2200, 0x200)],
            &[(0x1000, 5 * 0x1000 + 1)],
            &[(0x1200, 5 * 0x1000)],
            &[(u64::MAX & !3, 8)],
            &[(0u64.wrapping_sub(0x1000), 0x1000), (0x1000, 0x1000)],
        ] {
            assert!(lent(parts).is_none(), "{parts:x?}");
        }
        assert!(lent(&[(0x1004, 4 * 0x1000)]).is_some());
    }

    #[test]
    fn what_was_lent_is_forgotten_where_the_next_is_refused() {
        let mut lent = lent(&[(0x1000, 0x200)]).expect("as a drive needs them");
        assert!(!lent.set(&mut core::iter::once((Iova(1), 4))));
        assert!(!lent.is_set());
    }
}
