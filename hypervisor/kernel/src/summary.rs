//! The lines that tell a tool how everything ended.

use crate::guests::Guest;
use crate::host::Machine;
use crate::lifecycle::COMMON;
use access::vcpu::{EXIT_KINDS, Exit};
use alloc::string::String;
use core::fmt::Write;
use machine::memory::{frames, heap, layout};
use machine::{boot, console};

/// Writes one line for each guest and one for the hypervisor.
pub fn write(machine: &Machine) {
    let _reporting = heap::loading();
    let mut line = String::new();
    for guest in &machine.guests {
        line.clear();
        // Writing to a string cannot fail.
        let _ = guest_line(&mut line, guest);
        console::write_for_tools(format_args!("{line}"));
    }
    let ended =
        machine.guests.iter().filter(|guest| guest.lifecycle.is_as_expected(guest.plan.config.expect));
    let as_expected = ended.count() + machine.refused_as_expected;
    let guest_bytes: u64 = machine.guests.iter().map(|guest| guest.plan.memory_bytes).sum();
    console::write_for_tools(format_args!(
        "summary hypervisor image_bytes={} memory_bytes={} heap_bytes={} late_allocations={} boot_ticks={} guests={} as_expected={}",
        layout::image_bytes(),
        (frames::ram_bytes() - frames::free_bytes()).saturating_sub(guest_bytes),
        heap::bytes(),
        heap::late_allocations(),
        first_instruction(machine),
        machine.guests.len() + machine.refused,
        as_expected,
    ));
}

/// TSC ticks from the hypervisor's first instruction to the first of any guest.
fn first_instruction(machine: &Machine) -> u64 {
    let first =
        machine.guests.iter().map(|guest| guest.lifecycle.first_instruction()).filter(|&tsc| tsc != 0);
    first.min().map_or(0, |tsc| tsc.saturating_sub(boot::start_tsc()))
}

fn guest_line(line: &mut String, guest: &Guest) -> core::fmt::Result {
    let (mut exits, mut steady) = ([0u64; EXIT_KINDS], None);
    for processor in &guest.processors {
        let (all, since_ready) = processor.exits();
        add(&mut exits, all);
        if let Some(counts) = since_ready {
            add(steady.get_or_insert([0; EXIT_KINDS]), counts);
        }
    }
    let kept = guest.account.kept();
    let ticks = guest.lifecycle.first_instruction().saturating_sub(boot::start_tsc());
    let hz = COMMON.get().map_or(1, |common| common.tsc_hz.max(1));
    let first_instruction_ns = (u128::from(ticks) * 1_000_000_000 / u128::from(hz)) as u64;
    write!(
        line,
        "summary guest={} end={} expected={} runs={} kept_frames={} kept_in_force={} cpus={} memory_bytes={} hypervisor_bytes={} first_instruction_ns={}",
        guest.partition.name,
        guest.lifecycle.end_name(),
        guest.lifecycle.is_as_expected(guest.plan.config.expect),
        guest.lifecycle.runs(),
        kept.frames,
        kept.in_force,
        guest.processors.len(),
        guest.plan.memory_bytes,
        guest.overhead_bytes,
        first_instruction_ns,
    )?;
    for (name, count) in Exit::KIND_NAMES.iter().zip(exits).filter(|(_, count)| *count > 0) {
        write!(line, " exits.{name}={count}")?;
    }
    let Some(steady) = steady else { return Ok(()) };
    write!(line, " steady={}", steady.iter().sum::<u64>())?;
    for (name, count) in Exit::KIND_NAMES.iter().zip(steady).filter(|(_, count)| *count > 0) {
        write!(line, " steady.{name}={count}")?;
    }
    Ok(())
}

fn add(sums: &mut [u64; EXIT_KINDS], counts: [u64; EXIT_KINDS]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count;
    }
}
