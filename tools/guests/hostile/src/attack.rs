//! Commands, and those of them that are done around a call.

use access::GuestMemory;
use core::arch::{asm, global_asm};
use hostile::{GAVE_UP, INSTRUCTIONS, What, Who, command};
use spec::Gpa;

/// Bytes of the code of one attack.
const CODE_BYTES: usize = 128;
/// The same of an `INT n`.
const INTERRUPT_BYTES: usize = 16;
/// RFLAGS: interrupts come, as they do on the housekeeping CPU alone.
const INTERRUPTS: u64 = 1 << 9;

macro_rules! code {
    ($($instructions:literal => $end:literal,)*) => {
        global_asm!(
            ".pushsection .text.hostile, \"ax\"",
            ".balign 128",
            "hostile_instructions:",
            $(
                ".balign 128",
                $instructions,
                "mov eax, 1",
                "mov edi, {gave_up}",
                "ud2",
            )*
            ".balign 128",
            "hostile_interrupts:",
            ".set number, 0",
            ".rept 256",
            ".balign 16",
            ".byte 0xcd, number",
            "mov edi, {gave_up}",
            "ud2",
            ".set number, number + 1",
            ".endr",
            ".popsection",
            ".pushsection .rodata.hostile, \"a\"",
            "hostile_constant: .quad 0xc3",
            ".popsection",
            gave_up = const GAVE_UP,
        );
    };
}
hostile::instructions!(code);

unsafe extern "C" {
    static hostile_instructions: [u8; CODE_BYTES];
    static hostile_interrupts: [u8; INTERRUPT_BYTES];
}

/// What the guest says.
#[derive(Clone, Copy)]
pub struct Command {
    pub what: What,
    pub argument: u64,
    pub second: u64,
}

impl Command {
    /// Takes the command away that is for this model, here. `None` where there is none.
    pub fn take(guest: &impl GuestMemory, who: Who) -> Option<Self> {
        let word = |place: u64| guest.read64(Gpa(command::GPA + 8 * place));
        if word(0) != Ok(command::ARMED) || word(command::WHO) != Ok(who as u64) {
            return None;
        }
        if word(command::WHERE) == Ok(1) && flags() & INTERRUPTS == 0 {
            return None;
        }
        let what = *What::ALL.get(word(command::WHAT).ok()? as usize)?;
        let (argument, second) = (word(command::ARGUMENT).ok()?, word(command::SECOND).ok()?);
        guest.write64(Gpa(command::GPA), 0).ok()?;
        Some(Self { what, argument, second })
    }
}

fn flags() -> u64 {
    let flags: u64;
    // SAFETY: it reads a register by way of the stack, and leaves that as it was.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags) };
    flags
}

/// Does what is done in place of the call.
pub fn instead(command: Command) {
    let start = match command.what {
        What::Instructions if (command.argument as usize) < INSTRUCTIONS.len() => {
            (&raw const hostile_instructions).wrapping_add(command.argument as usize) as u64
        }
        What::Interrupt if command.argument < 256 => {
            (&raw const hostile_interrupts).wrapping_add(command.argument as usize) as u64
        }
        _ => return,
    };
    // SAFETY: the compartment ends there, one way or the other, and what it harms is its own.
    unsafe { asm!("jmp {start}", start = in(reg) start, in("eax") 1, in("edi") GAVE_UP, options(noreturn)) }
}

/// Does what is done to the answer.
pub fn afterwards(command: Command, words: &mut [u64]) {
    let place = command.argument as usize;
    match command.what {
        What::Answer => words.iter_mut().skip(place).take(1).for_each(|word| *word = command.second),
        What::Scribble => words.iter_mut().skip(place).for_each(|word| *word = command.second),
        _ => {}
    }
}
