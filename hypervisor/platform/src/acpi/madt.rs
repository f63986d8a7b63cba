//! Multiple APIC description table: processors and interrupt controllers
//! (ACPI Specification 6.5, section 5.2.12).

use crate::bytes::{field, u8_at};
use crate::finding::{Findings, finding};
use ::acpi::sdt::madt::{
    EntryHeader, InterruptSourceOverrideEntry, IoApicEntry, LocalApicAddressOverrideEntry, LocalApicEntry,
    LocalApicNmiEntry, LocalX2ApicEntry, Madt as Layout, MultiprocessorWakeupEntry, NmiSourceEntry,
    X2ApicNmiEntry,
};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use spec::Hpa;
use spec::apic::MESSAGE_ADDRESS;

/// A processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Processor {
    /// Local APIC ID.
    pub apic_id: u32,
    /// ACPI processor UID.
    pub acpi_uid: u32,
    /// Whether it is there; a disabled one may be hot-plugged one day, or never.
    pub enabled: bool,
}

/// An I/O APIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IoApic {
    /// Its ID, as DMAR scopes name it.
    pub id: u8,
    /// Its registers.
    pub base: Hpa,
    /// The global system interrupt of its first pin.
    pub gsi_base: u32,
}

/// Polarity and trigger mode (MPS INTI flags, table 5.26).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Trigger {
    /// Active low; `None` as the bus has it.
    pub active_low: Option<bool>,
    /// Level-triggered; `None` as the bus has it.
    pub level: Option<bool>,
}

impl Trigger {
    const fn from_flags(flags: u16) -> Self {
        const fn choice(bits: u16) -> Option<bool> {
            match bits & 3 {
                1 => Some(false),
                3 => Some(true),
                _ => None,
            }
        }
        Self { active_low: choice(flags), level: choice(flags >> 2) }
    }
}

/// An ISA interrupt that is not wired to the pin of its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InterruptOverride {
    /// ISA interrupt, 0 to 15.
    pub isa_irq: u8,
    /// Global system interrupt.
    pub gsi: u32,
    /// Polarity and trigger mode.
    pub trigger: Trigger,
}

/// An I/O APIC pin that raises NMIs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NmiSource {
    /// Global system interrupt.
    pub gsi: u32,
    /// Polarity and trigger mode.
    pub trigger: Trigger,
}

/// A local interrupt pin that raises NMIs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LocalNmi {
    /// ACPI UID of the processor; `None` for all.
    pub acpi_uid: Option<u32>,
    /// LINT pin, 0 or 1.
    pub lint: u8,
    /// Polarity and trigger mode.
    pub trigger: Trigger,
}

/// What the MADT says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Madt {
    /// Processors in the table's order, each APIC ID once.
    pub processors: Vec<Processor>,
    /// Registers of the local APICs.
    pub local_apic: Hpa,
    /// There is a pair of 8259A, to be masked (flag PCAT_COMPAT).
    pub has_pic: bool,
    /// I/O APICs.
    pub io_apics: Vec<IoApic>,
    /// ISA interrupts that are wired otherwise.
    pub overrides: Vec<InterruptOverride>,
    /// I/O APIC pins that raise NMIs.
    pub nmi_sources: Vec<NmiSource>,
    /// Local pins that raise NMIs.
    pub local_nmis: Vec<LocalNmi>,
    /// Mailbox through which processors are started where they do not take INIT and
    /// SIPI (section 5.2.12.19).
    pub wakeup_mailbox: Option<Hpa>,
}

impl Default for Madt {
    fn default() -> Self {
        Self {
            processors: Vec::new(),
            local_apic: Hpa(MESSAGE_ADDRESS),
            has_pic: true,
            io_apics: Vec::new(),
            overrides: Vec::new(),
            nmi_sources: Vec::new(),
            local_nmis: Vec::new(),
            wakeup_mailbox: None,
        }
    }
}

/// UID that means every processor, in the 8-bit entries.
const EVERY_UID_8: u8 = 0xff;
/// UID that means every processor.
const EVERY_UID: u32 = 0xffff_ffff;

impl Madt {
    pub(crate) fn parse(table: &[u8], findings: &mut Findings<'_>) -> Self {
        let mut madt = Self::default();
        if let Some(base) = field!(table, Layout.local_apic_address: u32) {
            madt.local_apic = Hpa(base.into());
        }
        if let Some(flags) = field!(table, Layout.flags: u32) {
            madt.has_pic = flags & 1 != 0;
        }
        let mut rest = table.get(size_of::<Layout>()..).unwrap_or_default();
        while let (Some(kind), Some(length)) = (u8_at(rest, 0), u8_at(rest, 1)) {
            let length = usize::from(length);
            if length < size_of::<EntryHeader>() || length > rest.len() {
                finding!(findings, "an entry of type {kind} says it has {length} bytes; the rest is ignored");
                break;
            }
            let (entry, after) = rest.split_at(length);
            if madt.entry(kind, entry, findings).is_none() {
                finding!(findings, "an entry of type {kind} has only {length} bytes; ignored");
            }
            rest = after;
        }
        madt
    }

    /// Takes one entry; `None` where it is too short for its type.
    fn entry(&mut self, kind: u8, entry: &[u8], findings: &mut Findings<'_>) -> Option<()> {
        match kind {
            0 => {
                let apic_id = field!(entry, LocalApicEntry.apic_id: u8)?;
                let enabled = field!(entry, LocalApicEntry.flags: u32)? & 1 != 0;
                // Firmware pads the table with disabled entries of ID 0xff.
                if apic_id != 0xff {
                    let acpi_uid = field!(entry, LocalApicEntry.processor_id: u8)?.into();
                    self.add(Processor { apic_id: apic_id.into(), acpi_uid, enabled }, findings);
                } else if enabled {
                    finding!(findings, "a processor has the APIC ID 0xff, which addresses all; ignored");
                }
            }
            1 => {
                let io_apic = IoApic {
                    id: field!(entry, IoApicEntry.io_apic_id: u8)?,
                    base: Hpa(field!(entry, IoApicEntry.io_apic_address: u32)?.into()),
                    gsi_base: field!(entry, IoApicEntry.global_system_interrupt_base: u32)?,
                };
                self.add_io_apic(io_apic, findings);
            }
            2 => {
                let (isa_irq, gsi) = (
                    field!(entry, InterruptSourceOverrideEntry.irq: u8)?,
                    field!(entry, InterruptSourceOverrideEntry.global_system_interrupt: u32)?,
                );
                let trigger = Trigger::from_flags(field!(entry, InterruptSourceOverrideEntry.flags: u16)?);
                if isa_irq > 15 {
                    finding!(
                        findings,
                        "an override of ISA interrupt {isa_irq}, which does not exist; ignored"
                    );
                } else {
                    self.overrides.push(InterruptOverride { isa_irq, gsi, trigger });
                }
            }
            3 => {
                let trigger = Trigger::from_flags(field!(entry, NmiSourceEntry.flags: u16)?);
                self.nmi_sources.push(NmiSource {
                    gsi: field!(entry, NmiSourceEntry.global_system_interrupt: u32)?,
                    trigger,
                });
            }
            4 => {
                let uid = field!(entry, LocalApicNmiEntry.processor_id: u8)?;
                self.local_nmis.push(LocalNmi {
                    acpi_uid: (uid != EVERY_UID_8).then_some(uid.into()),
                    trigger: Trigger::from_flags(field!(entry, LocalApicNmiEntry.flags: u16)?),
                    lint: field!(entry, LocalApicNmiEntry.nmi_line: u8)? & 1,
                });
            }
            5 => self.local_apic = Hpa(field!(entry, LocalApicAddressOverrideEntry.local_apic_address: u64)?),
            9 => {
                let apic_id = field!(entry, LocalX2ApicEntry.x2apic_id: u32)?;
                let enabled = field!(entry, LocalX2ApicEntry.flags: u32)? & 1 != 0;
                if apic_id != u32::MAX {
                    self.add(
                        Processor {
                            apic_id,
                            acpi_uid: field!(entry, LocalX2ApicEntry.processor_uid: u32)?,
                            enabled,
                        },
                        findings,
                    );
                }
            }
            10 => {
                let uid = field!(entry, X2ApicNmiEntry.processor_uid: u32)?;
                self.local_nmis.push(LocalNmi {
                    acpi_uid: (uid != EVERY_UID).then_some(uid),
                    trigger: Trigger::from_flags(field!(entry, X2ApicNmiEntry.flags: u16)?),
                    lint: field!(entry, X2ApicNmiEntry.nmi_line: u8)? & 1,
                });
            }
            16 => {
                self.wakeup_mailbox =
                    Some(Hpa(field!(entry, MultiprocessorWakeupEntry.mailbox_address: u64)?))
            }
            // Types of other architectures and of later revisions say nothing about
            // what is used here.
            _ => {}
        }
        Some(())
    }

    /// Adds a processor unless its APIC ID is there already; an enabled entry wins
    /// over a disabled one.
    fn add(&mut self, processor: Processor, findings: &mut Findings<'_>) {
        match self.processors.iter_mut().find(|other| other.apic_id == processor.apic_id) {
            None => self.processors.push(processor),
            Some(other) if !other.enabled && processor.enabled => *other = processor,
            Some(other) if other.enabled && processor.enabled => {
                finding!(findings, "the APIC ID {} is listed twice; the first counts", processor.apic_id);
            }
            Some(_) => {}
        }
    }

    fn add_io_apic(&mut self, io_apic: IoApic, findings: &mut Findings<'_>) {
        let IoApic { id, base, gsi_base } = io_apic;
        if base.0 == 0 || base.0 == 0xffff_ffff || !base.is_aligned(16) {
            finding!(findings, "the I/O APIC {id} is at {base}, which cannot be; ignored");
        } else if self.io_apics.iter().any(|other| other.base == base || other.gsi_base == gsi_base) {
            finding!(findings, "the I/O APIC {id} at {base} is listed twice; the first counts");
        } else {
            self.io_apics.push(io_apic);
        }
    }
}
