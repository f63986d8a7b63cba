//! Why an IOMMU did not do what it was asked.

use crate::names::Requester;
use core::fmt;
use spec::apic::DeliveryMode;
use tables::MapError;

/// Why a request failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IommuError {
    /// No unit serves the requester, so nothing can hold it.
    NoUnit(Requester),
    /// The unit that serves the requester failed to start; index of the unit.
    UnitDown(usize),
    /// Nobody can tell whether this unit serves the requester; index of the unit.
    UnsureUnit(Requester, usize),
    /// The unit's registers cannot be reached.
    Unreachable,
    /// The unit lacks something without which there is no isolation.
    Lacks(&'static str),
    /// The unit did not answer in time.
    TimedOut(&'static str),
    /// The unit refused an invalidation descriptor; what it should flush may be
    /// cached still.
    InvalidationRefused,
    /// The invalidation queue has no room: the unit stopped taking descriptors.
    QueueFull,
    /// No such domain.
    NoDomain,
    /// Every domain that the Plan provided for, or that the unit offers, is in use.
    OutOfDomains,
    /// The domain has no table for the unit that serves this requester.
    WrongUnit(Requester),
    /// Functions are attached to the domain.
    DomainInUse,
    /// The requester is attached already, or granted interrupts already.
    InUse(Requester),
    /// The requester is not attached, or was granted no interrupts.
    NotGranted(Requester),
    /// More functions or requesters than the Plan provided for.
    OutOfRecords,
    /// The range touches the addresses at which devices send interrupts.
    InterruptRange,
    /// The interrupt's index is beyond what the function was granted.
    InterruptIndex {
        /// The index.
        index: u16,
        /// How many were granted.
        granted: u16,
    },
    /// The interrupt table has no free run of entries of that length.
    OutOfInterrupts,
    /// A device may not send interrupts of this delivery mode.
    DeliveryMode(DeliveryMode),
    /// A vector below 16 is no interrupt.
    Vector(u8),
    /// The unit cannot address this APIC ID.
    Destination(u32),
    /// The table could not be changed.
    Map(MapError),
}

impl From<MapError> for IommuError {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

impl fmt::Display for IommuError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUnit(who) => write!(f, "no IOMMU unit serves {who}"),
            Self::UnitDown(unit) => write!(f, "IOMMU unit {unit} did not start"),
            Self::UnsureUnit(who, unit) => {
                write!(f, "nobody can tell whether IOMMU unit {unit} serves {who}")
            }
            Self::Unreachable => write!(f, "the registers of the IOMMU unit cannot be reached"),
            Self::Lacks(what) => write!(f, "the IOMMU unit lacks {what}"),
            Self::TimedOut(what) => write!(f, "the IOMMU unit did not finish in time: {what}"),
            Self::InvalidationRefused => write!(f, "the IOMMU unit refused an invalidation"),
            Self::QueueFull => write!(f, "the IOMMU unit stopped taking invalidations"),
            Self::NoDomain => write!(f, "there is no such DMA domain"),
            Self::OutOfDomains => write!(f, "no DMA domain is left"),
            Self::WrongUnit(who) => write!(f, "the DMA domain was not made for {who}"),
            Self::DomainInUse => write!(f, "functions are attached to the DMA domain"),
            Self::InUse(who) => write!(f, "{who} belongs to somebody already"),
            Self::NotGranted(who) => write!(f, "{who} was granted nothing"),
            Self::OutOfRecords => write!(f, "more functions than the Plan provides for"),
            Self::InterruptRange => write!(f, "the range touches the interrupt addresses at 0xfee00000"),
            Self::InterruptIndex { index, granted } => {
                write!(f, "interrupt {index} of a function that was granted {granted}")
            }
            Self::OutOfInterrupts => write!(f, "the interrupt table has no room"),
            Self::DeliveryMode(mode) => write!(f, "a device may not send {mode:?} interrupts"),
            Self::Vector(vector) => write!(f, "{vector:#x} is no interrupt vector"),
            Self::Destination(id) => write!(f, "the IOMMU unit cannot address APIC ID {id:#x}"),
            Self::Map(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for IommuError {}
