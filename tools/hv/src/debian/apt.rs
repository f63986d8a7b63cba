//! apt's programs with a configuration of our own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::sources::Source;
use crate::process;
use crate::progress::Step;
use crate::project::make_folder;

/// `apt-get install`, without what is merely recommended.
pub const INSTALL: [&str; 3] = ["install", "-y", "--no-install-recommends"];

/// Waits before the second and later attempts at something that needs the network.
const PAUSES: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(8), Duration::from_secs(20)];

/// Writes the private configuration below `folder`, and nothing that is already the same.
pub fn write_configuration(folder: &Path, sources: &[Source]) -> Result<()> {
    for part in ["sources", "lists/partial", "cache/archives/partial"] {
        make_folder(&folder.join(part))?;
    }
    let stanzas: String = sources.iter().map(Source::stanza).collect();
    write_if_changed(&sources_file(folder), &stanzas)?;
    write_if_changed(&configuration_file(folder), &configuration(folder))
}

/// The text of the private sources.
pub fn read_sources(folder: &Path) -> Result<String> {
    let path = sources_file(folder);
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// One of apt's programs over the private configuration.
pub fn command(folder: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    configure(&mut command, folder);
    command
}

/// `apt-get` with the right to install, if this user has it without being asked.
pub fn privileged(folder: &Path) -> Option<Command> {
    let output = process::output(Command::new("id").arg("-u")).ok()?;
    let mut command = if output.trim() == "0" {
        Command::new("apt-get")
    } else {
        let quiet = |mut sudo: Command| sudo.stdin(Stdio::null()).stderr(Stdio::null()).status();
        let mut probe = Command::new("sudo");
        probe.args(["-n", "true"]);
        quiet(probe).ok().filter(std::process::ExitStatus::success)?;
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        sudo
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    configure(&mut command, folder);
    Some(command)
}

/// Tries again after a pause: archives and networks have short absences.
pub fn retry(step: &mut Step, mut attempt: impl FnMut(&mut Step) -> Result<()>) -> Result<()> {
    for pause in PAUSES {
        let Err(error) = attempt(step) else { return Ok(()) };
        let first = error.to_string().lines().last().unwrap_or_default().to_owned();
        step.note(&format!("once more in {} s after: {first}", pause.as_secs()));
        std::thread::sleep(pause);
    }
    attempt(step)
}

fn configure(command: &mut Command, folder: &Path) {
    command.arg("-c").arg(configuration_file(folder)).env("LC_ALL", "C");
}

fn sources_file(folder: &Path) -> PathBuf {
    folder.join("sources/bulkhead.sources")
}

fn configuration_file(folder: &Path) -> PathBuf {
    folder.join("apt.conf")
}

/// Read by apt after the machine's own configuration, so that proxies and the like stay.
fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "// Written by `cargo hv`. Lists and cache of its own; the machine's stay as they are.\n\
         Dir::Etc::sourcelist \"/dev/null\";\n\
         Dir::Etc::sourceparts \"{folder}/sources\";\n\
         Dir::State::lists \"{folder}/lists\";\n\
         Dir::Cache \"{folder}/cache\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::Retries \"3\";\n\
         // Other users cannot enter the cache of this one, apt's own included.\n\
         APT::Sandbox::User \"root\";\n\
         DPkg::Lock::Timeout \"600\";\n\
         // Extra indexes (icons, metadata) and hooks belong to the machine's own lists.\n\
         #clear Acquire::IndexTargets::deb::DEP-11;\n\
         #clear Acquire::IndexTargets::deb::DEP-11-icons;\n\
         #clear Acquire::IndexTargets::deb::DEP-11-icons-small;\n\
         #clear Acquire::IndexTargets::deb::DEP-11-icons-large;\n\
         #clear Acquire::IndexTargets::deb::DEP-11-icons-hidpi;\n\
         #clear Acquire::IndexTargets::deb::CNF;\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n"
    )
}

fn write_if_changed(path: &Path, text: &str) -> Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_passes_is_forgotten() {
        let mut step = Step::start("retrying");
        let mut left = 1;
        let result = retry(&mut step, |_| {
            if left == 0 {
                return Ok(());
            }
            left -= 1;
            anyhow::bail!("absent")
        });
        step.done("");
        assert!(result.is_ok());
    }

    #[test]
    fn everything_apt_writes_is_below_the_folder() {
        let text = configuration(Path::new("/cache/apt"));
        for key in ["Dir::State::lists", "Dir::Cache ", "Dir::Etc::sourceparts"] {
            let line = text.lines().find(|line| line.starts_with(key)).expect("the key is set");
            assert!(line.contains("\"/cache/apt/"), "{line}");
        }
    }
}
