//! Lives with a thread for each processor, and orders at each moment of them.

extern crate std;

mod freezing;
mod world;

use super::*;
use std::vec::Vec;
use world::{Act, World};

const OFF: Policy = Policy {
    on_power_off: EndPolicy::Off,
    on_reboot: EndPolicy::Restart,
    on_crash: EndPolicy::Off,
    max_restarts: None,
    may_freeze: true,
};
/// More calls than any of these lives makes from one start to the second next.
const MOMENTS: usize = 80;

#[test]
fn the_policy_decides_what_follows() {
    let world = World::new(1, OFF, &[End::Reboot, End::Reboot, End::PowerOff]);
    world.live(|world| world.wait_until_over());
    assert_eq!((world.life.runs(), world.life.end_name()), (3, "power-off"));
    assert_eq!(world.loads(), 3);
}

#[test]
fn restarts_by_the_policy_are_counted_and_orders_are_not() {
    let world = World::new(2, Policy { max_restarts: Some(1), ..OFF }, &[End::Reboot; 9]);
    world.live(|world| {
        world.wait_until_over();
        assert_eq!((world.life.runs(), world.life.end_name()), (2, "reboot"));
        assert!(world.life.request_restart(&world.partition, format_args!("a test")));
        world.wait_until_over();
        assert_eq!((world.life.runs(), world.life.end_name()), (3, "reboot"));
    });
    assert!(world.logged("is started again: a test"));
}

#[test]
fn the_end_of_one_can_be_the_end_of_all() {
    let policy = Policy { on_power_off: EndPolicy::HaltAll, ..OFF };
    let world = World::new(1, policy, &[End::Reboot, End::PowerOff]);
    world.live(|world| world.wait_until_over());
    assert_eq!((world.halts(), world.life.end_name()), (1, "power-off"));
}

/// The guest resets itself again and again, so that nearly all of its life is between an
/// end and a start; or a few times, and then it runs on.
#[test]
fn a_halt_is_never_lost() {
    for (resets, moment) in (0..MOMENTS).flat_map(|moment| [0, 1, 2, 1000].map(|resets| (resets, moment))) {
        let world = World::new(2, OFF, &[End::Reboot; 1000][..resets]);
        world.at(moment, Act::Halt);
        world.live(|world| {
            world.wait_until(|world| world.has_acted() || resets < 1000 && world.loads() > resets);
            world.act_now();
            world.wait_until_over();
            let loads = world.loads();
            assert!(!world.life.request_restart(&world.partition, format_args!("a test")), "{moment}");
            world.rest();
            assert!(world.life.is_over() && world.loads() == loads, "{moment}");
        });
        assert!(world.loads() <= world.loads_at_act() + 1, "{moment}: a start after the order");
        assert!(world.partition.ended().is_some(), "{moment}");
        // It ended by the halt, whether that came in a run or between two.
        assert_eq!(world.life.end_name(), "stopped", "{moment}, {resets}");
    }
}

#[test]
fn a_guest_that_is_stopped_stays_off_until_it_is_wanted_again() {
    for moment in 0..MOMENTS {
        let world = World::new(2, OFF, &[End::Reboot; 1000]);
        world.at(moment, Act::Stop);
        world.live(|world| {
            world.wait_until_over();
            let runs = world.life.runs();
            world.rest();
            assert!(world.life.is_over() && world.life.runs() == runs, "{moment}");
            assert!(world.life.request_restart(&world.partition, format_args!("a test")), "{moment}");
            assert!(!world.life.is_over(), "{moment}: the machine must not be turned off now");
            world.wait_until(|world| world.life.runs() > runs);
            world.life.request_stop(&world.partition, format_args!("a test"));
            world.wait_until_over();
        });
        assert!(world.logged("is stopped: a test"), "{moment}");
    }
}

/// Whatever the guest does at that moment, it starts once more after the order; and the
/// order is done with then.
#[test]
fn a_restart_is_never_lost_and_never_kept() {
    for script in [&[End::PowerOff, End::PowerOff, End::PowerOff][..], &[End::Reboot, End::PowerOff]] {
        for moment in 0..MOMENTS {
            let world = World::new(2, OFF, script);
            world.at(moment, Act::Restart);
            world.live(|world| {
                // A life that is shorter than the moment gets its order from here.
                world.wait_until(|world| world.has_acted() || world.life.is_over());
                world.act_now();
                world.wait_until(|world| world.loads() > world.loads_at_act());
                let over = world.wait_a_while(|world| world.life.is_over());
                world.rest();
                // The first start, one for each reset, and that of the order, however late the
                // host lets each processor go on.
                let resets = script.iter().filter(|end| **end == End::Reboot).count();
                assert!(world.loads() <= 2 + resets, "{moment}: {} starts, {over}", world.loads());
                world.life.request_halt(&world.partition);
                world.wait_until_over();
            });
        }
    }
}

#[test]
fn a_stop_after_a_restart_is_a_stop_and_the_other_way_round() {
    let world = World::new(1, OFF, &[]);
    world.live(|world| {
        world.wait_until(|world| world.life.runs() == 1);
        world.life.request_restart(&world.partition, format_args!("a test"));
        world.life.request_stop(&world.partition, format_args!("a test"));
        world.wait_until_over();
        world.rest();
        assert!(world.life.is_over());
        let runs = world.life.runs();
        world.life.request_stop(&world.partition, format_args!("a test"));
        world.life.request_restart(&world.partition, format_args!("a test"));
        world.wait_until(|world| world.life.runs() > runs);
        assert_eq!(world.life.state_name(), "running");
        world.life.request_halt(&world.partition);
        world.wait_until_over();
        assert_eq!(world.life.state_name(), "stopped");
    });
}

#[test]
fn nobody_starts_before_all_processors_have_reported() {
    let world = World::new(3, OFF, &[End::PowerOff]);
    world.live_with(&[0, 1], |world| {
        world.rest();
        assert_eq!((world.loads(), world.life.state_name()), (0, "starting"));
        report_fit(world);
        world.wait_until(|world| world.loads() == 1);
        world.run_here(2);
        world.wait_until_over();
    });
    assert_eq!(world.life.end_name(), "power-off");
}

#[test]
fn a_processor_that_cannot_run_guests_refuses_and_nobody_waits() {
    for unfit in 0..3 {
        let world = World::new(3, OFF, &[End::PowerOff]);
        let fit: Vec<usize> = (0..3).filter(|vcpu| *vcpu != unfit).collect();
        // All threads come back.
        world.live_with(&fit, |world| {
            refuse(world, format_args!("this processor cannot"));
            world.wait_until_over();
            assert!(!world.life.request_restart(&world.partition, format_args!("a test")));
        });
        assert_eq!((world.loads(), world.life.end_name()), (0, "not-started"));
        assert!(world.life.is_as_expected(Expect::Refused));
        assert!(world.logged("does not start: this processor cannot"));
        assert!(world.logged("it cannot start any more"));
    }
}

#[test]
fn what_cannot_be_loaded_or_detached_is_gone_for_good() {
    let world = World::new(2, OFF, &[End::Reboot]);
    world.loads_fail.store(true, SeqCst);
    world.live(|world| world.wait_until_over());
    assert!(world.life.is_gone() && world.logged("does not start: no kernel"));

    let world = World::new(2, OFF, &[End::Reboot]);
    world.unclean.store(true, SeqCst);
    world.live(|world| world.wait_until_over());
    assert!(world.life.is_gone() && world.logged("locked away"));
    assert_eq!((world.life.end_name(), world.loads()), ("reboot", 1));
}

/// Two who order at once beside a guest that resets again and again: whoever is last, the
/// halt counts.
#[test]
fn orders_may_come_from_everywhere() {
    for _ in 0..50 {
        let world = World::new(3, OFF, &[End::Reboot; 100_000]);
        world.live(|world| {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for round in 0..20 {
                        match round % 3 {
                            0 => world.life.request_stop(&world.partition, format_args!("a test")),
                            _ => _ = world.life.request_restart(&world.partition, format_args!("a test")),
                        }
                        std::thread::yield_now();
                    }
                });
                std::thread::yield_now();
                world.life.request_halt(&world.partition);
            });
            world.wait_until_over();
            let loads = world.loads();
            world.rest();
            assert!(world.life.is_over() && world.loads() == loads);
        });
    }
}
