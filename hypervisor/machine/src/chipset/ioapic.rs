//! The machine's IOAPICs (Intel 82093AA data sheet; ICH9 data sheet section 13.5).

use access::RegisterWindow;

const SELECT: usize = 0x00;
const DATA: usize = 0x10;
const END_OF_INTERRUPT: usize = 0x40;
const ID: u32 = 0x00;
const VERSION: u32 = 0x01;
const FIRST_ENTRY: u32 = 0x10;

/// Redirection entry: masked.
pub const MASKED: u64 = 1 << 16;
/// Redirection entry: level-triggered.
pub const LEVEL: u64 = 1 << 15;
/// Redirection entry: active low.
pub const ACTIVE_LOW: u64 = 1 << 13;
/// Redirection entry: the local APIC has not ended this level interrupt yet.
pub const REMOTE_IRR: u64 = 1 << 14;

/// One IOAPIC. Its two registers reach the others in turn, so it has one owner at a
/// time: put it under a lock.
pub struct IoApic<W> {
    registers: W,
    pins: u8,
    version: u8,
}

impl<W: RegisterWindow> IoApic<W> {
    /// The IOAPIC behind `registers`, with every pin masked; `None` if nothing answers.
    pub fn new(registers: W) -> Option<Self> {
        let mut ioapic = Self { registers, pins: 0, version: 0 };
        let version = ioapic.read(VERSION);
        if version == u32::MAX || version == 0 {
            return None;
        }
        ioapic.version = version as u8;
        ioapic.pins = ((version >> 16) as u8).saturating_add(1).min(240);
        for pin in 0..ioapic.pins {
            ioapic.mask(pin);
        }
        Some(ioapic)
    }

    /// Number of pins.
    pub const fn pins(&self) -> u8 {
        self.pins
    }

    /// The ID register's ID.
    pub fn id(&mut self) -> u8 {
        (self.read(ID) >> 24) as u8 & 0xf
    }

    fn read(&mut self, register: u32) -> u32 {
        self.registers.write32(SELECT, register);
        self.registers.read32(DATA)
    }

    fn write(&mut self, register: u32, value: u32) {
        self.registers.write32(SELECT, register);
        self.registers.write32(DATA, value);
    }

    /// Redirection entry of `pin`; masked and empty for a pin that is not there.
    pub fn entry(&mut self, pin: u8) -> u64 {
        if pin >= self.pins {
            return MASKED;
        }
        let register = FIRST_ENTRY + 2 * u32::from(pin);
        u64::from(self.read(register)) | u64::from(self.read(register + 1)) << 32
    }

    /// Writes redirection entry `pin`, in the compatible or the remappable format (VT-d
    /// specification section 5.1.5.1). The pin is masked while the halves differ.
    pub fn set_entry(&mut self, pin: u8, entry: u64) {
        if pin >= self.pins {
            return;
        }
        let register = FIRST_ENTRY + 2 * u32::from(pin);
        self.mask(pin);
        self.write(register + 1, (entry >> 32) as u32);
        self.write(register, entry as u32);
    }

    /// Opens a level-triggered `pin` with this entry. What was in service there before, of
    /// the firmware's perhaps, would keep it silent: it is ended first.
    pub fn open(&mut self, pin: u8, entry: u64) {
        self.set_entry(pin, entry | MASKED);
        self.end_of_interrupt(pin);
        self.unmask(pin);
    }

    /// Masks `pin` and ends its interrupt: it says nothing more.
    pub fn close(&mut self, pin: u8) {
        self.mask(pin);
        self.end_of_interrupt(pin);
    }

    /// Whether the level-triggered `pin` has sent an interrupt that nobody ended: it is
    /// silent until then.
    pub fn is_in_service(&mut self, pin: u8) -> bool {
        pin < self.pins && self.read(FIRST_ENTRY + 2 * u32::from(pin)) & REMOTE_IRR as u32 != 0
    }

    /// Masks `pin` and leaves the rest of its entry.
    pub fn mask(&mut self, pin: u8) {
        self.change_mask(pin, true);
    }

    /// Unmasks `pin`.
    pub fn unmask(&mut self, pin: u8) {
        self.change_mask(pin, false);
    }

    fn change_mask(&mut self, pin: u8, masked: bool) {
        if pin >= self.pins {
            return;
        }
        let register = FIRST_ENTRY + 2 * u32::from(pin);
        let low = self.read(register);
        let new = if masked { low | MASKED as u32 } else { low & !(MASKED as u32) };
        if new != low {
            self.write(register, new);
        }
    }

    /// Ends the level interrupt of `pin` here, for a local APIC that does not tell
    /// IOAPICs. By the register of its own from version 0x20 on; before, an edge-
    /// triggered moment clears the remote IRR. The vector is what the entry holds, not
    /// what remapping made of it.
    pub fn end_of_interrupt(&mut self, pin: u8) {
        let entry = self.entry(pin);
        if pin >= self.pins {
            return;
        }
        if self.version >= 0x20 {
            self.registers.write32(END_OF_INTERRUPT, entry as u32 & 0xff);
            return;
        }
        let register = FIRST_ENTRY + 2 * u32::from(pin);
        self.write(register, ((entry | MASKED) & !LEVEL) as u32);
        self.write(register, entry as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::{Cell, RefCell};
    use std::vec;
    use std::vec::Vec;

    /// An IOAPIC of 4 pins that records its writes.
    struct Fake {
        version: u32,
        selected: Cell<u32>,
        entries: RefCell<Vec<u32>>,
        writes: RefCell<Vec<(u32, u32)>>,
    }

    fn fake(version: u32) -> Fake {
        Fake {
            version: version | 3 << 16,
            selected: Cell::new(0),
            entries: RefCell::new(vec![0xff; 8]),
            writes: RefCell::default(),
        }
    }

    impl RegisterWindow for Fake {
        fn read32(&self, offset: usize) -> u32 {
            match (offset, self.selected.get()) {
                (DATA, VERSION) => self.version,
                (DATA, register @ 0x10..0x18) => self.entries.borrow()[register as usize - 0x10],
                _ => 0,
            }
        }
        fn write32(&self, offset: usize, value: u32) {
            match offset {
                SELECT => self.selected.set(value),
                DATA => {
                    let register = self.selected.get();
                    self.writes.borrow_mut().push((register, value));
                    self.entries.borrow_mut()[register as usize - 0x10] = value;
                }
                _ => self.writes.borrow_mut().push((offset as u32, value)),
            }
        }
        fn read64(&self, _: usize) -> u64 {
            panic!("the IOAPIC has no registers of 64 bits")
        }
        fn write64(&self, _: usize, _: u64) {
            panic!("the IOAPIC has no registers of 64 bits")
        }
        fn read8(&self, _: usize) -> u8 {
            panic!("the IOAPIC has no registers of less than 32 bits")
        }
        fn write8(&self, _: usize, _: u8) {
            panic!("the IOAPIC has no registers of less than 32 bits")
        }
        fn read16(&self, _: usize) -> u16 {
            panic!("the IOAPIC has no registers of less than 32 bits")
        }
        fn write16(&self, _: usize, _: u16) {
            panic!("the IOAPIC has no registers of less than 32 bits")
        }
    }

    #[test]
    fn everything_is_masked_from_the_start() {
        let ioapic = IoApic::new(fake(0x20)).expect("it answers");
        assert_eq!(ioapic.pins(), 4);
        assert!(ioapic.registers.entries.borrow().iter().step_by(2).all(|low| low & 1 << 16 != 0));
    }

    #[test]
    fn an_entry_is_written_upper_half_first_while_masked() {
        let mut ioapic = IoApic::new(fake(0x20)).expect("it answers");
        ioapic.unmask(2);
        ioapic.registers.writes.borrow_mut().clear();
        ioapic.set_entry(2, 0x1234_5678_0000_8031);
        let expected = [(0x14, 0x1_00ff), (0x15, 0x1234_5678), (0x14, 0x8031)];
        assert_eq!(*ioapic.registers.writes.borrow(), expected);
        assert_eq!(ioapic.entry(2), 0x1234_5678_0000_8031);
    }

    #[test]
    fn a_pin_that_is_not_there_is_left_alone() {
        let mut ioapic = IoApic::new(fake(0x20)).expect("it answers");
        ioapic.registers.writes.borrow_mut().clear();
        ioapic.set_entry(4, 0);
        ioapic.unmask(255);
        ioapic.end_of_interrupt(4);
        assert_eq!(ioapic.entry(4), MASKED);
        assert!(ioapic.registers.writes.borrow().is_empty());
    }

    #[test]
    fn interrupts_end_by_register_or_by_an_edge() {
        let mut new = IoApic::new(fake(0x20)).expect("it answers");
        new.set_entry(1, 0x8031);
        new.end_of_interrupt(1);
        assert_eq!(new.registers.writes.borrow().last(), Some(&(0x40, 0x31)));
        let mut old = IoApic::new(fake(0x11)).expect("it answers");
        old.set_entry(1, 0x8031);
        old.registers.writes.borrow_mut().clear();
        old.end_of_interrupt(1);
        assert_eq!(*old.registers.writes.borrow(), [(0x12, 0x1_0031), (0x12, 0x8031)]);
    }

    #[test]
    fn a_pin_opens_with_nothing_in_service() {
        let mut ioapic = IoApic::new(fake(0x20)).expect("it answers");
        ioapic.registers.writes.borrow_mut().clear();
        ioapic.open(1, 0x8000_0000_0000_a029);
        let open = [(0x13, 0x8000_0000), (0x12, 0x1_a029), (0x40, 0x29), (0x12, 0xa029)];
        assert_eq!(*ioapic.registers.writes.borrow(), open);
        ioapic.registers.writes.borrow_mut().clear();
        ioapic.close(1);
        assert_eq!(*ioapic.registers.writes.borrow(), [(0x12, 0x1_a029), (0x40, 0x29)]);
    }

    #[test]
    fn a_pin_is_in_service_while_its_remote_irr_is_set() {
        let mut ioapic = IoApic::new(fake(0x20)).expect("it answers");
        ioapic.set_entry(3, 0xa02b);
        assert!(!ioapic.is_in_service(3));
        ioapic.set_entry(3, 0xa02b | REMOTE_IRR);
        assert!(ioapic.is_in_service(3) && !ioapic.is_in_service(4));
    }

    #[test]
    fn nothing_there_is_no_ioapic() {
        assert!(IoApic::new(Fake { version: u32::MAX, ..fake(0) }).is_none());
    }
}
