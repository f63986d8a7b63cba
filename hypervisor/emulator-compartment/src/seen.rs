//! The guest's memory as one instruction has seen it.
//!
//! An instruction that waits for a reply is carried out again from its beginning. Its bytes, the page tables and operands in memory
//! may be others by then: another processor changes them, who could not have done so in the middle of an
//! instruction that was under way. So what the first attempt read is kept until the instruction is over.

use access::{GuestMemory, OutOfBounds};
use core::cell::{Cell, RefCell};
use spec::Gpa;

/// Reads that are kept: the bytes of an instruction and two operands, each across two pages, with their walks, are not
/// as many. What is more is read again.
const MOST: usize = 64;
/// Bytes of one.
const BYTES: usize = 16;

/// What was read.
#[derive(Clone, Copy, Default)]
struct One {
    gpa: u64,
    bytes: [u8; BYTES],
    count: u8,
}

/// What one instruction read.
pub(crate) struct Seen {
    list: [One; MOST],
    count: usize,
}

impl Seen {
    pub const fn new() -> Self {
        Self { list: [One { gpa: 0, bytes: [0; BYTES], count: 0 }; MOST], count: 0 }
    }

    pub const fn forget(&mut self) {
        self.count = 0;
    }

    fn known(&mut self) -> &mut [One] {
        self.list.get_mut(..self.count).unwrap_or_default()
    }

    /// Whether this was read before; then it is the same again.
    fn again(&mut self, gpa: Gpa, bytes: &mut [u8]) -> bool {
        let same = |one: &&mut One| one.gpa == gpa.0 && usize::from(one.count) == bytes.len();
        let Some(one) = self.known().iter_mut().find(same) else { return false };
        bytes.iter_mut().zip(one.bytes).for_each(|(to, from)| *to = from);
        true
    }

    fn keep(&mut self, gpa: Gpa, bytes: &[u8]) {
        let Some(place) = self.list.get_mut(self.count).filter(|_| bytes.len() <= BYTES) else { return };
        *place = One { gpa: gpa.0, bytes: [0; BYTES], count: bytes.len() as u8 };
        place.bytes.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        self.count += 1;
    }

    /// What the instruction writes it reads.
    fn write(&mut self, gpa: Gpa, bytes: &[u8]) {
        for one in self.known() {
            let places = (one.gpa..).zip(one.bytes.iter_mut().take(one.count.into()));
            for (place, byte) in places {
                let from = place.checked_sub(gpa.0).and_then(|at| bytes.get(usize::try_from(at).ok()?));
                *byte = from.copied().unwrap_or(*byte);
            }
        }
    }
}

/// The guest's memory, for one attempt.
pub(crate) struct Memory<'a, M> {
    pub memory: &'a M,
    /// What was read is kept there, and is the same when it is read again.
    pub seen: Option<RefCell<&'a mut Seen>>,
    /// The attempt is worth nothing, and writes nothing.
    pub lacks: &'a Cell<bool>,
}

impl<M: GuestMemory> GuestMemory for Memory<'_, M> {
    #[inline]
    fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        let Some(seen) = &self.seen else { return self.memory.read(gpa, bytes) };
        let mut seen = seen.borrow_mut();
        if !seen.again(gpa, bytes) {
            self.memory.read(gpa, bytes)?;
            seen.keep(gpa, bytes);
        }
        Ok(())
    }

    #[inline]
    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), OutOfBounds> {
        if self.lacks.get() {
            return if self.contains(gpa, bytes.len() as u64) { Ok(()) } else { Err(OutOfBounds) };
        }
        self.memory.write(gpa, bytes)?;
        if let Some(seen) = &self.seen {
            seen.borrow_mut().write(gpa, bytes);
        }
        Ok(())
    }

    fn contains(&self, gpa: Gpa, bytes: u64) -> bool {
        self.memory.contains(gpa, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use access::memory::VecMemory;

    fn instruction<'a>(
        memory: &'a VecMemory,
        seen: &'a mut Seen,
        lacks: &'a Cell<bool>,
    ) -> Memory<'a, VecMemory> {
        Memory { memory, seen: Some(RefCell::new(seen)), lacks }
    }

    #[test]
    fn what_was_read_is_read_again_and_what_is_written_is_read() {
        let (memory, lacks) = (VecMemory::new(0x1000), Cell::new(false));
        let mut seen = Seen::new();
        memory.write64(Gpa(0x100), 0x1122_3344_5566_7788).unwrap();
        assert_eq!(instruction(&memory, &mut seen, &lacks).read64(Gpa(0x100)), Ok(0x1122_3344_5566_7788));
        memory.write64(Gpa(0x100), 0).unwrap();
        assert_eq!(instruction(&memory, &mut seen, &lacks).read64(Gpa(0x100)), Ok(0x1122_3344_5566_7788));
        assert_eq!(instruction(&memory, &mut seen, &lacks).read32(Gpa(0x100)), Ok(0), "another read");
        instruction(&memory, &mut seen, &lacks).write(Gpa(0x0ff), &[1, 2, 3]).unwrap();
        assert_eq!(instruction(&memory, &mut seen, &lacks).read64(Gpa(0x100)), Ok(0x1122_3344_5566_0302));
        seen.forget();
        assert_eq!(instruction(&memory, &mut seen, &lacks).read64(Gpa(0x100)), Ok(0x302));
    }

    #[test]
    fn an_attempt_that_is_worth_nothing_writes_nothing() {
        let (memory, lacks) = (VecMemory::new(0x1000), Cell::new(true));
        let attempt = Memory { memory: &memory, seen: None, lacks: &lacks };
        assert_eq!(attempt.write32(Gpa(0xffc), 5), Ok(()));
        assert_eq!(attempt.write32(Gpa(0xffd), 5), Err(OutOfBounds));
        assert_eq!(memory.read32(Gpa(0xffc)), Ok(0));
    }
}
