//! A domain's tables, one for each unit that serves it.

use crate::IommuError;
use crate::unit::{Table, Unit};
use access::{Clock, RegisterWindow, TableMemory};
use spec::{Gpa, Hpa};
use tables::{Changed, MapError, Permissions};

/// A domain's table on one unit, and what of it still waits for a flush.
#[derive(Default)]
pub(crate) struct UnitTable {
    table: Option<Table>,
    unflushed: Option<Changed>,
}

impl UnitTable {
    /// Whether the slot holds nothing.
    pub fn is_free(&self) -> bool {
        self.table.is_none() && self.unflushed.is_none()
    }

    /// The table of the highest level, if the domain is on this unit.
    pub fn root(&self) -> Option<Hpa> {
        self.table.as_ref().map(Table::root)
    }

    /// Puts the domain on `unit`, with nothing mapped.
    pub fn create<R: RegisterWindow>(
        &mut self,
        unit: &Unit<R>,
        memory: &mut impl TableMemory,
    ) -> Result<(), IommuError> {
        if self.table.is_none() {
            self.table = Some(unit.new_table(memory)?);
        }
        Ok(())
    }

    /// Maps a range; `tag` is the domain's identifier on the unit.
    #[expect(clippy::too_many_arguments, reason = "a range has four parts")]
    pub fn map<R: RegisterWindow>(
        &mut self,
        unit: &mut Unit<R>,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        tag: u16,
        gpa: Gpa,
        hpa: Hpa,
        bytes: u64,
        permissions: Permissions,
    ) -> Result<(), IommuError> {
        // An older translation of the range may be cached still.
        self.settle(unit, memory, clock, tag)?;
        let Some(table) = &mut self.table else { return Ok(()) };
        // The unit may take narrower addresses than its tables translate.
        let end = gpa.checked_add(bytes).ok_or(MapError::OutOfRange)?;
        if u128::from(end.0) > 1 << unit.capabilities().address_bits() {
            return Err(MapError::OutOfRange.into());
        }
        let changed = table.map(memory, gpa, hpa, bytes, permissions)?;
        if changed.added() {
            unit.flush_after_map(memory, clock, tag)?;
        }
        changed.flushed(memory);
        Ok(())
    }

    /// Unmaps a range, and whatever an earlier failure left.
    pub fn unmap<R: RegisterWindow>(
        &mut self,
        unit: &mut Unit<R>,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        tag: u16,
        gpa: Gpa,
        bytes: u64,
    ) -> Result<(), IommuError> {
        if let Some(table) = &mut self.table {
            let changed = table.unmap(memory, gpa, bytes)?;
            self.hold(memory, changed);
        }
        self.settle(unit, memory, clock, tag)
    }

    /// Takes the table down. Nothing may be attached to it.
    pub fn destroy<R: RegisterWindow>(
        &mut self,
        unit: &mut Unit<R>,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        tag: u16,
    ) -> Result<(), IommuError> {
        if let Some(table) = self.table.take() {
            let changed = table.destroy(memory);
            self.hold(memory, changed);
        }
        self.settle(unit, memory, clock, tag)
    }

    /// Flushes what waits for it; its frames come back only if that worked.
    pub fn settle<R: RegisterWindow>(
        &mut self,
        unit: &mut Unit<R>,
        memory: &mut impl TableMemory,
        clock: &impl Clock,
        tag: u16,
    ) -> Result<(), IommuError> {
        let Some(changed) = self.unflushed.take() else { return Ok(()) };
        if changed.needs_flush()
            && let Err(error) = unit.flush_after_unmap(memory, clock, tag)
        {
            self.unflushed = Some(changed);
            return Err(error);
        }
        changed.flushed(memory);
        Ok(())
    }

    fn hold(&mut self, memory: &mut impl TableMemory, changed: Changed) {
        self.unflushed = Some(match self.unflushed.take() {
            Some(before) => before.and(memory, changed),
            None => changed,
        });
    }
}
