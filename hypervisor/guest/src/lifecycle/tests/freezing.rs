//! Guests that are frozen and go on, and orders at each moment of that.

use super::world::{Act, World};
use super::{MOMENTS, OFF};
use crate::lifecycle::Policy;
use crate::partition::End;
use core::sync::atomic::Ordering::SeqCst;

fn freeze(world: &World) {
    world.life.request_freeze(&world.partition, format_args!("a test"));
}

fn go_on(world: &World) {
    world.life.request_continue(&world.partition, format_args!("a test"));
}

fn wait_until_frozen(world: &World) {
    world.wait_until(|world| world.life.is_frozen());
}

#[test]
fn a_frozen_guest_goes_on_again_and_again() {
    let world = World::new(2, OFF, &[]);
    world.live(|world| {
        world.wait_until(|world| world.life.runs() == 1);
        for round in 1..=5 {
            freeze(world);
            wait_until_frozen(world);
            assert_eq!((world.life.state_name(), world.life.is_over()), ("frozen", false));
            assert_eq!(world.partition.ended(), Some(End::Frozen));
            assert!(!world.partition.receive(0, b'x'), "what is typed waits");
            go_on(world);
            world.wait_until(|world| world.restores.load(SeqCst) == 2 * round);
            world.wait_until(|world| world.life.state_name() == "running");
        }
        assert_eq!((world.loads(), world.life.runs(), world.saves.load(SeqCst)), (1, 1, 10));
        world.life.request_halt(&world.partition);
        world.wait_until_over();
    });
    assert!(world.logged("is frozen") && world.logged("goes on"));
}

/// Whatever is asked for while it is frozen, or at any moment around that, is done.
#[test]
fn no_order_is_lost_around_a_freeze() {
    for act in [Act::Stop, Act::Restart, Act::Halt] {
        for moment in 0..MOMENTS {
            let world = World::new(2, OFF, &[]);
            world.at(moment, act);
            world.live(|world| {
                world.wait_until(|world| world.life.runs() > 0 || world.life.is_over());
                freeze(world);
                world.wait_a_while(|world| world.life.is_frozen());
                go_on(world);
                world.act_now();
                match act {
                    Act::Restart => world.wait_until(|world| world.loads() > world.loads_at_act()),
                    _ => world.wait_until_over(),
                }
                world.life.request_halt(&world.partition);
                world.wait_until_over();
            });
            assert_eq!(world.life.end_name(), "stopped", "{act:?} at {moment}");
        }
    }
}

/// A freeze at each moment of a guest that resets itself: it is frozen, or the log says why not.
#[test]
fn a_freeze_may_come_at_any_moment() {
    for moment in 0..MOMENTS {
        let world = World::new(2, OFF, &[End::Reboot; 1000]);
        world.at(moment, Act::Freeze);
        world.live(|world| {
            world.wait_until(|world| world.life.is_frozen() || world.logged("is not frozen"));
            go_on(world);
            let loads = world.loads();
            world.wait_until(|world| world.loads() > loads);
            world.life.request_halt(&world.partition);
            world.wait_until_over();
        });
    }
}

#[test]
fn a_guest_that_cannot_be_saved_now_goes_on() {
    let world = World::new(2, OFF, &[]);
    world.busy.store(true, SeqCst);
    world.live(|world| {
        world.wait_until(|world| world.life.runs() == 1);
        freeze(world);
        world.wait_until(|world| world.logged("is not frozen, and goes on"));
        assert!(!world.life.is_frozen());
        freeze(world);
        wait_until_frozen(world);
        assert_eq!(world.restores.load(SeqCst), 0, "nothing was thrown away");
        go_on(world);
        world.wait_until(|world| world.restores.load(SeqCst) == 2);
        world.life.request_halt(&world.partition);
        world.wait_until_over();
    });
}

#[test]
fn a_guest_that_cannot_be_read_back_ends() {
    let world = World::new(2, OFF, &[]);
    world.forged.store(true, SeqCst);
    world.live(|world| {
        world.wait_until(|world| world.life.runs() == 1);
        freeze(world);
        wait_until_frozen(world);
        go_on(world);
        world.wait_until_over();
    });
    assert!(world.logged("cannot go on: the state is cut off or damaged"));
    assert_eq!((world.life.end_name(), world.restores.load(SeqCst)), ("invalid-state", 0));
}

#[test]
fn what_cannot_be_is_said() {
    let world = World::new(1, Policy { may_freeze: false, ..OFF }, &[]);
    world.live(|world| {
        world.wait_until(|world| world.life.runs() == 1);
        freeze(world);
        go_on(world);
        world.life.request_halt(&world.partition);
        world.wait_until_over();
    });
    assert!(world.logged("there is no room for its state (snapshot = true makes some)"));
    assert!(world.logged("does not go on (a test): it is not frozen"));
    assert_eq!(world.life.end_name(), "stopped");
}
