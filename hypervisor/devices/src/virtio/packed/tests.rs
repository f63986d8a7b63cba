use super::*;
use access::OutOfBounds;
use access::memory::VecMemory;
use core::cell::RefCell;
use std::vec::Vec;

const SIZE: u16 = 8;
const DESCRIPTORS: u64 = 0x1000;
const DRIVER: u64 = 0x2000;
const DEVICE: u64 = 0x2004;
const TABLE: u64 = 0x3000;
const NEXT: u16 = DESCRIPTOR_NEXT;
const WRITE: u16 = DESCRIPTOR_WRITE;
const INDIRECT: u16 = DESCRIPTOR_INDIRECT;
/// Available in the first lap.
const FIRST: u16 = DESCRIPTOR_AVAILABLE;

fn places() -> Places {
    let (descriptors, driver, device) = (Gpa(DESCRIPTORS), Gpa(DRIVER), Gpa(DEVICE));
    Places { size: SIZE, descriptors, driver, device, indirect: true, event_index: true }
}

fn describe(memory: &dyn GuestMemory, place: u64, gpa: u64, bytes: u32, flags: u16) {
    let state = State { bytes, id: 0x100 + place as u16, flags };
    memory.write(Gpa(DESCRIPTORS + 16 * place), &Descriptor { gpa: Gpa(gpa), state }.encode()).unwrap();
}

/// A queue whose first descriptors are these: address, bytes, flags. Those behind are what the device never
/// used.
fn queue(descriptors: &[(u64, u32, u16)]) -> (Packed, VecMemory, Chain) {
    let memory = VecMemory::new(0x8000);
    for (place, &(gpa, bytes, flags)) in (0..).zip(descriptors) {
        describe(&memory, place, gpa, bytes, flags);
    }
    (Packed::new(places()).unwrap(), memory, Chain::with_capacity(SIZE))
}

fn take_of(descriptors: &[(u64, u32, u16)]) -> Result<bool, Broken> {
    let (mut packed, memory, mut chain) = queue(descriptors);
    packed.take(&memory, &mut chain)
}

#[test]
fn a_queue_is_only_where_it_can_be() {
    let good = places();
    for size in [1, 3, 8, 32768] {
        assert!(Packed::new(Places { size, ..good }).is_ok());
    }
    for bad in [
        Places { size: 0, ..good },
        Places { size: 32769, ..good },
        Places { descriptors: Gpa(8), ..good },
        Places { driver: Gpa(2), ..good },
        Places { device: Gpa(2), ..good },
        Places { device: Gpa(u64::MAX - 3), ..good },
        Places { descriptors: Gpa(u64::MAX - 15), ..good },
    ] {
        assert_eq!(Packed::new(bad), Err(Broken), "{bad:?}");
    }
}

#[test]
fn a_list_that_breaks_a_rule_is_refused() {
    assert_eq!(take_of(&[(0x6000, 16, FIRST | NEXT), (0x7000, 1, FIRST | WRITE)]), Ok(true));
    assert_eq!(take_of(&[(0x6000, 16, FIRST | NEXT); 8]), Err(Broken), "a circle");
    assert_eq!(take_of(&[(0x6000, 0, FIRST | NEXT); 8]), Err(Broken), "a circle without bytes");
    assert_eq!(
        take_of(&[(0x6000, 16, FIRST | NEXT | WRITE), (0, 1, FIRST)]),
        Err(Broken),
        "read after write"
    );
    assert_eq!(take_of(&[(u64::MAX, 2, FIRST)]), Err(Broken), "an end beyond the address space");
    assert_eq!(take_of(&[(0, u32::MAX, FIRST | NEXT), (0, 1, FIRST)]), Err(Broken), "more than 2^32 bytes");
    assert_eq!(take_of(&[(TABLE, 16, FIRST | INDIRECT)]), Ok(true));
    assert_eq!(take_of(&[(TABLE, 16, FIRST | INDIRECT | WRITE)]), Ok(true), "the flag says nothing");
    assert_eq!(
        take_of(&[(TABLE, 16, FIRST | INDIRECT | NEXT), (0, 1, FIRST)]),
        Err(Broken),
        "a table that goes on"
    );
    assert_eq!(
        take_of(&[(0, 1, FIRST | NEXT), (TABLE, 16, FIRST | INDIRECT)]),
        Err(Broken),
        "one at the end"
    );
    assert_eq!(take_of(&[(TABLE, 0, FIRST | INDIRECT)]), Err(Broken), "an empty table");
    assert_eq!(take_of(&[(TABLE, 17, FIRST | INDIRECT)]), Err(Broken), "a part of a descriptor");
    let many = (u32::from(SIZE) + 1) * 16;
    assert_eq!(take_of(&[(TABLE, many, FIRST | INDIRECT)]), Err(Broken), "longer than the queue");
    assert_eq!(take_of(&[(0x8000, 16, FIRST | INDIRECT)]), Err(Broken), "no memory");
    assert_eq!(take_of(&[(u64::MAX - 7, 16, FIRST | INDIRECT)]), Err(Broken), "beyond the address space");
}

/// Whose a descriptor is its flags say with the lap: what is not available is not there, and in the middle of a
/// list breaks it.
#[test]
fn a_wrap_counter_that_lies_is_believed_in_nothing() {
    const USED: u16 = DESCRIPTOR_USED;
    for flags in [0, USED, FIRST | USED] {
        assert_eq!(take_of(&[(0x6000, 16, flags)]), Ok(false), "{flags:#x}");
        let list = [(0x6000, 16, FIRST | NEXT), (0x7000, 1, flags)];
        assert_eq!(take_of(&list), Err(Broken), "{flags:#x}");
    }
}

/// In a table nothing counts but which side writes (section 2.8.7): one that says it is a table is a buffer.
#[test]
fn a_table_in_a_table_is_a_buffer() {
    let (mut packed, memory, mut chain) = queue(&[(TABLE, 32, FIRST | INDIRECT)]);
    for (place, flags) in [(0, 0xfffd), (1, 0xffff)] {
        let state = State { bytes: 32, id: 7, flags };
        memory.write(Gpa(TABLE + 16 * place), &Descriptor { gpa: Gpa(TABLE), state }.encode()).unwrap();
    }
    assert_eq!(packed.take(&memory, &mut chain), Ok(true));
    let buffer = [Segment { gpa: Gpa(TABLE), bytes: 32 }];
    assert_eq!((chain.readable(), chain.writable()), (&buffer[..], &buffer[..]));
    assert_eq!(chain.taken, Taken { head: 0x100, entries: 1 });
}

/// What is outstanding is not taken again, whatever its flags become, and a list does not reach into it.
#[test]
fn no_more_is_outstanding_than_there_are() {
    let (mut packed, memory, mut chain) = queue(&[(0x6000, 16, FIRST); 6]);
    for _ in 0..6 {
        assert_eq!(packed.take(&memory, &mut chain), Ok(true));
    }
    // One list of the last two and, in the next lap, of the first one again, which was not put yet.
    describe(&memory, 6, 0x6000, 1, FIRST | NEXT);
    describe(&memory, 7, 0x6000, 1, FIRST | NEXT);
    describe(&memory, 0, 0x6000, 1, DESCRIPTOR_USED);
    let before = packed;
    assert_eq!(packed.take(&memory, &mut chain), Err(Broken));
    assert_eq!(packed, before);
    describe(&memory, 7, 0x6000, 1, FIRST);
    assert_eq!(packed.take(&memory, &mut chain), Ok(true));
    assert_eq!(packed.outstanding(), SIZE);
    assert_eq!(packed.take(&memory, &mut chain), Ok(false));
    assert_eq!(packed.want_notifications(true, &memory), Ok(false), "who waits for this would wait for ever");
    assert_eq!(packed.admit(&memory), Ok(()));
    // IDs are the driver's affair, and go back as they came.
    packed.put_all(&memory, &[(chain.taken, 1)]).unwrap();
    assert_eq!(
        State::decode(memory.read64(Gpa(DESCRIPTORS + 8)).unwrap()),
        State { bytes: 1, id: 0x107, flags: 0x8082 }
    );
}

/// A memory that notes what is written to it.
struct Noting(VecMemory, RefCell<Vec<(u64, usize)>>);

impl GuestMemory for Noting {
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        self.0.read(gpa, bytes)
    }
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        self.1.borrow_mut().push((gpa.0, bytes.len()));
        self.0.write(gpa, bytes)
    }
    fn contains(&self, gpa: Gpa, bytes: u64) -> bool {
        self.0.contains(gpa, bytes)
    }
}

/// The driver looks at the first descriptor that is used next, which is written when the others are.
#[test]
fn several_are_written_in_one_step_that_shows() {
    let list = [(0x6000, 16, FIRST | NEXT), (0x6000, 16, FIRST), (0x6000, 16, FIRST), (0x6000, 16, FIRST)];
    let (mut packed, memory, mut chain) = queue(&list);
    let taken = [(); 3].map(|()| {
        assert_eq!(packed.take(&memory, &mut chain), Ok(true));
        (chain.taken, 0)
    });
    let memory = Noting(memory, RefCell::default());
    packed.put_all(&memory, &taken).unwrap();
    let at = |place: u64| (DESCRIPTORS + 16 * place + 8, 8);
    assert_eq!(*memory.1.borrow(), [at(2), at(3), at(0)]);
}

/// A wish for an interrupt with any descriptor that was passed over is granted once.
#[test]
fn a_wish_in_the_middle_of_a_list_is_granted() {
    for (offset, wrap, is_told) in [
        (0, true, [true, false]),
        (1, true, [true, false]),
        (2, true, [false, true]),
        (3, true, [false, false]),
        (0, false, [false, false]),
        (7, false, [false, false]),
        (8, true, [false, false]),
        (0x7fff, true, [false, false]),
    ] {
        let (mut packed, memory, mut chain) =
            queue(&[(0x6000, 16, FIRST | NEXT), (0x6000, 16, FIRST), (0x6000, 16, FIRST)]);
        memory.write32(Gpa(DRIVER), Event::At(Place { offset, wrap }).encode()).unwrap();
        for is_told in is_told {
            assert_eq!(packed.take(&memory, &mut chain), Ok(true));
            packed.put_all(&memory, &[(chain.taken, 0)]).unwrap();
            assert_eq!(packed.take_interrupt(&memory), Ok(is_told), "{offset} {wrap}");
        }
    }
}

/// What is reserved asks for interrupts, and so does an index that was not agreed on.
#[test]
fn a_wish_that_makes_no_sense_is_granted() {
    for (event, event_index) in [(0x0003_0000, true), (0x0002_7fff, false)] {
        let (_, memory, mut chain) = queue(&[(0x6000, 16, FIRST)]);
        memory.write32(Gpa(DRIVER), event).unwrap();
        let mut packed = Packed::new(Places { event_index, ..places() }).unwrap();
        assert_eq!(packed.take(&memory, &mut chain), Ok(true));
        packed.put_all(&memory, &[(chain.taken, 0)]).unwrap();
        assert_eq!(packed.take_interrupt(&memory), Ok(true));
    }
}

/// Two laps bring the ring to where it was: that something was put is not forgotten.
#[test]
fn two_laps_without_a_question_are_told_of() {
    let (mut packed, memory, mut chain) = queue(&[]);
    memory.write32(Gpa(DRIVER), Event::At(Place { offset: 3, wrap: true }).encode()).unwrap();
    for lap in [FIRST, DESCRIPTOR_USED] {
        for place in 0..SIZE.into() {
            describe(&memory, place, 0x6000, 1, lap);
            assert_eq!(packed.take(&memory, &mut chain), Ok(true));
            packed.put_all(&memory, &[(chain.taken, 0)]).unwrap();
        }
    }
    assert_eq!(packed.progress().next_used, 0);
    assert_eq!(packed.take_interrupt(&memory), Ok(true));
}
