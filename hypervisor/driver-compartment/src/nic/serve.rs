//! The compartment's side of a network interface.

use crate::nic::area::{Ask, Facts, NicSizes, Progress};
use crate::words::{Operation, Words, at, state};
use alloc::boxed::Box;
use compartment::frames;
use network::{Frame, Tagging, Traffic};
use nic::{Counters, Nic, Refused, State};

/// An interface, and what it takes to serve it.
pub struct NicServer<N: ?Sized = dyn Nic> {
    nic: Box<N>,
    sizes: NicSizes,
    /// Where frames are put together.
    frame: Frame,
    /// What was told of frames until now.
    told: Counters,
    is_quiet: bool,
}

impl<N: Nic + ?Sized> NicServer<N> {
    /// A server of this interface.
    pub fn new(nic: Box<N>, sizes: NicSizes) -> Self {
        Self { nic, sizes, frame: Frame::new(), told: Counters::default(), is_quiet: false }
    }

    /// Does what the area says, and answers there.
    pub fn serve(&mut self, area: &mut [u64]) {
        let mut words = Words(area);
        let (now_ns, operation) = (words.get(at::NOW), Operation::of(words.get(at::OPERATION)));
        let mut unfit = 0;
        words.set_moved(0, 0);
        match operation {
            Some(Operation::Start) => {
                self.nic.start(now_ns);
            }
            Some(Operation::Turn) => unfit = self.turn(now_ns, &mut words),
            // It is built.
            None => {}
        }
        self.tell(unfit, &mut words);
        words.put(at::ANSWERED, operation.map_or(0, |operation| operation as u64));
    }

    /// Returns how many frames it took of which nothing can be made.
    fn turn(&mut self, now_ns: u64, words: &mut Words<'_>) -> u64 {
        let (messages, ask) = (words.get(at::MESSAGES), words.ask());
        for message in (0..64_u16).filter(|message| messages >> message & 1 != 0) {
            self.nic.interrupt(message, now_ns);
        }
        if ask.is_quiet != self.is_quiet {
            self.is_quiet = ask.is_quiet;
            self.nic.set_quiet(ask.is_quiet);
        }
        self.nic.poll(now_ns);
        let came = self.receive(&ask, words);
        let (taken, unfit) = self.transmit(&ask, words);
        if taken > 0 {
            self.nic.kick(now_ns);
        }
        words.set_moved(taken, came);
        unfit
    }

    fn receive(&mut self, ask: &Ask, words: &mut Words<'_>) -> usize {
        let mut place = ask.first_free;
        for came in 0..ask.free.min(self.sizes.frames.into()) {
            if !self.nic.receive(&mut self.frame) {
                return came;
            }
            let at = self.sizes.came_at(place);
            let bytes = self.frame.bytes();
            // One that there is no room for is none to ring 0.
            let room = words.frame_room(at, self.sizes).get_mut(..bytes.len());
            let bytes = room.map_or(0, |room| {
                room.copy_from_slice(bytes);
                bytes.len()
            });
            words.set_header(at, bytes, &self.frame.offload);
            place = self.sizes.next(place);
        }
        ask.free.min(self.sizes.frames.into())
    }

    /// Returns how many frames were taken, and of how many of them nothing can be made.
    fn transmit(&mut self, ask: &Ask, words: &mut Words<'_>) -> (usize, u64) {
        let (mut place, mut unfit) = (ask.first_to_send, 0);
        for taken in 0..ask.to_send {
            let at = self.sizes.sent_at(place);
            let given = match words.frame(at, self.sizes) {
                Ok((data, offload)) => {
                    let is_there = frames::get(data, offload, &mut self.frame).is_some();
                    let parts = self.frame.parts(Tagging::Keep).filter(|_| is_there);
                    parts.ok_or(Refused::Senseless).and_then(|parts| self.nic.transmit(&parts))
                }
                Err(_) => Err(Refused::Senseless),
            };
            match given {
                Ok(()) => {}
                // They wait.
                Err(Refused::Full | Refused::Down | Refused::NotReady) => return (taken, unfit),
                Err(_) => unfit += 1,
            }
            place = self.sizes.next(place);
        }
        (ask.to_send, unfit)
    }

    /// Says how the interface is, and what it did since this was said last.
    fn tell(&mut self, unfit: u64, words: &mut Words<'_>) {
        let status = self.nic.status();
        let state = match status.state {
            State::Off => state::OFF,
            State::Starting => state::STARTING,
            State::Ready => state::READY,
            State::Failed => state::FAILED,
        };
        words.put(at::STATE, state);
        words.put(at::DEADLINE, status.deadline_ns.unwrap_or(u64::MAX));
        words.put(at::IS_OURS, 1);
        if status.state == State::Failed {
            words.put_text(self.nic.error());
        }
        words.set_facts(&Facts {
            link: self.nic.link(),
            capabilities: self.nic.capabilities(),
            mac: self.nic.mac(),
            room: self.nic.queue().room,
        });
        let (now, before) = (self.nic.counters(), self.told);
        words.set_progress(&Progress {
            sent: Traffic {
                frames: now.sent.frames.saturating_sub(before.sent.frames),
                bytes: now.sent.bytes.saturating_sub(before.sent.bytes),
            },
            lost: now.lost.saturating_sub(before.lost),
            damaged: now.damaged.saturating_sub(before.damaged),
            missed: now.missed.saturating_sub(before.missed),
            resets: now.resets.saturating_sub(before.resets),
            unfit,
        });
        self.told = now;
    }
}
