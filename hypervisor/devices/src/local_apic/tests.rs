use super::*;
use proptest::prelude::*;
use std::vec;

mod saving;
mod timer;

const XAPIC: u64 = 0xfee0_0800;
const X2APIC: u64 = 0xfee0_0c00;

fn x2apic(id: u32) -> LocalApic {
    let mut apic = LocalApic::new(id, true);
    apic.set_base(X2APIC | BASE_BOOTSTRAP).unwrap();
    let _ = apic.write(0x0f, 0x1ff, 0).unwrap();
    apic
}

/// The vectors that a processor with interrupts enabled takes now, without ending any.
fn take(apic: &mut LocalApic) -> Option<u8> {
    let vector = apic.deliverable()?;
    apic.acknowledge(vector);
    Some(vector)
}

#[test]
fn mode_changes_are_those_of_the_figure() {
    // (from, to, allowed), by the enable and x2APIC bits.
    let (disabled, xapic, invalid, x2) = (0xfee0_0000, XAPIC, 0xfee0_0400, X2APIC);
    for (from, to, allowed) in [
        (disabled, disabled, true),
        (disabled, xapic, true),
        (disabled, x2, false),
        (disabled, invalid, false),
        (xapic, disabled, true),
        (xapic, xapic, true),
        (xapic, x2, true),
        (xapic, invalid, false),
        (x2, disabled, true),
        (x2, xapic, false),
        (x2, x2, true),
        (x2, invalid, false),
    ] {
        let mut apic = LocalApic::new(0, false);
        apic.set_base(from).unwrap();
        assert_eq!(apic.set_base(to).is_ok(), allowed, "{from:#x} to {to:#x}");
        assert_eq!(apic.base(), if allowed { to } else { from });
    }
}

#[test]
fn the_page_cannot_be_moved_and_reserved_bits_fault() {
    let mut apic = LocalApic::new(0, true);
    for value in [0xfed0_0800, 0x800, 0x1_fee0_0800, 0xfee0_1800, XAPIC | 1, XAPIC | 1 << 9, u64::MAX] {
        assert_eq!(apic.set_base(value), Err(Fault), "{value:#x}");
    }
    assert_eq!(apic.base(), XAPIC | BASE_BOOTSTRAP);
}

#[test]
fn each_interface_is_closed_in_the_others_mode() {
    let mut apic = LocalApic::new(3, false);
    assert_eq!(apic.read(0x02, 0), Err(Fault));
    assert_eq!(apic.write(0x0b, 0, 0), Err(Fault));
    assert_eq!(apic.mmio_read(0x20, 0), 3 << 24);
    let mut apic = x2apic(3);
    assert_eq!(apic.read(0x02, 0), Ok(3));
    assert_eq!(apic.mmio_read(0x20, 0), u32::MAX);
    assert_eq!(apic.mmio_write(0x300, 0x4_4000, 0), ApicEffect::Changed);
    apic.set_base(0xfee0_0000).unwrap();
    assert_eq!(apic.mmio_read(0x20, 0), u32::MAX);
    assert_eq!(apic.read(0x02, 0), Err(Fault));
}

#[test]
fn x2apic_registers_fault_as_the_table_says() {
    let mut apic = x2apic(0);
    let readable = |register: u8| matches!(register, 0x02 | 0x03 | 0x08 | 0x0a | 0x0d | 0x0f | 0x10..=0x28 | 0x30 | 0x32..=0x39 | 0x3e);
    let writable =
        |register: u8| matches!(register, 0x08 | 0x0b | 0x0f | 0x28 | 0x30 | 0x32..=0x38 | 0x3e | 0x3f);
    for register in 0..=255 {
        assert_eq!(apic.read(register, 0).is_ok(), readable(register), "read {register:#x}");
        assert_eq!(apic.write(register, 0, 0).is_ok(), writable(register), "write {register:#x}");
        // Every register but the ICR has reserved bits above its 32.
        if register != 0x30 {
            assert_eq!(apic.write(register, 1 << 40, 0), Err(Fault), "wide {register:#x}");
        }
    }
    for (register, value) in [
        (0x08, 0x100),
        (0x0b, 1),
        (0x0f, 1 << 11),
        (0x28, 1),
        (0x30, 1 << 13),
        (0x30, 1 << 20),
        (0x32, 1 << 8),
        (0x33, 1 << 13),
        (0x35, 1 << 17),
        (0x37, 1 << 8),
        (0x3e, 4),
        (0x3f, 0x100),
    ] {
        assert_eq!(apic.write(register, value, 0), Err(Fault), "{register:#x} {value:#x}");
    }
}

#[test]
fn priority_decides_what_is_deliverable() {
    let mut apic = x2apic(0);
    apic.accept(0x41, false);
    apic.accept(0x52, false);
    assert_eq!(apic.deliverable(), Some(0x52));
    apic.set_cr8(5);
    assert_eq!(apic.task_priority(), 0x50);
    assert_eq!(apic.deliverable(), None);
    assert_eq!(apic.pending_below_priority(), Some(0x52));
    apic.set_cr8(4);
    assert_eq!(apic.pending_below_priority(), None);
    assert_eq!(take(&mut apic), Some(0x52));
    // The same class as the one in service waits.
    apic.accept(0x5f, false);
    assert_eq!(apic.deliverable(), None);
    apic.accept(0x60, false);
    assert_eq!(take(&mut apic), Some(0x60));
    assert_eq!(apic.read(0x0a, 0), Ok(0x60));
    assert_eq!(apic.write(0x0b, 0, 0), Ok(ApicEffect::EndOfInterrupt { vector: 0x60, level: false }));
    assert_eq!(apic.write(0x0b, 0, 0), Ok(ApicEffect::EndOfInterrupt { vector: 0x52, level: false }));
    assert_eq!(take(&mut apic), Some(0x5f));
    assert_eq!(apic.read(0x0a, 0), Ok(0x50));
    let _ = apic.write(0x0b, 0, 0);
    apic.set_cr8(0);
    assert_eq!(take(&mut apic), Some(0x41));
}

#[test]
fn tpr_keeps_its_subclass_and_cr8_its_class() {
    let mut apic = x2apic(0);
    let _ = apic.write(0x08, 0x37, 0).unwrap();
    assert_eq!((apic.task_priority(), apic.read(0x0a, 0)), (0x37, Ok(0x37)));
    apic.set_cr8(0xf4);
    assert_eq!(apic.read(0x08, 0), Ok(0x40));
}

#[test]
fn ending_nothing_is_nothing() {
    let mut apic = x2apic(0);
    assert_eq!(apic.write(0x0b, 0, 0), Ok(ApicEffect::None));
    apic.accept(0x30, true);
    // In the IRR, but not in service.
    assert_eq!(apic.write(0x0b, 0, 0), Ok(ApicEffect::None));
    // Acknowledging what nobody asked for puts nothing in service.
    apic.acknowledge(0x99);
    assert_eq!(apic.write(0x0b, 0, 0), Ok(ApicEffect::None));
}

#[test]
fn level_is_reported_unless_suppressed() {
    let mut apic = x2apic(0);
    for (svr, level, reported) in [(0x1ff, true, true), (0x1ff, false, false), (0x11ff, true, false)] {
        let _ = apic.write(0x0f, svr, 0).unwrap();
        apic.accept(0x31, level);
        assert_eq!(apic.read(0x19, 0), Ok(if level { 1 << 17 } else { 0 }), "TMR");
        assert_eq!(take(&mut apic), Some(0x31));
        assert_eq!(apic.write(0x0b, 0, 0), Ok(ApicEffect::EndOfInterrupt { vector: 0x31, level: reported }));
    }
}

#[test]
fn the_windows_show_irr_and_isr() {
    let mut apic = LocalApic::new(0, true);
    for vector in 16..=255u8 {
        let (window, bit) = (u32::from(vector / 32) * 16, 1 << (vector % 32));
        apic.accept(vector, false);
        assert_eq!(apic.mmio_read(0x200 + window, 0), bit);
        assert_eq!(take(&mut apic), Some(vector));
        assert_eq!(apic.mmio_read(0x200 + window, 0), 0);
        assert_eq!(apic.mmio_read(0x100 + window, 0), bit);
        let _ = apic.mmio_write(0xb0, 0, 0);
        assert_eq!(apic.mmio_read(0x100 + window, 0), 0);
    }
}

#[test]
fn software_disable_masks_and_takes_nothing() {
    let mut apic = x2apic(0);
    let _ = apic.write(0x32, 0x2_0040, 0).unwrap();
    let _ = apic.write(0x36, 0x400, 0).unwrap();
    apic.accept(0x50, false);
    let _ = apic.write(0x0f, 0xff, 0).unwrap();
    for register in 0x32..=0x37 {
        assert_ne!(apic.read(register, 0).unwrap() & 1 << 16, 0, "{register:#x}");
    }
    // The mask cannot be cleared.
    let _ = apic.write(0x36, 0x400, 0).unwrap();
    assert_eq!(apic.read(0x36, 0), Ok(0x1_0400));
    apic.accept(0x60, false);
    assert!(!apic.address().software_enabled);
    // What was pending before stays so; what came after is lost.
    assert_eq!(take(&mut apic), Some(0x50));
    assert_eq!(take(&mut apic), None);
    assert!(!apic.accepts_external());
}

#[test]
fn software_enable_shows_in_the_address() {
    let mut apic = LocalApic::new(1, false);
    assert!(!apic.address().software_enabled);
    assert_eq!(apic.mmio_write(0xf0, 0x1ff, 0), ApicEffect::Changed);
    assert!(apic.address().software_enabled);
}

#[test]
fn init_keeps_base_and_id() {
    let mut apic = x2apic(0x23);
    apic.accept(0x50, true);
    apic.set_cr8(9);
    let _ = apic.write(0x32, 0x2_0040, 0).unwrap();
    let _ = apic.write(0x38, 0xffff, 0).unwrap();
    apic.reset();
    assert!(apic.is_x2apic());
    assert_eq!(apic.base(), X2APIC | BASE_BOOTSTRAP);
    assert_eq!(apic.read(0x02, 0), Ok(0x23));
    assert_eq!(apic.read(0x0d, 0), Ok(0x2_0008));
    assert_eq!((apic.deliverable(), apic.deadline(), apic.task_priority()), (None, None, 0));
    assert_eq!(apic.read(0x0f, 0), Ok(0xff));
    for register in 0x32..=0x37 {
        assert_eq!(apic.read(register, 0), Ok(0x1_0000));
    }
}

#[test]
fn disabling_loses_all_state() {
    let mut apic = x2apic(1);
    apic.accept(0x50, false);
    let _ = apic.write(0x32, 0x2_0040, 0).unwrap();
    apic.set_base(0xfee0_0000).unwrap();
    assert!(apic.accepts_external());
    apic.accept(0x51, false);
    assert_eq!((apic.deliverable(), apic.deadline()), (None, None));
    apic.set_base(XAPIC).unwrap();
    assert_eq!(apic.deliverable(), None);
    assert_eq!(apic.mmio_read(0xf0, 0), 0xff);
    assert!(!apic.accepts_external());
}

#[test]
fn the_bootstrap_processor_starts_in_virtual_wire_mode() {
    let mut apic = LocalApic::new(0, true);
    assert!(apic.accepts_external());
    let _ = apic.mmio_write(0x350, 0x1_0700, 0);
    assert!(!apic.accepts_external());
    assert!(!LocalApic::new(1, false).accepts_external());
}

#[test]
fn the_icr_sends_and_reads_back() {
    let mut apic = x2apic(0);
    let icr = 7 << 32 | 0x4000 | 0x45;
    assert_eq!(
        apic.write(0x30, icr | 1 << 12, 0),
        Ok(ApicEffect::Send(InterruptMessage {
            destination: Destination::Physical(7),
            mode: DeliveryMode::Fixed,
            vector: 0x45,
            level: false
        }))
    );
    assert_eq!(apic.read(0x30, 0), Ok(icr));
    let destinations = [
        (2 << 18 | 0x45, Destination::All),
        (3 << 18 | 0x45, Destination::AllButSelf),
        (0x2_0004 << 32 | 1 << 11 | 0x45, Destination::Logical(0x2_0004)),
    ];
    for (icr, expected) in destinations {
        let Ok(ApicEffect::Send(message)) = apic.write(0x30, icr, 0) else { panic!("nothing sent") };
        assert_eq!(message.destination, expected);
    }
}

#[test]
fn the_xapic_icr_is_sent_by_its_lower_half() {
    let mut apic = LocalApic::new(0, true);
    assert_eq!(apic.mmio_write(0x310, 0x05ff_ffff, 0), ApicEffect::Changed);
    assert_eq!(
        apic.mmio_write(0x300, 0x4608, 0),
        ApicEffect::Send(InterruptMessage {
            destination: Destination::Physical(5),
            mode: DeliveryMode::StartUp,
            vector: 8,
            level: false
        })
    );
    assert_eq!((apic.mmio_read(0x300, 0), apic.mmio_read(0x310, 0)), (0x4608, 0x0500_0000));
    // INIT, then its level de-assert, which is no INIT.
    assert!(matches!(apic.mmio_write(0x300, 0xc500, 0), ApicEffect::Send(_)));
    assert_eq!(apic.mmio_write(0x300, 0x8500, 0), ApicEffect::Changed);
    // Reserved mode, and ExtINT.
    assert_eq!(apic.mmio_write(0x300, 0x4345, 0), ApicEffect::Changed);
    assert_eq!(apic.mmio_write(0x300, 0x4745, 0), ApicEffect::Changed);
}

#[test]
fn an_ipi_is_an_edge_whatever_its_trigger_bit_says() {
    let mut apic = x2apic(0);
    let Ok(ApicEffect::Send(message)) = apic.write(0x30, 0xc045, 0) else { panic!("nothing sent") };
    assert!(!message.level);
    // So an end of interrupt of its own making tells the IOAPICs nothing.
    let _ = apic.write(0x30, 1 << 18 | 0xc046, 0).unwrap();
    assert_eq!(take(&mut apic), Some(0x46));
    assert_eq!(apic.write(0x0b, 0, 0), Ok(ApicEffect::EndOfInterrupt { vector: 0x46, level: false }));
}

#[test]
fn self_ipis_are_in_the_irr_at_once() {
    let mut apic = x2apic(0);
    assert_eq!(apic.write(0x3f, 0x77, 0), Ok(ApicEffect::Changed));
    assert_eq!(take(&mut apic), Some(0x77));
    assert_eq!(apic.write(0x30, 1 << 18 | 0x88, 0), Ok(ApicEffect::Changed));
    assert_eq!(take(&mut apic), Some(0x88));
    // An NMI to itself is the caller's to deliver.
    assert!(matches!(apic.write(0x30, 1 << 18 | 4 << 8, 0), Ok(ApicEffect::Send(_))));
}

#[test]
fn illegal_vectors_become_errors_and_nothing_else() {
    let mut apic = x2apic(0);
    for vector in 0..16 {
        assert_eq!(apic.write(0x30, u64::from(vector), 0), Ok(ApicEffect::Changed));
        assert_eq!(apic.write(0x3f, u64::from(vector), 0), Ok(ApicEffect::Changed));
        apic.accept(vector, false);
    }
    assert_eq!(apic.deliverable(), None);
    // The ESR shows them once it is written.
    assert_eq!(apic.read(0x28, 0), Ok(0));
    let _ = apic.write(0x28, 0, 0).unwrap();
    assert_eq!(apic.read(0x28, 0), Ok(0x60));
    let _ = apic.write(0x28, 0, 0).unwrap();
    assert_eq!(apic.read(0x28, 0), Ok(0));
}

#[test]
fn an_error_interrupts_once_until_the_esr_is_written() {
    let mut apic = x2apic(0);
    let _ = apic.write(0x37, 0xfe, 0).unwrap();
    apic.accept(3, false);
    assert_eq!(take(&mut apic), Some(0xfe));
    let _ = apic.write(0x0b, 0, 0);
    apic.accept(3, false);
    assert_eq!(take(&mut apic), None);
    let _ = apic.write(0x28, 0, 0).unwrap();
    apic.accept(3, false);
    assert_eq!(take(&mut apic), Some(0xfe));
}

#[test]
fn an_error_interrupt_with_an_illegal_vector_does_not_recurse() {
    let mut apic = x2apic(0);
    let _ = apic.write(0x37, 5, 0).unwrap();
    apic.accept(3, false);
    let _ = apic.write(0x3f, 1, 0).unwrap();
    assert_eq!(apic.deliverable(), None);
    let _ = apic.write(0x28, 0, 0).unwrap();
    assert_eq!(apic.read(0x28, 0), Ok(0x60));
}

#[test]
fn absent_xapic_registers_are_errors() {
    let mut apic = LocalApic::new(0, true);
    for offset in [0, 0x10, 0x24, 0x3f0, 0x2f0, 0x400, 0xff0, 0x1000, 0x1020, 0xffff_fff0] {
        assert_eq!(apic.mmio_read(offset, 0), 0, "{offset:#x}");
        let _ = apic.mmio_write(0x280, 0, 0);
        assert_eq!(apic.mmio_read(0x280, 0), 0x80, "{offset:#x}");
        assert_eq!(apic.mmio_write(offset, u32::MAX, 0), ApicEffect::Changed);
        let _ = apic.mmio_write(0x280, 0, 0);
        assert_eq!(apic.mmio_read(0x280, 0), 0x80, "{offset:#x}");
    }
    // The ID and the windows are there, but read-only.
    for offset in [0x20, 0x30, 0x100, 0x1f0, 0x270, 0x390] {
        let before = apic.mmio_read(offset, 0);
        let _ = apic.mmio_write(offset, 0xffff_ffff, 0);
        assert_eq!(apic.mmio_read(offset, 0), before);
    }
    let _ = apic.mmio_write(0x280, 0, 0);
    assert_eq!(apic.mmio_read(0x280, 0), 0);
}

#[test]
fn logical_ids_follow_the_registers() {
    let mut apic = LocalApic::new(2, true);
    let _ = apic.mmio_write(0xd0, 0x0400_0000, 0);
    assert!(apic.address().matches(&Destination::Logical(4)));
    let _ = apic.mmio_write(0xe0, 0x0fff_ffff, 0);
    let _ = apic.mmio_write(0xd0, 0x2100_0000, 0);
    assert_eq!(apic.mmio_read(0xe0, 0), 0x0fff_ffff);
    assert!(apic.address().matches(&Destination::Logical(0x23)));
    assert!(!apic.address().matches(&Destination::Logical(0x13)));
    apic.set_base(X2APIC).unwrap();
    assert!(apic.address().matches(&Destination::Logical(1 << 2)));
}

#[derive(Clone, Debug)]
enum Step {
    Read(u8),
    Write(u8, u64),
    MmioRead(u32),
    MmioWrite(u32, u32),
    Base(u64),
    Accept(u8, bool),
    Take,
    Acknowledge(u8),
    Priority(u8),
    Deadline(u64),
    Wait(u64),
    Init,
}

fn step() -> impl Strategy<Value = Step> {
    let register = 0..0x40u8;
    let value = prop_oneof![0..0x100u64, 0..0x8_0000u64, any::<u64>()];
    prop_oneof![
        any::<u8>().prop_map(Step::Read),
        (register, value.clone()).prop_map(|(register, value)| Step::Write(register, value)),
        (0..0x1100u32).prop_map(Step::MmioRead),
        (0..0x40u32, value.clone())
            .prop_map(|(register, value)| Step::MmioWrite(register << 4, value as u32)),
        (any::<u32>(), any::<u32>()).prop_map(|(offset, value)| Step::MmioWrite(offset, value)),
        (0..4u64).prop_map(|mode| Step::Base(0xfee0_0000 | mode << 10)),
        any::<u64>().prop_map(Step::Base),
        any::<(u8, bool)>().prop_map(|(vector, level)| Step::Accept(vector, level)),
        Just(Step::Take),
        any::<u8>().prop_map(Step::Acknowledge),
        any::<u8>().prop_map(Step::Priority),
        value.prop_map(Step::Deadline),
        prop_oneof![0..1_000_000u64, any::<u64>()].prop_map(Step::Wait),
        Just(Step::Init),
    ]
}

proptest! {
    /// Taking an interrupt finds the processor priority without the whole ISR.
    #[test]
    fn an_acknowledged_vector_leaves_the_priority_of_all_in_service(
        task_priority: u8,
        served in proptest::collection::vec(16u8.., 0..6),
        vector in 16u8..,
    ) {
        let mut apic = x2apic(1);
        let _ = apic.write(0x08, u32::from(task_priority).into(), 0).unwrap();
        for vector in served {
            apic.accept(vector, false);
            apic.acknowledge(vector);
        }
        apic.accept(vector, false);
        apic.acknowledge(vector);
        let found = apic.ppr;
        apic.update_priority();
        prop_assert_eq!(found, apic.ppr);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn nothing_a_guest_does_breaks_it(
        bootstrap: bool,
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut apic = LocalApic::new(1, bootstrap);
        let mut now = 0u64;
        for step in steps {
            match step {
                Step::Read(register) => { let _ = apic.read(register, now); }
                Step::Write(register, value) => { let _ = apic.write(register, value, now); }
                Step::MmioRead(offset) => { apic.mmio_read(offset, now); }
                Step::MmioWrite(offset, value) => { let _ = apic.mmio_write(offset, value, now); }
                Step::Base(value) => { let _ = apic.set_base(value); }
                Step::Accept(vector, level) => apic.accept(vector, level),
                Step::Take => { take(&mut apic); }
                Step::Acknowledge(vector) => apic.acknowledge(vector),
                Step::Priority(cr8) => apic.set_cr8(cr8),
                Step::Deadline(value) => apic.set_tsc_deadline(value, now),
                Step::Wait(ticks) => now = now.saturating_add(ticks),
                Step::Init => apic.reset(),
            }
            // What is deliverable is a legal vector above the processor priority, and
            // higher than all that is in service and the task priority.
            if let Some(vector) = apic.deliverable() {
                prop_assert!(vector >= FIRST_LEGAL_VECTOR);
                prop_assert!(vector >> 4 > apic.task_priority() >> 4);
                prop_assert!(apic.isr.highest().is_none_or(|busy| vector >> 4 > busy >> 4));
                prop_assert!(apic.irr.contains(vector));
                prop_assert_eq!(apic.pending_below_priority(), None);
            }
            // Serving the deadline makes progress at the same moment.
            apic.expire(now);
            prop_assert!(apic.deadline().is_none_or(|deadline| deadline > now));
            prop_assert_eq!(ApicAddress::from_bits(apic.address().to_bits()), apic.address());
            prop_assert_eq!(apic.base() & !0xfff, BASE_ADDRESS);
        }
    }
}
