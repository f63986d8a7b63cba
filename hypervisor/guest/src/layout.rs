//! Where everything stands in a guest's physical address space.
//!
//! Every guest has the same map; only the amount of memory and the number of
//! processors differ. Memory starts at gpa 0 and is interrupted once, by the
//! window below 4 GiB that holds the PCI window, ECAM and the interrupt
//! controllers.

use spec::Gpa;
use spec::apic::MESSAGE_ADDRESS;

/// Where conventional memory ends for an operating system: the extended BIOS data area
/// follows, in its last KiB.
pub const EBDA: Gpa = Gpa(0x9_fc00);
/// End of conventional memory and start of the legacy hole.
pub const LEGACY_HOLE: Gpa = Gpa(0xa_0000);
/// End of the legacy hole; the memory that an operating system counts on starts here.
pub const LEGACY_HOLE_END: Gpa = Gpa(0x10_0000);
/// Where the ACPI tables are (an RSDP is searched from here, ACPI 6.5 section 5.2.5.1).
pub const ACPI_AREA: Gpa = Gpa(0xe_0000);
/// Bytes in the area of the ACPI tables.
pub const ACPI_AREA_BYTES: u64 = 0x2_0000;
/// End of memory below 4 GiB, at most.
pub const LOW_MEMORY_END: Gpa = Gpa(0xc000_0000);
/// Start of memory above 4 GiB.
pub const HIGH_MEMORY: Gpa = Gpa(0x1_0000_0000);
/// 32-bit window for BARs.
pub const PCI_WINDOW_32: Gpa = Gpa(0xc000_0000);
/// Bytes in the 32-bit window.
pub const PCI_WINDOW_32_BYTES: u64 = 0x2000_0000;
/// Memory-mapped configuration space (PCI Express Base Specification section 7.2.2).
pub const ECAM: Gpa = Gpa(0xe000_0000);
/// Bytes of configuration space: bus 0 alone.
pub const ECAM_BYTES: u64 = 0x10_0000;
/// Registers of the IOAPIC.
pub const IOAPIC: Gpa = Gpa(0xfec0_0000);
/// Registers of each processor's local APIC after reset.
pub const LOCAL_APIC: Gpa = Gpa(MESSAGE_ADDRESS);
/// 64-bit window for BARs.
pub const PCI_WINDOW_64: Gpa = Gpa(0x20_0000_0000);
/// Bytes in the 64-bit window.
pub const PCI_WINDOW_64_BYTES: u64 = 0x20_0000_0000;

/// ACPI power management event block: status, then enable, 2 bytes each.
pub const PM1A_EVENT_PORT: u16 = 0x600;
/// ACPI power management control register, 2 bytes.
pub const PM1A_CONTROL_PORT: u16 = 0x604;
/// ACPI power management timer, 32 bits wide.
pub const PM_TIMER_PORT: u16 = 0x608;
/// Reset register; [`RESET_VALUE`] resets.
pub const RESET_PORT: u16 = 0xcf9;
/// What resets the machine when written to [`RESET_PORT`].
pub const RESET_VALUE: u8 = 0x06;
/// SLP_TYP of the soft-off state.
pub const SLEEP_TYPE_OFF: u8 = 5;
/// First port of the serial port (8 of them).
pub const COM1_PORT: u16 = 0x3f8;
/// Index port of the real-time clock; data follows.
pub const RTC_PORT: u16 = 0x70;
/// First port of PCI configuration mechanism #1 (8 of them).
pub const PCI_CONFIG_PORT: u16 = 0xcf8;

/// Input of the IOAPIC that the ACPI event interrupt raises (level, active high).
pub const SCI_GSI: u8 = 9;
/// Input of the IOAPIC that the serial port raises.
pub const COM1_GSI: u8 = 4;
/// Input of the IOAPIC that the real-time clock raises.
pub const RTC_GSI: u8 = 8;
/// Input of the IOAPIC that the interval timer (IRQ 0) raises.
pub const PIT_GSI: u8 = 2;
/// Inputs of the IOAPIC that the two channels of an IDE controller raise (edge, active high).
pub const IDE_GSIS: [u8; 2] = [14, 15];
/// Inputs of the IOAPIC.
pub const IOAPIC_PINS: u8 = 24;

/// Input of the IOAPIC that pin `pin` (INTA# is 0) of the function in slot `slot`
/// raises.
pub const fn intx_gsi(slot: u8, pin: u8) -> u8 {
    16 + (slot.wrapping_add(pin) & 7)
}

/// Most memory a guest may have: it must end below the 64-bit window.
pub const MEMORY_BYTES_MAX: u64 = LOW_MEMORY_END.0 + (PCI_WINDOW_64.0 - HIGH_MEMORY.0);
/// Least memory a guest may have: the legacy megabyte and one more for a kernel.
pub const MEMORY_BYTES_MIN: u64 = 2 << 20;
/// Most processors of a guest: xAPIC IDs are 8 bits, and 255 is the broadcast.
pub const VCPUS_MAX: u32 = 254;

/// A stretch of the guest's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RamRange {
    /// First address.
    pub start: Gpa,
    /// Length; 0 for a stretch that this guest does not have.
    pub bytes: u64,
    /// Offset of the first byte in the guest's memory as a whole.
    pub offset_bytes: u64,
}

/// Why a guest cannot be laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayoutError {
    /// Fewer than [`MEMORY_BYTES_MIN`] bytes, more than [`MEMORY_BYTES_MAX`], or no
    /// whole number of pages.
    Memory,
    /// No processor, or more than [`VCPUS_MAX`].
    Processors,
}

impl core::fmt::Display for LayoutError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Memory => write!(
                f,
                "a guest's memory is {MEMORY_BYTES_MIN} to {MEMORY_BYTES_MAX} bytes in whole pages of 4 KiB"
            ),
            Self::Processors => write!(f, "a guest has 1 to {VCPUS_MAX} processors"),
        }
    }
}

/// The layout of one guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestLayout {
    memory_bytes: u64,
    low_end: u64,
    vcpus: u32,
    /// Bits of a physical address; 0 where nobody knows.
    address_bits: u8,
}

impl GuestLayout {
    /// The layout of a guest with `memory_bytes` bytes of memory, the legacy hole
    /// included, and `vcpus` processors.
    pub const fn new(memory_bytes: u64, vcpus: u32) -> Result<Self, LayoutError> {
        if memory_bytes < MEMORY_BYTES_MIN
            || memory_bytes > MEMORY_BYTES_MAX
            || !memory_bytes.is_multiple_of(spec::address::PAGE_BYTES)
        {
            return Err(LayoutError::Memory);
        }
        if vcpus == 0 || vcpus > VCPUS_MAX {
            return Err(LayoutError::Processors);
        }
        Ok(Self { memory_bytes, low_end: LOW_MEMORY_END.0, vcpus, address_bits: 0 })
    }

    /// The same with memory below 4 GiB ending at `end` at the latest, because what follows
    /// is not the guest's functions' to reach.
    pub const fn with_low_memory_end(self, end: u64) -> Result<Self, LayoutError> {
        let low_end = if end < LOW_MEMORY_END.0 { end } else { LOW_MEMORY_END.0 };
        let most = low_end + (PCI_WINDOW_64.0 - HIGH_MEMORY.0);
        if low_end < MEMORY_BYTES_MIN
            || !low_end.is_multiple_of(spec::address::PAGE_BYTES)
            || self.memory_bytes > most
        {
            return Err(LayoutError::Memory);
        }
        Ok(Self { low_end, ..self })
    }

    /// The same on processors whose physical addresses have so many bits.
    ///
    /// # Errors
    /// The memory reaches into the window for BARs then.
    pub fn on_processors(self, address_bits: u8) -> Result<Self, LayoutError> {
        let layout = Self { address_bits, ..self };
        let [_, high] = layout.ram();
        match high.bytes == 0 || high.start.0 + high.bytes <= layout.windows().memory64.start {
            true => Ok(layout),
            false => Err(LayoutError::Memory),
        }
    }

    /// Where BARs may be.
    pub fn windows(&self) -> vpci::Windows {
        vpci::Windows::for_processors(self.address_bits)
    }

    /// Bytes of memory.
    pub const fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Number of processors; processor `i` has APIC ID `i`.
    pub const fn vcpus(&self) -> u32 {
        self.vcpus
    }

    /// ID of the IOAPIC: the one after the last processor's, where that fits into the four bits
    /// that it has (82093AA data sheet, 3.2.1). With more processors it is 0, as on machines with
    /// as many: since messages replaced the APIC bus an IOAPIC and a processor may share a number.
    pub const fn ioapic_id(&self) -> u8 {
        if self.vcpus < 16 { self.vcpus as u8 } else { 0 }
    }

    /// Memory as it is mapped: below the hole under 4 GiB, and above 4 GiB. The
    /// legacy hole is backed too, since the ACPI tables live in it; it is just not
    /// offered for use.
    pub const fn ram(&self) -> [RamRange; 2] {
        let low = self.low_bytes();
        [
            RamRange { start: Gpa(0), bytes: low, offset_bytes: 0 },
            RamRange { start: HIGH_MEMORY, bytes: self.memory_bytes - low, offset_bytes: low },
        ]
    }

    /// Bytes of memory below 4 GiB, legacy hole included.
    pub const fn low_bytes(&self) -> u64 {
        if self.memory_bytes < self.low_end { self.memory_bytes } else { self.low_end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn windows_are_where_the_processors_reach() {
        let layout = GuestLayout::new(5 * GIB, 1).unwrap();
        assert_eq!(layout.windows().memory64, PCI_WINDOW_64.0..PCI_WINDOW_64.0 + PCI_WINDOW_64_BYTES);
        for (bits, window) in [(46, 0x20_0000_0000..0x40_0000_0000), (38, 0x20_0000_0000..0x40_0000_0000)] {
            assert_eq!(layout.on_processors(bits).unwrap().windows().memory64, window);
        }
        let small = layout.on_processors(36).unwrap();
        assert_eq!(small.windows().memory64, 0x8_0000_0000..0x10_0000_0000);
        let large = GuestLayout::new(64 * GIB, 1).unwrap();
        assert_eq!(large.on_processors(36), Err(LayoutError::Memory));
        assert!(large.on_processors(39).is_ok());
        assert!(layout.on_processors(32).is_err());
        assert!(
            GuestLayout::new(2 * GIB, 1).unwrap().on_processors(32).unwrap().windows().memory64.is_empty()
        );
    }

    #[test]
    fn small_guest_has_no_high_memory() {
        let layout = GuestLayout::new(256 << 20, 2).unwrap();
        assert_eq!(layout.ram()[0], RamRange { start: Gpa(0), bytes: 256 << 20, offset_bytes: 0 });
        assert_eq!(layout.ram()[1].bytes, 0);
        assert_eq!(layout.ioapic_id(), 2);
    }

    #[test]
    fn the_id_of_the_ioapic_fits_into_its_register() {
        for vcpus in 1..=VCPUS_MAX {
            let id = GuestLayout::new(256 << 20, vcpus).unwrap().ioapic_id();
            assert!(id < 16, "{vcpus} processors");
        }
    }

    #[test]
    fn big_guest_continues_above_4_gib() {
        let layout = GuestLayout::new(5 * GIB, 1).unwrap();
        assert_eq!(layout.ram()[1], RamRange { start: Gpa(4 * GIB), bytes: 2 * GIB, offset_bytes: 3 * GIB });
    }

    #[test]
    fn memory_can_end_earlier_below_4_gib() {
        let whole = GuestLayout::new(3 * GIB, 1).unwrap();
        let cut = whole.with_low_memory_end(2 * GIB).unwrap();
        assert_eq!(cut.ram()[0], RamRange { start: Gpa(0), bytes: 2 * GIB, offset_bytes: 0 });
        assert_eq!(cut.ram()[1], RamRange { start: Gpa(4 * GIB), bytes: GIB, offset_bytes: 2 * GIB });
        // Where there is less, and where nothing is to be cut, it is as it was.
        assert_eq!(
            GuestLayout::new(GIB, 1).unwrap().with_low_memory_end(2 * GIB).unwrap().ram()[0].bytes,
            GIB
        );
        assert_eq!(whole.with_low_memory_end(LOW_MEMORY_END.0), Ok(whole));
        assert_eq!(whole.with_low_memory_end(1 << 20), Err(LayoutError::Memory));
        assert_eq!(whole.with_low_memory_end((2 << 30) + 1), Err(LayoutError::Memory));
        let most = GuestLayout::new(MEMORY_BYTES_MAX, 1).unwrap();
        assert_eq!(most.with_low_memory_end(2 * GIB), Err(LayoutError::Memory));
    }

    #[test]
    fn windows_do_not_meet_memory_at_its_largest() {
        let layout = GuestLayout::new(MEMORY_BYTES_MAX, 1).unwrap();
        let [_, high] = layout.ram();
        assert_eq!(high.start + high.bytes, PCI_WINDOW_64);
        const { assert!(PCI_WINDOW_32.0 + PCI_WINDOW_32_BYTES <= ECAM.0) };
    }

    #[test]
    fn refuses_what_cannot_be_laid_out() {
        assert_eq!(GuestLayout::new(1 << 20, 1), Err(LayoutError::Memory));
        assert_eq!(GuestLayout::new((4 << 20) + 1, 1), Err(LayoutError::Memory));
        assert_eq!(GuestLayout::new(MEMORY_BYTES_MAX + 4096, 1), Err(LayoutError::Memory));
        assert_eq!(GuestLayout::new(4 << 20, 0), Err(LayoutError::Processors));
        assert_eq!(GuestLayout::new(4 << 20, 255), Err(LayoutError::Processors));
    }

    #[test]
    fn lines_swizzle_over_eight_inputs() {
        assert_eq!(intx_gsi(1, 0), 17);
        assert_eq!(intx_gsi(7, 1), 16);
        assert!((0..32).all(|slot| (0..4).all(|pin| (16..24).contains(&intx_gsi(slot, pin)))));
    }
}
