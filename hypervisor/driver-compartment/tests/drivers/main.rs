//! The drivers themselves in a compartment, on emulated devices whose memory is what their domain maps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "what fails a test")]

mod interface;
mod world;

use block::{Drive, Operation, State, Tag};
use compartment::Compartment;
use driver_compartment::{Description, Driver};
use proptest::prelude::*;
use std::collections::HashMap;
use world::{BLOCKS, Kind, SECOND, SIZES, World};

fn enter(said: &Description, compartment: &mut impl Compartment) -> Result<usize, String> {
    said.enter(compartment).map_err(|unmade| unmade.to_string())
}

/// The first call makes the driver of what it says, or says why not.
#[test]
fn the_first_call_says_what_it_is_for() {
    for kind in [Kind::Nvme, Kind::Virtio] {
        let mut world = World::new(kind, 5);
        let said = world.description;
        assert!(said.own_bytes < SIZES.data_bytes() as u64);
        let compartment = world.drive.compartment_mut();
        compartment.is_new = true;
        assert_eq!(enter(&said, compartment), Ok(1));
        compartment.is_new = true;
        let wrong = Description { messages: 0, ..said };
        assert_eq!(enter(&wrong, compartment), Err("it has no interrupt message".into()));
        compartment.is_new = true;
        let wrong = Description { driver: Driver::Igb, ..said };
        assert_eq!(
            (enter(&wrong, compartment), wrong.own_bytes_needed()),
            (Err("it is no drive".into()), None)
        );
        // The one that was made serves.
        world.start();
        assert!(matches!(world.drive.status().state, State::Ready(_)));
    }
}

/// Whatever is asked is done once, however often the driver dies; its device reaches nothing that is not mapped.
fn does_all(kind: Kind, kills: &[usize], steps: &[(usize, u64, u64, u8)]) -> Result<(), TestCaseError> {
    let mut world = World::new(kind, 1000);
    world.start();
    prop_assert!(matches!(world.drive.status().state, State::Ready(_)));
    let mut model = world.medium();
    let mut asked: HashMap<Tag, (Operation, u64, u64, u8)> = HashMap::new();
    for (number, (what, first, blocks, byte)) in steps.iter().copied().enumerate() {
        if kills.contains(&number) {
            world.drive.compartment_mut().dies = true;
        }
        let operation = [Operation::Read, Operation::Write, Operation::Flush, Operation::Write][what];
        let blocks = blocks.min(BLOCKS - first);
        let is_apart =
            asked.values().all(|(_, other, count, _)| first + blocks <= *other || other + count <= first);
        if is_apart && let Ok(tag) = world.drive.reserve() {
            let data = vec![byte; blocks as usize * 512];
            world.drive.put(tag, 0, &data).unwrap();
            prop_assert_eq!(world.drive.submit(tag, operation, first, blocks), Ok(()));
            asked.insert(tag, (operation, first, blocks, byte));
        }
        if byte & 1 != 0 {
            world.drive.kick(world.now_ns);
        }
        world.pass();
        check(&mut world, &mut asked, &mut model)?;
    }
    for _ in 0..20 {
        world.drive.kick(world.now_ns);
        world.pass();
        check(&mut world, &mut asked, &mut model)?;
    }
    prop_assert!(asked.is_empty(), "{:?}", asked);
    prop_assert!(world.medium() == model, "the medium is another");
    prop_assert_eq!(world.domain.refused(), 0);
    Ok(())
}

fn check(
    world: &mut World,
    asked: &mut HashMap<Tag, (Operation, u64, u64, u8)>,
    model: &mut [u8],
) -> Result<(), TestCaseError> {
    while let Some(done) = world.drive.next_done() {
        let found = asked.remove(&done.tag);
        prop_assert!(found.is_some(), "{:?} was not asked, or twice over", done);
        let (operation, first, blocks, byte) = found.unwrap();
        prop_assert_eq!((done.operation, done.outcome), (operation, Ok(())));
        let range = first as usize * 512..(first + blocks) as usize * 512;
        match operation {
            Operation::Read => {
                let mut data = vec![0; done.bytes];
                world.drive.get(done.tag, 0, &mut data).unwrap();
                prop_assert!(data == model[range], "it read something else");
            }
            Operation::Write => model[range].fill(byte),
            _ => {}
        }
        world.drive.release(done.tag);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn nvme_does_all(
        kills in proptest::collection::vec(0_usize..60, 0..6),
        steps in proptest::collection::vec((0_usize..4, 0..BLOCKS, 1_u64..64, any::<u8>()), 1..60),
    ) {
        does_all(Kind::Nvme, &kills, &steps)?;
    }

    #[test]
    fn virtio_does_all(
        kills in proptest::collection::vec(0_usize..60, 0..6),
        steps in proptest::collection::vec((0_usize..4, 0..BLOCKS, 1_u64..64, any::<u8>()), 1..60),
    ) {
        does_all(Kind::Virtio, &kills, &steps)?;
    }
}

/// Killed a thousand times under load, nobody is told of an error.
#[test]
fn a_thousand_deaths() {
    for kind in [Kind::Nvme, Kind::Virtio] {
        let mut world = World::new(kind, 1000);
        world.start();
        let mut over = 0;
        for death in 0..1000_u64 {
            while let Ok(tag) = world.drive.reserve() {
                world.drive.submit(tag, Operation::Read, death % BLOCKS, 1).unwrap();
            }
            world.drive.compartment_mut().dies = true;
            world.drive.kick(world.now_ns);
            assert_eq!(world.drive.account().ends, death + 1);
            world.now_ns += SECOND / 10;
            world.pass();
            while let Some(done) = world.drive.next_done() {
                assert_eq!(done.outcome, Ok(()));
                world.drive.release(done.tag);
                over += 1;
            }
        }
        assert_eq!((over, world.drive.account().renewals), (1000 * u64::from(SIZES.requests), 1000));
        assert_eq!(world.domain.refused(), 0);
    }
}
