//! Linux + KVM as the reference of `cargo hv bench`: the first and only program of a Linux host,
//! which runs the bare-metal guest of the bench on `/dev/kvm` and powers the host off.
//!
//! The guest is the very one that measures Bulkhead, with the same rounds around the same
//! instructions. This monitor does as little as one can: the local APICs, the IOAPIC, the 8259As
//! and the 8254 are KVM's own, the UART and a few registers stand here, and each vCPU has a
//! processor to itself. A real monitor does more for each access, so what KVM is measured at here
//! is what it costs at least.
//!
//! The guest's console goes to the host's as `kvm| text`, which the lab reads like any guest's.

mod console;
mod machine;
mod multiboot;
mod registers;
mod vcpu;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::system::{RebootCommand, reboot};

/// Kernel modules, by names that sort in the order in which they load.
const MODULES: &str = "/modules";
/// The guest's multiboot image.
const GUEST: &str = "/guest";
/// What the guest is told; the same as under Bulkhead.
const COMMAND_LINE: &str = "bench cpus=2";

fn main() {
    if let Err(error) = measure() {
        console::line(&format!("FAILED: {error:#}"));
    }
    // Not as process 1 of a machine, it ends like any program.
    if std::process::id() == 1 {
        console::drain();
        let error = reboot(RebootCommand::PowerOff);
        console::line(&format!("FAILED: the host does not power off: {error:?}"));
        loop {
            std::thread::park();
        }
    }
}

fn measure() -> Result<()> {
    load_modules(Path::new(MODULES))?;
    let image = std::fs::read(GUEST).with_context(|| format!("cannot read {GUEST}"))?;
    machine::run(&image, COMMAND_LINE)
}

/// Loads every module of `folder`. The archive has both vendors' and the host's processor is of
/// one, so a module may find nothing to drive, or the other one in its place.
fn load_modules(folder: &Path) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    for file in files {
        let module = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        match rustix::system::init_module(&module, c"") {
            Ok(()) | Err(Errno::NODEV | Errno::OPNOTSUPP | Errno::EXIST) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot load {}", file.display())),
        }
    }
    Ok(())
}
