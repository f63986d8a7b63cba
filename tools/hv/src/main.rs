//! `cargo hv`: the whole face of the project.
#![forbid(unsafe_code)]

mod cli;
mod debian;
mod kernel;

mod payload;
mod process;
mod progress;
mod project;
mod symbols;
mod toolchain;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::project::Project;
use crate::toolchain::Toolchain;

fn main() -> ExitCode {
    match Project::find().and_then(|project| dispatch(&project, Cli::parse().command)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(project: &Project, command: Command) -> Result<ExitCode> {
    match command {
        Command::Build(build) => {
            let elf = kernel::build(project, &Toolchain::prepare(project)?, kernel::HYPERVISOR)?;
            if let Some(output) = build.output {
                std::fs::copy(&elf, &output).with_context(|| format!("cannot write {}", output.display()))?;
            }
            println!("{}", elf.display());
        }
        Command::Payload(payload) => {
            let folder = payload::prepare(project, payload.update)?;
            println!("{}", folder.display());
        }
        Command::Pack(pack) => {
            let elf = kernel::build(project, &Toolchain::prepare(project)?, kernel::HYPERVISOR)?;
        }
        Command::CleanCache => {
            let cache = project.cache();
            std::fs::remove_dir_all(cache).with_context(|| format!("cannot delete {}", cache.display()))?;
            println!("deleted {}", cache.display());
        }
        _ => anyhow::bail!("this verb has not landed yet"),
    }
    Ok(ExitCode::SUCCESS)
}
