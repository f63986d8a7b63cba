//! The state of the transport, as it is saved: the registers, and how far each queue is.

use super::{ConfigAccess, Function, MOST_QUEUES, STATUS_BITS, Transport};
use crate::snapshot::{RestoreFault, SaveFault, has};
use crate::virtio::Queue;
use crate::virtio::queue::{QueueState, is_size};
use crate::virtio::ring::is_at_rest;
use serde::{Deserialize, Serialize};
use spec::virtio::pci::{NO_VECTOR, isr};
use spec::virtio::status;

/// What the state of a device of any type holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(in crate::virtio) struct Registers {
    pub(in crate::virtio) status: u8,
    pub(in crate::virtio) device_select: u32,
    pub(in crate::virtio) driver_select: u32,
    pub(in crate::virtio) driver_features: u64,
    pub(in crate::virtio) config_vector: u16,
    pub(in crate::virtio) queue_select: u16,
    pub(in crate::virtio) isr: u8,
    pub(in crate::virtio) unsent: u32,
    pub(in crate::virtio) access: ConfigAccess,
    pub(in crate::virtio) queues: [Option<QueueState>; MOST_QUEUES],
}

impl Registers {
    /// Whether the driver has every chain back that was taken from a queue that works.
    pub(in crate::virtio) fn has_all_put(&self) -> bool {
        let is_broken = self.status & status::NEEDS_RESET != 0;
        let mut queues = self.queues.iter().flatten().filter_map(|queue| queue.progress);
        is_broken || queues.all(|progress| progress.outstanding == 0)
    }
}

impl<F: Function> Transport<F> {
    /// The state.
    ///
    /// # Errors
    /// While requests are at the medium there is none.
    pub(in crate::virtio) fn registers(&self) -> Result<Registers, SaveFault> {
        if !self.function.is_idle() || self.is_resetting {
            return Err(SaveFault::Busy);
        }
        let mut queues = [None; MOST_QUEUES];
        let states = self.queues.iter().map(Queue::state);
        queues.iter_mut().zip(states).for_each(|(place, queue)| *place = Some(queue));
        Ok(Registers {
            status: self.status,
            device_select: self.device_select,
            driver_select: self.driver_select,
            driver_features: self.driver_features,
            config_vector: self.config_vector,
            queue_select: self.queue_select,
            isr: self.isr,
            unsent: self.unsent,
            access: self.access,
            queues,
        })
    }

    /// Becomes as the device of `state` was, whose function is started if that one's was.
    ///
    /// # Errors
    /// This device is as it was.
    pub(in crate::virtio) fn take_over(&mut self, state: &Registers) -> Result<(), RestoreFault> {
        let queues = self.check(state)?;
        self.forget();
        // A driver in the middle of the configuration reads it again.
        self.generation = self.generation.wrapping_add(1);
        self.queues.iter_mut().zip(queues).for_each(|(place, queue)| *place = queue.unwrap_or(*place));
        self.status = state.status;
        self.device_select = state.device_select;
        self.driver_select = state.driver_select;
        self.driver_features = state.driver_features;
        self.config_vector = state.config_vector;
        self.queue_select = state.queue_select;
        self.isr = state.isr;
        self.unsent = state.unsent;
        self.told = state.isr != 0;
        self.access = state.access;
        if state.status & status::DRIVER_OK != 0 {
            self.function.start(state.driver_features);
        }
        Ok(())
    }

    /// The queues of a state, or what cannot be.
    fn check(&self, state: &Registers) -> Result<[Option<Queue>; MOST_QUEUES], RestoreFault> {
        let Registers { status, isr, unsent, driver_features: features, .. } = *state;
        let is_agreed = status & status::FEATURES_OK != 0;
        let is_set_up = status & status::DRIVER_OK != 0;
        let is_broken = status & status::NEEDS_RESET != 0;
        has(status & !(STATUS_BITS | status::NEEDS_RESET) == 0, "a reserved bit of the status is set")?;
        has(!is_agreed || self.can_agree(features), "features are agreed on that cannot be")?;
        has(is_agreed || !is_set_up && !is_broken, "the driver is set up without features")?;
        has(isr & !(isr::QUEUE | isr::CONFIGURATION) == 0, "a reserved bit of the ISR is set")?;
        has(
            unsent.checked_shr(self.messages.into()).unwrap_or(0) == 0,
            "a message is due that is not there",
        )?;
        has(is_set_up || isr == 0 && unsent == 0, "a driver is interrupted that is not set up")?;
        has(self.is_vector(state.config_vector), "a vector is of no message")?;
        has(state.access.is_possible(), "what is reserved in configuration space is written")?;
        let (count, most) = (self.queues.len(), self.function.queues().1);
        let mut queues = [None; MOST_QUEUES];
        for (place, (queue, into)) in state.queues.iter().zip(&mut queues).enumerate() {
            has(queue.is_some() == (place < count), "there are more queues, or fewer")?;
            let Some(queue) = queue else { continue };
            has(self.is_vector(queue.vector), "a vector is of no message")?;
            // One that is not enabled may have the size of another kind of queue, of which there was talk before.
            let is_right = is_size(queue.size, features) || queue.size != 0 && queue.progress.is_none();
            has(is_right && queue.size <= most, "a queue has a size that none has")?;
            has(is_agreed || queue.progress.is_none(), "a queue is enabled without features")?;
            let is_far = |progress| is_broken || is_at_rest(progress, queue.size, features);
            has(queue.progress.as_ref().is_none_or(is_far), "a queue is not as far as it can be")?;
            let restored = Queue::restored(queue, most, features);
            has(restored.is_ok(), "a queue is where none can be")?;
            *into = restored.ok();
        }
        Ok(queues)
    }

    const fn is_vector(&self, vector: u16) -> bool {
        vector == NO_VECTOR || vector < self.messages
    }
}
