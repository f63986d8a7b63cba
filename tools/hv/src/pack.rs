//! Packing: a configuration and every file that it names, in one bundle.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use handoff::{Builder, ItemKind};

use crate::config::{Shelves, Source};
use crate::kernels;
use crate::symbols;

/// What is built of the hypervisor for a bundle.
#[derive(Clone, Copy)]
pub struct Built<'a> {
    /// Its ELF, whose symbols go into the bundle.
    pub hypervisor: &'a Path,
    /// The program of compartments, as it is in a bundle.
    pub program: &'a Path,
}

/// Packs `source` with what is `built` of the hypervisor into the bundle at `output`;
/// gives the bundle's size in bytes.
///
/// # Errors
/// When the configuration or a file that it names is not in order.
pub fn pack(source: &Source, shelves: &Shelves, built: Built<'_>, output: &Path) -> Result<usize> {
    let has_file = |file: plan::FileRef<'_>| shelves.find(file.name).is_some();
    let problems = plan::check_without_machine(&source.config, &has_file);
    if !problems.is_empty() {
        return Err(source.refuse(problems.iter()).into());
    }
    // On which machine the bundle will be is not known, so memory is where it usually is.
    let problems = kernels::problems(&source.config, shelves, &|_| u64::MAX);
    if !problems.is_empty() {
        return Err(source.refuse(problems.iter()).into());
    }
    let bytes = build(&source.config, shelves, built)?;
    std::fs::write(output, &bytes).with_context(|| format!("cannot write {}", output.display()))?;
    Ok(bytes.len())
}

fn build(config: &plan::Config, shelves: &Shelves, built: Built<'_>) -> Result<Vec<u8>> {
    let mut builder = Builder::new(config).map_err(|error| anyhow!("{error}"))?;
    let mut add = |kind, guest: &str, name: &str, contents| {
        builder.add(kind, guest, name, contents).map_err(|error| anyhow!("{error}"))
    };
    for (name, guest) in &config.guest {
        add(ItemKind::Kernel, name, &guest.kernel, read(shelves, &guest.kernel)?)?;
        if let Some(initrd) = &guest.initrd {
            add(ItemKind::Initrd, name, initrd, read(shelves, initrd)?)?;
        }
        for module in &guest.modules {
            add(ItemKind::Module, name, module, read(shelves, module)?)?;
        }
        let image = kernels::start_image(guest, shelves).with_context(|| format!("guest {name}"))?;
        add(ItemKind::Start, name, "start", image)?;
        let mut images: Vec<&str> = guest.images().map(|(_, image)| image).collect();
        images.sort_unstable();
        images.dedup();
        for image in images {
            add(ItemKind::Image, name, image, read(shelves, image)?)?;
        }
    }
    add(ItemKind::Program, "", "models", read_path(built.program)?)?;
    add(ItemKind::Symbols, "", "symbols", symbols::table(&read_path(built.hypervisor)?)?)?;
    builder.build().map_err(|error| anyhow!("{error}"))
}

fn read(shelves: &Shelves, name: &str) -> Result<Vec<u8>> {
    let path = shelves.find(name).with_context(|| format!("there is no file {name}"))?;
    read_path(&path)
}

fn read_path(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
[guest.one]
cpus = [1]
memory = \"96 MiB\"
kernel = \"image\"
initrd = \"disk\"
";

    /// A folder with the files `image` and `disk`, and a configuration that names them.
    fn scene(name: &str) -> (std::path::PathBuf, Source) {
        let folder = std::env::temp_dir().join(format!("hv-pack-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder in the temporary one");
        std::fs::write(folder.join("image"), kernels::tests::bzimage()).expect("written");
        std::fs::write(folder.join("disk"), b"initrd's bytes").expect("written");
        std::fs::write(folder.join("program"), b"runs in ring 3").expect("written");
        (folder, Source::parse(CONFIG.to_owned(), "x.toml".to_owned()).expect("a configuration"))
    }

    /// Packs what is in `folder`, where any ELF will do for the hypervisor's.
    fn pack_in(folder: &Path, source: &Source) -> Result<Vec<u8>> {
        let (hypervisor, program) = (std::env::current_exe().expect("a path"), folder.join("program"));
        let built = Built { hypervisor: &hypervisor, program: &program };
        let output = folder.join("bundle");
        pack(source, &Shelves::new([folder.to_path_buf()]), built, &output)?;
        Ok(std::fs::read(&output).expect("readable"))
    }

    #[test]
    fn the_bundle_holds_what_the_configuration_names() {
        let (folder, source) = scene("whole");
        let bytes = pack_in(&folder, &source).expect("packed");
        std::fs::remove_dir_all(&folder).expect("removed");
        let bundle = handoff::Bundle::parse(&bytes).expect("a bundle");
        let contents = |kind| bundle.find(kind, "one").map(|item| item.contents.to_vec());
        assert_eq!(contents(ItemKind::Kernel).as_deref(), Some(&kernels::tests::bzimage()[..]));
        assert_eq!(contents(ItemKind::Initrd).as_deref(), Some(&b"initrd's bytes"[..]));
        let start = contents(ItemKind::Start).expect("a start image");
        assert!(guest::start_image::StartImage::parse(&start).is_ok());
        assert_eq!(bundle.item(ItemKind::Program, ""), Some(&b"runs in ring 3"[..]));
    }

    #[test]
    fn what_would_not_load_is_not_packed() {
        let (folder, source) = scene("no-kernel");
        std::fs::write(folder.join("image"), b"070701 is an archive").expect("written");
        let error = pack_in(&folder, &source).expect_err("the kernel is none").to_string();
        std::fs::remove_dir_all(&folder).expect("removed");
        assert!(error.contains("x.toml:4:") && error.contains("the kernel is no bzImage"), "{error}");
    }

    #[test]
    fn an_image_is_packed_once_and_an_empty_one_refused() {
        let drive = |slot: &str| {
            format!(
                "[[guest.one.pci]]\nslot = \"{slot}\"\nemulate = \"nvme\"\nbacking = {{ image = \"root\" }}\n"
            )
        };
        let (folder, _) = scene("image");
        let text = [CONFIG, &drive("01.0"), &drive("02.0")].concat();
        let source = Source::parse(text, "x.toml".to_owned()).expect("a configuration");
        std::fs::write(folder.join("root"), b"").expect("written");
        let error = pack_in(&folder, &source).expect_err("the image is empty").to_string();
        std::fs::write(folder.join("root"), b"a file system").expect("written");
        let bytes = pack_in(&folder, &source).expect("packed");
        std::fs::remove_dir_all(&folder).expect("removed");
        assert!(error.contains("x.toml:9:") && error.contains("the image is empty"), "{error}");
        let bundle = handoff::Bundle::parse(&bytes).expect("a bundle");
        let images = bundle.items().iter().filter(|item| item.kind == ItemKind::Image);
        assert_eq!(images.map(|item| item.contents).collect::<Vec<_>>(), [b"a file system"]);
    }

    #[test]
    fn a_missing_file_is_told_with_its_line() {
        let (folder, source) = scene("missing");
        std::fs::remove_file(folder.join("disk")).expect("removed");
        let error = pack_in(&folder, &source).expect_err("the initrd is missing").to_string();
        std::fs::remove_dir_all(&folder).expect("removed");
        assert!(error.contains("x.toml:5:") && error.contains("`disk`"), "{error}");
    }
}
