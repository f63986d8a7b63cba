//! A virtual machine of KVM: 64 MiB, two processors, KVM's own interrupt controllers and 8254.

use std::alloc::{Layout, alloc_zeroed};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_pit_config, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VmFd};

use crate::multiboot;
use crate::registers::Registers;
use crate::vcpu::{self, Vcpu};

/// As much as the bench's guest has under Bulkhead.
const MEMORY_BYTES: usize = 64 << 20;
/// So that the host can map it with large pages.
const MEMORY_ALIGNMENT: usize = 2 << 20;
const VCPUS: u8 = 2;
/// Three pages below 4 GiB that VT-x without unrestricted guest needs; no memory is there.
const TSS: usize = 0xfffb_d000;

/// Runs `image` until it powers itself off.
pub fn run(image: &[u8], command_line: &str) -> Result<()> {
    let kvm = Kvm::new().context("cannot open /dev/kvm: does the processor have SVM or VMX?")?;
    let vm = kvm.create_vm().context("no virtual machine")?;
    vm.set_tss_address(TSS).context("no task state segment")?;
    vm.create_irq_chip().context("no interrupt controllers")?;
    vm.create_pit2(kvm_pit_config::default()).context("no 8254")?;
    let entry = memory(&vm, image, command_line)?;
    let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).context("no CPUID table")?;

    let registers = Arc::new(Mutex::new(Registers::new()));
    let (ended, first) = channel();
    for index in 0..VCPUS {
        let fd = vm.create_vcpu(index.into()).with_context(|| format!("no vCPU {index}"))?;
        vcpu::set_cpuid(&fd, cpuid.clone(), index)?;
        if index == 0 {
            vcpu::set_entry(&fd, entry)?;
        }
        let mut vcpu = Vcpu::new(fd, index, Arc::clone(&registers));
        let ended = ended.clone();
        std::thread::spawn(move || ended.send(vcpu.run()));
    }
    drop(ended);
    // The first to end is the machine's end: the others may wait for ever, and go with the program.
    first.recv().context("every vCPU's thread is gone")?
}

/// Gives the machine its memory with `image` in it.
fn memory(vm: &VmFd, image: &[u8], command_line: &str) -> Result<multiboot::Entry> {
    let layout = Layout::from_size_align(MEMORY_BYTES, MEMORY_ALIGNMENT).context("no such layout")?;
    // SAFETY: the layout's size is not 0.
    let start = unsafe { alloc_zeroed(layout) };
    ensure!(!start.is_null(), "no memory for the guest");
    // SAFETY: just allocated and zeroed, and nobody else has it until the slice is gone.
    let entry =
        multiboot::load(image, command_line, unsafe { std::slice::from_raw_parts_mut(start, MEMORY_BYTES) })?;
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: MEMORY_BYTES as u64,
        userspace_addr: start as u64,
    };
    // SAFETY: the memory is never freed and from here on only the guest touches it.
    unsafe { vm.set_user_memory_region(region) }.context("KVM refuses the guest's memory")?;
    Ok(entry)
}
