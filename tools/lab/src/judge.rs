//! Holds what a run's consoles say against what a scenario expects.

use crate::demux::Line;
use crate::scenario::{Expected, Scenario};
use crate::summary::Summary;

/// Holds a run's lines against a scenario.
#[derive(Debug)]
pub struct Judge {
    /// Per owner what is still expected, in order.
    pending: Vec<Expected>,
    forbidden: Vec<Expected>,
    ends: Vec<(String, String)>,
    exits_at_most: Vec<(String, &'static [&'static str], u64)>,
    all_as_expected: bool,
    offence: Option<String>,
    /// The summary so far.
    pub summary: Summary,
}

impl Judge {
    /// Nothing seen yet.
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            pending: scenario.expect.clone(),
            forbidden: scenario.forbidden.clone(),
            ends: scenario.ends.clone(),
            exits_at_most: scenario.exits_at_most.clone(),
            all_as_expected: scenario.all_as_expected,
            offence: None,
            summary: Summary::default(),
        }
    }

    /// Takes a line.
    pub fn take(&mut self, line: &Line) {
        self.summary.take(line);
        if self.offence.is_none() && self.forbidden.iter().any(|forbidden| forbidden.matches(line)) {
            self.offence = Some(format!("{} wrote {:?}", line.owner, line.text));
        }
        // The first text that is still expected of this owner, and no later one.
        let first = self.pending.iter().position(|expected| expected.owner.as_deref() == Some(&line.owner));
        if let Some(first) = first
            && self.pending.get(first).is_some_and(|expected| expected.matches(line))
        {
            self.pending.remove(first);
        }
    }

    /// Whether the outcome cannot change any more for the better: something
    /// forbidden appeared.
    pub fn is_lost(&self) -> bool {
        self.offence.is_some()
    }

    /// Whether everything expected was seen.
    pub fn is_satisfied(&self) -> bool {
        self.outcome().is_ok()
    }

    /// Nothing, or why the run failed.
    ///
    /// # Errors
    /// The reason in one line.
    pub fn outcome(&self) -> Result<(), String> {
        if let Some(offence) = &self.offence {
            return Err(offence.clone());
        }
        if let Some(Expected { owner, text }) = self.pending.first() {
            return Err(format!("{} did not write {text:?}", owner.as_deref().unwrap_or("anybody")));
        }
        for (guest, kinds, most) in &self.exits_at_most {
            let steady = self.summary.guest(guest).and_then(|summary| summary.steady.as_ref());
            let Some(steady) = steady else { return Err(format!("guest {guest} never said that it is up")) };
            let too_many = |kind: &str, count: u64| kinds.contains(&kind) && count > *most;
            if let Some((kind, count)) = steady.iter().find(|&(kind, &count)| too_many(kind, count)) {
                return Err(format!("guest {guest} exited {count} times for {kind} since it is up"));
            }
        }
        for (guest, expected) in &self.ends {
            match self.summary.guest(guest) {
                None => return Err(format!("no summary of guest {guest}")),
                Some(found) if found.end != *expected => {
                    return Err(format!("guest {guest} ended by {}, not by {expected}", found.end));
                }
                Some(_) => {}
            }
        }
        match &self.summary.hypervisor {
            None if self.all_as_expected => Err("the hypervisor did not come to its end".to_owned()),
            Some(own) if self.all_as_expected && !self.summary.is_as_expected() => {
                Err(format!("{} of {} guests ended as expected", own.as_expected, own.guests))
            }
            _ => Ok(()),
        }
    }
}
