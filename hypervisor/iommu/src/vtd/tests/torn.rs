//! Entries of 128 bits: hardware may read them between any two writes.

use super::*;
use spec::{Gpa, Hpa};
use tables::Permissions;

/// Replays `writes` of 16-byte entries; gives every state that `entry` had.
fn states(writes: &[(Hpa, u64)], entry: Hpa, mut state: [u64; 2]) -> Vec<[u64; 2]> {
    let mut seen = Vec::from([state]);
    for (at, value) in writes {
        if at.align_down(16) == entry {
            state[(at.0 / 8 % 2) as usize] = *value;
            seen.push(state);
        }
    }
    seen
}

#[test]
fn torn_tables_a_context_entry_is_old_or_new() {
    for mut bench in benches() {
        let first = bench.units.create_domain(&[who(NIC)]).unwrap();
        let second = bench.units.create_domain(&[who(NIC)]).unwrap();
        bench.units.map(second, Gpa(0), Hpa(0x4000_0000), PAGE, Permissions::READ).unwrap();
        bench.units.attach(alone(NIC), first).unwrap();
        let writes = bench.ram.writes();
        // The last write of an attachment sets the present bit of its entry.
        let entry = |writes: &[(Hpa, u64)]| {
            writes.iter().rev().find(|(at, _)| at.page_offset() == u64::from(NIC.devfn()) * 16).unwrap().0
        };
        let at = entry(&writes);
        bench.ram.writes();
        bench.units.detach(who(NIC)).unwrap();
        bench.units.attach(alone(NIC), second).unwrap();
        let old = states(&writes, at, [0, 0]).pop().unwrap();
        let seen = states(&bench.ram.writes(), at, old);
        let new = *seen.last().unwrap();
        assert_ne!(old, new);
        assert!(seen.len() > 3);
        for state in seen {
            assert!(state == old || state == new || state[0] & 1 == 0, "torn: {state:x?}");
        }
    }
}

#[test]
fn torn_tables_an_interrupt_entry_is_old_or_new() {
    for mut bench in benches() {
        bench.units.grant_interrupts(alone(NIC), 1).unwrap();
        bench.ram.writes();
        bench.units.remap(who(NIC), 0, edge(0x41, 1)).unwrap();
        let filled = bench.ram.writes();
        let entry = filled.first().unwrap().0.align_down(16);
        let seen = states(&filled, entry, [0, 0]);
        let first = *seen.last().unwrap();
        assert!(seen.iter().all(|state| *state == first || state[0] & 1 == 0));
        // A change in place is one write, so that no interrupt is lost.
        bench.units.remap(who(NIC), 0, edge(0x42, 2)).unwrap();
        assert_eq!(states(&bench.ram.writes(), entry, first).len(), 2);
        // Another owner's entry: absent until it is wholly his.
        bench.units.revoke_interrupts(who(NIC)).unwrap();
        bench.units.grant_interrupts(alone(DISK), 1).unwrap();
        bench.ram.writes();
        bench.units.remap(who(DISK), 0, edge(0x51, 1)).unwrap();
        let seen = states(&bench.ram.writes(), entry, [0, first[1]]);
        let second = *seen.last().unwrap();
        assert_ne!(second[1], first[1]);
        assert!(seen.iter().all(|state| *state == second || state[0] & 1 == 0), "torn: {seen:x?}");
    }
}
