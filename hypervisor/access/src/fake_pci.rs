//! Functions of a machine that a test scripts: configuration space with its masks,
//! resets that work, do nothing or kill, and registers in a vector.

use core::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use spec::pci_capability::{
    FIRST_EXTENDED, access_control, advanced_features, express, extended_id, id, msi, msix, power,
    resizable_bar,
};
use spec::pci_config::{
    BAR0, BRIDGE_CONTROL, BRIDGE_CONTROL_SECONDARY_RESET, CAPABILITIES, COMMAND, HEADER_TYPE,
    HEADER_TYPE_BRIDGE, INTERRUPT_LINE, INTERRUPT_PIN, REVISION_ID, SECONDARY_BUS, STATUS, VENDOR_ID, bar,
    status,
};
use spec::{Bdf, Width};

use crate::{ConfigSpace, RegisterWindow};

/// What a reset does to a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ResetBehaviour {
    /// It resets; the function reads ones so many times before it answers again.
    Works {
        /// Reads that are not answered.
        silent_reads: u32,
    },
    /// Nothing happens.
    #[default]
    Ignored,
    /// The function never answers again, but for a reset of its bus.
    Kills,
}

/// One function: what each byte of its configuration space holds and which bits
/// of it can be written.
#[derive(Clone)]
pub struct FakeFunction {
    /// Configuration space.
    pub bytes: Vec<u8>,
    /// Bits that a write changes.
    pub writable: Vec<u8>,
    /// Bits that a write of one clears.
    pub clearing: Vec<u8>,
    /// Reads that are yet to be answered with ones; `u32::MAX` never ends.
    pub silent: u32,
    /// What its function-level reset does.
    pub function_level: ResetBehaviour,
    /// What D3hot and back to D0 does.
    pub power_state: ResetBehaviour,
    /// What a reset of its bus does.
    pub bus: ResetBehaviour,
    /// What it forgets the identity for, after a reset.
    pub identity_after: Option<u32>,
    /// Whether it has extended configuration space.
    pub extended: bool,
    at_power_on: Vec<u8>,
    /// A BAR whose size can be set: its number, and where its control is.
    resizable: Option<(u16, u16)>,
    last_extended: Option<u16>,
    express: Option<u16>,
    advanced: Option<u16>,
    power: Option<u16>,
    last_capability: u16,
}

impl FakeFunction {
    /// An endpoint without BARs or capabilities. Everything is read-only but the
    /// command register, the cache line size, the latency timer and the interrupt line.
    pub fn new(vendor: u16, device: u16, class: u32) -> Self {
        let mut this = Self {
            bytes: vec![0; 4096],
            writable: vec![0; 4096],
            clearing: vec![0; 4096],
            silent: 0,
            function_level: ResetBehaviour::Ignored,
            power_state: ResetBehaviour::Ignored,
            bus: ResetBehaviour::Works { silent_reads: 3 },
            identity_after: None,
            extended: true,
            at_power_on: vec![0; 4096],
            resizable: None,
            last_extended: None,
            express: None,
            advanced: None,
            power: None,
            last_capability: CAPABILITIES,
        };
        this.put(VENDOR_ID, 4, u32::from(device) << 16 | u32::from(vendor));
        this.put(REVISION_ID, 4, class << 8 | 1);
        this.put(INTERRUPT_PIN, 1, 1);
        this.allow(COMMAND, 2, 0x0547);
        this.allow(0x0c, 2, 0xffff);
        this.allow(INTERRUPT_LINE, 1, 0xff);
        this.clear_on_one(STATUS, 2, status::ERRORS.into());
        this.powered_on()
    }

    /// Remembers the present state as the one after a reset.
    pub fn powered_on(mut self) -> Self {
        self.at_power_on.clone_from(&self.bytes);
        self
    }

    /// Sets a field, past every mask.
    pub fn put(&mut self, at: u16, bytes: u16, value: u32) {
        spread(&mut self.bytes, at, bytes, value);
    }

    /// Sets which bits of a field can be written.
    pub fn allow(&mut self, at: u16, bytes: u16, mask: u32) {
        spread(&mut self.writable, at, bytes, mask);
    }

    /// Sets which bits of a field a write of one clears.
    pub fn clear_on_one(&mut self, at: u16, bytes: u16, mask: u32) {
        spread(&mut self.clearing, at, bytes, mask);
    }

    /// A field, as it is.
    pub fn get(&self, at: u16, bytes: u16) -> u32 {
        (0..bytes)
            .fold(0, |value, index| value | u32::from(self.bytes[usize::from(at + index)]) << (8 * index))
    }

    /// Adds a memory BAR of `size` bytes at `address` after a reset at 0.
    pub fn memory_bar(
        mut self,
        number: u16,
        size: u64,
        address: u64,
        wide: bool,
        prefetchable: bool,
    ) -> Self {
        let at = BAR0 + 4 * number;
        let mut flags = if wide { bar::TYPE_64 } else { 0 };
        if prefetchable {
            flags |= bar::PREFETCHABLE;
        }
        let mask = !(size - 1);
        spread(&mut self.at_power_on, at, 4, flags);
        self.put(at, 4, address as u32 | flags);
        self.allow(at, 4, mask as u32);
        if wide {
            self.put(at + 4, 4, (address >> 32) as u32);
            self.allow(at + 4, 4, (mask >> 32) as u32);
        }
        self
    }

    /// Adds an I/O BAR of `size` ports at `port`.
    pub fn port_bar(mut self, number: u16, size: u32, port: u32) -> Self {
        let at = BAR0 + 4 * number;
        spread(&mut self.at_power_on, at, 4, bar::IO);
        self.put(at, 4, port | bar::IO);
        self.allow(at, 4, !(size - 1) & 0xffff);
        self
    }

    /// Adds a capability of `body` behind its two header bytes, at the end of the list.
    pub fn capability(mut self, id: u8, at: u16, body: &[u8]) -> Self {
        self.put(STATUS, 2, self.get(STATUS, 2) | u32::from(status::CAPABILITY_LIST));
        self.put(self.last_capability, 1, at.into());
        self.put(at, 1, id.into());
        for (index, byte) in (2_u16..).zip(body) {
            self.put(at + index, 1, (*byte).into());
        }
        self.last_capability = at + 1;
        let bars = self.at_power_on[0x10..0x28].to_vec();
        self = self.powered_on();
        self.at_power_on[0x10..0x28].copy_from_slice(&bars);
        self
    }

    /// Adds power management; `keeps_state` sets No_Soft_Reset.
    pub fn with_power(self, at: u16, keeps_state: bool) -> Self {
        let control = if keeps_state { power::NO_SOFT_RESET as u8 } else { 0 };
        let mut this = self.capability(id::POWER_MANAGEMENT, at, &[0x22, 0xc8, control, 0, 0, 0]);
        this.allow(at + power::CONTROL, 2, 0x0103);
        this.clear_on_one(at + power::CONTROL, 2, 0x8000);
        this.power = Some(at);
        this
    }

    /// Adds MSI with this control word.
    pub fn with_msi(self, at: u16, control: u16) -> Self {
        let [low, high] = control.to_le_bytes();
        let mut this = self.capability(id::MSI, at, &[low, high]);
        this.allow(at + msi::CONTROL, 2, 0x0071);
        this.allow(at + msi::ADDRESS, 4, !3);
        let data = at + if control & msi::WIDE_ADDRESS != 0 { 0x0c } else { 0x08 };
        if control & msi::WIDE_ADDRESS != 0 {
            this.allow(at + msi::ADDRESS_HIGH, 4, u32::MAX);
        }
        this.allow(data, 2, 0xffff);
        if control & msi::MASKABLE != 0 {
            this.allow(data + 4, 4, u32::MAX);
        }
        this
    }

    /// Adds PCI Express version 2 of an endpoint, with its function-level reset or not.
    pub fn with_express(self, at: u16, resets: bool) -> Self {
        let mut body = vec![0; 0x3a];
        body[0] = 0x02;
        body[5] = if resets { 0x10 } else { 0 };
        body[2] = 0xc1;
        let mut this = self.capability(id::EXPRESS, at, &body);
        this.allow(at + express::DEVICE_CONTROL, 2, 0x7fff);
        this.allow(at + express::LINK_CONTROL, 2, 0x00ff);
        this.allow(at + express::DEVICE_CONTROL_2, 2, 0x001f);
        this.clear_on_one(at + express::DEVICE_STATUS, 2, 0xf);
        this.put(at + express::DEVICE_CONTROL, 2, 0x2810);
        this.express = Some(at);
        let bars = this.at_power_on[0x10..0x28].to_vec();
        this = this.powered_on();
        this.at_power_on[0x10..0x28].copy_from_slice(&bars);
        this
    }

    /// Adds MSI-X with its table and pending bits in BAR `bar`.
    pub fn with_msix(self, at: u16, entries: u16, bar: u8, table: u32, pending: u32) -> Self {
        let [low, high] = (entries - 1).to_le_bytes();
        let mut body = vec![low, high];
        body.extend((table | u32::from(bar)).to_le_bytes());
        body.extend((pending | u32::from(bar)).to_le_bytes());
        let mut this = self.capability(id::MSIX, at, &body);
        this.allow(at + msix::CONTROL, 2, 0xc000);
        this
    }

    /// Adds conventional PCI's advanced features with a function-level reset.
    pub fn with_advanced_features(self, at: u16) -> Self {
        let mut this = self.capability(id::ADVANCED_FEATURES, at, &[6, 3, 0, 0]);
        this.advanced = Some(at);
        this
    }

    /// Adds extended capability `id` at `at`, leading to `next`.
    pub fn extended_capability(mut self, id: u16, at: u16, next: u16, fill: u8, bytes: u16) -> Self {
        self.put(at, 4, u32::from(id) | 1 << 16 | u32::from(next) << 20);
        for index in 4..bytes {
            self.put(at + index, 1, fill.into());
        }
        self
    }

    /// Adds extended capability `id` at the end of the list, with zeros behind its header.
    pub fn with_extended(mut self, id: u16, at: u16) -> Self {
        let header = u32::from(id) | 1 << 16;
        // The list starts at a fixed place.
        if self.last_extended.is_none() && at != FIRST_EXTENDED {
            self = self.with_extended(0, FIRST_EXTENDED);
        }
        if let Some(last) = self.last_extended {
            let before = self.get(last, 4) & 0xf_ffff | u32::from(at) << 20;
            self.put(last, 4, before);
            spread(&mut self.at_power_on, last, 4, before);
        }
        self.put(at, 4, header);
        spread(&mut self.at_power_on, at, 4, header);
        self.last_extended = Some(at);
        self
    }

    /// Adds access control services, all of them off after a reset.
    pub fn with_access_control(self, at: u16, services: u16) -> Self {
        let mut this = self.with_extended(extended_id::ACCESS_CONTROL, at);
        this.put(at + 4, 2, services.into());
        spread(&mut this.at_power_on, at + 4, 2, services.into());
        this.allow(at + access_control::CONTROL, 2, services.into());
        this
    }

    /// Makes a BAR resizable: of `1 << size` MiB now, of 1 MiB after a reset.
    pub fn with_resizable_bar(self, at: u16, number: u16, size: u32) -> Self {
        let mut this = self.with_extended(extended_id::RESIZABLE_BAR, at);
        let control = u32::from(number) | 1 << resizable_bar::COUNT_SHIFT;
        let at = at + resizable_bar::CONTROL;
        spread(&mut this.at_power_on, at, 4, control);
        this.put(at, 4, control | size << 8);
        this.allow(at, 4, resizable_bar::SIZE);
        this.resizable = Some((number, at));
        this.resize();
        this
    }

    /// Lets the address bits above its size be written of the BAR that is resizable.
    fn resize(&mut self) {
        let Some((number, control)) = self.resizable else { return };
        let size = 1_u64 << (20 + (self.get(control, 4) >> 8 & 0x3f));
        self.allow(BAR0 + 4 * number, 4, !(size - 1) as u32);
        self.allow(BAR0 + 4 * number + 4, 4, (!(size - 1) >> 32) as u32);
    }

    /// An 82574L as QEMU has it: BAR0 and BAR1 of 128 KiB, 32 ports, MSI-X of 5
    /// entries in BAR3, power management that loses the state, no function-level reset.
    pub fn e1000e() -> Self {
        Self::new(0x8086, 0x10d3, 0x02_0000)
            .memory_bar(0, 0x2_0000, 0xfebc_0000, false, false)
            .memory_bar(1, 0x2_0000, 0xfebe_0000, false, false)
            .port_bar(2, 32, 0xc040)
            .memory_bar(3, 0x4000, 0xfebb_0000, false, false)
            .with_power(0xc8, false)
            .with_msi(0xd0, 0x0080)
            .with_express(0x60, false)
            .with_msix(0xa0, 5, 3, 0, 0x2000)
    }

    /// An NVMe drive as QEMU has it: BAR0 of 16 KiB with MSI-X of 65 entries at
    /// 0x2000 and the pending bits behind them, function-level reset.
    pub fn nvme() -> Self {
        let mut this = Self::new(0x1b36, 0x0010, 0x01_0802)
            .memory_bar(0, 0x4000, 0x8_fe00_4000, true, false)
            .with_msix(0x40, 65, 0, 0x2000, 0x3000)
            .with_express(0x80, true)
            .with_power(0x60, true);
        this.function_level = ResetBehaviour::Works { silent_reads: 5 };
        this
    }

    /// A bridge to bus `secondary`.
    pub fn bridge(secondary: u8) -> Self {
        let mut this = Self::new(0x1b36, 0x000c, 0x06_0400);
        this.put(HEADER_TYPE, 1, HEADER_TYPE_BRIDGE.into());
        this.put(SECONDARY_BUS, 1, secondary.into());
        this.allow(BRIDGE_CONTROL, 2, (BRIDGE_CONTROL_SECONDARY_RESET | 3).into());
        this.powered_on()
    }

    fn reset(&mut self, behaviour: ResetBehaviour) {
        match behaviour {
            ResetBehaviour::Works { silent_reads } => {
                self.bytes.clone_from(&self.at_power_on);
                self.resize();
                self.silent = silent_reads;
                if let Some(identity) = self.identity_after {
                    self.put(VENDOR_ID, 4, identity);
                }
            }
            ResetBehaviour::Ignored => {}
            ResetBehaviour::Kills => self.silent = u32::MAX,
        }
    }

    fn write(&mut self, offset: u16, width: Width, value: u32) {
        let before = self.power.map(|at| self.get(at + power::CONTROL, 2) as u16 & power::STATE_MASK);
        for index in 0..width.bytes() as u16 {
            let (at, written) = (usize::from(offset + index), (value >> (8 * index)) as u8);
            let byte = self.bytes[at] & !self.writable[at] | written & self.writable[at];
            self.bytes[at] = byte & !(written & self.clearing[at]);
        }
        self.resize();
        let covers = |at: u16| offset <= at && at < offset + width.bytes() as u16;
        let bit = |at: u16, bit: u16| covers(at) && (value >> (8 * (at - offset))) as u8 >> bit & 1 != 0;
        if self.express.is_some_and(|at| bit(at + express::DEVICE_CONTROL + 1, 7))
            || self.advanced.is_some_and(|at| bit(at + advanced_features::CONTROL, 0))
        {
            self.reset(self.function_level);
        } else if let Some(at) = self.power
            && before == Some(power::STATE_D3_HOT)
            && self.get(at + power::CONTROL, 2) as u16 & power::STATE_MASK == power::STATE_D0
        {
            self.reset(self.power_state);
        }
    }
}

fn spread(bytes: &mut [u8], at: u16, count: u16, value: u32) {
    for index in 0..count {
        bytes[usize::from(at + index)] = (value >> (8 * index)) as u8;
    }
}

/// A write that reached configuration space.
pub type ConfigWrite = (Bdf, u16, Width, u32);

/// Configuration space of scripted functions; every write is recorded.
#[derive(Default)]
pub struct FakeConfigSpace {
    /// The functions.
    pub functions: RefCell<BTreeMap<Bdf, FakeFunction>>,
    /// Every write, in order.
    pub writes: RefCell<Vec<ConfigWrite>>,
}

impl FakeConfigSpace {
    /// A machine with these functions.
    pub fn with(functions: impl IntoIterator<Item = (Bdf, FakeFunction)>) -> Self {
        Self { functions: RefCell::new(functions.into_iter().collect()), writes: RefCell::default() }
    }

    /// Changes a function behind everybody's back.
    pub fn change(&self, function: Bdf, change: impl FnOnce(&mut FakeFunction)) {
        change(self.functions.borrow_mut().get_mut(&function).expect("a function of the machine"));
    }

    /// The writes since the last call.
    pub fn take_writes(&self) -> Vec<ConfigWrite> {
        self.writes.take()
    }
}

impl ConfigSpace for FakeConfigSpace {
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32 {
        assert!(width <= Width::Dword && width.is_aligned(offset.into()), "{width:?} at {offset:#x}");
        let ones = width.mask() as u32;
        let mut functions = self.functions.borrow_mut();
        let Some(found) = functions.get_mut(&function) else { return ones };
        if found.silent != 0 {
            found.silent -= u32::from(found.silent != u32::MAX);
            return ones;
        }
        if offset >= 256 && !found.extended {
            return ones;
        }
        found.get(offset, width.bytes() as u16)
    }

    fn write(&self, function: Bdf, offset: u16, width: Width, value: u32) {
        assert!(width <= Width::Dword && width.is_aligned(offset.into()), "{width:?} at {offset:#x}");
        self.writes.borrow_mut().push((function, offset, width, value));
        let mut functions = self.functions.borrow_mut();
        let Some(found) = functions.get_mut(&function) else { return };
        if found.silent != 0 || offset >= 256 && !found.extended {
            return;
        }
        let secondary = found.bytes[usize::from(SECONDARY_BUS)];
        let held = |found: &FakeFunction| {
            found.bytes[usize::from(HEADER_TYPE)] & 0x7f == HEADER_TYPE_BRIDGE
                && found.get(BRIDGE_CONTROL, 2) as u16 & BRIDGE_CONTROL_SECONDARY_RESET != 0
        };
        let before = held(found);
        found.write(offset, width, value);
        if before && !held(found) {
            for (_, below) in functions.iter_mut().filter(|(bdf, _)| bdf.bus() == secondary) {
                below.reset(below.bus);
            }
        }
    }

    fn is_extended(&self, function: Bdf) -> bool {
        self.functions.borrow().get(&function).is_some_and(|found| found.extended)
    }
}

/// Registers in a vector; every write is recorded as offset, bytes and value.
#[derive(Default)]
pub struct FakeWindow {
    /// Contents.
    pub bytes: RefCell<Vec<u8>>,
    /// Every write, in order.
    pub writes: RefCell<Vec<(usize, usize, u64)>>,
    /// How many reads there were.
    pub reads: Cell<usize>,
    /// Every read, in order, as offset and bytes.
    pub read_log: RefCell<Vec<(usize, usize)>>,
}

impl FakeWindow {
    /// A window of `bytes` zeroed bytes.
    pub fn new(bytes: usize) -> Self {
        Self { bytes: RefCell::new(vec![0; bytes]), ..Self::default() }
    }

    /// The writes since the last call.
    pub fn take_writes(&self) -> Vec<(usize, usize, u64)> {
        self.writes.take()
    }

    fn get(&self, offset: usize, count: usize) -> u64 {
        assert!(offset.is_multiple_of(count), "{count} bytes at {offset:#x}");
        self.reads.set(self.reads.get() + 1);
        self.read_log.borrow_mut().push((offset, count));
        match self.bytes.borrow().get(offset..offset + count) {
            Some(bytes) => bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)),
            None => u64::MAX >> (64 - 8 * count),
        }
    }

    fn put(&self, offset: usize, count: usize, value: u64) {
        assert!(offset.is_multiple_of(count), "{count} bytes at {offset:#x}");
        self.writes.borrow_mut().push((offset, count, value));
        if let Some(bytes) = self.bytes.borrow_mut().get_mut(offset..offset + count) {
            bytes.copy_from_slice(&value.to_le_bytes()[..count]);
        }
    }
}

impl RegisterWindow for FakeWindow {
    fn read32(&self, offset: usize) -> u32 {
        self.get(offset, 4) as u32
    }
    fn write32(&self, offset: usize, value: u32) {
        self.put(offset, 4, value.into());
    }
    fn read64(&self, offset: usize) -> u64 {
        self.get(offset, 8)
    }
    fn write64(&self, offset: usize, value: u64) {
        self.put(offset, 8, value);
    }
    fn read8(&self, offset: usize) -> u8 {
        self.get(offset, 1) as u8
    }
    fn write8(&self, offset: usize, value: u8) {
        self.put(offset, 1, value.into());
    }
    fn read16(&self, offset: usize) -> u16 {
        self.get(offset, 2) as u16
    }
    fn write16(&self, offset: usize, value: u16) {
        self.put(offset, 2, value.into());
    }
}
