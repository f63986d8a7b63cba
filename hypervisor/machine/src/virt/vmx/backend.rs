//! VT-x as the backend of [`crate::virt`].

use super::features::{Features, Unsupported};
use super::invalidation::Extent;
use super::permissions::{IO_MAPS_BYTES, MSR_MAP_BYTES, fill_msr_map};
use super::vcpu::{VmxFrames, VmxVcpu};
use super::world;
use crate::cpu::{registers, timer};
use crate::memory::{frames, layout};
use crate::virt::passed_msrs::MsrMaps;
use crate::virt::{Backend, NotEnabled, OutOfMemory, Place};
use access::vcpu::InterruptMode;
use core::fmt;
use spec::Hpa;
use spec::vmx::capability::{self, FeatureControl};
use tables::{Ept, Geometry, PageSize};
use x86_64::registers::control::{Cr0, Cr4};

const FRAME: u64 = 4096;

/// VT-x on this machine.
#[derive(Clone, Copy)]
pub struct Vmx {
    features: Features,
    /// The I/O bitmaps, all ones, and the MSR bitmaps, once [`Backend::prepare`] made them.
    maps: Option<(Hpa, MsrMaps)>,
}

impl fmt::Debug for Vmx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.features.fmt(f)
    }
}

impl Backend for Vmx {
    const NAME: &'static str = "VT-x";
    const DIRECT_INTERRUPTS: bool = true;
    type Vcpu = VmxVcpu;
    type Nested = Ept;
    type Shared = ();
    type Unsupported = Unsupported;

    fn detect() -> Result<Self, Unsupported> {
        let cpuid = |leaf, subleaf| {
            let result = registers::cpuid(leaf, subleaf);
            [result.eax, result.ebx, result.ecx, result.edx]
        };
        // SAFETY: `detect` reads an MSR only where CPUID or another MSR says that it is.
        let features = Features::detect(cpuid, |number| unsafe { registers::read_msr(number) })?;
        Ok(Self { features, maps: None })
    }

    fn prepare(&mut self) -> Result<(), OutOfMemory> {
        let io_maps = frames::take(IO_MAPS_BYTES as u64, FRAME).ok_or(OutOfMemory)?;
        // SAFETY: the block was just taken, so it is RAM of the direct map, of this size,
        // that nobody else uses.
        unsafe { layout::direct(io_maps).write_bytes(0xff, IO_MAPS_BYTES) };
        self.maps = Some((io_maps, MsrMaps::new(msr_map)?));
        Ok(())
    }

    fn enable(&self) -> Result<(), NotEnabled> {
        // The controls were chosen on the first processor.
        if Self::detect().map(|here| here.features) != Ok(self.features) {
            return Err(NotEnabled::Refused("its VT-x is not like that of the first processor"));
        }
        let region = self.take_region()?;
        // SAFETY: `detect` found that VMXON is allowed, or can be. The bits that it wants
        // fixed are in force in the hypervisor anyhow, but for CR4.VMXE. The region is
        // given to this processor for good, and nothing is cached yet that its guest
        // could meet.
        let entered = unsafe {
            allow_vmxon();
            Cr0::write_raw(self.features.cr0.fix(Cr0::read_raw()));
            Cr4::write_raw(self.features.cr4.fix(Cr4::read_raw()));
            world::enter_operation(region)
        };
        if !entered {
            return Err(NotEnabled::Refused("the processor refuses VMXON"));
        }
        // SAFETY: VMXON succeeded. Both are offered: `detect` insists on INVEPT of all, and
        // uses VPIDs only where they can be dropped.
        unsafe {
            world::invalidate_nested(Extent::All, 0);
        }
        Ok(())
    }

    fn keeps_apic(&self) -> bool {
        self.features.keeps_apic
    }

    fn geometry(&self) -> Geometry {
        let page = if self.features.huge_pages { PageSize::Size1GiB } else { PageSize::Size2MiB };
        Geometry { small_code: self.features.small_code_pages, ..Geometry::processor(4, page) }
    }

    fn share(&self, _: usize) -> Result<(), OutOfMemory> {
        Ok(())
    }

    fn new_vcpu(&self, nested: Hpa, _: Place<'_, ()>) -> Result<VmxVcpu, OutOfMemory> {
        let (io_maps, msr_maps) = self.maps.ok_or(OutOfMemory)?;
        let vmcs = self.take_region()?;
        let (page, virtual_apic) = frames::take_zeroed().ok_or(OutOfMemory)?;
        let posted = match self.features.takes_posted {
            true => Some(frames::take_zeroed().ok_or(OutOfMemory)?),
            false => None,
        };
        let (posted, posted_at) = posted.unzip();
        let frames = VmxFrames { vmcs, virtual_apic, posted: posted_at, io_maps, msr_maps, nested };
        // SAFETY: the frames were just taken and are this vCPU's for good. By the contract
        // of `Backend::new_vcpu` it runs on one processor, after `enable` there; its owner
        // resets it before each start.
        Ok(unsafe { VmxVcpu::new(page, posted, frames, self.features) })
    }
}

impl Vmx {
    /// A region for VMXON or a VMCS: a frame that begins with the revision.
    fn take_region(&self) -> Result<Hpa, OutOfMemory> {
        let region = frames::take(FRAME, FRAME).ok_or(OutOfMemory)?;
        // SAFETY: the frame was just taken; it is 4 KiB of RAM of the direct map.
        unsafe {
            let first = layout::direct(region);
            first.write_bytes(0, FRAME as usize);
            first.cast::<u32>().write(self.features.revision);
        }
        Ok(region)
    }
}

/// A new MSR bitmap, 4 KiB.
fn msr_map(interrupts: InterruptMode) -> Result<Hpa, OutOfMemory> {
    let map = frames::take(MSR_MAP_BYTES as u64, FRAME).ok_or(OutOfMemory)?;
    // SAFETY: the block was just taken, so it is RAM of the direct map, of this size, that
    // nobody else uses; u8 has no invalid values.
    let bytes = unsafe { &mut *layout::direct(map).cast::<[u8; MSR_MAP_BYTES]>() };
    fill_msr_map(bytes, interrupts, timer::has_deadline_mode());
    Ok(map)
}

/// Sets IA32_FEATURE_CONTROL where firmware left it open (Intel SDM vol. 3 section 23.7).
///
/// # Safety
/// The processor has VT-x.
unsafe fn allow_vmxon() {
    // SAFETY: the register exists with VT-x, and can be written while it is not locked.
    unsafe {
        let value = FeatureControl::from_bits_retain(registers::read_msr(capability::FEATURE_CONTROL));
        if !value.contains(FeatureControl::LOCKED) {
            let allowed = value | FeatureControl::LOCKED | FeatureControl::OUTSIDE_SMX;
            registers::write_msr(capability::FEATURE_CONTROL, allowed.bits());
        }
    }
}
