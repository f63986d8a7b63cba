//! What reaches the guest beside interrupts, and the task priority that it sets by itself.

extern crate std;

use super::script::{Turn, exit, injected, partition, play};
use super::*;
use access::vcpu::{Exit, RAX, RCX, RDX};
use spec::apic::{DeliveryMode, Destination, InterruptMessage};
use spec::processor::{RFLAGS_RF, RFLAGS_TF};

/// The guest has moved `cr8` to CR8, which does not exit, and now accesses an x2APIC register.
fn after_cr8(cr8: u8, access: Exit, register: u64, value: u64) -> Turn {
    let registers = std::vec![(RCX, 0x800 + register), (RAX, value), (RDX, 0)];
    Turn { cr8: Some(cr8), registers, ..exit(access) }
}

#[test]
fn the_task_priority_reads_as_what_was_moved_to_cr8() {
    let partition = partition(1);
    let turns = [exit(Exit::Cpuid), after_cr8(9, Exit::ReadMsr, 0x08, 0)];
    let vp = play(&partition, 0, &turns, &[]);
    assert_eq!(vp.cpu.still.registers[RAX], 0x90);
}

#[test]
fn a_write_of_another_register_leaves_cr8_alone() {
    for register in [0x0f, 0x38, 0x0b] {
        let partition = partition(1);
        let turns = [exit(Exit::Cpuid), after_cr8(9, Exit::WriteMsr, register, 0)];
        let vp = play(&partition, 0, &turns, &[]);
        assert_eq!((vp.cpu.cr8, vp.apic.task_priority()), (9, 0x90), "register {register:#x}");
    }
}

#[test]
fn a_write_of_the_task_priority_is_seen_in_cr8() {
    let partition = partition(1);
    let vp = play(&partition, 0, &[after_cr8(9, Exit::WriteMsr, 0x08, 0x35)], &[]);
    assert_eq!((vp.cpu.cr8, vp.apic.task_priority()), (3, 0x35));
}

fn send_nmi(partition: &Partition<script::FakeHost>) {
    let destination = Destination::ToSelf;
    partition.route(0, InterruptMessage { destination, mode: DeliveryMode::Nmi, vector: 0, level: false });
}

#[test]
fn a_second_nmi_waits_behind_the_first_and_a_third_is_that_second() {
    for (sent, delivered) in [(1, 1), (2, 2), (3, 2)] {
        let partition = partition(1);
        (0..sent).for_each(|_| send_nmi(&partition));
        let vp = play(&partition, 0, &[exit(Exit::Cpuid), exit(Exit::NmiWindow), exit(Exit::Cpuid)], &[]);
        let came = injected(&vp).into_iter().filter(|event| *event == Some(Event::Nmi)).count();
        assert_eq!(came, delivered, "of {sent}");
    }
}

#[test]
fn while_an_nmi_is_handled_one_more_is_kept() {
    let partition = partition(1);
    let turns = [
        Turn { takes_nmi: Some(false), ..exit(Exit::Kick) },
        exit(Exit::Kick),
        Turn { takes_nmi: Some(true), ..exit(Exit::NmiWindow) },
        exit(Exit::NmiWindow),
        exit(Exit::Cpuid),
    ];
    let mut vp = VirtualProcessor::new(0, script::Scripted::new(&partition, &turns, &[]));
    vp.cpu.on_enter = Some(|partition, entry| {
        if matches!(entry, 1 | 2) {
            send_nmi(partition);
        }
    });
    assert_eq!(vp.run(&partition), End::Stopped);
    let came = injected(&vp).into_iter().filter(|event| *event == Some(Event::Nmi)).count();
    assert_eq!(came, 1, "two came meanwhile, and the processor keeps one");
}

#[test]
fn a_fault_says_that_its_instruction_is_to_run_again_and_a_trap_does_not() {
    let partition = partition(1);
    let vp = play(&partition, 0, &[exit(Exit::UndefinedOpcode)], &[]);
    assert_eq!(vp.cpu.still.rflags & RFLAGS_RF, RFLAGS_RF, "#UD");
    let partition = self::partition(1);
    let stepped = Turn { rflags: Some(2 | RFLAGS_TF), ..exit(Exit::Cpuid) };
    let vp = play(&partition, 0, &[stepped], &[]);
    assert_eq!(injected(&vp)[1], Some(Event::Exception { vector: 1, error: None }));
    assert_eq!(vp.cpu.still.rflags & RFLAGS_RF, 0, "a single step");
}

#[test]
fn an_nmi_behind_an_exception_is_not_left_to_the_next_exit() {
    let partition = partition(1);
    send_nmi(&partition);
    let mut vp = VirtualProcessor::new(0, script::Scripted::new(&partition, &[exit(Exit::Cpuid)], &[]));
    vp.exception = Some(Event::UNDEFINED);
    vp.cpu.on_enter = Some(|partition, entry| {
        let kicked = partition.host.kicked.borrow().last() == Some(&0);
        assert!(kicked || entry != 1, "the handler's first instruction exits");
    });
    assert_eq!(vp.run(&partition), End::Stopped);
    assert_eq!(injected(&vp)[..2], [Some(Event::UNDEFINED), Some(Event::Nmi)]);
}
