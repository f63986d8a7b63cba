//! Memory of the guests that a drive reads and writes itself.

use super::*;

/// Where the drive finds the memory of guest 1.
const AT: u64 = 5 << 30;

fn lending() -> Bench {
    let mut bench = bench(4, 2);
    bench.disk.reach(1, Iova(AT));
    bench.script.lock().unwrap().borrows = true;
    bench
}

impl Bench {
    fn is_lent(&mut self, guest: usize) -> bool {
        self.guests.0[guest].0.is_lent()
    }
    fn lent(&self) -> Vec<Vec<(Iova, usize)>> {
        core::mem::take(&mut self.script.lock().unwrap().lent)
    }
}

#[test]
fn the_drive_is_told_where_the_parts_of_a_command_are() {
    let mut bench = lending();
    bench.script.lock().unwrap().hold = true;
    bench.ask(1, &[request(7, Read, 512, 0x1000, 512), request(7, Read, 1024, 0x8000, 1024)]);
    bench.turn();
    assert_eq!(bench.lent(), [[(Iova(AT + 0x1000), 512), (Iova(AT + 0x8000), 1024)]]);
    assert!(bench.is_lent(1) && !bench.is_lent(0));
    bench.script.lock().unwrap().hold = false;
    bench.turn();
    assert!(!bench.is_lent(1));
    assert_eq!(bench.outcomes(1), [(7, Ok(())), (7, Ok(()))]);
    // Nobody copied what the drive wrote there itself.
    assert_eq!(bench.memory(1, 0x1000, 512), [0; 512]);
}

#[test]
fn what_is_not_lent_is_copied() {
    let mut bench = lending();
    // The other guest's memory is not mapped for the drive.
    assert_eq!(bench.outcome(0, request(1, Read, 512, 0x1000, 512)), Ok(()));
    assert_eq!(bench.memory(0, 0x1000, 512), [1; 512]);
    // The device may be reset while its requests are under way.
    bench.asked[1].lock().unwrap().resets_at_once = true;
    assert_eq!(bench.outcome(1, request(1, Read, 512, 0x1000, 512)), Ok(()));
    assert_ne!(bench.memory(1, 0x1000, 512), [0; 512]);
    bench.asked[1].lock().unwrap().resets_at_once = false;
    // The drive cannot reach memory that lies like this.
    bench.script.lock().unwrap().borrows = false;
    assert_eq!(bench.outcome(1, request(1, Read, 1024, 0x2000, 512)), Ok(()));
    assert_ne!(bench.memory(1, 0x2000, 512), [0; 512]);
    // A flush has no data.
    bench.script.lock().unwrap().borrows = true;
    assert_eq!(bench.outcome(1, request(1, Flush, 0, 0, 0)), Ok(()));
    assert!(bench.lent().is_empty() && !bench.is_lent(1));
}

#[test]
fn memory_that_the_device_does_not_reach_is_not_lent() {
    let mut bench = lending();
    for (gpa, bytes) in [(MEMORY as u64 - 256, 512), (1 << 40, 512), (u64::MAX >> 1, 512)] {
        assert_eq!(bench.outcome(1, request(1, Read, 0, gpa, bytes)), Err(RequestFault::Memory), "{gpa:#x}");
        bench.outcomes(1);
    }
    bench.guests.with(1, 0, &mut |endpoint, around| endpoint.set_enables(false, true, false, around));
    assert_eq!(bench.outcome(1, request(1, Write, 0, 0x1000, 512)), Err(RequestFault::Memory));
    assert!(bench.lent().is_empty() && !bench.is_lent(1));
}

#[test]
fn memory_stays_lent_over_a_reset_until_the_drive_is_done() {
    let mut bench = lending();
    bench.script.lock().unwrap().hold = true;
    bench.ask(1, &[request(7, Write, 512, 0x1000, 512)]);
    bench.turn();
    bench.guests.0[1].0.reset();
    bench.turn();
    assert!(bench.is_lent(1));
    bench.script.lock().unwrap().broken = Some("it is gone".into());
    bench.turn();
    assert!(!bench.is_lent(1));
    assert_eq!(bench.outcomes(1), []);
}

#[test]
fn what_is_not_copied_takes_none_of_the_turns_bytes() {
    let mut bench = bench(32, 2);
    bench.script.lock().unwrap().borrows = true;
    bench.script.lock().unwrap().hold = true;
    bench.disk.reach(1, Iova(AT));
    // Each is a command of its own.
    let large = |tag: u32| request(tag, Read, 0, 0x1_0000 * u64::from(tag), 64 << 10);
    let all: Vec<_> = (0..10).map(large).collect();
    bench.ask(0, &all);
    bench.ask(1, &all);
    bench.turn();
    let given = [0, 1].map(|guest: u64| {
        let of = |(_, block, _): &&(_, u64, _)| (*block >= 1024) == (guest == 1);
        bench.script.lock().unwrap().seen.iter().filter(of).count()
    });
    assert_eq!(given, [TURN_BYTES / (64 << 10), TURN_REQUESTS]);
}
