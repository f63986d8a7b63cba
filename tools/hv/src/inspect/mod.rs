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
    let cpuinfo = root.join("proc/cpuinfo");
    platform.thread_bits = processors::thread_bits(&cpuinfo)?;
    platform.address_bits = processors::address_bits(&cpuinfo)?;
    platform.random_numbers = processors::random_numbers(&cpuinfo)?;
    if let Some(apic_id) = processors::boot_processor(&cpuinfo)? {
        platform.set_boot_processor(apic_id);
    }
    platform.small_code_pages =
        processors::small_code_pages(&root.join("sys/devices/system/cpu/vulnerabilities/itlb_multihit"));
    lines::note(root, &mut platform);
    ensure!(platform.processors().next().is_some(), "the machine's tables name no processor");
    Ok(platform)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plan::FileRef;
    use std::path::PathBuf;

    /// A folder that looks like the root of a machine: a conventional bridge, behind it a
    /// CardBus socket beside a FireWire controller, and in the socket a card.
    struct Notebook(PathBuf);

    impl Notebook {
        fn new() -> Self {
            let notebook = Self(std::env::temp_dir().join(format!("hv-notebook-{}", std::process::id())));
            notebook.function("00:00.0", [0x8086, 0x2a00], 0x06_0000, 0, [0, 0]);
            notebook.function("00:1e.0", [0x8086, 0x2448], 0x06_0401, 1, [0x1c, 0x20]);
            notebook.function("1c:03.0", [0x1217, 0x7136], 0x06_0700, 0x82, [0x1d, 0x20]);
            notebook.function("1c:03.4", [0x1217, 0x00f7], 0x0c_0010, 0x80, [0, 0]);
            notebook.function("1d:00.0", [0x10b7, 0x6001], 0x02_8000, 0, [0, 0]);
            let mut madt = [0xfee0_0000_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat();
            (0..4).for_each(|id| madt.extend([0, 8, id, id, 1, 0, 0, 0]));
            madt.extend([1, 12, 2, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
            notebook.table("APIC", &madt);
            let mut dmar = vec![38, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            dmar.extend([0, 0, 24, 0, 1, 0, 0, 0]);
            dmar.extend(0xfed9_0000_u64.to_le_bytes());
            dmar.extend([3, 8, 0, 0, 2, 0xf0, 0x1f, 0]);
            notebook.table("DMAR", &dmar);
            for (name, text) in [("start", "0x100000"), ("end", "0x7fffffff"), ("type", "System RAM")] {
                notebook.put(&format!("sys/firmware/memmap/0/{name}"), text.as_bytes());
            }
            notebook.put("proc/cpuinfo", b"");
            notebook.put("proc/interrupts", b"");
            notebook
        }

        fn put(&self, path: &str, bytes: &[u8]) {
            let path = self.0.join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, bytes).expect("written");
        }

        fn function(&self, bdf: &str, id: [u16; 2], class: u32, header: u8, buses: [u8; 2]) {
            let mut registers = [0; 256];
            registers[0..2].copy_from_slice(&id[0].to_le_bytes());
            registers[2..4].copy_from_slice(&id[1].to_le_bytes());
            registers[8..12].copy_from_slice(&(class << 8).to_le_bytes());
            registers[0x0e] = header;
            registers[0x19..0x1b].copy_from_slice(&buses);
            let folder = format!("sys/bus/pci/devices/0000:{bdf}");
            self.put(&format!("{folder}/config"), &registers);
            self.put(&format!("{folder}/resource"), "0x0 0x0 0x0\n".repeat(7).as_bytes());
        }

        fn table(&self, name: &str, body: &[u8]) {
            let mut table = name.as_bytes().to_vec();
            table.extend(u32::try_from(36 + body.len()).expect("a short table").to_le_bytes());
            table.extend([1, 0]);
            table.resize(36, b'M');
            table.extend(body);
            table[9] = table.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
            self.put(&format!("sys/firmware/acpi/tables/{name}"), &table);
        }
    }

    impl Drop for Notebook {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn aliases_a_card_is_behind_its_socket_and_in_its_group() {
        let notebook = Notebook::new();
        let platform = read(&notebook.0).expect("a machine");
        assert_eq!(platform.findings, []);
        let paths: Vec<String> = platform.functions.iter().map(|it| it.path.to_string()).collect();
        let expected = ["00:00.0", "00:1e.0", "00:1e.0/03.0", "00:1e.0/03.0/00.0", "00:1e.0/03.4"];
        assert_eq!(paths, expected);
        let text = "[guest.a]\ncpus = [1]\nmemory = \"64 MiB\"\nkernel = \"k\"\n[[guest.a.pci]]\nslot = \"01.0\"\n\
                    passthrough = { path = \"00:1e.0/03.0/00.0\", id = \"10b7:6001\" }\n[guest.b]\ncpus = [2]\n\
                    memory = \"64 MiB\"\nkernel = \"k\"\n[[guest.b.pci]]\nslot = \"01.0\"\n\
                    passthrough = { path = \"00:1e.0/03.4\", id = \"1217:00f7\" }\n";
        let (config, _) = plan::text::parse(text).expect("a configuration");
        let plan = plan::build(&config, &platform, &|_: FileRef<'_>| true);
        let told: Vec<String> = plan.all_problems().map(ToString::to_string).collect();
        let apart = "00:1e.0/03.4 cannot be kept apart from 00:1e.0/03.0/00.0 of guest `a`: both are behind the PCI \
                     bridge 00:1e.0, which hides from the IOMMU who is who; give both to the same guest";
        assert!(told.iter().any(|problem| problem.ends_with(apart)), "{told:#?}");
    }
}
