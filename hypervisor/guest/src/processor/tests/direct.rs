//! A vCPU that takes its interrupts itself.

use super::*;
use crate::mailbox::Delivery;
use spec::apic::{DeliveryMode, Destination, InterruptMessage};

const ICR: u64 = 0x830;
const SPURIOUS_VECTOR: u8 = 0x0f;
const LVT_TIMER: u8 = 0x32;

fn direct_partition(vcpus: usize) -> Partition<FakeHost> {
    let mut partition = partition(vcpus);
    partition.direct_interrupts = true;
    partition
}

fn write(register: u64, low: u64, high: u64) -> Turn {
    Turn { registers: std::vec![(RCX, register), (RAX, low), (RDX, high)], ..exit(Exit::WriteMsr) }
}

fn fixed(vector: u8, level: bool) -> InterruptMessage {
    InterruptMessage { destination: Destination::Physical(0), mode: DeliveryMode::Fixed, vector, level }
}

fn written(partition: &Partition<FakeHost>, register: u8) -> Vec<u64> {
    let writes = partition.host.apic_writes.borrow();
    writes.iter().filter(|write| write.0 == register).map(|write| write.1).collect()
}

#[test]
fn it_changes_over_in_x2apic_mode_and_back_at_its_end() {
    let partition = direct_partition(1);
    let vp = play(&partition, 0, &[exit(Exit::Cpuid)], &[]);
    assert_eq!(vp.cpu.modes, [InterruptMode::Direct, InterruptMode::Emulated]);
    assert_eq!(partition.host.handed.get()[..2], [1, 1]);
    assert!(!vp.direct.is_on() && partition.mailboxes[0].delivery() == Delivery::Mailbox);
    assert_eq!(written(&partition, SPURIOUS_VECTOR), [0x1ff]);
    assert!(partition.look_after_chipset().is_none(), "the chipset is nobody's any more");
}

#[test]
fn without_leave_it_stays_with_the_model() {
    let partition = partition(1);
    assert_eq!(play(&partition, 0, &[exit(Exit::Cpuid)], &[]).cpu.modes, []);
}

#[test]
fn a_guest_in_xapic_mode_stays_with_the_model() {
    let partition = direct_partition(1);
    // Moving the page is refused, and so is x2APIC mode without the enable bit.
    let turns = [write(0x1b, 0xfee0_0000 | 0x400, 0), write(0x1b, 0xfed0_0000 | 0xc00, 0)];
    let mut vp = VirtualProcessor::new(0, Scripted::new(&partition, &turns, &[]));
    vp.run(&partition);
    assert_eq!(vp.cpu.modes, []);
    assert_eq!(injected(&vp)[1..], [Some(Event::PROTECTION); 2]);
}

#[test]
fn what_was_pending_goes_on_in_hardware() {
    let partition = direct_partition(1);
    // Both came while the hypervisor still took interrupts.
    partition.mailboxes[0].post_vector(0x51, false);
    partition.mailboxes[0].post_vector(5, false);
    let vp = play(&partition, 0, &[], &[]);
    assert_eq!(*partition.host.sent.borrow(), [(0, 0x51)], "no vector below 16 is ever sent");
    assert_eq!(injected(&vp), [None]);
}

#[test]
fn messages_go_to_the_processor_itself_and_kick_nobody() {
    let partition = direct_partition(1);
    partition.mailboxes[0].set_delivery(Delivery::Physical);
    let address = {
        let mut apic = LocalApic::new(0, true);
        apic.set_base(apic.base() | 0xc00).unwrap();
        apic.address().to_bits()
    };
    partition.mailboxes[0].set_address(address);
    partition.route(crate::partition::HOUSEKEEPING, fixed(0x61, false));
    assert_eq!(*partition.host.sent.borrow(), [(0, 0x61)]);
    assert!(partition.host.kicked.borrow().is_empty());
    partition.route(crate::partition::HOUSEKEEPING, fixed(3, false));
    assert_eq!(partition.host.sent.borrow().len(), 1);
    let nmi = InterruptMessage { mode: DeliveryMode::Nmi, ..fixed(0, false) };
    partition.route(crate::partition::HOUSEKEEPING, nmi);
    assert_eq!(partition.host.sent.borrow().len(), 1, "an NMI of the guest's is injected");
    assert!(partition.mailboxes[0].has(mailbox::NMI));
}

#[test]
fn interrupt_commands_reach_the_guests_own_processors_only() {
    let partition = direct_partition(2);
    let turns = [
        // To itself by shorthand, by its ID, to an ID beyond the guest, to everybody.
        write(ICR, 1 << 18 | 0x71, 0),
        write(ICR, 0x72, 0),
        write(ICR, 0x73, 7),
        write(ICR, 2 << 18 | 0x74, 0),
        write(ICR, 0x75, u32::MAX.into()),
        // Cluster 0, processors 0 to 15, of which this one is there.
        write(ICR, 1 << 11 | 0x76, 0xffff),
        // SMI, and a vector that no interrupt has.
        write(ICR, 2 << 8, 0),
        write(ICR, 4, 0),
    ];
    let vp = play(&partition, 0, &turns, &[]);
    let expected: Vec<_> = [0x71, 0x72, 0x74, 0x75, 0x76].map(|vector| (0, vector)).into();
    assert_eq!(*partition.host.sent.borrow(), expected);
    assert_eq!(injected(&vp), [None; 9]);
}

#[test]
fn the_local_vector_table_is_mirrored_without_what_hardware_lacks() {
    let partition = direct_partition(1);
    const MASKED: u64 = 1 << 16;
    let turns = [
        write(0x832, 1 << 17 | 0xec, 0),
        // TSC-deadline mode, which the processor does not have, and the reserved mode.
        write(0x832, 2 << 17 | 0xec, 0),
        write(0x832, 3 << 17 | 0xec, 0),
        // A vector that no interrupt has.
        write(0x832, 1 << 17 | 14, 0),
        // LINT0 as NMI, thermal as SMI: their sources are not the guest's.
        write(0x835, 4 << 8, 0),
        write(0x833, 2 << 8, 0),
        write(0x837, 0xfe, 0),
        write(0x80f, 0xff, 0),
    ];
    play(&partition, 0, &turns, &[]);
    let timer = written(&partition, LVT_TIMER);
    assert_eq!(timer[1..], [1 << 17 | 0xec, MASKED | 0xec, MASKED | 0xec, MASKED | 14, MASKED | 14]);
    assert_eq!(written(&partition, 0x37)[1..], [0xfe, MASKED | 0xfe]);
    assert_eq!(written(&partition, SPURIOUS_VECTOR), [0x1ff, 0xff]);
    let reached: Vec<u8> = partition.host.apic_writes.borrow().iter().map(|write| write.0).collect();
    assert!(!reached.contains(&0x35) && !reached.contains(&0x33) && !reached.contains(&0x30));
}

#[test]
fn the_end_of_a_level_triggered_interrupt_is_watched_for() {
    let partition = direct_partition(1);
    partition.mailboxes[0].post_vector(0x91, true);
    // In service: a nested edge-triggered interrupt first, then the level-triggered one.
    partition.host.apic.borrow_mut().insert(0x14, 1 << 0x11);
    let vp = play(&partition, 0, &[write(0x80b, 0, 0)], &[]);
    let modes = [
        InterruptMode::Direct,
        InterruptMode::DirectWithEoiExits,
        InterruptMode::Direct,
        InterruptMode::Emulated,
    ];
    assert_eq!(vp.cpu.modes, modes);
    assert_eq!(*partition.host.sent.borrow(), [(0, 0x91)]);
    assert_eq!(written(&partition, 0x0b), [0]);
}

#[test]
fn another_interrupts_end_leaves_the_watch_on() {
    let partition = direct_partition(1);
    partition.mailboxes[0].post_vector(0x91, true);
    partition.host.apic.borrow_mut().insert(0x15, 1 << 3);
    let vp = play(&partition, 0, &[write(0x80b, 0, 0)], &[]);
    assert_eq!(
        vp.cpu.modes,
        [InterruptMode::Direct, InterruptMode::DirectWithEoiExits, InterruptMode::Emulated]
    );
    assert_eq!(written(&partition, 0x0b), [0], "the end reaches hardware all the same");
}

#[test]
fn disabling_the_apic_leads_back_to_the_model() {
    let partition = direct_partition(1);
    let vp = play(&partition, 0, &[write(0x1b, 0xfee0_0000 | 0x100, 0), exit(Exit::Cpuid)], &[]);
    assert_eq!(vp.cpu.modes, [InterruptMode::Direct, InterruptMode::Emulated]);
    assert!(!vp.apic.is_enabled());
}

#[test]
fn init_leads_back_to_the_model_and_start_up_forth() {
    let partition = direct_partition(2);
    partition.mailboxes[1].post_init();
    partition.mailboxes[1].post_start_up(0x9a);
    let vp = play(&partition, 1, &[exit(Exit::Cpuid)], &[]);
    assert_eq!(vp.cpu.modes, [InterruptMode::Direct, InterruptMode::Emulated], "once, since INIT came first");
}

#[test]
fn the_housekeeping_cpu_sees_to_what_vcpu_0_saw_to() {
    let partition = direct_partition(1);
    partition.leave_chipset_to_housekeeping(true);
    let woken = || partition.host.handed.get()[2];
    let before = woken();
    // A prompt: the line has no end, and is to show all the same.
    partition.port_write(1, 0x3f8, Width::Byte, b'$'.into());
    assert!(woken() > before && partition.host.kicked.borrow().is_empty());
    let due = partition.look_after_chipset().expect("the housekeeping CPU's");
    assert_ne!(due, u64::MAX);
    partition.host.now.set(due + 1);
    let next = partition.look_after_chipset().expect("still the housekeeping CPU's");
    assert!(next > due, "what was due was seen to");
}
