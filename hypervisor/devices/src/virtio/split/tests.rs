use super::*;
use access::memory::VecMemory;

const SIZE: u16 = 8;
const MEMORY: usize = 0x8000;
const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;

fn places() -> Places {
    let (descriptors, driver, device) = (Gpa(DESCRIPTORS), Gpa(AVAILABLE), Gpa(USED));
    Places { size: SIZE, descriptors, driver, device, indirect: true, event_index: true }
}

/// A driver that writes anything.
struct Driver {
    memory: VecMemory,
    available: u16,
}

impl Driver {
    fn set(&self, at: u64, value: u16) {
        self.memory.write(Gpa(at), &value.to_le_bytes()).unwrap();
    }

    fn describe(&self, table: u64, index: u16, descriptor: Descriptor) {
        let at = Gpa(table + u64::from(index) * DESCRIPTOR_BYTES);
        self.memory.write(at, &descriptor.encode()).unwrap();
    }

    fn offer(&mut self, head: u16) {
        self.set(AVAILABLE + RING_ENTRIES + u64::from(self.available % SIZE) * 2, head);
        self.available = self.available.wrapping_add(1);
        self.set(AVAILABLE + RING_INDEX, self.available);
    }
}

fn queue() -> (Split, Driver, Chain) {
    let driver = Driver { memory: VecMemory::new(MEMORY), available: 0 };
    (Split::new(places()).unwrap(), driver, Chain::with_capacity(SIZE))
}

/// What taking descriptor 0 gives if the first descriptors are these.
fn take_of(descriptors: &[(u64, u32, u16, u16)]) -> Result<bool, Broken> {
    let (mut split, mut driver, mut chain) = queue();
    for (index, &(gpa, bytes, flags, next)) in descriptors.iter().enumerate() {
        driver.describe(DESCRIPTORS, index as u16, Descriptor { gpa: Gpa(gpa), bytes, flags, next });
    }
    driver.offer(0);
    split.take(&driver.memory, &mut chain)
}

#[test]
fn a_queue_is_only_where_it_can_be() {
    let good = places();
    assert!(Split::new(good).is_ok());
    for bad in [
        Places { size: 0, ..good },
        Places { size: 7, ..good },
        Places { descriptors: Gpa(8), ..good },
        Places { driver: Gpa(1), ..good },
        Places { device: Gpa(2), ..good },
        Places { device: Gpa(u64::MAX - 3), ..good },
        Places { descriptors: Gpa(u64::MAX - 15), ..good },
    ] {
        assert_eq!(Split::new(bad), Err(Broken), "{bad:?}");
    }
}

#[test]
fn a_chain_that_breaks_a_rule_is_refused() {
    const NEXT: u16 = DESCRIPTOR_NEXT;
    const WRITE: u16 = DESCRIPTOR_WRITE;
    const INDIRECT: u16 = DESCRIPTOR_INDIRECT;
    assert_eq!(take_of(&[(0x6000, 16, NEXT, 1), (0x7000, 1, WRITE, 0)]), Ok(true));
    assert_eq!(take_of(&[(0x6000, 16, NEXT, 0)]), Err(Broken), "a circle");
    assert_eq!(take_of(&[(0x6000, 0, NEXT, 0)]), Err(Broken), "a circle without bytes");
    assert_eq!(take_of(&[(0x6000, 16, NEXT, SIZE)]), Err(Broken), "a descriptor that is none");
    assert_eq!(take_of(&[(0x6000, 16, NEXT | WRITE, 1), (0x7000, 1, 0, 0)]), Err(Broken), "read after write");
    assert_eq!(take_of(&[(u64::MAX, 2, 0, 0)]), Err(Broken), "an end beyond the address space");
    assert_eq!(take_of(&[(0, u32::MAX, NEXT, 1), (0, 1, 0, 0)]), Err(Broken), "more than 2^32 bytes");
    // Descriptor 1 is the one of the indirect table.
    let table = DESCRIPTORS + DESCRIPTOR_BYTES;
    assert_eq!(take_of(&[(table, 16, INDIRECT, 0), (0x6000, 16, 0, 0)]), Ok(true));
    assert_eq!(
        take_of(&[(table, 16, INDIRECT | WRITE, 0), (0x6000, 16, 0, 0)]),
        Ok(true),
        "the flag says nothing"
    );
    assert_eq!(take_of(&[(table, 16, INDIRECT | NEXT, 0), (0x6000, 16, 0, 0)]), Err(Broken));
    assert_eq!(take_of(&[(table, 16, INDIRECT, 0), (table, 16, INDIRECT, 0)]), Err(Broken), "nested");
    assert_eq!(
        take_of(&[(table, 16, INDIRECT, 0), (0x6000, 16, NEXT, 1)]),
        Err(Broken),
        "outside of the table"
    );
    assert_eq!(take_of(&[(table, 0, INDIRECT, 0)]), Err(Broken), "an empty table");
    assert_eq!(take_of(&[(table, 17, INDIRECT, 0)]), Err(Broken), "a part of a descriptor");
    let many = (u32::from(SIZE) + 1) * 16;
    assert_eq!(take_of(&[(table, many, INDIRECT, 0)]), Err(Broken), "longer than the queue");
    assert_eq!(take_of(&[(MEMORY as u64, 16, INDIRECT, 0)]), Err(Broken), "no memory");
}

#[test]
fn a_table_may_end_a_chain_of_descriptors() {
    assert_eq!(
        take_of(&[
            (0x6000, 16, DESCRIPTOR_NEXT, 1),
            (DESCRIPTORS + 32, 16, DESCRIPTOR_INDIRECT, 0),
            (0x7000, 16, DESCRIPTOR_WRITE, 0),
        ]),
        Ok(true)
    );
}

#[test]
fn an_index_that_jumps_and_a_descriptor_offered_twice_are_refused() {
    let (mut split, mut driver, mut chain) = queue();
    driver.set(AVAILABLE + RING_INDEX, SIZE + 1);
    assert_eq!(split.take(&driver.memory, &mut chain), Err(Broken));
    assert_eq!(split.want_notifications(true, &driver.memory), Err(Broken));
    driver.set(AVAILABLE + RING_INDEX, 0);
    driver.describe(DESCRIPTORS, 0, Descriptor { gpa: Gpa(0x6000), bytes: 1, flags: 0, next: 0 });
    for _ in 0..SIZE {
        driver.offer(0);
        assert_eq!(split.take(&driver.memory, &mut chain), Ok(true));
    }
    assert_eq!(split.outstanding(), SIZE);
    driver.offer(0);
    assert_eq!(split.take(&driver.memory, &mut chain), Err(Broken));
}
