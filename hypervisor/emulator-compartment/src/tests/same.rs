//! Whatever the instruction, the processor and the memory.

use super::*;
use proptest::prelude::*;

/// Instructions that reach memory, without their operands.
const OPCODES: &[&[u8]] = &[
    &[0x88],
    &[0x89],
    &[0x8a],
    &[0x8b],
    &[0xc6],
    &[0xc7],
    &[0x0f, 0xb6],
    &[0x0f, 0xbe],
    &[0x63],
    &[0x0f, 0xbf],
    &[0x00],
    &[0x01],
    &[0x03],
    &[0x29],
    &[0x31],
    &[0x39],
    &[0x3b],
    &[0x80],
    &[0x81],
    &[0x83],
    &[0x84],
    &[0x85],
    &[0xf6],
    &[0xf7],
    &[0xfe],
    &[0xff],
    &[0x86],
    &[0x87],
    &[0x0f, 0xb1],
    &[0x0f, 0xc1],
    &[0x0f, 0xba],
    &[0x0f, 0xab],
    &[0x0f, 0xa3],
    &[0xc1],
    &[0xd3],
    &[0x0f, 0xaf],
    &[0x69],
    &[0x8f],
    &[0x0f, 0x38, 0xf0],
    &[0x0f, 0x38, 0xf1],
    &[0xa4],
    &[0xa5],
    &[0xaa],
    &[0xab],
    &[0xac],
    &[0xad],
    &[0xa6],
    &[0xa7],
    &[0xae],
    &[0xaf],
    &[0x6c],
    &[0x6d],
    &[0x6e],
    &[0x6f],
];
const PREFIXES: &[&[u8]] = &[
    &[],
    &[0x66],
    &[0x48],
    &[0xf3],
    &[0xf2],
    &[0xf3, 0x48],
    &[0xf3, 0x66],
    &[0x67],
    &[0x64],
    &[0x65],
    &[0x2e],
    &[0xf0],
    &[0x4c],
    &[0x65, 0x48],
    &[0x36],
];

/// Where a register may point.
fn place(crosses: bool) -> impl Strategy<Value = u64> {
    let edge = if crosses { -8..8_i64 } else { 0..8_i64 };
    prop_oneof![
        6 => (0..0x40_u64).prop_map(|at| DEVICE + 8 * at),
        3 => edge.prop_map(|at| DEVICE.wrapping_add_signed(at)),
        2 => (0..0x200_u64).prop_map(|at| 0x2_0000 + 8 * at),
        1 => (0xff0..0x1010_u64).prop_map(move |at| DEVICE + if crosses { at } else { at & 0xff8 }),
        1 => any::<u64>(),
    ]
}

fn processor(crosses: bool) -> impl Strategy<Value = StillProcessor> {
    let flags = prop_oneof![4 => Just(0_u64), 1 => Just(1 << 8), 1 => Just(1 << 10), 1 => Just(1 << 16)];
    let mode = prop_oneof![4 => Just(0), 2 => Just(1), 1 => Just(2)];
    let registers = proptest::collection::vec(place(crosses), 16);
    (mode, registers, flags, any::<u64>(), 0..40_u64, prop_oneof![5 => Just(0), 1 => Just(3_u8)]).prop_map(
        |(mode, registers, flags, arithmetic, count, level)| {
            let mut cpu = match mode {
                0 => StillProcessor::long(TABLES),
                1 => StillProcessor::protected(),
                _ => StillProcessor::real(),
            };
            cpu.registers.copy_from_slice(&registers);
            cpu.registers[RCX] = count;
            cpu.registers[RDX] = 0x1f0;
            cpu.rip = CODE;
            cpu.rflags = 2 | flags | arithmetic & 0x8d5;
            cpu.level = level;
            // So that device, memory and FS are reached in real mode too.
            if mode == 2 {
                cpu.segments[3].base = DEVICE - 0x40;
                cpu.segments[0].base = DEVICE - 0x40;
                cpu.registers.iter_mut().for_each(|register| *register &= 0xff);
            }
            cpu.segments[4].base = 0x40;
            cpu.segments[5].base = 0x38;
            cpu
        },
    )
}

fn code() -> impl Strategy<Value = Vec<u8>> {
    let likely = (
        proptest::sample::select(PREFIXES),
        proptest::sample::select(OPCODES),
        0..0x40_u8,
        proptest::collection::vec(any::<u8>(), 8),
    );
    let likely = likely.prop_map(|(prefix, opcode, modrm, rest)| [prefix, opcode, &[modrm], &rest].concat());
    prop_oneof![9 => likely, 1 => proptest::collection::vec(any::<u8>(), 15)]
}

fn case(crosses: bool) -> impl Strategy<Value = Case> {
    let leaves = proptest::collection::vec(((0..0x110_u64), any::<u8>()), 0..3);
    let port = (prop_oneof![Just(Width::Byte), Just(Width::Word), Just(Width::Dword)], any::<bool>());
    let given = any::<bool>();
    (
        processor(crosses),
        code(),
        leaves,
        port,
        prop_oneof![3 => Just(false), 1 => Just(true)],
        given,
        any::<bool>(),
    )
        .prop_map(|(mut cpu, mut code, mut leaves, (width, input), at_port, given, takes_strings)| {
            // The tables, the code and what maps both stay.
            leaves.retain(|(page, _)| *page > 0x10);
            if at_port && takes_strings {
                let opcode = if input { 0x6c } else { 0x6e } + u8::from(width != Width::Byte);
                code = [if width == Width::Word { &[0x66][..] } else { &[] }, &[0xf3, opcode]].concat();
                for index in [RSI, RDI] {
                    cpu.registers[index] = 0x2_0000 + (cpu.registers[index] & 0xfff);
                }
            }
            if given {
                cpu.fetched = code.clone();
            }
            let gpa = if cpu.control.cr0 >> 31 == 1 { DEVICE_GPA } else { DEVICE };
            let access = PortAccess { port: 0x1f0, width, input, string: true, repeat: true };
            let cause = if at_port { Cause::Port(access) } else { Cause::Device(Gpa(gpa + 0x10)) };
            Case { cpu, code, cause, takes_strings, leaves }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn both_do_the_same(case in case(true)) {
        let (ours, theirs) = (case.memory(), case.memory());
        let mut emulator = Process::new(&theirs).emulator();
        let here = case.here(&ours);
        let there = case.there(&mut emulator);
        prop_assert_eq!(here, there);
        prop_assert!(ours.bytes() == theirs.bytes(), "memory");
        prop_assert_eq!(emulator.account().restarts, 0);
    }

    #[test]
    fn a_compartment_that_dies_anywhere_loses_nothing(
        case in case(false),
        fates in proptest::collection::vec(
            prop_oneof![3 => Just(Fate::Serves), 1 => Just(Fate::DiesAtOnce), 1 => Just(Fate::DiesLate)],
            0..12,
        ),
    ) {
        let (ours, theirs) = (case.memory(), case.memory());
        // Two in a row are one instruction's, and the third is too many.
        let in_a_row = |three: &[Fate]| three.iter().all(|fate| *fate != Fate::Serves);
        prop_assume!(!fates.windows(3).any(in_a_row));
        let mut process = Process::new(&theirs);
        process.fates.clone_from(&fates);
        let mut emulator = process.emulator();
        let here = case.here(&ours);
        let there = case.there(&mut emulator);
        prop_assert_eq!(here, there);
        prop_assert!(ours.bytes() == theirs.bytes(), "memory");
    }
}

/// So many of them reach the device that the tests above are about something.
#[test]
fn the_cases_do_what_they_are_for() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut done, mut injected, mut logged, mut asked, mut strings) = (0, 0, 0, 0, 0);
    for _ in 0..2000 {
        let case = case(true).new_tree(&mut runner).unwrap().current();
        let memory = case.memory();
        let mut emulator = Process::new(&memory).emulator();
        let result = case.there(&mut emulator);
        done += usize::from(result.outcome == Outcome::Done);
        injected += usize::from(matches!(result.outcome, Outcome::Inject(_)));
        logged += usize::from(!result.outside.log.is_empty());
        strings += usize::from(
            case.takes_strings && result.outside.log.len() > 1 && matches!(case.cause, Cause::Port(_)),
        );
        asked += usize::from(emulator.account().entries > 1);
    }
    assert!(
        done > 300 && injected > 100 && logged > 300 && asked > 100 && strings > 5,
        "{done} {injected} {logged} {asked} {strings}"
    );
}

#[test]
fn a_thousand_kills_lose_no_access() {
    // mov eax, [rbx]; add [rbx], eax; rep movsb to the device; rep movsb from it.
    let mut kills = 0;
    for (code, from) in
        [(&[0x8b, 0x03][..], 0), (&[0x01, 0x03], 0), (&[0xf3, 0xa4], 0x2_0000), (&[0xf3, 0xa4], DEVICE)]
    {
        let mut case = at(code);
        case.cpu.registers[RSI] = from;
        case.cpu.registers[RDI] = if from == DEVICE { 0x2_0000 } else { DEVICE };
        case.cpu.registers[RCX] = 30;
        for round in 0..300 {
            let (ours, theirs) = (case.memory(), case.memory());
            let mut emulator = Process::new(&theirs).emulator();
            let mut outside_kills = 0;
            let there = case.run(|cpu, outside| {
                if round % 2 == outside_kills % 2 {
                    emulator.kill();
                    kills += 1;
                }
                outside_kills += 1;
                let Cause::Device(gpa) = case.cause else { panic!("it is at the device") };
                let outcome = emulator.memory_access(cpu, outside, (gpa, NestedAccess::Read), || 0);
                (outcome.unwrap(), Vec::new())
            });
            assert_eq!(there, case.here(&ours));
            assert!(ours.bytes() == theirs.bytes());
        }
    }
    assert!(kills >= 1000, "{kills}");
}

#[test]
fn most_instructions_are_one_entry() {
    for (code, entries) in [
        (&[0x8b, 0x03][..], 1),
        (&[0x0f, 0xbe, 0x03], 1),
        (&[0x89, 0x03], 1),
        (&[0xc7, 0x03, 1, 2, 3, 4], 1),
        // add, and test, of what is there.
        (&[0x01, 0x03], 2),
        (&[0x85, 0x03], 2),
        // gs: a segment that is not said at first.
        (&[0x65, 0x8b, 0x03], 2),
    ] {
        let case = at(code);
        let mut emulator = Process::new(&case.memory()).emulator();
        assert_eq!(case.there(&mut emulator).outcome, Outcome::Done);
        assert_eq!(emulator.account().entries, entries, "{code:x?}");
    }
}

/// add [rbx], eax, which another processor overwrites while the device is read.
#[test]
fn an_instruction_that_is_overwritten_meanwhile_is_still_that_one() {
    struct Overwrites<'a>(&'a Shared, Outside);
    impl Bus for Overwrites<'_> {
        fn read(&mut self, gpa: Gpa, width: Width) -> Option<u64> {
            self.0.write(Gpa(CODE), &[0xcc; 15]).unwrap();
            self.0.write64(Gpa(LEAVES + 8 * 256), 0).unwrap();
            Bus::read(&mut self.1, gpa, width)
        }
        fn write(&mut self, gpa: Gpa, width: Width, value: u64) {
            Bus::write(&mut self.1, gpa, width, value);
        }
    }
    let mut case = at(&[0x01, 0x03]);
    case.cpu.registers[RAX] = 1;
    let memory = case.memory();
    let expected = case.here(&memory.copy());
    let mut emulator = Process::new(&memory).emulator();
    let mut bus = Overwrites(&memory, Outside::default());
    let mut cpu = case.cpu.clone();
    let outcome =
        emulator.memory_access(&mut cpu, &mut bus, (Gpa(DEVICE_GPA + 0x10), NestedAccess::Read), || 0);
    assert_eq!((outcome, &cpu, &bus.1), (Ok(expected.outcome), &expected.cpu, &expected.outside));
    assert_eq!(expected.outside.log.len(), 2);
}
