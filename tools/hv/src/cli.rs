//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::choice::{Cpu, Remapping};

/// Build, check, run and measure Bulkhead.
#[derive(Parser)]
#[command(name = "cargo hv", bin_name = "cargo hv", version, max_term_width = 100)]
#[command(after_help = "\
Examples:
  cargo hv run                      boot two Linux guests, each with a PCI device of its own
  cargo hv check examples/two-linux.toml
  cargo hv test                     everything; `cargo hv test net` what has `net` in its name")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Subcommand)]
pub enum Command {
    /// Build, pack, boot in an emulator and show the consoles
    Run(Run),
    /// Run the host's tests, then guests on every path that this machine can emulate
    Test(Test),
    /// Print every problem of a configuration, with line, column and the smallest fix
    Check(Check),
    /// Make an image to boot from
    Image(Image),
    /// Write a board file: what `check` needs to know about a machine
    Inspect(Inspect),
    /// Print instructions per exit, boot and footprint as a table
    Bench(Bench),
    /// Build the hypervisor's ELF
    Build(Build),
    /// Pack a configuration and what it names into a bundle
    Pack(Pack),
    /// Make the Linux kernels and initial file systems of the examples
    Payload(Payload),
    /// Make docs/attacks.md out of docs/attacks.toml
    Attacks,
    /// Print what can panic once guests run, by the call graph of the hypervisor's ELF
    Panics(Panics),
    /// Print the lines that run in ring 0, own ones and others', against docs/ring0.toml
    Count(Count),
    /// Look for files that are too long, crates that use what is above them, and files in a circle
    Structure(Structure),
    /// Delete the downloaded packages, package lists and emulators
    CleanCache,
}

/// `cargo hv run`
#[derive(Args)]
#[command(after_help = "\
Without CONFIG, runs examples/two-linux.toml. Ends with 0 only if every guest ended as its
configuration expects. Ctrl-T switches which guest is typed to,
and which of its consoles where it has several.

Without --cpu and --iommu the machine is the best that this host emulates: nested KVM where a
processor's flag svm or vmx and KVM's modules allow it, else AMD-V and VT-d in QEMU's TCG.

  --cpu   --iommu   on a host without nesting      on an Intel host with nesting
  amd     vtd       QEMU's TCG                     QEMU's TCG
  amd     amdvi     QEMU's TCG                     QEMU's TCG
  intel   vtd       -                              QEMU over KVM
  intel   none      Bochs                          QEMU over KVM

Examples:
  cargo hv run
  cargo hv run --iommu amdvi                            AMD-V and AMD-Vi
  cargo hv run examples/shell.toml --cpu intel          VT-x: Bochs, or nested KVM
  cargo hv run --cpu intel --iommu vtd                  nested KVM on an Intel host
  cargo hv run examples/shell.toml --iommu none         no IOMMU, no passed-through functions
  cargo hv run my.toml --keep
  cargo hv run my.toml --profile ring3                  with nothing in ring 0 that can be in ring 3
  cargo hv run my.toml --kill net:03.0@2500             end a model in ring 3 while its guest runs
  cargo hv run --runs-in ring3                          drivers and guests' machines in ring 3 too
  cargo hv run --headless --log-dir logs --timeout 300")]
pub struct Run {
    /// Configuration (TOML)
    pub config: Option<PathBuf>,
    /// Run the build that is shipped, which takes minutes longer to make
    #[arg(long)]
    pub release: bool,
    /// What is linked into ring 0; `ring3` is built as what is shipped
    #[arg(long, value_enum, default_value_t)]
    pub profile: Profile,
    /// Show each guest's console line by line and write it to a file; take no input
    #[arg(long)]
    pub headless: bool,
    /// Where NAME.log, hypervisor.log and summary.json are written [default with --headless:
    /// target/hv/logs]
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// Seconds after which the machine is switched off and the run has failed
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// The processor's virtualisation
    #[arg(long, value_enum, value_name = "VENDOR")]
    pub cpu: Option<Cpu>,
    /// The machine's IOMMU
    #[arg(long, value_enum, value_name = "IOMMU")]
    pub iommu: Option<Remapping>,
    /// Processor model for QEMU's TCG, as its -cpu takes it
    #[arg(long, value_name = "MODEL")]
    pub cpu_model: Option<String>,
    /// End this compartment so many milliseconds after the guests' start; several times for several. A compartment
    /// is called as its guest, with `:` and the slot of its function, `interpreter` or `chipset` behind, as `cargo hv check`
    /// shows it
    #[arg(long, value_name = "COMPARTMENT@MS")]
    pub kill: Vec<plan::Kill>,
    /// Where models, drivers and guests' machines run of which no table of its own says it
    #[arg(long, value_enum, value_name = "PLACE")]
    pub runs_in: Option<Place>,
    /// Keep the machine's files (bundle, drive) and say where they are
    #[arg(long)]
    pub keep: bool,
}

/// `cargo hv test`
#[derive(Args)]
#[command(after_help = "\
A scenario's name ends with its column: @vtd (AMD-V and VT-d), @amdvi (AMD-V and AMD-Vi), @bochs
(VT-x in Bochs), @kvm (VT-x and VT-d in nested KVM). The matrix of all outcomes comes last but one.

Examples:
  cargo hv test
  cargo hv test --list
  cargo hv test plan::              tests whose name has `plan::` in it
  cargo hv test attack/dma          one attack on every column
  cargo hv test @amdvi              one column
  cargo hv test --matrix docs/status.md  everything, and the matrix into that page
  cargo hv test --long              what takes too long for every day, and nothing else
  cargo hv test --long --table docs/long-tests.md
  cargo hv test attack/ --runs-in ring3  attacks, with drivers and guests' machines in ring 3 too
  cargo hv test --runs-in hypervisor     everything that may be there in ring 0")]
pub struct Test {
    /// Only tests whose name contains this
    pub filter: Option<String>,
    /// Write the matrix between the markers of this Markdown file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["filter", "list"])]
    pub matrix: Option<PathBuf>,
    /// Print the names and run nothing
    #[arg(long)]
    pub list: bool,
    /// Only the scenarios that take too long for every day (minutes each)
    #[arg(long, conflicts_with = "matrix")]
    pub long: bool,
    /// Where models, drivers and guests' machines run of which no table of its own says it
    #[arg(long, value_enum, value_name = "PLACE", conflicts_with_all = ["matrix", "table"])]
    pub runs_in: Option<Place>,
    /// Write the outcomes of the long scenarios, with the date, between the markers of this
    /// Markdown file
    #[arg(long, value_name = "FILE", requires = "long", conflicts_with_all = ["filter", "list"])]
    pub table: Option<PathBuf>,
}

/// `cargo hv check`
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo hv check examples/two-linux.toml
  cargo hv check appliance.toml --board box.json")]
pub struct Check {
    /// Configuration (TOML)
    pub config: PathBuf,
    /// The machine it is for, as `cargo hv inspect` writes it [default: examples/boards/q35.json]
    #[arg(long, value_name = "FILE")]
    pub board: Option<PathBuf>,
}

/// `cargo hv image`
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo hv image examples/two-linux.toml -o stick.img
  cargo hv image appliance.toml -o boot/ --kind pxe --product
  cargo hv image appliance.toml -o stick.img --product --profile ring3")]
pub struct Image {
    /// Configuration (TOML)
    pub config: PathBuf,
    /// What to write: a file, or a folder for pxe
    #[arg(short, long, value_name = "PATH")]
    pub output: PathBuf,
    /// How it will be booted
    #[arg(long, value_enum, default_value_t = ImageKind::Uefi)]
    pub kind: ImageKind,
    /// For a real machine: leave out what is known of emulators and their bugs
    #[arg(long)]
    pub product: bool,
    /// What is linked into ring 0
    #[arg(long, value_enum, default_value_t)]
    pub profile: Profile,
}

/// Where that runs which may be in either place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// In compartments in ring 3
    Ring3,
    /// In ring 0
    Hypervisor,
}

impl From<Place> for plan::RunsIn {
    fn from(place: Place) -> Self {
        match place {
            Place::Ring3 => Self::Ring3,
            Place::Hypervisor => Self::Hypervisor,
        }
    }
}

/// What an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImageKind {
    /// GPT disk with an EFI system partition
    Uefi,
    /// MBR disk for a BIOS
    Bios,
    /// Folder for a TFTP server
    Pxe,
    /// Hybrid ISO with GRUB, for BIOS and UEFI
    Iso,
}

/// `cargo hv inspect`
#[derive(Args)]
#[command(after_help = "\
Run it as root on the machine in question, under any Linux.

Examples:
  cargo hv inspect -o box.json
  cargo hv inspect --root copied-from-the-box -o box.json")]
pub struct Inspect {
    /// Where the board file goes [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// A copy of the machine's /sys and /proc instead of this machine's
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
}

/// `cargo hv bench`
#[derive(Args)]
#[command(after_help = "\
AMD-V is measured in QEMU and VT-x in Bochs; a number is instructions, the same in every run. Linux + KVM is measured beside Bulkhead, on the same
emulators with the same guest.

Then come what requests and frames of emulated functions take, part by part, and how long a flood of them
delays others, by a hypervisor that is built to count that; how late timers are; what a drive and a NIC that
are passed through do for Linux: with no hypervisor, under Bulkhead, and under Linux + KVM + VFIO; what
it does with those that the hypervisor or Linux + KVM keeps; and frames from guest to guest.

On an idle machine with two processors all of it takes half an hour. `--tables` names those that are wanted. The
first time Bochs is built before, which takes minutes more.

Examples:
  cargo hv bench
  cargo hv bench --cpu amd --no-reference
  cargo hv bench --instructions --no-reference      after a change of an exit path: two minutes
  cargo hv bench --tables functions,floods           after a change of drivers or models: four minutes
  cargo hv bench --json > bench.json")]
pub struct Bench {
    /// Measure on processors of this vendor only: AMD-V in QEMU, VT-x in Bochs
    #[arg(long, value_enum)]
    pub cpu: Option<Cpu>,
    /// Measure Bulkhead only, not Linux + KVM beside it
    #[arg(long)]
    pub no_reference: bool,
    /// Count instructions and exits only: neither latency nor Linux with its drive and NIC
    #[arg(long)]
    pub instructions: bool,
    /// Measure for these tables only
    #[arg(long, value_enum, value_delimiter = ',', conflicts_with = "instructions")]
    pub tables: Vec<Table>,
    /// How often drives and frames are measured on each side, one after the other in turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..100))]
    pub rounds: usize,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// What `cargo hv bench` can print.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Table {
    /// Instructions and exits of single operations, and the footprint
    Exits,
    /// Instructions of single operations where the models of emulated functions are in ring 0, and in ring 3
    Places,
    /// Instructions that a request or a frame of an emulated function takes, by part
    Functions,
    /// How long a flood delays others
    Floods,
    /// How late timers are
    Latency,
    /// Linux with a drive and a NIC that are passed through
    Linux,
    /// What Linux does with a drive and a NIC that the hypervisor keeps, beside those that are passed through
    Drives,
    /// Frames from guest to guest
    Frames,
}

impl Bench {
    /// Whether a table is wanted.
    pub fn wants(&self, table: Table) -> bool {
        let counts = matches!(table, Table::Exits | Table::Places | Table::Functions | Table::Floods);
        if self.instructions { counts } else { self.tables.is_empty() || self.tables.contains(&table) }
    }
}

/// `cargo hv build`
#[derive(Args)]
#[command(after_help = "\
Example:
  cargo hv build && qemu-system-x86_64 -kernel $(cargo hv build) -initrd bundle ...")]
pub struct Build {
    /// Copy the ELF here
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// For a real machine: leave out what is known of emulators and their bugs
    #[arg(long)]
    pub product: bool,
    /// What is linked into ring 0
    #[arg(long, value_enum, default_value_t)]
    pub profile: Profile,
}

/// What is linked into ring 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Drivers and models too, for those of which the configuration says that they run there
    #[default]
    Default,
    /// Neither, but a display's model: what is to run there is refused at boot
    Ring3,
}

/// `cargo hv count`
#[derive(Args)]
#[command(after_help = "\
docs/ring0.toml has the limits of either profile. With ring3 the hypervisor is built, and what it says to
leave is left out where the ELF has no code of it.

Examples:
  cargo hv count
  cargo hv count --profile ring3 --files")]
pub struct Count {
    /// What is linked into ring 0
    #[arg(long, value_enum, default_value_t)]
    pub profile: Profile,
    /// Print each file too
    #[arg(long)]
    pub files: bool,
    /// Look at this ELF instead of the one that is built
    #[arg(long, value_name = "FILE")]
    pub elf: Option<PathBuf>,
}

/// `cargo hv pack`
#[derive(Args)]
#[command(after_help = "\
Files that the configuration names are looked for beside it, then in target/hv/payload.

Example:
  cargo hv pack examples/two-linux.toml -o two-linux.bundle")]
pub struct Pack {
    /// Configuration (TOML)
    pub config: PathBuf,
    /// Where the bundle goes
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

/// `cargo hv panics`
#[derive(Args)]
#[command(after_help = "\
Every place is argued in docs/panics.toml; what is not is an error, and so is an argument for what is
not there any more.

Example:
  cargo hv panics")]
pub struct Panics {
    /// Look at this ELF instead of the one that `cargo hv build` makes
    #[arg(long, value_name = "FILE")]
    pub elf: Option<PathBuf>,
}

/// `cargo hv structure`
#[derive(Args)]
#[command(after_help = "\
It looks at hypervisor/, drivers/ and boot/, and fails where
  - a file has more than 600 lines,
  - a crate uses one of its own layer or of a higher one (docs/structure.toml has the layers; what only
    tests use is left out),
  - files of one crate need each other in a circle that docs/structure.toml does not know, or it knows
    one that is gone. That list gets shorter only.

A file needs another if it names something there, outside of `impl` blocks of that other's types.

Examples:
  cargo hv structure
  cargo hv structure --arrows | grep ^guest:")]
pub struct Structure {
    /// Print every arrow between files too: which needs which, and what for
    #[arg(long)]
    pub arrows: bool,
}

/// `cargo hv payload`
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo hv payload
  cargo hv payload --update         look for newer packages")]
pub struct Payload {
    /// Look for newer packages even if the payload is there
    #[arg(long)]
    pub update: bool,
}
