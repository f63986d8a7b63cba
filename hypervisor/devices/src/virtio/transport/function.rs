//! What one type of virtio device is to the transport.

use super::{Broken, Queue};
use crate::device::{Accepts, Completion, Context, Reception, Work};
use crate::journal::Journal;
use crate::snapshot::RestoreFault;
use network::{Frame, Parts};

/// What is special about one type of device.
///
/// Where it finds the driver broke a rule, it says so, and is not called again before a reset but
/// for completions.
pub trait Function: Send {
    /// The features of the type that it offers.
    fn features(&self) -> u64 {
        0
    }
    /// How many queues it has, at most [`MOST_QUEUES`](super::MOST_QUEUES), and the most descriptors of each.
    fn queues(&self) -> (u16, u16);
    /// The most effects of one call.
    fn most_effects(&self) -> usize {
        0
    }
    /// The most requests at the medium.
    fn most_requests(&self) -> usize {
        0
    }
    /// Byte `offset` of its configuration; 0 behind the end.
    fn read_config(&self, offset: u64) -> u8 {
        let _ = offset;
        0
    }
    /// The driver agreed on `features` and is set up.
    fn start(&mut self, features: u64) {
        let _ = features;
    }
    /// Takes what waits in the queues, as much as there is room for. Whether it took something.
    ///
    /// # Errors
    /// The driver broke a rule.
    fn poll(&mut self, queues: &mut [Queue], context: &mut Context<'_>) -> Result<bool, Broken>;
    /// A request is done.
    ///
    /// # Errors
    /// The driver broke a rule.
    fn complete(
        &mut self,
        completion: Completion,
        queues: &mut [Queue],
        context: &mut Context<'_>,
    ) -> Result<(), Broken> {
        let _ = (completion, queues, context);
        Ok(())
    }
    /// Whether nothing of it is at the medium.
    fn is_idle(&self) -> bool {
        true
    }
    /// Nobody waits any more for what is at the medium, but it may still come.
    fn orphan(&mut self) {}
    /// Nobody waits any more for what is at the medium for queue `queue`, but it may still come.
    fn orphan_queue(&mut self, queue: usize) {
        let _ = queue;
    }
    /// Whether nothing of queue `queue` is at the medium.
    fn is_queue_idle(&self, queue: usize) -> bool {
        let _ = queue;
        true
    }
    /// As after power-up: what is at the medium is not known any more.
    fn reset(&mut self) {}

    /// See [`Device::output`](crate::Device::output).
    ///
    /// # Errors
    /// The driver broke a rule.
    fn output(
        &mut self,
        into: &mut [u8],
        queues: &mut [Queue],
        context: &mut Context<'_>,
    ) -> Result<usize, Broken> {
        let _ = (into, queues, context);
        Ok(0)
    }
    /// See [`Device::input`](crate::Device::input).
    ///
    /// # Errors
    /// The driver broke a rule.
    fn input(&mut self, byte: u8, queues: &mut [Queue], context: &mut Context<'_>) -> Result<bool, Broken> {
        let _ = (byte, queues, context);
        Ok(false)
    }
    /// See [`Device::work`](crate::Device::work).
    fn work(&self) -> Work {
        Work::default()
    }
    /// Whether the driver is to tell of what it makes available in queue `queue`, where nobody polls.
    fn is_notified(&self, queue: usize) -> bool {
        let _ = queue;
        true
    }
    /// See [`Device::transmit`](crate::Device::transmit).
    ///
    /// # Errors
    /// The driver broke a rule.
    fn transmit(
        &mut self,
        frame: &mut Frame,
        queues: &mut [Queue],
        context: &mut Context<'_>,
    ) -> Result<bool, Broken> {
        let _ = (frame, queues, context);
        Ok(false)
    }
    /// See [`Device::accepts`](crate::Device::accepts).
    fn accepts(&self) -> Accepts {
        Accepts::default()
    }
    /// See [`Device::receive`](crate::Device::receive).
    ///
    /// # Errors
    /// The driver broke a rule.
    fn receive(
        &mut self,
        parts: &Parts<'_>,
        queues: &mut [Queue],
        context: &mut Context<'_>,
    ) -> Result<Reception, Broken> {
        let _ = (parts, queues, context);
        Ok(Reception::Down)
    }
    /// See [`Device::set_link`](crate::Device::set_link). Whether the configuration is another one now.
    fn set_link(&mut self, is_up: bool) -> bool {
        let _ = is_up;
        false
    }
    /// How many words of a committed state are the type's; see [`Device::state_words`](crate::Device::state_words).
    fn state_words(&self) -> usize {
        0
    }
    /// Says them, from word `at` on; see [`Device::journal`](crate::Device::journal).
    fn journal(&mut self, at: usize, journal: &mut Journal<'_>) {
        let _ = (at, journal);
    }
    /// Becomes as the function that said `words`. It was [started](Self::start) where that one was, and these are
    /// its queues.
    ///
    /// # Errors
    /// No function of the type has such a state.
    fn restore_words(&mut self, words: &[u64], queues: &[Queue]) -> Result<(), RestoreFault> {
        let _ = (words, queues);
        Ok(())
    }
}
