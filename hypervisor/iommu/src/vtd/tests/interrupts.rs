//! Interrupt remapping: who may send what.

use super::mock::Mood;
use super::*;
use crate::{HostMsi, IommuError};
use platform::MessageSource;

fn granted(bench: &mut Bench, entries: u16) -> HostMsi {
    bench.units.grant_interrupts(alone(NIC), entries).unwrap();
    bench.units.remap(who(NIC), 0, edge(0x41, 3)).unwrap()
}

#[test]
fn msi_forging_only_the_owner_sends_an_interrupt() {
    for mut bench in benches() {
        let msi = granted(&mut bench, 2);
        let send = |from, msi: HostMsi, data| bench.mock.interrupt(from, msi.address, data);
        assert_eq!(send(NIC, msi, msi.data), Some((0x41, 3)));
        // Another requester, another handle, another index, the compatibility format.
        assert_eq!(send(DISK, msi, msi.data), None);
        assert_eq!(send(Bdf(NIC.0 + 1), msi, msi.data), None);
        assert_eq!(send(NIC, msi, 1), None);
        assert_eq!(send(NIC, msi, 0xffff), None);
        assert_eq!(send(NIC, HostMsi { address: 0xfee0_3000, data: 0x41 }, 0x41), None);
    }
}

#[test]
fn what_is_in_force_is_counted() {
    for mut bench in benches() {
        assert_eq!(bench.units.in_force(who(NIC)), 0, "nothing was granted");
        granted(&mut bench, 4);
        assert_eq!(bench.units.in_force(who(NIC)), 1);
        bench.units.remap(who(NIC), 3, edge(0x42, 3)).unwrap();
        assert_eq!((bench.units.in_force(who(NIC)), bench.units.in_force(who(DISK))), (2, 0));
        let domain = bench.units.create_domain(&[who(NIC)]).unwrap();
        bench.units.attach(alone(NIC), domain).unwrap();
        assert_eq!(bench.units.in_force(who(NIC)), 3);
        bench.units.detach(who(NIC)).unwrap();
        bench.units.release(who(NIC), 0).unwrap();
        bench.units.release(who(NIC), 3).unwrap();
        assert_eq!(bench.units.in_force(who(NIC)), 0);
    }
}

#[test]
fn nobody_reaches_the_entries_of_a_neighbour() {
    let mut bench = Bench::with(QEMU_CAP, QEMU_ECAP, LIMITS);
    let nic = granted(&mut bench, 1);
    bench.units.grant_interrupts(alone(DISK), 1).unwrap();
    let disk = bench.units.remap(who(DISK), 0, edge(0x51, 1)).unwrap();
    assert_ne!(nic.address, disk.address);
    assert_eq!(bench.mock.interrupt(DISK, disk.address, 0), Some((0x51, 1)));
    // Its neighbour's entry is the next one.
    assert_eq!(bench.mock.interrupt(NIC, nic.address, 1), None);
    assert_eq!(bench.mock.interrupt(NIC, disk.address, 0), None);
}

#[test]
fn several_messages_are_contiguous() {
    for mut bench in benches() {
        let base = granted(&mut bench, 4);
        for index in 0..4 {
            let msi = bench.units.remap(who(NIC), index, edge(0x41 + index as u8, 3)).unwrap();
            assert_eq!(msi, HostMsi { data: index.into(), ..base });
            // A function with several MSI messages adds the number to the data.
            let arrived = bench.mock.interrupt(NIC, base.address, base.data + u32::from(index));
            assert_eq!(arrived, Some((0x41 + index as u8, 3)));
        }
    }
}

#[test]
fn an_entry_changes_without_losing_an_interrupt() {
    for mut bench in benches() {
        let msi = granted(&mut bench, 1);
        assert_eq!(bench.mock.interrupt(NIC, msi.address, 0), Some((0x41, 3)));
        assert_eq!(bench.units.remap(who(NIC), 0, edge(0x42, 0x1_0001)).unwrap(), msi);
        assert_eq!(bench.mock.interrupt(NIC, msi.address, 0), Some((0x42, 0x1_0001)));
    }
}

#[test]
fn an_entry_that_did_not_change_costs_no_flush() {
    let mut bench = Bench::with(QEMU_CAP, QEMU_ECAP, LIMITS);
    granted(&mut bench, 1);
    bench.mock.log();
    bench.units.remap(who(NIC), 0, edge(0x41, 3)).unwrap();
    assert!(bench.mock.log().is_empty());
}

#[test]
fn irte_lifetime_a_released_entry_sends_nothing() {
    for mut bench in benches() {
        let msi = granted(&mut bench, 2);
        assert!(bench.mock.interrupt(NIC, msi.address, 0).is_some());
        bench.units.release(who(NIC), 0).unwrap();
        assert_eq!(bench.mock.interrupt(NIC, msi.address, 0), None);
        assert_eq!(bench.units.remap(who(NIC), 0, edge(0x43, 1)).unwrap(), msi);
        assert_eq!(bench.mock.interrupt(NIC, msi.address, 0), Some((0x43, 1)));
    }
}

#[test]
fn irte_lifetime_a_run_is_reused_only_once_nothing_of_it_is_cached() {
    for mut bench in benches() {
        let msi = granted(&mut bench, 2);
        assert!(bench.mock.interrupt(NIC, msi.address, 0).is_some());
        bench.mock.set_mood(Mood::Stuck);
        assert!(bench.units.revoke_interrupts(who(NIC)).is_err());
        let again = bench.units.grant_interrupts(alone(NIC), 1);
        assert_eq!(again, Err(IommuError::InUse(who(NIC))));
        bench.mock.set_mood(Mood::Well);
        bench.units.revoke_interrupts(who(NIC)).unwrap();
        bench.units.grant_interrupts(alone(DISK), 2).unwrap();
        let disk = bench.units.remap(who(DISK), 0, edge(0x51, 1)).unwrap();
        assert_eq!(disk.address, msi.address);
        assert_eq!(bench.mock.interrupt(NIC, msi.address, 0), None);
        assert_eq!(bench.mock.interrupt(DISK, disk.address, 0), Some((0x51, 1)));
        assert_eq!(bench.units.remap(who(NIC), 0, edge(0x41, 1)), Err(IommuError::NotGranted(who(NIC))));
    }
}

#[test]
fn a_failed_flush_is_not_forgotten_by_the_next_change() {
    let mut bench = Bench::with(PLAIN_CAP, COHERENT_ECAP, LIMITS);
    let msi = granted(&mut bench, 1);
    assert!(bench.mock.interrupt(NIC, msi.address, 0).is_some());
    bench.mock.set_mood(Mood::Stuck);
    assert!(bench.units.remap(who(NIC), 0, edge(0x42, 3)).is_err());
    bench.mock.set_mood(Mood::Well);
    // The entry in memory is as asked for; the one in the cache is not.
    bench.units.remap(who(NIC), 0, edge(0x42, 3)).unwrap();
    assert_eq!(bench.mock.interrupt(NIC, msi.address, 0), Some((0x42, 3)));
    bench.mock.set_mood(Mood::Stuck);
    assert!(bench.units.release(who(NIC), 0).is_err());
    bench.mock.set_mood(Mood::Well);
    bench.units.remap(who(NIC), 0, edge(0x43, 3)).unwrap();
    assert_eq!(bench.mock.interrupt(NIC, msi.address, 0), Some((0x43, 3)));
}

#[test]
fn vector_accounting_quotas_hold_and_nothing_leaks() {
    let mut bench = Bench::with(QEMU_CAP, QEMU_ECAP, LIMITS);
    granted(&mut bench, 2);
    let beyond = Err(IommuError::InterruptIndex { index: 2, granted: 2 });
    assert_eq!(bench.units.remap(who(NIC), 2, edge(0x41, 0)), beyond);
    assert_eq!(bench.units.release(who(NIC), 2).map(|()| HostMsi { address: 0, data: 0 }), beyond);
    let grant = |bench: &mut Bench, id, entries| bench.units.grant_interrupts(alone(id), entries);
    assert_eq!(grant(&mut bench, DISK, 255), Err(IommuError::OutOfInterrupts));
    assert_eq!(grant(&mut bench, DISK, 0), Err(IommuError::OutOfInterrupts));
    for _ in 0..1000 {
        grant(&mut bench, DISK, 254).unwrap();
        bench.units.revoke_interrupts(who(DISK)).unwrap();
    }
    for id in [1, 2, 3] {
        grant(&mut bench, Bdf(id), 1).unwrap();
    }
    assert_eq!(grant(&mut bench, Bdf(4), 1), Err(IommuError::OutOfRecords));
}

#[test]
fn a_gap_between_two_runs_is_used() {
    let mut bench = Bench::with(QEMU_CAP, QEMU_ECAP, LIMITS);
    let mut grant = |id| {
        bench.units.grant_interrupts(alone(id), 100).unwrap();
        bench.units.remap(who(id), 0, edge(0x41, 0)).unwrap().address
    };
    let first = grant(NIC);
    grant(DISK);
    bench.units.revoke_interrupts(who(NIC)).unwrap();
    bench.units.grant_interrupts(alone(BRIDGE), 100).unwrap();
    assert_eq!(bench.units.remap(who(BRIDGE), 0, edge(0x41, 0)).unwrap().address, first);
}

#[test]
fn dangerous_interrupts_are_refused() {
    let mut bench = Bench::with(QEMU_CAP, QEMU_ECAP, LIMITS);
    granted(&mut bench, 1);
    for mode in [DeliveryMode::Smi, DeliveryMode::Init, DeliveryMode::StartUp, DeliveryMode::ExtInt] {
        let interrupt = RemappedInterrupt { mode, ..edge(0x41, 0) };
        assert_eq!(bench.units.remap(who(NIC), 0, interrupt), Err(IommuError::DeliveryMode(mode)));
    }
    assert_eq!(bench.units.remap(who(NIC), 0, edge(0x0f, 0)), Err(IommuError::Vector(0x0f)));
    let all = edge(0x41, u32::MAX);
    assert_eq!(bench.units.remap(who(NIC), 0, all), Err(IommuError::Destination(u32::MAX)));
}

#[test]
fn without_x2apic_destinations_have_8_bits() {
    let unit = UnitLimits { x2apic: false, ..LIMITS.unit };
    let mut bench = Bench::with(QEMU_CAP, QEMU_ECAP & !(1 << 4), Limits { unit, ..LIMITS });
    let msi = granted(&mut bench, 1);
    assert_eq!(bench.mock.interrupt(NIC, msi.address, 0), Some((0x41, 3)));
    assert_eq!(bench.units.remap(who(NIC), 0, edge(0x41, 0xff)), Err(IommuError::Destination(0xff)));
}

#[test]
fn msi_forging_a_function_behind_a_conventional_bridge_sends_as_that_bridge() {
    let mut bench = Bench::with(QEMU_CAP, QEMU_ECAP, LIMITS);
    let (card, bridge) = (Bdf::new(2, 1, 0), Bdf::new(0, 0x1e, 0));
    let function = Function::new(who(card), &[]).with_messages(MessageSource::Requester(bridge));
    bench.units.grant_interrupts(function, 1).unwrap();
    let msi = bench.units.remap(who(card), 0, edge(0x41, 0)).unwrap();
    assert!(bench.mock.interrupt(bridge, msi.address, 0).is_some());
    // Nobody else on the buses from the bridge's own to the card's.
    for other in [card, NIC, DISK, IOAPIC, Bdf::new(0, 0, 0), Bdf::new(0, 0x1e, 1), Bdf::new(1, 0, 0)] {
        assert_eq!(bench.mock.interrupt(other, msi.address, 0), None, "{other}");
    }
}

#[test]
fn msi_forging_a_function_behind_an_express_bridge_may_use_its_secondary_bus() {
    let mut bench = Bench::with(QEMU_CAP, QEMU_ECAP, LIMITS);
    let card = Bdf::new(2, 1, 0);
    let aliases = [Bdf::new(2, 0, 0)];
    let function = Function::new(who(card), &aliases).with_messages(MessageSource::Bus(2));
    bench.units.grant_interrupts(function, 1).unwrap();
    let msi = bench.units.remap(who(card), 0, edge(0x41, 0)).unwrap();
    for id in [card, Bdf::new(2, 0, 0)] {
        assert!(bench.mock.interrupt(id, msi.address, 0).is_some(), "{id}");
    }
    for other in [NIC, Bdf::new(1, 31, 7), Bdf::new(3, 0, 0)] {
        assert_eq!(bench.mock.interrupt(other, msi.address, 0), None, "{other}");
    }
}

#[test]
fn msi_forging_another_number_for_dma_is_none_for_messages() {
    let mut bench = Bench::with(QEMU_CAP, QEMU_ECAP, LIMITS);
    let (controller, sibling) = (Bdf::new(2, 0, 0), Bdf::new(2, 0, 1));
    bench.units.grant_interrupts(Function::new(who(controller), &[sibling]), 1).unwrap();
    let msi = bench.units.remap(who(controller), 0, edge(0x41, 0)).unwrap();
    assert!(bench.mock.interrupt(controller, msi.address, 0).is_some());
    assert_eq!(bench.mock.interrupt(sibling, msi.address, 0), None);
}

#[test]
fn a_pin_of_an_ioapic_gets_a_redirection_entry_of_its_own() {
    let mut bench = Bench::with(QEMU_CAP, QEMU_ECAP, LIMITS);
    granted(&mut bench, 3);
    bench.units.grant_interrupts(alone(IOAPIC), 24).unwrap();
    let level = RemappedInterrupt { level: true, ..edge(0x31, 2) };
    let entry = bench.units.remap_pin(who(IOAPIC), 9, level, true).unwrap();
    assert_eq!(entry & 0xff, 0x20 + 9, "the pin's own vector, not the processor's");
    assert_eq!(entry >> 48 & 1, 1, "remappable format");
    assert_eq!(entry >> 13 & 1, 1, "active low");
    assert_eq!(entry >> 15 & 1, 1, "level");
    assert_eq!(entry >> 16 & 1, 0, "not masked");
    // The run of the IOAPIC begins after that of the network card.
    assert_eq!(entry >> 49, 3 + 9);
    let request = 0xfee0_0010 | (entry >> 49) << 5;
    assert_eq!(bench.mock.interrupt(IOAPIC, request, 0x29), Some((0x31, 2)));
    assert_eq!(bench.mock.interrupt(NIC, request, 0x29), None);
}
