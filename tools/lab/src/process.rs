//! Child processes that never outlive us.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often a child is asked whether it has ended.
const POLL: Duration = Duration::from_millis(5);

/// A child in a process group of its own. Dropping it kills the group.
#[derive(Debug)]
pub struct Group {
    child: Child,
    status: Option<ExitStatus>,
}

impl Group {
    /// Starts `program` with `arguments` and with `environment` added to ours; its
    /// standard error goes to the file `errors`, its input and output are closed.
    ///
    /// Where `setpriv` is there (util-linux), the kernel kills the child when the
    /// *thread* that called this ends, even by SIGKILL; so keep that thread.
    ///
    /// # Errors
    /// The program cannot be started or `errors` cannot be made.
    pub fn spawn<'a>(
        program: &Path,
        arguments: &[OsString],
        environment: impl Iterator<Item = (&'a str, &'a OsStr)>,
        errors: &Path,
    ) -> Result<Self> {
        Self::spawn_with_input(program, arguments, environment, Stdio::null(), errors)
    }

    /// The same with something on its standard input.
    ///
    /// # Errors
    /// As [`Self::spawn`].
    pub fn spawn_with_input<'a>(
        program: &Path,
        arguments: &[OsString],
        environment: impl Iterator<Item = (&'a str, &'a OsStr)>,
        input: Stdio,
        errors: &Path,
    ) -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut command = match crate::qemu::search(&path, "setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args([OsStr::new("--pdeathsig"), OsStr::new("KILL"), OsStr::new("--")]).arg(program);
                command
            }
            None => Command::new(program),
        };
        let errors =
            std::fs::File::create(errors).with_context(|| format!("cannot make {}", errors.display()))?;
        command.args(arguments).envs(environment).process_group(0);
        command.stdin(input).stdout(Stdio::null()).stderr(errors);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { child, status: None })
    }

    /// The status if the child has ended.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait().context("cannot ask for a child's status")?;
        }
        Ok(self.status)
    }

    /// Waits at most `timeout` for the end; `None` when that is not enough.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<ExitStatus>> {
        let end = Instant::now() + timeout;
        loop {
            if let Some(status) = self.status()? {
                return Ok(Some(status));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Kills the group and waits for the child. What has ended already stays so.
    pub fn kill(&mut self) {
        if self.status.is_some() {
            return;
        }
        // The child is not reaped yet, so its id still names its group.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.status = self.child.wait().ok();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Group {
        let errors = std::env::temp_dir().join(format!("lab-process-{}", std::process::id()));
        Group::spawn(Path::new("/bin/sh"), &["-c".into(), script.into()], std::iter::empty(), &errors)
            .unwrap()
    }

    #[test]
    fn reports_the_status() {
        let mut group = shell("exit 3");
        assert_eq!(group.wait(Duration::from_secs(10)).unwrap().unwrap().code(), Some(3));
    }

    #[test]
    fn dropping_kills_grandchildren_too() {
        let mark = std::env::temp_dir().join(format!("lab-grandchild-{}", std::process::id()));
        let group = shell(&format!("(sleep 60 & echo $! >{0}.new; mv {0}.new {0}; wait)", mark.display()));
        let end = Instant::now() + Duration::from_secs(10);
        while !mark.exists() && Instant::now() < end {
            std::thread::sleep(POLL);
        }
        let grandchild = std::fs::read_to_string(&mark).unwrap().trim().to_owned();
        drop(group);
        let alive = || {
            let state = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
            !state.is_empty() && !state.contains(") Z ")
        };
        while alive() && Instant::now() < end {
            std::thread::sleep(POLL);
        }
        assert!(!alive(), "process {grandchild} outlived its group");
        let _ = std::fs::remove_file(mark);
    }
}
