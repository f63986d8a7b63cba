//! Segment descriptors of 32-bit code (Intel SDM vol. 3 section 3.4.5).

use access::vcpu::{ProcessorState, Segment, SegmentName};

/// A descriptor as it stands in its table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor(pub u64);

impl Descriptor {
    /// Base address.
    pub const fn base(self) -> u32 {
        (self.0 >> 16 & 0xff_ffff) as u32 | (self.0 >> 56 << 24) as u32
    }

    /// Limit in bytes, with granularity applied.
    pub const fn limit(self) -> u32 {
        let limit = (self.0 & 0xffff) as u32 | (self.0 >> 32) as u32 & 0xf_0000;
        if self.0 >> 55 & 1 != 0 { limit << 12 | 0xfff } else { limit }
    }

    /// Attributes as [`Segment`] joins them.
    pub const fn attributes(self) -> u16 {
        (self.0 >> 40 & 0xff) as u16 | (self.0 >> 44 & 0xf00) as u16
    }

    const fn kind(self) -> u8 {
        (self.0 >> 40 & 0xf) as u8
    }

    const fn is_system(self) -> bool {
        self.0 >> 44 & 1 == 0
    }

    /// The type of a system descriptor; `None` for code and data.
    pub const fn system_type(self) -> Option<u8> {
        if self.is_system() { Some(self.kind()) } else { None }
    }

    /// Whether it is code.
    pub const fn is_code(self) -> bool {
        !self.is_system() && self.kind() & 8 != 0
    }

    /// Whether it is code that keeps its caller's privilege level.
    pub const fn is_conforming(self) -> bool {
        self.is_code() && self.kind() & 4 != 0
    }

    /// Whether it is data, or code that can be read.
    pub const fn is_readable(self) -> bool {
        !self.is_system() && (self.kind() & 8 == 0 || self.kind() & 2 != 0)
    }

    /// Whether it is data that can be written.
    pub const fn is_writable(self) -> bool {
        !self.is_system() && self.kind() & 0xa == 2
    }

    /// Whether what it describes is there.
    pub const fn is_present(self) -> bool {
        self.0 >> 47 & 1 != 0
    }

    /// Its privilege level.
    pub const fn level(self) -> u8 {
        (self.0 >> 45 & 3) as u8
    }

    /// What a segment register holds that is loaded with it. It counts as accessed then.
    pub const fn segment(self, selector: u16) -> Segment {
        let accessed = if self.is_system() { 0 } else { 1 };
        let attributes = self.attributes() | accessed;
        Segment { selector, attributes, limit: self.limit(), base: self.base() as u64 }
    }

    /// What a segment register holds in virtual-8086 mode (section 21.1.1).
    pub const fn of_virtual_8086(selector: u16) -> Segment {
        Segment { selector, attributes: 0xf3, limit: 0xffff, base: (selector as u64) << 4 }
    }
}

/// A descriptor table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table {
    base: u64,
    limit: u32,
}

impl Table {
    /// The table that `selector` is of: the global or the local one.
    pub fn of(cpu: &impl ProcessorState, selector: u16) -> Self {
        if selector & 4 == 0 {
            let (base, limit) = cpu.global_table();
            return Self { base, limit: limit.into() };
        }
        let local = cpu.segment(SegmentName::Ldtr);
        // Attributes of 0: there is none.
        let limit = if local.attributes == 0 { 0 } else { local.limit };
        Self { base: local.base, limit }
    }

    /// Linear address of the descriptor of `selector`; `None` beyond the table's end, and for
    /// the null descriptor.
    pub fn place(self, selector: u16) -> Option<u64> {
        let offset = u32::from(selector & !7);
        let inside = offset + 7 <= self.limit && selector & !3 != 0;
        inside.then(|| self.base.wrapping_add(offset.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_descriptor_are_where_figure_3_8_has_them() {
        let code = Descriptor(0x12cf_9a34_5678_ffff);
        assert_eq!((code.base(), code.limit()), (0x1234_5678, 0xffff_ffff));
        assert_eq!(code.attributes(), 0xc9a);
        assert!(code.is_code() && code.is_readable() && !code.is_writable() && !code.is_conforming());
        assert!(code.is_present() && code.level() == 0 && code.system_type().is_none());
        assert_eq!(code.segment(8).attributes, 0xc9b, "accessed");
        let task = Descriptor(0x0000_e900_0123_0067);
        assert_eq!((task.system_type(), task.level(), task.limit()), (Some(9), 3, 0x67));
        assert!(!task.is_readable() && !task.is_writable() && !task.is_code());
        assert_eq!(task.segment(0x18).attributes, 0xe9);
        let data = Descriptor(0x0040_f200_0000_0fff);
        assert!(data.is_writable() && data.level() == 3 && data.limit() == 0xfff);
    }
}
