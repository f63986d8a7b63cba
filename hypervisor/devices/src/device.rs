//! What every emulated device has in common: the words in which it talks to whoever runs it.
//!
//! A device takes an access with its [`Context`] and returns. It calls nobody: what it wants
//! done goes into [`Context::effects`] as plain data, so the same queue can be a buffer in
//! ring 0 or a page that a compartment shares. The effects are applied in order, after the
//! device is not borrowed any more. So [`DeviceEffect::Line`] says "look again": whoever
//! applies it asks [`Device::line`].

use crate::effect::Effects;
use crate::ended::Account;
use crate::journal::Journal;
use crate::picture::Picture;
use crate::rest::Rest;
use crate::snapshot::RestoreFault;
use access::GuestMemory;
use network::{Frame, Parts, SegmentKind};
use spec::{Gpa, Width};

/// What a device is handed with each call.
pub struct Context<'a> {
    /// The guest's memory, as far as the function may reach it: no byte of it while its bus
    /// mastering is off.
    pub memory: &'a dyn GuestMemory,
    /// Guest time, in ticks of the time-stamp counter.
    pub now: u64,
    /// Where the device puts what is to be done. It is empty when the guest accesses the
    /// device; with each completion it has the room that at least that request had.
    pub effects: &'a mut Effects<DeviceEffect>,
}

/// One thing that a device wants done.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum DeviceEffect {
    /// The level of its INTx may have changed: ask [`Device::line`].
    #[default]
    Line,
    /// Send its message of this number. Whether it is masked is the business of the
    /// function's MSI-X capability.
    Msi(u16),
    /// Give this to the backend, and its outcome to [`Device::complete`]. Requests that follow one
    /// another under one tag, each where the one before it ends on the medium, are parts of one
    /// command: the backend may do them at once. Each is completed.
    Submit(Request),
    /// Something waits in the device's queues: have whoever polls it call [`Device::poll`], or take the
    /// frames of a network interface by [`Device::transmit`], or doorbells by [`Device::take_doorbell`].
    Wake,
    /// Something is printed: take it by [`Device::output`], until there is no more.
    Output,
}

/// What a request does with the medium.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Operation {
    /// From the medium to the guest's memory.
    #[default]
    Read,
    /// From the guest's memory to the medium.
    Write,
    /// What was written before survives a loss of power. It has no range.
    Flush,
    /// The contents of the range are needed no more. It is no data: the request has no place in the
    /// guest's memory, and may have more than [`MOST_REQUEST_BYTES`].
    Discard,
    /// The range reads zeroes from now on; as [`Discard`](Self::Discard).
    WriteZeroes,
}

impl Operation {
    /// Whether data is moved.
    pub const fn moves_data(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }
}

/// The most bytes of one request that moves data.
pub const MOST_REQUEST_BYTES: u32 = 128 << 10;

/// Where the data of a request is that does not move to or from the guest's memory but the device's
/// own buffer ([`Device::buffer`]), which starts here. No guest has memory at such an address.
pub const DEVICE_BUFFER: Gpa = Gpa(1 << 63);

/// From here on a device finds accesses to registers that it has in configuration space, instead of in its
/// register window. No BAR is so large.
pub const CONFIG_REGISTERS: u64 = 1 << 48;

/// A request to a medium: one range of it, and one of the guest's memory.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Request {
    /// What the device knows the request by.
    pub tag: u32,
    /// What to do.
    pub operation: Operation,
    /// Bytes from the start of the medium.
    pub at: u64,
    /// Where the data is, or [`DEVICE_BUFFER`] and more.
    pub gpa: Gpa,
    /// How much of it, in bytes; at most [`MOST_REQUEST_BYTES`].
    pub bytes: u32,
}

/// Why a request failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestFault {
    /// Not all of the guest's range is its memory.
    Memory,
    /// Not all of the medium's range exists.
    Range,
    /// The medium takes no writes.
    ReadOnly,
    /// The medium has no room for what would change.
    NoSpace,
    /// The medium failed.
    Medium,
}

/// The outcome of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Completion {
    /// Which request.
    pub tag: u32,
    /// What came of it.
    pub outcome: Result<(), RequestFault>,
}

/// What a device has done of what its guest asked of it, where it does that itself.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Work {
    /// Buffers of the guest's that it worked on.
    pub requests: u64,
    /// Bytes that it moved, both ways.
    pub bytes: u64,
    /// Requests that it could not do.
    pub errors: u64,
}

impl Work {
    /// Words of it in a committed state.
    pub(crate) const WORDS: usize = 3;

    pub(crate) const fn to_words(self) -> [u64; Self::WORDS] {
        [self.requests, self.bytes, self.errors]
    }

    /// Becomes what was said from word `at` on.
    pub(crate) fn take_over(&mut self, words: &[u64], at: usize) -> Result<(), RestoreFault> {
        let words = words.get(at..).and_then(<[u64]>::first_chunk).ok_or(RestoreFault::Malformed)?;
        let [requests, bytes, errors] = *words;
        *self = Self { requests, bytes, errors };
        Ok(())
    }
}

/// A doorbell that a guest rang at another guest's device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Doorbell {
    /// Which of those that share the memory.
    pub peer: u16,
    /// Which of its messages.
    pub vector: u16,
}

/// The most lines of a device.
pub const LINES: usize = 2;

/// What became of a frame that a network interface was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reception {
    /// The guest has it, or it is none of those that the guest asked for.
    Taken,
    /// The guest has no buffer for it now.
    NoRoom,
    /// The guest has not started the interface, or its link is down.
    Down,
    /// It is larger than what the interface gives its guest, or nothing can be made of what its
    /// sender left to do.
    Unfit,
}

/// Which frames a network interface takes for its guest.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Accepts {
    /// Those whose checksum is missing.
    pub checksum: bool,
    /// Those that are yet to be cut into TCP segments over IPv4.
    pub tcp4: bool,
    /// Those that are yet to be cut into TCP segments over IPv6.
    pub tcp6: bool,
    /// Bytes of the largest frame that is not to be cut, header and tag included.
    pub largest_bytes: usize,
}

impl Accepts {
    /// Whether a frame that is to be cut into segments of this kind is taken uncut.
    pub const fn takes_uncut(&self, kind: SegmentKind) -> bool {
        match kind {
            SegmentKind::Tcp4 => self.tcp4,
            SegmentKind::Tcp6 => self.tcp6,
        }
    }
}

/// An emulated device, apart from its function's configuration space: what is behind its
/// register window.
///
/// Every value of the guest's is untrusted: an offset outside the window reads ones, a queue
/// outside of memory is an error of the device's that its specification has a word for.
pub trait Device: Send {
    /// The most effects that are in the queue at a time.
    fn most_effects(&self) -> usize;
    /// The most requests that are submitted and not complete at a time.
    fn most_requests(&self) -> usize {
        self.most_effects()
    }
    /// Reads `width` bytes, `offset` bytes into the register window.
    fn read(&mut self, offset: u64, width: Width, context: &mut Context<'_>) -> u64;
    /// Writes `width` bytes, `offset` bytes into the register window.
    fn write(&mut self, offset: u64, width: Width, value: u64, context: &mut Context<'_>);
    /// A string instruction reads, by accesses of `width` that are all at `offset`. Does as many as
    /// one call can with the effects that it has room for, at least one, and says how many bytes
    /// they have filled. `bytes` are a multiple of the width, and are not none.
    fn read_string(
        &mut self,
        offset: u64,
        width: Width,
        bytes: &mut [u8],
        context: &mut Context<'_>,
    ) -> usize {
        read_one(self, offset, width, bytes, context)
    }
    /// A string instruction writes; as [`read_string`](Self::read_string).
    fn write_string(&mut self, offset: u64, width: Width, bytes: &[u8], context: &mut Context<'_>) -> usize {
        write_one(self, offset, width, bytes, context)
    }
    /// Its own memory, which requests may move data to and from ([`DEVICE_BUFFER`]). While one
    /// does, the device leaves that part as it is.
    fn buffer(&mut self) -> &mut [u8] {
        &mut []
    }
    /// A request is done. A tag that the device does not know is ignored: the request may be
    /// from before its reset.
    fn complete(&mut self, completion: Completion, context: &mut Context<'_>);
    /// Level of its INTx.
    fn line(&self) -> bool;
    /// Levels of its lines, where it has several.
    fn lines(&self) -> [bool; LINES] {
        [self.line(), false]
    }
    /// Whether the guest is told that its reset, or that of a queue, is over only when no request is at the
    /// backend any more. Then that may read and write the guest's memory without asking again.
    fn resets_behind_requests(&self) -> bool {
        false
    }
    /// As after power-up, but for what it does not lose. Requests that were submitted may
    /// still complete.
    fn reset(&mut self);

    /// Takes what waits in its queues, as much as there is room for in the effects, until the guest
    /// stops it or nothing is left. Whether it took something: then it has to be told again what it
    /// is to do about notifications ([`want_notifications`](Self::want_notifications)). A device that
    /// does everything when it is accessed has nothing to poll.
    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        let _ = context;
        false
    }

    /// Whether [`poll`](Self::poll), [`transmit`](Self::transmit) and [`take_doorbell`](Self::take_doorbell) have
    /// nothing to do and nothing to tell until another method is called, or until the guest's memory is
    /// other than `rest` then says: so whoever calls them over and over can look there instead, and do
    /// what [`want_notifications`](Self::want_notifications) would by what `rest` says of that. `rest` is empty
    /// before.
    fn rests(&self, rest: &mut Rest, memory: &dyn GuestMemory) -> bool {
        let _ = (rest, memory);
        false
    }

    /// Whether the guest is to tell, by an access, of what it puts into the queues
    /// ([`DeviceEffect::Wake`]). While somebody polls them it need not. Whether something was put
    /// there before the guest could know that it has to tell: then [`poll`](Self::poll) has to be
    /// called again.
    fn want_notifications(&mut self, wanted: bool, context: &mut Context<'_>) -> bool {
        let _ = (wanted, context);
        false
    }

    /// Makes the next frame that the guest wants to send of `frame`. Whether there was one. `frame` is
    /// empty afterwards where it was none that can be sent: that is over too, and counts as one for
    /// whoever takes a number of them at a time.
    ///
    /// The frame is a copy. What its sender left to do is in [`Frame::offload`], and is as little to be
    /// relied on as its bytes.
    fn transmit(&mut self, frame: &mut Frame, context: &mut Context<'_>) -> bool {
        let _ = (frame, context);
        false
    }

    /// Which frames [`receive`](Self::receive) takes. It changes with what the guest asks for.
    fn accepts(&self) -> Accepts {
        Accepts::default()
    }

    /// Takes a copy of the frame that `parts` make for the guest; whoever calls has done before what the
    /// device does not [accept](Self::accepts).
    fn receive(&mut self, parts: &Parts<'_>, context: &mut Context<'_>) -> Reception {
        let _ = (parts, context);
        Reception::Down
    }

    /// Interrupts the guest for the frames that it gave and got since it was called last, if it wants to
    /// know of them: whoever carries frames calls this after some, so that what an interrupt takes is not
    /// asked for each.
    fn tell(&mut self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// Takes the next piece of what the guest prints, as much as `into` has room for. How many bytes
    /// there were; fewer than there is room for are the last ones for now.
    fn output(&mut self, into: &mut [u8], context: &mut Context<'_>) -> usize {
        let _ = (into, context);
        0
    }

    /// Takes a byte that was typed to the guest. False: it has no room for it now, so offer it again
    /// later.
    fn input(&mut self, byte: u8, context: &mut Context<'_>) -> bool {
        let _ = (byte, context);
        false
    }

    /// What it has done since it was made.
    fn work(&self) -> Work {
        Work::default()
    }

    /// Takes a doorbell that the guest rang, which is to be carried to its peer.
    fn take_doorbell(&mut self) -> Option<Doorbell> {
        None
    }

    /// What it shows, where it is a display.
    fn picture(&self) -> Option<Picture> {
        None
    }

    /// Says whether the network that the device is connected to is there. It is not until this
    /// was called, and a reset changes nothing about it.
    fn set_link(&mut self, is_up: bool, context: &mut Context<'_>) {
        let _ = (is_up, context);
    }

    /// Words of its committed state, always as many. 0: it cannot be made anew.
    fn state_words(&self) -> usize {
        0
    }

    /// Whether all of it is as it was when [`journal`](Self::journal) was called last: its words, its lines, and
    /// what it accepts and has done. Then nobody need ask. A device that does not keep an eye on that may have
    /// changed.
    fn is_committed(&self) -> bool {
        false
    }

    /// Says what it would have to be told to go on after it was lost: those words that are others than when
    /// this was called last. Called after each other call but those after which it is
    /// [committed](Self::is_committed), so its cost is that of each.
    fn journal(&mut self, journal: &mut Journal<'_>) {
        let _ = journal;
    }

    /// Becomes as the device was that said these words; both are made of the same, and this one is as after
    /// power-up. Completions of what that one submitted are its own.
    ///
    /// # Errors
    /// No device has such a state. This one is to be used no more.
    fn restore_words(&mut self, words: &[u64]) -> Result<(), RestoreFault> {
        let _ = words;
        Err(RestoreFault::Malformed)
    }

    /// What became of its compartment, where its model is in one.
    fn compartment(&self) -> Option<Account> {
        None
    }

    /// Has its compartment end, where it is in one, as if it had failed now.
    fn kill(&mut self) {}
}

/// One access of a string instruction.
pub(crate) fn read_one<D: Device + ?Sized>(
    device: &mut D,
    offset: u64,
    width: Width,
    bytes: &mut [u8],
    context: &mut Context<'_>,
) -> usize {
    let value = device.read(offset, width, context).to_le_bytes();
    let count = width.bytes() as usize;
    for (to, from) in bytes.iter_mut().zip(value).take(count) {
        *to = from;
    }
    count
}

/// One access of a string instruction.
pub(crate) fn write_one<D: Device + ?Sized>(
    device: &mut D,
    offset: u64,
    width: Width,
    bytes: &[u8],
    context: &mut Context<'_>,
) -> usize {
    let count = width.bytes() as usize;
    let mut value = [0; 8];
    for (to, from) in value.iter_mut().zip(bytes).take(count) {
        *to = *from;
    }
    device.write(offset, width, u64::from_le_bytes(value), context);
    count
}
