//! Which processor boots, and which are threads of one core, as Linux shows it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};

/// How many of the lowest bits of an APIC ID number the threads of a core.
///
/// # Errors
/// When the file cannot be read.
pub fn thread_bits(cpuinfo: &Path) -> Result<u8> {
    let text = std::fs::read_to_string(cpuinfo)
        .with_context(|| format!("cannot read the processors from {}", cpuinfo.display()))?;
    Ok(bits(&text))
}

/// How many bits a physical address has; 0 where Linux does not tell.
///
/// # Errors
/// When the file cannot be read.
pub fn address_bits(cpuinfo: &Path) -> Result<u8> {
    let text = std::fs::read_to_string(cpuinfo)
        .with_context(|| format!("cannot read the processors from {}", cpuinfo.display()))?;
    Ok(physical_bits(&text))
}

/// Whether the processors have RDSEED or RDRAND.
///
/// # Errors
/// When the file cannot be read.
pub fn random_numbers(cpuinfo: &Path) -> Result<Option<bool>> {
    let text = std::fs::read_to_string(cpuinfo)
        .with_context(|| format!("cannot read the processors from {}", cpuinfo.display()))?;
    Ok(has_random_numbers(&text))
}

/// Of several processors, what all have; `None` where no features are told.
fn has_random_numbers(cpuinfo: &str) -> Option<bool> {
    let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let features = fields.filter(|(name, _)| name.trim() == "flags");
    let has =
        features.map(|(_, flags)| flags.split_whitespace().any(|flag| matches!(flag, "rdseed" | "rdrand")));
    has.reduce(|all, one| all && one)
}

/// Of several processors, what all reach.
fn physical_bits(cpuinfo: &str) -> u8 {
    let sizes = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let sizes = sizes.filter(|(name, _)| name.trim() == "address sizes");
    let bits = sizes.filter_map(|(_, sizes)| sizes.split_whitespace().next()?.parse().ok());
    bits.min().unwrap_or(0)
}

/// Whether what guests execute has to be in pages of 4 KiB (CVE-2018-12207), as Linux tells in
/// `vulnerability`. A Linux that does not know, nobody knows of: then it is assumed where it could
/// be, by the hypervisor itself at boot.
pub fn small_code_pages(vulnerability: &Path) -> bool {
    std::fs::read_to_string(vulnerability).is_ok_and(|text| names_vulnerability(&text))
}

fn names_vulnerability(text: &str) -> bool {
    !text.trim_start().starts_with("Not affected")
}

/// The APIC ID of the processor that boots the machine, which Linux numbers 0; `None` where it
/// is not told.
///
/// # Errors
/// When the file cannot be read.
pub fn boot_processor(cpuinfo: &Path) -> Result<Option<u32>> {
    let text = std::fs::read_to_string(cpuinfo)
        .with_context(|| format!("cannot read the processors from {}", cpuinfo.display()))?;
    let boots = |processor: &&str| number(processor, "processor") == Some(0);
    Ok(text.split("\n\n").find(boots).and_then(|processor| number(processor, "apicid")))
}

/// The number that a processor's lines give for `key`.
fn number(processor: &str, key: &str) -> Option<u32> {
    let mut fields = processor.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(name, _)| name.trim() == key)?.1.trim().parse().ok()
}

/// Processors of one package and core are its threads: their APIC IDs differ in the bits that
/// are asked for. Cores of other kinds may have fewer threads, so all are looked at. A processor
/// of which not everything is told is left out.
fn bits(cpuinfo: &str) -> u8 {
    let mut first_threads = BTreeMap::new();
    let differing = cpuinfo.split("\n\n").filter_map(|processor| {
        let number = |key| number(processor, key);
        let apic_id = number("apicid")?;
        let first = *first_threads.entry((number("physical id")?, number("core id")?)).or_insert(apic_id);
        Some(apic_id ^ first)
    });
    let differing = differing.fold(0, |all, bits| all | bits);
    (u32::BITS - differing.leading_zeros()) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Package, core and APIC ID of each processor, as Linux writes them.
    fn cpuinfo(processors: &[(u32, u32, u32)]) -> String {
        let processors = processors.iter().enumerate().map(|(index, (package, core, apic_id))| {
            format!(
                "processor\t: {index}\nphysical id\t: {package}\nsiblings\t: 4\ncore id\t\t: {core}\n\
                 apicid\t\t: {apic_id}\ninitial apicid\t: {apic_id}\nflags\t\t: fpu: vme\n\n"
            )
        });
        processors.collect()
    }

    #[test]
    fn linux_tells_how_many_bits_an_address_has() {
        let line =
            |bits: u8| format!("flags\t: fpu\naddress sizes\t: {bits} bits physical, 48 bits virtual\n\n");
        assert_eq!(physical_bits(&(line(39) + &line(36))), 36);
        assert_eq!(physical_bits("flags\t: fpu\n"), 0);
    }

    #[test]
    fn linux_tells_whether_there_are_random_numbers() {
        assert_eq!(has_random_numbers(""), None);
        assert_eq!(has_random_numbers("flags\t\t: fpu vme\n"), Some(false));
        assert_eq!(has_random_numbers("flags\t\t: fpu rdrand\n\nflags\t\t: fpu rdseed\n"), Some(true));
        assert_eq!(has_random_numbers("flags\t\t: rdrand\n\nflags\t\t: fpu\n"), Some(false));
    }

    #[test]
    fn linux_tells_whether_pages_of_code_have_to_be_small() {
        assert!(!small_code_pages(Path::new("/nowhere/itlb_multihit")), "an old Linux");
        for (text, small) in [
            ("Not affected\n", false),
            ("KVM: Mitigation: VMX disabled\n", true),
            ("KVM: Mitigation: Split huge pages\n", true),
            ("Processor vulnerable\n", true),
        ] {
            assert_eq!(names_vulnerability(text), small, "{text}");
        }
    }

    #[test]
    fn linux_numbers_the_processor_that_boots_0() {
        let file = std::env::temp_dir().join(format!("hv-cpuinfo-{}", std::process::id()));
        std::fs::write(&file, cpuinfo(&[(0, 32, 0), (0, 8, 16), (0, 8, 17)])).expect("written");
        assert_eq!(boot_processor(&file).expect("readable"), Some(0));
        std::fs::write(&file, cpuinfo(&[(0, 8, 16), (0, 32, 0)])).expect("written");
        assert_eq!(boot_processor(&file).expect("readable"), Some(16));
        std::fs::write(&file, "").expect("written");
        assert_eq!(boot_processor(&file).expect("readable"), None);
        std::fs::remove_file(&file).expect("removed");
    }

    #[test]
    fn cores_of_one_thread_need_no_bit() {
        assert_eq!(bits(&cpuinfo(&[(0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 3)])), 0);
    }

    #[test]
    fn threads_of_one_core_differ_in_the_lowest_bit() {
        assert_eq!(bits(&cpuinfo(&[(0, 0, 0), (0, 4, 8), (0, 0, 1), (0, 4, 9)])), 1);
        // Other cores beside them have one thread only.
        assert_eq!(bits(&cpuinfo(&[(0, 0, 0), (0, 0, 1), (0, 8, 16), (0, 9, 18)])), 1);
        assert_eq!(bits(&cpuinfo(&[(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3)])), 2, "four threads");
    }

    #[test]
    fn nothing_is_known_of_processors_that_are_not_told() {
        assert_eq!(bits(""), 0);
        assert_eq!(bits("processor\t: 0\napicid\t\t: 1\n\nprocessor\t: 1\napicid\t\t: 0\n"), 0);
    }
}
