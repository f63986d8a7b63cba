//! The frames of a network interface: its guest's, and those for its guest.
//!
//! What these cause is not told to the guest frame by frame: its messages wait for
//! [`Endpoint::send_held`], which whoever carries frames calls once it has carried some.

use super::{Endpoint, Surroundings};
use crate::device::{Accepts, Reception};
use network::{Frame, Parts, Segmentation, Tagging};

impl Endpoint {
    /// Makes the next frame that the guest wants to send of `frame`. Whether there was one; it is
    /// empty, and goes nowhere, where the guest gave none that can be sent. See
    /// [`Device::transmit`](crate::Device::transmit).
    pub fn transmit(&mut self, frame: &mut Frame, around: &mut Surroundings<'_>) -> bool {
        frame.clear();
        let taken = self.with_device(around, |device, context| device.transmit(frame, context));
        self.apply_and_hold(around);
        taken
    }

    /// Into how many frames [`receive`](Self::receive) would cut this one.
    pub fn copies_of(&self, frame: &Frame) -> usize {
        let accepts = self.device.accepts();
        let cut = frame.offload.segmentation.filter(|cut| must_cut(&accepts, cut));
        cut.and_then(|_| frame.segments()).map_or(1, |segments| segments.left())
    }

    /// Gives the guest a frame, with its tag as `tagging` says, and does before what the device does not
    /// accept of what its sender left to do: a checksum in the frame itself, segments one after the
    /// other in `spare`. Where not all of the segments are taken the others are lost, as a wire loses
    /// frames: TCP sends them again.
    pub fn receive(
        &mut self,
        frame: &mut Frame,
        tagging: Tagging,
        spare: &mut Frame,
        around: &mut Surroundings<'_>,
    ) -> Reception {
        let accepts = self.device.accepts();
        if frame.offload.segmentation.is_some_and(|cut| must_cut(&accepts, &cut)) {
            return self.receive_segments(frame, tagging, spare, around);
        }
        if !accepts.checksum && frame.finish_checksum().is_none() {
            return Reception::Unfit;
        }
        self.receive_parts(frame.parts(tagging), around)
    }

    /// Says whether the network that the device is connected to is there. See
    /// [`Device::set_link`](crate::Device::set_link).
    pub fn set_link(&mut self, is_up: bool, around: &mut Surroundings<'_>) {
        self.with_device(around, |device, context| device.set_link(is_up, context));
        self.apply(around);
    }

    fn receive_segments(
        &mut self,
        frame: &Frame,
        tagging: Tagging,
        spare: &mut Frame,
        around: &mut Surroundings<'_>,
    ) -> Reception {
        let Some(mut segments) = frame.segments() else { return Reception::Unfit };
        while segments.next_into(spare) {
            let reception = self.receive_parts(spare.parts(tagging), around);
            if reception != Reception::Taken {
                return reception;
            }
        }
        Reception::Taken
    }

    fn receive_parts(&mut self, parts: Option<Parts<'_>>, around: &mut Surroundings<'_>) -> Reception {
        let Some(parts) = parts else { return Reception::Unfit };
        let largest = self.device.accepts().largest_bytes;
        if parts.offload.segmentation.is_none() && parts.bytes() > largest {
            return Reception::Unfit;
        }
        let reception = self.with_device(around, |device, context| device.receive(&parts, context));
        self.apply_and_hold(around);
        reception
    }

    fn apply_and_hold(&mut self, around: &mut Surroundings<'_>) {
        self.holds = true;
        self.apply(around);
        self.holds = false;
    }
}

/// Whether a frame that its sender left to be cut has to be for such a device.
const fn must_cut(accepts: &Accepts, cut: &Segmentation) -> bool {
    cut.ecn || !accepts.takes_uncut(cut.kind)
}

#[cfg(test)]
mod tests;
