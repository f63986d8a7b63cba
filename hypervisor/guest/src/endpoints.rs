//! The emulated devices of a guest, each behind a lock of its own. The guest's bus finds which
//! of them an access reaches, and is not locked while the device works. The other way round it
//! may be: a write to configuration space changes what a device may do.

use crate::host::Host;
use crate::partition::{HOUSEKEEPING, Partition};
use core::cell::Cell;
use devices::{Endpoint, Surroundings};
use spec::Width;
use vpci::Enables;

/// Pieces that are printed by one use of an endpoint at most.
const MOST_PIECES: usize = 256;

impl<H: Host> Partition<H> {
    /// Reads `width` bytes, `offset` bytes into the BAR of an endpoint. Returns the value, and
    /// whether vCPU `from`, which reads, has to look at its interrupts.
    #[inline(never)]
    pub fn endpoint_read(&self, from: usize, number: usize, offset: u64, width: Width) -> (u64, bool) {
        self.access_endpoint(from, number, |endpoint, around| endpoint.read(offset, width, around))
            .unwrap_or((width.mask(), false))
    }

    /// Writes `width` bytes, `offset` bytes into the BAR of an endpoint. Returns whether vCPU
    /// `from`, which writes, has to look at its interrupts.
    #[inline(never)]
    pub fn endpoint_write(&self, from: usize, number: usize, offset: u64, width: Width, value: u64) -> bool {
        self.access_endpoint(from, number, |endpoint, around| endpoint.write(offset, width, value, around))
            .is_some_and(|((), own)| own)
    }

    /// Reads as a string instruction does, each element at `offset`. Returns whether vCPU `from` has
    /// to look at its interrupts.
    #[inline(never)]
    pub fn endpoint_read_string(
        &self,
        from: usize,
        number: usize,
        offset: u64,
        width: Width,
        bytes: &mut [u8],
    ) -> bool {
        self.access_endpoint(from, number, |endpoint, around| {
            endpoint.read_string(offset, width, bytes, around)
        })
        .is_some_and(|((), own)| own)
    }

    /// Writes as a string instruction does; as [`endpoint_read_string`](Self::endpoint_read_string).
    #[inline(never)]
    pub fn endpoint_write_string(
        &self,
        from: usize,
        number: usize,
        offset: u64,
        width: Width,
        bytes: &[u8],
    ) -> bool {
        self.access_endpoint(from, number, |endpoint, around| {
            endpoint.write_string(offset, width, bytes, around)
        })
        .is_some_and(|((), own)| own)
    }

    /// What the guest lets an endpoint do, as its configuration space says.
    pub(crate) fn enable_endpoint(&self, number: usize, enables: Enables) {
        let Enables { bus_master, line, messages, masked } = enables;
        self.with_endpoint(HOUSEKEEPING, number, |endpoint, around| {
            endpoint.enable_lines(line);
            endpoint.set_enables(bus_master, messages, masked, around);
        });
    }

    /// An endpoint as after power-up.
    pub(crate) fn reset_endpoint(&self, number: usize) {
        self.with_endpoint(HOUSEKEEPING, number, |endpoint, _| endpoint.reset());
    }

    /// Lets whoever polls an endpoint, or serves its backend, use it: none of the vCPUs.
    pub fn serve_endpoint<R>(
        &self,
        number: usize,
        serve: impl FnOnce(&mut Endpoint, &mut Surroundings<'_>) -> R,
    ) -> Option<R> {
        self.with_endpoint(HOUSEKEEPING, number, serve).map(|(result, _)| result)
    }

    /// The same on the processor of vCPU `from`, which nobody has to kick. Whether it has to look at its
    /// interrupts.
    pub fn serve_endpoint_on(
        &self,
        from: usize,
        number: usize,
        serve: &mut dyn FnMut(&mut Endpoint, &mut Surroundings<'_>),
    ) -> bool {
        self.with_endpoint(from, number, serve).is_some_and(|((), own)| own)
    }

    /// Whether a drive may still read or write the guest's memory for one of its endpoints.
    pub fn lends_memory(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.lock().is_lent())
    }

    /// The same of one endpoint.
    pub(crate) fn lends_memory_of(&self, number: usize) -> bool {
        self.endpoints.get(number).is_some_and(|endpoint| endpoint.lock().is_lent())
    }

    /// A device has asserted the global system interrupts of `was`, a bit each, and asserts those of
    /// `is` from now on. Returns whether vCPU `from` has to look at its interrupts.
    #[inline(never)]
    fn drive_lines(&self, from: usize, was: u32, is: u32) -> bool {
        let mut lines = self.lines.lock();
        let (_, own) = self.with_chipset(from, |chipset, effects, _| {
            let mut changed = was ^ is;
            while changed != 0 {
                let gsi = changed.trailing_zeros() as u8;
                changed &= changed - 1;
                chipset.set_line(gsi, lines.count(gsi, is >> gsi & 1 != 0), effects);
            }
        });
        own
    }

    /// Lets vCPU `from` access an endpoint, and has it served then where that asks for it.
    fn access_endpoint<R>(
        &self,
        from: usize,
        number: usize,
        access: impl FnOnce(&mut Endpoint, &mut Surroundings<'_>) -> R,
    ) -> Option<(R, bool)> {
        let Used { result, mut own, wants_service, .. } = self.use_endpoint(from, number, access)?;
        if wants_service {
            own |= self.host.serve_io(self, from, number);
        }
        Some((result, own))
    }

    /// Lets `access` use an endpoint for somebody who may serve it: what it asks for besides is the
    /// housekeeping CPU's.
    fn with_endpoint<R>(
        &self,
        from: usize,
        number: usize,
        access: impl FnOnce(&mut Endpoint, &mut Surroundings<'_>) -> R,
    ) -> Option<(R, bool)> {
        let Used { result, own, wants_service, .. } = self.use_endpoint(from, number, access)?;
        if wants_service {
            self.host.wake_io();
        }
        Some((result, own))
    }

    /// Lets `access` use an endpoint, then prints what it has to print: a piece at a time, for nobody waits
    /// for the endpoint longer than one takes. What is more than a model has that is in order is left for the
    /// next use: who uses it may be the housekeeping CPU, and one in ring 3 may say for ever that there is more.
    fn use_endpoint<R>(
        &self,
        from: usize,
        number: usize,
        access: impl FnOnce(&mut Endpoint, &mut Surroundings<'_>) -> R,
    ) -> Option<Used<R>> {
        let mut used = self.with_locked_endpoint(from, number, access)?;
        for _ in 1..MOST_PIECES {
            if !used.prints_more {
                break;
            }
            let piece = self.with_locked_endpoint(from, number, |_, _| ())?;
            used.own |= piece.own;
            used.wants_service |= piece.wants_service;
            used.prints_more = piece.prints_more;
        }
        Some(used)
    }

    fn with_locked_endpoint<R>(
        &self,
        from: usize,
        number: usize,
        access: impl FnOnce(&mut Endpoint, &mut Surroundings<'_>) -> R,
    ) -> Option<Used<R>> {
        let mut endpoint = self.endpoints.get(number)?.lock();
        let own = Cell::new(false);
        let mut send = |message| own.set(own.get() | self.route(from, message));
        let mut print = |bytes: &[u8]| own.set(own.get() | self.print(from, number, bytes));
        let mut around =
            Surroundings { memory: &self.memory, now: self.now(), send: &mut send, print: &mut print };
        let result = access(&mut endpoint, &mut around);
        let prints_more = endpoint.print(&mut around);
        let mut own = own.get();
        if let Some((was, is)) = endpoint.take_line_change() {
            own |= self.drive_lines(from, was, is);
        }
        if endpoint.has_failed() {
            self.fail_device("emulated function");
        }
        Some(Used { result, own, prints_more, wants_service: endpoint.take_wants_service() })
    }
}

/// What using an endpoint left.
struct Used<R> {
    /// What the use gave.
    result: R,
    /// The vCPU that used it has to look at its interrupts.
    own: bool,
    /// There is more to print.
    prints_more: bool,
    /// Somebody has to serve it.
    wants_service: bool,
}
