//! What the boot processor does while the guests run: the console, IOMMU faults, and the
//! end.

use crate::clients::Endpoints;
use crate::compartments::drivers::{self, Owner};
use crate::compartments::{self, Kills, Victim};
use crate::guests::{Common, Guest};
use crate::host::{IOMMUS, Machine};
use crate::io::{Io, Polling};
use crate::keyboard::Keyboard;
use crate::metered;
use crate::summary;
use access::Clock;
use backends::{Counters, UplinkCounters};
use consoles::input::AT_ONCE;
use core::fmt;
use devices::device::Work;
use devices::endpoint::Activity;
use guest::host::{DEVICE_VECTOR, KICK_VECTOR, LINE_VECTOR};
use guest::partition::End;
use iommu::{Fault, FaultKind, Iommu};
use machine::console;
use machine::console::Turn;
use machine::cpu::{apic, interrupts, machine_check, processor, registers, ring3, timer};
use machine::memory::heap;
use network::Dropped;
use plan::Base;
use spec::Bdf;

/// How many faults of one guest are logged, so that a storm fills no log.
const FAULTS_LOGGED: u32 = 20;

/// Makes the housekeeping CPU look at once.
pub fn wake() {
    if let Some(id) = processor::apic_id(0) {
        apic::send_interrupt(id, KICK_VECTOR);
    }
}

/// Makes the housekeeping CPU look at the emulated devices, as a device of the hypervisor's does: that
/// takes no turn of anything else.
pub fn wake_io() {
    if let Some(id) = processor::apic_id(0) {
        apic::send_interrupt(id, DEVICE_VECTOR);
    }
}

/// Watches over the guests until all are over.
#[inline(never)]
pub fn watch(machine: &Machine, common: &Common, io: &Io, kills: &mut Kills) {
    let tsc_hz = common.tsc_hz;
    let mut keyboard = Keyboard::new(machine, tsc_hz);
    let mut typed = [0; AT_ONCE];
    let mut logged = alloc::vec![0u32; machine.guests.len() + 1];
    let mut polling = Polling::new();
    heap::seal();
    compartments::watch();
    while !machine.guests.iter().all(|guest| guest.lifecycle.is_over()) {
        let now = registers::read_tsc();
        if compartments::are_in_use() {
            // What was set may have come already, and what follows goes to ring 3.
            timer::arm_timer(now.saturating_add(tsc_hz / 1000 * compartments::LOOK_MS));
        }
        let Turn { received, next } = console::turn(now, &mut typed, keyboard.is_ready());
        keyboard.take(typed.get(..received).unwrap_or_default(), now);
        drain_faults(machine, &mut logged);
        machine_check::report();
        let chipsets = machine.guests.iter().filter_map(|guest| guest.partition.look_after_chipset());
        let kill = kills.take(now, |victim| end(victim, machine, common, io));
        // Machine checks wake nobody.
        let look = now.saturating_add(tsc_hz);
        let next = next.min(keyboard.draw(now));
        let mut armed = chipsets.fold(next.min(look).min(kill), u64::min);
        if compartments::are_in_use() {
            ring3::look_for_late();
            armed = armed.min(now.saturating_add(tsc_hz / 1000 * compartments::LOOK_MS));
        }
        timer::arm_timer(armed);
        while !wants_turn(machine, common, io, &mut polling, &mut armed) {}
    }
    timer::disarm_timer();
    drain_faults(machine, &mut logged);
    console::picture::show_log();
    console::take_from_housekeeping();
}

/// Ends a compartment on purpose.
fn end(victim: &Victim, machine: &Machine, common: &Common, io: &Io) {
    match victim {
        Victim::Function(name, function) => {
            let guest = machine.guests.iter().find(|guest| guest.plan.name == *name);
            guest.map(|guest| guest.partition.serve_endpoint(*function, |endpoint, _| endpoint.kill()));
        }
        Victim::Machine(name, part) => {
            let guest = machine.guests.iter().position(|guest| guest.plan.name == *name);
            guest.into_iter().for_each(|guest| drivers::kill(Owner::Machine(guest, *part)));
        }
        Victim::Driver(place) => {
            drivers::kill(Owner::Driver(*place));
            // It is entered to look for what came.
            io.interrupt(common.clock.now_ns());
        }
    }
}

/// Has those end that are in ring 3 for too long, where the housekeeping CPU waits for what they hold.
pub fn look_for_late() {
    if processor::current_index() == 0 && compartments::are_in_use() {
        ring3::look_for_late();
    }
}

/// Serves the emulated devices, waits for an interrupt where there is no more to serve, and takes the
/// lines of guests whose own processors take no vector of ours. Whether anything else came: a line that interrupts again as soon as its guest has served
/// it waits for no turn of the console, and does not hide the timer that brings the next one.
fn wants_turn(machine: &Machine, common: &Common, io: &Io, polling: &mut Polling, armed: &mut u64) -> bool {
    let polls = metered::turn(|| io.turn(polling, &mut Endpoints(machine), common.clock.now_ns()));
    // What a driver waits for may be nearer than what the timer is set to.
    let due = polling.deadline_ns().map_or(u64::MAX, |at_ns| common.clock.tsc_at(at_ns));
    if !polls && due < *armed {
        *armed = due;
        timer::arm_timer(due);
    }
    if polls {
        // There is more to do, or soon will be: whatever came is taken without waiting for it.
        interrupts::take_pending();
    } else {
        interrupts::halt_until_interrupt();
    }
    let mut vectors = interrupts::take_vectors();
    let was_kicked = interrupts::was_kicked();
    let came_by_device = take(&mut vectors, DEVICE_VECTOR);
    if came_by_device {
        io.interrupt(common.clock.now_ns());
    }
    let came_by_line = take(&mut vectors, LINE_VECTOR);
    if came_by_line {
        machine.guests.iter().for_each(|guest| guest.partition.take_lines_as_housekeeping());
    }
    !(polls || came_by_device || came_by_line) || was_kicked || vectors.iter().any(|word| *word != 0)
}

/// Takes a vector out of a bitmap. Whether it was in it.
fn take(vectors: &mut [u64; 4], vector: u8) -> bool {
    vectors.get_mut(usize::from(vector >> 6)).is_some_and(|word| {
        let before = *word;
        *word &= !(1 << (vector & 63));
        *word != before
    })
}

/// Logs what the IOMMUs refused, with whose it was.
fn drain_faults(machine: &Machine, logged: &mut [u32]) {
    let Some(iommus) = IOMMUS.get() else { return };
    // Bounded: a storm must not keep the housekeeping CPU from everything else.
    for _ in 0..64 {
        let Some(fault) = iommus.lock().next_fault() else { return };
        let owner = machine.guests.iter().position(|guest| owns(guest, fault.source.id));
        let Some(count) = logged.get_mut(owner.unwrap_or(machine.guests.len())) else { continue };
        *count = count.saturating_add(1);
        if *count <= FAULTS_LOGGED {
            log_fault(machine, owner, &fault, *count == FAULTS_LOGGED);
        }
    }
}

fn log_fault(machine: &Machine, owner: Option<usize>, fault: &Fault, last: bool) {
    let name =
        owner.and_then(|owner| machine.guests.get(owner)).map_or("nobody", |guest| &guest.partition.name);
    let what = if fault.kind == FaultKind::Interrupt { "interrupt" } else { "DMA" };
    let more = if last { "; more are not logged" } else { "" };
    log::warn!("{what} of {name} blocked: {fault}{more}");
}

fn owns(guest: &Guest, id: Bdf) -> bool {
    guest.plan.functions.iter().any(|function| function.requesters.contains(&id))
}

/// Says what was done for each emulated function.
fn report_io(machine: &Machine, io: &Io) {
    for (index, guest) in machine.guests.iter().enumerate() {
        for (endpoint, emulated) in guest.plan.emulated.iter().enumerate() {
            let done = guest.partition.serve_endpoint(endpoint, |endpoint, _| {
                let Work { requests, bytes, errors } = endpoint.work();
                (endpoint.activity(), Counters { requests, bytes, errors, lent: 0 })
            });
            let (Activity { accesses, messages }, work) = done.unwrap_or_default();
            let (name, slot, model) = (&guest.plan.name, emulated.slot, emulated.model.text());
            let account = guest.partition.serve_endpoint(endpoint, |endpoint, _| endpoint.compartment());
            if let (Some(Some(account)), Some(name)) = (account, guest.plan.function_name(endpoint)) {
                compartments::report(name, account);
            }
            if let Base::Port(_) = emulated.base {
                let ports = io.networks.iter().filter_map(|network| network.lock().counters(index, endpoint));
                ports.for_each(|(port, unfit)| {
                    report_port(format_args!("{name}: {slot}: {model}"), &port, unfit);
                });
                log::info!("{name}: {slot}: {model}: {accesses} exits, {messages} interrupts");
                continue;
            }
            // An image does its requests itself, of a part of a drive others do them; of two drives, both may.
            let served = io.counters(index, endpoint);
            let own = if served.is_none() || emulated.second_backing.is_some() {
                work
            } else {
                Counters::default()
            };
            let Counters { requests, bytes, errors, lent } = own.plus(served.unwrap_or_default());
            let lent = Lent(lent);
            log::info!(
                "{name}: {slot}: {model}: {requests} requests, {bytes} bytes{lent}, {errors} errors, \
                 {accesses} exits, {messages} interrupts"
            );
        }
    }
    drivers::report();
    for network in &io.networks {
        let network = network.lock();
        if let Some(UplinkCounters { port, nic }) = network.uplink_counters() {
            let name = &network.name;
            report_port(format_args!("network {name}: its uplink"), &port, 0);
            let nic::Counters { lost, damaged, missed, resets, .. } = nic;
            log::info!(
                "network {name}: its interface lost {lost} frames, missed {missed}, had {damaged} damaged and was \
                 reset {resets} times"
            );
        }
    }
}

/// How many requests a drive did in the guest's memory itself, where it did.
struct Lent(u64);

impl fmt::Display for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, " ({} requests without a copy)", self.0) }
    }
}

/// Says what went through a port of a network, and what did not and why; `unfit` frames of it were
/// none.
fn report_port(who: fmt::Arguments<'_>, port: &network::Counters, unfit: u64) {
    let network::Counters { sent, received, .. } = port;
    log::info!(
        "{who}: sent {} frames, {} bytes; received {} frames, {} bytes",
        sent.frames,
        sent.bytes,
        received.frames,
        received.bytes
    );
    let reasons = Dropped::ALL.map(|reason| (reason.words(), port.dropped(reason)));
    for (words, frames) in reasons.into_iter().chain([("no frames", unfit)]) {
        if frames != 0 {
            log::info!("{who}: dropped {frames} frames: {words}");
        }
    }
}

/// Ends everything: the summary, then the machine.
#[inline(never)]
pub fn finish(machine: &Machine, io: &Io) {
    for guest in &machine.guests {
        guest.partition.request_end(End::Stopped);
    }
    report_io(machine, io);
    summary::write(machine);
}
