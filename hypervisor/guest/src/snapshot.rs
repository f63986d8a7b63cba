//! A frozen guest, written out: sections of bytes, each read back by what wrote it.
//!
//! | section | what is in it | who writes it |
//! |---|---|---|
//! | head | what the guest is made of, guest time, what the partition knows | the first vCPU's processor |
//! | chipset | every model of it | that one |
//! | mail, of each vCPU | what others left for it | that one |
//! | vCPU, of each | registers, local APIC, what it was doing | its own processor |
//!
//! The guest's memory is beside them, as it is. All sections are read and checked before anything of
//! a guest changes: a section that is cut off, of another version, of a guest that is made of something
//! else, or that says what cannot be, is refused in words.

use alloc::boxed::Box;
use alloc::vec;
use devices::chipset;
use devices::snapshot::{self, RestoreFault, SaveFault};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Every vCPU's section fits in so many bytes.
pub const PROCESSOR_BYTES: usize = 4096;
/// Those of the head and of mail do.
const SMALL_BYTES: usize = 256;

/// A place for one section, and what of it is used.
#[derive(Debug)]
pub struct Section {
    bytes: Box<[u8]>,
    used: usize,
}

impl Section {
    /// An empty one with room for `bytes`.
    pub fn new(bytes: usize) -> Self {
        Self { bytes: vec![0; bytes].into_boxed_slice(), used: 0 }
    }

    /// What was written.
    pub fn contents(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or(&[])
    }

    /// Replaces it. Bytes that have no room are left out.
    pub fn fill(&mut self, contents: &[u8]) {
        let used = contents.len().min(self.bytes.len());
        if let (Some(to), Some(from)) = (self.bytes.get_mut(..used), contents.get(..used)) {
            to.copy_from_slice(from);
        }
        self.used = used;
    }

    /// Writes `state` behind its version.
    pub(crate) fn save<T: Serialize>(&mut self, version: u16, state: &T) -> Result<(), SaveFault> {
        self.save_with(|bytes| snapshot::encode(version, state, bytes))
    }

    /// Has it written by `save`, which says how many bytes that took.
    pub(crate) fn save_with(
        &mut self,
        save: impl FnOnce(&mut [u8]) -> Result<usize, SaveFault>,
    ) -> Result<(), SaveFault> {
        self.used = 0;
        self.used = save(&mut self.bytes)?;
        Ok(())
    }

    /// Reads what [`Section::save`] wrote.
    pub(crate) fn restore<T: DeserializeOwned>(&self, version: u16) -> Result<T, RestoreFault> {
        snapshot::decode(version, self.contents())
    }
}

/// Room for a guest, but for its memory. It is allocated when the guest is built.
#[derive(Debug)]
pub struct Snapshot {
    /// What the guest is made of, and what its partition knows.
    pub head: Section,
    /// Its chipset.
    pub chipset: Section,
    /// What waits in its mailboxes.
    pub mail: Box<[Section]>,
    /// Its vCPUs.
    pub processors: Box<[Section]>,
}

impl Snapshot {
    /// Room for a guest of `vcpus` processors.
    pub fn new(vcpus: usize) -> Self {
        let sections = |bytes| (0..vcpus).map(|_| Section::new(bytes)).collect();
        Self {
            head: Section::new(SMALL_BYTES),
            chipset: Section::new(chipset::STATE_BYTES),
            mail: sections(SMALL_BYTES),
            processors: sections(PROCESSOR_BYTES),
        }
    }

    /// How many bytes of it are used.
    pub fn bytes(&self) -> usize {
        let all = [&self.head, &self.chipset].into_iter().chain(&*self.mail).chain(&*self.processors);
        all.map(|section| section.used).sum()
    }
}
