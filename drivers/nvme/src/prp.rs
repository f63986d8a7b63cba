//! Where a command's data is: physical region pages (section 4.3).

use crate::error::Error;
use access::DmaBuffer;
use spec::Iova;
use spec::nvme::{PAGE_BYTES, PRP_BYTES};

/// The most that one list, of one page, can hold together with the first entry, and whole pages
/// of it: 2 MiB. A list that goes on in another page is not made.
pub(crate) const MOST_BYTES: u64 = PAGE_BYTES * (PAGE_BYTES / PRP_BYTES);

/// The two entries of a command for `bytes` bytes at `data`, which begin at a multiple of 4 and go on in
/// the pages that `page` gives for 1 and on. Where there are more than two pages, those from the second
/// on are written into `list` at `offset`, where it has a page for them.
pub(crate) fn entries<B: DmaBuffer>(
    data: Iova,
    bytes: u64,
    page: impl Fn(u64) -> Iova,
    list: &B,
    offset: usize,
) -> Result<[u64; 2], Error> {
    let ends = data.page_offset().checked_add(bytes).filter(|_| data.is_aligned(4) && bytes != 0);
    let pages = ends.ok_or(Error::Buffer)?.div_ceil(PAGE_BYTES);
    match pages {
        1 => Ok([data.0, 0]),
        2 => Ok([data.0, page(1).0]),
        _ if pages > 1 + PAGE_BYTES / PRP_BYTES => Err(Error::Buffer),
        _ => {
            let places = (offset..).step_by(PRP_BYTES as usize);
            for (number, place) in (1..pages).zip(places) {
                list.write64(place, page(number).0)?;
            }
            let list = list.iova().checked_add(offset as u64).ok_or(Error::Buffer)?;
            Ok([data.0, list.0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use access::DmaMemory;
    use access::fake_dma::FakeDma;

    /// Pages behind each other.
    fn behind(data: Iova) -> impl Fn(u64) -> Iova {
        move |number| data.align_down(PAGE_BYTES) + number * PAGE_BYTES
    }

    #[test]
    fn up_to_two_pages_stand_in_the_command_and_more_in_a_list() {
        let (mut dma, _domain) = FakeDma::new(8192);
        let list = dma.allocate(8192, 4096).unwrap();
        let data = Iova(0x7000);
        let entries = |bytes, offset| entries(data, bytes, behind(data), &list, offset);
        assert_eq!(entries(512, 0), Ok([0x7000, 0]));
        assert_eq!(entries(4096, 0), Ok([0x7000, 0]));
        assert_eq!(entries(4097, 0), Ok([0x7000, 0x8000]));
        assert_eq!(entries(8193, 4096), Ok([0x7000, list.iova().0 + 4096]));
        assert_eq!(
            (list.read64(4096), list.read64(4104), list.read64(4112)),
            (Ok(0x8000), Ok(0x9000), Ok(0))
        );
        assert!(entries(MOST_BYTES, 4096).is_ok());
        assert_eq!(list.read64(8192 - 16), Ok(0x7000 + MOST_BYTES - 4096));
        assert_eq!(list.read64(8192 - 8), Ok(0));
    }

    #[test]
    fn pages_from_anywhere_may_begin_within_the_first() {
        let (mut dma, _domain) = FakeDma::new(4096);
        let list = dma.allocate(4096, 4096).unwrap();
        let pages = [0x7000, 0x2000, 0x9000].map(Iova);
        let entries = |start, bytes| entries(Iova(start), bytes, |number| pages[number as usize], &list, 0);
        assert_eq!(entries(0x7e00, 512), Ok([0x7e00, 0]));
        assert_eq!(entries(0x7e00, 513), Ok([0x7e00, 0x2000]));
        assert_eq!(entries(0x7e00, 4096 + 512), Ok([0x7e00, 0x2000]));
        assert_eq!(entries(0x7e00, 4096 + 1024), Ok([0x7e00, list.iova().0]));
        assert_eq!((list.read64(0), list.read64(8), list.read64(16)), (Ok(0x2000), Ok(0x9000), Ok(0)));
    }

    #[test]
    fn what_no_list_can_say_is_refused() {
        let (mut dma, _domain) = FakeDma::new(4096);
        let list = dma.allocate(4096, 4096).unwrap();
        let most = PAGE_BYTES + MOST_BYTES;
        for (data, bytes) in
            [(0x7001, 512), (0x7000, 0), (0x7000, most + 1), (0x7004, most), (0x7000, u64::MAX)]
        {
            let data = Iova(data);
            assert_eq!(entries(data, bytes, behind(data), &list, 0), Err(Error::Buffer), "{data:?} {bytes}");
        }
    }
}
