//! A Bochs configuration under construction, and its start.

use super::Bochs;
use crate::process::Group;
use crate::running::{PrivateFolder, Running};
use anyhow::{Context, Result};
use std::ffi::OsStr;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

/// Bytes of a cylinder with the geometry that is configured, of which a disk has whole ones.
const CYLINDER_BYTES: u64 = HEADS * SECTORS * 512;
const HEADS: u64 = 16;
const SECTORS: u64 = 63;

/// Emulated instructions in a second of emulated time: the TSC's rate. With more, a wait for
/// time costs more instructions; with fewer, timers interrupt more often.
const INSTRUCTIONS_PER_SECOND: u32 = 200_000_000;

/// The emulator's own log in the folder of the logs, and its last words.
const LOG: &str = "bochs.log";
const ERRORS: &str = "bochs.err";

/// What Bochs says when the machine was switched off. Its status is 1 then, as it is when
/// it gives up.
const POWERED_OFF: [&str; 2] = ["Shutdown port: shutdown requested", "ACPI control: soft power off"];

/// The processors that tests use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CpuModel {
    /// VT-x with EPT, unrestricted guest, APIC virtualisation, posted interrupts.
    /// (With icelake and later, Linux 6.1 stalls.)
    Intel,
    /// AMD-V with nested paging, next RIP, flush by ASID, LBR virtualisation.
    Amd,
}

impl CpuModel {
    fn name(self) -> &'static str {
        match self {
            Self::Intel => "corei7_skylake_x",
            Self::Amd => "ryzen",
        }
    }
}

/// What the machine starts from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Medium {
    /// A CD image, the quickest: its loader leaves the screen in text mode.
    Cdrom(PathBuf),
    /// A raw disk image, which grows to whole cylinders.
    Disk(PathBuf),
}

/// A machine for Bochs to emulate: i440FX, no PCI Express, no IOMMU, no MSI.
#[derive(Clone, Debug)]
pub struct BochsMachine {
    bochs: Bochs,
    medium: Medium,
    cpu: CpuModel,
    cpus: u32,
    memory_mib: u32,
    /// Instructions after which the next processor has its turn; `None` is Bochs' own number.
    quantum: Option<u32>,
    /// Its COM1 takes input.
    typed_to: bool,
}

impl BochsMachine {
    /// A machine whose BIOS boots `medium`: VT-x, 2 processors, 1 GiB.
    pub fn new(bochs: &Bochs, medium: Medium) -> Self {
        Self {
            bochs: bochs.clone(),
            medium,
            cpu: CpuModel::Intel,
            cpus: 2,
            memory_mib: 1024,
            quantum: None,
            typed_to: false,
        }
    }

    /// The processor model.
    pub fn cpu(mut self, cpu: CpuModel) -> Self {
        self.cpu = cpu;
        self
    }

    /// Lets the TSC advance by one an instruction. Processors take turns of some instructions,
    /// and a turn ends only where a block does; turns of one instruction leave nothing of that in
    /// the count.
    pub fn icount(mut self) -> Self {
        self.quantum = Some(1);
        self
    }

    /// Number of processors.
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Memory in MiB.
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// The emulator that will run it.
    pub fn bochs(&self) -> &Bochs {
        &self.bochs
    }

    /// Lets its COM1 be written, too. What is typed comes when it comes, so no two runs are the same.
    pub fn typed_to(mut self) -> Self {
        self.typed_to = true;
        self
    }

    /// Starts the machine; the emulator's own messages go to `logs`/bochs.log and bochs.err.
    ///
    /// # Errors
    /// The image cannot be used or the emulator cannot be started.
    pub fn start(&self, logs: &Path) -> Result<Running> {
        let private = PrivateFolder::new()?;
        let medium = self.medium.lines()?;
        let rc = private.path().join("rc");
        let listener = match self.typed_to {
            true => Some(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen for its COM1")?),
            false => None,
        };
        let com1 = match &listener {
            Some(listener) => format!("mode=socket-client, dev={}", listener.local_addr()?),
            None => "mode=file, dev=/dev/fd/0".into(),
        };
        std::fs::write(&rc, self.configuration(&medium, &com1, &logs.join(LOG)))
            .with_context(|| format!("cannot write {}", rc.display()))?;
        let mut arguments = vec!["-q".into(), "-f".into(), rc.into()];
        if self.needs_debugger() {
            let commands = private.path().join("commands");
            std::fs::write(&commands, "c\n")?;
            arguments.extend(["-rc".into(), commands.into()]);
        }
        // The emulator opens its standard input as the file that COM1 writes to: whatever
        // becomes of it, the pipe then comes to its end.
        let (output, input) = std::io::pipe().context("cannot make a pipe")?;
        let errors = logs.join(ERRORS);
        let group = Group::spawn_with_input(
            self.bochs.program(),
            &arguments,
            // The display of the packaged one looks for the kind of its terminal.
            std::iter::once(("TERM", OsStr::new("linux"))),
            input.into(),
            &errors,
        )?;
        match listener {
            Some(listener) => Running::of_listener(group, &listener, errors, &POWERED_OFF, private),
            None => Ok(Running::of_pipe(group, output, errors, &POWERED_OFF, private)),
        }
    }

    /// Debian's 2.7 is built with its debugger, which waits for a command.
    fn needs_debugger(&self) -> bool {
        self.bochs.version() < (3, 0)
    }

    fn configuration(&self, medium: &str, com1: &str, log: &Path) -> String {
        let display = if self.needs_debugger() { "term" } else { "nogui" };
        let (model, cpus, memory) = (self.cpu.name(), self.cpus, self.memory_mib);
        let (bios, vga_bios) = (self.bochs.bios.display(), self.bochs.vga_bios.display());
        let log = log.display();
        let quantum = self.quantum.map_or_else(String::new, |quantum| format!(", quantum={quantum}"));
        // Time is what instructions make it, from a fixed date on: every run is the same.
        format!(
            "config_interface: textconfig\n\
             display_library: {display}\n\
             megs: {memory}\n\
             cpu: model={model}, count={cpus}{quantum}, ips={INSTRUCTIONS_PER_SECOND}, \
             reset_on_triple_fault=0, ignore_bad_msrs=1\n\
             romimage: file={bios}, options=fastboot\n\
             vgaromimage: file={vga_bios}\n\
             {medium}\
             clock: sync=none, time0=1700000000\n\
             com1: enabled=1, {com1}\n\
             speaker: enabled=0\n\
             log: {log}\n\
             panic: action=fatal\n"
        )
    }
}

impl Medium {
    /// The lines of the drive, what to boot from, and the screen.
    fn lines(&self) -> Result<String> {
        match self {
            // The screen has text modes only: nobody sees it, and a log drawn in dots would
            // cost more than all of Linux.
            Self::Cdrom(image) => Ok(format!(
                "ata0-master: type=cdrom, path={}, status=inserted\nboot: cdrom\nvga: extension=none\n",
                image.display()
            )),
            // The loader on disks insists on a graphics mode.
            Self::Disk(image) => {
                let cylinders = grow(image)?;
                // Left by a run that was killed, it would keep the disk from being opened.
                let mut lock = image.clone().into_os_string();
                lock.push(".lock");
                let _ = std::fs::remove_file(lock);
                Ok(format!(
                    "ata0-master: type=disk, path={}, mode=flat, \
                     cylinders={cylinders}, heads={HEADS}, spt={SECTORS}\nboot: disk\n",
                    image.display()
                ))
            }
        }
    }
}

/// Makes `image` as long as whole cylinders are; gives their number.
fn grow(image: &Path) -> Result<u64> {
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(image)
        .with_context(|| format!("cannot open {}", image.display()))?;
    let cylinders = file.metadata()?.len().div_ceil(CYLINDER_BYTES).max(1);
    file.set_len(cylinders * CYLINDER_BYTES).with_context(|| format!("cannot size {}", image.display()))?;
    Ok(cylinders)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(version: (u32, u32), shape: fn(BochsMachine) -> BochsMachine) -> String {
        let medium = Medium::Cdrom("/run/a.iso".into());
        let lines = medium.lines().unwrap();
        let machine = shape(BochsMachine::new(&Bochs::imaginary(version), medium));
        machine.configuration(&lines, "mode=null", Path::new("/logs/bochs.log"))
    }

    #[test]
    fn the_configuration_says_what_the_machine_is() {
        let text = text((3, 0), |machine| machine.cpus(4).memory_mib(256).cpu(CpuModel::Amd));
        assert!(text.contains("\ncpu: model=ryzen, count=4, "), "{text}");
        assert!(text.contains("\nmegs: 256\n"), "{text}");
        assert!(text.contains("\nata0-master: type=cdrom, path=/run/a.iso, status=inserted\n"), "{text}");
        assert!(text.contains("\nboot: cdrom\n"), "{text}");
        assert!(text.contains("display_library: nogui\n"), "{text}");
    }

    #[test]
    fn turns_are_short_where_instructions_are_counted() {
        let text = text((3, 0), |machine| machine.cpus(3).icount());
        assert!(text.contains("\ncpu: model=corei7_skylake_x, count=3, quantum=1, "), "{text}");
    }

    #[test]
    fn the_packaged_one_has_another_display() {
        assert!(text((2, 7), |machine| machine).contains("display_library: term\n"));
    }

    #[test]
    fn a_disk_grows_to_whole_cylinders_and_loses_its_lock() {
        let image = std::env::temp_dir().join(format!("lab-cylinders-{}", std::process::id()));
        let lock = PathBuf::from(format!("{}.lock", image.display()));
        std::fs::write(&image, [1; 1000]).unwrap();
        std::fs::write(&lock, "").unwrap();
        let lines = Medium::Disk(image.clone()).lines().unwrap();
        assert!(lines.contains(", mode=flat, cylinders=1, heads=16, spt=63\nboot: disk\n"), "{lines}");
        assert!(!lock.exists());
        assert_eq!(std::fs::metadata(&image).unwrap().len(), CYLINDER_BYTES);
        assert_eq!(grow(&image).unwrap(), 1);
        std::fs::OpenOptions::new().append(true).open(&image).unwrap().set_len(CYLINDER_BYTES + 1).unwrap();
        assert_eq!(grow(&image).unwrap(), 2);
        std::fs::remove_file(image).unwrap();
    }
}
