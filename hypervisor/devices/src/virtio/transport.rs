//! A virtio device over PCI: the registers that every type of device has (section 4.1).
//!
//! The register window has a page for each structure. The last one is where the driver notifies:
//! any write there means that something waits in some queue, and its value is not looked at.
//!
//! Where somebody polls the queues, a notification only wakes them ([`DeviceEffect::Wake`]), and what
//! completes meanwhile interrupts once, when they poll next. Otherwise the access does everything.

use super::{Broken, Queue};
use crate::device::{Accepts, CONFIG_REGISTERS, Completion, Context, Device, DeviceEffect, Reception, Work};
use crate::journal::Journal;
use crate::rest::Rest;
use crate::snapshot::RestoreFault;
use access::GuestMemory;
use alloc::boxed::Box;
use network::{Frame, Parts};
use spec::Width;
use spec::virtio::pci::{NO_VECTOR, capability, config_access_capability, isr, notify_capability, structure};
use spec::virtio::{feature, status};

mod committed;
mod config_access;
mod function;
mod registers;
pub(super) mod state;
#[cfg(test)]
mod tests;
mod words;

use committed::Touched;
pub(crate) use committed::state_words;
use config_access::ConfigAccess;
pub use function::Function;
pub use spec::virtio::pci::config_access::BYTES as CONFIG_ACCESS_BYTES;

const COMMON: u64 = 0;
const ISR: u64 = 0x1000;
const DEVICE: u64 = 0x2000;
pub(super) const NOTIFY: u64 = 0x3000;
const PAGE_BYTES: u32 = 0x1000;
/// Bytes of the register window.
pub const WINDOW_BYTES: u64 = 0x4000;
/// Bytes from where one queue is notified to the next.
const NOTIFY_BYTES: u32 = 4;
/// The most messages: the changes of the configuration, and the queues.
pub const MOST_MESSAGES: u16 = 32;
/// The most queues.
pub const MOST_QUEUES: usize = 16;

/// The vendor-specific capabilities that tell the driver of the window, which is BAR 0. The last
/// [`CONFIG_ACCESS_BYTES`] of the last one are registers of the device's, at [`CONFIG_REGISTERS`].
pub const CAPABILITIES: &[&[u8]] = &[
    &capability(structure::COMMON, 0, COMMON as u32, PAGE_BYTES),
    &capability(structure::ISR, 0, ISR as u32, PAGE_BYTES),
    &capability(structure::DEVICE, 0, DEVICE as u32, PAGE_BYTES),
    &notify_capability(0, NOTIFY as u32, PAGE_BYTES, NOTIFY_BYTES),
    &config_access_capability(),
];

/// What the driver can add to `device_status`.
const STATUS_BITS: u8 =
    status::ACKNOWLEDGE | status::DRIVER | status::DRIVER_OK | status::FEATURES_OK | status::FAILED;

/// Features of the transport.
const FEATURES: u64 = feature::VERSION_1
    | feature::INDIRECT_DESCRIPTORS
    | feature::EVENT_INDEX
    | feature::RING_PACKED
    | feature::NOTIFICATION_DATA
    | feature::RING_RESET;

/// The most effects of a call beside those of the type of device: a message for each of so many queues and for the
/// configuration, a wake, and a look at the line.
pub(crate) const fn own_effects(queues: usize) -> usize {
    queues + 3
}

/// The device.
pub struct Transport<F> {
    pub(super) function: F,
    queues: Box<[Queue]>,
    /// Features of the transport that it offers.
    features: u64,
    /// Messages that the PCI function has.
    messages: u16,
    /// Somebody polls.
    is_polled: bool,
    status: u8,
    /// A reset waits for the medium.
    is_resetting: bool,
    device_select: u32,
    driver_select: u32,
    driver_features: u64,
    config_vector: u16,
    /// Counts changes of the configuration of the type of device.
    generation: u8,
    queue_select: u16,
    isr: u8,
    /// Messages that have to be sent.
    unsent: u32,
    /// The level of the line that the last effect was about.
    told: bool,
    /// Its registers in configuration space, which no reset by the driver changes.
    access: ConfigAccess,
    touched: Touched,
}

impl<F: Function> Transport<F> {
    /// A device at power-up, whose PCI function has so many messages (1 to [`MOST_MESSAGES`]). Whether
    /// somebody polls it.
    pub fn new(function: F, messages: u16, is_polled: bool) -> Self {
        let (queues, most) = function.queues();
        Self {
            queues: core::iter::repeat_n(Queue::new(most), usize::from(queues).min(MOST_QUEUES)).collect(),
            function,
            features: FEATURES,
            messages: messages.min(MOST_MESSAGES),
            is_polled,
            status: 0,
            is_resetting: false,
            device_select: 0,
            driver_select: 0,
            driver_features: 0,
            config_vector: NO_VECTOR,
            generation: 0,
            queue_select: 0,
            isr: 0,
            unsent: 0,
            told: false,
            access: ConfigAccess::default(),
            touched: Touched::ALL,
        }
    }

    /// The same without packed queues.
    pub const fn with_split_queues(mut self) -> Self {
        self.features &= !feature::RING_PACKED;
        self
    }

    fn features(&self) -> u64 {
        self.features | self.function.features()
    }

    /// Whether the queues are used.
    const fn is_running(&self) -> bool {
        let stopped = status::NEEDS_RESET | status::FAILED;
        self.status & status::DRIVER_OK != 0 && self.status & stopped == 0 && !self.is_resetting
    }

    fn enable_queue(&mut self, context: &mut Context<'_>) {
        if self.status & status::FEATURES_OK == 0 || self.is_resetting {
            return;
        }
        let features = self.driver_features;
        // Where nobody polls, what is taken was notified of.
        let is_held = !self.is_polled && self.function.is_notified(self.queue_select.into());
        if self.queue_mut().is_some_and(|queue| queue.enable(features, is_held).is_err()) {
            self.fail(context);
        }
    }

    /// The driver resets one queue. That is over when the medium has nothing of it any more: until then
    /// the register does not read 0, for which the driver waits (section 4.1.4.3.1).
    fn reset_queue(&mut self) {
        let is_agreed = self.status & status::FEATURES_OK != 0;
        if !is_agreed || self.driver_features & feature::RING_RESET == 0 || self.is_resetting {
            return;
        }
        let index = usize::from(self.queue_select);
        if let Some(queue) = self.queue_mut() {
            queue.begin_reset();
            self.function.orphan_queue(index);
            self.settle();
        }
    }

    /// Whether the driver can take these features: none that is not offered, and no device of before
    /// version 1.0 (section 2.2.2).
    fn can_agree(&self, features: u64) -> bool {
        features & !self.features() == 0 && features & feature::VERSION_1 != 0
    }

    /// The driver writes `device_status`: bits are only added, and 0 resets (section 2.1.1).
    fn set_status(&mut self, value: u8, context: &mut Context<'_>) {
        if value == 0 {
            self.is_resetting = true;
            self.function.orphan();
            (self.isr, self.unsent) = (0, 0);
            return self.settle();
        }
        if self.is_resetting {
            return;
        }
        let mut added = value & !self.status & STATUS_BITS;
        if added & status::FEATURES_OK != 0 && !self.can_agree(self.driver_features) {
            added &= !status::FEATURES_OK;
        }
        self.status |= added;
        let needed = status::FEATURES_OK | status::DRIVER_OK;
        if added & status::DRIVER_OK != 0 && self.status & needed == needed {
            self.function.start(self.driver_features);
            self.work(context);
        } else if added & status::DRIVER_OK != 0 {
            self.status &= !status::DRIVER_OK;
        }
    }

    /// A reset is over when the medium has nothing of the driver's any more: until then the status
    /// does not read 0, for which the driver waits (section 4.1.4.3.2).
    fn settle(&mut self) {
        if self.is_resetting {
            if self.function.is_idle() {
                self.forget();
            }
            return;
        }
        for (index, queue) in self.queues.iter_mut().enumerate() {
            if queue.is_resetting() && self.function.is_queue_idle(index) {
                self.touched = Touched::ALL;
                queue.reset();
            }
        }
    }

    fn forget(&mut self) {
        self.touched = Touched::ALL;
        self.queues.iter_mut().for_each(Queue::reset);
        self.function.reset();
        self.is_resetting = false;
        self.status = 0;
        self.device_select = 0;
        self.driver_select = 0;
        self.driver_features = 0;
        self.config_vector = NO_VECTOR;
        self.queue_select = 0;
        self.isr = 0;
        self.unsent = 0;
    }

    /// The driver broke a rule: nothing is done any more until it resets the device (section 2.1.2).
    fn fail(&mut self, context: &mut Context<'_>) {
        self.touched.queues = true;
        if self.status & status::NEEDS_RESET == 0 && !self.is_resetting {
            self.status |= status::NEEDS_RESET;
            if self.status & status::DRIVER_OK != 0 {
                self.interrupt(self.config_vector, isr::CONFIGURATION);
            }
        }
        self.notify(context);
    }

    /// The driver kicked: whoever polls is woken, or everything is done here.
    fn work(&mut self, context: &mut Context<'_>) {
        if !self.is_running() {
            return;
        }
        if self.is_polled {
            context.effects.push(DeviceEffect::Wake);
        } else {
            self.do_all(context);
        }
    }

    /// Takes what waits, and tells of what is done. Whether it took something.
    fn go_on(&mut self, context: &mut Context<'_>) -> bool {
        let took = self.take(context);
        self.tell_queues(context);
        took
    }

    /// Where nobody polls: does all that waits now, and what comes later when the driver notifies of
    /// it, which may be another processor's at the same time: the work is then its own.
    fn do_all(&mut self, context: &mut Context<'_>) {
        let mut queues = self.queues.iter_mut().enumerate();
        let admitted = queues.try_for_each(|(index, queue)| {
            if self.function.is_notified(index) { queue.admit(context.memory) } else { Ok(()) }
        });
        match admitted {
            Ok(()) => self.do_admitted(context),
            Err(Broken) => self.fail(context),
        }
    }

    /// What has no room now goes on with a completion.
    fn do_admitted(&mut self, context: &mut Context<'_>) {
        while self.take(context) {}
        self.tell_queues(context);
    }

    /// Takes what waits. Whether there was something that was taken.
    fn take(&mut self, context: &mut Context<'_>) -> bool {
        if !self.is_running() {
            return false;
        }
        self.function.poll(&mut self.queues, context).unwrap_or_else(|Broken| {
            self.fail(context);
            false
        })
    }

    /// Interrupts for each queue whose driver wants to know of what was put there.
    fn tell_queues(&mut self, context: &mut Context<'_>) {
        if self.is_running() {
            for index in 0..self.queues.len() {
                let Some(queue) = self.queues.get_mut(index) else { break };
                let vector = queue.vector;
                match queue.take_interrupt(context.memory) {
                    Ok(true) => self.interrupt(vector, isr::QUEUE),
                    Ok(false) => {}
                    Err(Broken) => return self.fail(context),
                }
            }
        }
        self.notify(context);
    }

    /// An interrupt is due: by its message, or without one by the line, which `cause` explains.
    const fn interrupt(&mut self, vector: u16, cause: u8) {
        if vector < MOST_MESSAGES {
            self.unsent |= 1 << vector;
        } else {
            self.isr |= cause;
        }
    }

    /// Sends messages, and says whether the line has to be looked at. What there is no room for comes
    /// with the next call.
    fn notify(&mut self, context: &mut Context<'_>) {
        let effects = &mut context.effects;
        while self.unsent != 0 && effects.room() > 0 {
            effects.push(DeviceEffect::Msi(self.unsent.trailing_zeros() as u16));
            self.unsent &= self.unsent - 1;
        }
        let line = self.isr != 0;
        if line != self.told && effects.room() > 0 {
            self.told = line;
            effects.push(DeviceEffect::Line);
        }
    }

    /// Whether no message has to be sent, and the line is as it was told.
    const fn has_told(&self) -> bool {
        self.unsent == 0 && (self.isr != 0) == self.told
    }

    /// Sends what there was no room for, if anything.
    fn notify_late(&mut self, context: &mut Context<'_>) {
        if !self.has_told() {
            self.touched.queues = true;
            self.notify(context);
        }
    }

    fn read_config(&self, offset: u64, width: Width) -> u64 {
        let byte = |index| u64::from(self.function.read_config(offset.saturating_add(index))) << (8 * index);
        (0..width.bytes()).fold(0, |value, index| value | byte(index))
    }
}

impl<F: Function> Device for Transport<F> {
    fn most_effects(&self) -> usize {
        self.function.most_effects() + own_effects(self.queues.len())
    }

    fn most_requests(&self) -> usize {
        self.function.most_requests()
    }

    fn read(&mut self, offset: u64, width: Width, context: &mut Context<'_>) -> u64 {
        match offset {
            ISR if !self.is_resetting => {
                self.touched.queues = true;
                let value = core::mem::take(&mut self.isr);
                self.notify(context);
                value.into()
            }
            DEVICE..NOTIFY => self.read_config(offset - DEVICE, width),
            COMMON..ISR => self.common(offset) & width.mask(),
            CONFIG_REGISTERS.. => self.read_through(offset - CONFIG_REGISTERS, width, context),
            WINDOW_BYTES.. => width.mask(),
            _ => 0,
        }
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, context: &mut Context<'_>) {
        match offset {
            NOTIFY..WINDOW_BYTES => {
                // Where somebody polls, all that comes of it is that he is woken.
                self.touched.queues |= !self.is_polled;
                self.work(context);
            }
            COMMON..ISR if width.is_aligned(offset) && self.select(offset, width, value) => {
                self.notify_late(context);
            }
            COMMON..ISR if width.is_aligned(offset) => {
                self.touched = Touched::ALL;
                self.write_common(offset, width, value, context);
                self.notify(context);
            }
            CONFIG_REGISTERS.. => self.write_through(offset - CONFIG_REGISTERS, width, value, context),
            _ => {}
        }
    }

    fn complete(&mut self, completion: Completion, context: &mut Context<'_>) {
        self.touched.queues = true;
        if self.function.complete(completion, &mut self.queues, context).is_err() {
            self.fail(context);
        }
        self.settle();
        if !self.is_polled {
            self.do_admitted(context);
        }
    }

    fn line(&self) -> bool {
        self.told
    }

    fn resets_behind_requests(&self) -> bool {
        true
    }

    fn reset(&mut self) {
        self.forget();
        self.told = false;
        self.access = ConfigAccess::default();
    }

    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        self.touched.queues = true;
        self.go_on(context)
    }

    fn rests(&self, rest: &mut Rest, memory: &dyn GuestMemory) -> bool {
        if !self.is_running() {
            return self.has_told();
        }
        let mut queues = self.queues.iter().enumerate();
        self.has_told()
            && queues.all(|(index, queue)| queue.rests(self.function.is_notified(index), rest, memory))
    }

    fn want_notifications(&mut self, wanted: bool, context: &mut Context<'_>) -> bool {
        if !self.is_running() {
            return false;
        }
        let mut missed = false;
        for index in 0..self.queues.len() {
            let Some(queue) = self.queues.get_mut(index) else { break };
            match queue.want_notifications(wanted && self.function.is_notified(index), context.memory) {
                Ok(waits) => missed |= waits,
                Err(Broken) => {
                    self.fail(context);
                    return false;
                }
            }
        }
        missed
    }

    fn transmit(&mut self, frame: &mut Frame, context: &mut Context<'_>) -> bool {
        if !self.is_running() {
            return false;
        }
        self.touched.queues = true;
        let taken = self.function.transmit(frame, &mut self.queues, context).unwrap_or_else(|Broken| {
            frame.clear();
            self.fail(context);
            false
        });
        self.notify(context);
        taken
    }

    fn accepts(&self) -> Accepts {
        self.function.accepts()
    }

    fn work(&self) -> Work {
        self.function.work()
    }

    fn output(&mut self, into: &mut [u8], context: &mut Context<'_>) -> usize {
        if !self.is_running() {
            return 0;
        }
        self.touched.queues = true;
        let bytes = self.function.output(into, &mut self.queues, context).unwrap_or_else(|Broken| {
            self.fail(context);
            0
        });
        self.tell_queues(context);
        bytes
    }

    fn input(&mut self, byte: u8, context: &mut Context<'_>) -> bool {
        if !self.is_running() {
            return false;
        }
        self.touched.queues = true;
        let taken = self.function.input(byte, &mut self.queues, context).unwrap_or_else(|Broken| {
            self.fail(context);
            false
        });
        self.tell_queues(context);
        taken
    }

    fn receive(&mut self, parts: &Parts<'_>, context: &mut Context<'_>) -> Reception {
        if !self.is_running() {
            return Reception::Down;
        }
        self.touched.queues = true;
        let reception = self.function.receive(parts, &mut self.queues, context).unwrap_or_else(|Broken| {
            self.fail(context);
            Reception::Down
        });
        self.notify(context);
        reception
    }

    fn tell(&mut self, context: &mut Context<'_>) {
        self.touched.queues = true;
        self.tell_queues(context);
    }

    /// A driver that is set up is told that the configuration changed (section 2.5).
    fn set_link(&mut self, is_up: bool, context: &mut Context<'_>) {
        self.touched.queues = true;
        if !self.function.set_link(is_up) {
            return;
        }
        self.generation = self.generation.wrapping_add(1);
        if self.is_running() {
            self.interrupt(self.config_vector, isr::CONFIGURATION);
            self.notify(context);
        }
    }

    fn state_words(&self) -> usize {
        state_words(self.queues.len()) + self.function.state_words()
    }

    fn is_committed(&self) -> bool {
        !self.touched.is_anything()
    }

    fn journal(&mut self, journal: &mut Journal<'_>) {
        self.say(journal);
    }

    fn restore_words(&mut self, said: &[u64]) -> Result<(), RestoreFault> {
        self.take_over_words(said)
    }
}
