//! Files that need each other.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use super::arrows::Arrow;

/// Files of one crate each of which needs all the others, directly or not.
#[derive(Clone, Debug)]
pub struct Circle {
    /// The files, as they are named in the crate's `src`.
    pub files: Vec<String>,
    /// A shortest way round, to be read.
    way: Vec<Arrow>,
}

impl fmt::Display for Circle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way: Vec<String> = self.way.iter().map(ToString::to_string).collect();
        write!(out, "{} (for one: {})", self.files.join(", "), way.join("; "))
    }
}

/// The circles among `files`.
pub fn find(files: &[String], arrows: &[Arrow]) -> Vec<Circle> {
    let all: Vec<BTreeSet<&str>> = files.iter().map(|file| from(file, arrows)).collect();
    let mut circles: Vec<Circle> = Vec::new();
    for (file, reached) in files.iter().zip(&all) {
        let is_in_one = circles.iter().any(|circle| circle.files.contains(file));
        if is_in_one || !reached.contains(file.as_str()) {
            continue;
        }
        let and_back = |(other, back): &(&String, &BTreeSet<&str>)| {
            reached.contains(other.as_str()) && back.contains(file.as_str())
        };
        let members = files.iter().zip(&all).filter(and_back).map(|(other, _)| other.clone());
        circles.push(Circle { files: members.collect(), way: shortest(file, arrows) });
    }
    circles
}

/// Where arrows lead from `file`, by one or more.
fn from<'a>(file: &str, arrows: &'a [Arrow]) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![file];
    while let Some(file) = next.pop() {
        for arrow in arrows.iter().filter(|arrow| arrow.from == file) {
            if reached.insert(arrow.to.as_str()) {
                next.push(&arrow.to);
            }
        }
    }
    reached
}

/// A shortest way from `start` back to it.
fn shortest(start: &str, arrows: &[Arrow]) -> Vec<Arrow> {
    let mut ways = VecDeque::from([Vec::<&Arrow>::new()]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        let at = way.last().map_or(start, |arrow| arrow.to.as_str());
        for arrow in arrows.iter().filter(|arrow| arrow.from == at) {
            if arrow.to == start {
                return way.into_iter().chain([arrow]).cloned().collect();
            }
            if seen.insert(arrow.to.as_str()) {
                ways.push_back(way.iter().copied().chain([arrow]).collect());
            }
        }
    }
    Vec::new()
}
