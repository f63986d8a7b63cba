//! A guest whose chipset is in a compartment.

use super::*;
use crate::snapshot::Snapshot;
use chipset_compartment::{AREA_WORDS, ChipsetServer, RemoteChipset};
use compartment::{Compartment, Ended, Kind, Restarts};
use std::boxed::Box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A compartment in this process.
struct Process {
    area: Vec<u64>,
    server: Option<ChipsetServer>,
    /// It does not come back from any call but the first.
    hangs: Arc<AtomicBool>,
}

impl Compartment for Process {
    fn area(&mut self) -> &mut [u64] {
        &mut self.area
    }
    fn enter(&mut self) -> Result<(), Ended> {
        if Kind::of(&self.area) == Some(Kind::Chipset) {
            assert!(self.server.is_none(), "it is made anew first");
            self.server = Some(ChipsetServer::begin(&mut self.area).expect("the first call"));
            return Ok(());
        }
        if self.hangs.load(Ordering::Relaxed) {
            return Err(Ended::Late);
        }
        assert!(self.server.as_mut().expect("it began").serve(&mut self.area));
        Ok(())
    }
    fn restart(&mut self) -> Result<(), Ended> {
        self.server = None;
        Ok(())
    }
}

/// A guest whose chipset is apart, and what has it hang.
fn apart() -> (Partition<FakeHost>, Arc<AtomicBool>) {
    let mut partition = partition(1);
    let hangs = Arc::new(AtomicBool::new(false));
    let process = Process { area: std::vec![0; AREA_WORDS], server: None, hangs: hangs.clone() };
    let remote = RemoteChipset::begin(Box::new(process), &script::chipset(), Restarts::NONE);
    partition.leave_chipset_to(Box::new(remote.expect("it begins")));
    (partition, hangs)
}

/// What a guest with a serial port, a timer and a line of a device sees, and its host.
fn uses(partition: &Partition<FakeHost>) -> (Vec<u32>, Vec<u64>) {
    let mut seen = Vec::new();
    let write = |port, value| partition.port_write(0, port, Width::Byte, value);
    for (port, value) in [
        (0x20, 0x11),
        (0x21, 0x20),
        (0x21, 4),
        (0x21, 1),
        (0x21, 0xfe),
        (0x43, 0x34),
        (0x40, 0xa9),
        (0x40, 0x04),
    ] {
        write(port, value);
    }
    let mut deadlines = std::vec![partition.chipset_deadline()];
    for byte in b"printed\n" {
        write(0x3f8, u32::from(*byte));
    }
    assert!(partition.receive(0, b'x'));
    seen.extend([0x3fd, 0x3f8, 0x3fd, 0x61, 0x70].map(|port| partition.port_read(0, port, Width::Byte).0));
    partition.host.now.set(partition.chipset_deadline());
    partition.with_chipset(0, |chipset, effects, now| chipset.tick(now, effects));
    seen.push(partition.external_pending().into());
    deadlines.push(partition.chipset_deadline());
    route_line(partition, LEVEL | 0x41);
    partition.host.in_service.set(1 << 17);
    partition.take_lines(0);
    partition.with_chipset(0, |chipset, effects, _| chipset.end_of_interrupt(0x41, effects));
    (seen, deadlines)
}

#[test]
fn it_sees_the_same() {
    let (here, (there, _)) = (partition(1), apart());
    assert_eq!(uses(&here), uses(&there));
    assert_eq!(*here.host.ended.borrow(), *there.host.ended.borrow());
    assert_eq!(here.host.ended.borrow().as_slice(), [17]);
    assert_eq!(*here.host.printed.borrow(), *there.host.printed.borrow());
    assert!(!here.host.printed.borrow().is_empty());
    assert_eq!((here.ended(), there.ended()), (None, None));
}

#[test]
fn a_guest_whose_chipset_is_gone_ends_and_starts_again() {
    let (partition, hangs) = apart();
    assert_eq!(partition.port_read(0, 0x3fd, Width::Byte).0, 0x60);
    hangs.store(true, Ordering::Relaxed);
    assert_eq!(partition.port_read(0, 0x3fd, Width::Byte).0, 0xff);
    assert_eq!(partition.ended(), Some(End::ChipsetFailed));
    let log = partition.host.logged.borrow().join("\n");
    assert!(log.contains("its chipset is gone: it did not come back in time"), "{log}");
    hangs.store(false, Ordering::Relaxed);
    partition.restart(script::chipset());
    assert_eq!(partition.port_read(0, 0x3fd, Width::Byte).0, 0x60);
    assert_eq!(partition.ended(), None);
}

/// What is saved of one is what is saved of the other, and either goes on from it.
#[test]
fn it_is_frozen_and_goes_on_in_either_place() {
    let (here, (there, _)) = (partition(1), apart());
    for partition in [&here, &there] {
        uses(partition);
        partition.port_write(0, 0x3ff, Width::Byte, 0x5a);
        partition.request_end(End::Frozen);
    }
    let saved = [&here, &there].map(|partition| {
        let mut snapshot = Snapshot::new(1);
        partition.save(&mut snapshot).expect("it is saved");
        partition.forget(script::chipset());
        snapshot
    });
    assert_eq!(saved[0].chipset.contents(), saved[1].chipset.contents());
    for (partition, snapshot) in [&there, &here].into_iter().zip(&saved) {
        let restored = partition.check(snapshot).expect("it is its own");
        partition.restore(snapshot, restored);
        assert_eq!(partition.port_read(0, 0x3ff, Width::Byte).0, 0x5a);
        assert!(partition.external_pending());
        assert_eq!(partition.ended(), None);
    }
    assert_eq!(here.chipset_deadline(), there.chipset_deadline());
}
