//! The decoder against iced-x86: lengths, operands and operations of random bytes that
//! are biased to the opcodes decoded here.

mod compare;

use super::*;
use alloc::vec::Vec;
use compare::{compare, compare_ends, compare_length};
use proptest::prelude::*;

const PREFIXES: [u8; 11] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3];

fn sizes() -> impl Strategy<Value = CodeSize> {
    prop_oneof![Just(CodeSize::Bits16), Just(CodeSize::Bits32), Just(CodeSize::Bits64)]
}

/// Prefixes in any order, doubled, REX among them.
fn prefixes() -> impl Strategy<Value = Vec<u8>> {
    let one = prop_oneof![3 => proptest::sample::select(&PREFIXES[..]), 2 => 0x40u8..0x50];
    prop_oneof![
        3 => Just(Vec::new()),
        5 => proptest::collection::vec(one.clone(), 1..4),
        1 => proptest::collection::vec(one, 4..16),
    ]
}

/// Opcodes that are decoded here, and their neighbours.
fn opcodes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0u8..0x40).prop_map(|byte| alloc::vec![byte]),
        4 => (0x80u8..0x90).prop_map(|byte| alloc::vec![byte]),
        3 => (0xa0u8..0xb0).prop_map(|byte| alloc::vec![byte]),
        4 => proptest::sample::select(&[
            0x63u8, 0x69, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0xc0, 0xc1, 0xc6, 0xc7, 0xd0, 0xd1, 0xd2, 0xd3, 0xf6, 0xf7,
            0xfe, 0xff,
        ][..])
            .prop_map(|byte| alloc::vec![byte]),
        6 => (0xa0u8..0xd0).prop_map(|byte| alloc::vec![0x0f, byte]),
        2 => (0xf0u8..0xf2).prop_map(|byte| alloc::vec![0x0f, 0x38, byte]),
        1 => any::<[u8; 2]>().prop_map(|bytes| bytes.to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn agrees_with_iced(
        size in sizes(),
        prefixes in prefixes(),
        opcode in opcodes(),
        rest in proptest::collection::vec(any::<u8>(), 12),
    ) {
        compare(&[prefixes, opcode, rest].concat(), size);
    }

    #[test]
    fn agrees_on_noise(size in sizes(), bytes in proptest::collection::vec(any::<u8>(), 0..16)) {
        compare(&bytes, size);
    }

    #[test]
    fn an_end_is_noticed(
        size in sizes(), prefixes in prefixes(), opcode in opcodes(), rest in any::<[u8; 12]>(),
    ) {
        let bytes = [prefixes, opcode, rest.to_vec()].concat();
        compare_ends(&bytes, size);
    }

    #[test]
    fn lengths_agree_with_iced(
        size in sizes(),
        prefixes in prefixes(),
        opcode in proptest::sample::select(&KNOWN[..]),
        rest in any::<[u8; 12]>(),
        noise in any::<[u8; 3]>(),
        noisy in proptest::bool::weighted(0.2),
    ) {
        let (known, opcode) = opcode;
        let opcode = if noisy { &noise[..] } else { opcode };
        let bytes = [&prefixes[..], opcode, &rest[..]].concat();
        // LOCK MOV CR0 is AMD's; iced goes by Intel.
        prop_assume!(known != Known::Control || !prefixes.contains(&0xf0));
        compare_length(&bytes, size, known);
    }
}

const KNOWN: [(Known, &[u8]); 29] = [
    (Known::Cpuid, &[0x0f, 0xa2]),
    (Known::ReadMsr, &[0x0f, 0x32]),
    (Known::WriteMsr, &[0x0f, 0x30]),
    (Known::Hypercall, &[0x0f, 0x01, 0xd9]),
    (Known::Hypercall, &[0x0f, 0x01, 0xc1]),
    (Known::Halt, &[0xf4]),
    (Known::Idle, &[0xf3, 0x90]),
    (Known::Idle, &[0x90]),
    (Known::Idle, &[0x0f, 0x01, 0xc8]),
    (Known::Idle, &[0x0f, 0x01, 0xc9]),
    (Known::ReadTsc, &[0x0f, 0x31]),
    (Known::ReadTscAux, &[0x0f, 0x01, 0xf9]),
    (Known::ReadCounter, &[0x0f, 0x33]),
    (Known::SetXcr, &[0x0f, 0x01, 0xd1]),
    (Known::Control, &[0x0f, 0x22, 0xd8]),
    (Known::Control, &[0x0f, 0x22, 0x18]),
    (Known::Control, &[0x0f, 0x20, 0xc0]),
    (Known::Control, &[0x0f, 0x06]),
    (Known::Control, &[0x0f, 0x01, 0xf0]),
    (Known::Control, &[0x0f, 0x01, 0x35]),
    (Known::WriteBackCaches, &[0x0f, 0x09]),
    (Known::WriteBackCaches, &[0x0f, 0x08]),
    (Known::InvalidatePage, &[0x0f, 0x01, 0x3c]),
    (Known::InvalidatePage, &[0x0f, 0x01, 0x7d]),
    (Known::Port, &[0xe4]),
    (Known::Port, &[0xe7]),
    (Known::Port, &[0xec]),
    (Known::Port, &[0xef]),
    (Known::Port, &[0x6d]),
];
