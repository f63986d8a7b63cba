//! `cargo hv bench`: what leaving a guest and what emulated functions cost in instructions, beside Linux
//! + KVM, and what passing a drive and a NIC through to Linux costs in time.

mod drives;
mod exits;
mod floods;
mod frames;
mod functions;
mod latency;
mod linux;
mod places;
mod spread;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::bench::{Bench, Column};
use lab::{Boot, Consoles, Line, Machine, Running, Summary, View};
use serde_json::{Map, Value, json};

use crate::choice::Cpu;
use crate::cli::{self, Table};
use crate::config::Source;
use crate::emulated;
use crate::kernel::Profile;
use crate::progress::Step;
use crate::project::make_folder;
use crate::reference;
use crate::workshop::Workshop;

/// Longest time of one run.
const TIMEOUT: Duration = Duration::from_secs(1200);

/// Measures, and prints a table or JSON.
///
/// # Errors
/// When something cannot be built, or a guest does not come to its end.
pub fn run(workshop: &Workshop, options: &cli::Bench) -> Result<()> {
    workshop.prepare_tools()?;
    let folder = workshop.project().output().join("bench");
    make_folder(&folder)?;
    let mut results = Map::new();
    // Each table is printed when it is known: the next ones take minutes.
    let mut say = |name: &str, table: &str, value: Value| {
        if !options.json {
            println!("{table}");
        }
        results.insert(name.to_owned(), value);
    };
    let mut cpus = vec![Cpu::Amd, Cpu::Intel];
    cpus.retain(|cpu| options.cpu.is_none_or(|wanted| wanted == *cpu));
    if options.wants(Table::Exits) {
        let (columns, summary) = exits(workshop, &folder, options, &mut cpus)?;
        let counts = [lab::bench::table(&columns), lab::bench::exits_table(&columns)];
        say("instructions", &counts.join("\n"), columns_to_json(&columns));
        say("footprint", &footprint(&summary), summary.to_json());
    }
    if options.wants(Table::Places) {
        let columns = cpus.iter().map(|cpu| places::measure(workshop, &folder, *cpu));
        let columns = columns.collect::<Result<Vec<_>>>()?.concat();
        say("places", &lab::bench::table(&columns), columns_to_json(&columns));
        let restarts = cpus.iter().map(|cpu| places::restarts(workshop, &folder, *cpu));
        let restarts = restarts.collect::<Result<Vec<_>>>()?;
        let tables = restarts.iter().map(places::Restarts::table).collect::<Vec<_>>();
        say("restarts", &tables.join("\n"), restarts.iter().map(places::Restarts::to_json).collect());
    }
    // Functions are passed through and drives kept where there is an IOMMU.
    if options.cpu != Some(Cpu::Intel) {
        let metered = Workshop::new(workshop.project(), Profile::Metered);
        if options.wants(Table::Functions) {
            let functions = functions::measure(&metered, &folder)?;
            say("functions", &functions.table(), functions.to_json());
        }
        if options.wants(Table::Floods) {
            let floods = floods::measure(&metered, &folder)?;
            say("floods", &floods.table(), floods.to_json());
        }
    }
    if options.wants(Table::Latency) {
        let latency = latency::measure(workshop, &folder, &cpus)?;
        say("latency", &latency.table(), latency.to_json());
    }
    if options.wants(Table::Linux) && options.cpu != Some(Cpu::Intel) {
        let linux = linux::measure(workshop, &folder, !options.no_reference)?;
        say("linux", &linux.table(), linux.to_json());
    }
    if options.wants(Table::Drives) && options.cpu != Some(Cpu::Intel) {
        let drives = drives::measure(workshop, &folder, !options.no_reference, options.rounds)?;
        say("drives", &drives.table(), drives.to_json());
    }
    if options.wants(Table::Frames) && options.cpu != Some(Cpu::Intel) {
        let frames = frames::measure(workshop, &folder, !options.no_reference, options.rounds)?;
        say("frames", &frames.table(), frames.to_json());
    }
    if options.json {
        println!("{:#}", Value::Object(results));
    }
    Ok(())
}

/// Instructions and exits of single operations, and the footprint. Of `cpus` those stay that were
/// measured.
fn exits(
    workshop: &Workshop,
    folder: &Path,
    options: &cli::Bench,
    cpus: &mut Vec<Cpu>,
) -> Result<(Vec<Column>, Summary)> {
    let host = if options.no_reference { None } else { Some(reference::prepare(workshop, folder)?) };
    let (mut columns, mut summary) = (Vec::new(), None);
    for cpu in std::mem::take(cpus) {
        let measured = exits::measure(workshop, folder, cpu, host.as_ref())
            .and_then(|measured| Ok((measured, exits::measure_direct(workshop, folder, cpu)?)))
            .and_then(|(measured, direct)| {
                Ok((measured, [direct, exits::measure_guarded(workshop, folder, cpu)?]))
            });
        match measured {
            Ok(((column, account), others)) => {
                columns.push(column);
                columns.extend(others);
                cpus.push(cpu);
                summary.get_or_insert(account);
            }
            // Not every host can build Bochs; who did not ask for it gets the rest.
            Err(error) if cpu == Cpu::Intel && options.cpu.is_none() => {
                eprintln!("  !! VT-x is left out: {error:#}");
            }
            Err(error) => return Err(error),
        }
    }
    Ok((columns, summary.unwrap_or_default()))
}

/// Packs `config`; gives it, and the bundle.
fn pack(workshop: &Workshop, config: &str, folder: &Path) -> Result<(Source, PathBuf)> {
    let bundle = folder.join("bundle");
    let source = Source::parse(config.to_owned(), "the bench's configuration".to_owned())?;
    workshop.pack(&source, folder, &bundle)?;
    Ok((source, bundle))
}

/// The machine that `config` is for, with the hypervisor.
fn hypervisor_with(workshop: &Workshop, config: &str, folder: &Path) -> Result<Machine> {
    let (source, bundle) = pack(workshop, config, folder)?;
    let elf = workshop.hypervisor()?.clone();
    let boot = Boot::Kernel { elf, initrd: Some(bundle), command_line: String::new() };
    let machine = Machine::everyday(workshop.qemu()?, boot);
    let (machine, missing) = emulated::equip(machine, &source.config, folder, 0, false)?;
    ensure!(missing.is_empty(), "{}", missing.join(", "));
    Ok(machine)
}

/// Runs a machine to its end; `start` gets the folder for its logs.
fn watch(
    start: impl Fn(&Path) -> Result<Running>,
    folder: &Path,
    title: &str,
    mut each: impl FnMut(&Line),
) -> Result<Summary> {
    let mut step = Step::start(title);
    let mut running = start(folder)?;
    let mut consoles = Consoles::on_stdout(View::Nothing, Some(lab::Logs::new(folder)?));
    let mut summary = Summary::default();
    let ended = lab::session::run(&mut running, &mut consoles, Some(TIMEOUT), false, |line| {
        step.note(&line.text);
        summary.take(line);
        each(line);
        if crate::run::has_stopped(line) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    ensure!(
        matches!(ended, lab::Ended::ByItself(_)),
        "{title}: the machine had to be stopped (after {} s at most); what was said is in {}",
        TIMEOUT.as_secs(),
        folder.display()
    );
    step.done("");
    Ok(summary)
}

fn footprint(summary: &Summary) -> String {
    let Some(own) = &summary.hypervisor else { return String::new() };
    let guests: String = summary
        .guests
        .iter()
        .map(|(name, guest)| {
            format!(
                "| hypervisor memory for guest `{name}` | {} |\n",
                lab::summary::bytes(guest.hypervisor_bytes)
            )
        })
        .collect();
    format!(
        "| footprint | |\n|---|---:|\n| instructions from the first to the first guest's first | {} |\n\
         | image | {} |\n| hypervisor memory in all | {} |\n{guests}",
        own.boot_ticks,
        lab::summary::bytes(own.image_bytes),
        lab::summary::bytes(own.memory_bytes)
    )
}

fn columns_to_json(columns: &[Column]) -> Value {
    let results = |bench: &Bench| -> Value {
        bench.results.iter().map(|(name, count)| (name.clone(), json!(count))).collect()
    };
    let exits = |bench: &Bench| -> Value {
        bench.exits.iter().map(|(name, ..)| (name.clone(), json!(bench.exits_each(name)))).collect()
    };
    let column = |column: &Column| {
        let both = json!({
            "bulkhead": results(&column.ours),
            "linux_kvm": column.reference.as_ref().map(results),
            "bulkhead_exits_each": exits(&column.ours),
        });
        (column.title.clone(), both)
    };
    columns.iter().map(column).collect()
}
