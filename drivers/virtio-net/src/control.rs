//! The control queue (section 5.1.6.5), of one command at a time.

use access::{DmaBuffer, DmaMemory};
use spec::address::PAGE_BYTES;
use spec::virtio::net::{control, queue};
use spec::virtio::split::{DESCRIPTOR_NEXT, DESCRIPTOR_WRITE, Descriptor};
use spec::{Gpa, Iova};
use virtio::{Error, Queue};

/// Descriptors: a command, and its answer.
pub(crate) const ENTRIES: u16 = 2;
/// The first of them.
const HEAD: u16 = 0;
/// Bytes of a command here: class, command, and whether.
const COMMAND_BYTES: usize = 3;
/// Where in its page the answer is.
const ANSWER: usize = 16;
/// What stands there before the device answers.
const NO_ANSWER: u8 = 0xff;

/// The queue.
#[derive(Debug)]
pub(crate) struct Control<B> {
    pub queue: Queue<B>,
    page: B,
}

impl<B: DmaBuffer> Control<B> {
    /// Allocates the queue.
    pub fn new<D: DmaMemory<Buffer = B>>(dma: &mut D) -> Result<Self, Error> {
        let page = PAGE_BYTES as usize;
        Ok(Self {
            queue: Queue::new(dma, queue::CONTROL as u16, ENTRIES)?,
            page: dma.allocate(page, page).ok_or(Error::NoMemory)?,
        })
    }

    /// Has the device receive all frames, whoever they are for. There is no other command.
    pub fn ask_for_all(&mut self) -> Result<(), Error> {
        let (class, command) = control::PROMISCUOUS;
        self.page.write(0, &[class, command, 1])?;
        self.page.write(ANSWER, &[NO_ANSWER])?;
        let at = |offset: usize| Gpa(Iova(self.page.iova().0.wrapping_add(offset as u64)).0);
        let command = COMMAND_BYTES as u32;
        let first = Descriptor { gpa: at(0), bytes: command, flags: DESCRIPTOR_NEXT, next: HEAD + 1 };
        let second = Descriptor { gpa: at(ANSWER), bytes: 1, flags: DESCRIPTOR_WRITE, next: 0 };
        self.queue.describe(HEAD, first)?;
        self.queue.describe(HEAD + 1, second)?;
        self.queue.offer(HEAD)
    }

    /// Whether the device did it, once it has answered.
    pub fn answer<D: DmaMemory>(&mut self, dma: &D) -> Result<Option<bool>, Error> {
        let Some(used) = self.queue.take(dma)? else { return Ok(None) };
        if used.head != HEAD {
            return Err(Error::NotGiven { queue: self.queue.number(), id: used.head.into() });
        }
        let mut answer = [NO_ANSWER];
        self.page.read(ANSWER, &mut answer)?;
        Ok(Some(answer == [control::OK]))
    }
}
