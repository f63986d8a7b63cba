//! Linux + KVM on the machine that the bench measures Bulkhead on: same emulator, same processors,
//! same memory, same guest.

use crate::machine::{Boot, Iommu, Machine};
use crate::qemu::Qemu;
use std::path::Path;

/// Whose lines the reference's results are; what else the host says is nobody's.
pub const OWNER: &str = "kvm";

/// One processor for the host, two for the guest, as under Bulkhead.
const CPUS: u32 = 3;

/// What the host is told: to count time by the TSC, which Linux distrusts on an emulated processor
/// and would read a slow device instead, and to spend nothing on side channels, for Bulkhead does
/// not yet. Both make KVM cheaper than a Debian as it is installed. The rest keeps the console for
/// the results and a failed start from waiting for ever.
const COMMAND_LINE: &str = "console=ttyS0 quiet loglevel=1 panic=-1 tsc=reliable mitigations=off";

/// The machine with Linux `kernel` as its host, which finds in `initrd` KVM's modules, a guest,
/// and a program that runs it and powers the machine off.
pub fn machine(qemu: &Qemu, kernel: &Path, initrd: &Path) -> Machine {
    let boot = Boot::Kernel {
        elf: kernel.to_path_buf(),
        initrd: Some(initrd.to_path_buf()),
        command_line: COMMAND_LINE.to_owned(),
    };
    Machine::everyday(qemu, boot).cpus(CPUS).iommu(Iommu::None).icount()
}
