//! Configuration space as Linux shows it: the registers in one file, the sizes of the BARs in
//! another. Sizing a BAR means writing to it, which must not happen to a machine that runs, so
//! the answers are made from those sizes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use access::ConfigSpace;
use anyhow::{Context, Result, ensure};
use spec::{Bdf, Width};

/// Registers of every header (PCI Local Bus Specification 3.0, section 6.1).
const HEADER_TYPE: usize = 0x0e;
const FIRST_BAR: usize = 0x10;
/// Where the expansion ROM's BAR is in a header of type 0, and of type 1.
const ROM_BAR: [usize; 2] = [0x30, 0x38];
/// BARs of a header of type 0, and of type 1.
const BARS: [usize; 2] = [6, 2];
/// The line of the expansion ROM in Linux's list of resources.
const ROM_LINE: usize = 6;
/// What a user who is not root can read.
const PUBLIC_BYTES: usize = 64;

/// All functions of segment 0.
pub struct Sysfs {
    functions: RefCell<BTreeMap<Bdf, Registers>>,
}

struct Registers {
    bytes: Vec<u8>,
    /// By offset of the register: which bits of it can be written.
    writable: BTreeMap<usize, u32>,
}

impl Sysfs {
    /// Reads every function below `folder`.
    ///
    /// # Errors
    /// When there is none or its registers cannot be read, which takes root.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut functions = BTreeMap::new();
        let entries =
            std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let Some(bdf) = parse_name(&name) else { continue };
            let bytes = std::fs::read(path.join("config"))
                .with_context(|| format!("cannot read the registers of {name}"))?;
            ensure!(
                bytes.len() > PUBLIC_BYTES,
                "only the first registers of {name} are shown: run this as root"
            );
            let resources = std::fs::read_to_string(path.join("resource")).unwrap_or_default();
            functions.insert(bdf, Registers { writable: writable(&bytes, &resources), bytes });
        }
        ensure!(!functions.is_empty(), "no PCI functions in {}", folder.display());
        Ok(Self { functions: RefCell::new(functions) })
    }
}

impl ConfigSpace for Sysfs {
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32 {
        let functions = self.functions.borrow();
        let (start, length) = (usize::from(offset), width.bytes() as usize);
        let found = functions.get(&function).and_then(|registers| registers.bytes.get(start..start + length));
        // Nobody answers: all ones, as on the bus.
        let Some(found) = found else { return u32::MAX >> (32 - 8 * length) };
        found.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
    }

    fn write(&self, function: Bdf, offset: u16, width: Width, value: u32) {
        let mut functions = self.functions.borrow_mut();
        let Some(registers) = functions.get_mut(&function) else { return };
        let start = usize::from(offset);
        // Only BARs change; what else the scan writes, it writes back.
        let (Some(mask), 4) = (registers.writable.get(&start).copied(), width.bytes()) else { return };
        let Some(bytes) = registers.bytes.get_mut(start..start + 4) else { return };
        let fixed = bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte)) & !mask;
        bytes.copy_from_slice(&(fixed | value & mask).to_le_bytes());
    }

    fn is_extended(&self, function: Bdf) -> bool {
        self.functions.borrow().get(&function).is_some_and(|registers| registers.bytes.len() == 4096)
    }
}

/// The writable bits of the BARs, from Linux's list of resources.
fn writable(config: &[u8], resources: &str) -> BTreeMap<usize, u32> {
    let sizes: Vec<u64> = resources.lines().map(|line| size(line).unwrap_or(0)).collect();
    let size = |line: usize| sizes.get(line).copied().unwrap_or(0);
    let kind = usize::from(config.get(HEADER_TYPE).copied().unwrap_or(0) & 0x7f);
    let (Some(bars), Some(rom)) = (BARS.get(kind), ROM_BAR.get(kind)) else { return BTreeMap::new() };
    let mut masks = BTreeMap::new();
    let mut bar = 0;
    while bar < *bars {
        let offset = FIRST_BAR + 4 * bar;
        // The size is a power of two; the bits below it and the flags are fixed.
        let mask = size(bar).checked_sub(1).map_or(0, |below| !below);
        let is_wide = config.get(offset).is_some_and(|flags| flags & 0b111 == 0b100);
        masks.insert(offset, low(mask));
        bar += 1;
        if is_wide {
            masks.insert(offset + 4, (mask >> 32) as u32);
            bar += 1;
        }
    }
    // Bit 0 enables the ROM.
    masks.insert(*rom, size(ROM_LINE).checked_sub(1).map_or(0, |below| low(!below) | 1));
    masks
}

fn low(mask: u64) -> u32 {
    mask as u32
}

/// The bytes of one line `START LAST FLAGS`.
fn size(line: &str) -> Option<u64> {
    let mut numbers =
        line.split_whitespace().map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
    let (start, last) = (numbers.next()??, numbers.next()??);
    if last == 0 { None } else { last.checked_sub(start)?.checked_add(1) }
}

/// `0000:00:02.0`; other segments are not the hypervisor's.
fn parse_name(name: &str) -> Option<Bdf> {
    name.strip_prefix("0000:")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function with a 64-bit BAR of 128 KiB, an I/O BAR of 32 bytes and a ROM of 64 KiB.
    fn function() -> Sysfs {
        let mut bytes = vec![0; 256];
        bytes[0x10..0x14].copy_from_slice(&0xfeb0_0004_u32.to_le_bytes());
        bytes[0x14..0x18].copy_from_slice(&0x0000_0001_u32.to_le_bytes());
        bytes[0x18..0x1c].copy_from_slice(&0x0000_c041_u32.to_le_bytes());
        let none = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n";
        let resources = format!(
            "0x00000001feb00000 0x00000001feb1ffff 0x0000000000140204\n{none}\
             0x000000000000c040 0x000000000000c05f 0x0000000000040101\n{none}{none}{none}\
             0x00000000fea00000 0x00000000fea0ffff 0x0000000000046200\n"
        );
        let registers = Registers { writable: writable(&bytes, &resources), bytes };
        Sysfs { functions: RefCell::new([("00:02.0".parse().expect("an address"), registers)].into()) }
    }

    fn sized(config: &Sysfs, offset: u16) -> u32 {
        let function = "00:02.0".parse().expect("an address");
        let before = config.read32(function, offset);
        config.write32(function, offset, u32::MAX);
        let answer = config.read32(function, offset);
        config.write32(function, offset, before);
        assert_eq!(config.read32(function, offset), before);
        answer
    }

    #[test]
    fn bars_answer_with_their_sizes() {
        let config = function();
        assert_eq!(sized(&config, 0x10), 0xfffe_0004);
        assert_eq!(sized(&config, 0x14), 0xffff_ffff);
        assert_eq!(sized(&config, 0x18) & 0xffff, 0xffe1);
        assert_eq!(sized(&config, 0x1c), 0);
        assert_eq!(sized(&config, 0x30), 0xffff_0001);
    }

    #[test]
    fn other_registers_do_not_change() {
        let config = function();
        assert_eq!(sized(&config, 0x04), 0);
    }

    #[test]
    fn who_is_not_there_answers_with_ones() {
        let config = function();
        let nobody = "00:03.0".parse().expect("an address");
        assert_eq!(config.read16(nobody, 0), 0xffff);
        assert_eq!(config.read32(nobody, 0), u32::MAX);
        config.write32(nobody, 0x10, 0);
    }

    #[test]
    fn only_segment_0_is_read() {
        assert!(parse_name("0000:00:1f.3").is_some());
        assert_eq!(parse_name("0001:00:1f.3"), None);
    }
}
