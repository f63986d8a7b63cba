//! Interrupt remapping: who may send what.

use super::*;
use crate::HostMsi;

fn granted(bench: &mut Bench, entries: u16) -> HostMsi {
    bench.units.grant_interrupts(alone(NIC), entries).unwrap();
    bench.units.remap(who(NIC), 0, edge(0x41, 3)).unwrap()
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
fn only_the_owner_sends_an_interrupt() {
    for mut bench in benches() {
        // Refused before, so that the entry that blocks is cached.
        assert_eq!(bench.mock.interrupt(NIC, 0xfee0_0000, 0), None);
        let msi = granted(&mut bench, 2);
        let send = |from, data| bench.mock.interrupt(from, msi.address, data);
        assert_eq!(send(NIC, msi.data), Some((0x41, 3)));
        // Another requester; another index; an NMI, an INIT, an external interrupt.
        assert_eq!(send(DISK, msi.data), None);
        assert_eq!(send(Bdf(NIC.0 + 1), msi.data), None);
        for data in [msi.data + 1, 0xff, 0x1ff, 0x400, 0x500, 0x700] {
            assert_eq!(send(NIC, data), None, "{data:#x}");
        }
    }
}

#[test]
fn every_function_has_a_table_of_its_own() {
    let mut bench = bench();
    let nic = granted(&mut bench, 1);
    bench.units.grant_interrupts(alone(DISK), 1).unwrap();
    let disk = bench.units.remap(who(DISK), 0, edge(0x51, 1)).unwrap();
    // The same index means another interrupt for each.
    assert_eq!(nic, disk);
    assert_eq!(bench.mock.interrupt(NIC, nic.address, nic.data), Some((0x41, 3)));
    assert_eq!(bench.mock.interrupt(DISK, disk.address, disk.data), Some((0x51, 1)));
}

#[test]
fn several_messages_are_aligned_as_their_numbers_need() {
    for mut bench in benches() {
        // Behind one bridge, so that the second run does not start at 0.
        let behind = |id| Function::new(who(id), &[BRIDGE]);
        bench.units.grant_interrupts(behind(NIC), 3).unwrap();
        bench.units.grant_interrupts(behind(DISK), 8).unwrap();
        let base = bench.units.remap(who(DISK), 0, edge(0x41, 3)).unwrap();
        assert_eq!((base.data % 8, base.data), (0, 8));
        for index in 0..8 {
            let msi = bench.units.remap(who(DISK), index, edge(0x41 + index as u8, 3)).unwrap();
            assert_eq!(msi, HostMsi { data: base.data | u32::from(index), ..base });
            let arrived = bench.mock.interrupt(DISK, msi.address, msi.data);
            assert_eq!(arrived, Some((0x41 + index as u8, 3)));
        }
    }
}

#[test]
fn an_entry_changes_whole_and_without_losing_an_interrupt() {
    for mut bench in benches() {
        let msi = granted(&mut bench, 1);
        assert_eq!(bench.mock.interrupt(NIC, msi.address, msi.data), Some((0x41, 3)));
        bench.ram.writes();
        bench.ram.pairs();
        assert_eq!(bench.units.remap(who(NIC), 0, edge(0x42, 0x0102_0304)).unwrap(), msi);
        assert_eq!(bench.mock.interrupt(NIC, msi.address, msi.data), Some((0x42, 0x0102_0304)));
        let pairs = bench.ram.pairs();
        let writes = bench.ram.writes();
        let to_entry = writes.iter().filter(|(at, _)| at.align_down(16) == pairs[0]).count();
        assert_eq!((pairs.len(), to_entry), (1, 2), "both halves by one write, and no other");
    }
}

#[test]
fn an_entry_that_did_not_change_costs_no_flush() {
    let mut bench = bench();
    granted(&mut bench, 1);
    bench.mock.log();
    bench.units.remap(who(NIC), 0, edge(0x41, 3)).unwrap();
    assert!(bench.mock.log().is_empty());
}

#[test]
fn a_released_entry_sends_nothing() {
    for mut bench in benches() {
        let msi = granted(&mut bench, 2);
        assert!(bench.mock.interrupt(NIC, msi.address, msi.data).is_some());
        bench.units.release(who(NIC), 0).unwrap();
        assert_eq!(bench.mock.interrupt(NIC, msi.address, msi.data), None);
        assert_eq!(bench.units.remap(who(NIC), 0, edge(0x43, 1)).unwrap(), msi);
        assert_eq!(bench.mock.interrupt(NIC, msi.address, msi.data), Some((0x43, 1)));
    }
}

#[test]
fn a_table_is_freed_only_once_nothing_of_it_is_cached() {
    for mut bench in benches() {
        let all = bench.ram.left();
        let msi = granted(&mut bench, 2);
        assert!(bench.mock.interrupt(NIC, msi.address, msi.data).is_some());
        let left = bench.ram.left();
        bench.mock.set_mood(Mood::Stuck);
        assert!(bench.units.revoke_interrupts(who(NIC)).is_err());
        assert_eq!(bench.ram.left(), left);
        let again = bench.units.grant_interrupts(alone(NIC), 1);
        assert_eq!(again, Err(IommuError::InUse(who(NIC))));
        bench.mock.set_mood(Mood::Well);
        bench.mock.0.borrow_mut().run_commands();
        bench.units.revoke_interrupts(who(NIC)).unwrap();
        assert_eq!(bench.ram.left(), all);
        assert_eq!(bench.mock.interrupt(NIC, msi.address, msi.data), None);
        assert!(!bench.ram.read_freed());
        assert_eq!(bench.units.remap(who(NIC), 0, edge(0x41, 1)), Err(IommuError::NotGranted(who(NIC))));
    }
}

#[test]
fn a_flush_that_failed_is_made_up_for() {
    let mut bench = bench();
    let msi = granted(&mut bench, 1);
    assert!(bench.mock.interrupt(NIC, msi.address, msi.data).is_some());
    bench.mock.set_mood(Mood::Stuck);
    assert!(bench.units.remap(who(NIC), 0, edge(0x42, 3)).is_err());
    bench.mock.set_mood(Mood::Refuses(1));
    assert!(bench.units.remap(who(NIC), 0, edge(0x42, 3)).is_err());
    // The entry in memory is as asked for; the one in the cache is not.
    bench.units.remap(who(NIC), 0, edge(0x42, 3)).unwrap();
    assert_eq!(bench.mock.interrupt(NIC, msi.address, msi.data), Some((0x42, 3)));
}

#[test]
fn functions_that_share_a_requester_id_share_a_table() {
    for mut bench in benches() {
        let all = bench.ram.left();
        let behind = |id| Function::new(who(id), &[BRIDGE]);
        bench.units.grant_interrupts(behind(CARD), 2).unwrap();
        bench.units.grant_interrupts(behind(NIC), 2).unwrap();
        let card = bench.units.remap(who(CARD), 0, edge(0x41, 1)).unwrap();
        let nic = bench.units.remap(who(NIC), 0, edge(0x51, 2)).unwrap();
        assert_ne!(card, nic);
        // Whichever ID the bridge lets a message carry, it is the same interrupt.
        for id in [CARD, BRIDGE] {
            assert_eq!(bench.mock.interrupt(id, card.address, card.data), Some((0x41, 1)));
        }
        assert_eq!(bench.mock.interrupt(BRIDGE, nic.address, nic.data), Some((0x51, 2)));
        // The one goes, the other stays, and the bridge with it.
        bench.units.revoke_interrupts(who(CARD)).unwrap();
        assert_eq!(bench.mock.interrupt(CARD, card.address, card.data), None);
        assert_eq!(bench.mock.interrupt(BRIDGE, card.address, card.data), None);
        assert_eq!(bench.mock.interrupt(BRIDGE, nic.address, nic.data), Some((0x51, 2)));
        bench.units.revoke_interrupts(who(NIC)).unwrap();
        assert_eq!(bench.mock.interrupt(BRIDGE, nic.address, nic.data), None);
        assert_eq!(bench.ram.left(), all);
    }
}

#[test]
fn two_tables_cannot_be_joined() {
    let mut bench = bench();
    bench.units.grant_interrupts(alone(CARD), 1).unwrap();
    bench.units.grant_interrupts(alone(BRIDGE), 1).unwrap();
    let both = Function::new(who(NIC), &[CARD, BRIDGE]);
    assert_eq!(bench.units.grant_interrupts(both, 1), Err(IommuError::InUse(who(NIC))));
    assert_eq!(bench.mock.interrupt(NIC, 0xfee0_0000, 0), None);
}

#[test]
fn quotas_hold_and_nothing_leaks() {
    let mut bench = bench();
    granted(&mut bench, 3);
    let beyond = Err(IommuError::InterruptIndex { index: 3, granted: 3 });
    assert_eq!(bench.units.remap(who(NIC), 3, edge(0x41, 0)), beyond);
    assert_eq!(bench.units.release(who(NIC), 3).map(|()| HostMsi { address: 0, data: 0 }), beyond);
    let grant = |bench: &mut Bench, id, entries| bench.units.grant_interrupts(alone(id), entries);
    assert_eq!(grant(&mut bench, DISK, 0), Err(IommuError::OutOfInterrupts));
    let left = bench.ram.left();
    for _ in 0..100 {
        grant(&mut bench, DISK, 512).unwrap();
        assert_eq!(bench.ram.left(), left - 2);
        bench.units.revoke_interrupts(who(DISK)).unwrap();
    }
    assert_eq!(bench.ram.left(), left);
    for id in [0x41, 0x42, 0x43] {
        grant(&mut bench, Bdf(id), 1).unwrap();
    }
    assert_eq!(grant(&mut bench, Bdf(0x44), 1), Err(IommuError::OutOfRecords));
}

#[test]
fn the_last_of_512_entries_can_be_sent() {
    let mut bench = bench();
    granted(&mut bench, 512);
    let msi = bench.units.remap(who(NIC), 511, edge(0x55, 7)).unwrap();
    assert_eq!(msi.data, 0x1ff);
    assert_eq!(bench.mock.interrupt(NIC, msi.address, msi.data), Some((0x55, 7)));
}

#[test]
fn a_function_with_more_messages_than_a_table_holds_gets_those() {
    let mut bench = bench();
    granted(&mut bench, 2048);
    assert!(bench.units.remap(who(NIC), 511, edge(0x55, 7)).is_ok());
    let beyond = Err(IommuError::InterruptIndex { index: 512, granted: 512 });
    assert_eq!(bench.units.remap(who(NIC), 512, edge(0x55, 7)), beyond);
}

#[test]
fn dangerous_interrupts_are_refused() {
    let mut bench = bench();
    granted(&mut bench, 1);
    let others = [
        DeliveryMode::Smi,
        DeliveryMode::Nmi,
        DeliveryMode::Init,
        DeliveryMode::StartUp,
        DeliveryMode::ExtInt,
    ];
    for mode in others {
        let interrupt = RemappedInterrupt { mode, ..edge(0x41, 0) };
        assert_eq!(bench.units.remap(who(NIC), 0, interrupt), Err(IommuError::DeliveryMode(mode)));
    }
    assert_eq!(bench.units.remap(who(NIC), 0, edge(0x0f, 0)), Err(IommuError::Vector(0x0f)));
    let all = edge(0x41, u32::MAX);
    assert_eq!(bench.units.remap(who(NIC), 0, all), Err(IommuError::Destination(u32::MAX)));
}

#[test]
fn entries_of_either_width_without_x2apic() {
    let unit = UnitLimits { x2apic: false, ..LIMITS.unit };
    for features in [QEMU_FEATURES, QEMU_FEATURES & !feature::WIDE_INTERRUPT_ENTRIES] {
        let mut bench = Bench::with(features, true, false, Limits { unit, ..LIMITS });
        let first = granted(&mut bench, 2);
        let second = bench.units.remap(who(NIC), 1, edge(0x42, 0xfe)).unwrap();
        let send = |bench: &Bench, msi: HostMsi| bench.mock.interrupt(NIC, msi.address, msi.data);
        assert_eq!((send(&bench, first), send(&bench, second)), (Some((0x41, 3)), Some((0x42, 0xfe))));
        assert_eq!(bench.units.remap(who(NIC), 0, edge(0x41, 0xff)), Err(IommuError::Destination(0xff)));
        // A narrow entry shares its 8 bytes with a neighbour, which stays.
        bench.units.release(who(NIC), 0).unwrap();
        assert_eq!((send(&bench, first), send(&bench, second)), (None, Some((0x42, 0xfe))));
    }
}

#[test]
fn a_pin_of_an_ioapic_gets_a_redirection_entry_of_its_own() {
    let mut bench = bench();
    bench.units.grant_interrupts(alone(IOAPIC), 24).unwrap();
    let level = RemappedInterrupt { level: true, ..edge(0x31, 2) };
    let entry = bench.units.remap_pin(who(IOAPIC), 9, level, true).unwrap();
    // The index stands where the vector does otherwise.
    assert_eq!(entry, 1 << 15 | 1 << 13 | 9);
    assert_eq!(bench.mock.interrupt(IOAPIC, 0xfee0_0000, entry as u32 & 0x7ff), Some((0x31, 2)));
    assert_eq!(bench.mock.interrupt(NIC, 0xfee0_0000, entry as u32 & 0x7ff), None);
}
