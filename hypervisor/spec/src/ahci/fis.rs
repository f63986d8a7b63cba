//! The frame that takes a command to a device (Serial ATA 3.3, section 10.5.5).

/// FIS type: registers, from host to device.
pub const HOST_TO_DEVICE: u8 = 0x27;
/// Byte 1: the frame has a command.
pub const IS_COMMAND: u8 = 0x80;
/// Bytes of the frame.
pub const BYTES: usize = 20;

/// A device's registers as a command sets them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Registers {
    /// What to do.
    pub command: u8,
    /// FEATURES.
    pub features: u16,
    /// LBA, 48 bits.
    pub lba: u64,
    /// DEVICE.
    pub device: u8,
    /// COUNT.
    pub count: u16,
}

impl Registers {
    /// The frame, as it stands in memory.
    pub const fn encode(self) -> [u8; BYTES] {
        let [l0, l1, l2, l3, l4, l5, ..] = self.lba.to_le_bytes();
        let [feature, feature_high] = self.features.to_le_bytes();
        let [count, count_high] = self.count.to_le_bytes();
        [
            HOST_TO_DEVICE,
            IS_COMMAND,
            self.command,
            feature,
            l0,
            l1,
            l2,
            self.device,
            l3,
            l4,
            l5,
            feature_high,
            count,
            count_high,
            0,
            0,
            0,
            0,
            0,
            0,
        ]
    }

    /// What `frame` says, where it is one of these with a command.
    pub const fn decode(frame: &[u8; BYTES]) -> Option<Self> {
        let [
            HOST_TO_DEVICE,
            IS_COMMAND,
            command,
            feature,
            l0,
            l1,
            l2,
            device,
            l3,
            l4,
            l5,
            feature_high,
            count,
            count_high,
            ..,
        ] = *frame
        else {
            return None;
        };
        Some(Self {
            command,
            features: u16::from_le_bytes([feature, feature_high]),
            lba: u64::from_le_bytes([l0, l1, l2, l3, l4, l5, 0, 0]),
            device,
            count: u16::from_le_bytes([count, count_high]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_stands_in_the_frame_where_the_table_says() {
        let registers =
            Registers { command: 0x60, features: 0x0a09, lba: 0x0605_0403_0201, device: 0x40, count: 0x0c0b };
        let frame = registers.encode();
        let expected = [0x27, 0x80, 0x60, 9, 1, 2, 3, 0x40, 4, 5, 6, 10, 11, 12, 0, 0, 0, 0, 0, 0];
        assert_eq!(frame, expected);
        assert_eq!(Registers::decode(&frame), Some(registers));
        assert_eq!(Registers::decode(&[0x34; BYTES]), None);
    }
}
