//! What the processors' virtualisation is to the rest of the hypervisor.

use crate::memory::frames::Pool;
use access::vcpu::Vcpu;
use core::fmt::{self, Debug, Display};
use spec::Hpa;
use tables::{Format, Geometry, MapError, Nested};

/// One vendor's virtualisation.
pub trait Backend: Debug + Send + Sync + Sized + 'static {
    /// Its name, as users know it.
    const NAME: &'static str;
    /// Guests can take their interrupts themselves ([`set_interrupts`](access::vcpu::ApicVirtualization::set_interrupts)).
    const DIRECT_INTERRUPTS: bool;
    /// A virtual processor.
    type Vcpu: Vcpu + Send + 'static;
    /// Format of the tables that translate what a guest's processors reach.
    type Nested: Format + Send + 'static;
    /// What a guest's virtual processors share.
    type Shared;
    /// Why a processor cannot run guests.
    type Unsupported: Display;

    /// Judges this processor.
    ///
    /// # Errors
    /// What it lacks, or who switched it off.
    fn detect() -> Result<Self, Self::Unsupported>;

    /// Takes what all guests share. Called once, before [`Backend::new_vcpu`].
    ///
    /// # Errors
    /// There is no memory for it.
    fn prepare(&mut self) -> Result<(), OutOfMemory>;

    /// Switches virtualisation on for this processor, which [`Backend::detect`] was
    /// content with, for good.
    ///
    /// # Errors
    /// There is no memory for what the processor keeps to itself, or it refuses.
    fn enable(&self) -> Result<(), NotEnabled>;

    /// Whether the processor can keep a guest's local APIC
    /// ([`access::vcpu::InterruptMode::Accelerated`]).
    fn keeps_apic(&self) -> bool;

    /// The shape of nested tables.
    fn geometry(&self) -> Geometry;

    /// What the `vcpus` virtual processors of one guest share.
    ///
    /// # Errors
    /// There is no memory for it.
    fn share(&self, vcpus: usize) -> Result<Self::Shared, OutOfMemory>;

    /// A virtual processor in the state after INIT, over the nested tables whose root
    /// is `nested`. It is to run on one processor, and only after [`Backend::enable`]
    /// there.
    ///
    /// # Errors
    /// There is no memory for it.
    fn new_vcpu(&self, nested: Hpa, place: Place<'_, Self::Shared>) -> Result<Self::Vcpu, OutOfMemory>;

    /// Empty nested tables made of frames of `pool`.
    ///
    /// # Errors
    /// The pool is empty.
    fn nested_tables(&self, pool: Pool) -> Result<Nested<Self::Nested, Pool>, MapError> {
        Nested::new(pool, self.geometry())
    }
}

/// Where a virtual processor stands in its guest.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a, S> {
    /// Its number, which is its APIC ID.
    pub index: usize,
    /// How many the guest has.
    pub vcpus: usize,
    /// What they share.
    pub shared: &'a S,
}

impl<S> Place<'_, S> {
    /// Number of the guest's last virtual processor, where a table of 512 entries holds it.
    pub fn last(&self) -> Option<u16> {
        u16::try_from(self.vcpus.checked_sub(1)?).ok().filter(|last| *last < 512)
    }
}

/// There is no memory for something that virtualisation needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfMemory;

/// Why virtualisation could not be switched on for a processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotEnabled {
    /// There is no memory for what the processor keeps to itself.
    OutOfMemory,
    /// The processor refuses, or is not like the first one.
    Refused(&'static str),
}

impl From<OutOfMemory> for NotEnabled {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl Display for NotEnabled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfMemory => "there is no memory for it",
            Self::Refused(reason) => reason,
        })
    }
}
