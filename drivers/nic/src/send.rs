//! Sending what an interface does not do by itself.

use crate::{Nic, Refused};
use network::{Cut, Frame, Tagging};

#[cfg(test)]
mod tests;

/// Gives `nic` a frame, with its tag as `tagging` says, and does before what the interface does
/// not do of what its sender left to do: a checksum in the frame itself, segments one after the
/// other in `spare`, as many as `cut` says. Where that goes on, this is to be called again. The caller
/// [kicks](Nic::kick).
///
/// # Errors
/// When the frame is not taken, or not all of its segments are, which are lost then as a wire
/// loses frames: TCP sends them again. [`Refused::Senseless`] where nothing can be made of what its sender
/// left to do.
pub fn send(
    nic: &mut (impl Nic + ?Sized),
    frame: &mut Frame,
    tagging: Tagging,
    spare: &mut Frame,
    cut: &mut Cut,
) -> Result<(), Refused> {
    cut.goes_on = false;
    let capabilities = nic.capabilities();
    if frame.offload.segmentation.is_some() && !capabilities.segmentation {
        let segments = frame.segments().ok_or(Refused::Senseless)?;
        // None of them is sent if some cannot be.
        if segments.largest_bytes() > capabilities.largest_bytes {
            return Err(Refused::TooLong(capabilities.largest_bytes));
        }
        let sent = cut
            .give(frame, spare, |segment| nic.transmit(&segment.parts(tagging).ok_or(Refused::Senseless)?));
        return sent.unwrap_or(Err(Refused::Senseless));
    }
    if !capabilities.checksum {
        frame.finish_checksum().ok_or(Refused::Senseless)?;
    }
    nic.transmit(&frame.parts(tagging).ok_or(Refused::Senseless)?)
}
