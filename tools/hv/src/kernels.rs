//! What guests start from, made of their files; and whether that can be done.

use anyhow::{Context, Result, anyhow};
use firmware::{GuestFiles, LoadError, Prepared};
use guest::layout::GuestLayout;
use plan::{GuestConfig, MEMORY_GRANULE, MOST_MEMORY, Memory, Problem};

use crate::config::Shelves;
use crate::payload;

/// Most bytes of a command line that Linux takes (`COMMAND_LINE_SIZE`, x86, less its zero): what
/// is known of the payload's kernel before it is made.
const LINUX_COMMAND_LINE: usize = 2047;

/// What is wrong with the files of a configuration's guests. `low_end` gives where a guest's
/// memory below 4 GiB ends. What cannot be prepared cannot be packed, so a guest that is expected to be
/// refused has to be refused for another reason.
pub fn problems(config: &plan::Config, shelves: &Shelves, low_end: &dyn Fn(&str) -> u64) -> Vec<Problem> {
    config
        .guest
        .iter()
        .flat_map(|(name, guest)| {
            let kernel = problem(name, guest, shelves, low_end(name));
            kernel.into_iter().chain(images(name, guest, shelves))
        })
        .collect()
}

/// What is wrong with the images of a guest's emulated drives, as far as they are there.
fn images(name: &str, guest: &GuestConfig, shelves: &Shelves) -> Vec<Problem> {
    let bytes = |file: &str| Some(std::fs::metadata(shelves.find(file)?).ok()?.len());
    let empty = guest.images().filter(|(_, image)| bytes(image) == Some(0));
    empty
        .map(|(place, ..)| Problem {
            path: format!("guest.{name}.{place}.image"),
            message: "the image is empty, and a drive has a block at least".to_owned(),
            help: "name a file with a file system, or with the contents of a disk".to_owned(),
        })
        .collect()
}

/// A guest's files, as far as they are there.
struct Files {
    kernel: Option<Vec<u8>>,
    initrd: Option<Vec<u8>>,
    modules: Vec<(String, Vec<u8>)>,
}

impl Files {
    fn read(guest: &GuestConfig, shelves: &Shelves) -> Self {
        let read = |name: &str| shelves.find(name).and_then(|path| std::fs::read(path).ok());
        Self {
            kernel: read(&guest.kernel),
            initrd: guest.initrd.as_deref().and_then(read),
            modules: guest.modules.iter().filter_map(|name| Some((name.clone(), read(name)?))).collect(),
        }
    }

    fn prepare(
        &self,
        guest: &GuestConfig,
        layout: &GuestLayout,
        kernel: &[u8],
    ) -> Result<Prepared, LoadError> {
        let modules: Vec<(&str, &[u8])> =
            self.modules.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
        let files = GuestFiles {
            kernel,
            initrd: self.initrd.as_deref(),
            modules: &modules,
            command_line: &guest.command_line,
            has_display: guest.emulated().any(|(.., model)| model == plan::Model::BochsDisplay),
        };
        firmware::prepare(layout, files)
    }
}

fn problem(name: &str, guest: &GuestConfig, shelves: &Shelves, low_end: u64) -> Option<Problem> {
    let files = Files::read(guest, shelves);
    // What is wrong with memory and processors has been said.
    let layout = layout(guest, guest.memory)?;
    let told = |key: &str, message: String, help: String| Problem {
        path: format!("guest.{name}.{key}"),
        message,
        help,
    };
    let Some(kernel) = &files.kernel else {
        return unmade(guest, &files).map(|(key, message, help)| told(key, message, help));
    };
    let prepared = files.prepare(guest, &layout, kernel);
    let error = prepared.and_then(|prepared| prepared.fits(low_end)).err()?;
    let (key, help) = match error {
        LoadError::CommandLine(most) => ("command_line", format!("shorten it to {most} bytes")),
        // The configuration's own rules have said it.
        LoadError::Zero("the command line") => return None,
        LoadError::TooLittleMemory { .. } => ("memory", more_memory(guest, &files, kernel, low_end)),
        LoadError::NoRoom { what: "the initrd", .. } => {
            ("initrd", more_memory(guest, &files, kernel, low_end))
        }
        LoadError::NoRoom { what: "a module", .. } => {
            ("modules", more_memory(guest, &files, kernel, low_end))
        }
        LoadError::NoRoom { .. } | LoadError::Overlap { .. } => {
            ("kernel", more_memory(guest, &files, kernel, low_end))
        }
        _ => ("kernel", "use a Linux bzImage, an ELF with a PVH note, or a multiboot 1 kernel".to_owned()),
    };
    Some(told(key, error.to_string(), help))
}

/// What is wrong however the payload's kernel will turn out.
fn unmade(guest: &GuestConfig, files: &Files) -> Option<(&'static str, String, String)> {
    if !payload::outputs().any(|made| made == guest.kernel) {
        return None;
    }
    let bytes = files.initrd.as_ref().map_or(0, Vec::len) as u64;
    if guest.command_line.len() > LINUX_COMMAND_LINE {
        let message = LoadError::CommandLine(LINUX_COMMAND_LINE as u64).to_string();
        return Some(("command_line", message, format!("shorten it to {LINUX_COMMAND_LINE} bytes")));
    }
    (bytes >= guest.memory.bytes()).then(|| {
        let message = format!("the initrd has {bytes} bytes, and the guest {} of memory", guest.memory);
        let least = Memory(bytes.next_multiple_of(MEMORY_GRANULE.bytes()));
        ("initrd", message, format!("give the guest more than \"{least}\""))
    })
}

/// The layout of a guest with so much memory; what the boot finds out is not in it.
fn layout(guest: &GuestConfig, memory: Memory) -> Option<GuestLayout> {
    GuestLayout::new(memory.bytes(), u32::try_from(guest.cpus.len()).ok()?).ok()
}

/// The image that a guest starts from, made of its files. What is wrong with them, [`problems`] tells.
///
/// # Errors
/// A sentence.
pub fn start_image(guest: &GuestConfig, shelves: &Shelves) -> Result<Vec<u8>> {
    let layout =
        layout(guest, guest.memory).context("its memory or its processors are too many or too few")?;
    let files = Files::read(guest, shelves);
    let kernel = files.kernel.as_ref().with_context(|| format!("there is no file {}", guest.kernel))?;
    let prepared = files.prepare(guest, &layout, kernel).map_err(|error| anyhow!("{error}"))?;
    Ok(prepared.into_image())
}

/// The least memory with which the guest would be loaded: loading with more than enough works
/// too, so it is found by halves.
fn more_memory(guest: &GuestConfig, files: &Files, kernel: &[u8], low_end: u64) -> String {
    let granule = MEMORY_GRANULE.bytes();
    let loads = |granules: u64| {
        let prepared = layout(guest, Memory(granules * granule))
            .and_then(|layout| files.prepare(guest, &layout, kernel).ok());
        prepared.is_some_and(|prepared| prepared.fits(low_end).is_ok())
    };
    // Kernels and what comes with them are below 4 GiB.
    let most = (4 << 30).min(MOST_MEMORY.bytes()) / granule;
    let (mut too_little, mut enough) = (guest.memory.bytes() / granule, most);
    if !loads(enough) {
        return "use a smaller one, or another kernel".to_owned();
    }
    while enough - too_little > 1 {
        let middle = too_little.midpoint(enough);
        if loads(middle) { enough = middle } else { too_little = middle }
    }
    format!("give the guest \"{}\" or more", Memory(enough * granule))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::config::Source;
    use std::path::PathBuf;

    /// A bzImage (Linux `Documentation/arch/x86/boot.rst`) of 64-bit, relocatable, at 16 MiB.
    pub fn bzimage() -> Vec<u8> {
        let mut file = vec![0; 0x1000];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x1f1, &[1]);
        put(0x1f4, &0xc0_u32.to_le_bytes());
        put(0x1fe, &[0x55, 0xaa, 0xeb, 0x66]);
        put(0x202, b"HdrS");
        put(0x206, &0x20f_u16.to_le_bytes());
        put(0x211, &[1]);
        put(0x22c, &0x7fff_ffff_u32.to_le_bytes());
        put(0x230, &0x20_0000_u32.to_le_bytes());
        put(0x234, &[1, 21, 1, 0]);
        put(0x238, &2047_u32.to_le_bytes());
        put(0x258, &0x100_0000_u64.to_le_bytes());
        put(0x260, &0x300_0000_u32.to_le_bytes());
        file
    }

    /// What is wrong with a guest whose keys besides its processor are `keys`.
    fn told(name: &str, keys: &str) -> Vec<String> {
        let folder: PathBuf = std::env::temp_dir().join(format!("hv-kernels-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder in the temporary one");
        std::fs::write(folder.join("image"), bzimage()).expect("written");
        std::fs::write(folder.join("archive"), b"070701 and more of an initrd").expect("written");
        std::fs::write(folder.join("large"), vec![0; 100 << 20]).expect("written");
        let text = format!("[guest.a]\ncpus = [1]\n{keys}");
        let source = Source::parse(text, "x.toml".to_owned()).expect("a configuration");
        let found = problems(&source.config, &Shelves::new([folder.clone()]), &|_| 0xc000_0000);
        std::fs::remove_dir_all(&folder).expect("removed");
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_fits_is_fine() {
        let keys = "memory = \"256 MiB\"\nkernel = \"image\"\ninitrd = \"large\"\ncommand_line = \"quiet\"\n";
        assert_eq!(told("fits", keys), [""; 0]);
        assert_eq!(told("none", "memory = \"256 MiB\"\nkernel = \"nothing\"\n"), [""; 0], "said elsewhere");
    }

    #[test]
    fn what_the_loader_refuses_is_told_before() {
        let line = format!("command_line = \"{}\"", "x".repeat(3000));
        for (name, keys, expected) in [
            (
                "line",
                format!("memory = \"256 MiB\"\nkernel = \"image\"\n{line}\n"),
                "guest.a.command_line: the command line is longer than 2047 bytes; shorten it to 2047 bytes",
            ),
            (
                "initrd",
                "memory = \"80 MiB\"\nkernel = \"image\"\ninitrd = \"large\"\n".to_owned(),
                "guest.a.initrd: the initrd (104857600 bytes at gpa 0x100000) does not fit into the guest's memory; give the \
                 guest \"164 MiB\" or more",
            ),
            (
                "unpack",
                "memory = \"32 MiB\"\nkernel = \"image\"\n".to_owned(),
                "guest.a.memory: the kernel unpacks itself into 50331648 bytes at gpa 0x1000000, so its guest needs 64 MiB \
                 of memory at least; give the guest \"64 MiB\" or more",
            ),
            (
                "cpio",
                "memory = \"64 MiB\"\nkernel = \"archive\"\n".to_owned(),
                "guest.a.kernel: the kernel is no bzImage, no ELF with a PVH note, and has no multiboot header; use a Linux \
                 bzImage, an ELF with a PVH note, or a multiboot 1 kernel",
            ),
        ] {
            assert_eq!(told(name, &keys), [expected]);
        }
        // Who expects to be refused is, but not before there is a bundle.
        let keys = "memory = \"64 MiB\"\nkernel = \"archive\"\nexpect = \"refused\"\n";
        assert!(told("expected", keys)[0].starts_with("guest.a.kernel: the kernel is no bzImage"));
    }

    #[test]
    fn of_a_payload_that_is_not_made_yet_something_is_known() {
        let line = format!("command_line = \"{}\"", "x".repeat(3000));
        let found = told("unmade", &format!("memory = \"256 MiB\"\nkernel = \"vmlinuz\"\n{line}\n"));
        assert!(
            found[0].starts_with("guest.a.command_line: the command line is longer than 2047 bytes"),
            "{found:?}"
        );
        let found = told("small", "memory = \"64 MiB\"\nkernel = \"vmlinuz\"\ninitrd = \"large\"\n");
        assert!(found[0].starts_with("guest.a.initrd: the initrd has 104857600 bytes"), "{found:?}");
    }
}
