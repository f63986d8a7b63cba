//! How whoever works for emulated devices reaches the endpoints of guests: the housekeeping CPU, or the
//! processor of a guest that told of something.

use crate::guests::Guest;
use crate::host::{KernelHost, MACHINE, Machine};
use crate::housekeeping;
use crate::io::IO;
use crate::lifecycle::COMMON;
use crate::metered;
use access::Clock;
use backends::Clients;
use devices::{Endpoint, Surroundings};
use guest::partition::Partition;

/// The guests' endpoints, for the housekeeping CPU.
pub struct Endpoints<'a>(pub &'a Machine);

impl Clients for Endpoints<'_> {
    fn with(
        &mut self,
        guest: usize,
        endpoint: usize,
        serve: &mut dyn FnMut(&mut Endpoint, &mut Surroundings<'_>),
    ) {
        if let Some(guest) = self.0.guests.get(guest) {
            guest
                .partition
                .serve_endpoint(endpoint, |endpoint, around| metered::serve(serve, endpoint, around));
            guest.drive_is_done();
        }
    }
}

/// The guests' endpoints, for the processor of one of them.
struct OnVcpu<'a> {
    guests: &'a [Guest],
    /// Which guest's it is, and which vCPU runs there.
    guest: usize,
    vcpu: usize,
    /// The vCPU has to look at its interrupts: nobody kicks its processor.
    has_mail: bool,
}

impl Clients for OnVcpu<'_> {
    fn with(
        &mut self,
        index: usize,
        endpoint: usize,
        serve: &mut dyn FnMut(&mut Endpoint, &mut Surroundings<'_>),
    ) {
        let Some(guest) = self.guests.get(index) else { return };
        if index == self.guest {
            self.has_mail |= guest.partition.serve_endpoint_on(self.vcpu, endpoint, serve);
        } else {
            guest.partition.serve_endpoint(endpoint, |endpoint, around| serve(endpoint, around));
        }
        guest.drive_is_done();
    }
}

/// Does what vCPU `vcpu` of a guest told of by one of its endpoints, or has the housekeeping CPU do it. Whether the
/// vCPU has to look at its interrupts then.
pub fn serve(partition: &Partition<KernelHost>, vcpu: usize, endpoint: usize) -> bool {
    let guest = partition.index;
    let io = IO.get().filter(|io| io.is_by_guests());
    let (Some(io), Some(Machine { guests, .. }), Some(common)) = (io, MACHINE.get(), COMMON.get()) else {
        housekeeping::wake_io();
        return false;
    };
    let mut clients = OnVcpu { guests, guest, vcpu, has_mail: false };
    if io.serve((guest, endpoint), &mut clients, || common.clock.now_ns()) {
        housekeeping::wake_io();
    }
    clients.has_mail
}
