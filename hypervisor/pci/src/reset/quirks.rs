//! Known functions whose resets do harm, or take longer than the standard allows.
//! Linux keeps the same list (drivers/pci/quirks.c).

/// What is known of a function's resets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Quirks {
    /// Its function-level reset hangs it, or the machine.
    pub no_function_level: bool,
    /// D3hot and back to D0 resets its configuration space and nothing else.
    pub no_power_state: bool,
    /// It does not come back from a reset of its bus.
    pub no_bus: bool,
    /// It must not be asked anything for so long after a function-level reset.
    pub silence_ns: u64,
}

const MILLISECOND: u64 = 1_000_000;
const DISPLAY: u32 = 0x03;

/// What is known of the function with vendor `identity & 0xffff`, device `identity >> 16`,
/// and this class code (the class in bits 16 to 23).
pub(super) fn of(identity: u32, class: u32) -> Quirks {
    let none = Quirks::default();
    match (identity as u16, (identity >> 16) as u16) {
        // AMD Starship and Matisse: audio, USB and SATA controllers hang.
        (0x1022, 0x1487 | 0x148c | 0x149c | 0x7901) => Quirks { no_function_level: true, ..none },
        // Intel 82579 Ethernet.
        (0x8086, 0x1502 | 0x1503) => Quirks { no_function_level: true, ..none },
        // Intel NVMe drives of 2014 and 2017.
        (0x8086, 0x0953 | 0x0a54) => Quirks { silence_ns: 250 * MILLISECOND, ..none },
        // Atheros wireless, Texas Instruments KeyStone.
        (0x168c, 0x0030 | 0x0032 | 0x0033 | 0x0034 | 0x003c | 0x003e) | (0x104c, 0xb005 | 0xb006) => {
            Quirks { no_bus: true, ..none }
        }
        // NVIDIA accelerators of the Turing generation.
        (0x10de, device) if device & 0xffc0 == 0x2340 => Quirks { no_bus: true, ..none },
        // AMD's displays say that they lose their state.
        (0x1002, _) if class >> 16 == DISPLAY => Quirks { no_power_state: true, ..none },
        _ => none,
    }
}
