//! How long a vCPU goes without a look at its mailbox, and events that cannot be delivered.

use super::*;
use access::vcpu::NestedAccess;
use script::deliver;

#[test]
fn no_exit_of_whatever_kind_keeps_a_vcpu_from_its_mailbox_for_long() {
    const EXITS: usize = 4 * EXITS_BETWEEN_LOOKS as usize;
    let fault = Exit::NestedFault { gpa: Gpa(0xd000_0000), access: NestedAccess::Read };
    for kind in [Exit::Cpuid, Exit::Idle, Exit::Handled, Exit::Init, Exit::Hypercall, fault] {
        let partition = partition(1);
        let mut turns = std::vec![exit(kind); EXITS];
        turns[9].stops = true;
        let vp = play(&partition, 0, &turns, &[]);
        let after = EXITS - 10 - vp.cpu.turns.len();
        assert!(after <= EXITS_BETWEEN_LOOKS as usize, "{kind:?}: {after} exits");
    }
}

#[test]
fn a_look_lets_in_what_the_loop_holds_back() {
    let partition = partition(1);
    let mut turns = std::vec![exit(Exit::Cpuid); 2 * EXITS_BETWEEN_LOOKS as usize + 9];
    turns[3].vectors.push(0x31);
    let vp = play(&partition, 0, &turns, &[]);
    assert_eq!(vp.cpu.let_in, 2);
    assert!(injected(&vp).contains(&Some(Event::Interrupt(0x31))), "an interrupt that came then");
}

#[test]
fn an_event_that_can_never_be_delivered_ends_its_guest() {
    let partition = partition(1);
    partition.host.now.set(1_000_000_000);
    let fault = Exit::NestedFault { gpa: Gpa(0xd000_07f8), access: NestedAccess::Write };
    // Each exit takes time; what it interrupts is tried again each time.
    let turns: Vec<Turn> = (0..20_000).map(|_| Turn { takes: 100_000, ..exit(fault) }).collect();
    let (vp, end) = deliver(&partition, &turns);
    assert_eq!(end, End::BadAccess);
    assert!(!vp.cpu.turns.is_empty() && vp.cpu.turns.len() < 18_000, "after a while");
    let logged = partition.host.logged.borrow();
    assert_eq!(logged.len(), 1);
    assert!(logged[0].contains("gpa 0xd00007f8") && logged[0].contains("at 0x0"), "{}", logged[0]);
}
