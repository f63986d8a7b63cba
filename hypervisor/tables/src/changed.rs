//! What a change of a table leaves to be done.

use access::TableMemory;
use spec::Hpa;

/// Frames in a list that is threaded through their first entries, so that it
/// needs no memory of its own. A link has its low 12 bits clear: hardware that
/// still walks a retired table finds an entry that is not present.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameList {
    ends: Option<(Hpa, Hpa)>,
    frames: usize,
}

impl FrameList {
    pub(crate) fn push(&mut self, memory: &mut (impl TableMemory + ?Sized), frame: Hpa) {
        let (next, tail) = self.ends.map_or((0, frame), |(head, tail)| (head.0, tail));
        memory.write(frame, next);
        self.ends = Some((frame, tail));
        self.frames += 1;
    }

    /// Takes a frame whose first entry is zeroed again.
    pub(crate) fn pop(&mut self, memory: &mut (impl TableMemory + ?Sized)) -> Option<Hpa> {
        let (head, tail) = self.ends?;
        let next = memory.read(head);
        memory.write(head, 0);
        self.ends = (head != tail).then_some((Hpa(next), tail));
        self.frames -= 1;
        Some(head)
    }

    pub(crate) fn append(&mut self, memory: &mut (impl TableMemory + ?Sized), other: FrameList) {
        self.ends = match (self.ends, other.ends) {
            (Some((head, tail)), Some((next, other_tail))) => {
                memory.write(tail, next.0);
                Some((head, other_tail))
            }
            (ends, other_ends) => ends.or(other_ends),
        };
        self.frames += other.frames;
    }

    pub(crate) fn free(mut self, memory: &mut (impl TableMemory + ?Sized)) {
        while let Some(frame) = self.pop(memory) {
            memory.free(frame);
        }
    }

    /// Takes `frames` frames from `memory`, or none.
    pub(crate) fn reserve(memory: &mut (impl TableMemory + ?Sized), frames: usize) -> Option<Self> {
        let mut list = Self::default();
        for _ in 0..frames {
            match memory.allocate() {
                Some(frame) => list.push(memory, frame),
                None => {
                    list.free(memory);
                    return None;
                }
            }
        }
        Some(list)
    }
}

/// What an update did, and the frames that it retired. Hardware may still use what
/// it cached of the old tables: the frames come back only by [`Changed::settle`] or
/// [`Changed::flushed`]. Dropping it loses them, which is safe.
#[must_use = "flush what hardware has cached, then give the retired frames back"]
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changed {
    pub(crate) added: bool,
    pub(crate) removed: bool,
    pub(crate) retired: FrameList,
}

/// A flush failed: the change still waits for one, with its frames.
#[derive(Debug)]
pub struct Unflushed<E> {
    /// What still has to be flushed.
    pub changed: Changed,
    /// Why the flush failed.
    pub error: E,
}

impl Changed {
    /// Something that was present is gone or different: flush before anyone relies
    /// on that.
    pub const fn needs_flush(&self) -> bool {
        self.removed
    }

    /// Something that was not present is present now. This calls for a flush only
    /// where hardware caches absent entries (VT-d with CAP.CM).
    pub const fn added(&self) -> bool {
        self.added
    }

    /// How many frames wait for the flush.
    pub const fn retired_frames(&self) -> usize {
        self.retired.frames
    }

    /// This change and `other` as one, to be flushed together.
    pub fn and(mut self, memory: &mut (impl TableMemory + ?Sized), other: Changed) -> Changed {
        self.added |= other.added;
        self.removed |= other.removed;
        self.retired.append(memory, other.retired);
        self
    }

    /// Runs `flush` if something present changed, then gives the retired frames
    /// back. When `flush` fails nothing is given back.
    pub fn settle<E>(
        self,
        memory: &mut (impl TableMemory + ?Sized),
        flush: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), Unflushed<E>> {
        if self.needs_flush()
            && let Err(error) = flush()
        {
            return Err(Unflushed { changed: self, error });
        }
        self.flushed(memory);
        Ok(())
    }

    /// Gives the retired frames back. The caller has flushed every cache that may
    /// hold anything of this table, and has waited until that was done.
    pub fn flushed(self, memory: &mut (impl TableMemory + ?Sized)) {
        self.retired.free(memory);
    }
}
