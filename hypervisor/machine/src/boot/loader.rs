//! The entry point of the `bootloader` crate: 64 bits, its page tables, its `BootInfo`.

use bootloader_api::BootInfo;
use bootloader_api::config::{BootloaderConfig, Mapping};
use bootloader_api::info::FrameBuffer;
use core::ptr::addr_of_mut;
use spec::Hpa;

use super::handoff::{EntryPoint, Framebuffer, Handoff, Rsdp};
use super::start;
use crate::cpu::registers;
use crate::memory::memory_map::Range;
use crate::memory::paging::LoaderTables;

/// What the loader is asked for: all physical memory mapped somewhere.
const CONFIG: BootloaderConfig = {
    let mut config = BootloaderConfig::new_default();
    config.mappings.physical_memory = Some(Mapping::Dynamic);
    config.kernel_stack_size = 80 * 1024;
    config
};

/// The loader looks for the request in the section of this name.
#[unsafe(link_section = ".bootloader-config")]
#[used]
static SERIALIZED_CONFIG: [u8; BootloaderConfig::SERIALIZED_LEN] = CONFIG.serialize();

/// First Rust code behind `_start`, on the image's boot stack.
pub(super) extern "C" fn entry_loader(boot: &'static mut BootInfo) -> ! {
    // SAFETY: the entry points run once, on the only processor that runs.
    let handoff = unsafe { &mut *addr_of_mut!(start::HANDOFF) };
    let Some(offset) = boot.physical_memory_offset.into_option() else {
        // The log needs nothing but ports.
        crate::console::init_serial();
        crate::console::write_log("error: ", format_args!("the loader mapped no physical memory"));
        registers::halt_forever()
    };
    let tables = LoaderTables::in_force(offset);
    read(boot, &tables, handoff);
    start::start(handoff, &tables)
}

/// Copies what the loader passes; its addresses are virtual.
fn read(boot: &mut BootInfo, tables: &LoaderTables, handoff: &mut Handoff) {
    handoff.entry_point = EntryPoint::Bootloader;
    for region in boot.memory_regions.iter() {
        handoff.add_region(*region);
    }
    handoff.rsdp = boot.rsdp_addr.into_option().map_or(Rsdp::Unknown, |address| Rsdp::At(Hpa(address)));
    handoff.ramdisk =
        boot.ramdisk_addr.into_option().and_then(|address| contiguous(tables, address, boot.ramdisk_len));
    handoff.framebuffer = boot.framebuffer.as_ref().and_then(|buffer| framebuffer(tables, buffer));
}

/// The physical range behind `bytes` bytes at `address`, if it is one.
fn contiguous(tables: &LoaderTables, address: u64, bytes: u64) -> Option<Range> {
    let start = tables.translate(address)?;
    let mut offset = 4096 - (address & 4095);
    while offset < bytes {
        if tables.translate(address.checked_add(offset)?)? != start + offset {
            return None;
        }
        offset += 4096;
    }
    (bytes > 0).then_some(Range::new(start, bytes))
}

fn framebuffer(tables: &LoaderTables, buffer: &FrameBuffer) -> Option<Framebuffer> {
    let address = buffer.buffer().as_ptr() as u64;
    let info = buffer.info();
    let range = contiguous(tables, address, info.byte_len as u64)?;
    Some(Framebuffer { hpa: range.start, info })
}
