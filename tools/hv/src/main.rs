//! `cargo hv`: the whole face of the project.
#![forbid(unsafe_code)]

mod attacks;
mod bench;
mod bochs;
mod check;
mod choice;
mod cli;
mod config;
mod count;
mod debian;
mod emulated;
mod image;
mod inspect;
mod kernel;
mod kernels;
mod pack;
mod panics;
mod payload;
mod process;
mod program;
mod progress;
mod project;
mod reference;
mod run;
mod structure;
mod symbols;
mod testing;
mod text_file;
mod toolchain;
mod workshop;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::config::Source;
use crate::kernel::Profile;
use crate::project::Project;
use crate::workshop::Workshop;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    match Project::find().and_then(|project| dispatch(&project, &command)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(project: &Project, command: &Command) -> Result<ExitCode> {
    let profile = profile_of(command);
    let runs_in = match command {
        Command::Run(options) => options.runs_in,
        Command::Test(options) => options.runs_in,
        _ => None,
    };
    let workshop = Workshop::new(project, profile).with_default_place(runs_in.map(Into::into));
    match command {
        Command::Run(options) => return run::run(&workshop, options),
        Command::Test(options) => return testing::run(&workshop, options),
        Command::Check(options) => return check::run(project, options),
        Command::Image(options) => image::run(&workshop, options)?,
        Command::Bench(options) => bench::run(&workshop, options)?,
        Command::Inspect(options) => inspect::run(options)?,
        Command::Build(options) => build(&workshop, options)?,
        Command::Pack(options) => {
            let source = Source::read(&options.config)?;
            workshop.pack(&source, &config::folder_of(&options.config), &options.output)?;
        }
        Command::Payload(options) => println!("{}", payload::prepare(project, options.update)?.display()),
        Command::Attacks => attacks::run(project)?,
        Command::Count(options) => match (options.profile, &options.elf) {
            (cli::Profile::Default, _) => count::run(project)?,
            (cli::Profile::Ring3, Some(elf)) => count::ring3::run(project, elf, options.files)?,
            (cli::Profile::Ring3, None) => count::ring3::run(project, workshop.hypervisor()?, options.files)?,
        },
        Command::Structure(options) => structure::run(project, options)?,
        Command::Panics(options) => panics::run(&workshop, options)?,
        Command::CleanCache => {
            let cache = project.cache();
            std::fs::remove_dir_all(cache).with_context(|| format!("cannot delete {}", cache.display()))?;
            println!("deleted {}", cache.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// How bare-metal programs are built for a command.
const fn profile_of(command: &Command) -> Profile {
    match command {
        Command::Run(cli::Run { profile: cli::Profile::Ring3, .. })
        | Command::Count(cli::Count { profile: cli::Profile::Ring3, .. }) => {
            Profile::Ring3 { is_product: false }
        }
        Command::Build(cli::Build { profile: cli::Profile::Ring3, product, .. })
        | Command::Image(cli::Image { profile: cli::Profile::Ring3, product, .. }) => {
            Profile::Ring3 { is_product: *product }
        }
        Command::Run(cli::Run { release: false, .. }) => Profile::Everyday,
        Command::Build(cli::Build { product: true, .. })
        | Command::Image(cli::Image { product: true, .. }) => Profile::Product,
        _ => Profile::Release,
    }
}

/// The path is all that goes to standard output, so that it can be used in `$(...)`.
fn build(workshop: &Workshop, options: &cli::Build) -> Result<()> {
    let elf = workshop.hypervisor()?;
    if let Some(output) = &options.output {
        std::fs::copy(elf, output).with_context(|| format!("cannot write {}", output.display()))?;
    }
    println!("{}", options.output.as_ref().unwrap_or(elf).display());
    Ok(())
}
