//! What a local APIC answers to.

use spec::apic::Destination;

/// Mode of a local APIC (Intel SDM vol. 3 section 11.12.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ApicMode {
    /// Globally disabled: it takes no message.
    Disabled,
    /// Registers in memory, 8-bit IDs.
    Xapic,
    /// Registers in MSRs, 32-bit IDs.
    X2apic,
}

/// The part of a local APIC's state that decides whether a message is for it. It
/// fits one atomic word, so that other processors can ask without a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct ApicAddress {
    /// Physical APIC ID.
    pub id: u32,
    /// Mode; it decides the width of IDs and the format of logical ones.
    pub mode: ApicMode,
    /// Logical ID of xAPIC mode (LDR bits 24 to 31).
    pub logical: u8,
    /// Flat format of logical IDs (DFR); else cluster format. xAPIC mode only.
    pub flat: bool,
    /// SVR bit 8: it takes fixed and lowest-priority messages. INIT, NMI and
    /// start-up messages are taken even when it is clear.
    pub software_enabled: bool,
}

const BROADCAST: u32 = u32::MAX;
const XAPIC_BROADCAST: u32 = 0xff;

impl ApicAddress {
    /// Packs it: ID in bits 0 to 31, logical ID in 32 to 39, flat 40, mode 41 and
    /// 42, software enable 43.
    pub const fn to_bits(self) -> u64 {
        let mode = match self.mode {
            ApicMode::Disabled => 0,
            ApicMode::Xapic => 1,
            ApicMode::X2apic => 2,
        };
        self.id as u64
            | (self.logical as u64) << 32
            | (self.flat as u64) << 40
            | mode << 41
            | (self.software_enabled as u64) << 43
    }

    /// The inverse of [`to_bits`](Self::to_bits). Zero, what an atomic starts with,
    /// is a disabled APIC that nothing reaches.
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            id: bits as u32,
            logical: (bits >> 32) as u8,
            flat: bits >> 40 & 1 != 0,
            mode: match bits >> 41 & 3 {
                1 => ApicMode::Xapic,
                2 => ApicMode::X2apic,
                _ => ApicMode::Disabled,
            },
            software_enabled: bits >> 43 & 1 != 0,
        }
    }

    /// Whether a message to `destination` is for this APIC. An APIC cannot know
    /// who sent a message, so `ToSelf` is false here and `AllButSelf` is true:
    /// the sender decides about itself (or use [`matches_from`](Self::matches_from)).
    pub const fn matches(&self, destination: &Destination) -> bool {
        if matches!(self.mode, ApicMode::Disabled) {
            return false;
        }
        match *destination {
            Destination::Physical(id) => self.matches_physical(id),
            Destination::Logical(id) => self.matches_logical(id),
            Destination::ToSelf => false,
            Destination::All | Destination::AllButSelf => true,
        }
    }

    /// Whether a message that the APIC with physical ID `sender` sent to
    /// `destination` is for this APIC.
    pub const fn matches_from(&self, destination: &Destination, sender: u32) -> bool {
        match *destination {
            Destination::ToSelf => self.id == sender && !matches!(self.mode, ApicMode::Disabled),
            Destination::AllButSelf if self.id == sender => false,
            _ => self.matches(destination),
        }
    }

    /// The logical ID that x2APIC mode derives from the physical one: the cluster
    /// in the upper half, one bit in the lower (SDM vol. 3 section 11.12.10.2).
    pub const fn x2apic_logical(id: u32) -> u32 {
        (id >> 4) << 16 | 1 << (id & 0xf)
    }

    const fn matches_physical(&self, id: u32) -> bool {
        match self.mode {
            ApicMode::Disabled => false,
            ApicMode::Xapic => id == self.id & 0xff || id == XAPIC_BROADCAST || id == BROADCAST,
            ApicMode::X2apic => id == self.id || id == BROADCAST,
        }
    }

    const fn matches_logical(&self, id: u32) -> bool {
        if id == BROADCAST {
            return !matches!(self.mode, ApicMode::Disabled);
        }
        match self.mode {
            ApicMode::Disabled => false,
            ApicMode::X2apic => {
                let own = Self::x2apic_logical(self.id);
                id >> 16 == own >> 16 && id & own & 0xffff != 0
            }
            ApicMode::Xapic if id == XAPIC_BROADCAST => true,
            ApicMode::Xapic if id > XAPIC_BROADCAST => false,
            ApicMode::Xapic => {
                let own = self.logical as u32;
                if self.flat {
                    id & own != 0
                } else {
                    // Cluster format: 15 addresses every cluster (section 11.6.2.2).
                    (id >> 4 == own >> 4 || id >> 4 == 0xf) && id & own & 0xf != 0
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn xapic(id: u32, logical: u8, flat: bool) -> ApicAddress {
        ApicAddress { id, mode: ApicMode::Xapic, logical, flat, software_enabled: true }
    }

    fn x2apic(id: u32) -> ApicAddress {
        ApicAddress { id, mode: ApicMode::X2apic, logical: 0, flat: true, software_enabled: true }
    }

    #[test]
    fn physical_ids_and_broadcast() {
        assert!(xapic(3, 0, true).matches(&Destination::Physical(3)));
        assert!(!xapic(3, 0, true).matches(&Destination::Physical(4)));
        assert!(xapic(3, 0, true).matches(&Destination::Physical(0xff)));
        assert!(xapic(3, 0, true).matches(&Destination::Physical(u32::MAX)));
        assert!(x2apic(300).matches(&Destination::Physical(300)));
        assert!(x2apic(300).matches(&Destination::Physical(u32::MAX)));
        // 0xff is an ID like any other there.
        assert!(!x2apic(300).matches(&Destination::Physical(0xff)));
        assert!(!x2apic(300).matches(&Destination::Physical(300 & 0xff)));
    }

    #[test]
    fn logical_flat() {
        let apic = xapic(0, 0b0100, true);
        assert!(apic.matches(&Destination::Logical(0b0110)));
        assert!(!apic.matches(&Destination::Logical(0b1011)));
        assert!(apic.matches(&Destination::Logical(0xff)));
        assert!(xapic(0, 0, true).matches(&Destination::Logical(0xff)));
        assert!(!apic.matches(&Destination::Logical(0x104)));
    }

    #[test]
    fn logical_cluster() {
        let apic = xapic(0, 0x24, false);
        assert!(apic.matches(&Destination::Logical(0x26)));
        assert!(!apic.matches(&Destination::Logical(0x36)));
        assert!(!apic.matches(&Destination::Logical(0x23)));
        assert!(apic.matches(&Destination::Logical(0xf4)));
        assert!(!apic.matches(&Destination::Logical(0xf8)));
    }

    #[test]
    fn logical_x2apic_cluster() {
        assert_eq!(ApicAddress::x2apic_logical(0x23), 0x2_0008);
        assert!(x2apic(0x23).matches(&Destination::Logical(0x2_000c)));
        assert!(!x2apic(0x23).matches(&Destination::Logical(0x3_0008)));
        assert!(!x2apic(0x23).matches(&Destination::Logical(0x2_0004)));
        assert!(x2apic(0x23).matches(&Destination::Logical(u32::MAX)));
    }

    #[test]
    fn shorthands_need_the_sender() {
        let apic = x2apic(1);
        assert!(apic.matches_from(&Destination::ToSelf, 1));
        assert!(!apic.matches_from(&Destination::ToSelf, 2));
        assert!(!apic.matches_from(&Destination::AllButSelf, 1));
        assert!(apic.matches_from(&Destination::AllButSelf, 2));
        assert!(apic.matches_from(&Destination::All, 1));
    }

    #[test]
    fn nothing_reaches_a_disabled_apic() {
        let apic = ApicAddress::from_bits(0);
        for destination in [
            Destination::Physical(0),
            Destination::Physical(u32::MAX),
            Destination::Logical(u32::MAX),
            Destination::All,
            Destination::AllButSelf,
        ] {
            assert!(!apic.matches(&destination));
            assert!(!apic.matches_from(&destination, 7));
        }
        assert!(!apic.matches_from(&Destination::ToSelf, 0));
    }

    proptest! {
        #[test]
        fn bits_round_trip(id: u32, mode in 0..3u8, logical: u8, flat: bool, software_enabled: bool) {
            let mode = [ApicMode::Disabled, ApicMode::Xapic, ApicMode::X2apic][usize::from(mode)];
            let address = ApicAddress { id, mode, logical, flat, software_enabled };
            prop_assert_eq!(ApicAddress::from_bits(address.to_bits()), address);
        }

        #[test]
        fn any_word_decodes(bits: u64, id: u32) {
            let address = ApicAddress::from_bits(bits);
            let _ = address.matches(&Destination::Physical(id));
            let _ = address.matches(&Destination::Logical(id));
        }
    }
}
