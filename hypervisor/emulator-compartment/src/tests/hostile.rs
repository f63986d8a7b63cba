//! A compartment that says what it wants.

use super::*;
use crate::area::at as places;
use proptest::prelude::*;

/// Does `case` with the answers that `forge` makes, on a compartment that is not made anew. What became of it, and of the processor and the
/// device.
fn forged(
    case: &Case,
    forge: impl FnMut(&mut [u64]) + Send + 'static,
) -> (Result<Outcome, Ended>, StillProcessor, Outside) {
    let mut process = Process::new(&case.memory());
    process.forge = Some(Box::new(forge));
    let mut emulator = RemoteEmulator::begin(Box::new(process), &Process::first(), Restarts::NONE).unwrap();
    let (mut cpu, mut outside) = (case.cpu.clone(), Outside::default());
    let outcome = match case.cause {
        Cause::Device(gpa) => emulator.memory_access(&mut cpu, &mut outside, (gpa, NestedAccess::Read), || 0),
        Cause::Port(access) => emulator.string_port(&mut cpu, &mut outside, access, || 0),
    };
    assert!(emulator.account().entries <= 18, "{}", emulator.account().entries);
    (outcome, cpu, outside)
}

fn refused(case: &Case, what: &'static str, forge: impl FnMut(&mut [u64]) + Send + 'static) {
    let (outcome, cpu, outside) = forged(case, forge);
    assert_eq!(outcome, Err(Ended::Answer(what)));
    assert!(cpu == case.cpu, "the processor is as it was");
    assert!(outside.log.iter().all(|(.., value)| value.is_none()), "nothing was written");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_done() {
    let store = at(&[0x89, 0x03]);
    let load = at(&[0x8b, 0x03]);
    refused(&store, "nothing that an instruction comes to", |words| words[places::ANSWER] = 0);
    refused(&store, "nothing that an instruction comes to", |words| words[places::ANSWER] = 7);
    refused(&store, "changes of what an instruction does not change", |words| {
        words[places::CHANGED] |= 1 << 20;
    });
    let rip = "an instruction pointer that is behind no instruction";
    for far in [CODE - 1, CODE + 16, u64::MAX, CODE + (1 << 32) + 2, CODE + (1 << 63)] {
        refused(&store, rip, move |words| words[places::NEW_RIP] = far);
    }
    let flags = "flags that no instruction changes";
    // TF, IF, DF, IOPL, NT, RF, VM, AC, VIF, VIP, ID, and those that are not there.
    for bit in [8, 9, 10, 12, 13, 14, 16, 17, 18, 19, 20, 21, 1, 3, 5, 15, 22, 63] {
        refused(&store, flags, move |words| {
            words[places::CHANGED] |= 1 << 17;
            words[places::NEW_RFLAGS] = 2 ^ 1 << bit;
        });
    }
    for event in [
        0,
        2,
        8 | 1 << 8,
        12,
        13,
        14,
        18,
        1 | 1 << 8,
        13 | 1 << 8 | 8 << 32,
        14 | 1 << 8 | 0x20 << 32,
        1 << 9,
    ]
    .into_iter()
    .chain([13 | 1 << 8 | 1 << 16, u64::MAX])
    {
        refused(&store, "an event that no instruction raises", move |words| {
            (words[places::ANSWER], words[places::EVENT]) = (3, event);
        });
    }
    refused(&store, "the address of a page fault that there is not", |words| {
        words[places::CHANGED] |= 1 << 18;
    });
    refused(&store, "more accesses than an instruction has", |words| words[places::WRITE_COUNT] = 73);
    for write in [[0xd000_0fff, 2, 0], [0xd000_0000, 3, 0], [0xd000_0000, 1, 0x100], [1 << 52, 1, 0]] {
        refused(&store, "an access that no instruction makes", move |words| {
            words[places::WRITES..][..3].copy_from_slice(&write);
        });
    }
    refused(&store, "a load of nothing", |words| words[places::READ + 2] = 1);
    refused(&load, "a load of nothing", |words| words[places::READ] = 0xd000_0ffd);
    refused(&load, "a load of nothing", |words| words[places::READ + 1] |= 1 << 12);
    refused(&load, "a question about nothing", |words| words[places::ANSWER] = 6);
}

#[test]
fn a_port_is_the_one_that_the_guest_named() {
    let mut case = at(&[0xf3, 0x6c]);
    let access = PortAccess { port: 0x1f0, width: Width::Byte, input: true, string: true, repeat: true };
    case.cause = Cause::Port(access);
    (case.cpu.registers[RDX], case.cpu.registers[RDI]) = (0x1f0, 0x2_0000);
    case.cpu.registers[RCX] = 4;
    let question = "a question about nothing";
    for bytes in [0, 2049, u64::MAX] {
        refused(&case, question, move |words| words[places::READ + 1] = bytes);
    }
    refused(&case, question, |words| words[places::READ + 2] = 4);
    refused(&case, "an access that no instruction makes", |words| {
        (words[places::ANSWER], words[places::READ + 2], words[places::WRITE_COUNT]) = (1, 0, 1);
    });
    let (outcome, _, outside) = forged(&case, |words| {
        words[places::ANSWER] = 6;
        words[places::READ..][..3].copy_from_slice(&[5, 4, 2]);
    });
    assert!(outcome.is_err(), "it asks on and on");
    assert!(outside.log.iter().all(|access| *access == (0x1f0, Width::Byte, None)));
    assert_eq!(outside.log.len(), 16);
}

#[test]
fn one_that_asks_without_end_is_ended() {
    let (outcome, cpu, outside) = forged(&at(&[0x8b, 0x03]), |words| {
        words[places::ANSWER] = 6;
        words[places::READ..][..3].copy_from_slice(&[0xd000_0000, 4, 2]);
    });
    assert_eq!(outcome, Err(Ended::Answer("more questions than an instruction has")));
    assert_eq!((cpu.rip, outside.log.len()), (CODE, 16));
    let (outcome, ..) = forged(&at(&[0x8b, 0x03]), |words| words[places::ANSWER] = 5);
    assert!(outcome.is_err(), "all segments were said");
}

#[test]
fn one_that_fails_at_an_instruction_each_time_is_gone() {
    let case = at(&[0x8b, 0x03]);
    let mut process = Process::new(&case.memory());
    process.fates = std::vec![Fate::DiesLate; 100];
    let mut emulator = process.emulator();
    for restarts in [2, 2] {
        let (mut cpu, mut outside) = (case.cpu.clone(), Outside::default());
        let outcome =
            emulator.memory_access(&mut cpu, &mut outside, (Gpa(DEVICE_GPA), NestedAccess::Read), || 0);
        assert_eq!(outcome, Err(Ended::Fault { vector: 14, rip: 5 }));
        assert!(cpu == case.cpu && outside.log.is_empty());
        assert_eq!(emulator.account().restarts, restarts);
        assert!(emulator.account().is_gone);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// What is not refused is what a guest could have done to itself.
    #[test]
    fn nothing_that_is_said_gets_through(
        kind in 0..8_u64,
        place in places::CHANGED..places::WRITES + 6,
        words in proptest::collection::vec(any::<u64>(), 1..8),
        narrow in any::<u64>(),
        at_port in any::<bool>(),
    ) {
        let mut case = at(&[0x01, 0x03]);
        if at_port {
            let access =
                PortAccess { port: 0x1f0, width: Width::Byte, input: narrow & 1 != 0, string: true, repeat: true };
            case.cause = Cause::Port(access);
        }
        let (outcome, cpu, outside) = forged(&case, move |area| {
            area[places::ANSWER] = kind;
            for (to, word) in area[place..].iter_mut().zip(&words) {
                *to = word & narrow;
            }
        });
        let moved = cpu.rip.wrapping_sub(CODE);
        prop_assert!(moved <= 15);
        prop_assert_eq!((cpu.rflags ^ 2) & !0x8d5, 0);
        prop_assert_eq!(&cpu.segments, &case.cpu.segments);
        let (new, old) = (cpu.control, case.cpu.control);
        prop_assert_eq!((new.cr0, new.cr3, new.cr4, new.efer), (old.cr0, old.cr3, old.cr4, old.efer));
        for (place, width, value) in outside.log {
            prop_assert!((place & 0xfff) + width.bytes() <= 0x1000 && place < 1 << 52);
            prop_assert!(value.is_none_or(|value| value & !width.mask() == 0));
            prop_assert!(!at_port || (place, width) == (0x1f0, Width::Byte));
        }
        if let Ok(Outcome::Inject(event)) = outcome {
            let Event::Exception { vector, error } = event else { panic!("{event:?}") };
            prop_assert!(matches!((vector, error), (1, None) | (12 | 13, Some(0)) | (14, Some(0..=0x1f))));
        }
    }
}
