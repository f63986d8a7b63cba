//! The loop over a scripted vCPU and host: what is asked of each entry.

extern crate std;

use super::*;
use crate::host::FAULT_VECTOR;
use crate::layout;
use access::GuestMemory as _;
use access::vcpu::{Exit, InterruptMode, RAX, RBX, RCX, RDX, RSI};
use script::{FakeHost, IF, STATE, Scripted, Turn, device, exit, injected, partition, play};
use spec::{Gpa, Width, msr};
use std::string::{String, ToString};
use std::vec::Vec;

#[test]
fn a_devices_vector_is_the_guests_own() {
    let partition = partition(1);
    let vp = play(&partition, 0, &[device(0x31)], &[]);
    assert_eq!(injected(&vp), [None, Some(Event::Interrupt(0x31))]);
}

#[test]
fn a_model_that_causes_more_than_it_said_ends_its_guest() {
    let partition = partition(1);
    let cause = |count: usize| {
        partition
            .with_chipset(0, |_, effects, _| (0..count).for_each(|_| effects.push(Effect::Transmit(b'.'))));
        partition.ended()
    };
    assert_eq!(cause(devices::Effects::CHIPSET), None);
    assert_eq!(cause(devices::Effects::CHIPSET + 1), Some(End::DeviceFailed));
}

/// Routes the guest's line 17, level-triggered, to this vector of its first processor.
fn route_line(partition: &Partition<FakeHost>, entry: u32) {
    const PIN: u32 = 0x10 + 2 * 17;
    partition.with_chipset(0, |chipset, effects, _| {
        for (register, value) in [(PIN + 1, 0), (PIN, entry)] {
            chipset.ioapic_write(0, register, effects);
            chipset.ioapic_write(0x10, value, effects);
        }
    });
}

const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;

#[test]
fn a_line_interrupts_once_for_each_end() {
    let partition = partition(1);
    route_line(&partition, LEVEL | 0x41);
    partition.host.in_service.set(1 << 17);
    let end = Turn { registers: std::vec![(RCX, 0x80b), (RAX, 0), (RDX, 0)], ..exit(Exit::WriteMsr) };
    // The vector comes again for another line: this one is in service already.
    let vp = play(&partition, 0, &[device(LINE_VECTOR), device(LINE_VECTOR), exit(Exit::Cpuid), end], &[]);
    let came = injected(&vp).into_iter().flatten().collect::<Vec<_>>();
    assert_eq!(came, [Event::Interrupt(0x41)]);
    assert_eq!(*partition.host.ended.borrow(), [17], "the machine's pin is free again");
}

#[test]
fn a_line_that_the_guest_masks_stays_in_service_until_it_opens() {
    let partition = partition(1);
    route_line(&partition, LEVEL | MASKED | 0x41);
    partition.host.in_service.set(1 << 17);
    let vp = play(&partition, 0, &[device(LINE_VECTOR), exit(Exit::Cpuid)], &[]);
    assert_eq!(injected(&vp), [None; 3]);
    assert!(partition.host.ended.borrow().is_empty());
    route_line(&partition, LEVEL | 0x41);
    assert_eq!(*partition.host.ended.borrow(), [17], "it is asked again whether it is asserted");
}

#[test]
fn a_stray_line_vector_raises_nothing() {
    let partition = partition(1);
    route_line(&partition, LEVEL | 0x41);
    let vp = play(&partition, 0, &[device(LINE_VECTOR)], &[]);
    assert_eq!(injected(&vp), [None; 2]);
}

#[test]
fn the_hypervisors_own_vectors_never_reach_the_guest() {
    let partition = partition(1);
    let vp = play(&partition, 0, &[device(TIMER_VECTOR), device(KICK_VECTOR), device(FAULT_VECTOR)], &[]);
    assert_eq!(injected(&vp), [None; 4]);
}

#[test]
fn an_interrupt_waits_for_its_window() {
    let partition = partition(1);
    let masked = Turn { rflags: Some(2), ..device(0x31) };
    let open = Turn { rflags: Some(2 | IF), ..exit(Exit::InterruptWindow) };
    let vp = play(&partition, 0, &[masked, exit(Exit::Cpuid), open], &[]);
    let windows: Vec<bool> = vp.cpu.resumes.iter().map(|resume| resume.interrupt_window).collect();
    assert_eq!(windows, [false, true, true, false], "the wish lasts over other exits");
    assert_eq!(injected(&vp), [None, None, None, Some(Event::Interrupt(0x31))]);
}

#[test]
fn the_higher_vector_comes_first_and_the_lower_at_its_end() {
    let partition = partition(1);
    let both = Turn { exit: Some(Exit::Interrupt), vectors: std::vec![0x41, 0x81], ..Turn::default() };
    let end = Turn { registers: std::vec![(RCX, 0x80b), (RAX, 0), (RDX, 0)], ..exit(Exit::WriteMsr) };
    let vp = play(&partition, 0, &[both, end], &[]);
    assert_eq!(injected(&vp), [None, Some(Event::Interrupt(0x81)), Some(Event::Interrupt(0x41))]);
}

#[test]
fn what_the_task_priority_holds_back_waits_for_cr8() {
    let partition = partition(1);
    let raise = Turn { registers: std::vec![(RCX, 0x808), (RAX, 0x50), (RDX, 0)], ..exit(Exit::WriteMsr) };
    let vp = play(&partition, 0, &[raise, device(0x41), exit(Exit::Cpuid)], &[]);
    let watched: Vec<bool> = vp.cpu.resumes.iter().map(|resume| resume.priority_window).collect();
    assert_eq!(watched, [false, false, true, true]);
    assert_eq!(injected(&vp), [None; 4]);
}

#[test]
fn halt_sleeps_until_an_interrupt() {
    let partition = partition(1);
    let spurious = Turn::default();
    let wake = Turn { vectors: std::vec![0x40], ..Turn::default() };
    let vp = play(&partition, 0, &[exit(Exit::Halt)], &[spurious, wake]);
    assert_eq!(vp.cpu.slept, 2);
    assert_eq!(vp.cpu.still.rip, 2, "HLT was stepped over once");
    assert_eq!(injected(&vp)[1], Some(Event::Interrupt(0x40)));
}

#[test]
fn halt_with_interrupts_off_ends_only_by_nmi() {
    let partition = partition(2);
    let halt = Turn { rflags: Some(2), ..exit(Exit::Halt) };
    let interrupt = Turn { vectors: std::vec![0x40], ..Turn::default() };
    partition.mailboxes[0].post(mailbox::NMI);
    let vp = play(&partition, 0, &[halt.clone()], &[interrupt.clone(), interrupt]);
    assert_eq!(injected(&vp), [Some(Event::Nmi)], "it never runs again after the HLT");
    assert_eq!(vp.cpu.slept, 3);
}

#[test]
fn a_second_processor_waits_for_its_start_up() {
    let partition = partition(2);
    let vp = play(&partition, 1, &[exit(Exit::Cpuid)], &[]);
    assert_eq!((vp.cpu.slept, vp.cpu.resumes.len()), (1, 0));

    let partition = self::partition(2);
    partition.mailboxes[1].post_init();
    partition.mailboxes[1].post_start_up(0x9a);
    let vp = play(&partition, 1, &[], &[]);
    assert_eq!(vp.cpu.resumes.len(), 1);
    let code = vp.cpu.still.segments[SegmentName::Cs as usize];
    assert_eq!((code.base, code.selector, vp.cpu.still.rip), (0x9_a000, 0x9a00, 0));
}

#[test]
fn an_ipi_goes_to_the_others_mailbox_and_kicks_it() {
    let partition = partition(2);
    let mut other = LocalApic::new(1, false);
    other.set_base(other.base() | 0xc00).unwrap();
    let _ = other.write(0x0f, 0x1ff, 0).unwrap();
    partition.mailboxes[1].set_address(other.address().to_bits());
    let send = Turn { registers: std::vec![(RCX, 0x830), (RAX, 0x77), (RDX, 1)], ..exit(Exit::WriteMsr) };
    play(&partition, 0, &[send], &[]);
    assert_eq!(partition.host.kicked.borrow().first(), Some(&1));
    assert_eq!(vectors(partition.mailboxes[1].take().unwrap().edge).collect::<Vec<_>>(), [0x77]);
}

#[test]
fn the_timer_is_armed_and_its_vector_delivered() {
    let partition = partition(1);
    let [mode, set] = timer_at(500);
    let turns = [mode, set, device(TIMER_VECTOR)];
    let vp = play(&partition, 0, &turns, &[]);
    assert!(partition.host.armed.borrow().contains(&Some(500)));
    assert_eq!(injected(&vp).last(), Some(&Some(Event::Interrupt(0xec))));
}

/// Sets the timer of the guest's APIC to fire vector 0xec at a TSC.
fn timer_at(deadline: u64) -> [Turn; 2] {
    let set = |number, value| Turn {
        registers: std::vec![(RCX, number), (RAX, value), (RDX, 0)],
        ..exit(Exit::WriteMsr)
    };
    const DEADLINE_MODE: u64 = 2 << 17;
    [set(0x832, DEADLINE_MODE | 0xec), set(msr::TSC_DEADLINE.into(), deadline)]
}

#[test]
fn a_guest_that_exits_at_its_deadline_needs_no_timer_of_the_processors() {
    let partition = partition(1);
    partition.host.timed_exits.set(true);
    let [mode, set] = timer_at(500);
    // One exit too early and one that is late.
    let vp = play(
        &partition,
        0,
        &[mode, set, exit(Exit::Timer), device(0x31), exit(Exit::Timer), exit(Exit::Cpuid)],
        &[],
    );
    assert_eq!(vp.cpu.deadlines, [None, Some(500), None]);
    let came: Vec<_> = injected(&vp).into_iter().flatten().collect();
    assert_eq!(came.iter().filter(|event| **event == Event::Interrupt(0xec)).count(), 1);
    assert!(partition.host.armed.borrow().is_empty());
}

#[test]
fn a_sleep_needs_the_processors_timer_and_what_it_armed_serves_the_run_after_it() {
    let partition = partition(1);
    partition.host.timed_exits.set(true);
    let [mode, set] = timer_at(1 << 20);
    let halt = exit(Exit::Halt);
    let wake = Turn { vectors: std::vec![0x31], ..Turn::default() };
    let [_, again] = timer_at(1 << 21);
    let turns = [mode, set, halt, exit(Exit::Cpuid), again, exit(Exit::Cpuid)];
    let vp = play(&partition, 0, &turns, &[wake]);
    // Asleep, and then for the run; a new deadline is the guest's again. It ends with none.
    assert_eq!(*partition.host.armed.borrow(), [Some(1 << 20), None]);
    assert_eq!(vp.cpu.deadlines, [None, Some(1 << 20), None, Some(1 << 21), None]);
    assert_eq!(vp.cpu.slept, 1);
}

#[test]
fn a_refused_msr_faults_at_the_instruction_and_is_logged_once() {
    let partition = partition(1);
    let read = Turn { registers: std::vec![(RCX, 0xc001_0117)], ..exit(Exit::ReadMsr) };
    let vp = play(&partition, 0, &[read.clone(), read], &[]);
    assert_eq!(injected(&vp), [None, Some(Event::PROTECTION), Some(Event::PROTECTION)]);
    assert_eq!(vp.cpu.still.rip, 0);
    assert_eq!(partition.host.logged.borrow().len(), 1);
}

#[test]
fn a_guest_cannot_fill_the_log() {
    let partition = partition(1);
    for crash in 0..1000 {
        partition.log(format_args!("crash {crash}"));
    }
    let logged = partition.host.logged.borrow().len();
    assert!(logged < 500, "{logged}");
    let now = partition.host.now.get();
    partition.host.now.set(now + partition.tsc_hz * 1000);
    partition.log(format_args!("after a while"));
    let told = alloc::format!("{} lines about it were left out", 1000 - logged);
    assert_eq!(partition.host.logged.borrow()[logged..], [told, "after a while".to_string()]);
    partition.end_log();
    assert_eq!(partition.host.logged.borrow().len(), logged + 2, "there is no more to tell");
}

#[test]
fn instructions_that_the_machine_lacks_are_undefined() {
    let partition = partition(1);
    let vp = play(&partition, 0, &[exit(Exit::UndefinedOpcode)], &[]);
    assert_eq!(injected(&vp), [None, Some(Event::UNDEFINED)]);
}

#[test]
fn what_the_backend_refuses_faults_and_what_it_settled_is_over() {
    let partition = partition(1);
    let vp = play(&partition, 0, &[exit(Exit::Handled), exit(Exit::GeneralProtection)], &[]);
    assert_eq!(injected(&vp), [None, None, Some(Event::PROTECTION)]);
    assert_eq!(vp.cpu.still.rip, 0, "neither steps over anything");
}

#[test]
fn extended_state_is_switched_on_where_it_is_offered() {
    let partition = partition(1);
    let set = |rcx, rax| Turn {
        exit: Some(Exit::SetXcr),
        registers: [(RCX, rcx), (RAX, rax), (RDX, 0)].into(),
        ..Turn::default()
    };
    let vp = play(&partition, 0, &[set(0, STATE.into())], &[]);
    assert_eq!((vp.cpu.still.xcr0, vp.cpu.still.rip), (STATE.into(), 2));
    for (rcx, rax) in [(1, 1), (0, 0), (0, u64::from(STATE) | 1 << 9)] {
        let partition = self::partition(1);
        let vp = play(&partition, 0, &[set(rcx, rax)], &[]);
        assert_eq!(injected(&vp), [None, Some(Event::PROTECTION)], "XCR{rcx} = {rax:#x}");
        assert_eq!((vp.cpu.still.xcr0, vp.cpu.still.rip), (1, 0));
    }
}

/// A vCPU that stores XMM0 again and again at `gpa`, for longer than anybody is patient.
fn stores_a_vector_register(gpa: u64, unmapped_crashes: bool) -> (Option<End>, Vec<Option<Event>>, String) {
    let mut partition = self::partition(1);
    (partition.unmapped_crashes, partition.tsc_hz) = (unmapped_crashes, 200);
    // movups [bx], xmm0 in 16-bit code.
    partition.memory.write(Gpa(0), &[0x0f, 0x11, 0x07]).unwrap();
    let fault = Exit::NestedFault { gpa: Gpa(gpa), access: access::vcpu::NestedAccess::Write };
    let turns: Vec<Turn> = (0..200).map(|_| exit(fault)).collect();
    let mut vp = VirtualProcessor::new(0, Scripted::new(&partition, &turns, &[]));
    vp.cpu.still = access::fake_processor::StillProcessor::real();
    vp.run(&partition);
    let log = partition.host.logged.borrow().join("\n");
    (partition.ended(), injected(&vp), log)
}

#[test]
fn what_is_not_emulated_is_undefined_where_nothing_is() {
    let (end, events, log) = stores_a_vector_register(0xd000_0000, false);
    assert_eq!(end, Some(End::Stopped), "of the script, not for the access");
    assert!(events.contains(&Some(Event::UNDEFINED)));
    let line = "by what is not emulated: a move of an SSE or MMX register, [0f, 11, 07";
    assert!(log.contains(line), "{log}");
    assert!(log.lines().count() < 20, "{log}");
}

#[test]
fn what_is_not_emulated_at_a_device_ends_the_guest_and_is_named() {
    for (gpa, unmapped_crashes) in
        [(layout::IOAPIC.0, false), (layout::LOCAL_APIC.0, false), (0xd000_0000, true)]
    {
        let (end, events, log) = stores_a_vector_register(gpa, unmapped_crashes);
        assert_eq!(end, Some(End::BadAccess), "{gpa:#x}");
        assert!(!events.contains(&Some(Event::UNDEFINED)));
        assert!(log.contains("not emulated: a move of an SSE or MMX register"), "{log}");
    }
}

#[test]
fn every_exit_is_survived() {
    let exits = [
        Exit::Cpuid,
        Exit::Hypercall,
        Exit::ReadMsr,
        Exit::WriteMsr,
        Exit::NestedFault { gpa: Gpa(0xfee0_0000), access: access::vcpu::NestedAccess::Walk },
        Exit::Idle,
        Exit::Shutdown,
        Exit::WriteControl { register: 8, value: None },
        Exit::SetXcr,
        Exit::WriteBackCaches,
        Exit::Exception { vector: 18, error: 0 },
        Exit::Exception { vector: 17, error: 0 },
        Exit::Init,
        Exit::InvalidState,
        Exit::Unexpected(0x999),
        Exit::GeneralProtection,
        Exit::Handled,
        Exit::EndOfInterrupt { vector: 0x41 },
        Exit::ApicWrite { register: 0x3f },
    ];
    for one in exits {
        let partition = partition(1);
        let mut vp = VirtualProcessor::new(0, Scripted::new(&partition, &[exit(one)], &[]));
        vp.run(&partition);
        assert_eq!(vp.exits[one.kind()], 1 + u64::from(one == Exit::Kick), "{one:?}");
    }
}

#[test]
fn a_machine_check_ends_a_guest_that_cannot_go_on_and_no_other() {
    for survives in [true, false] {
        let partition = partition(1);
        partition.host.survives.set(survives);
        let check = exit(Exit::Exception { vector: 18, error: 0 });
        let mut vp = VirtualProcessor::new(0, Scripted::new(&partition, &[check, exit(Exit::Shutdown)], &[]));
        vp.run(&partition);
        assert_eq!(partition.host.machine_checks.get(), 1);
        let end = if survives { End::TripleFault } else { End::Stopped };
        assert_eq!(partition.ended(), Some(end));
        assert!(
            vp.cpu.resumes.iter().all(|resume| resume.inject.is_none()),
            "it is not the guest's exception"
        );
    }
}

#[test]
fn a_guest_can_count_its_exits() {
    let read = Turn { registers: std::vec![(RCX, crate::msr::EXITS.into())], ..exit(Exit::ReadMsr) };
    let partition = partition(1);
    let vp = play(&partition, 0, &[exit(Exit::Idle), exit(Exit::Cpuid), read], &[]);
    assert_eq!(vp.cpu.still.registers[RAX], 3, "the read is one");
}

/// KVM_HC_SEND_IPI with these destinations and command.
fn send_to_many(low: u64, first: u64, command: u64) -> Turn {
    let registers = std::vec![(RAX, 10), (RBX, low), (RCX, 0), (RDX, first), (RSI, command)];
    Turn { registers, ..exit(Exit::Hypercall) }
}

#[test]
fn one_call_interrupts_many_of_the_guests_own_and_nobody_else() {
    let partition = partition(4);
    for mailbox in &partition.mailboxes[1..] {
        let mut apic = LocalApic::new(3, false);
        apic.set_base(apic.base() | 0xc00).unwrap();
        mailbox.set_address(apic.address().to_bits());
    }
    // IDs 2 to 65, of which the guest has 2 and 3; only the last mailbox says that it is 3.
    let vp = play(&partition, 0, &[send_to_many(u64::MAX, 2, 0x61)], &[]);
    assert_eq!(vp.cpu.still.registers[RAX], 2);
    assert!(vectors(partition.mailboxes[3].take().unwrap().edge).eq([0x61]));
    for (command, what) in [(4, "a vector that no interrupt has"), (5 << 8, "INIT"), (6 << 8, "start-up")] {
        let partition = self::partition(4);
        let vp = play(&partition, 0, &[send_to_many(0xf, 0, command)], &[]);
        assert_eq!(vp.cpu.still.registers[RAX] as i64, -22, "{what}");
    }
    let partition = self::partition(4);
    let vp = play(&partition, 0, &[send_to_many(1, u64::MAX, 0x61)], &[]);
    assert_eq!(vp.cpu.still.registers[RAX], 0, "far beyond");
}

mod accelerated;
mod chipset;
mod consoles;
mod direct;
mod events;
mod interpreter;
mod looks;
mod saving;
mod script;
