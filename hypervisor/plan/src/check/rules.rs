//! What must hold on any machine.

use super::{Report, display, earlier_guests, ports, runs_in, shared_memory};
use crate::config::{
    Backing, Config, GuestConfig, ImageMode, Interrupts, Model, PartitionName, PciConfig, StandsOn,
};
use crate::problem::Problem;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use platform::names::Memory;

/// The processor that stays with the hypervisor: it reads the consoles and ends
/// guests that never let go of theirs.
pub const HYPERVISOR_PROCESSOR: u32 = 0;
/// A guest's memory is mapped in pages of this size at least.
pub const MEMORY_GRANULE: Memory = Memory::mib(2);
/// The least memory in which a guest's kernel and tables fit at all.
pub const LEAST_MEMORY: Memory = Memory::mib(16);
/// The most memory that a guest's address space has room for: 3 GiB below its
/// 32-bit PCI window, and from 4 GiB to its 64-bit one at 128 GiB.
pub const MOST_MEMORY: Memory = Memory::mib(127 << 10);
/// Longest name of a guest: it stands before every line of its console.
const LONGEST_NAME: usize = 32;
/// What the hypervisor's own lines begin with.
const RESERVED_NAME: &str = "hypervisor";
/// Most consoles of all guests, of which each has one and its functions may be more: the console's stream has
/// 256 owners, and the log is one.
const MOST_CONSOLES: usize = 255;
/// Most processors of one guest: its APIC IDs and its I/O APIC's share 8 bits.
const MOST_PROCESSORS: usize = 254;

/// What concerns no single guest.
pub(crate) fn check_whole(config: &Config) -> Vec<Problem> {
    let mut problems: Vec<Problem> = config.disk.keys().filter_map(|name| check_name("disk", name)).collect();
    problems.extend(config.network.keys().filter_map(|name| check_name("network", name)));
    problems.extend(config.shared_memory.keys().filter_map(|name| check_name("shared_memory", name)));
    problems.extend(shared_memory::check_whole(config));
    problems.extend(runs_in::check_kills(config));
    if config.guest.is_empty() {
        problems.push(Problem {
            path: "guest".to_string(),
            message: "there is no guest".to_string(),
            help: "add a table such as [guest.linux], with cpus, memory and kernel".to_string(),
        });
    }
    problems
}

/// What concerns one guest, alone and against those before it.
pub(crate) fn check_guest(config: &Config, name: &str, guest: &GuestConfig) -> Vec<Problem> {
    let mut report = Report::of_guest(name);
    report.problems.extend(check_name("guest", name));
    check_cpus(config, name, guest, &mut report);
    check_memory(guest, &mut report);
    check_command_line(guest, &mut report);
    check_slots(guest, &mut report);
    check_sources(config, name, guest, &mut report);
    check_shares(config, name, guest, &mut report);
    check_consoles(config, name, guest, &mut report);
    check_modules(guest, &mut report);
    check_snapshot(guest, &mut report);
    report.problems
}

/// What is wrong with the name of a `kind`.
fn check_name(kind: &str, name: &str) -> Option<Problem> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let problem = |message: &str, help: &str| Problem {
        path: alloc::format!("{kind}.{name}"),
        message: message.to_string(),
        help: help.to_string(),
    };
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_plain) {
        let message = alloc::format!("this is no name for a {kind}");
        Some(problem(&message, "use up to 32 letters, digits, `-` and `_`"))
    } else if name == RESERVED_NAME {
        Some(problem("this name is the hypervisor's own on the console", "choose another name"))
    } else {
        None
    }
}

fn check_cpus(config: &Config, name: &str, guest: &GuestConfig, report: &mut Report) {
    if guest.cpus.is_empty() {
        report.add("cpus", "the guest has no processor", "give it one, such as cpus = [1]");
    }
    if guest.cpus.len() > MOST_PROCESSORS {
        report.add(
            "cpus",
            format_args!("the guest has {} processors", guest.cpus.len()),
            format_args!("give it {MOST_PROCESSORS} at most"),
        );
    }
    for (index, cpu) in guest.cpus.iter().enumerate() {
        let key = alloc::format!("cpus[{index}]");
        if *cpu == HYPERVISOR_PROCESSOR {
            let message = alloc::format!("processor {cpu} stays with the hypervisor");
            report.add(key, message, "use a processor from 1 on");
        } else if guest.cpus.iter().take(index).any(|before| before == cpu) {
            let message = alloc::format!("processor {cpu} is there twice");
            report.add(key, message, "name each processor once");
        } else if let Some(owner) = earlier_guests(config, name).find(|(_, other)| other.cpus.contains(cpu)) {
            let message = alloc::format!("processor {cpu} belongs to guest `{}` already", owner.0);
            report.add(key, message, "give each processor to one guest");
        }
    }
}

fn check_memory(guest: &GuestConfig, report: &mut Report) {
    let memory = guest.memory;
    if memory < LEAST_MEMORY {
        report.add(
            "memory",
            format_args!("{memory} is too little for a guest"),
            format_args!("give it \"{LEAST_MEMORY}\" or more"),
        );
    } else if memory > MOST_MEMORY {
        report.add(
            "memory",
            format_args!("{memory} is more than a guest can have"),
            format_args!("give it \"{MOST_MEMORY}\" or less"),
        );
    } else if !memory.bytes().is_multiple_of(MEMORY_GRANULE.bytes()) {
        let rounded = Memory(memory.bytes().next_multiple_of(MEMORY_GRANULE.bytes()));
        report.add(
            "memory",
            format_args!("{memory} is not a multiple of {MEMORY_GRANULE}"),
            format_args!("use \"{rounded}\""),
        );
    }
}

/// A command line ends with a zero where a kernel reads it. How long it may be is the kernel's to
/// say.
fn check_command_line(guest: &GuestConfig, report: &mut Report) {
    if guest.command_line.contains('\0') {
        report.add(
            "command_line",
            "the command line has a zero in it, which would end it",
            "take the zero out",
        );
    }
}

fn check_slots(guest: &GuestConfig, report: &mut Report) {
    for (index, pci) in guest.pci.iter().enumerate() {
        let slot = pci.slot;
        let key = alloc::format!("pci[{index}].slot");
        if slot.device() == 0 {
            let message = "slot 00 holds the guest's host bridge";
            report.add(key, message, "use a slot from \"01.0\" to \"1f.0\"");
        } else if slot.function() != 0 {
            // A guest looks at the other functions of a device only where function 0
            // says that there are some.
            let message = alloc::format!("{slot} is function {} of a device", slot.function());
            report.add(
                key,
                message,
                "each function is a device of its own here: use function 0 of a free slot",
            );
        } else if guest.pci.iter().take(index).any(|other| other.slot == slot) {
            let message = alloc::format!("slot {slot} is used twice");
            report.add(key, message, "use another slot");
        }
    }
}

/// A function is the machine's or an emulated one, and has the keys of its kind.
fn check_sources(config: &Config, name: &str, guest: &GuestConfig, report: &mut Report) {
    for (index, pci) in guest.pci.iter().enumerate() {
        if pci.shared_memory.is_some() && pci.emulate != Some(Model::Ivshmem) {
            let key = alloc::format!("pci[{index}].shared_memory");
            report.add(key, "the function shares no memory", "remove the key");
        }
        ports::check_ring(index, pci, report);
        display::check_none(index, pci, report);
        runs_in::check(index, pci, report);
        match (&pci.passthrough, pci.emulate) {
            (Some(_), None) => {
                for (key, _) in pci.backings() {
                    let key = alloc::format!("pci[{index}].{key}");
                    report.add(key, "the function is passed through, with what is on it", "remove the key");
                }
                ports::check_no_port(index, pci, "the function is passed through", report);
            }
            (None, None) => report.add(
                alloc::format!("pci[{index}].slot"),
                "nothing says what stands there",
                "add passthrough = { path = \"...\", id = \"...\" }, or emulate = \"nvme\"",
            ),
            (Some(_), Some(_)) => report.add(
                alloc::format!("pci[{index}].emulate"),
                "the function is passed through already",
                "remove one of the two, or give each a slot of its own",
            ),
            (None, Some(model)) => {
                check_emulated(index, pci, report);
                check_ide(guest, index, report);
                match model.stands_on() {
                    StandsOn::Network => ports::check_port(config, (name, guest), index, report),
                    StandsOn::Drive => {
                        check_backings(config, index, (pci, model), report);
                        ports::check_no_port(index, pci, "the emulated function is a drive", report);
                    }
                    StandsOn::SharedMemory => shared_memory::check(config, index, pci, report),
                    StandsOn::VideoMemory => display::check(guest, index, pci, report),
                    StandsOn::RandomNumbers | StandsOn::Console => {
                        ports::check_no_drive(index, pci, report);
                        ports::check_no_port(index, pci, "the emulated function has no network", report);
                    }
                }
            }
        }
    }
}

/// Keys that only a function of the machine can have.
fn check_emulated(index: usize, pci: &PciConfig, report: &mut Report) {
    let keys =
        [("allow_reserved_memory", pci.allow_reserved_memory), ("gsi", pci.gsi.is_some()), ("rom", pci.rom)];
    for (key, _) in keys.iter().filter(|(_, given)| *given) {
        let message = "an emulated function has nothing of the kind";
        report.add(alloc::format!("pci[{index}].{key}"), message, "remove the key");
    }
}

/// The ports and interrupts of IDE channels are always the same, so a guest has them once.
fn check_ide(guest: &GuestConfig, index: usize, report: &mut Report) {
    let mut drives = guest.emulated().filter(|(.., model)| *model == Model::Ide).map(|(index, ..)| index);
    if drives.next().is_some_and(|first| first < index) && drives.any(|other| other == index) {
        report.add(
            alloc::format!("pci[{index}].emulate"),
            "the guest has an IDE controller already, and there is one place for its ports",
            "give it a second drive by second_backing, or use \"nvme\" for the other drives",
        );
    }
}

/// An image that takes writes has room for them, and nothing else has.
fn check_overlay(backing: &Backing, key: &dyn Fn(&str) -> String, report: &mut Report) {
    let is_changed = backing.mode == ImageMode::CopyOnWrite;
    match backing.overlay {
        _ if backing.image.is_none() => {
            if is_changed {
                report.add(
                    key(".mode"),
                    "only an image has a mode",
                    "remove the key: the guest writes to a disk",
                );
            }
            if backing.overlay.is_some() {
                report.add(key(".overlay"), "only an image has an overlay", "remove the key");
            }
        }
        None if is_changed => report.add(
            key(".overlay"),
            "nothing says how much of the image can change",
            "add a size, such as overlay = \"256 MiB\"",
        ),
        Some(_) if !is_changed => report.add(
            key(".overlay"),
            "the image takes no writes",
            "add mode = \"copy-on-write\", or remove the key",
        ),
        Some(overlay) if overlay.bytes() == 0 || !overlay.bytes().is_multiple_of(MEMORY_GRANULE.bytes()) => {
            let rounded = overlay.bytes().max(1).checked_next_multiple_of(MEMORY_GRANULE.bytes());
            let rounded = rounded.map_or(MEMORY_GRANULE, Memory);
            report.add(
                key(".overlay"),
                format_args!("{overlay} is not a multiple of {MEMORY_GRANULE}"),
                format_args!("use \"{rounded}\""),
            );
        }
        None | Some(_) => {}
    }
}

/// An emulated drive has something on it, and where there is a second one, that has too.
fn check_backings(config: &Config, index: usize, (pci, model): (&PciConfig, Model), report: &mut Report) {
    if pci.backing.is_none() {
        check_backing(config, (index, "backing"), &Backing::default(), report);
    }
    if pci.second_backing.is_some() && !model.has_second_drive() {
        let key = alloc::format!("pci[{index}].second_backing");
        return report.add(key, "the function has one drive", "give the other one a slot of its own");
    }
    for (key, backing) in pci.backings() {
        check_backing(config, (index, key), backing, report);
    }
}

/// An emulated drive has an image, or one of the hypervisor's drives.
fn check_backing(config: &Config, (index, place): (usize, &str), backing: &Backing, report: &mut Report) {
    let key = |key: &str| alloc::format!("pci[{index}].{place}{key}");
    match (&backing.disk, &backing.image) {
        (None, None) => report.add(
            key(""),
            "nothing says what is on the drive",
            format_args!(
                "add {place} = {{ disk = \"...\", partition = 1 }}, or {place} = {{ image = \"...\" }}"
            ),
        ),
        (Some(_), Some(_)) => report.add(key(""), "it has a disk and an image", "remove one of the two"),
        (None, Some(_)) if backing.partition.is_some() => {
            report.add(key(".partition"), "an image is given as a whole", "remove the key");
        }
        (None, Some(_)) => {}
        (Some(disk), None) if !config.disk.contains_key(disk) => {
            let help = alloc::format!("add a table [disk.{disk}] with its device");
            report.add(key(".disk"), format_args!("there is no disk `{disk}`"), help);
        }
        (Some(_), None) => {}
    }
    check_overlay(backing, &key, report);
    if backing.partition == Some(PartitionName::Number(0)) {
        report.add(key(".partition"), "there is no partition 0", "the first one is 1");
    }
}

/// What one function writes no other may have. Names of one partition that differ are found out
/// when the drive's table is read.
fn check_shares(config: &Config, name: &str, guest: &GuestConfig, report: &mut Report) {
    let own = guest.disks().map(|(place, disk, partition)| (name, place, disk, partition));
    for (_, place, disk, partition) in own.clone() {
        let earlier = earlier_guests(config, name).flat_map(|(other, guest)| {
            guest.disks().map(move |(place, disk, partition)| (other, place, disk, partition))
        });
        let before = own.clone().take_while(|(_, other, ..)| *other != place);
        let is_shared =
            |its: Option<&PartitionName>| its.is_none() || partition.is_none() || its == partition;
        let mut taken = earlier.chain(before).filter(|(.., other, its)| *other == disk && is_shared(*its));
        if let Some((owner, ..)) = taken.next() {
            let what = match partition {
                Some(partition) => alloc::format!("partition {partition} of disk `{disk}`"),
                None => alloc::format!("disk `{disk}`"),
            };
            report.add(
                place,
                format_args!("{what} belongs to guest `{owner}` already"),
                "give each partition to one function of one guest",
            );
        }
    }
}

/// All guests share one stream, in which each console has its turn.
fn check_consoles(config: &Config, name: &str, guest: &GuestConfig, report: &mut Report) {
    let of = |guest: &GuestConfig| {
        guest.emulated().filter(|(.., model)| model.stands_on() == StandsOn::Console).count()
    };
    let with_own = |guest| of(guest).saturating_add(1);
    let earlier =
        earlier_guests(config, name).map(|(_, other)| with_own(other)).fold(0, usize::saturating_add);
    if of(guest) > 0 && with_own(guest).saturating_add(earlier) > MOST_CONSOLES {
        let message = alloc::format!("with these the guests have more than {MOST_CONSOLES} consoles");
        report.add("pci", message, "remove some of them");
    }
}

fn check_modules(guest: &GuestConfig, report: &mut Report) {
    for (index, module) in guest.modules.iter().enumerate() {
        if guest.modules.iter().take(index).any(|before| before == module) {
            let key = alloc::format!("modules[{index}]");
            report.add(key, format_args!("module `{module}` is there twice"), "name each module once");
        }
    }
}

/// A snapshot has what the hypervisor knows of a guest: no function's state, and no interrupts that are
/// the guest's own.
fn check_snapshot(guest: &GuestConfig, report: &mut Report) {
    if !guest.snapshot {
        return;
    }
    if !guest.pci.is_empty() {
        let message = "the state of a PCI function cannot be saved yet";
        report.add("snapshot", message, "remove the key, or the guest's functions");
    }
    if guest.interrupts == Interrupts::Direct {
        let message = "a guest that takes its interrupts itself cannot be frozen";
        report.add("snapshot", message, "use interrupts = \"virtual\", or remove the key");
    }
}
