//! Where interrupt lines end: firmware's code says it, which Linux has executed. What it found
//! shows in /proc/interrupts for the functions whose drivers use their line.

use std::collections::BTreeSet;
use std::path::Path;

use platform::Platform;
use platform::pci::Function;

/// Notes the inputs that Linux, whose files are below `root`, uses for functions.
pub fn note(root: &Path, platform: &mut Platform) {
    let inputs = inputs(&std::fs::read_to_string(root.join("proc/interrupts")).unwrap_or_default());
    let devices = root.join("sys/bus/pci/devices");
    for function in platform.functions.iter_mut().filter(|function| function.interrupt.is_some()) {
        let number = std::fs::read_to_string(devices.join(folder(function)).join("irq")).ok();
        // With MSI enabled the file has the message's number, which no I/O APIC has.
        let number = number.and_then(|text| text.trim().parse().ok());
        function.gsi = number.filter(|number| inputs.contains(number));
    }
}

fn folder(function: &Function) -> String {
    format!("0000:{}", function.bdf)
}

/// The interrupts that come from the first I/O APIC: of these Linux's numbers are those of the
/// inputs. Of others, the number of the pin is not enough to know which one it is.
fn inputs(interrupts: &str) -> BTreeSet<u32> {
    interrupts.lines().filter_map(input).collect()
}

/// The number of a line such as `21:  0  4  IR-IO-APIC  21-fasteoi  eth0`.
fn input(line: &str) -> Option<u32> {
    let (number, rest) = line.split_once(':')?;
    let number: u32 = number.trim().parse().ok()?;
    let mut words = rest.split_whitespace().skip_while(|word| !word.ends_with("IO-APIC"));
    let (pin, kind) = words.nth(1)?.split_once('-')?;
    (pin.parse() == Ok(number) && kind == "fasteoi").then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_level_triggered_inputs_of_the_first_io_apic_are_taken() {
        let text = "            CPU0       CPU1\n\
                    \x20  0:         40          0  IR-IO-APIC    2-edge      timer\n\
                    \x20 16:          3          0  IR-IO-APIC   16-fasteoi   i801_smbus\n\
                    \x20 21:          0          7   IO-APIC   21-fasteoi   eth0, uhci_hcd:usb2\n\
                    \x20 29:          0          7   IO-APIC    4-fasteoi   ixgbe\n\
                    \x20 30:          0          7  PCI-MSI 1572864-edge      nvme0q0\n\
                    NMI:          0          0   Non-maskable interrupts\n";
        assert_eq!(inputs(text), BTreeSet::from([16, 21]));
    }

    #[test]
    fn nonsense_is_nobodys_input() {
        assert!(inputs("21\n21: IO-APIC\n21: IO-APIC x\n: IO-APIC 21-fasteoi\n").is_empty());
    }
}
