//! One virtual processor: its first state, and its loop.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use kvm_bindings::{CpuId, kvm_regs, kvm_segment};
use kvm_ioctls::{VcpuExit, VcpuFd};
use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::multiboot;
use crate::registers::{Effect, Registers};

/// CPUID.1:ECX: x2APIC, and that there is a hypervisor.
const X2APIC: u32 = 1 << 21;
const HYPERVISOR: u32 = 1 << 31;
/// CR0: protection, extension type.
const CR0: u64 = 1 << 0 | 1 << 4;
/// RFLAGS' bit that is always set.
const RFLAGS: u64 = 1 << 1;

/// Gives vCPU `index` the processor that KVM can offer.
pub fn set_cpuid(fd: &VcpuFd, mut cpuid: CpuId, index: u8) -> Result<()> {
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            1 => {
                entry.ebx = entry.ebx & 0x00ff_ffff | u32::from(index) << 24;
                entry.ecx |= X2APIC | HYPERVISOR;
            }
            0xb | 0x1f => entry.edx = index.into(),
            _ => {}
        }
    }
    fd.set_cpuid2(&cpuid).context("KVM refuses its own CPUID table")
}

/// Puts the first processor where a multiboot loader leaves it: protected mode, flat segments,
/// no paging, interrupts off.
pub fn set_entry(fd: &VcpuFd, entry: multiboot::Entry) -> Result<()> {
    let mut system = fd.get_sregs().context("no system registers")?;
    system.cs = flat(0x08, 0xb);
    let data = flat(0x10, 0x3);
    (system.ds, system.es, system.fs, system.gs, system.ss) = (data, data, data, data, data);
    system.cr0 = CR0;
    fd.set_sregs(&system).context("KVM refuses the system registers")?;
    let general = kvm_regs {
        rax: multiboot::MAGIC.into(),
        rbx: entry.information.into(),
        rip: entry.address.into(),
        rflags: RFLAGS,
        ..Default::default()
    };
    fd.set_regs(&general).context("KVM refuses the general registers")
}

/// A segment of 4 GiB from 0.
fn flat(selector: u16, type_: u8) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..Default::default()
    }
}

/// A virtual processor on its thread.
pub struct Vcpu {
    fd: VcpuFd,
    index: u8,
    registers: Arc<Mutex<Registers>>,
}

impl Vcpu {
    /// vCPU `index`, ready to run.
    pub fn new(fd: VcpuFd, index: u8, registers: Arc<Mutex<Registers>>) -> Self {
        Self { fd, index, registers }
    }

    /// Runs until the guest powers itself off.
    pub fn run(&mut self) -> Result<()> {
        self.pin()?;
        loop {
            let exit = match self.fd.run() {
                // A processor that waited for INIT and SIPI has got one of them.
                Err(error) if error.errno() == Errno::AGAIN.raw_os_error() => continue,
                exit => exit.with_context(|| format!("vCPU {} does not run", self.index))?,
            };
            let mut registers = self.registers.lock().unwrap_or_else(PoisonError::into_inner);
            match exit {
                VcpuExit::IoIn(port, data) => registers.read_port(port, data),
                VcpuExit::IoOut(port, data) => {
                    if registers.write_port(port, data) == Effect::PowerOff {
                        return Ok(());
                    }
                }
                VcpuExit::MmioRead(gpa, data) => registers.read_memory(gpa, data),
                VcpuExit::MmioWrite(..) => {}
                exit => bail!("vCPU {} ended with {exit:?}", self.index),
            }
        }
    }

    /// To a processor of its own, as under Bulkhead; the host keeps the first.
    fn pin(&self) -> Result<()> {
        let mut processors = CpuSet::new();
        processors.set(usize::from(self.index) + 1);
        sched_setaffinity(None, &processors)
            .with_context(|| format!("the host has no processor {}", u32::from(self.index) + 1))
    }
}
