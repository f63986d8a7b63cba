//! A guest's nested tables, for those that need not know their format.

use crate::{Changed, Format, Geometry, MapError, MemoryType, PageTable, Permissions};
use access::TableMemory;
use spec::{Gpa, Hpa};

/// What a guest's processors reach, whatever format their vendor walks. The tables and
/// the frames that they are made of belong together, so mapping needs no more than this.
pub trait NestedTables: Send {
    /// The root table.
    fn root(&self) -> Hpa;

    /// Maps `bytes` bytes at `gpa` to `hpa`. Processors cache no absent entries, so
    /// there is nothing to flush.
    ///
    /// # Errors
    /// As [`PageTable::map`]; nothing changed then.
    fn map(
        &mut self,
        gpa: Gpa,
        hpa: Hpa,
        bytes: u64,
        permissions: Permissions,
        memory_type: MemoryType,
    ) -> Result<(), MapError>;

    /// Takes `bytes` bytes at `gpa` away. Every processor of the guest must flush; the
    /// frames that this retired come back with [`NestedTables::flushed`].
    ///
    /// # Errors
    /// As [`PageTable::unmap`]; nothing changed then.
    fn unmap(&mut self, gpa: Gpa, bytes: u64) -> Result<(), MapError>;

    /// Every processor of the guest has flushed since the last [`NestedTables::unmap`],
    /// or runs no more.
    fn flushed(&mut self);

    /// Frames that are left for more tables.
    fn frames_left(&self) -> usize;
}

/// Tables of format `F` made of frames of `M`.
pub struct Nested<F: Format, M> {
    table: PageTable<F>,
    pool: M,
    /// Frames that processors may still walk.
    retired: Option<Changed>,
}

impl<F: Format, M: TableMemory> Nested<F, M> {
    /// Empty tables.
    ///
    /// # Errors
    /// `pool` has no frame for the root.
    pub fn new(mut pool: M, geometry: Geometry) -> Result<Self, MapError> {
        let table = PageTable::new(&mut pool, geometry)?;
        Ok(Self { table, pool, retired: None })
    }
}

impl<F: Format + Send, M: TableMemory + Send> NestedTables for Nested<F, M> {
    fn root(&self) -> Hpa {
        self.table.root()
    }

    fn map(
        &mut self,
        gpa: Gpa,
        hpa: Hpa,
        bytes: u64,
        permissions: Permissions,
        memory_type: MemoryType,
    ) -> Result<(), MapError> {
        let added = self.table.map(&mut self.pool, gpa.0, hpa, bytes, permissions, memory_type)?;
        added.flushed(&mut self.pool);
        Ok(())
    }

    fn unmap(&mut self, gpa: Gpa, bytes: u64) -> Result<(), MapError> {
        let changed = self.table.unmap(&mut self.pool, gpa.0, bytes)?;
        self.retired = Some(match self.retired.take() {
            Some(before) => before.and(&mut self.pool, changed),
            None => changed,
        });
        Ok(())
    }

    fn flushed(&mut self) {
        if let Some(changed) = self.retired.take() {
            changed.flushed(&mut self.pool);
        }
    }

    fn frames_left(&self) -> usize {
        self.pool.left()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ept, Npt, PageSize};
    use access::frames::FakeFrames;

    fn exercise<F: Format + Send>() {
        let geometry = Geometry::processor(4, PageSize::Size1GiB);
        let mut nested = Nested::<F, _>::new(FakeFrames::new(16), geometry).unwrap();
        let free = nested.frames_left();
        let map = |nested: &mut Nested<F, FakeFrames>, hpa| {
            nested.map(Gpa(0x1000), Hpa(hpa), 0x1000, Permissions::ALL, MemoryType::WriteBack)
        };
        map(&mut nested, 0x5000).unwrap();
        assert!(map(&mut nested, 0x6000).is_err(), "something else is there");
        nested.unmap(Gpa(0x1000), 0x1000).unwrap();
        assert!(nested.frames_left() < free, "a processor may still walk what was retired");
        nested.flushed();
        assert_eq!(nested.frames_left(), free);
        map(&mut nested, 0x6000).unwrap();
    }

    #[test]
    fn frames_come_back_only_after_the_flush() {
        exercise::<Npt>();
        exercise::<Ept>();
    }
}
