//! The address space that the hypervisor runs in, on every processor.

use access::TableMemory;
use core::sync::atomic::{AtomicU64, Ordering};
use spec::Hpa;
use spec::address::PAGE_BYTES;
use x86_64::registers::control::Cr4;

use crate::cpu::registers;
use crate::memory::frames;
use crate::memory::layout;
use crate::memory::memory_map::Range;
use crate::memory::page_table::PageTable;
pub use crate::memory::page_table::{Caching, MapError, Rights};

/// Virtual address minus hpa of RAM in the tables in force: the loader's until
/// [`install`] is done, the direct map's after.
static OFFSET: AtomicU64 = AtomicU64::new(layout::DIRECT_MAP);

/// Frames for the hypervisor's own tables, taken one by one and never given back.
pub(crate) struct BootFrames;

impl BootFrames {
    fn pointer(hpa: Hpa) -> *mut u64 {
        hpa.0.wrapping_add(OFFSET.load(Ordering::Relaxed)) as *mut u64
    }
}

impl TableMemory for BootFrames {
    fn allocate(&mut self) -> Option<Hpa> {
        self.allocate_contiguous(1)
    }
    fn allocate_contiguous(&mut self, frames: usize) -> Option<Hpa> {
        let bytes = (frames as u64).checked_mul(PAGE_BYTES)?;
        let start = frames::take_low(bytes, bytes.checked_next_power_of_two()?)?;
        // SAFETY: the frames were just taken, so nobody else uses them; RAM below
        // 4 GiB is mapped OFFSET higher by every entry point and by the direct map.
        unsafe { Self::pointer(start).write_bytes(0, bytes as usize / 8) };
        Some(start)
    }
    fn free(&mut self, _frame: Hpa) {}
    fn read(&self, hpa: Hpa) -> u64 {
        // SAFETY: `PageTable` passes only entries of frames it got from `allocate`,
        // mapped as said there. Volatile: the processor sets accessed bits.
        unsafe { Self::pointer(hpa).read_volatile() }
    }
    fn write(&mut self, hpa: Hpa, value: u64) {
        // SAFETY: as for `read`.
        unsafe { Self::pointer(hpa).write_volatile(value) };
    }
    fn write_back(&self, _hpa: Hpa, _bytes: u64) {}
    fn left(&self) -> usize {
        (frames::free_bytes() / PAGE_BYTES) as usize
    }
}

struct AddressSpace {
    table: PageTable<BootFrames>,
    next_window: u64,
    next_stack: u64,
}

static SPACE: spin::Mutex<Option<AddressSpace>> = spin::Mutex::new(None);

/// A stack between unmapped pages; it grows down from `top`.
#[derive(Clone, Copy, Debug)]
pub struct Stack {
    /// Lowest address.
    pub bottom: u64,
    /// Address after the highest, a multiple of 4 KiB.
    pub top: u64,
}

/// The tables that an entry point runs on.
#[derive(Clone, Copy)]
pub struct LoaderTables {
    /// Virtual address minus hpa of RAM.
    pub offset: u64,
    /// CR3.
    pub root: Hpa,
    /// 4, or 5 with CR4.LA57.
    pub levels: u32,
}

impl LoaderTables {
    /// The tables in force, in which RAM appears `offset` higher.
    pub fn in_force(offset: u64) -> Self {
        let levels = if Cr4::read_raw() & registers::CR4_LA57 != 0 { 5 } else { 4 };
        Self { offset, root: Hpa(registers::read_cr3()), levels }
    }

    /// Where `address` leads.
    pub fn translate(&self, address: u64) -> Option<Hpa> {
        // SAFETY: the loader's contract is that its tables, like all RAM, are mapped
        // `offset` higher; the walk reads aligned entries of tables in force.
        let read = |entry: Hpa| unsafe { (entry.0.wrapping_add(self.offset) as *const u64).read_volatile() };
        crate::memory::page_table::translate(read, self.root, self.levels, address)
    }
}

/// Makes the hypervisor's tables and says what to load into CR3. `loader` are the
/// tables in force.
pub fn build(loader: &LoaderTables) -> Result<Hpa, MapError> {
    OFFSET.store(loader.offset, Ordering::Relaxed);
    let giant_pages = registers::has_giant_pages();
    let mut table = PageTable::new(BootFrames, giant_pages).ok_or(MapError::NoMemory)?;
    table.fill_root(509, 2)?;
    map_image(&mut table, loader)?;
    let mut index = 0;
    while let Some(ram) = frames::ram_range(index) {
        let address = layout::direct(ram.start) as u64;
        table.map(address, ram.start, ram.bytes(), Rights::ReadWrite, Caching::WriteBack)?;
        index += 1;
    }
    if let Some(page) = frames::trampoline_page() {
        let address = layout::direct(page) as u64;
        table.map(address, page, PAGE_BYTES, Rights::ReadWrite, Caching::WriteBack)?;
    }
    let root = table.root();
    *SPACE.lock() = Some(AddressSpace {
        table,
        next_window: layout::WINDOWS,
        // The first page of the area stays unmapped: the guard of the first stack.
        next_stack: layout::STACKS + PAGE_BYTES,
    });
    Ok(root)
}

/// Maps the image page by page: a loader may have put its pages anywhere.
fn map_image(table: &mut PageTable<BootFrames>, loader: &LoaderTables) -> Result<(), MapError> {
    let parts = layout::image();
    let parts =
        [(parts.text, Rights::ReadExecute), (parts.rodata, Rights::Read), (parts.data, Rights::ReadWrite)];
    for ((start, end), rights) in parts {
        for address in (start..end).step_by(PAGE_BYTES as usize) {
            let hpa = loader.translate(address).ok_or(MapError::Misaligned)?;
            table.map(address, hpa, PAGE_BYTES, rights, Caching::WriteBack)?;
        }
    }
    Ok(())
}

/// Makes tables for a processor that starts in real mode: the upper half of the
/// hypervisor's, and `page` where it is, readable and executable.
pub fn trampoline_root(page: Hpa) -> Result<Hpa, MapError> {
    let guard = SPACE.lock();
    let space = guard.as_ref().ok_or(MapError::NoMemory)?;
    let mut table = PageTable::new(BootFrames, false).ok_or(MapError::NoMemory)?;
    table.map(page.0, page, PAGE_BYTES, Rights::ReadExecute, Caching::WriteBack)?;
    table.share_upper_half(&space.table);
    Ok(table.root())
}

/// Tables for ring 3: the upper half of the hypervisor's, and nothing below.
pub(crate) fn ring_3_table() -> Result<PageTable<BootFrames>, MapError> {
    let guard = SPACE.lock();
    let space = guard.as_ref().ok_or(MapError::NoMemory)?;
    let table = PageTable::for_ring_3(BootFrames, registers::has_giant_pages());
    let mut table = table.ok_or(MapError::NoMemory)?;
    table.share_upper_half(&space.table);
    Ok(table)
}

/// Whether `address` is mapped in the tables in force. Takes no lock: the panic report
/// asks it.
pub fn is_mapped(address: u64) -> bool {
    let root = Hpa(registers::read_cr3());
    crate::memory::page_table::translate(|entry| BootFrames.read(entry), root, 4, address).is_some()
}

/// Tells that the tables made by [`build`] are in force.
pub fn set_installed() {
    OFFSET.store(layout::DIRECT_MAP, Ordering::Relaxed);
}

/// The root of the hypervisor's tables (below 4 GiB); `None` before [`build`].
pub fn root() -> Option<Hpa> {
    SPACE.lock().as_ref().map(|space| space.table.root())
}

/// Where a virtual address of the hypervisor leads.
pub fn translate(address: u64) -> Option<Hpa> {
    SPACE.lock().as_ref()?.table.translate(address)
}

/// Makes a stack of `bytes` bytes (rounded up to pages) with an unmapped page on
/// either side, so that running off its end faults.
pub fn allocate_stack(bytes: u64) -> Result<Stack, MapError> {
    let bytes = bytes.checked_next_multiple_of(PAGE_BYTES).ok_or(MapError::Misaligned)?;
    let mut guard = SPACE.lock();
    let space = guard.as_mut().ok_or(MapError::NoMemory)?;
    let bottom = space.next_stack;
    let top = bottom + bytes;
    if top + PAGE_BYTES > layout::STACKS + layout::STACKS_BYTES {
        return Err(MapError::NoMemory);
    }
    let hpa = frames::take_low(bytes, PAGE_BYTES).ok_or(MapError::NoMemory)?;
    space.table.map(bottom, hpa, bytes, Rights::ReadWrite, Caching::WriteBack)?;
    space.next_stack = top + PAGE_BYTES;
    Ok(Stack { bottom, top })
}

/// Maps `bytes` bytes of something that is not RAM (registers, a framebuffer,
/// firmware's tables) and gives the address of the byte at `hpa`. The mapping stays
/// for good. Nothing that was mapped before can have been cached for it (the manuals
/// forbid caching absent translations), so no processor needs a flush.
pub fn map_window(hpa: Hpa, bytes: u64, rights: Rights, caching: Caching) -> Result<*mut u8, MapError> {
    let start = hpa.align_down(PAGE_BYTES);
    let end = hpa.checked_add(bytes).and_then(|end| end.align_up(PAGE_BYTES)).ok_or(MapError::Misaligned)?;
    let bytes = end - start;
    if frames::touches_ram(Range { start, end }) {
        return Err(MapError::Ram);
    }
    let mut guard = SPACE.lock();
    let space = guard.as_mut().ok_or(MapError::NoMemory)?;
    let address = place_window(space.next_window, start, bytes);
    let after = address.checked_add(bytes).ok_or(MapError::NoMemory)?;
    if after > layout::WINDOWS + layout::WINDOWS_BYTES {
        return Err(MapError::NoMemory);
    }
    space.table.map(address, start, bytes, rights, caching)?;
    // An unmapped page between windows catches what runs off one.
    space.next_window = after + PAGE_BYTES;
    Ok((address + hpa.page_offset()) as *mut u8)
}

/// The lowest address from `from` for a window onto `hpa` that lets large pages be
/// used where the window is large.
fn place_window(from: u64, hpa: Hpa, bytes: u64) -> u64 {
    let alignment: u64 = if bytes >= 2 << 20 { 2 << 20 } else { PAGE_BYTES };
    let offset = hpa.0 & (alignment - 1);
    let address = (from & !(alignment - 1)) + offset;
    if address < from { address + alignment } else { address }
}

/// Copies from physical memory, RAM or not (but registers have side effects: not
/// for them). Meant for boot: what is not RAM takes a mapping for good.
pub fn read_physical(hpa: Hpa, buffer: &mut [u8]) -> Result<(), MapError> {
    let range = Range::new(hpa, buffer.len() as u64);
    let source: *const u8 = if frames::is_ram(range) {
        layout::direct(hpa)
    } else {
        map_window(hpa, buffer.len() as u64, Rights::Read, Caching::WriteBack)?
    };
    // SAFETY: all of the range is mapped at `source`, and `buffer` is the caller's
    // own. What another agent changes meanwhile is only copied, never referred to.
    unsafe { crate::memory::guest_ram::copy(source, buffer.as_mut_ptr(), buffer.len()) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_windows_keep_their_offset_in_large_pages() {
        let from = layout::WINDOWS + 0x5000;
        assert_eq!(place_window(from, Hpa(0xfee0_0000), 0x1000), from);
        let large = place_window(from, Hpa(0xe000_0000), 256 << 20);
        assert!(large >= from && large & 0x1f_ffff == 0);
        let odd = place_window(from, Hpa(0xe000_1000), 4 << 20);
        assert_eq!((odd >= from, odd & 0x1f_ffff), (true, 0x1000));
        assert_eq!(odd, layout::WINDOWS + 0x20_1000);
    }
}
