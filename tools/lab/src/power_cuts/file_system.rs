//! ext4 file systems in files of the host, by the programs of e2fsprogs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::records::Files;

/// Where the programs are, which are on no user's path.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/bin"];

/// Blocks of a file system. Its journal, in MiB, is the smallest that there is with such blocks: it
/// goes round several times.
const BLOCK_BYTES: usize = 1024;
const JOURNAL_MIB: usize = 1;
/// Files that it has room for.
const INODES: &str = "256";

/// What `debugfs` writes before what each of its commands gives.
const PROMPT: &[u8] = b"debugfs: cat ";

/// The programs.
pub struct Tools {
    mke2fs: PathBuf,
    e2fsck: PathBuf,
    debugfs: PathBuf,
}

impl Tools {
    /// Looks for them.
    ///
    /// # Errors
    /// One is not installed.
    pub fn find() -> Result<Self> {
        let find = |name: &str| {
            let paths = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
            let found = paths.into_iter().find(|path| path.is_file());
            found.with_context(|| format!("no {name} here (Debian package e2fsprogs)"))
        };
        Ok(Self { mke2fs: find("mke2fs")?, e2fsck: find("e2fsck")?, debugfs: find("debugfs")? })
    }

    /// Makes a file system of `bytes` bytes with these files, at `image`. It has no checksums: they
    /// are over blocks of two sectors, such as the superblock, and where a drive tears one, ext4 takes
    /// the file system for broken; without them it is made for drives that write whole sectors. `scratch` names a folder
    /// that is not there yet.
    ///
    /// # Errors
    /// The program fails.
    pub fn make(&self, image: &Path, bytes: usize, files: &Files, scratch: &Path) -> Result<()> {
        std::fs::create_dir_all(scratch)?;
        for (name, contents) in files {
            std::fs::write(scratch.join(name), contents)?;
        }
        let journal = format!("size={JOURNAL_MIB}");
        let mut command = Command::new(&self.mke2fs);
        command.args(["-q", "-F", "-t", "ext4", "-b", &BLOCK_BYTES.to_string(), "-J", &journal, "-m", "0"]);
        command.args(["-O", "^metadata_csum", "-N", INODES]);
        // The same input gives the same bytes.
        command.args(["-U", "00000000-0000-0000-0000-000000000003"]).env("SOURCE_DATE_EPOCH", "0");
        const SEED: &str = "hash_seed=00000000-0000-0000-0000-000000000001";
        let options = format!("lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,{SEED}");
        command.args(["-E", &options, "-d"]);
        command.arg(scratch).arg(image).arg((bytes / BLOCK_BYTES).to_string());
        let output = run(&mut command)?;
        std::fs::remove_dir_all(scratch)?;
        ensure!(output.status.success(), "mke2fs: {}", said(&output));
        Ok(())
    }

    /// Does what a system does that finds the file system after a power cut, by its journal alone,
    /// and then looks for errors, of which there may be none.
    ///
    /// # Errors
    /// What was found.
    pub fn check(&self, image: &Path) -> Result<()> {
        let replayed = run(Command::new(&self.e2fsck).args(["-E", "journal_only", "-p"]).arg(image))?;
        let text = String::from_utf8_lossy(&replayed.stdout).into_owned();
        let is_replay = |line: &str| line.is_empty() || line.ends_with(": recovering journal");
        // 1: something was written, which is what the journal held. Nothing else may be mended.
        let is_good = matches!(replayed.status.code(), Some(0 | 1)) && text.lines().all(is_replay);
        ensure!(is_good, "e2fsck: {}", said(&replayed));
        let checked = run(Command::new(&self.e2fsck).arg("-fn").arg(image))?;
        ensure!(checked.status.success(), "e2fsck -fn: {}", said(&checked));
        Ok(())
    }

    /// Reads those files that are there, out of the file system's top. `commands` names a file for
    /// what the program is told.
    ///
    /// # Errors
    /// The program fails.
    pub fn read(&self, image: &Path, names: &[String], commands: &Path) -> Result<Files> {
        let text: String = names.iter().map(|name| format!("cat {name}\n")).collect();
        std::fs::write(commands, text)?;
        let output = run(Command::new(&self.debugfs).arg("-f").arg(commands).arg(image))?;
        ensure!(output.status.success(), "debugfs: {}", said(&output));
        let missing = missing(&output.stderr);
        let mut files = contents(&output.stdout)?;
        ensure!(files.len() == names.len(), "debugfs gave {} of {} files", files.len(), names.len());
        files.retain(|name, _| !missing.contains(name));
        Ok(files)
    }
}

/// Runs a program to its end.
fn run(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_owned();
    let name = Path::new(&name).file_name().unwrap_or(OsStr::new("?")).to_owned();
    let output = command.stdin(Stdio::null()).output();
    output.with_context(|| format!("cannot start {}", name.display()))
}

/// What a program said, in one line.
fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    format!("{} ({})", lines.join("; "), output.status)
}

/// Splits what `debugfs` gave, in which each file follows the command for it.
fn contents(mut output: &[u8]) -> Result<Files> {
    let mut files = Files::new();
    let find = |bytes: &[u8]| bytes.windows(PROMPT.len()).position(|window| window == PROMPT);
    let Some(first) = find(output) else { return Ok(files) };
    output = output.get(first..).unwrap_or_default();
    while let Some(rest) = output.strip_prefix(PROMPT) {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { bail!("debugfs was cut short") };
        let (name, rest) = rest.split_at(end);
        let rest = rest.get(1..).unwrap_or_default();
        let (text, next) = rest.split_at(find(rest).unwrap_or(rest.len()));
        files.insert(String::from_utf8_lossy(name).into_owned(), text.to_vec());
        output = next;
    }
    Ok(files)
}

/// The names in lines like `r7: File not found by ext2_lookup`.
fn missing(errors: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(errors);
    let lines = text.lines().filter(|line| line.contains("not found"));
    lines.filter_map(|line| line.split_once(':')).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_split_where_the_next_command_is() {
        let output = b"debugfs 1.47\ndebugfs: cat a\none\ntwo\ndebugfs: cat b\ndebugfs: cat c\nendless";
        let files = contents(output).unwrap();
        let text = |name: &str| String::from_utf8_lossy(&files[name]).into_owned();
        assert_eq!((text("a"), text("b"), text("c")), ("one\ntwo\n".into(), String::new(), "endless".into()));
        assert!(contents(b"").unwrap().is_empty());
        assert!(contents(b"debugfs: cat x").is_err());
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(missing(b"debugfs 1.47.0\nr7: File not found by ext2_lookup \n"), ["r7"]);
    }

    /// With the programs, where they are: a file system that is whole, and one that is not.
    #[test]
    fn a_file_system_is_made_checked_and_read() {
        let Ok(tools) = Tools::find() else { return };
        let folder = std::env::temp_dir().join(format!("lab-ext4-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let image = folder.join("image");
        let files: Files = [("a".to_owned(), b"text\n".repeat(900)), ("b".to_owned(), vec![])].into();
        tools.make(&image, 4 << 20, &files, &folder.join("files")).unwrap();
        tools.check(&image).unwrap();
        let names = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(tools.read(&image, &names, &folder.join("commands")).unwrap(), files);

        let mut bytes = std::fs::read(&image).unwrap();
        // All that comes behind the superblock, the inodes among it.
        bytes[2 << 10..1 << 20].fill(0x55);
        std::fs::write(&image, bytes).unwrap();
        tools.check(&image).unwrap_err();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
