//! The scan over functions made by hand, and over what real ones do wrong.

use super::*;
use crate::finding::{Finding, Findings};
use access::ConfigSpace;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;
use core::cell::RefCell;
use proptest::prelude::*;
use spec::Width;

/// One function: 4 KiB of registers, which bits of each a write changes, and what
/// was written.
#[derive(Clone)]
pub(crate) struct FakeFunction {
    registers: Vec<u8>,
    writable: BTreeMap<u16, u32>,
}

/// Functions by address.
#[derive(Clone, Default)]
pub(crate) struct FakeBus {
    functions: RefCell<BTreeMap<Bdf, FakeFunction>>,
    /// Every write: function, offset, value, and the command register meanwhile.
    writes: RefCell<Vec<(Bdf, u16, u32, u16)>>,
    /// Only the first 256 bytes of each function can be reached.
    conventional: bool,
}

impl FakeFunction {
    pub fn new(id: &str, class: u32) -> Self {
        let mut function = Self { registers: vec![0; 4096], writable: BTreeMap::new() };
        let id: DeviceId = id.parse().unwrap();
        function.put(0, &id.vendor.to_le_bytes());
        function.put(2, &id.device.to_le_bytes());
        function.put(8, &(class << 8 | 3).to_le_bytes());
        function.writable.insert(4, 0x7);
        function
    }

    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        self.registers[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub fn with(mut self, at: usize, bytes: &[u8]) -> Self {
        self.put(at, bytes);
        self
    }

    /// A register with a value, and the bits of it that can be written.
    pub fn register(mut self, at: u16, value: u32, writable: u32) -> Self {
        self.put(at.into(), &value.to_le_bytes());
        self.writable.insert(at, writable);
        self
    }

    /// A bridge to `secondary`..=`subordinate`.
    pub fn bridge(id: &str, secondary: u8, subordinate: u8) -> Self {
        Self::new(id, 0x06_0400).with(0x0e, &[1]).with(0x19, &[secondary, subordinate])
    }

    /// With a PCI Express capability of this port type at 0x40.
    pub fn express(self, port: u8) -> Self {
        self.with(6, &[0x10]).with(0x34, &[0x40]).with(0x40, &[0x10, 0, port << 4 | 2, 0])
    }
}

impl FakeBus {
    pub fn of(functions: Vec<(Bdf, FakeFunction)>) -> Self {
        Self { functions: RefCell::new(functions.into_iter().collect()), ..Self::default() }
    }

    fn scan(&self) -> (Vec<Function>, Vec<String>) {
        let mut list: Vec<Finding> = Vec::new();
        let functions = scan(self, 0..=255, &mut Findings::new(&mut list, "PCI"));
        (functions, list.iter().map(ToString::to_string).collect())
    }

    /// Scans one function at 00:01.0.
    fn scan_one(function: FakeFunction) -> (Function, Vec<String>) {
        let (mut functions, told) = Self::of(vec![(Bdf::new(0, 1, 0), function)]).scan();
        assert_eq!(functions.len(), 1);
        (functions.remove(0), told)
    }
}

impl ConfigSpace for FakeBus {
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32 {
        let functions = self.functions.borrow();
        let at = usize::from(offset);
        let field = functions.get(&function).and_then(|it| it.registers.get(at..at + width.bytes() as usize));
        match field {
            Some(field) => field.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte)),
            None => width.mask() as u32,
        }
    }
    fn write(&self, function: Bdf, offset: u16, _width: Width, value: u32) {
        let mut functions = self.functions.borrow_mut();
        let Some(it) = functions.get_mut(&function) else { return };
        let command = u16::from_le_bytes([it.registers[4], it.registers[5]]);
        self.writes.borrow_mut().push((function, offset, value, command));
        let mask = it.writable.get(&offset).copied().unwrap_or(0);
        let at = usize::from(offset);
        let old = u32::from_le_bytes(it.registers[at..at + 4].try_into().unwrap());
        it.put(at, &(old & !mask | value & mask).to_le_bytes());
    }
    fn is_extended(&self, _function: Bdf) -> bool {
        !self.conventional
    }
}

#[test]
fn what_a_function_says_of_itself() {
    let function =
        FakeFunction::new("8086:10d3", 0x02_0000).with(0x2c, &[0x86, 0x80, 0x1f, 0xa0]).with(0x3c, &[11, 1]);
    let (function, told) = FakeBus::scan_one(function);
    assert_eq!(told, [""; 0]);
    assert_eq!(function.bdf, Bdf::new(0, 1, 0));
    assert_eq!(function.path.to_string(), "00:01.0");
    assert_eq!(function.id.to_string(), "8086:10d3");
    assert_eq!(function.subsystem.unwrap().to_string(), "8086:a01f");
    assert_eq!((function.class_code(), function.revision), (0x0200, 3));
    assert_eq!(function.interrupt, Some(LegacyInterrupt { pin: 0, line: 11 }));
    assert!(!function.is_bridge() && !function.multifunction);
}

#[test]
fn bars_are_sized_with_decoding_off_and_put_back() {
    let function = FakeFunction::new("8086:10d3", 0x02_0000)
        .with(4, &[7, 0])
        .register(0x10, 0xfeb8_0000, 0xfffe_0000)
        .register(0x14, 0x0000_000c, 0xfff0_0000)
        .register(0x18, 0x0000_0040, 0xffff_ffff)
        .register(0x1c, 0xc041, 0xffe0)
        .register(0x20, 0xd001, 0xffff_fffc)
        .register(0x30, 0xfea0_0001, 0xffff_0001);
    let bus = FakeBus::of(vec![(Bdf::new(0, 1, 0), function.clone())]);
    let (functions, told) = bus.scan();
    assert_eq!(told, [""; 0]);
    let bar = |index, kind, prefetchable, address, bytes| Bar {
        index,
        kind,
        prefetchable,
        address: Hpa(address),
        bytes,
    };
    assert_eq!(
        functions[0].bars,
        [
            bar(0, BarKind::Memory32, false, 0xfeb8_0000, 0x2_0000),
            bar(1, BarKind::Memory64, true, 0x40_0000_0000, 0x10_0000),
            bar(3, BarKind::Port, false, 0xc040, 0x20),
            bar(4, BarKind::Port, false, 0xd000, 4),
        ]
    );
    assert_eq!(functions[0].rom_bytes, 0x1_0000);
    for (_, offset, _, command) in bus.writes.borrow().iter().filter(|write| write.1 >= 0x10) {
        assert_eq!(command & 3, 0, "offset {offset:#x} was written while it decoded");
        assert_eq!(command & 4, 4, "bus mastering was changed");
    }
    assert_eq!(bus.functions.borrow()[&Bdf::new(0, 1, 0)].registers, function.registers);
}

#[test]
fn bars_that_lie() {
    let with = |at, writable| FakeFunction::new("8086:10d3", 0).register(at, 0, writable);
    let (function, told) = FakeBus::scan_one(with(0x10, 0xff0f_0000));
    assert!(function.bars.is_empty());
    assert_eq!(told, ["00:01.0: BAR 0 does not decode a power of two of bytes; ignored"]);
    let last = FakeFunction::new("8086:10d3", 0).register(0x24, 4, 0xffff_f000);
    let (function, told) = FakeBus::scan_one(last);
    assert!(function.bars.is_empty());
    assert_eq!(told, ["00:01.0: BAR 5 claims 64 bits but is the last; ignored"]);
    // A 64-bit BAR whose upper half is not writable has no size below 4 GiB either.
    let (function, told) =
        FakeBus::scan_one(FakeFunction::new("8086:10d3", 0).register(0x10, 4, 0xffff_f000));
    assert!(function.bars.is_empty());
    assert_eq!(told.len(), 1);
}

#[test]
fn bridges_are_left_alone() {
    let bridge = FakeFunction::bridge("8086:1234", 1, 1).register(0x10, 0xfe00_0000, 0xffff_f000);
    let host = FakeFunction::new("8086:29c0", 0x06_0000).register(0x10, 0xfe00_0000, 0xffff_f000);
    let bus = FakeBus::of(vec![(Bdf::new(0, 0, 0), host), (Bdf::new(0, 1, 0), bridge)]);
    let (functions, _) = bus.scan();
    assert!(functions.iter().all(|function| function.bars.is_empty() && function.is_bridge()));
    assert!(bus.writes.borrow().is_empty());
}

#[test]
fn paths_and_parents() {
    let bus = FakeBus::of(vec![
        (Bdf::new(0, 0x1c, 0), FakeFunction::bridge("8086:1", 2, 3).express(4)),
        (Bdf::new(2, 0, 0), FakeFunction::bridge("8086:2", 3, 3)),
        (Bdf::new(3, 5, 1), FakeFunction::new("8086:3", 0)),
        (Bdf::new(3, 5, 0), FakeFunction::new("8086:3", 0).with(0x0e, &[0x80])),
        // Another root bus, which no bridge leads to.
        (Bdf::new(0x80, 1, 0), FakeFunction::new("8086:4", 0)),
    ]);
    let (functions, told) = bus.scan();
    assert_eq!(told, [""; 0]);
    let found: Vec<_> = functions.iter().map(|f| (f.path.to_string(), f.parent, f.multifunction)).collect();
    assert_eq!(
        found,
        [
            ("00:1c.0".to_string(), None, false),
            ("00:1c.0/00.0".to_string(), Some(Bdf::new(0, 0x1c, 0)), false),
            ("00:1c.0/00.0/05.0".to_string(), Some(Bdf::new(2, 0, 0)), true),
            ("00:1c.0/00.0/05.1".to_string(), Some(Bdf::new(2, 0, 0)), true),
            ("80:01.0".to_string(), None, false),
        ]
    );
}

#[test]
fn a_link_has_one_device() {
    let port = |kind| FakeFunction::bridge("8086:1", 1, 1).express(kind);
    let ghost = || FakeFunction::new("8086:2", 0);
    let functions = |kind| {
        let bus = FakeBus::of(vec![
            (Bdf::new(0, 1, 0), port(kind)),
            (Bdf::new(1, 0, 0), ghost()),
            (Bdf::new(1, 9, 0), ghost()),
        ]);
        bus.scan().0.len()
    };
    assert_eq!(functions(4), 2, "root port");
    assert_eq!(functions(6), 2, "downstream port");
    assert_eq!(functions(5), 3, "upstream port");
    assert_eq!(functions(7), 3, "bridge to conventional PCI");
}

#[test]
fn bridges_that_lie() {
    let told = |secondary, subordinate| {
        let bridge = (Bdf::new(0, 1, 0), FakeFunction::bridge("8086:1", secondary, subordinate));
        FakeBus::of(vec![bridge]).scan().1
    };
    assert_eq!(
        told(0, 0),
        ["00:01.0: the firmware gave no bus to this bridge; what is behind it is not seen"]
    );
    assert_eq!(
        told(5, 3),
        ["00:01.0: this bridge on bus 0x00 leads to the buses 0x05 to 0x03, which cannot be; not followed"]
    );
    // A loop: bus 1 leads to bus 2, bus 2 back to bus 1 and to itself.
    let bus = FakeBus::of(vec![
        (Bdf::new(0, 1, 0), FakeFunction::bridge("8086:1", 1, 2)),
        (Bdf::new(1, 0, 0), FakeFunction::bridge("8086:1", 2, 2)),
        (Bdf::new(2, 0, 0), FakeFunction::bridge("8086:1", 1, 2)),
        (Bdf::new(2, 1, 0), FakeFunction::bridge("8086:1", 2, 2)),
        (Bdf::new(0, 2, 0), FakeFunction::bridge("8086:1", 2, 2)),
    ]);
    let (functions, told) = bus.scan();
    assert_eq!(functions.len(), 5);
    assert_eq!(
        told,
        [
            "02:00.0: this bridge on bus 0x02 leads to the buses 0x01 to 0x02, which cannot be; not followed",
            "02:01.0: this bridge on bus 0x02 leads to the buses 0x02 to 0x02, which cannot be; not followed",
            "00:02.0: this bridge leads to bus 0x02, to which another one leads; not followed",
        ]
    );
}

#[test]
fn bridges_to_buses_out_of_reach_and_too_deep() {
    let bus = FakeBus::of(vec![(Bdf::new(0, 1, 0), FakeFunction::bridge("8086:1", 9, 9))]);
    let mut list = Vec::new();
    scan(&bus, 0..=7, &mut Findings::new(&mut list, "PCI"));
    assert_eq!(
        list[0].to_string(),
        "00:01.0: this bridge leads to bus 0x09, whose configuration space cannot be reached"
    );

    let chain = (0..=255)
        .map(|bus: u8| (Bdf::new(bus, 0, 0), FakeFunction::bridge("8086:1", bus.saturating_add(1), 255)));
    let (functions, told) = FakeBus::of(chain.collect()).scan();
    assert!(told.iter().any(|text| text.ends_with("too many bridges are behind one another; not followed")));
    assert!(functions.iter().all(|function| function.path.hops.len() <= 32));
    assert!(functions.iter().all(|function| function.path.to_string().parse::<DevicePath>().is_ok()));
}

#[test]
fn capabilities() {
    let function = FakeFunction::new("8086:10d3", 0)
        .with(6, &[0x10])
        .with(0x34, &[0x43])
        .with(0x40, &[0x01, 0x50])
        .with(0x50, &[0x05, 0x60, 0x8a, 0x00])
        .with(0x60, &[0x10, 0x9c, 0x02, 0x00, 0x00, 0x00, 0x00, 0x10])
        .with(0x9c, &[0x11, 0xb0, 0x04, 0x80, 0x03, 0, 0, 0, 0x03, 0x20, 0, 0])
        .with(0xb0, &[0x13, 0, 6, 2])
        .with(0x100, &[0x0d, 0, 1, 0x14, 0x5f, 0])
        .with(0x140, &[0x0e, 0, 1, 0x16])
        .with(0x160, &[0x10, 0, 1, 0x20])
        .with(0x16e, &[8, 0])
        .with(0x17a, &[0xca, 0x10])
        .with(0x200, &[0x0f, 0, 1, 0]);
    let (found, told) = FakeBus::scan_one(function.clone());
    assert_eq!(told, [""; 0]);
    assert_eq!(
        found.capabilities,
        Capabilities {
            msi: Some(Msi { offset: 0x50, messages: 32 }),
            msix: Some(Msix {
                offset: 0x9c,
                messages: 5,
                table_bar: 3,
                table_offset: 0,
                pending_bar: 3,
                pending_offset: 0x2000
            }),
            express: Some(Express {
                offset: 0x60,
                port: PortType::Endpoint,
                function_level_reset: true,
                phantom_functions: false
            }),
            power_management: Some(0x40),
            power_reset: Some(true),
            advanced_features_reset: true,
            access_control: Some(AccessControl { offset: 0x100, services: 0x5f, ..AccessControl::default() }),
            alternative_routing: true,
            address_translation: true,
            sr_iov: Some(SrIov { offset: 0x160, total: 8, device: 0x10ca }),
        }
    );
    // Without ECAM, and without PCI Express, there are no extended ones.
    let mut bus = FakeBus::of(vec![(Bdf::new(0, 1, 0), function)]);
    bus.conventional = true;
    assert_eq!(bus.scan().0[0].capabilities.sr_iov, None);
}

#[test]
fn capability_lists_that_lie() {
    let told = |first: u8, at: usize, bytes: &[u8]| {
        let function = FakeFunction::new("8086:1", 0).with(6, &[0x10]).with(0x34, &[first]).with(at, bytes);
        FakeBus::scan_one(function).1
    };
    assert_eq!(
        told(0x10, 0x40, &[]),
        ["00:01.0: a capability pointer leads to 0x10; the rest of the list is ignored"]
    );
    assert_eq!(
        told(0x40, 0x40, &[0xff, 0xff]),
        ["00:01.0: there is no capability at 0x40, where a pointer leads; the rest of the list is ignored"]
    );
    assert_eq!(
        told(0x40, 0x40, &[0x09, 0x40]),
        ["00:01.0: the capability list comes back to 0x40; the rest of the list is ignored"]
    );
    assert_eq!(
        told(0xfc, 0xfc, &[0x11, 0]),
        ["00:01.0: its capability 0x11 at offset 0xfc is cut off; ignored"]
    );

    let extended = |at: usize, head: u32| {
        let function = FakeFunction::new("8086:1", 0).express(0).with(0x100, &[9, 0, 0x01, 0x10]);
        FakeBus::scan_one(function.with(at, &head.to_le_bytes())).1
    };
    assert_eq!(
        extended(0x100, 0x1001_0009),
        ["00:01.0: the capability list comes back to 0x100; the rest of the list is ignored"]
    );
    assert_eq!(
        extended(0x100, 0x0401_0009),
        ["00:01.0: a capability pointer leads to 0x40; the rest of the list is ignored"]
    );
    // In the last register of the space: nothing behind it is read.
    let last = FakeFunction::new("8086:1", 0).express(0).with(0x100, &[9, 0, 0xc1, 0xff]);
    let (function, _) = FakeBus::scan_one(last.with(0xffc, &[0x0d, 0, 1, 0]));
    assert_eq!(function.capabilities.access_control, None);
    assert_eq!(extended(0x100, 0xffc1_0009), [""; 0]);
}

#[test]
fn a_pin_and_a_header_that_do_not_exist() {
    let function = FakeFunction::new("8086:1", 0).with(0x3d, &[9]).with(0x0e, &[0x05]);
    let (function, told) = FakeBus::scan_one(function);
    assert_eq!(function.interrupt, None);
    assert_eq!(
        told,
        [
            "00:01.0: its interrupt pin is 9, which does not exist; ignored",
            "00:01.0: its header is of unknown type 0x5",
        ]
    );
}

#[test]
fn a_cardbus_bridge_is_a_bridge() {
    let socket = FakeFunction::new("1217:7136", 0x06_0700)
        .with(0x0e, &[2])
        .with(0x19, &[1, 4])
        .with(6, &[0x10])
        // Its list of capabilities begins elsewhere; here is its memory window.
        .with(0x14, &[0x40])
        .with(0x34, &[0x10])
        .with(0x40, &[0x01, 0])
        .with(0x44, &[8, 0])
        .with(0x1c, &0xfe00_0000_u32.to_le_bytes())
        .with(0x20, &0xfe00_3000_u32.to_le_bytes())
        .with(0x24, &0x9000_0000_u32.to_le_bytes())
        .with(0x28, &0x8fff_f000_u32.to_le_bytes())
        .with(0x3e, &[0, 1]);
    let bus = FakeBus::of(vec![
        (Bdf::new(0, 3, 0), socket),
        (Bdf::new(1, 0, 0), FakeFunction::new("10b7:6001", 0x02_8000)),
    ]);
    let (functions, told) = bus.scan();
    assert_eq!(told, [""; 0]);
    let [socket, card] = &functions[..] else { panic!("{functions:?}") };
    assert!(socket.is_bridge() && socket.header == 2 && socket.bars.is_empty() && !socket.is_link());
    let window = Window { start: Hpa(0xfe00_0000), bytes: 0x4000, prefetchable: true };
    assert_eq!(socket.windows, [window], "the other is closed");
    assert_eq!(socket.capabilities.power_management, Some(0x40));
    assert_eq!(socket.capabilities.power_reset, Some(false), "it keeps its state in D3hot");
    assert_eq!((card.path.to_string().as_str(), card.parent), ("00:03.0/00.0", Some(socket.bdf)));
}

#[test]
fn access_control_registers_of_32_bits() {
    let port = |id, control: usize| {
        let port = FakeFunction::bridge(id, 1, 1).express(4).with(0x100, &[0x0d, 0, 1, 0, 0x0f, 0]);
        let (function, _) = FakeBus::scan_one(port.with(control, &[0x0c]));
        function.capabilities.access_control.unwrap()
    };
    let found = |control, doublewords| AccessControl { offset: 0x100, services: 0xf, control, doublewords };
    assert_eq!(port("8086:1234", 0x106), found(0xc, false));
    for id in ["8086:a110", "8086:a11f", "8086:a16a", "8086:9d1b", "8086:a290", "8086:a2ee"] {
        assert_eq!(port(id, 0x108), found(0xc, true), "{id}");
    }
    for id in ["8086:a120", "8086:9d1c", "8086:a340", "8086:9db0", "1022:a110"] {
        assert_eq!(port(id, 0x106), found(0xc, false), "{id}");
    }
    // At the end of the space there is no room for the wider ones.
    let last = FakeFunction::bridge("8086:a110", 1, 1).express(4).with(0x100, &[9, 0, 0x81, 0xff]);
    let (function, _) = FakeBus::scan_one(last.with(0xff8, &[0x0d, 0, 1, 0, 0x0f, 0]));
    assert_eq!(function.capabilities.access_control.map(|found| found.doublewords), Some(false));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Functions of random registers, some of them writable, are scanned to an end.
    #[test]
    fn no_configuration_space_panics(
        functions in prop::collection::vec(
            (0u8..4, 0u8..3, 0u8..8, prop::collection::vec(any::<u8>(), 256), any::<[u32; 7]>(), any::<[u8; 3]>()),
            1..12,
        ),
    ) {
        let functions = functions.into_iter().map(|(bus, device, function, registers, writable, header)| {
            let mut fake = FakeFunction::new("8086:1", 0x06_0400).with(4, &registers[4..]);
            // Likely enough a bridge to one of the few buses.
            fake.put(0x0e, &[header[0] & 0x83, 0]);
            fake.put(0x19, &[header[1] % 5, header[2] % 6]);
            fake.put(0x100, &registers[..128]);
            for (index, mask) in writable.into_iter().enumerate() {
                fake.writable.insert(0x10 + 4 * index as u16, mask);
            }
            (Bdf::new(bus, device, function), fake)
        }).collect();
        let (functions, _) = FakeBus::of(functions).scan();
        let mut seen: Vec<_> = functions.iter().map(|function| function.bdf).collect();
        seen.sort_unstable();
        seen.dedup();
        prop_assert_eq!(seen.len(), functions.len(), "a function was found twice");
        for function in &functions {
            prop_assert!(function.bars.iter().all(|bar| bar.bytes.is_power_of_two()));
        }
    }
}

#[test]
fn windows_of_bridges() {
    let window = |start, bytes, prefetchable| Window { start: Hpa(start), bytes, prefetchable };
    let scan = |memory: u32, prefetchable: u32, upper: [u32; 2]| {
        let bridge = FakeFunction::bridge("1b36:000c", 2, 2)
            .with(0x20, &memory.to_le_bytes())
            .with(0x24, &prefetchable.to_le_bytes())
            .with(0x28, &upper[0].to_le_bytes())
            .with(0x2c, &upper[1].to_le_bytes());
        FakeBus::scan_one(bridge).0.windows
    };
    assert_eq!(
        scan(0xfea0_fe80, 0x0071_0001, [0x38, 0x38]),
        [window(0xfe80_0000, 0x30_0000, false), window(0x38_0000_0000, 0x80_0000, true)]
    );
    // The upper halves count only where the register says that it has them.
    assert_eq!(scan(0, 0xc010_c000, [1, 1]), [window(0xc000_0000, 0x20_0000, true)]);
    // Closed ones, what a reset leaves, and all there can be.
    assert_eq!(scan(0x0000_fff0, 0x0001_fff1, [0, 0]), []);
    assert_eq!(scan(0, 0x0001_0001, [0, 0]), []);
    assert_eq!(scan(0, 0xfff1_0011, [0, u32::MAX]), [window(0x10_0000, u64::MAX - 0xf_ffff, true)]);
    // A device that is no bridge has BARs there.
    let plain = FakeFunction::new("8086:10d3", 0x02_0000).with(0x20, &0xfea0_fe80_u32.to_le_bytes());
    assert_eq!(FakeBus::scan_one(plain).0.windows, []);
}
