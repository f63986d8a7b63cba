//! A model that wants more than it may.

use super::*;

/// A device that makes a request at each access, whether the one before it is over or not.
struct Greedy;

impl Device for Greedy {
    fn most_effects(&self) -> usize {
        4
    }
    fn most_requests(&self) -> usize {
        2
    }
    fn read(&mut self, _: u64, _: Width, context: &mut Context<'_>) -> u64 {
        context.effects.push(DeviceEffect::Submit(Request { bytes: 512, ..Request::default() }));
        5
    }
    fn write(&mut self, _: u64, _: Width, _: u64, _: &mut Context<'_>) {}
    fn complete(&mut self, _: Completion, _: &mut Context<'_>) {}
    fn line(&self) -> bool {
        false
    }
    fn reset(&mut self) {}
}

#[test]
fn one_that_makes_more_requests_than_it_may_is_ended() {
    let memory = Shared::new();
    let compartment = in_process(Box::new(Greedy), false, &memory);
    let sizes = compartment.sizes;
    let mut world = World::new(Remote::new(compartment, sizes).unwrap(), memory);
    let read = |world: &mut World<Remote<InProcess>>| {
        world.with(|device, context| device.read(0, Width::Byte, context))
    };
    assert_eq!([read(&mut world), read(&mut world)], [5, 5]);
    // One is over, and makes room.
    let completion = Completion { tag: 0, outcome: Ok(()) };
    world.with(|device, context| device.complete(completion, context));
    assert_eq!([read(&mut world), read(&mut world)], [5, 0xff]);
    assert_eq!(world.device.ended(), Some(Ended::Answer("more requests than it may have")));
    assert_eq!(world.wanted.len(), 3, "what was too much is not done");
}

#[test]
fn what_a_reset_leaves_behind_makes_room() {
    let memory = Shared::new();
    let compartment = in_process(Box::new(Greedy), false, &memory);
    let sizes = compartment.sizes;
    let mut world = World::new(Remote::new(compartment, sizes).unwrap(), memory);
    for _ in 0..3 {
        for _ in 0..2 {
            assert_eq!(world.with(|device, context| device.read(0, Width::Byte, context)), 5);
        }
        world.device.reset();
    }
    assert_eq!(world.device.ended(), None);
}
