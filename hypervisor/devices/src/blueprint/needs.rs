//! How much room a model needs around it.

use super::{Blueprint, VirtioDevice};
use crate::device::Work;
use crate::ide::BUFFERS_BYTES;
use crate::virtio::transport::{own_effects, state_words};
use crate::virtio::{block, console, net};
use crate::{ide, ivshmem, ne2000, nvme, serial};
use network::LARGEST_BYTES;

/// The most bytes of what a console is asked for at a time, or more.
const OUTPUT_BYTES: usize = 256;
/// The most bytes of a piece of a string instruction: more is asked for in several calls.
const STRING_BYTES: usize = 4096;
/// Bytes of one access.
const ACCESS_BYTES: usize = 8;

/// How much room a model needs around it. What is said of effects and the buffer is what its
/// [`Device`](crate::Device) says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Needs {
    /// Effects of one call at most.
    pub effects: usize,
    /// Requests at the medium at most.
    pub requests: usize,
    /// Bytes of its own buffer.
    pub buffer_bytes: usize,
    /// The most bytes that are handed over in one call: of a string instruction, a frame or a text.
    pub data_bytes: usize,
    /// Whether it sends and receives frames.
    pub carries_frames: bool,
    /// Words of its committed state.
    pub state_words: usize,
    /// Bytes of heap that the model takes, with a margin for what managing them costs.
    pub heap_bytes: usize,
}

impl Blueprint {
    /// How much room the model needs around it.
    pub fn needs(&self) -> Needs {
        let least = Needs {
            effects: 1,
            requests: 0,
            buffer_bytes: 0,
            data_bytes: ACCESS_BYTES,
            carries_frames: false,
            state_words: 0,
            heap_bytes: 4 << 10,
        };
        match self {
            Self::Serial => Needs {
                effects: serial::MOST_EFFECTS,
                data_bytes: OUTPUT_BYTES,
                state_words: serial::STATE_WORDS,
                heap_bytes: 8 << 10,
                ..least
            },
            Self::Ne2000(_) => Needs {
                effects: ne2000::MOST_EFFECTS,
                data_bytes: STRING_BYTES,
                carries_frames: true,
                state_words: ne2000::STATE_WORDS,
                heap_bytes: 24 << 10,
                ..least
            },
            Self::Ide(_) => Needs {
                effects: ide::MOST_EFFECTS,
                requests: 2,
                buffer_bytes: BUFFERS_BYTES,
                data_bytes: STRING_BYTES,
                state_words: ide::STATE_WORDS,
                heap_bytes: (8 << 10) + BUFFERS_BYTES,
                ..least
            },
            Self::Nvme(_) => Needs {
                effects: nvme::MOST_EFFECTS,
                requests: nvme::MOST_REQUESTS,
                state_words: nvme::STATE_WORDS,
                heap_bytes: 8 << 10,
                ..least
            },
            Self::Virtio { device, .. } => {
                let own = own_effects(device.queues().into());
                let transport = state_words(device.queues().into());
                let least = Needs { state_words: transport, ..least };
                match device {
                    VirtioDevice::Block(_) => Needs {
                        effects: own + block::MOST_AT_MEDIUM,
                        requests: block::MOST_AT_MEDIUM,
                        state_words: transport + block::STATE_WORDS,
                        heap_bytes: 8 << 10,
                        ..least
                    },
                    VirtioDevice::Net { .. } => Needs {
                        effects: own,
                        data_bytes: LARGEST_BYTES,
                        carries_frames: true,
                        state_words: transport + net::STATE_WORDS,
                        heap_bytes: 16 << 10,
                        ..least
                    },
                    VirtioDevice::Console => Needs {
                        effects: own + console::MOST_EFFECTS,
                        data_bytes: OUTPUT_BYTES,
                        state_words: transport + console::STATE_WORDS,
                        ..least
                    },
                    VirtioDevice::Entropy => {
                        Needs { effects: own, state_words: transport + Work::WORDS, ..least }
                    }
                }
            }
            Self::Ivshmem { peers, .. } => {
                let state_words = ivshmem::state_words((*peers).into());
                Needs { state_words, heap_bytes: least.heap_bytes + usize::from(*peers), ..least }
            }
            Self::Display { .. } => least,
        }
    }
}
