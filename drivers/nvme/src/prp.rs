//! Where a command's data is: physical region pages (section 4.3).

use crate::error::Error;
use access::DmaBuffer;
use spec::Iova;
use spec::nvme::{PAGE_BYTES, PRP_BYTES};

/// The most that one list, of one page, can hold together with the first entry, and whole pages
/// of it: 2 MiB. A list that goes on in another page is not made.
pub(crate) const MOST_BYTES: u64 = PAGE_BYTES * (PAGE_BYTES / PRP_BYTES);

/// The two entries of a command for `bytes` bytes at `data`, which starts a page. Where there are
/// more than two pages, those from the second on are written into `list` at `offset`, where it
/// has a page for them.
pub(crate) fn entries<B: DmaBuffer>(
    data: Iova,
    bytes: u64,
    list: &B,
    offset: usize,
) -> Result<[u64; 2], Error> {
    let page = |number: u64| data.checked_add(number * PAGE_BYTES).ok_or(Error::Buffer);
    if !data.is_aligned(PAGE_BYTES) || bytes == 0 || bytes > MOST_BYTES {
        return Err(Error::Buffer);
    }
    let pages = bytes.div_ceil(PAGE_BYTES);
    match pages {
        1 => Ok([data.0, 0]),
        2 => Ok([data.0, page(1)?.0]),
        _ => {
            let places = (offset..).step_by(PRP_BYTES as usize);
            for (number, place) in (1..pages).zip(places) {
                list.write64(place, page(number)?.0)?;
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

    #[test]
    fn up_to_two_pages_stand_in_the_command_and_more_in_a_list() {
        let (mut dma, _domain) = FakeDma::new(8192);
        let list = dma.allocate(8192, 4096).unwrap();
        let data = Iova(0x7000);
        assert_eq!(entries(data, 512, &list, 0), Ok([0x7000, 0]));
        assert_eq!(entries(data, 4096, &list, 0), Ok([0x7000, 0]));
        assert_eq!(entries(data, 4097, &list, 0), Ok([0x7000, 0x8000]));
        assert_eq!(entries(data, 8193, &list, 4096), Ok([0x7000, list.iova().0 + 4096]));
        assert_eq!(
            (list.read64(4096), list.read64(4104), list.read64(4112)),
            (Ok(0x8000), Ok(0x9000), Ok(0))
        );
        assert!(entries(data, MOST_BYTES, &list, 4096).is_ok());
        assert_eq!(list.read64(8192 - 16), Ok(0x7000 + MOST_BYTES - 4096));
        assert_eq!(list.read64(8192 - 8), Ok(0));
    }

    #[test]
    fn what_no_list_can_say_is_refused() {
        let (mut dma, _domain) = FakeDma::new(4096);
        let list = dma.allocate(4096, 4096).unwrap();
        for (data, bytes) in [(0x7001, 512), (0x7000, 0), (0x7000, MOST_BYTES + 1), (!4095, 8192)] {
            assert_eq!(entries(Iova(data), bytes, &list, 0), Err(Error::Buffer), "{data:#x} {bytes}");
        }
    }
}
