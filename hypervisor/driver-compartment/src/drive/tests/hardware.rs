//! A drive that does what it was told when the test has it, and a driver of it.

use crate::memory::{Divided, Part};
use access::{DmaBuffer, DmaMemory, OutOfBounds};
use block::{
    Cause, Done, Drive, Fault, Geometry, Identity, Operation, Piece, Refused, Requests, State, Status, Tag,
    Text,
};
use core::fmt::Display;
use spec::Iova;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::vec;
use std::vec::Vec;

pub const BLOCK: usize = 512;
pub const BLOCKS: u64 = 64;
pub const REQUESTS: u16 = 6;
pub const REQUEST_BYTES: usize = 4096;
/// Where the device finds the data of requests.
const DATA: u64 = 0x4000_0000;

/// Memory that ring 0 and the device reach.
#[derive(Clone, Debug)]
pub struct Memory(pub Arc<Mutex<Vec<u8>>>);

impl Memory {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(vec![0xee; usize::from(REQUESTS) * REQUEST_BYTES])))
    }

    fn with(&self, at: usize, bytes: usize, apply: impl FnOnce(&mut [u8])) -> Result<(), OutOfBounds> {
        let end = at.checked_add(bytes).ok_or(OutOfBounds)?;
        apply(self.0.lock().unwrap().get_mut(at..end).ok_or(OutOfBounds)?);
        Ok(())
    }
}

impl DmaBuffer for Memory {
    fn iova(&self) -> Iova {
        Iova(DATA)
    }
    fn bytes(&self) -> usize {
        usize::from(REQUESTS) * REQUEST_BYTES
    }
    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        self.with(offset, bytes.len(), |memory| bytes.copy_from_slice(memory))
    }
    fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), OutOfBounds> {
        self.with(offset, bytes.len(), |memory| memory.copy_from_slice(bytes))
    }
    fn read32(&self, _: usize) -> Result<u32, OutOfBounds> {
        Err(OutOfBounds)
    }
    fn write32(&self, _: usize, _: u32) -> Result<(), OutOfBounds> {
        Err(OutOfBounds)
    }
    fn read64(&self, _: usize) -> Result<u64, OutOfBounds> {
        Err(OutOfBounds)
    }
    fn write64(&self, _: usize, _: u64) -> Result<(), OutOfBounds> {
        Err(OutOfBounds)
    }
}

/// Memory that gives all of itself, once.
pub struct All(pub Option<Memory>);

impl DmaMemory for All {
    type Buffer = Memory;
    fn allocate(&mut self, _: usize, _: usize) -> Option<Memory> {
        self.0.take()
    }
    fn write_barrier(&self) {}
    fn read_barrier(&self) {}
    fn full_barrier(&self) {}
}

/// What a driver in a compartment has: no data of its own.
pub fn divided() -> Divided<All> {
    Divided::new(All(None), Iova(DATA), usize::from(REQUESTS) * REQUEST_BYTES, 1)
}

/// The device.
#[derive(Default)]
pub struct Hardware {
    pub medium: Vec<u8>,
    pub serial: [u8; 20],
    commands: VecDeque<Piece>,
    done: VecDeque<(Piece, Result<(), Fault>)>,
    /// How often it was told to flush, and whether the last thing that it did was that.
    pub flushes: usize,
    /// The next commands fail.
    pub faulty: usize,
    pub is_broken: bool,
}

#[derive(Clone)]
pub struct Device(pub Arc<Mutex<Hardware>>, pub Memory);

impl Device {
    pub fn new() -> Self {
        let medium = (0..BLOCK * BLOCKS as usize).map(|at| (at / BLOCK) as u8 | 0x80).collect();
        let hardware = Hardware { medium, serial: *b"the first one       ", ..Hardware::default() };
        Self(Arc::new(Mutex::new(hardware)), Memory::new())
    }

    pub fn hardware(&self) -> MutexGuard<'_, Hardware> {
        self.0.lock().unwrap()
    }

    /// Does `count` commands, the last that it was given first where `is_backwards`.
    pub fn work(&self, count: usize, is_backwards: bool) {
        let mut hardware = self.hardware();
        for _ in 0..count {
            let next =
                if is_backwards { hardware.commands.pop_back() } else { hardware.commands.pop_front() };
            let Some(piece) = next else { return };
            let outcome = if hardware.faulty > 0 {
                hardware.faulty -= 1;
                Err(Fault::Medium(Cause { name: "unrecovered read error", code: 0x281 }))
            } else {
                self.carry_out(&mut hardware, &piece);
                Ok(())
            };
            hardware.done.push_back((piece, outcome));
        }
    }

    fn carry_out(&self, hardware: &mut Hardware, piece: &Piece) {
        let range = piece.first_block as usize * BLOCK..;
        let bytes = piece.bytes as usize;
        let at = (piece.data.0.wrapping_sub(DATA)) as usize;
        match piece.operation {
            Operation::Read => self.1.write(at, &hardware.medium[range][..bytes]).unwrap(),
            Operation::Write => self.1.read(at, &mut hardware.medium[range][..bytes]).unwrap(),
            Operation::Flush => hardware.flushes += 1,
            Operation::WriteZeroes => hardware.medium[range][..piece.blocks as usize * BLOCK].fill(0),
            Operation::Discard => {}
        }
    }

    /// Forgets what it was told.
    pub fn reset(&self) {
        let mut hardware = self.hardware();
        hardware.commands.clear();
        hardware.done.clear();
    }
}

/// Its driver.
pub struct Driver<B> {
    device: Device,
    requests: Requests<B>,
    state: State,
}

impl<B: DmaBuffer> Driver<B> {
    pub fn new<D: DmaMemory<Buffer = B>>(device: &Device, dma: &mut D) -> Self {
        let requests = Requests::new(dma, REQUESTS, REQUEST_BYTES, 4096).unwrap();
        Self { device: device.clone(), requests, state: State::Off }
    }

    fn geometry() -> Geometry {
        Geometry {
            blocks: BLOCKS,
            block_bytes: BLOCK as u32,
            is_read_only: false,
            can_discard: false,
            can_write_zeroes: true,
        }
    }

    fn is_ready(&self) -> Result<(), Refused> {
        if matches!(self.state, State::Ready(_)) { Ok(()) } else { Err(Refused::NotReady) }
    }
}

pub type InCompartment = Driver<Part<Memory>>;

impl<B: DmaBuffer> Drive for Driver<B> {
    fn identity(&self) -> Option<Identity> {
        let serial = Text(self.device.hardware().serial);
        (self.state != State::Off).then_some(Identity {
            serial,
            model: Text([b'M'; 40]),
            firmware: Text([b'F'; 8]),
        })
    }
    fn start(&mut self, _: u64) -> Status {
        self.device.reset();
        self.requests.fail(true);
        self.state = State::Starting;
        self.status()
    }
    fn poll(&mut self, now_ns: u64) -> Status {
        if self.device.hardware().is_broken {
            self.requests.fail(true);
            self.state = State::Failed;
        } else if self.state == State::Starting {
            self.state = State::Ready(Self::geometry());
        }
        loop {
            let next = self.device.hardware().done.pop_front();
            let Some((piece, outcome)) = next else { break };
            self.requests.finish(piece, outcome);
        }
        self.kick(now_ns)
    }
    fn interrupt(&mut self, _: u16, now_ns: u64) -> Status {
        self.poll(now_ns)
    }
    fn status(&self) -> Status {
        Status { state: self.state, deadline_ns: None }
    }
    fn error(&self) -> Option<&dyn Display> {
        (self.state == State::Failed).then_some(&"it is broken" as &dyn Display)
    }
    fn request_bytes(&self) -> usize {
        REQUEST_BYTES
    }
    fn reserve(&mut self) -> Result<Tag, Refused> {
        self.is_ready()?;
        self.requests.reserve()
    }
    fn put(&mut self, tag: Tag, offset: usize, bytes: &[u8]) -> Option<()> {
        self.requests.put(tag, offset, bytes)
    }
    fn submit(&mut self, tag: Tag, operation: Operation, first: u64, blocks: u64) -> Result<(), Refused> {
        self.is_ready()?;
        self.requests.submit(tag, operation, first, blocks, Self::geometry())
    }
    fn kick(&mut self, _: u64) -> Status {
        if self.is_ready().is_ok() {
            // Pieces of three blocks, so that a request is several commands.
            while let Some(piece) = self.requests.next_piece(|_| 3, Self::geometry()) {
                self.device.hardware().commands.push_back(piece);
            }
        }
        self.status()
    }
    fn next_done(&self) -> Option<Done> {
        self.requests.next_done()
    }
    fn get(&self, tag: Tag, offset: usize, into: &mut [u8]) -> Option<()> {
        self.requests.get(tag, offset, into)
    }
    fn release(&mut self, tag: Tag) {
        self.requests.release(tag);
    }
}
