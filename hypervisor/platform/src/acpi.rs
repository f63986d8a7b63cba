//! The firmware's ACPI tables (ACPI Specification 6.5, chapter 5).
//!
//! Own parsers, one table a file: what is needed of each is small, DMAR has to be
//! our own anyway, and all of it must survive what real firmware writes.

pub mod dmar;
pub mod fadt;
pub mod hpet;
pub mod ivrs;
pub mod madt;
pub mod mcfg;
pub mod serial;
pub mod sleep;
mod table;
#[cfg(test)]
mod tests;

use crate::finding::{Finding, Findings, finding};
use crate::memory::PhysicalMemory;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use spec::Hpa;

pub use dmar::Dmar;
pub use fadt::{Fadt, Register};
pub use hpet::Hpet;
pub use ivrs::Ivrs;
pub use madt::{InterruptOverride, IoApic, LocalNmi, Madt, NmiSource, Processor, Trigger};
pub use mcfg::Ecam;
pub use serial::{SerialAddress, SerialInterrupt, SerialPort, SerialRate};
pub use sleep::SoftOff;

/// What a table of which there is one is called here. Of two the first counts, as for every
/// operating system; what the second says is not even looked at.
const fn single(signature: &[u8; 4]) -> Option<&'static str> {
    match signature {
        b"APIC" => Some("MADT"),
        b"MCFG" => Some("MCFG"),
        b"DMAR" => Some("DMAR"),
        b"IVRS" => Some("IVRS"),
        b"HPET" => Some("HPET"),
        b"FACP" => Some("FADT"),
        _ => None,
    }
}

/// What the tables say, before anybody looked at PCI.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Tables {
    /// Processors and interrupt controllers.
    pub madt: Madt,
    /// Memory-mapped configuration space, by segment and buses.
    pub ecam: Vec<Ecam>,
    /// Remapping units of Intel's kind; `None` where no table tells of any.
    pub dmar: Option<Dmar>,
    /// Remapping units of AMD's kind; `None` where no table tells of any.
    pub ivrs: Option<Ivrs>,
    /// Fixed hardware: power management registers, reset.
    pub fadt: Option<Fadt>,
    /// What to write to power the machine off; `None` where it was not found.
    pub soft_off: Option<SoftOff>,
    /// High precision event timer.
    pub hpet: Option<Hpet>,
    /// Serial ports that the firmware uses or names for debuggers, its console first.
    #[serde(default)]
    pub serial_ports: Vec<SerialPort>,
    /// What makes no sense.
    pub findings: Vec<Finding>,
}

impl Tables {
    /// Reads every table. `rsdp` is where the loader found the root pointer; 0 where
    /// it did not say, then it is searched where a BIOS leaves it.
    pub fn read(memory: &dyn PhysicalMemory, rsdp: Hpa) -> Self {
        let mut tables = Self::default();
        let mut list = Vec::new();
        let mut findings = Findings::new(&mut list, "ACPI");
        let mut fadt_dsdt = None;
        let mut soft_off = None;
        let mut spcr = None;

        let mut seen = Vec::new();
        for (signature, bytes) in table::all(memory, rsdp, &mut findings) {
            if let Some(name) = single(&signature) {
                if seen.contains(&name) {
                    finding!(findings.of(name), "there is a second table of this kind; the first counts");
                    continue;
                }
                seen.push(name);
            }
            match &signature {
                b"APIC" => tables.madt = Madt::parse(&bytes, &mut findings.of("MADT")),
                b"MCFG" => tables.ecam = mcfg::parse(&bytes, &mut findings.of("MCFG")),
                b"DMAR" => tables.dmar = Some(Dmar::parse(&bytes, &mut findings.of("DMAR"))),
                b"IVRS" => tables.ivrs = Some(Ivrs::parse(&bytes, &mut findings.of("IVRS"))),
                b"HPET" => tables.hpet = Hpet::parse(&bytes, &mut findings.of("HPET")),
                b"SPCR" => spcr = spcr.or_else(|| serial::parse_spcr(&bytes, &mut findings.of("SPCR"))),
                b"DBG2" if tables.serial_ports.is_empty() => {
                    tables.serial_ports = serial::parse_dbg2(&bytes, &mut findings.of("DBG2"));
                }
                b"FACP" => {
                    let fadt = Fadt::parse(&bytes, &mut findings.of("FADT"));
                    fadt_dsdt = fadt.as_ref().map(|fadt| fadt.dsdt);
                    tables.fadt = fadt;
                }
                b"SSDT" => soft_off = soft_off.or_else(|| sleep::find_soft_off(&bytes)),
                _ => {}
            }
        }
        if let Some(console) = spcr {
            tables.serial_ports.retain(|port| port.address != console.address);
            tables.serial_ports.insert(0, console);
        }
        let dsdt = fadt_dsdt.and_then(|hpa| table::read(memory, hpa, &mut findings.of("DSDT")));
        tables.soft_off = dsdt.and_then(|(_, bytes)| sleep::find_soft_off(&bytes)).or(soft_off);
        if tables.fadt.is_some() && tables.soft_off.is_none() {
            finding!(
                findings.of("DSDT"),
                "no literal _S5 package found, so the machine cannot be powered off"
            );
        }
        if tables.madt.processors.is_empty() {
            finding!(findings.of("MADT"), "no processor is listed; only the one that booted is used");
        }
        tables.findings = list;
        tables
    }
}
