//! The pair of 8259A interrupt controllers, which the hypervisor does not use.

use crate::cpu::ports;

const MASTER_DATA: u16 = 0x21;
const SLAVE_DATA: u16 = 0xa1;

/// Masks every line. Before the local APIC's LINT0 is masked: a request that is
/// pending through LINT0 is withdrawn only while that still follows the 8259A's
/// output, and would come later as an interrupt without a vector.
pub fn mask_all() {
    // SAFETY: outside of an initialisation sequence, which ends before any loader
    // runs, these ports are the mask registers. On a machine without the chips
    // nobody answers.
    unsafe {
        ports::write8(MASTER_DATA, 0xff);
        ports::write8(SLAVE_DATA, 0xff);
    }
}
