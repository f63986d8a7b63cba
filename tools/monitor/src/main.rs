//! A small monitor on /dev/kvm: a Linux guest on Bulkhead's own models, unchanged.
//!
//! The hypervisor links its device models in; here the same crates are a program of a Linux host's. The
//! guest starts from the same start image, finds the same ACPI tables, and sees the same chipset,
//! local APIC, PCI bus and virtio functions: what runs below them is KVM.

mod bell;
mod cpuid;
mod disk;
mod functions;
mod machine;
mod memory;
mod registers;
mod vcpu;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use guest::layout::GuestLayout;
use guest::start_image::StartImage;
use kvm_ioctls::Kvm;
use lab::host::Host;
use lab::terminal::{RawTerminal, forward};

use crate::bell::Bell;
use crate::disk::Disk;
use crate::functions::Built;
use crate::machine::{End, Machine};
use crate::memory::Memory;

const EXAMPLES: &str = "\
Examples:
  cargo hv payload       # Debian's kernels and initial file systems, in target/hv/payload
  cargo run -p monitor -- --kernel target/hv/payload/vmlinuz-cloud --initrd target/hv/payload/shell.cpio
  cargo run -p monitor -- --kernel target/hv/payload/vmlinuz-cloud --initrd target/hv/payload/shell.cpio \\
      --disk target/hv/payload/drive.img --read-only --command-line \"console=ttyS0 drive=/dev/vda rng\"
  truncate -s 256M image && cargo run -p monitor -- --kernel target/hv/payload/vmlinuz \\
      --initrd target/hv/payload/disk.cpio --disk image --command-line \"console=ttyS0 disk=/dev/vda\"

The guest's first serial port is the terminal; Ctrl-A x ends the session.";

/// Runs a Linux guest of one processor on KVM, with Bulkhead's device models.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Arguments {
    /// The guest's kernel: a bzImage, an ELF with a PVH note, or multiboot 1.
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,
    /// Its initial RAM disk.
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// What the kernel is told.
    #[arg(long, value_name = "TEXT", default_value = "console=ttyS0 panic=-1")]
    command_line: String,
    /// An image for a virtio drive: /dev/vda, and so on where there are several.
    #[arg(long, value_name = "IMAGE")]
    disk: Vec<PathBuf>,
    /// The drives take no writes.
    #[arg(long)]
    read_only: bool,
    /// MiB of memory.
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    memory: u64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(end) => {
            eprintln!("monitor: {}", end.text());
            if matches!(end, End::PowerOff | End::Reset | End::Quit) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("monitor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<End> {
    let layout = GuestLayout::new(arguments.memory << 20, 1).map_err(|why| anyhow!("--memory: {why}"))?;
    let kernel = read(&arguments.kernel)?;
    let initrd = arguments.initrd.as_deref().map(read).transpose()?;
    let files = firmware::GuestFiles {
        kernel: &kernel,
        initrd: initrd.as_deref(),
        modules: &[],
        command_line: &arguments.command_line,
        has_display: false,
    };
    let prepared = firmware::prepare(&layout, files)
        .map_err(|why| anyhow!("{} cannot be loaded: {why}", arguments.kernel.display()))?;
    let functions = functions(arguments)?;
    let kvm = open()?;
    let image = prepared.into_image();
    let image = StartImage::parse(&image).map_err(|why| anyhow!("{why}"))?;
    let memory = Memory::new(&layout)?;
    let file = |number| match number {
        1 => Some(kernel.as_slice()),
        2 => initrd.as_deref(),
        _ => None,
    };
    image.place(&memory, &layout, file).map_err(|why| anyhow!("the guest does not start: {why}"))?;

    let vm = vcpu::make_vm(&kvm)?;
    memory.give_to(&vm)?;
    let mut processor = vcpu::make(&kvm, &vm, |registers| image.start(registers))?;
    let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut machine = Machine::new(&layout, memory.clone(), functions, epoch);

    Bell::prepare()?;
    let bell = Arc::new(Bell::default());
    let typist = Arc::clone(&bell);
    let terminal = RawTerminal::enter()?;
    std::thread::spawn(move || forward(&*typist, || typist.quit()));
    let own = Arc::clone(&bell);
    let thread = std::thread::spawn(move || {
        let end = vcpu::run(&mut processor, &mut machine, &own);
        own.end();
        (end, machine.unclaimed())
    });
    bell.ring(&thread);
    let (end, unclaimed) = thread.join().map_err(|_| anyhow!("the processor's thread panicked"))?;
    drop(terminal);
    // KVM uses it until here.
    drop((vm, memory));
    if unclaimed > 0 {
        eprintln!("monitor: {unclaimed} accesses reached neither memory nor a device");
    }
    end
}

/// The functions on the guest's bus, in the order of their places.
fn functions(arguments: &Arguments) -> Result<Vec<Built>> {
    let mut functions = Vec::new();
    for (number, path) in arguments.disk.iter().enumerate() {
        let disk = Disk::open(path, arguments.read_only)?;
        functions.push(functions::drive(disk, &format!("disk{number}")));
    }
    functions.push(functions::random()?);
    Ok(functions)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Opens KVM, or says what is to be done that it can be.
fn open() -> Result<Kvm> {
    const DEVICE: &str = "/dev/kvm";
    match Kvm::new() {
        Ok(_) if !Host::detect().virtualises() => bail!(
            "the processor shows neither SVM nor VMX, so KVM runs nothing here although there is a {DEVICE}: this \
             is a virtual machine whose host does not nest, or the firmware switches them off"
        ),
        Ok(kvm) => Ok(kvm),
        Err(_) if !Path::new(DEVICE).exists() => bail!(
            "there is no {DEVICE}: KVM needs a processor with SVM or VMX that the firmware leaves on, and the module \
             kvm_amd or kvm_intel"
        ),
        Err(error) if is_denied(error.errno()) => {
            bail!("{DEVICE} is not yours to open: join the group that owns it (kvm, mostly)")
        }
        Err(error) => Err(error).with_context(|| format!("cannot open {DEVICE}")),
    }
}

fn is_denied(number: i32) -> bool {
    io::Error::from_raw_os_error(number).kind() == io::ErrorKind::PermissionDenied
}
