//! A model that wants done what no model in order does.

use crate::attack::Command;
use alloc::boxed::Box;
use alloc::rc::Rc;
use core::cell::Cell;
use devices::Device;
use devices::device::{
    Accepts, Completion, Context, DEVICE_BUFFER, DeviceEffect, Doorbell, LINES, MOST_REQUEST_BYTES,
    Operation, Reception, Request, Work,
};
use devices::journal::Journal;
use devices::snapshot::RestoreFault;
use hostile::{What, Wish};
use network::{Frame, Parts};
use spec::{Gpa, Width};

/// What it does in this call.
#[derive(Default)]
pub struct Strings {
    wish: Cell<Option<Wish>>,
    /// Its state is ones.
    lies: Cell<bool>,
    /// It prints without end from now on.
    prints: Cell<bool>,
}

impl Strings {
    /// Says what the next call does.
    pub fn pull(&self, command: Option<Command>) {
        let is = |what| command.filter(|command| command.what == what);
        let wish = is(What::Wish).and_then(|command| Wish::ALL.get(command.argument as usize).copied());
        self.wish.set(wish);
        self.prints.set(self.prints.get() || wish == Some(Wish::Output));
        self.lies.set(is(What::State).is_some());
    }
}

/// The model, and the strings on which it hangs.
pub struct Puppet {
    pub device: Box<dyn Device>,
    pub strings: Rc<Strings>,
}

// SAFETY: a compartment is on one processor at a time.
unsafe impl Send for Puppet {}

impl Puppet {
    /// Wants it done as often as there is room.
    fn act(&self, context: &mut Context<'_>) {
        let Some(wish) = self.strings.wish.take() else { return };
        while context.effects.room() > 0 {
            context.effects.push(effect(wish));
        }
    }
}

fn effect(wish: Wish) -> DeviceEffect {
    let request = Request { tag: 1, operation: Operation::Write, at: 0, gpa: Gpa(0x200_0000), bytes: 4096 };
    match wish {
        Wish::Wake => DeviceEffect::Wake,
        Wish::Message => DeviceEffect::Msi(0),
        Wish::NoMessage => DeviceEffect::Msi(u16::MAX),
        Wish::Line => DeviceEffect::Line,
        Wish::Output => DeviceEffect::Output,
        Wish::Behind => DeviceEffect::Submit(Request { at: u64::MAX - 4095, ..request }),
        Wish::NoMemory => DeviceEffect::Submit(Request {
            operation: Operation::Read,
            gpa: Gpa(0x7000_0000_0000),
            ..request
        }),
        Wish::NoBuffer => {
            DeviceEffect::Submit(Request { gpa: Gpa(DEVICE_BUFFER.0 | 0x7fff_ffff_ffff_f000), ..request })
        }
        Wish::Huge => DeviceEffect::Submit(Request { bytes: MOST_REQUEST_BYTES + 1, ..request }),
        Wish::Forget => DeviceEffect::Submit(Request {
            operation: Operation::Discard,
            at: 1 << 40,
            bytes: u32::MAX,
            ..request
        }),
    }
}

impl Device for Puppet {
    fn most_effects(&self) -> usize {
        self.device.most_effects()
    }
    fn most_requests(&self) -> usize {
        self.device.most_requests()
    }
    fn read(&mut self, offset: u64, width: Width, context: &mut Context<'_>) -> u64 {
        let value = self.device.read(offset, width, context);
        self.act(context);
        value
    }
    fn write(&mut self, offset: u64, width: Width, value: u64, context: &mut Context<'_>) {
        self.device.write(offset, width, value, context);
        self.act(context);
    }
    fn read_string(&mut self, at: u64, width: Width, bytes: &mut [u8], context: &mut Context<'_>) -> usize {
        self.device.read_string(at, width, bytes, context)
    }
    fn write_string(&mut self, at: u64, width: Width, bytes: &[u8], context: &mut Context<'_>) -> usize {
        self.device.write_string(at, width, bytes, context)
    }
    fn buffer(&mut self) -> &mut [u8] {
        self.device.buffer()
    }
    fn complete(&mut self, completion: Completion, context: &mut Context<'_>) {
        self.device.complete(completion, context);
    }
    fn line(&self) -> bool {
        self.device.line()
    }
    fn lines(&self) -> [bool; LINES] {
        self.device.lines()
    }
    fn resets_behind_requests(&self) -> bool {
        self.device.resets_behind_requests()
    }
    fn reset(&mut self) {
        self.device.reset();
    }
    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        self.device.poll(context)
    }
    fn want_notifications(&mut self, wanted: bool, context: &mut Context<'_>) -> bool {
        self.device.want_notifications(wanted, context)
    }
    fn transmit(&mut self, frame: &mut Frame, context: &mut Context<'_>) -> bool {
        self.device.transmit(frame, context)
    }
    fn accepts(&self) -> Accepts {
        self.device.accepts()
    }
    fn receive(&mut self, parts: &Parts<'_>, context: &mut Context<'_>) -> Reception {
        self.device.receive(parts, context)
    }
    fn tell(&mut self, context: &mut Context<'_>) {
        self.device.tell(context);
    }
    fn output(&mut self, into: &mut [u8], context: &mut Context<'_>) -> usize {
        if self.strings.prints.get() {
            into.fill(b'#');
            return into.len();
        }
        self.device.output(into, context)
    }
    fn input(&mut self, byte: u8, context: &mut Context<'_>) -> bool {
        self.device.input(byte, context)
    }
    fn work(&self) -> Work {
        self.device.work()
    }
    fn take_doorbell(&mut self) -> Option<Doorbell> {
        self.device.take_doorbell()
    }
    fn set_link(&mut self, is_up: bool, context: &mut Context<'_>) {
        self.device.set_link(is_up, context);
    }
    fn state_words(&self) -> usize {
        self.device.state_words()
    }
    fn journal(&mut self, journal: &mut Journal<'_>) {
        if self.strings.lies.get() {
            (0..self.device.state_words()).for_each(|word| journal.put(word, u64::MAX));
        } else {
            self.device.journal(journal);
        }
    }
    fn restore_words(&mut self, words: &[u64]) -> Result<(), RestoreFault> {
        self.device.restore_words(words)
    }
}
