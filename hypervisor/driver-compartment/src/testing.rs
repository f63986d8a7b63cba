//! What tests of drives and interfaces in a compartment have in common: a compartment in the same process, which
//! may die at any entry, or say anything.

use crate::function::{Function, Renewal};
use compartment::{Compartment, Ended};
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

/// What happens at an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It does what it was asked.
    Serves,
    /// It dies before it has done anything.
    DiesBefore,
    /// It dies when all is done and before it has said so.
    DiesAfter,
    /// It writes over what it has said: words by their place.
    Lies(Vec<(usize, u64)>),
    /// It says something and does nothing.
    OnlyLies(Vec<(usize, u64)>),
}

/// Has a driver do what the area says.
pub type Serve = Box<dyn FnMut(&mut [u64]) + Send>;
/// Makes that anew, with the device reset.
pub type Make = Box<dyn FnMut() -> Serve + Send>;

/// A compartment in the same process.
pub struct InProcess {
    serve: Serve,
    make: Make,
    area: Vec<u64>,
    /// What happens at the next entries; after them it serves.
    pub fates: Vec<Fate>,
    pub entries: usize,
    /// How often a renewal is asked for before it is over.
    pub takes: usize,
    left: usize,
    pub keeps_cache: bool,
    pub fails: Option<&'static str>,
}

impl InProcess {
    pub fn new(words: usize, mut make: Make) -> Self {
        Self {
            serve: make(),
            make,
            area: vec![0; words],
            fates: Vec::new(),
            entries: 0,
            takes: 0,
            left: 0,
            keeps_cache: true,
            fails: None,
        }
    }

    fn lie(&mut self, lies: &[(usize, u64)]) {
        let words = self.area.len();
        for (at, value) in lies {
            self.area[at % words] = *value;
        }
    }
}

impl Compartment for InProcess {
    fn area(&mut self) -> &mut [u64] {
        &mut self.area
    }
    fn enter(&mut self) -> Result<(), Ended> {
        self.entries += 1;
        let fate = if self.fates.is_empty() { Fate::Serves } else { self.fates.remove(0) };
        match fate {
            Fate::Serves => (self.serve)(&mut self.area),
            Fate::DiesBefore => return Err(Ended::Late),
            Fate::DiesAfter => {
                (self.serve)(&mut self.area);
                return Err(Ended::Fault { vector: 14, rip: 0x40_1234 });
            }
            Fate::Lies(lies) => {
                (self.serve)(&mut self.area);
                self.lie(&lies);
            }
            Fate::OnlyLies(lies) => self.lie(&lies),
        }
        Ok(())
    }
}

impl Function for InProcess {
    fn begin_renewal(&mut self, _: u64) {
        self.left = self.takes;
    }
    fn renewal(&mut self, now_ns: u64) -> Renewal {
        if let Some(why) = self.fails {
            return Renewal::Failed(why);
        }
        if self.left > 0 {
            self.left -= 1;
            return Renewal::Waits { until_ns: now_ns + 1_000_000 };
        }
        self.serve = (self.make)();
        // Its first call has been there.
        self.area.iter_mut().take(crate::FIRST_WORDS).for_each(|word| *word = 0xdead_0003);
        Renewal::Done { keeps_cache: self.keeps_cache }
    }
}
