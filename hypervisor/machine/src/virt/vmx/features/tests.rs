extern crate std;
use super::*;
use std::string::{String, ToString};

/// The capability MSRs of a Skylake-X as an emulator has them: VT-x with everything that
/// is used here.
const SKYLAKE: &[(u32, u64)] = &[
    (capability::FEATURE_CONTROL, 5),
    (capability::BASIC, 0x00da_0400_0000_0004),
    (capability::PIN, 0x0000_00ff_0000_0016),
    (capability::PROCESSOR, 0xfff9_fffe_0401_e172),
    (capability::EXIT, 0x01ff_ffff_0003_6dff),
    (capability::ENTRY, 0x0003_ffff_0000_11ff),
    (capability::MISC, 0x7004_c1e7),
    (capability::CR0_FIXED0, 0x8000_0021),
    (capability::CR0_FIXED1, 0xffff_ffff),
    (capability::CR4_FIXED0, 0x2000),
    (capability::CR4_FIXED1, 0x0037_27ff),
    (capability::SECONDARY, 0x025d_3fff_0000_0000),
    (capability::EPT_VPID, 0x0000_0f01_0673_4141),
    (capability::TRUE_PIN, 0x0000_00ff_0000_0016),
    (capability::TRUE_PROCESSOR, 0xfff9_fffe_0400_6172),
    (capability::TRUE_EXIT, 0x01ff_ffff_0003_6dfb),
    (capability::TRUE_ENTRY, 0x0003_ffff_0000_11fb),
];

/// A Skylake-X of which some MSRs are otherwise.
fn detect(changes: &[(u32, u64)]) -> Result<Features, Unsupported> {
    let find = |list: &[(u32, u64)], msr| list.iter().find(|(number, _)| *number == msr).map(|entry| entry.1);
    Features::detect(cpuid, |msr| {
        find(changes, msr).or_else(|| find(SKYLAKE, msr)).unwrap_or_else(|| panic!("#GP: MSR {msr:#x}"))
    })
}

/// Intel's, of family 6, with VT-x and INVPCID.
fn cpuid(leaf: u32, _: u32) -> [u32; 4] {
    match leaf {
        0 => [0xd, 0x756e_6547, 0x6c65_746e, 0x4965_6e69],
        1 => [0x0005_0654, 0, 1 << 5, 0],
        7 => [0, 1 << 10, 0, 0],
        _ => [0; 4],
    }
}

fn without(msr: u32, controls: impl Flags<Bits = u32>) -> (u32, u64) {
    let value = SKYLAKE.iter().find(|(number, _)| *number == msr).unwrap().1;
    (msr, value & !(u64::from(controls.bits()) << 32))
}

fn words(changes: &[(u32, u64)]) -> String {
    detect(changes).unwrap_err().to_string()
}

#[test]
fn a_whole_processor_gets_what_is_needed_and_what_it_insists_on() {
    let features = detect(&[]).unwrap();
    assert_eq!(features.revision, 4);
    assert_eq!(features.controls.pin.bits(), 0x16 | 0x29);
    assert_eq!(features.controls.processor.bits(), 0x0400_6172 | 0xb220_0c80);
    assert_eq!(features.controls.exit.bits(), 0x0003_6dfb | 0x0038_8204);
    assert_eq!(features.controls.entry.bits(), 0x11fb | 0xc004);
    assert_eq!(features.controls.secondary.bits(), 0x10e2, "EPT, VPID, WBINVD, unrestricted guest, INVPCID");
    assert!(features.huge_pages && features.accessed_dirty && features.invept_one && features.has_vpid());
    assert_eq!(features.ept_pointer(0x1234_5000), 0x1234_505e);
}

#[test]
fn the_apic_is_kept_with_all_three_controls_or_not_at_all() {
    let keeps = |changes: &[(u32, u64)]| {
        let features = detect(changes).unwrap();
        (features.keeps_apic, features.takes_posted)
    };
    assert_eq!(keeps(&[]), (true, true));
    for bit in
        [SecondaryControls::X2APIC, SecondaryControls::APIC_REGISTERS, SecondaryControls::VIRTUAL_INTERRUPTS]
    {
        assert_eq!(keeps(&[without(capability::SECONDARY, bit)]), (false, false));
    }
    assert_eq!(keeps(&[without(capability::TRUE_PIN, PinControls::POSTED_INTERRUPTS)]), (true, false));
}

#[test]
fn a_timer_that_is_not_there_or_not_right_is_not_used() {
    assert_eq!(detect(&[]).unwrap().timer_rate, Some(7));
    assert_eq!(
        detect(&[without(capability::TRUE_PIN, PinControls::PREEMPTION_TIMER)]).unwrap().timer_rate,
        None
    );
    let of = |signature| {
        let cpuid = |leaf, subleaf| if leaf == 1 { [signature, 0, 1 << 5, 0] } else { cpuid(leaf, subleaf) };
        let msr = |msr| SKYLAKE.iter().find(|(number, _)| *number == msr).unwrap().1;
        Features::detect(cpuid, msr).unwrap().timer_rate
    };
    assert_eq!((of(0x0005_0654), of(0x0003_06a8)), (Some(7), None));
}

/// The processor is one of those that stop the machine, unless it says that it is not.
#[test]
fn what_guests_execute_is_in_small_pages_unless_the_processor_says_that_it_need_not() {
    assert!(detect(&[]).unwrap().small_code_pages);
    let of = |capabilities| {
        let cpuid = |leaf, subleaf| match leaf {
            7 => [0, 1 << 10, 0, 1 << 29],
            _ => cpuid(leaf, subleaf),
        };
        let msr = |msr| match msr {
            0x10a => capabilities,
            _ => SKYLAKE.iter().find(|(number, _)| *number == msr).unwrap().1,
        };
        Features::detect(cpuid, msr).unwrap().small_code_pages
    };
    assert_eq!((of(0), of(1 << 6)), (true, false));
}

#[test]
fn says_who_switched_it_off() {
    let none = |_, _| [0; 4];
    let result = Features::detect(none, |_| panic!("#GP on a processor without VT-x"));
    assert_eq!(result, Err(Unsupported::NoVmx));
    for (value, expected) in [
        (0, None),
        (4, None),
        (5, None),
        (7, None),
        (1, Some(Unsupported::DisabledByFirmware)),
        (3, Some(Unsupported::OnlyInsideSmx)),
    ] {
        let result = detect(&[(capability::FEATURE_CONTROL, value)]);
        assert_eq!(result.err(), expected, "IA32_FEATURE_CONTROL = {value}");
    }
    assert!(words(&[(capability::FEATURE_CONTROL, 1)]).contains("enable it in its setup"));
}

#[test]
fn everything_that_is_missing_is_named_at_once() {
    let missing = words(&[
        without(capability::SECONDARY, SecondaryControls::EPT | SecondaryControls::UNRESTRICTED_GUEST),
        without(capability::TRUE_PROCESSOR, PrimaryControls::TPR_SHADOW),
    ]);
    assert_eq!(missing, "the processor's VT-x lacks TPR shadow, lacks EPT, lacks unrestricted guest");
    assert_eq!(
        words(&[without(capability::TRUE_PIN, PinControls::VIRTUAL_NMIS)]),
        "the processor's VT-x lacks virtual NMIs"
    );
    assert_eq!(
        words(&[without(capability::SECONDARY, SecondaryControls::INVPCID)]),
        "the processor's VT-x lacks INVPCID for guests"
    );
}

#[test]
fn the_first_vt_x_lacks_nearly_all_of_it_and_no_msr_is_read_that_it_has_not() {
    // No secondary controls: neither their MSR nor that of EPT and VPID exists.
    let find = |msr| SKYLAKE.iter().find(|(number, _)| *number == msr).map(|entry| entry.1);
    let result = Features::detect(cpuid, |msr| match msr {
        capability::SECONDARY | capability::EPT_VPID | capability::TRUE_PIN..=capability::TRUE_ENTRY => {
            panic!("#GP: MSR {msr:#x}")
        }
        capability::BASIC => 0x001a_0400_0000_0007,
        capability::PROCESSOR => 0x77b9_fffe_0401_e172,
        capability::MISC => 0x403c0,
        _ => find(msr).unwrap(),
    });
    let said = result.unwrap_err().to_string();
    for word in ["secondary controls", "EPT", "unrestricted guest", "INVEPT", "forces CR3-load exiting"] {
        assert!(said.contains(word), "{word} in {said}");
    }
}

#[test]
fn controls_that_are_forced_and_unknown_are_refused_not_ignored() {
    let (msr, value) = without(capability::TRUE_PROCESSOR, PrimaryControls::empty());
    assert_eq!(
        words(&[(msr, value | u64::from((PrimaryControls::CR3_LOAD | PrimaryControls::RDTSC).bits()))]),
        "the processor's VT-x forces RDTSC exiting, forces CR3-load exiting"
    );
    let (msr, value) = without(capability::SECONDARY, SecondaryControls::empty());
    assert_eq!(
        words(&[(msr, value | 1 << 30)]),
        "the processor's VT-x forces controls 0x40000000 that have no name here"
    );
}

#[test]
fn what_only_helps_may_be_missing() {
    let features = detect(&[
        without(capability::SECONDARY, SecondaryControls::VPID | SecondaryControls::WBINVD),
        (capability::EPT_VPID, 0x0411_4040),
    ])
    .unwrap();
    assert!(!features.huge_pages && !features.accessed_dirty && !features.invept_one);
    assert!(!features.has_vpid());
    assert_eq!(features.ept_pointer(0x1000), 0x101e);
}

#[test]
fn a_vpid_that_cannot_be_flushed_is_not_used() {
    let offered = 0x0000_0f01_0673_4141u64;
    for (value, used) in [
        (offered, true),
        (offered & !Translation::INVVPID.bits(), false),
        (offered & !Translation::INVVPID_ONE.bits(), true),
        (offered & !(Translation::INVVPID_ONE | Translation::INVVPID_ALL).bits(), false),
    ] {
        assert_eq!(detect(&[(capability::EPT_VPID, value)]).unwrap().has_vpid(), used, "{value:#x}");
    }
}

#[test]
fn ept_without_what_is_used_of_it_is_named() {
    let said = words(&[(capability::EPT_VPID, Translation::FOUR_LEVELS.bits())]);
    for word in ["write-back EPT", "2 MiB pages", "INVEPT of all contexts"] {
        assert!(said.contains(word), "{word} in {said}");
    }
}

#[test]
fn a_guest_need_not_page_or_protect() {
    let features = detect(&[]).unwrap();
    assert_eq!(features.guest_cr0().must, 0x20);
    assert_eq!(features.cr0.fix(0x10), 0x8000_0031);
    assert_eq!(features.cr4.fix(1 << 31), 0x2000);
}
