//! How long files are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The files of Rust in `folders` of `root` that have more than `longest` lines, in words.
///
/// # Errors
/// When a folder or a file cannot be read; that a folder is not there is none.
pub fn too_long(root: &Path, folders: &[&str], longest: usize) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for folder in folders.iter().map(|folder| root.join(folder)).filter(|folder| folder.exists()) {
        for file in in_folder(&folder)? {
            let text =
                std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let lines = text.lines().count();
            if lines > longest {
                let name = file.strip_prefix(root).unwrap_or(&file).display();
                found.push(format!("{name} has {lines} lines, and a file may have {longest}: divide it"));
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// All files of Rust below `folder`, but for what cargo has built there.
fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            files.extend(in_folder(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}
