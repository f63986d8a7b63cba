//! The registers of the common configuration (section 4.1.4.3).

use super::{Function, Transport};
use crate::device::Context;
use crate::virtio::Queue;
use spec::Width;
use spec::virtio::pci::{NO_VECTOR, common};
use spec::virtio::status;

impl<F: Function> Transport<F> {
    fn queue(&self) -> Option<&Queue> {
        self.queues.get(usize::from(self.queue_select))
    }

    pub(super) fn queue_mut(&mut self) -> Option<&mut Queue> {
        self.queues.get_mut(usize::from(self.queue_select))
    }

    /// The register that begins at `offset`, or the upper half of one.
    pub(super) fn common(&self, offset: u64) -> u64 {
        match offset {
            common::DEVICE_FEATURE_SELECT => self.device_select.into(),
            common::DEVICE_FEATURE => half(self.features(), self.device_select).into(),
            common::DRIVER_FEATURE_SELECT => self.driver_select.into(),
            common::DRIVER_FEATURE => half(self.driver_features, self.driver_select).into(),
            common::CONFIG_VECTOR => self.config_vector.into(),
            common::QUEUES => self.queues.len() as u64,
            common::STATUS => self.status.into(),
            common::GENERATION => self.generation.into(),
            common::QUEUE_SELECT => self.queue_select.into(),
            common::QUEUE_NOTIFY => self.queue_select.into(),
            common::QUEUE_VECTOR => self.queue().map_or(NO_VECTOR, |queue| queue.vector).into(),
            _ if offset >= common::QUEUE_DESCRIPTORS && offset & 4 != 0 => {
                self.queue().map_or(0, |queue| queue.read(offset & !7) >> 32)
            }
            _ => self.queue().map_or(0, |queue| queue.read(offset)),
        }
    }

    /// The driver says what other registers are of, if this is such a register.
    pub(super) fn select(&mut self, offset: u64, width: Width, value: u64) -> bool {
        let is_new = match (offset, width) {
            (common::DEVICE_FEATURE_SELECT, Width::Dword) => replace(&mut self.device_select, value as u32),
            (common::DRIVER_FEATURE_SELECT, Width::Dword) => replace(&mut self.driver_select, value as u32),
            (common::QUEUE_SELECT, Width::Word) => replace(&mut self.queue_select, value as u16),
            _ => return false,
        };
        self.touched.selects |= is_new;
        true
    }

    pub(super) fn write_common(&mut self, offset: u64, width: Width, value: u64, context: &mut Context<'_>) {
        let (dword, word) = (value as u32, value as u16);
        match (offset, width) {
            (common::DRIVER_FEATURE, Width::Dword) => self.take_features(dword),
            (common::CONFIG_VECTOR, Width::Word) => self.config_vector = self.vector(word),
            (common::STATUS, Width::Byte) => self.set_status(value as u8, context),
            (common::QUEUE_SIZE, Width::Word) => {
                let features = self.driver_features;
                self.queue_mut().into_iter().for_each(|queue| queue.set_size(word, features));
            }
            (common::QUEUE_RESET, Width::Word) if word == 1 => self.reset_queue(),
            (common::QUEUE_VECTOR, Width::Word) => {
                let vector = self.vector(word);
                self.queue_mut().into_iter().for_each(|queue| queue.vector = vector);
            }
            (common::QUEUE_ENABLE, Width::Word) if word == 1 => self.enable_queue(context),
            (common::QUEUE_DESCRIPTORS.., Width::Dword) => {
                self.queue_mut().into_iter().for_each(|queue| queue.set_address(offset, dword));
            }
            (common::QUEUE_DESCRIPTORS.., Width::Qword) => {
                if let Some(queue) = self.queue_mut() {
                    queue.set_address(offset, dword);
                    queue.set_address(offset + 4, (value >> 32) as u32);
                }
            }
            _ => {}
        }
    }

    /// A vector that there is no message for is none (section 4.1.5.1.2).
    const fn vector(&self, vector: u16) -> u16 {
        if vector < self.messages { vector } else { NO_VECTOR }
    }

    fn take_features(&mut self, value: u32) {
        if self.status & status::FEATURES_OK != 0 {
            return;
        }
        let shift = match self.driver_select {
            0 => 0,
            1 => 32,
            _ => return,
        };
        self.driver_features = self.driver_features & !(0xffff_ffff << shift) | u64::from(value) << shift;
    }
}

/// Whether `place` was other than `value`, which it now is.
fn replace<T: PartialEq>(place: &mut T, value: T) -> bool {
    core::mem::replace(place, value) != *place
}

/// The half of 64 features that `select` names.
const fn half(features: u64, select: u32) -> u32 {
    match select {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}
