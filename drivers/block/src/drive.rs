//! What a driver of a drive is to whoever uses it.

use crate::{Done, Identity, Operation, Refused, Tag};
use core::fmt::Display;
use spec::Iova;

/// What a drive that is ready can be asked for. The default has no blocks and can nothing beside
/// reading and writing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Geometry {
    /// How many blocks it has; at least one.
    pub blocks: u64,
    /// Bytes of a block: a power of two, 512 to 65536. All blocks together have less than 2^64.
    pub block_bytes: u32,
    /// Whether it takes no writes.
    pub is_read_only: bool,
    /// Whether it takes [`Operation::Discard`].
    pub can_discard: bool,
    /// Whether it takes [`Operation::WriteZeroes`].
    pub can_write_zeroes: bool,
}

/// What a drive can be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Nothing yet: it was not started.
    Off,
    /// Nothing yet: it is being brought up.
    Starting,
    /// Reading and writing this.
    Ready(Geometry),
    /// Nothing any more, unless it is started again; [`Drive::error`] says why.
    Failed,
}

/// What every call that takes the time gives back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// What the drive can be used for.
    pub state: State,
    /// When to call [`Drive::poll`] at the latest, in nanoseconds of the clock whose time the
    /// calls are given. `None` while nothing is waited for.
    pub deadline_ns: Option<u64>,
}

/// A drive and its driver. Whoever keeps drives of several kinds has them as `dyn Drive + Send`;
/// a driver can be sent if what it was made of can.
///
/// A request is reserved, which gives it a buffer; where it writes, its data is put there; it is
/// submitted, and issued by the next [`kick`](Self::kick); it is over at some time, and told by
/// [`next_done`](Self::next_done) until it is released. Requests that are in flight at the same
/// time have no order among each other: who wants to read what was written waits for the write
/// to be over, and a flush makes durable only what was over when it was submitted.
///
/// No call waits, and none takes longer than what there are requests for. A drive that fails
/// ends all that is in flight with [`Fault::Drive`](crate::Fault::Drive), and stays failed until it
/// is started again; requests that are reserved stay so. Requests that were [lent](Self::lend) memory end
/// once the drive cannot reach it any more.
pub trait Drive {
    /// Who the drive said that it is when it was last started. `None` before it was asked.
    fn identity(&self) -> Option<Identity>;

    /// Begins to bring the drive up, from whatever state it and its driver are in. Requests that
    /// are in flight end with [`Fault::Drive`](crate::Fault::Drive).
    fn start(&mut self, now_ns: u64) -> Status;

    /// Sees to what is due. It may be called at any time, and has to be at a [`Status`]'s deadline.
    fn poll(&mut self, now_ns: u64) -> Status;

    /// Message `message` came. One that nobody waits for is no harm.
    fn interrupt(&mut self, message: u16, now_ns: u64) -> Status;

    /// What the drive can be used for, and when to call next.
    fn status(&self) -> Status;

    /// Why the drive is [`State::Failed`], in words. `None` in any other state.
    fn error(&self) -> Option<&dyn Display>;

    /// Bytes of each request's buffer, which a request may have at most.
    fn request_bytes(&self) -> usize;

    /// Reserves a request with its buffer, which nothing else uses until it is released.
    ///
    /// # Errors
    /// [`Refused::NotReady`] and [`Refused::Busy`].
    fn reserve(&mut self) -> Result<Tag, Refused>;

    /// Copies `bytes` into the buffer of a request that was reserved and not submitted, `offset`
    /// bytes from its start. `None`, and nothing is copied, where it is no such request or its
    /// buffer ends before.
    fn put(&mut self, tag: Tag, offset: usize, bytes: &[u8]) -> Option<()>;

    /// Has the data of a request that was reserved be in these parts of somebody else's memory, in their
    /// order, and not in its buffer. From its submission on the drive reads or writes them, until it is
    /// [over](Self::next_done): before, whoever lends them neither uses them otherwise nor gives them away,
    /// whatever becomes of the drive. They are mapped in its domain, and no more than a request may have.
    ///
    /// False, and the request keeps its buffer, where the drive cannot: it moves data to its own buffers
    /// alone, or the parts do not lie as it needs them.
    fn lend(&mut self, tag: Tag, parts: &mut dyn Iterator<Item = (Iova, usize)>) -> bool {
        let _ = (tag, parts);
        false
    }

    /// Submits a request that was reserved, for `blocks` blocks from `first_block` on; a flush has
    /// none, whatever is said, and one that moves no data may have more than fit into a buffer. The drive has it at the next [`kick`](Self::kick) or any other
    /// call that takes the time, so that several requests cost one doorbell.
    ///
    /// # Errors
    /// When it cannot be taken; nothing has happened then, and it is still reserved.
    fn submit(
        &mut self,
        tag: Tag,
        operation: Operation,
        first_block: u64,
        blocks: u64,
    ) -> Result<(), Refused>;

    /// Has the drive begin with what was submitted.
    fn kick(&mut self, now_ns: u64) -> Status;

    /// The request that was over first of those that are and were not released. It is told until
    /// it is released.
    fn next_done(&self) -> Option<Done>;

    /// Copies what a read that is over has read, from `offset` bytes of it on. `None`, and
    /// nothing is copied, where it has not so much, did not succeed, or is no such request.
    fn get(&self, tag: Tag, offset: usize, into: &mut [u8]) -> Option<()>;

    /// Forgets a request that is over, or was never submitted. Nothing happens to any other.
    fn release(&mut self, tag: Tag);
}
