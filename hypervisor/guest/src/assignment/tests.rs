//! Functions given, used, reset by their guest and taken back, with failures at each step.

extern crate std;

mod bench;
mod emulated;
mod ports;

use super::*;
use crate::host::{BusAccess, Reply};
use crate::partition::End;
use access::fake_pci::ResetBehaviour;
use bench::{Around, E1000E, Event, Machine, NVME, guest};
use spec::Width;
use spec::pci_config::{COMMAND, command};
use std::vec::Vec;

type Guest = Partition<Around>;

/// Writes a register by configuration mechanism 1, as the guest does.
fn config_write(guest: &Guest, slot: Slot, offset: u16, width: Width, value: u32) {
    let mut bus = guest.bus();
    bus.port_write(guest, 0xcf8, Width::Dword, 1 << 31 | u32::from(slot.0) << 8 | u32::from(offset & 0xfc));
    bus.port_write(guest, 0xcfc + (offset & 3), width, value);
}

fn config_read(guest: &Guest, slot: Slot, offset: u16, width: Width) -> u32 {
    let mut bus = guest.bus();
    bus.port_write(guest, 0xcf8, Width::Dword, 1 << 31 | u32::from(slot.0) << 8 | u32::from(offset & 0xfc));
    match bus.port_read(guest, 0xcfc + (offset & 3), width) {
        Reply::Done(value) => value,
        other => panic!("{other:?} from configuration space"),
    }
}

fn assign(guest: &Guest) -> Result<(), AssignError> {
    guest.bus().assign(guest, |_, _| {})
}

/// Every processor of the guest has taken its notes.
fn flush(guest: &Guest) {
    for mailbox in &guest.mailboxes {
        let _ = mailbox.take();
    }
}

/// What a driver does: decode and bus mastering on, a message of MSI-X.
fn use_functions(guest: &Guest) {
    for (_, slot) in [NVME, E1000E] {
        config_write(guest, slot, COMMAND, Width::Word, 6);
    }
    let bar = u64::from(config_read(guest, NVME.1, 0x10, Width::Dword) & !0xf)
        | u64::from(config_read(guest, NVME.1, 0x14, Width::Dword)) << 32;
    config_write(guest, NVME.1, 0x42, Width::Word, 0x8000);
    for (offset, value) in [(0, 0xfee0_1000), (8, 0x41), (12, 0)] {
        guest.bus().memory_write(guest, Gpa(bar.wrapping_add(0x2000 + offset)), Width::Dword, value);
    }
}

fn asks_reset(guest: &Guest) {
    let control = config_read(guest, NVME.1, 0x88, Width::Word);
    config_write(guest, NVME.1, 0x88, Width::Word, control | 0x8000);
}

fn masters(command: u16) -> bool {
    command & command::BUS_MASTER != 0
}

/// The place of the first event that is so.
fn first(events: &[Event], is: impl Fn(&Event) -> bool) -> usize {
    events.iter().position(is).unwrap_or_else(|| panic!("it never happened: {events:?}"))
}

fn last(events: &[Event], is: impl Fn(&Event) -> bool) -> usize {
    events.iter().rposition(is).unwrap_or_else(|| panic!("it never happened: {events:?}"))
}

/// Nobody holds or reaches anything.
fn assert_nothing_is_left(machine: &Machine) {
    machine.with(|state| {
        assert!(state.attached.is_empty(), "{:?}", state.attached);
        assert!(state.mapped.is_empty(), "{:?}", state.mapped);
        assert!(state.interrupts.is_empty(), "{:?}", state.interrupts);
    });
}

#[test]
fn the_order_is_everything() {
    let (machine, guest) = guest();
    assign(&guest).unwrap();
    let given = machine.take_events();
    for (function, _) in [NVME, E1000E] {
        let attached = first(&given, |event| *event == Event::Attached(function));
        assert!(last(&given, |event| matches!(event, Event::Reset(_))) < attached);
        let decodes = |event: &Event| {
            *event == Event::Command(function, 2) || *event == Event::Command(function, 0x402)
        };
        assert!(last(&given, decodes) > attached, "{given:?}");
    }
    assert!(!given.iter().any(|event| matches!(event, Event::Command(_, command) if masters(*command))));

    use_functions(&guest);
    let used = machine.take_events();
    assert!(used.contains(&Event::Command(NVME.0, 0x406)), "{used:?}");
    assert!(used.contains(&Event::Remapped(NVME.0, 0)), "{used:?}");

    guest.request_end(End::PowerOff);
    assert!(guest.bus().revoke(&guest));
    let taken = machine.take_events();
    for (function, _) in [NVME, E1000E] {
        let detached = first(&taken, |event| *event == Event::Detached(function));
        let quiet = |event: &Event| matches!(event, Event::Command(of, command) if *of == function && !masters(*command));
        assert!(first(&taken, quiet) < detached, "bus mastering goes first: {taken:?}");
    }
    let reset = first(&taken, |event| *event == Event::Reset(NVME.0));
    assert!(last(&taken, |event| matches!(event, Event::Detached(_))) < reset);
    assert!(last(&taken, |event| matches!(event, Event::Unmapped(..))) < reset);
    assert!(first(&taken, |event| *event == Event::LineClosed(18)) < reset);
    assert!(first(&taken, |event| *event == Event::Released(NVME.0, 0)) < reset);
    assert_eq!(taken.last(), Some(&Event::Flushed));
    assert_nothing_is_left(&machine);
}

#[test]
fn a_thousand_lives_leave_nothing_behind() {
    let (machine, guest) = guest();
    for _ in 0..1000 {
        assign(&guest).unwrap();
        use_functions(&guest);
        assert!(guest.bus().revoke(&guest));
        flush(&guest);
        assert_nothing_is_left(&machine);
        machine.take_events();
    }
}

#[test]
fn an_iommu_that_fails_at_any_step_of_the_start_leaves_nothing_given() {
    for step in 0.. {
        let (machine, guest) = guest();
        machine.with(|state| state.iommu_fails_at = Some(step));
        let outcome = assign(&guest);
        if machine.with(|state| state.iommu_fails_at.is_some()) {
            assert!(step >= 3 && outcome.is_ok(), "{step}");
            return;
        }
        assert!(matches!(outcome, Err(AssignError::Iommu(..))), "{step}: {outcome:?}");
        assert_nothing_is_left(&machine);
        for (function, slot) in [NVME, E1000E] {
            assert_eq!(machine.holds(function, COMMAND, 2) & 7, 0, "{step}: {function}");
            // Whatever is written to it now reaches nothing.
            machine.take_events();
            config_write(&guest, slot, COMMAND, Width::Word, 6);
            assert_eq!(machine.take_events(), []);
        }
    }
}

#[test]
fn an_iommu_that_fails_at_any_step_of_the_end_says_so_where_memory_is_not_free() {
    for step in 0.. {
        let (machine, guest) = guest();
        assign(&guest).unwrap();
        use_functions(&guest);
        machine.with(|state| state.iommu_fails_at = Some(step));
        let clean = guest.bus().revoke(&guest);
        assert_eq!(clean, machine.with(|state| state.attached.is_empty()), "{step}");
        for (function, _) in [NVME, E1000E] {
            assert!(!masters(machine.holds(function, COMMAND, 2) as u16), "{step}");
        }
        if machine.with(|state| state.iommu_fails_at.take().is_some()) {
            assert!(step >= 4, "{step}");
            return;
        }
        // It is tried again.
        assert!(guest.bus().revoke(&guest));
        assert!(machine.with(|state| state.attached.is_empty()));
    }
}

#[test]
fn a_function_that_vanishes_at_any_access_harms_nobody() {
    for (gone, other) in [(NVME, E1000E), (E1000E, NVME)] {
        for step in 0.. {
            let (machine, guest) = guest();
            machine.with(|state| (state.vanishing, state.vanishes_at) = (gone.0, Some(step)));
            let mut given = assign(&guest).is_ok();
            if given {
                use_functions(&guest);
                asks_reset(&guest);
                flush(&guest);
                config_read(&guest, NVME.1, 0, Width::Dword);
                use_functions(&guest);
            }
            assert!(guest.bus().revoke(&guest), "{step}: nothing reaches the guest's memory");
            assert_nothing_is_left(&machine);
            assert_eq!(
                machine.holds(other.0, COMMAND, 2),
                0x400,
                "{step}: the other one is as after a reset"
            );
            given &= machine.with(|state| state.vanishes_at.is_some());
            if given {
                assert!(step > 100, "{step}");
                break;
            }
            // Nobody gets it any more, and nobody else is kept from the other.
            flush(&guest);
            assert!(matches!(assign(&guest), Err(AssignError::Quarantined(_))), "{step}");
            assert_nothing_is_left(&machine);
        }
    }
}

#[test]
fn a_function_that_is_pulled_out_amid_its_transfers_is_detached_all_the_same() {
    let (machine, guest) = guest();
    assign(&guest).unwrap();
    use_functions(&guest);
    machine.with(|state| state.config.change(NVME.0, |function| function.silent = u32::MAX));
    // Its guest goes on, and sees what everybody sees of a function that is gone.
    assert_eq!(config_read(&guest, NVME.1, 0x06, Width::Word) & 0xf900, 0xf900);
    use_functions(&guest);
    machine.take_events();
    assert!(guest.bus().revoke(&guest));
    let taken = machine.take_events();
    assert!(taken.contains(&Event::Detached(NVME.0)), "{taken:?}");
    assert_nothing_is_left(&machine);
    assert!(machine.with(|state| state.log.iter().any(|line| line.contains("01:00.0 is quarantined"))));
}

#[test]
fn a_guests_own_reset_waits_for_its_siblings_and_puts_everything_back() {
    let (machine, guest) = guest();
    assign(&guest).unwrap();
    use_functions(&guest);
    flush(&guest);
    machine.take_events();
    asks_reset(&guest);
    let asked = machine.take_events();
    assert!(asked.iter().any(|event| matches!(event, Event::Unmapped(..))), "{asked:?}");
    assert!(!asked.contains(&Event::Reset(NVME.0)), "siblings may still reach its registers");
    assert_eq!(machine.holds(NVME.0, COMMAND, 2) & 2, 2, "and are answered");
    // The processor that asked comes back sooner than its sibling.
    let _ = guest.mailboxes[0].take();
    assert_eq!(config_read(&guest, NVME.1, 0, Width::Dword), u32::MAX, "as in a reset");
    assert!(!machine.take_events().contains(&Event::Reset(NVME.0)));
    let _ = guest.mailboxes[1].take();
    assert_eq!(config_read(&guest, NVME.1, 0, Width::Dword), 0x0010_1b36);
    let reset = machine.take_events();
    assert!(reset.contains(&Event::Reset(NVME.0)), "{reset:?}");
    assert_eq!(machine.holds(NVME.0, 0x156, 2), 0x1f, "its access control services are in force");
    assert_eq!(machine.holds(NVME.0, COMMAND, 2), 0x402, "it decodes, and masters when its guest says so");
    assert!(machine.with(|state| state.attached.contains(&NVME.0)));
    // The driver begins anew.
    assert_eq!(config_read(&guest, NVME.1, COMMAND, Width::Word), 0);
    assert_eq!(config_read(&guest, NVME.1, 0x10, Width::Dword) & !0xf, 0, "as after a reset");
    config_write(&guest, NVME.1, 0x10, Width::Dword, 0xd000_0000);
    config_write(&guest, NVME.1, COMMAND, Width::Word, 6);
    assert_eq!(machine.holds(NVME.0, COMMAND, 2), 0x406);
    assert!(machine.with(|state| state.mapped.contains_key(&0xd000_0000)));
}

#[test]
fn a_reset_that_is_asked_for_at_the_end_happens_once() {
    let (machine, guest) = guest();
    assign(&guest).unwrap();
    use_functions(&guest);
    asks_reset(&guest);
    machine.take_events();
    assert!(guest.bus().revoke(&guest));
    flush(&guest);
    config_read(&guest, NVME.1, 0, Width::Dword);
    let resets = machine.take_events().iter().filter(|event| **event == Event::Reset(NVME.0)).count();
    assert_eq!(resets, 1);
    assert_nothing_is_left(&machine);
}

#[test]
fn a_function_whose_own_reset_fails_is_gone_until_one_works() {
    let (machine, guest) = guest();
    assign(&guest).unwrap();
    use_functions(&guest);
    machine.with(|state| {
        state.config.change(NVME.0, |function| function.function_level = ResetBehaviour::Ignored)
    });
    asks_reset(&guest);
    flush(&guest);
    assert_eq!(config_read(&guest, NVME.1, 0, Width::Dword), u32::MAX);
    assert_eq!(machine.holds(NVME.0, COMMAND, 2), 0x400, "no decode, no bus mastering");
    machine.take_events();
    use_functions(&guest);
    asks_reset(&guest);
    flush(&guest);
    use_functions(&guest);
    let of_it = |event: &Event| matches!(event, Event::Command(of, _) if *of == NVME.0);
    assert!(!machine.take_events().iter().any(of_it), "nothing of its guest reaches it");
    assert!(guest.bus().revoke(&guest));
    assert!(matches!(assign(&guest), Err(AssignError::Quarantined(_))));
    let works = ResetBehaviour::Works { silent_reads: 1 };
    machine.with(|state| state.config.change(NVME.0, |function| function.function_level = works));
    assign(&guest).unwrap();
    assert_eq!(config_read(&guest, NVME.1, 0, Width::Dword), 0x0010_1b36);
}

#[test]
fn a_guest_that_is_to_end_does_not_wait_for_its_function() {
    let (machine, guest) = guest();
    assign(&guest).unwrap();
    use_functions(&guest);
    machine.with(|state| {
        state.config.change(NVME.0, |function| function.function_level = ResetBehaviour::Kills)
    });
    asks_reset(&guest);
    flush(&guest);
    machine.with(|state| state.stopped_while_waiting = true);
    let start = machine.now_ns();
    assert_eq!(config_read(&guest, NVME.1, 0, Width::Dword), u32::MAX);
    assert!(machine.now_ns() - start < 5_000_000_000);
    let said = "01:00.0 has not come back from its reset after 1 s";
    assert!(machine.with(|state| state.log.iter().any(|line| line == said)));
}

#[test]
fn decode_that_a_guest_turns_off_stays_on_in_the_machine_while_siblings_reach_it() {
    let (machine, guest) = guest();
    assign(&guest).unwrap();
    use_functions(&guest);
    flush(&guest);
    let mapped = machine.with(|state| state.mapped.len());
    machine.take_events();
    for round in 0..4 {
        config_write(&guest, NVME.1, COMMAND, Width::Word, 4);
        assert_eq!(machine.holds(NVME.0, COMMAND, 2) & 2, 2, "an access that is on its way is answered");
        assert!(guest.mailboxes.iter().all(|mailbox| mailbox.has(mailbox::FLUSH)));
        config_write(&guest, NVME.1, COMMAND, Width::Word, 6);
        let events = machine.take_events();
        assert!(!events.contains(&Event::Flushed), "round {round}: tables are kept until all have flushed");
        assert_eq!(machine.with(|state| state.mapped.len()), mapped);
    }
    flush(&guest);
    config_write(&guest, NVME.1, COMMAND, Width::Word, 4);
    flush(&guest);
    config_write(&guest, NVME.1, COMMAND, Width::Word, 6);
    assert!(machine.take_events().contains(&Event::Flushed));
}

#[test]
fn a_message_to_nobody_and_a_vector_below_the_guests_have_no_remapping_entry() {
    let (machine, guest) = guest();
    assign(&guest).unwrap();
    use_functions(&guest);
    assert!(machine.with(|state| state.interrupts.contains(&(NVME.0, 0))));
    let bar = u64::from(config_read(&guest, NVME.1, 0x10, Width::Dword) & !0xf)
        | u64::from(config_read(&guest, NVME.1, 0x14, Width::Dword)) << 32;
    let asks: Vec<(u64, u64)> =
        [(0xfee0_5000, 0x41), (0xfee0_1000, 0x1f), (0xfee0_1000, 0x441), (0xfec0_0000, 0x41)].into();
    for (address, data) in asks {
        for (offset, value) in [(0, address), (8, data)] {
            guest.bus().memory_write(&guest, Gpa(bar.wrapping_add(0x2000 + offset)), Width::Dword, value);
        }
        assert!(!machine.with(|state| state.interrupts.contains(&(NVME.0, 0))), "{address:#x} {data:#x}");
    }
}
