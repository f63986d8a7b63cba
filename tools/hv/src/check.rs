//! `cargo hv check`: every problem of a configuration on a machine, before it goes there.

mod trust;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use platform::Platform;

use crate::cli;
use crate::config::{Refused, Shelves, Source, folder_of};
use crate::kernels;
use crate::payload;
use crate::project::Project;
use crate::text_file;

/// Checks, prints every problem, and gives the status.
///
/// # Errors
/// When the configuration or the board file cannot be read.
pub fn run(project: &Project, options: &cli::Check) -> Result<ExitCode> {
    let board = options.board.clone().unwrap_or_else(|| project.default_board());
    let platform = read_board(&board)?;
    let source = match Source::read(&options.config) {
        Ok(source) => source,
        Err(error) => match error.downcast::<Refused>() {
            Ok(refused) => return Ok(refuse(&refused)),
            Err(error) => return Err(error),
        },
    };
    let shelves = Shelves::new([folder_of(&options.config)]);
    // A file of the payload is made when it is needed, so it counts as there.
    let has_file = |file: plan::FileRef<'_>| {
        shelves.find(file.name).is_some() || payload::outputs().any(|made| made == file.name)
    };
    let plan = plan::build(&source.config, &platform, &has_file);
    let made = Shelves::new([folder_of(&options.config), project.payload()]);
    let files = kernels::problems(&source.config, &made, &|name| low_memory_end(&plan, name));
    let refused = source.refuse(plan.all_problems().chain(&files));
    if refused.count > 0 {
        return Ok(refuse(&refused));
    }
    for guest in &plan.guests {
        println!("{}", describe(guest, platform.remapping.x2apic_opt_out));
    }
    for disk in plan.disks.iter().filter_map(|disk| describe_disk(&plan, disk)) {
        println!("{disk}");
    }
    for network in &plan.networks {
        println!("{}", describe_network(&plan, network));
    }
    println!("{}", console(&plan));
    println!("\n{}\n", trust::picture(&plan));
    for warning in &plan.warnings {
        eprintln!("  !! {warning}");
    }
    if let Some(warning) = numbering(&platform) {
        eprintln!("  !! {warning}");
    }
    println!("no problems on the board {}", board.display());
    Ok(ExitCode::SUCCESS)
}

/// Where a guest's memory below 4 GiB ends; for one that is refused anyway, where it usually does.
fn low_memory_end(plan: &plan::Plan, name: &str) -> u64 {
    let guest = plan.guests.iter().find(|guest| guest.name == name);
    guest.map_or(u64::MAX, |guest| guest.low_memory_end)
}

/// Where the console is.
fn console(plan: &plan::Plan) -> String {
    let ports: Vec<String> = plan.console.iter().map(|port| port.name.to_string()).collect();
    match &ports[..] {
        [] => "console: the screen".to_owned(),
        ports => format!("console: the screen, and {}", ports.join(", or where nobody answers there ")),
    }
}

/// Processor 0 is the one that boots, which an older board file does not tell.
fn numbering(platform: &Platform) -> Option<&'static str> {
    let first = platform.processors().next()?.apic_id;
    let lowest = platform.processors().map(|processor| processor.apic_id).min()?;
    (platform.boot_processor.is_none() && first != lowest).then_some(
        "the board file does not say which processor boots, which is processor 0, and the machine's table does not \
         begin with the lowest: numbers may be others there; make the file anew with `cargo hv inspect`",
    )
}

fn refuse(refused: &Refused) -> ExitCode {
    eprintln!("{refused}");
    ExitCode::FAILURE
}

/// Who takes the interrupts of a guest, and why, as far as tables tell.
fn interrupts(asked: plan::Interrupts, x2apic_opt_out: bool) -> &'static str {
    use plan::Interrupts::{Auto, Direct, Emulated, Virtual};
    match (asked, x2apic_opt_out) {
        (Virtual, _) => "interrupts virtual, as configured",
        (Emulated, _) => "interrupts emulated, as configured",
        (Direct, false) => "interrupts direct, as configured",
        (Direct, true) => {
            "interrupts direct, as configured, but refused where the firmware keeps out of x2APIC mode"
        }
        (Auto, false) => "interrupts direct (processors of its own) once it is in x2APIC mode",
        (Auto, true) => "interrupts virtual (the firmware asks for machines without x2APIC mode)",
    }
}

/// What a guest gets, in one line.
fn describe(guest: &plan::GuestPlan, x2apic_opt_out: bool) -> String {
    let passed = guest.functions.iter().map(|function| format!("{} ({})", function.path, function.id));
    let functions: Vec<String> =
        passed.chain(guest.emulated.iter().map(|function| emulated(&guest.name, function))).collect();
    let functions = if functions.is_empty() { "no PCI function".to_owned() } else { functions.join(", ") };
    let plural = if guest.apic_ids.len() == 1 { "" } else { "s" };
    // What the guest sees differs from what is usual only where memory is moved.
    let moved = match guest.low_memory_end {
        end if guest.memory_bytes > end && end < 3 << 30 => {
            format!(
                " ({} MiB of them above 4 GiB, beside what bridges claim)",
                (guest.memory_bytes - end) >> 20
            )
        }
        _ => String::new(),
    };
    format!(
        "{}: {} processor{plural}, {} MiB{moved}, {functions}; {}",
        guest.name,
        guest.apic_ids.len(),
        guest.memory_bytes >> 20,
        interrupts(guest.config.interrupts, x2apic_opt_out)
    )
}

/// An emulated function and what is on it.
fn emulated(guest: &str, function: &plan::EmulatedPlan) -> String {
    let model = function.model.text();
    let backing = match &function.base {
        plan::Base::Drive(backing) => backing,
        plan::Base::Port(port) => return format!("an emulated {model} on network `{}`", port.network),
        plan::Base::SharedMemory(peer) => {
            let plan::PeerPlan { memory, position } = peer;
            return format!("an emulated {model}, peer {position} of shared memory `{memory}`");
        }
        plan::Base::Display { video_memory_bytes } => {
            return format!("an emulated {model} with {} of video memory", plan::Memory(*video_memory_bytes));
        }
        plan::Base::RandomNumbers => return format!("an emulated {model}"),
        plan::Base::Console => return format!("an emulated {model} (`{guest}:{}`)", function.slot),
    };
    let second = function.second_backing.as_ref();
    let second = second.map_or_else(String::new, |second| format!(" and {}", contents(second)));
    format!("an emulated {model} on {}{second}", contents(backing))
}

/// What is on a drive.
fn contents(backing: &plan::Backing) -> String {
    match (&backing.disk, &backing.partition) {
        (Some(disk), Some(partition)) => format!("partition {partition} of disk `{disk}`"),
        (Some(disk), None) => format!("disk `{disk}`"),
        (None, _) => backing.image.clone().unwrap_or_default(),
    }
}

/// A network, and under it what it joins.
fn describe_network(plan: &plan::Plan, network: &plan::NetworkPlan) -> String {
    let uplink = network.uplink.and_then(|place| plan.owned.get(place));
    let mut text = match uplink.map(|owned| &owned.function) {
        Some(function) => {
            format!(
                "network {}: the uplink is {} ({}), kept by the hypervisor",
                network.name, function.path, function.id
            )
        }
        None => format!("network {}: no uplink", network.name),
    };
    for guest in &plan.guests {
        for function in &guest.emulated {
            if let plan::Base::Port(port) = &function.base
                && port.network == network.name
            {
                text += &format!(
                    "\n  {} in slot {} of {}",
                    describe_port(&port.config),
                    function.slot,
                    guest.name
                );
            }
        }
    }
    text
}

/// A port and what the switch does to it.
fn describe_port(port: &network::PortConfig) -> String {
    let mut text = port.mac.map_or_else(String::new, |mac| mac.to_string());
    if let network::PortVlan::Access(Some(vlan)) = port.vlan {
        text += &format!(", VLAN {}", vlan.number());
    }
    if let Some(limit) = port.rate_limit {
        text += &format!(", at most {} KiB/s", limit.bytes_per_second.get() >> 10);
    }
    if port.is_isolated {
        text += ", isolated";
    }
    text
}

/// A drive that the hypervisor keeps, in one line.
fn describe_disk(plan: &plan::Plan, disk: &plan::DiskPlan) -> Option<String> {
    let function = &plan.owned.get(disk.owned)?.function;
    let port = disk.port.map(|port| format!(", port {port}")).unwrap_or_default();
    let reach = match disk.reaches.as_slice() {
        [] => "its data is copied: it reaches no guest's memory".to_string(),
        guests => format!("it reaches all memory of {}", guests.join(" and ")),
    };
    let (name, path, id) = (&disk.name, &function.path, &function.id);
    Some(format!("disk {name}: {path} ({id}){port}, kept by the hypervisor; {reach}"))
}

/// Reads a board file.
///
/// # Errors
/// When it cannot be read or is none.
pub fn read_board(path: &Path) -> Result<Platform> {
    let text = text_file::read(path, "the board")?;
    serde_json::from_str(&text).with_context(|| format!("{} is no board file", path.display()))
}
