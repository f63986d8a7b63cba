//! Linux + KVM on the machines that the bench measures Bulkhead on: same emulators, same
//! processors, same guest.

use crate::bochs::{Bochs, BochsMachine, Medium};
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
pub const COMMAND_LINE: &str = "console=ttyS0 quiet loglevel=1 panic=-1 tsc=reliable mitigations=off";

/// AMD-V: the machine with Linux `kernel` as its host, which finds in `initrd` KVM's modules, a
/// guest, and a program that runs it and powers the machine off.
pub fn in_qemu(qemu: &Qemu, kernel: &Path, initrd: &Path) -> Machine {
    let boot = Boot::Kernel {
        elf: kernel.to_path_buf(),
        initrd: Some(initrd.to_path_buf()),
        command_line: COMMAND_LINE.to_owned(),
    };
    Machine::everyday(qemu, boot).cpus(CPUS).iommu(Iommu::None).icount()
}

/// VT-x: the same from a CD image with that kernel, initial file system and command line.
pub fn in_bochs(bochs: &Bochs, image: &Path) -> BochsMachine {
    BochsMachine::new(bochs, Medium::Cdrom(image.to_path_buf())).cpus(CPUS).icount()
}

/// What the host that gives functions to a guest is told besides: to remap the guest's DMA, and not
/// that of its own drivers.
const VFIO_COMMAND_LINE: &str = "intel_iommu=on iommu=pt";
/// For the host, its initial file system with QEMU in it, and the guest.
const VFIO_MEMORY_MIB: u32 = 1536;

/// AMD-V with VT-d: a machine with Linux `kernel` as its host, which finds in `initrd` KVM, VFIO,
/// QEMU and a Linux guest. A NIC and a drive are to be added as Bulkhead's guest has them.
pub fn with_vfio(qemu: &Qemu, kernel: &Path, initrd: &Path) -> Machine {
    with_qemu(qemu, kernel, initrd, "")
}

/// The same where the host gives its guests something else, as `mode` says on its command line.
pub fn with_qemu(qemu: &Qemu, kernel: &Path, initrd: &Path, mode: &str) -> Machine {
    let boot = Boot::Kernel {
        elf: kernel.to_path_buf(),
        initrd: Some(initrd.to_path_buf()),
        command_line: format!("{COMMAND_LINE} {VFIO_COMMAND_LINE} {mode}"),
    };
    // One processor for the host and one for the guest, as under Bulkhead.
    Machine::everyday(qemu, boot).cpus(2).memory_mib(VFIO_MEMORY_MIB)
}
