//! Builds the guest's view of a function from what the machine says of it, once,
//! at boot.

use access::{ConfigSpace, RegisterWindow};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use spec::address::PAGE_BYTES;
use spec::pci_capability::{express, id, msi, msix, power};
use spec::pci_config::{
    CAPABILITIES, COMMAND, CONFIG_BYTES, HEADER_TYPE, HEADER_TYPE_ENDPOINT, HEADER_TYPE_MULTI_FUNCTION,
    INTERRUPT_LINE, INTERRUPT_PIN, STATUS, VENDOR_ID, status,
};
use spec::{Bdf, Hpa, Width};

use super::message::Messages;
use super::msi::Msi;
use super::msix::Msix;
use super::trapped::Trapped;
use super::{Express, PassedThrough, Power, Seen, policy};
use pci::bar::{BarFault, BarKind, HostBar, ROM, size_bars};
use pci::capability::{CapabilityFault, walk};

use crate::bar::{GuestBars, TrappedRegion};
use crate::image::ConfigImage;

/// What the Plan gives the guest of a function, besides its BARs and messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grant<'a> {
    /// Its INTx, by the line of the guest's that it reaches: only a line that nobody
    /// shares. The interrupt line register holds it first.
    pub interrupt_line: Option<u8>,
    /// An expansion ROM; without it the guest sees none.
    pub rom: Option<Rom>,
    /// Its BARs as the Plan checked them against everything else. Only these are mapped,
    /// and a function that says something else now is refused.
    pub bars: Option<&'a [Option<HostBar>; 6]>,
}

/// A copy of an expansion ROM in memory: the hardware's own shares a decoder with
/// BARs in some devices, so its decode is never turned on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rom {
    /// Where the copy is, at a multiple of 4 KiB.
    pub host: Hpa,
    /// Bytes that it takes, a power of two from 4 KiB on.
    pub bytes: u64,
}

/// Why a function cannot be passed through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PassthroughError {
    /// Nothing answers at its address.
    Absent,
    /// It is a bridge, or has a header that is not known.
    NotEndpoint {
        /// Its header type.
        header: u8,
    },
    /// A BAR cannot be understood.
    Bar {
        /// Number of the BAR.
        bar: u8,
        /// What is wrong with it.
        fault: BarFault,
    },
    /// A BAR is not what it was when the machine was scanned.
    Changed {
        /// Number of the BAR.
        bar: u8,
    },
    /// The firmware gave a memory BAR no address.
    Unplaced {
        /// Number of the BAR.
        bar: u8,
    },
    /// The MSI-X table or its pending bits are not inside a memory BAR, or overlap.
    MsixMisplaced,
    /// The pages that must be trapped cannot be reached.
    NoWindow {
        /// Where they start.
        host: Hpa,
    },
    /// The ROM's copy is not whole pages, or no power of two.
    Rom,
}

impl fmt::Display for PassthroughError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => write!(f, "no function answers at this address"),
            Self::NotEndpoint { header } => write!(f, "header type {header:#x} is no endpoint's"),
            Self::Bar { bar, fault } => write!(f, "BAR {bar} {fault}"),
            Self::Changed { bar } => {
                write!(f, "BAR {bar} is not what it was when the machine was scanned")
            }
            Self::Unplaced { bar } => write!(f, "the firmware gave BAR {bar} no address"),
            Self::MsixMisplaced => write!(f, "the MSI-X table is not inside a memory BAR of its own room"),
            Self::NoWindow { host } => write!(f, "the registers at {host} cannot be reached"),
            Self::Rom => write!(f, "the copy of the expansion ROM is not a power of two of whole pages"),
        }
    }
}

/// A capability that the guest sees.
#[derive(Clone, Copy)]
struct Shown {
    id: u8,
    at: u16,
    bytes: u16,
}

impl<C: ConfigSpace, W: RegisterWindow> PassedThrough<C, W> {
    /// Looks at the function once and builds what its guest will see. `open` gives
    /// a window of so many bytes from an address, for the pages of BARs that are
    /// trapped. The function's decode is off while its BARs are sized; nothing
    /// else of it is changed before [`PassedThrough::start`].
    ///
    /// # Errors
    /// Why the function cannot be passed through.
    pub fn discover(
        config: C,
        function: Bdf,
        grant: &Grant<'_>,
        open: impl FnMut(Hpa, u64) -> Option<W>,
    ) -> Result<Self, PassthroughError> {
        if config.read16(function, VENDOR_ID) == u16::MAX {
            return Err(PassthroughError::Absent);
        }
        let header = config.read8(function, HEADER_TYPE) & !HEADER_TYPE_MULTI_FUNCTION;
        if header != HEADER_TYPE_ENDPOINT {
            return Err(PassthroughError::NotEndpoint { header });
        }
        let hosts = place(size_bars(&config, function), grant.bars)?;
        let byte = |at: u16| config.read8(function, at);

        let mut image = ConfigImage::new();
        image.lay(0, policy::HEADER, byte);
        let bars = lay_bars(&mut image, &hosts, grant.rom)?;
        let line = grant.interrupt_line.map(|line| (config.read8(function, INTERRUPT_PIN), line));
        let (pin, line) = line.filter(|(pin, _)| (1..=4).contains(pin)).unwrap_or((0, 0));
        image.set(INTERRUPT_PIN, Width::Byte, pin.into());
        image.set(INTERRUPT_LINE, Width::Byte, line.into());

        let (shown, fault) = capabilities(&config, function);
        link(&mut image, &shown);
        let at = |id: u8| shown.iter().find(|shown| shown.id == id).map(|shown| shown.at);
        let power = at(id::POWER_MANAGEMENT).map(|at| {
            image.lay(at, policy::POWER, byte);
            let keeps_state = image.get16(at + power::CONTROL) & power::NO_SOFT_RESET != 0;
            Power { at, state: power::STATE_D0, keeps_state }
        });
        let msi = at(id::MSI).map(|at| {
            let control = config.read16(function, at + msi::CONTROL);
            Msi::lay(&mut image, at, control, byte)
        });
        let msix = match at(id::MSIX) {
            Some(at) => {
                image.lay(at, policy::MSIX, byte);
                Some(find_table(&image, at, &hosts)?)
            }
            None => None,
        };
        let express = shown.iter().find(|shown| shown.id == id::EXPRESS).map(|shown| {
            lay_express(&mut image, shown, byte);
            Express { at: shown.at, control: config.read16(function, shown.at + express::DEVICE_CONTROL) }
        });

        let regions = trapped_regions(&hosts, msix.as_ref());
        let trapped = open_windows(&regions, &hosts, open)?;
        let messages =
            msi.map_or(0, |msi| msi.capable()).max(msix.as_ref().map_or(0, |msix| msix.table.messages()));
        let hardware_command = config.read16(function, COMMAND);
        let mut this = Self {
            config,
            function,
            image,
            bars,
            trapped,
            regions,
            messages: Messages::new(messages),
            power,
            msi,
            msix,
            express,
            pin: pin != 0,
            may_master: false,
            forwarded: true,
            quarantined: false,
            silent: false,
            fault,
            seen: Seen::default(),
            hardware_command,
        };
        this.seen.pin = this.pin;
        Ok(this)
    }
}

/// Of the BARs that were sized, those that can be given.
fn place(
    sized: Result<[Option<HostBar>; 6], (u8, BarFault)>,
    planned: Option<&[Option<HostBar>; 6]>,
) -> Result<[Option<HostBar>; 6], PassthroughError> {
    let mut bars = sized.map_err(|(bar, fault)| PassthroughError::Bar { bar, fault })?;
    if let Some(planned) = planned {
        let differs = (0_u8..).zip(planned.iter().zip(&bars)).find(|(_, (planned, now))| planned != now);
        if let Some((bar, _)) = differs {
            return Err(PassthroughError::Changed { bar });
        }
        bars = *planned;
    }
    for (number, place) in (0_u8..).zip(&mut bars) {
        match place {
            // Firmware often gives no ports to a function that it does not boot
            // from; drivers do without.
            Some(HostBar { kind: BarKind::Io, host: Hpa(0), .. }) => *place = None,
            Some(HostBar { host: Hpa(0), .. }) => return Err(PassthroughError::Unplaced { bar: number }),
            _ => {}
        }
    }
    Ok(bars)
}

/// Lays the guest's BARs: the same kinds and sizes, at 0.
fn lay_bars(
    image: &mut ConfigImage,
    hosts: &[Option<HostBar>; 6],
    rom: Option<Rom>,
) -> Result<GuestBars, PassthroughError> {
    let mut bars = GuestBars::none();
    for (number, host) in (0_u8..).zip(hosts) {
        if let Some(HostBar { kind, size, host }) = *host {
            bars.add(image, number, kind, size, Some(host));
        }
    }
    if let Some(rom) = rom {
        let sound = rom.bytes.is_power_of_two() && rom.bytes >= PAGE_BYTES && rom.bytes <= 1 << 24;
        if !sound || !rom.host.is_aligned(PAGE_BYTES) {
            return Err(PassthroughError::Rom);
        }
        bars.add(image, ROM, BarKind::Rom, rom.bytes, Some(rom.host));
    }
    Ok(bars)
}

/// The capabilities that the guest sees, and why the list ended early.
fn capabilities<C: ConfigSpace>(config: &C, function: Bdf) -> (Vec<Shown>, Option<CapabilityFault>) {
    let mut shown: Vec<Shown> = Vec::new();
    let result = walk(config, function, |id, at| {
        let again = shown.iter().any(|shown| shown.id == id);
        if again || !policy::SHOWN.contains(&id) {
            return Ok(());
        }
        let bytes = length(config, function, id, at);
        let end = at.saturating_add(bytes);
        let overlaps = shown.iter().any(|shown| at < shown.at + shown.bytes && shown.at < end);
        if end > CONFIG_BYTES || overlaps {
            return Err(CapabilityFault::Truncated { at, id: id.into() });
        }
        shown.push(Shown { id, at, bytes });
        Ok(())
    });
    (shown, result.err())
}

/// Bytes of a capability that is shown.
fn length<C: ConfigSpace>(config: &C, function: Bdf, id: u8, at: u16) -> u16 {
    // A structure in the last bytes has no control word to read.
    let word = |offset: u16| match at.checked_add(offset + 1) {
        Some(end) if end < CONFIG_BYTES => config.read16(function, at + offset),
        _ => 0,
    };
    match id {
        id::POWER_MANAGEMENT => power::BYTES,
        id::MSI => Msi::bytes(word(msi::CONTROL)),
        id::MSIX => msix::BYTES,
        _ => {
            let capabilities = word(express::CAPABILITIES);
            let integrated =
                capabilities & express::TYPE_MASK == express::TYPE_INTEGRATED_ENDPOINT << express::TYPE_SHIFT;
            match (capabilities & express::VERSION_MASK, integrated) {
                (2.., _) => express::BYTES_V2,
                (_, true) => express::BYTES_V1_INTEGRATED,
                (_, false) => express::BYTES_V1,
            }
        }
    }
}

/// Links the capabilities that are shown, in the order of the function's own list.
fn link(image: &mut ConfigImage, shown: &[Shown]) {
    let mut pointer = CAPABILITIES;
    for shown in shown {
        image.set(pointer, Width::Byte, shown.at.into());
        image.set(shown.at, Width::Byte, shown.id.into());
        pointer = shown.at + 1;
    }
    if !shown.is_empty() {
        let status = image.get16(STATUS) | status::CAPABILITY_LIST;
        image.set(STATUS, Width::Word, status.into());
    }
}

/// PCI Express as of an endpoint that is integrated into the root complex.
fn lay_express(image: &mut ConfigImage, shown: &Shown, byte: impl Fn(u16) -> u8) {
    let at = shown.at;
    image.lay(at, policy::EXPRESS, &byte);
    if shown.bytes >= express::BYTES_V2 {
        image.lay(at, policy::EXPRESS_2, &byte);
    }
    let capabilities = image.get16(at + express::CAPABILITIES) & !express::TYPE_MASK
        | express::TYPE_INTEGRATED_ENDPOINT << express::TYPE_SHIFT;
    image.set(at + express::CAPABILITIES, Width::Word, capabilities.into());
    if image.get32(at + express::DEVICE_CAPABILITIES) & express::FUNCTION_LEVEL_RESET != 0 {
        image.also_let_write(at + express::DEVICE_CONTROL, Width::Word, express::INITIATE_RESET.into());
    }
}

/// The MSI-X table and its pending bits, checked against the BARs.
fn find_table(image: &ConfigImage, at: u16, hosts: &[Option<HostBar>; 6]) -> Result<Msix, PassthroughError> {
    let entries = (image.get16(at + msix::CONTROL) & msix::SIZE_MASK) + 1;
    let inside = |register: u16, bytes: u64| -> Result<(u8, Range<u64>), PassthroughError> {
        let value = image.get32(at + register);
        let bar = value & msix::BAR_MASK;
        let start = u64::from(value & !msix::BAR_MASK);
        let end = start + bytes;
        match hosts.get(bar as usize) {
            Some(Some(host)) if host.kind.is_memory() && end <= host.size => Ok((bar as u8, start..end)),
            _ => Err(PassthroughError::MsixMisplaced),
        }
    };
    let (bar, table) = inside(msix::TABLE, u64::from(entries) * msix::ENTRY_BYTES)?;
    let pending = inside(msix::PENDING, u64::from(entries.div_ceil(64)) * 8)?;
    if pending.0 == bar && pending.1.start < table.end && table.start < pending.1.end {
        return Err(PassthroughError::MsixMisplaced);
    }
    Ok(Msix::new(at, entries, bar, table, pending))
}

/// The parts of BARs that are trapped: the pages that hold the MSI-X table, and
/// memory BARs smaller than a page, for the rest of such a page may be another
/// function's.
fn trapped_regions(hosts: &[Option<HostBar>; 6], msix: Option<&Msix>) -> Box<[TrappedRegion]> {
    let mut regions = Vec::new();
    for (bar, host) in (0_u8..).zip(hosts) {
        let Some(host) = host.filter(|host| host.kind.is_memory()) else { continue };
        if host.size < PAGE_BYTES {
            regions.push(TrappedRegion { bar, offset: 0, bytes: host.size });
        } else if let Some(msix) = msix.filter(|msix| msix.bar == bar) {
            let offset = msix.table_range.start & !(PAGE_BYTES - 1);
            let end = msix.table_range.end.div_ceil(PAGE_BYTES) * PAGE_BYTES;
            regions.push(TrappedRegion { bar, offset, bytes: end - offset });
        }
    }
    regions.into_boxed_slice()
}

fn open_windows<W>(
    regions: &[TrappedRegion],
    hosts: &[Option<HostBar>; 6],
    mut open: impl FnMut(Hpa, u64) -> Option<W>,
) -> Result<Vec<Trapped<W>>, PassthroughError> {
    let mut trapped = Vec::with_capacity(regions.len());
    for region in regions {
        let Some(Some(host)) = hosts.get(usize::from(region.bar)) else { continue };
        let host = host.host + region.offset;
        let window = open(host, region.bytes).ok_or(PassthroughError::NoWindow { host })?;
        trapped.push(Trapped { region: *region, window });
    }
    Ok(trapped)
}
