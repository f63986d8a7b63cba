//! AMD-V as the backend of [`crate::virt`].

use super::avic::{Avic, PhysicalTable};
use super::permissions::{IO_MAP_BYTES, MSR_MAP_BYTES, fill_msr_map};
use super::vcpu::{SvmFrames, SvmVcpu, enable};
use super::{Features, Unsupported};
use crate::cpu::{registers, timer};
use crate::memory::{frames, layout};
use crate::virt::passed_msrs::MsrMaps;
use crate::virt::{Backend, NotEnabled, OutOfMemory, Place};
use access::vcpu::InterruptMode;
use alloc::boxed::Box;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;
use spec::svm::Vmcb;
use spec::{Hpa, msr};
use tables::{Geometry, Npt, PageSize};

const FRAME: u64 = 4096;

/// AMD-V on this machine.
#[derive(Clone, Copy)]
pub struct Svm {
    features: Features,
    /// 12 KiB port map, all ones, and the MSR maps, once [`Backend::prepare`] made them.
    maps: Option<(Hpa, MsrMaps)>,
}

impl fmt::Debug for Svm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.features.fmt(f)
    }
}

impl Backend for Svm {
    const NAME: &'static str = "AMD-V";
    const DIRECT_INTERRUPTS: bool = true;
    type Vcpu = SvmVcpu;
    type Nested = Npt;
    /// The physical APIC ID table of AVIC.
    type Shared = Option<(&'static PhysicalTable, Hpa)>;
    type Unsupported = Unsupported;

    fn detect() -> Result<Self, Unsupported> {
        let cpuid = |leaf, subleaf| {
            let result = registers::cpuid(leaf, subleaf);
            [result.eax, result.ebx, result.ecx, result.edx]
        };
        // SAFETY: VM_CR exists where CPUID has AMD-V, and only then is it read.
        let features = Features::detect(cpuid, || unsafe { registers::read_msr(msr::VM_CR) })?;
        Ok(Self { features, maps: None })
    }

    fn prepare(&mut self) -> Result<(), OutOfMemory> {
        let io_map = frames::take(IO_MAP_BYTES as u64, FRAME).ok_or(OutOfMemory)?;
        // SAFETY: the block was just taken, so it is RAM of the direct map, of this size,
        // that nobody else uses.
        unsafe { layout::direct(io_map).write_bytes(0xff, IO_MAP_BYTES) };
        self.maps = Some((io_map, MsrMaps::new(msr_map)?));
        Ok(())
    }

    fn enable(&self) -> Result<(), NotEnabled> {
        let host_save = frames::take(FRAME, FRAME).ok_or(OutOfMemory)?;
        // SAFETY: the frame was just taken and is never given back; by the contract of
        // `Backend::enable`, `detect` found AMD-V not locked off on this processor.
        unsafe { enable(host_save) };
        Ok(())
    }

    fn keeps_apic(&self) -> bool {
        self.features.x2avic
    }

    fn share(&self, _: usize) -> Result<Self::Shared, OutOfMemory> {
        if !self.features.x2avic {
            return Ok(None);
        }
        Ok(Some(frames::take_zeroed().ok_or(OutOfMemory)?))
    }

    fn geometry(&self) -> Geometry {
        Geometry::processor(
            4,
            if registers::has_giant_pages() { PageSize::Size1GiB } else { PageSize::Size2MiB },
        )
    }

    fn new_vcpu(&self, nested: Hpa, place: Place<'_, Self::Shared>) -> Result<SvmVcpu, OutOfMemory> {
        let (io_map, msr_maps) = self.maps.ok_or(OutOfMemory)?;
        let vmcb = frames::take(FRAME, FRAME).ok_or(OutOfMemory)?;
        let host = frames::take(FRAME, FRAME).ok_or(OutOfMemory)?;
        let avic = match (*place.shared, place.last()) {
            // A table has so many entries; the guest's other vCPUs would be out of reach.
            (Some(table), Some(last)) => Some(avic(table, place.index as u16, last)?),
            _ => None,
        };
        let frames = SvmFrames { vmcb, host, io_map, msr_maps, nested };
        // SAFETY: the frame was just taken and is this vCPU's for good; zeros are a valid
        // control block. By the contract of `Backend::new_vcpu` it runs on one
        // processor, where AMD-V is on.
        unsafe {
            let block = layout::direct(vmcb).cast::<Vmcb>();
            block.write_bytes(0, 1);
            let block = NonNull::new(block).ok_or(OutOfMemory)?;
            Ok(SvmVcpu::new(block, frames, self.features, avic))
        }
    }
}

/// AVIC's part for one vCPU.
fn avic(table: (&'static PhysicalTable, Hpa), index: u16, last: u16) -> Result<&'static Avic, OutOfMemory> {
    let page = frames::take_zeroed().ok_or(OutOfMemory)?;
    Ok(Box::leak(Box::new(Avic { page, table, index, last, processor: AtomicU32::new(0) })))
}

/// A new MSR map, 8 KiB.
fn msr_map(interrupts: InterruptMode) -> Result<Hpa, OutOfMemory> {
    let map = frames::take(MSR_MAP_BYTES as u64, FRAME).ok_or(OutOfMemory)?;
    // SAFETY: the block was just taken, so it is RAM of the direct map, of this size, that
    // nobody else uses; u8 has no invalid values.
    let bytes = unsafe { &mut *layout::direct(map).cast::<[u8; MSR_MAP_BYTES]>() };
    fill_msr_map(bytes, interrupts, timer::has_deadline_mode());
    Ok(map)
}
