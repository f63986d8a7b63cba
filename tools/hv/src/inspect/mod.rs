//! `cargo hv inspect`: a board file from a machine that runs Linux.
//!
//! The very code that scans the machine at boot reads it here, over what Linux shows in /sys.

mod firmware;
mod lines;
mod pci;
mod processors;

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use platform::{Platform, Tables};

use crate::cli;

/// Writes the board file.
///
/// # Errors
/// When Linux does not show the machine's tables or functions.
pub fn run(options: &cli::Inspect) -> Result<()> {
    let platform = read(&options.root)?;
    let mut text = serde_json::to_string_pretty(&platform).context("the board cannot be written as JSON")?;
    text.push('\n');
    match &options.output {
        Some(path) => {
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?
        }
        None => std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")?,
    }
    eprintln!(
        "{} processors, {} PCI functions, {}",
        platform.processors().count(),
        platform.functions.len(),
        match platform.remapping.units.len() {
            0 => "no IOMMU: switch it on in the firmware's setup (VT-d, AMD-Vi), or nothing can be passed \
                  through"
                .to_owned(),
            1 => "1 IOMMU unit".to_owned(),
            units => format!("{units} IOMMU units"),
        }
    );
    for finding in platform.all_findings() {
        eprintln!("  !! {finding}");
    }
    Ok(())
}

/// Reads the machine whose /sys is below `root`.
fn read(root: &Path) -> Result<Platform> {
    let (memory, rsdp) = firmware::tables(&root.join("sys/firmware/acpi/tables"))?;
    let map = firmware::memory_map(&root.join("sys/firmware/memmap"))?;
    let config = pci::Sysfs::read(&root.join("sys/bus/pci/devices"))?;
    let mut platform = Platform::discover(Tables::read(&memory, rsdp), map, &config);
    platform.thread_bits = processors::thread_bits(&root.join("proc/cpuinfo"))?;
    platform.small_code_pages =
        processors::small_code_pages(&root.join("sys/devices/system/cpu/vulnerabilities/itlb_multihit"));
    lines::note(root, &mut platform);
    ensure!(platform.processors().next().is_some(), "the machine's tables name no processor");
    Ok(platform)
}
