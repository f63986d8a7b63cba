//! Doorbells in the guest's memory (NVM Express 1.4, sections 5.7 and 7.13), which whoever polls the
//! controller reads: the guest writes those of its window only past the event indexes.

use super::{Nvme, QUEUES};
use crate::device::Context;
use crate::rest::{Place, Rest, Watch, Wish};
use access::GuestMemory;
use serde::{Deserialize, Serialize};
use spec::Gpa;
use spec::nvme::{Command, PAGE_BYTES, Status};

/// No queue has this index, so a guest does not go past it but where its index begins again.
const NEVER: u32 = 0x7fff;
/// Bytes from one doorbell to the next, and from the event index of one to that of the next.
const DOORBELL_BYTES: u64 = 4;

/// Where the guest has them, a page each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Shadow {
    doorbells: Gpa,
    events: Gpa,
}

impl Shadow {
    /// Where both can be at the places that they have.
    pub(super) const fn is_possible(&self) -> bool {
        self.doorbells.is_aligned(PAGE_BYTES) && self.events.is_aligned(PAGE_BYTES)
    }

    /// Two words, as they are committed: places of pages, of which the first says by its lowest bit whether there are
    /// any.
    pub(super) fn to_words(shadow: Option<Self>) -> [u64; 2] {
        shadow.map_or([0; 2], |Self { doorbells, events }| [doorbells.0 | 1, events.0])
    }

    pub(super) fn of_words([doorbells, events]: [u64; 2]) -> Option<Self> {
        (doorbells & 1 != 0).then_some(Self { doorbells: Gpa(doorbells & !1), events: Gpa(events) })
    }

    /// The index that the guest wrote for doorbell `place`.
    fn doorbell(&self, place: usize, memory: &dyn GuestMemory) -> Option<u32> {
        let mut bytes = [0; DOORBELL_BYTES as usize];
        memory.read(at(self.doorbells, place)?, &mut bytes).ok()?;
        Some(u32::from_le_bytes(bytes))
    }

    fn set_doorbell(&self, place: usize, value: u32, memory: &dyn GuestMemory) -> Option<()> {
        memory.write(at(self.doorbells, place)?, &value.to_le_bytes()).ok()
    }

    /// Has the guest tell when doorbell `place` goes past `value`.
    fn set_event(&self, place: usize, value: u32, memory: &dyn GuestMemory) -> Option<()> {
        memory.write(at(self.events, place)?, &value.to_le_bytes()).ok()
    }
}

impl Nvme {
    /// The guest says where its doorbells are. They begin where those of the window are.
    pub(super) fn configure_doorbells(
        &mut self,
        command: &Command,
        memory: &dyn GuestMemory,
    ) -> Result<(), Status> {
        let shadow = Shadow { doorbells: Gpa(command.prp1), events: Gpa(command.prp2) };
        if !shadow.is_possible() {
            return Err(Status::PRP_OFFSET_INVALID);
        }
        for queue in 1..QUEUES {
            let tail = self.submission.get(queue).copied().flatten().map_or(0, |queue| queue.tail());
            let head = self.completion.get(queue).copied().flatten().map_or(0, |queue| queue.head());
            for (place, value) in [(2 * queue, tail), (2 * queue + 1, head)] {
                let is_written = shadow.set_doorbell(place, value, memory).is_some()
                    && shadow.set_event(place, NEVER, memory).is_some();
                if !is_written {
                    return Err(Status::DATA_TRANSFER_ERROR);
                }
            }
        }
        self.shadow = Some(shadow);
        Ok(())
    }

    /// Takes in what the guest wrote there. What cannot be read now is as it was.
    pub(super) fn take_doorbells(&mut self, memory: &dyn GuestMemory) {
        let Some(shadow) = self.shadow else { return };
        for queue in 1..QUEUES {
            if let Some(Some(submission)) = self.submission.get_mut(queue)
                && let Some(tail) = shadow.doorbell(2 * queue, memory)
            {
                submission.ring(tail);
            }
            if let Some(Some(completion)) = self.completion.get_mut(queue)
                && let Some(head) = shadow.doorbell(2 * queue + 1, memory)
            {
                completion.consume(head);
            }
        }
    }

    /// Watches those that are in memory, and says what [`want_doorbells`](Self::want_doorbells) writes. False
    /// where these are too many.
    pub(super) fn watch_doorbells(&self, rest: &mut Rest) -> bool {
        let Some(shadow) = self.shadow else { return true };
        let place = |page, index| at(page, index).map(|gpa| Place { gpa, is_wide: true });
        let mut add = |index, value, is_awaited| {
            let wanted = if is_awaited { value } else { NEVER };
            let watch = place(shadow.doorbells, index).map(|place| Watch { place, value });
            let wish = place(shadow.events, index).map(|place| Wish { place, wanted, unwanted: Some(NEVER) });
            watch.is_some_and(|watch| rest.watch(watch)) && wish.is_some_and(|wish| rest.wish(wish))
        };
        (1..QUEUES).all(|queue| {
            let submission = self.submission.get(queue).and_then(Option::as_ref);
            let completion = self.completion.get(queue).and_then(Option::as_ref);
            submission.is_none_or(|submission| add(2 * queue, submission.tail(), true))
                && completion
                    .is_none_or(|completion| add(2 * queue + 1, completion.head(), !completion.has_room()))
        })
    }

    /// Has the guest write the doorbells of the window, or not. It need not tell what it took of
    /// answers, unless there is no room for more. Whether something was written meanwhile.
    pub(super) fn want_doorbells(&mut self, wanted: bool, context: &mut Context<'_>) -> bool {
        let Some(shadow) = self.shadow.filter(|_| self.is_running()) else { return false };
        for queue in 1..QUEUES {
            if let Some(Some(submission)) = self.submission.get(queue) {
                let index = if wanted { submission.tail() } else { NEVER };
                shadow.set_event(2 * queue, index, context.memory);
            }
            if let Some(Some(completion)) = self.completion.get(queue) {
                let is_awaited = wanted && !completion.has_room();
                let index = if is_awaited { completion.head() } else { NEVER };
                shadow.set_event(2 * queue + 1, index, context.memory);
            }
        }
        if !wanted {
            return false;
        }
        // The wish is there before the doorbells are read: the guest writes a doorbell, and then looks
        // at the wish.
        core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
        self.take_doorbells(context.memory);
        self.next_queue().is_some()
    }
}

fn at(page: Gpa, place: usize) -> Option<Gpa> {
    page.0.checked_add(place as u64 * DOORBELL_BYTES).map(Gpa)
}
