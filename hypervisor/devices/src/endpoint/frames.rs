//! The frames of a network interface: its guest's, and those for its guest.
//!
//! What these cause is not told to the guest frame by frame: its messages wait for
//! [`Endpoint::send_held`], which whoever carries frames calls once it has carried some.

use super::{Endpoint, Surroundings};
use crate::device::{Accepts, Reception};
use network::{Cut, Frame, Parts, Segmentation, Tagging};

impl Endpoint {
    /// Makes the next frame that the guest wants to send of `frame`. Whether there was one; it is
    /// empty, and goes nowhere, where the guest gave none that can be sent. See
    /// [`Device::transmit`](crate::Device::transmit).
    pub fn transmit(&mut self, frame: &mut Frame, around: &mut Surroundings<'_>) -> bool {
        frame.clear();
        let taken = self.with_device(around, |device, context| device.transmit(frame, context));
        self.untold |= taken;
        self.apply_and_hold(around);
        taken
    }

    /// Gives the guest a frame, with its tag as `tagging` says, and does before what the device does not
    /// accept of what its sender left to do: a checksum in the frame itself, segments one after the
    /// other in `spare`, as many as `cut` says; where that goes on, this is to be called again. Where not
    /// all of the segments are taken the others are lost, as a wire loses frames: TCP sends them again.
    pub fn receive(
        &mut self,
        frame: &mut Frame,
        tagging: Tagging,
        spare: &mut Frame,
        cut: &mut Cut,
        around: &mut Surroundings<'_>,
    ) -> Reception {
        cut.goes_on = false;
        let accepts = self.device.accepts();
        if frame.offload.segmentation.is_some_and(|cut| must_cut(&accepts, &cut)) {
            return self.receive_segments(frame, tagging, spare, cut, around);
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
        cut: &mut Cut,
        around: &mut Surroundings<'_>,
    ) -> Reception {
        let given =
            cut.give(frame, spare, |segment| match self.receive_parts(segment.parts(tagging), around) {
                Reception::Taken => Ok(()),
                reception => Err(reception),
            });
        match given {
            Some(Ok(())) => Reception::Taken,
            Some(Err(reception)) => reception,
            None => Reception::Unfit,
        }
    }

    fn receive_parts(&mut self, parts: Option<Parts<'_>>, around: &mut Surroundings<'_>) -> Reception {
        let Some(parts) = parts else { return Reception::Unfit };
        let largest = self.device.accepts().largest_bytes;
        if parts.offload.segmentation.is_none() && parts.bytes() > largest {
            return Reception::Unfit;
        }
        let reception = self.with_device(around, |device, context| device.receive(&parts, context));
        self.untold |= reception == Reception::Taken;
        self.apply_and_hold(around);
        reception
    }

    /// Asks the device for the messages of the frames that were carried.
    pub(super) fn tell_of_frames(&mut self, around: &mut Surroundings<'_>) {
        if core::mem::take(&mut self.untold) {
            self.with_device(around, |device, context| device.tell(context));
            self.apply_and_hold(around);
        }
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
