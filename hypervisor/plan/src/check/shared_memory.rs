//! Memory that guests share.

use super::{Report, ports};
use crate::config::{Config, GuestConfig, PciConfig, SharedMemoryConfig};
use crate::plan::{PeerPlan, Plan, SharedMemoryPlan};
use crate::problem::Problem;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use platform::names::Memory;

/// The least that is shared: the machine's memory is taken in pieces of that.
const LEAST: Memory = Memory::mib(2);
/// The most that share one memory.
const MOST_PEERS: usize = 64;

/// Decides which memories there are: those that somebody shares and with which nothing is wrong.
pub(crate) fn choose(config: &Config, plan: &mut Plan) {
    let right =
        config.shared_memory.iter().filter(|(name, memory)| problems(config, name, memory).is_empty());
    let planned = right.map(|(name, memory)| SharedMemoryPlan {
        name: name.clone(),
        bytes: memory.size.bytes(),
        peers: u16::try_from(peers(config, name).count()).unwrap_or(u16::MAX),
    });
    plan.shared_memory.extend(planned.filter(|memory| memory.peers > 0));
}

/// What is wrong with the tables on any machine.
pub(crate) fn check_whole(config: &Config) -> Vec<Problem> {
    config.shared_memory.iter().flat_map(|(name, memory)| problems(config, name, memory)).collect()
}

/// What is wrong with a table.
fn problems(config: &Config, name: &str, memory: &SharedMemoryConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |key: &str, message: &str, help: alloc::string::String| {
        let path = format!("shared_memory.{name}{key}");
        problems.push(Problem { path, message: message.to_string(), help });
    };
    let bytes = memory.size.bytes();
    if !bytes.is_power_of_two() || bytes < LEAST.bytes() {
        let right = bytes.max(LEAST.bytes()).checked_next_power_of_two();
        let right = right.map_or(LEAST, Memory);
        let message = format!("{} is no power of two from {LEAST} on", memory.size);
        add(".size", &message, format!("use \"{right}\""));
    }
    if peers(config, name).nth(MOST_PEERS).is_some() {
        let message = format!("more than {MOST_PEERS} functions share it");
        add("", &message, "give it to fewer".to_string());
    }
    problems
}

/// A function that shares memory says which, and has nothing else.
pub(crate) fn check(config: &Config, index: usize, pci: &PciConfig, report: &mut Report) {
    ports::check_no_drive(index, pci, report);
    ports::check_no_port(index, pci, "the emulated function has no network", report);
    match pci.shared_memory.as_deref() {
        None => report.add(
            format_args!("pci[{index}].emulate"),
            "nothing says which memory is shared",
            "add shared_memory = \"...\", and a table [shared_memory.NAME] with its size",
        ),
        Some(name) if !config.shared_memory.contains_key(name) => report.add(
            format_args!("pci[{index}].shared_memory"),
            format_args!("there is no shared memory `{name}`"),
            format_args!("add a table [shared_memory.{name}] with its size"),
        ),
        Some(name) => {
            let memory = config.shared_memory.get(name);
            if memory.is_some_and(|memory| !problems(config, name, memory).is_empty()) {
                let message = format!("shared memory `{name}` cannot be used");
                report.add(format_args!("pci[{index}].shared_memory"), message, "see what is said about it");
            }
        }
    }
}

/// The functions that share a memory, by position: their guests' names and their places in `pci`.
fn peers<'a>(config: &'a Config, memory: &'a str) -> impl Iterator<Item = (&'a str, usize)> {
    config.guest.iter().flat_map(move |(name, guest)| {
        let theirs = guest.shared_memory().filter(move |(_, other)| *other == memory);
        theirs.map(move |(index, _)| (name.as_str(), index))
    })
}

/// Who a guest's function is among those that share its memory; `None` for one that shares none.
pub(crate) fn peer(config: &Config, guest: &str, index: usize, pci: &PciConfig) -> Option<PeerPlan> {
    let memory = pci.shared_memory.clone()?;
    let position = peers(config, &memory).position(|peer| peer == (guest, index))?;
    Some(PeerPlan { position: u16::try_from(position).ok()?, memory })
}

/// Bytes of the memory that a guest's function shares, for each.
pub(crate) fn sizes<'a>(
    config: &'a Config,
    guest: &'a GuestConfig,
) -> impl Iterator<Item = (usize, u64)> + 'a {
    guest
        .shared_memory()
        .filter_map(|(index, memory)| Some((index, config.shared_memory.get(memory)?.size.bytes())))
}
