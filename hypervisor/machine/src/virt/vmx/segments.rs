//! A segment register's attributes, between the way that [`access::vcpu::Segment`] joins
//! them and a VMCS's access rights (Intel SDM vol. 3 table 24-2).

use spec::vmx::segment::{HIGH, HIGH_SHIFT, LOW, UNUSABLE};

/// Access rights for joined attributes. A register without a segment is unusable.
pub const fn to_rights(attributes: u16) -> u32 {
    let attributes = attributes as u32;
    let rights = attributes & LOW | (attributes >> 8 & HIGH) << HIGH_SHIFT;
    if attributes == 0 { UNUSABLE } else { rights }
}

/// Joined attributes for access rights; 0 for an unusable register.
pub const fn to_attributes(rights: u32) -> u16 {
    if rights & UNUSABLE != 0 {
        return 0;
    }
    (rights & LOW | (rights >> HIGH_SHIFT & HIGH) << 8) as u16
}

/// The privilege level in the rights of SS, which are true even where the register is
/// unusable (section 24.4.1).
pub const fn privilege_level(rights: u32) -> u8 {
    (rights >> 5) as u8 & 3
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn well_known_segments() {
        assert_eq!(to_rights(0xa9b), 0xa09b, "64-bit code");
        assert_eq!(to_rights(0xc93), 0xc093, "flat data");
        assert_eq!(to_rights(0x08b), 0x008b, "busy task");
        assert_eq!(to_rights(0), 0x1_0000);
        assert_eq!(to_attributes(0x1_c093), 0, "unusable, whatever else it says");
        assert_eq!(privilege_level(0xc0f3), 3);
        assert_eq!(privilege_level(0x1_0060), 3);
    }

    proptest! {
        #[test]
        fn nothing_is_lost(attributes in 0u16..0x1000) {
            prop_assert_eq!(to_attributes(to_rights(attributes)), attributes);
            prop_assert_eq!(to_rights(attributes) & 0xffff_0f00 & !UNUSABLE, 0);
        }
    }
}
