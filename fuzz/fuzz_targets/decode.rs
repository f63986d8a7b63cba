//! The instruction decoder against iced-x86: the same lengths and operands, or a
//! refusal.
#![no_main]

extern crate alloc;

#[path = "../../hypervisor/emulator/src/decode/oracle/compare.rs"]
mod compare;

use emulator::decode::*;
use fuzz::Input;
use libfuzzer_sys::fuzz_target;

const KNOWN: [Known; 14] = [
    Known::Cpuid,
    Known::ReadMsr,
    Known::WriteMsr,
    Known::Hypercall,
    Known::Halt,
    Known::Idle,
    Known::ReadTsc,
    Known::ReadTscAux,
    Known::ReadCounter,
    Known::SetXcr,
    Known::Control,
    Known::WriteBackCaches,
    Known::InvalidatePage,
    Known::Port,
];

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let size = input.pick(&[CodeSize::Bits16, CodeSize::Bits32, CodeSize::Bits64]);
    let bytes = input.bytes(32);
    compare::compare(bytes, size);
    compare::compare_ends(bytes, size);
    let word: [u8; 15] = std::array::from_fn(|place| bytes.get(place).copied().unwrap_or(0));
    for known in KNOWN {
        if let Some((form, length)) = bare_form(known)
            && word[..length as usize] == form.to_le_bytes()[..length as usize]
        {
            assert_eq!(length_of(&word, size, known).map(u64::from), Ok(length), "{word:02x?}");
        }
        // LOCK MOV CR0 is AMD's; iced goes by Intel.
        if known != Known::Control || !bytes.iter().take(15).any(|byte| *byte == 0xf0) {
            compare::compare_length(bytes, size, known);
        }
    }
    let _ = control_write(bytes, size);
});
