//! From an entry point's hand-off to `hypervisor_main`: own tables, own stack, own
//! descriptors, the log.

use bootloader_api::BootInfo;
use bootloader_api::info::{FrameBuffer, MemoryRegion, Optional};
use core::arch::asm;
use core::mem::MaybeUninit;
use core::ptr::{addr_of, addr_of_mut};
use spec::{Bdf, Hpa};

use super::entry::{ENTRY_MULTIBOOT, ENTRY_PVH};
use super::handoff::{EntryPoint, Handoff, Physical, REGIONS, Rsdp};
use super::{multiboot, pvh};
use crate::boot::bus_masters::{self, Stopped};
use crate::chipset::config_space::MachineConfigSpace;
use crate::console;
use crate::console::framebuffer::Screen;
use crate::console::log as logger;
use crate::cpu::{processor, registers};
use crate::memory::memory_map::Range;
use crate::memory::paging::{self, Caching, LoaderTables, Rights, Stack};
use crate::memory::{frames, layout};

/// Bytes of each processor's stack. Building a guest takes half of it where the compiler does not
/// optimise across crates: its chipset and processors are moved by value.
pub const STACK_BYTES: u64 = 128 * 1024;

/// What the loader passed. Written by the entry point, constant after [`start`].
pub(super) static mut HANDOFF: Handoff = Handoff::new();
/// The memory map that the kernel is given.
static mut KERNEL_REGIONS: [MemoryRegion; REGIONS] = [MemoryRegion::empty(); REGIONS];
/// What the kernel is given.
static mut BOOT_INFO: MaybeUninit<BootInfo> = MaybeUninit::uninit();
/// What could write memory, and was stopped.
static mut STOPPED: Stopped = Stopped::new();
/// TSC at the first Rust instruction.
static mut START_TSC: u64 = 0;

unsafe extern "Rust" {
    /// The kernel. It runs on its own stack and tables, with exceptions and the log
    /// in place, interrupts off, one processor, no heap yet.
    fn hypervisor_main(boot: &'static mut BootInfo) -> !;
}

/// Physical memory in the early tables of the 32-bit entry points: the first 4 GiB.
struct EarlyMemory;

impl Physical for EarlyMemory {
    fn bytes(&self, hpa: u64, bytes: usize) -> Option<&[u8]> {
        let end = hpa.checked_add(bytes as u64)?;
        if hpa == 0 || end > 1 << 32 {
            return None;
        }
        // SAFETY: the early tables map the first 4 GiB; nobody writes what a loader
        // passed while the entry points read it.
        Some(unsafe { core::slice::from_raw_parts(layout::direct(Hpa(hpa)), bytes) })
    }
}

/// First Rust code of the 32-bit entry points: `info` is the physical address of what the
/// loader passes.
pub(super) extern "C" fn entry_32(entry: u32, info: u32) -> ! {
    // SAFETY: the entry points run once, on the only processor that runs.
    let handoff = unsafe { &mut *addr_of_mut!(HANDOFF) };
    let understood = match entry {
        ENTRY_PVH => pvh::read(&EarlyMemory, info.into(), handoff),
        ENTRY_MULTIBOOT => multiboot::read(&EarlyMemory, info.into(), handoff),
        _ => None,
    };
    if understood.is_none() {
        console::init_serial();
        console::write_log("error: ", format_args!("the loader's information makes no sense"));
        registers::halt_forever()
    }
    start(handoff, &LoaderTables::in_force(layout::DIRECT_MAP))
}

/// Leaves the loader's tables and stack for the hypervisor's own.
pub(super) fn start(handoff: &mut Handoff, loader: &LoaderTables) -> ! {
    // SAFETY: one processor, before anybody reads it.
    unsafe { START_TSC = registers::read_tsc() };
    console::init_serial();
    logger::init(log::LevelFilter::Info);
    if loader.levels != 4 {
        // Only code below 4 GiB, with paging off, could leave it.
        log::error!(
            "the loader left five-level paging on, which the hypervisor does not use: switch it off in the \
             firmware's setup, or boot by GRUB"
        );
        registers::halt_forever()
    }
    reserve_image(handoff, loader);
    if let Some(ramdisk) = handoff.ramdisk {
        handoff.reserve(ramdisk);
    }
    if let Some(framebuffer) = handoff.framebuffer {
        handoff.reserve(Range::new(framebuffer.hpa, framebuffer.info.byte_len as u64));
    }
    // Before anything of the loader's memory is given out: nobody may write there any more.
    // SAFETY: one processor, before anybody reads it.
    unsafe { STOPPED = bus_masters::stop(&MachineConfigSpace::new()) };
    frames::init(handoff.regions());
    processor::set_control_registers();
    let root = match paging::build(loader) {
        Ok(root) => root,
        Err(error) => panic!("no page tables: {error:?}; {} bytes of RAM are known", frames::ram_bytes()),
    };
    // SAFETY: the new tables map the image where it runs, this stack in its data
    // included; the direct map moves, which `set_installed` says before anybody asks.
    unsafe { registers::write_cr3(root.0) };
    paging::set_installed();
    match paging::allocate_stack(STACK_BYTES) {
        Ok(stack) => switch_stack(stack),
        Err(error) => panic!("no stack: {error:?}"),
    }
}

/// The image's frames are not free, whatever the loader's map says.
fn reserve_image(handoff: &mut Handoff, loader: &LoaderTables) {
    let parts = layout::image();
    let mut run: Option<Range> = None;
    for address in (parts.text.0..parts.data.1).step_by(4096) {
        let Some(hpa) = loader.translate(address) else { continue };
        match &mut run {
            Some(run) if run.end == hpa => run.end = hpa + 4096,
            _ => {
                run.into_iter().for_each(|run| handoff.reserve(run));
                run = Some(Range::new(hpa, 4096));
            }
        }
    }
    run.into_iter().for_each(|run| handoff.reserve(run));
}

fn switch_stack(stack: Stack) -> ! {
    // SAFETY: the stack is mapped, and nothing on the old one is used again. RBP 0
    // ends backtraces.
    unsafe {
        asm!("mov rsp, {top}", "xor ebp, ebp", "call {next}", "ud2",
             top = in(reg) stack.top, next = sym on_own_stack, options(noreturn))
    }
}

extern "C" fn on_own_stack() -> ! {
    processor::init_boot_processor();
    let handoff = handoff();
    if handoff.regions_lost > 0 {
        log::warn!("the memory map is too long: {} regions are not used", handoff.regions_lost);
    }
    // SAFETY: only the boot processor runs, here, once; the kernel owns it from now on.
    let regions = unsafe { &mut *addr_of_mut!(KERNEL_REGIONS) };
    let (regions, _) = regions.split_at_mut(handoff.regions().len());
    regions.copy_from_slice(handoff.regions());
    let mut boot = BootInfo::new(regions.into());
    boot.physical_memory_offset = Optional::Some(layout::DIRECT_MAP);
    boot.kernel_image_offset = layout::IMAGE;
    boot.kernel_len = layout::image_bytes();
    boot.kernel_addr = paging::translate(layout::image().text.0).map_or(0, |hpa| hpa.0);
    boot.rsdp_addr = rsdp(&handoff.rsdp).map(|hpa| hpa.0).into();
    map_framebuffer(handoff, &mut boot);
    map_ramdisk(handoff, &mut boot);
    // SAFETY: written once here and handed to the kernel, which owns it from now on.
    unsafe { hypervisor_main((*addr_of_mut!(BOOT_INFO)).write(boot)) }
}

fn rsdp(rsdp: &'static Rsdp) -> Option<Hpa> {
    match rsdp {
        Rsdp::Unknown => None,
        Rsdp::At(hpa) => Some(*hpa),
        Rsdp::Copy(bytes) => paging::translate(bytes.as_ptr() as u64),
    }
}

fn map_framebuffer(handoff: &Handoff, boot: &mut BootInfo) {
    let Some(framebuffer) = handoff.framebuffer else { return };
    match Screen::map(framebuffer.hpa, framebuffer.info) {
        Ok(screen) => {
            let start = screen.address();
            console::attach_screen(screen);
            // SAFETY: the window is mapped for good. The console writes to it; the
            // kernel is told of it for its geometry.
            boot.framebuffer = Optional::Some(unsafe { FrameBuffer::new(start, framebuffer.info) });
        }
        Err(error) => log::warn!("the framebuffer at {} cannot be mapped: {error:?}", framebuffer.hpa),
    }
}

fn map_ramdisk(handoff: &Handoff, boot: &mut BootInfo) {
    let Some(range) = handoff.ramdisk else { return };
    match paging::map_window(range.start, range.bytes(), Rights::Read, Caching::WriteBack) {
        Ok(address) => {
            boot.ramdisk_addr = Optional::Some(address as u64);
            boot.ramdisk_len = range.bytes();
        }
        Err(error) => log::error!("the bundle at {} cannot be mapped: {error:?}", range.start),
    }
}

fn handoff() -> &'static Handoff {
    // SAFETY: only the entry points write it, and they never return.
    unsafe { &*addr_of!(HANDOFF) }
}

/// The command line; empty where the loader has none.
pub fn command_line() -> &'static str {
    handoff().command_line()
}

/// The entry point that the loader called.
pub fn entry_point() -> EntryPoint {
    handoff().entry_point
}

/// Functions that could write memory when the hypervisor came, and were stopped before it used
/// any.
pub fn stopped_functions() -> &'static [Bdf] {
    // SAFETY: written once in `start`, before anybody can call this.
    unsafe { (*addr_of!(STOPPED)).functions() }
}

/// Where the bundle is in physical memory.
pub fn ramdisk() -> Option<Range> {
    handoff().ramdisk
}

/// TSC when the hypervisor's first Rust code ran.
pub fn start_tsc() -> u64 {
    // SAFETY: written once in `start`, before anybody can call this.
    unsafe { START_TSC }
}
