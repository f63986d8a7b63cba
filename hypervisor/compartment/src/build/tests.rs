use super::*;
use crate::Places;
use crate::area::ARGUMENTS;
use crate::operation::Operation;
use access::memory::VecMemory;
use devices::Device;
use devices::blueprint::VirtioDevice;
use devices::device::Context;
use devices::effect::Effects;
use devices::testing::{RandomWords, random_words};
use network::MacAddress;
use proptest::prelude::*;
use spec::Width;
use std::vec;

/// A compartment in the same process, which begins with nothing.
struct Fresh {
    words: Vec<u64>,
    server: Option<(Server, Build)>,
    source: Option<Box<dyn Source>>,
}

impl Fresh {
    fn new(words: usize) -> Self {
        Self { words: vec![u64::MAX; words], server: None, source: None }
    }
}

impl Compartment for Fresh {
    fn area(&mut self) -> &mut [u64] {
        &mut self.words
    }
    fn enter(&mut self) -> Result<(), Ended> {
        match &mut self.server {
            None => self.server = Server::build(&mut self.words, self.source.take()),
            Some((server, build)) => {
                let places = Places::of(build.sizes);
                let mut area = Area::new(&mut self.words, &places).unwrap();
                server.serve(&VecMemory::new(0x1000), &mut area);
            }
        }
        Ok(())
    }
}

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const ENTROPY: Blueprint =
    Blueprint::Virtio { device: VirtioDevice::Entropy, messages: 2, is_polled: false, offers_packed: true };

/// A compartment's area is of whole pages.
fn words(build: &Build) -> usize {
    build.sizes.words().next_multiple_of(512)
}

fn build(blueprint: Blueprint) -> Build {
    let piece = |start, bytes| Range { start: Gpa(start), bytes };
    Build::new(blueprint, vec![piece(0, 0xa_0000), piece(0x10_0000, 1 << 30)])
}

#[test]
fn a_compartment_is_told_what_it_is_for() {
    let build = build(Blueprint::Ne2000(MAC));
    let mut compartment = Fresh::new(words(&build));
    assert_eq!(build.enter(&mut compartment), Ok(()));
    assert_eq!(compartment.server.as_ref().map(|(_, read)| read.clone()), Some(build.clone()));
    let mut device = crate::Remote::new(compartment, build.sizes).expect("a device");
    let (memory, mut effects) = (VecMemory::new(0), Effects::with_capacity(device.most_effects()));
    let mut context = Context { memory: &memory, now: 0, effects: &mut effects };
    let command = device.read(0, Width::Byte, &mut context);
    let here = &mut Blueprint::Ne2000(MAC).build(None).expect("a device");
    assert_eq!(command, here.read(0, Width::Byte, &mut context));
    assert_eq!(device.ended(), None);
}

#[test]
fn why_nothing_is_built_is_told() {
    let build = build(ENTROPY);
    let mut compartment = Fresh::new(words(&build));
    assert_eq!(build.enter(&mut compartment), Err(Ended::Answer("the processor has no random numbers")));
    compartment.source = Some(Box::new(RandomWords::new(std::iter::repeat(7)).0));
    let broken = build.enter(&mut compartment);
    assert_eq!(broken, Err(Ended::Answer("the processor's random numbers are not used")));
    compartment.source = Some(Box::new(RandomWords::new(random_words()).0));
    assert_eq!(build.enter(&mut compartment), Ok(()));
    for words in [0, 10, 22] {
        let short = build.enter(&mut Fresh::new(words));
        assert_eq!(short, Err(Ended::Answer("no room for what it is for")), "{words}");
    }
}

#[test]
fn another_call_is_not_the_first() {
    let mut words = vec![0; 1024];
    let places = Places::for_build(words.len());
    let mut area = Area::new(&mut words, &places).expect("room");
    area.set_call(&Call::new(Operation::Describe, [0; ARGUMENTS]));
    assert!(Server::build(&mut words, None).is_none());
    let answer = Area::new(&mut words, &places).expect("room").answer().expect("an answer");
    assert_eq!(answer.arguments[0], NOT_UNDERSTOOD);
}

/// One that does nothing when it is entered.
struct Idle(Vec<u64>);

impl Compartment for Idle {
    fn area(&mut self) -> &mut [u64] {
        &mut self.0
    }
    fn enter(&mut self) -> Result<(), Ended> {
        Ok(())
    }
}

#[test]
fn what_was_in_the_area_before_is_no_answer() {
    let build = build(Blueprint::Serial);
    let mut idle = Idle(vec![1; words(&build)]);
    assert_eq!(build.enter(&mut idle), Err(Ended::Answer("not whether it is built")));
}

proptest! {
    /// Any words are a first call that is answered as one: it built something, or says why not.
    #[test]
    fn no_words_do_harm(words in prop::collection::vec(any::<u64>(), 500..700), first in any::<bool>(), bytes in 0_usize..600) {
        let mut words = words;
        let places = Places::for_build(words.len());
        if let Some(mut area) = Area::new(&mut words, &places).filter(|_| first) {
            area.set_call(&Call { bytes, ..Call::first() });
        }
        let is_built = Server::build(&mut words, None).is_some();
        if let Some(area) = Area::new(&mut words, &places) {
            let [answer, ..] = area.answer().unwrap().arguments;
            prop_assert_eq!(answer == BUILT, is_built);
            prop_assert!((BUILT..=BAD_SOURCE).contains(&answer));
        } else {
            prop_assert!(!is_built);
        }
    }
}
