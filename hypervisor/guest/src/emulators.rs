//! What emulators do otherwise than processors: found here, and nowhere in a build without the feature
//! `emulators`, which is the one for real machines.

/// Whether QEMU's TCG interprets the processor, whose CPUID has these registers at leaf 1 (ECX) and at leaf
/// 4000_0000 (EBX, ECX, EDX): it has one TSC for all processors, which no power state stops.
pub fn is_tcg(features: u32, name: [u32; 3]) -> bool {
    const HYPERVISOR: u32 = 1 << 31;
    let is_named = name.map(u32::to_le_bytes).as_flattened() == b"TCGTCGTCGTCG";
    cfg!(feature = "emulators") && features & HYPERVISOR != 0 && is_named
}
