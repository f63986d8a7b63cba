//! A vCPU that is frozen in the middle, written out, thrown away, read back, and goes on.

extern crate std;

use super::script::{FakeHost, IF, Scripted, Turn, device, exit, injected, partition, ready};
use crate::mailbox;
use crate::partition::{End, Partition};
use crate::processor::VirtualProcessor;
use crate::snapshot::Snapshot;
use access::vcpu::{Event, Exit, InterruptMode, KeptApic, RAX, RCX, RDX};
use devices::snapshot::{RestoreFault, SaveFault};
use proptest::prelude::*;
use std::string::ToString;

type Vp<'a> = VirtualProcessor<Scripted<'a>>;

/// What a guest with interrupts does and takes.
fn turn() -> impl Strategy<Value = Turn> {
    let write = |register: u32, value: u64| Turn {
        registers: std::vec![(RCX, 0x800 + u64::from(register)), (RAX, value), (RDX, 0)],
        ..exit(Exit::WriteMsr)
    };
    prop_oneof![
        Just(exit(Exit::Cpuid)),
        (0x20..=0xffu8).prop_map(device),
        // The end of an interrupt, the task priority, an interrupt to itself.
        Just(write(0x0b, 0)),
        (0..16u64).prop_map(move |class| write(0x08, class << 4)),
        (0x20..0x100u64).prop_map(move |vector| write(0x3f, vector)),
        any::<bool>()
            .prop_map(|open| Turn { rflags: Some(if open { 2 | IF } else { 2 }), ..exit(Exit::Cpuid) }),
        any::<bool>().prop_map(|takes| Turn { takes_nmi: Some(takes), ..exit(Exit::NmiWindow) }),
        Just(exit(Exit::UndefinedOpcode)),
    ]
}

/// Writes all of it out.
fn written(vp: &Vp<'_>, partition: &Partition<FakeHost>) -> Snapshot {
    let mut snapshot = Snapshot::new(partition.mailboxes.len());
    vp.save(&mut snapshot.processors[vp.index]).unwrap();
    partition.save(&mut snapshot).unwrap();
    snapshot
}

/// Reads it back into others.
fn read_back(
    snapshot: &Snapshot,
    vp: &mut Vp<'_>,
    partition: &Partition<FakeHost>,
) -> Result<(), RestoreFault> {
    vp.check(&snapshot.processors[vp.index], &partition.cpuid)?;
    let restored = partition.check(snapshot)?;
    partition.restore(snapshot, restored);
    vp.restore(&snapshot.processors[vp.index])
}

proptest! {
    /// Wherever it is frozen, the entries are those of a guest that was not.
    #[test]
    fn it_goes_on_as_if_nothing_had_been(
        turns in prop::collection::vec(turn(), 1..40),
        at in any::<prop::sample::Index>(),
        nmis in 0..3usize,
    ) {
        let at = at.index(turns.len());
        let whole = partition(1);
        let mut kicked = turns.clone();
        kicked.insert(at, exit(Exit::Kick));
        let mut undisturbed = ready(&whole, 0, &kicked, &[]);
        (0..nmis).for_each(|_| whole.mailboxes[0].post_nmi());
        undisturbed.run(&whole);

        let first = partition(1);
        kicked[at].freezes = true;
        let mut vp = ready(&first, 0, &kicked[..=at], &[]);
        (0..nmis).for_each(|_| first.mailboxes[0].post_nmi());
        prop_assert_eq!(vp.run(&first), End::Frozen);

        let second = partition(1);
        let mut other = ready(&second, 0, &turns[at..], &[]);
        read_back(&written(&vp, &first), &mut other, &second).unwrap();
        // What the script has of the processor beside its state.
        (other.cpu.cr8, other.cpu.takes_nmi) = (vp.cpu.cr8, vp.cpu.takes_nmi);
        prop_assert_eq!(other.run(&second), End::Stopped);
        let mut entries = vp.cpu.resumes.clone();
        entries.append(&mut other.cpu.resumes);
        prop_assert_eq!(entries, undisturbed.cpu.resumes);
    }
}

proptest! {
    /// A section that somebody changed is refused, or is one that a vCPU can run with.
    #[test]
    fn a_forged_vcpu_is_refused_or_runs(
        before in prop::collection::vec(turn(), 0..20),
        forged in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        after in prop::collection::vec(turn(), 0..20),
    ) {
        let partition = partition(1);
        let mut turns = before;
        turns.push(Turn { freezes: true, ..exit(Exit::Kick) });
        let mut vp = ready(&partition, 0, &turns, &[]);
        prop_assert_eq!(vp.run(&partition), End::Frozen);
        let mut snapshot = written(&vp, &partition);
        let mut bytes = snapshot.processors[0].contents().to_vec();
        for (place, byte) in forged {
            *place.get_mut(&mut bytes) = byte;
        }
        snapshot.processors[0].fill(&bytes);
        let mut other = ready(&partition, 0, &after, &[]);
        if read_back(&snapshot, &mut other, &partition).is_ok() {
            prop_assert_eq!(other.run(&partition), End::Stopped);
        }
    }
}

/// Freezes a vCPU after one exit.
fn frozen(partition: &Partition<FakeHost>) -> Vp<'_> {
    let mut vp = ready(partition, 0, &[Turn { freezes: true, ..exit(Exit::Kick) }], &[]);
    assert_eq!(vp.run(partition), End::Frozen);
    vp
}

#[test]
fn what_waits_in_the_mailbox_is_not_lost() {
    let (first, second) = (partition(2), partition(2));
    let vp = frozen(&first);
    // Siblings that had not left yet.
    first.mailboxes[0].post_vector(0x51, false);
    first.mailboxes[0].post_vector(0x61, true);
    first.mailboxes[1].post_start_up(0x9a);
    let snapshot = written(&vp, &first);
    let mut other = ready(&second, 0, &[], &[]);
    // The second vCPU was never started.
    let mut sibling = VirtualProcessor::new(1, Scripted::new(&second, &[], &[]));
    assert!(sibling.check(&snapshot.processors[1], &second.cpuid).is_err(), "nobody wrote it");
    read_back(&snapshot, &mut other, &second).unwrap();
    assert_eq!(second.mailboxes[1].take().unwrap().notes, mailbox::START_UP | 0x9a);
    other.run(&second);
    assert_eq!(injected(&other), [Some(Event::Interrupt(0x61))]);
    assert!(other.apic.has_pending());
    sibling.restart();
}

#[test]
fn orders_that_came_with_the_freeze_are_found_again() {
    let partition = partition(1);
    let mut vp = ready(&partition, 0, &[exit(Exit::Cpuid)], &[]);
    partition.request_end(End::Frozen);
    partition.mailboxes[0].post(mailbox::FLUSH | mailbox::CHIPSET);
    assert_eq!(vp.run(&partition), End::Frozen);
    assert_eq!(partition.mailboxes[0].peek().notes, mailbox::FLUSH | mailbox::CHIPSET);
}

#[test]
fn guest_time_stands_still() {
    let (first, second) = (partition(1), partition(1));
    let vp = frozen(&first);
    let before = first.now();
    let snapshot = written(&vp, &first);
    second.host.now.set(1 << 50);
    let mut other = ready(&second, 0, &[], &[]);
    read_back(&snapshot, &mut other, &second).unwrap();
    other.run(&second);
    assert!(second.now() - before < 100, "{before} and {}", second.now());
    assert_eq!(other.cpu.tsc_offset, second.time.offset());
    assert!(second.time.machine_tick(second.now()) >= 1 << 50);
}

#[test]
fn a_guest_that_starts_again_has_the_machines_time() {
    let (first, second) = (partition(1), partition(1));
    second.restart(super::script::chipset());
    assert_eq!(second.time.offset(), 0, "it was never frozen");
    let snapshot = written(&frozen(&first), &first);
    second.host.now.set(1 << 50);
    let restored = second.check(&snapshot).unwrap();
    second.restore(&snapshot, restored);
    assert_ne!(second.time.offset(), 0);
    second.restart(super::script::chipset());
    assert_eq!(second.time.offset(), 0);
}

#[test]
fn what_a_processor_kept_of_the_local_apic_is_in_the_model() {
    let partition = partition(1);
    let mut vp = ready(&partition, 0, &[], &[]);
    vp.accelerated = true;
    vp.cpu.kept = KeptApic { requests: [0, 1 << 3, 0, 0], task_priority: 0x20, ..KeptApic::default() };
    partition.request_end(End::Frozen);
    assert_eq!(vp.run(&partition), End::Frozen);
    assert!(!vp.accelerated && vp.cpu.modes.last() == Some(&InterruptMode::Emulated));
    assert_eq!((vp.apic.deliverable(), vp.apic.task_priority()), (Some(0x43), 0x20));
}

#[test]
fn a_guest_that_is_made_of_something_else_is_refused() {
    let (first, second) = (partition(1), partition(2));
    let vp = frozen(&first);
    let snapshot = written(&vp, &first);
    assert_eq!(second.check(&snapshot).err(), Some(RestoreFault::Configuration));
}

/// Bytes of a section are changed, and nothing of the guest may change for it.
fn refused(change: impl FnOnce(&mut Snapshot)) -> RestoreFault {
    let partition = partition(1);
    let vp = frozen(&partition);
    let mut snapshot = written(&vp, &partition);
    change(&mut snapshot);
    let mut other = ready(&partition, 0, &[], &[]);
    let before = (partition.now(), written(&vp, &partition).chipset.contents().to_vec());
    let fault = read_back(&snapshot, &mut other, &partition).unwrap_err();
    assert_eq!(written(&vp, &partition).chipset.contents(), before.1);
    assert_eq!((partition.ended(), other.cpu.still.rip), (Some(End::Frozen), 0));
    fault
}

#[test]
fn what_is_cut_off_is_refused() {
    for kept in 0..4 {
        refused(|snapshot| snapshot.processors[0].fill(&[1, 2, 3, 4][..kept]));
        refused(|snapshot| snapshot.head.fill(&[1, 2, 3, 4][..kept]));
        refused(|snapshot| snapshot.chipset.fill(&[1, 2, 3, 4][..kept]));
        refused(|snapshot| snapshot.mail[0].fill(&[1, 2, 3, 4][..kept]));
    }
}

#[test]
fn what_no_guest_can_switch_on_is_refused() {
    let forged = |change: fn(&mut Vp<'_>), said: &str| {
        let partition = partition(1);
        let mut vp = frozen(&partition);
        change(&mut vp);
        let fault =
            read_back(&written(&vp, &partition), &mut frozen(&super::partition(1)), &partition).unwrap_err();
        assert!(fault.to_string().contains(said), "{said}: {fault}");
    };
    forged(|vp| vp.cpu.still.control.efer = 1 << 12, "EFER");
    forged(|vp| vp.cpu.still.control.cr0 = 1, "EFER.LMA");
    forged(|vp| vp.cpu.still.control.cr4 = 1 << 13, "CR4");
    forged(|vp| vp.cpu.still.control.cr0 |= 1 << 40, "CR0");
    forged(|vp| vp.cpu.still.xcr0 = 1 << 9 | 1, "XCR0");
    forged(|vp| vp.exception = Some(Event::Exception { vector: 99, error: None }), "event");
}

#[test]
fn a_section_that_is_too_small_is_an_error_and_the_guest_goes_on() {
    let partition = partition(1);
    let mut vp = frozen(&partition);
    assert_eq!(vp.save(&mut crate::snapshot::Section::new(16)), Err(SaveFault::TooLong));
    partition.go_on();
    vp.cpu.turns.push_back(exit(Exit::Cpuid));
    assert_eq!(vp.run(&partition), End::Stopped);
}
