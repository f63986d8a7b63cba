//! What emulators do otherwise than IOMMUs: found here, and nowhere in a build without the feature
//! `emulators`, which is the one for real machines.

/// Whether the AMD-Vi unit whose function has this vendor and device ID is that of QEMU before 10.1, whose
/// events have neither a bus number nor the flags that the specification gives them. Its device ID
/// is 0, which no unit of AMD's has.
pub const fn is_qemus_unit(id: u32) -> bool {
    cfg!(feature = "emulators") && id == 0x0000_1022
}
