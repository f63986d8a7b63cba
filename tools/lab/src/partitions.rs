//! The partition table of a drive's image.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;

/// Writes a GPT with these partitions, each a name and a size in MiB, to an image of blocks of 512
/// bytes.
///
/// # Errors
/// They do not fit, or the image cannot be written.
pub fn write(image: &Path, partitions: &[(String, u64)]) -> Result<()> {
    let config =
        GptConfig::new().writable(true).initialized(false).logical_block_size(LogicalBlockSize::Lb512);
    let mut disk = config.open(image).with_context(|| format!("cannot open {}", image.display()))?;
    disk.update_partitions(BTreeMap::new())?;
    for (name, mib) in partitions {
        disk.add_partition(name, mib << 20, gpt::partition_types::LINUX_FS, 0, None)
            .with_context(|| format!("{name} of {mib} MiB does not fit into {}", image.display()))?;
    }
    disk.write().with_context(|| format!("cannot write {}", image.display()))?;
    Ok(())
}

/// Which bytes of an image its partitions are, in the order of their numbers.
///
/// # Errors
/// The image has no GPT, or cannot be read.
pub fn places(image: &Path) -> Result<Vec<std::ops::Range<u64>>> {
    let size = LogicalBlockSize::Lb512;
    let disk = GptConfig::new().writable(false).initialized(true).logical_block_size(size);
    let disk = disk.open(image).with_context(|| format!("cannot read {}", image.display()))?;
    let mut places = Vec::new();
    for partition in disk.partitions().values() {
        let start = partition.bytes_start(size)?;
        places.push(start..start + partition.bytes_len(size)?);
    }
    Ok(places)
}
