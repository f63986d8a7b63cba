//! Test guests, all in one multiboot kernel: the command line picks one.
//!
//! Each prints what it found and powers off. An attack prints `attack NAME: held`
//! only when it verified that it did no harm that it can see; what it cannot see,
//! the `neighbour` beside it does.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod bench;
#[cfg(target_os = "none")]
mod commands;
#[cfg(target_os = "none")]
mod config;
#[cfg(target_os = "none")]
mod console;
#[cfg(target_os = "none")]
mod cpuid;
#[cfg(target_os = "none")]
mod deliver;
#[cfg(target_os = "none")]
mod dma;
#[cfg(target_os = "none")]
mod faults;
#[cfg(target_os = "none")]
mod frozen;
#[cfg(target_os = "none")]
mod functions;
#[cfg(target_os = "none")]
mod hostile;
#[cfg(target_os = "none")]
mod interrupts;
#[cfg(target_os = "none")]
mod intx;
#[cfg(target_os = "none")]
mod lifecycle;
#[cfg(target_os = "none")]
mod loads;
#[cfg(target_os = "none")]
mod low_vectors;
#[cfg(target_os = "none")]
mod neighbour;
#[cfg(target_os = "none")]
mod nvme;
#[cfg(target_os = "none")]
mod processor;
#[cfg(target_os = "none")]
mod restarts;
#[cfg(target_os = "none")]
mod rewrite;
#[cfg(target_os = "none")]
mod shared_memory;
#[cfg(target_os = "none")]
mod storm;
#[cfg(target_os = "none")]
mod sweep;
#[cfg(target_os = "none")]
mod tasks;
#[cfg(target_os = "none")]
mod timers;
#[cfg(target_os = "none")]
mod vanish;
#[cfg(target_os = "none")]
mod wild;

#[cfg(target_os = "none")]
mod entry {
    use super::*;
    use support::multiboot::Information;
    use support::{apic, power, println, serial, trap};

    /// What a test gets.
    #[derive(Clone, Copy)]
    pub struct Environment {
        /// End of the guest's memory below the devices.
        pub memory_end: u64,
        words: &'static str,
    }

    impl Environment {
        /// The number behind `key=` on the command line, decimal or 0x.
        pub fn number(&self, key: &str, otherwise: u64) -> u64 {
            let value =
                self.words.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            let parsed = value.and_then(|text| match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok(),
                None => text.parse().ok(),
            });
            parsed.unwrap_or(otherwise)
        }

        /// Whether a word stands on the command line.
        pub fn has(&self, word: &str) -> bool {
            self.words.split_whitespace().any(|other| other == word)
        }
    }

    /// A test by its name on the command line.
    type Test = (&'static str, fn(&Environment));

    const TESTS: &[Test] = &[
        ("hello", lifecycle::hello),
        ("reboot", lifecycle::reboot),
        ("triple-fault", lifecycle::triple_fault),
        ("halt-forever", lifecycle::halt_forever),
        ("spin", lifecycle::spin),
        ("restarts", restarts::run),
        ("neighbour", neighbour::run),
        ("cpuid", cpuid::run),
        ("tasks", tasks::run),
        ("frozen", frozen::run),
        ("timers", timers::run),
        ("latency", timers::latency),
        ("ipi", interrupts::ipi),
        ("msi", interrupts::msi),
        ("pic", interrupts::pic),
        ("intx", intx::run),
        ("intx-storm", intx::storm),
        ("intx-held", intx::held),
        ("rom", config::rom),
        ("dma", dma::outside),
        ("forged-msi", dma::forged_msi),
        ("vanish", vanish::run),
        ("bars", config::bars),
        ("config", config::forbidden),
        ("sweep-ports", sweep::ports),
        ("sweep-msr", sweep::msrs),
        ("sweep-mmio", sweep::mmio),
        ("svm", sweep::svm),
        ("processor", processor::run),
        ("nvme", nvme::run),
        ("shared-memory", shared_memory::run),
        ("functions", functions::run),
        ("functions-neighbour", functions::neighbour::run),
        ("hostile-model", hostile::run),
        ("rewrite", rewrite::run),
        ("init-storm", storm::run),
        ("commands", commands::run),
        ("flood", console::flood),
        ("watch", console::watch),
        ("paste", console::paste),
        ("nested-faults", faults::run),
        ("wild-fetch", wild::fetch),
        ("unemulated", wild::unemulated),
        ("low-vectors", low_vectors::run),
        ("deliver-interrupt", deliver::interrupt),
        ("deliver-nmi", deliver::nmi),
        ("deliver-string", deliver::string),
        ("bad-entry", wild::entry),
        ("bench", bench::run),
        ("load", loads::run),
        ("load-peer", loads::frames::peer),
        ("load-rate", loads::frames::rate),
        ("load-flood", loads::flood::run),
        ("load-beside", loads::flood::beside),
    ];

    #[unsafe(no_mangle)]
    extern "C" fn guest_main(magic: u32, information: u32) -> ! {
        serial::install();
        trap::install();
        let Some(information) = Information::new(magic, information) else {
            println!("FAILED: the loader is no multiboot loader");
            power::off();
        };
        let environment =
            Environment { memory_end: information.memory_end(), words: information.command_line() };
        apic::install(!environment.has("xapic"));
        let mut words = environment.words.split_whitespace();
        match words.find_map(|word| TESTS.iter().find(|(name, _)| *name == word)) {
            Some((name, test)) => {
                println!("{name}: starting");
                test(&environment);
            }
            None => println!("FAILED: no test on the command line {:?}", environment.words),
        }
        power::off()
    }

    #[panic_handler]
    fn panic(information: &core::panic::PanicInfo<'_>) -> ! {
        serial::print_anyway(format_args!("FAILED: {information}\n"));
        power::off()
    }
}

#[cfg(target_os = "none")]
pub use entry::Environment;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this is a bare-metal guest: build it with --target x86_64-hv.json");
    std::process::exit(1);
}
