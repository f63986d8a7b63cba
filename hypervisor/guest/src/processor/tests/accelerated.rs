//! A vCPU whose processor keeps its local APIC.

use super::*;
use crate::mailbox::Delivery;
use access::vcpu::Posting;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use spec::apic::{DeliveryMode, Destination, InterruptMessage};
use std::boxed::Box;

fn accelerated_partition(vcpus: usize) -> Partition<FakeHost> {
    let mut partition = partition(vcpus);
    partition.accelerated_interrupts = true;
    partition
}

fn write(register: u64, low: u64) -> Turn {
    Turn { registers: std::vec![(RCX, register), (RAX, low), (RDX, 0)], ..exit(Exit::WriteMsr) }
}

fn fixed(vector: u8, level: bool) -> InterruptMessage {
    InterruptMessage { destination: Destination::Physical(1), mode: DeliveryMode::Fixed, vector, level }
}

/// Remembers what was posted.
#[derive(Default)]
struct Posted(AtomicU64);

impl Posting for Posted {
    fn post(&self, vector: u8) {
        self.0.store(self.0.load(Relaxed) << 8 | u64::from(vector), Relaxed);
    }
}

/// The second vCPU of the partition is accelerated, its APIC switched on or not; gives
/// where others post.
fn with_accelerated_sibling(partition: &mut Partition<FakeHost>, on: bool) -> &'static Posted {
    let posted: &'static Posted = Box::leak(Box::default());
    partition.mailboxes[1].set_posting(Some(posted));
    partition.mailboxes[1].set_delivery(Delivery::Posted);
    let mut apic = LocalApic::new(1, false);
    apic.set_base(apic.base() | 0xc00).unwrap();
    let _ = apic.write(0x0f, if on { 0x1ff } else { 0xff }, 0).unwrap();
    partition.mailboxes[1].set_address(apic.address().to_bits());
    posted
}

#[test]
fn it_changes_over_in_x2apic_mode_and_back_at_its_end() {
    let partition = accelerated_partition(1);
    let vp = play(&partition, 0, &[exit(Exit::Cpuid)], &[]);
    assert_eq!(vp.cpu.modes, [InterruptMode::Accelerated, InterruptMode::Emulated]);
    assert!(!vp.accelerated && partition.mailboxes[0].delivery() == Delivery::Mailbox);
    assert_eq!(partition.host.handed.get()[..2], [0, 0], "the machine's APIC stays the hypervisor's");
}

#[test]
fn a_guest_in_xapic_mode_stays_with_the_model() {
    let partition = accelerated_partition(1);
    let mut vp = VirtualProcessor::new(0, Scripted::new(&partition, &[exit(Exit::Cpuid)], &[]));
    vp.run(&partition);
    assert_eq!(vp.cpu.modes, []);
}

#[test]
fn whatever_the_model_accepts_is_handed_on_and_never_injected() {
    let partition = accelerated_partition(1);
    partition.mailboxes[0].post_vector(0x51, false);
    partition.mailboxes[0].post_vector(0x91, true);
    // A device's, an interrupt to itself by the command register, and a vector that none has.
    let turns = [device(0x31), write(0x830, 1 << 18 | 0x71), write(0x830, 4)];
    let vp = play(&partition, 0, &turns, &[]);
    assert_eq!(vp.cpu.requested, [(0x91, true), (0x51, false), (0x31, false), (0x71, false)]);
    assert_eq!(injected(&vp), [None; 4]);
    assert!(vp.cpu.resumes.iter().all(|resume| !resume.interrupt_window && !resume.priority_window));
}

#[test]
fn the_task_priority_is_the_processors() {
    let partition = accelerated_partition(1);
    let mut vp = VirtualProcessor::new(0, Scripted::new(&partition, &[write(0x80f, 0x1ff)], &[]));
    vp.apic.set_base(vp.apic.base() | 0xc00).unwrap();
    let _ = vp.apic.write(0x08, 0x50, 0).unwrap();
    vp.cpu.cr8 = 5;
    vp.run(&partition);
    assert_eq!(vp.cpu.cr8, 5, "a write to another register leaves it alone");
}

#[test]
fn the_end_of_a_level_triggered_interrupt_reaches_the_ioapic() {
    let partition = accelerated_partition(1);
    route_line(&partition, LEVEL | 0x41);
    partition.host.in_service.set(1 << 17);
    let turns = [device(crate::host::LINE_VECTOR), exit(Exit::EndOfInterrupt { vector: 0x41 })];
    let vp = play(&partition, 0, &turns, &[]);
    assert_eq!(vp.cpu.requested, [(0x41, true)]);
    assert_eq!(*partition.host.ended.borrow(), [17], "the machine's pin is told");
}

#[test]
fn a_sibling_posts_what_is_plain_and_mails_the_rest() {
    let mut partition = accelerated_partition(2);
    let posted = with_accelerated_sibling(&mut partition, true);
    partition.route(0, fixed(0x61, false));
    assert_eq!(posted.0.load(Relaxed), 0x61);
    assert!(partition.host.kicked.borrow().is_empty());
    // Its end is waited for, so the vCPU itself has to know.
    partition.route(0, fixed(0x62, true));
    partition.route(0, InterruptMessage { mode: DeliveryMode::Nmi, ..fixed(0, false) });
    assert_eq!(*partition.host.kicked.borrow(), [1, 1]);
    partition.route(1, fixed(0x63, false));
    assert_eq!(posted.0.load(Relaxed), 0x61, "what it sends to itself is mail");
    assert!(vectors(partition.mailboxes[1].take().unwrap().edge).eq([0x63]));
}

#[test]
fn an_apic_that_is_off_takes_nothing() {
    let mut partition = accelerated_partition(2);
    let posted = with_accelerated_sibling(&mut partition, false);
    partition.route(0, fixed(0x61, false));
    assert_eq!(posted.0.load(Relaxed), 0);
}

#[test]
fn an_illegal_self_ipi_becomes_an_error() {
    let partition = accelerated_partition(1);
    let turns = [write(0x837, 0xfe), exit(Exit::ApicWrite { register: 0x3f })];
    let vp = play(&partition, 0, &turns, &[]);
    assert_eq!(vp.cpu.requested, [(0xfe, false)], "the error's interrupt");
}

#[test]
fn the_8259a_is_let_in_by_the_model_which_goes_on_where_the_processor_was() {
    let partition = accelerated_partition(1);
    let turns = [write(0x835, 0x700), exit(Exit::Cpuid)];
    let mut vp = VirtualProcessor::new(0, Scripted::new(&partition, &turns, &[]));
    vp.apic.set_base(vp.apic.base() | 0xc00).unwrap();
    for (register, value) in [(0x0f, 0x1ff), (0x35, 1 << 16)] {
        let _ = vp.apic.write(register, value, 0).unwrap();
    }
    vp.cpu.kept.requests[0] = 1 << 0x31;
    vp.cpu.kept.task_priority = 0x25;
    vp.run(&partition);
    assert_eq!(vp.cpu.modes, [InterruptMode::Accelerated, InterruptMode::Emulated], "and not again");
    assert_eq!(injected(&vp), [None, Some(Event::Interrupt(0x31)), None]);
    assert_eq!(vp.apic.task_priority(), 0x25);
}

#[test]
fn disabling_the_apic_or_init_leads_back_to_the_model() {
    let partition = accelerated_partition(1);
    let vp = play(&partition, 0, &[write(0x1b, 0xfee0_0000 | 0x100), exit(Exit::Cpuid)], &[]);
    assert_eq!(vp.cpu.modes, [InterruptMode::Accelerated, InterruptMode::Emulated]);
    let partition = accelerated_partition(2);
    partition.mailboxes[1].post_init();
    partition.mailboxes[1].post_start_up(0x9a);
    let vp = play(&partition, 1, &[exit(Exit::Cpuid)], &[]);
    assert_eq!(
        vp.cpu.modes,
        [InterruptMode::Accelerated, InterruptMode::Emulated],
        "once, since INIT came first"
    );
}
