//! From whatever state the HBA and its drives are in to a drive that is ready, or the words for why
//! it is not.

use crate::bench::*;
use access::DeviceAccess;
use access::device::MessageInterrupt;
use access::fake_dma::FakeDma;
use ahci::{Error, Hba, Sizes};
use block::{Refused, State};
use spec::ahci::port::{self, cmd};
use spec::ahci::{bohc, cap, cap2, ghc};
use spec::ata::{command, identify};

#[test]
fn it_comes_up_and_says_who_it_is() {
    let mut bench = Bench::new(1, |_| {});
    assert_eq!(bench.drive().status().state, State::Off);
    assert_eq!(bench.fake.state().writes, 0, "nothing is written before the start");
    bench.hba.start(bench.now);
    assert_eq!(bench.drive().status().state, State::Starting);
    assert_eq!(bench.drive().identity(), None);
    bench.run();
    let geometry = bench.geometry();
    assert_eq!((geometry.blocks, geometry.block_bytes, geometry.is_read_only), (BLOCKS, 512, false));
    let identity = bench.drive().identity().unwrap();
    assert_eq!(identity.to_string(), "Fake? drive, serial number S1, firmware 1.0");
    assert_eq!(bench.codes(), [command::IDENTIFY_DEVICE]);
    assert_eq!(bench.fake.port().link_resets, 1);
    assert_eq!(bench.fake.state().control, ghc::AHCI_ENABLE | ghc::INTERRUPT_ENABLE);
    assert_eq!(bench.hba.deadline(), None);
    assert_eq!(bench.fake.domain.refused(), 0);
}

#[test]
fn what_cannot_be_made_is_refused() {
    let made = |messages, ports, sizes: Sizes, bytes| {
        let bench = Bench::new(1, |_| {});
        bench.fake.state().implemented = ports;
        let (dma, _domain) = FakeDma::new(bytes);
        let interrupt = MessageInterrupt { messages };
        let access = DeviceAccess { registers: bench.fake.clone(), dma, interrupt };
        Hba::new(access, sizes).err()
    };
    assert_eq!(made(1, 1, SIZES, 64 << 20), None);
    assert_eq!(made(0, 1, SIZES, 64 << 20), Some(Error::NoMessages));
    assert_eq!(made(1, 0, SIZES, 64 << 20), Some(Error::NoPorts));
    assert_eq!(made(1, u32::MAX, SIZES, 64 << 20), Some(Error::Removed));
    assert_eq!(made(1, 1, Sizes { ports: 2, ..SIZES }, 64 << 20), Some(Error::NoPorts));
    assert_eq!(made(1, 1, SIZES, 4096), Some(Error::NoMemory));
    assert_eq!(made(1, 1, SIZES, 16384), Some(Error::NoMemory));
    for sizes in [
        Sizes { requests: 0, ..SIZES },
        Sizes { requests: 257, ..SIZES },
        Sizes { request_bytes: 0, ..SIZES },
        Sizes { request_bytes: 512, ..SIZES },
    ] {
        assert_eq!(made(1, 1, sizes, 64 << 20), Some(Error::Sizes), "{sizes:?}");
    }
}

#[test]
fn ports_that_nobody_asked_for_are_left_alone() {
    let mut bench = Bench::new(1, |_| {});
    let (dma, domain) = FakeDma::new(64 << 20);
    let fake = bench.fake.clone();
    fake.state().implemented = 0b101;
    let interrupt = MessageInterrupt { messages: 1 };
    bench.hba =
        Hba::new(DeviceAccess { registers: fake, dma, interrupt }, Sizes { ports: 0b011, ..SIZES }).unwrap();
    assert_eq!(bench.hba.drives(), 1);
    assert_eq!(bench.drive().number(), 0);
    assert!(bench.hba.drive(1).is_none());
    assert_eq!(domain.buffers().len(), 2);
}

#[test]
fn the_firmware_gets_the_time_to_give_it_up() {
    let with_firmware = |fake: &Fake, looks| {
        fake.state().capabilities_2 = cap2::HANDOFF;
        fake.state().handoff = bohc::FIRMWARE_OWNED;
        fake.state().handoff_looks = looks;
    };
    for (looks, is_busy, expected) in [
        (Some(2), false, 0),
        (Some(4), false, 10 * MILLISECOND),
        (None, false, 25 * MILLISECOND),
        (None, true, 2 * SECOND),
        (Some(102), true, 500 * MILLISECOND),
    ] {
        let mut bench = Bench::new(1, |fake| {
            with_firmware(fake, looks);
            if is_busy {
                fake.state().handoff |= bohc::FIRMWARE_BUSY;
            }
        });
        bench.hba.start(bench.now);
        let started = bench.now;
        assert!(bench.fake.state().handoff & bohc::SYSTEM_OWNED != 0);
        while bench.fake.state().control & ghc::INTERRUPT_ENABLE == 0 {
            bench.now = bench.hba.deadline().unwrap();
            bench.hba.poll(bench.now);
        }
        assert_eq!(bench.now - started, expected, "{looks:?} {is_busy}");
        bench.run();
        bench.geometry();
    }
}

#[test]
fn a_reset_that_does_not_end_is_given_up() {
    let mut bench = Bench::new(2, |fake| fake.state().reset_hangs = true);
    let started = bench.now;
    bench.hba.start(bench.now);
    bench.pass(60 * SECOND);
    assert_eq!(bench.now - started, SECOND);
    assert_eq!(bench.hba.failure(), Some(Error::HbaReset));
    assert_eq!(bench.error(), Error::HbaReset);
    assert_eq!(bench.hba.drive(1).unwrap().failure(), Some(Error::HbaReset));
    // A drive alone cannot be started then, and all can.
    let now = bench.now;
    bench.drive().start(now);
    assert_eq!(bench.error().to_string(), "its host bus adapter was not started");
    bench.fake.state().reset_hangs = false;
    bench.hba.start(now);
    bench.run();
    bench.geometry();
}

#[test]
fn a_reset_alone_starts_no_drive_and_moves_no_byte() {
    let mut bench = Bench::new(2, |fake| fake.state().ports[1].registers[port::COMMAND / 4] = cmd::START);
    bench.hba.reset(bench.now);
    assert!(bench.hba.is_up());
    assert_eq!(bench.hba.deadline(), None, "nothing is waited for");
    bench.hba.poll(bench.now + SECOND);
    assert_eq!(bench.drive().status().state, State::Off);
    for port in &bench.fake.state().ports {
        assert_eq!((port.link_resets, port.registers[port::COMMAND / 4] & !cmd::SPIN_UP), (0, 0));
        assert_eq!(port.registers[port::COMMAND_LIST / 4], 0, "it knows no memory");
    }
    let now = bench.now;
    bench.drive().start(now);
    bench.run();
    bench.geometry();
    assert_eq!(bench.hba.drive(1).unwrap().status().state, State::Off);
    // Again, with a drive in use.
    bench.fake.port().holds = true;
    bench.submit_read(0, 8);
    bench.hba.reset(bench.now);
    assert!(bench.done().outcome.is_err());
    assert_eq!(bench.drive().status().state, State::Off);
}

#[test]
fn a_reset_that_cannot_be_proved_is_none() {
    let error_of = |bend: fn(&Fake)| {
        let mut bench = Bench::new(2, bend);
        bench.hba.start(bench.now);
        assert!(!bench.hba.is_up());
        assert_eq!(bench.codes(), []);
        bench.hba.failure().expect("it failed")
    };
    assert_eq!(error_of(|fake| fake.state().reset_does_nothing = true), Error::NotReset);
    assert_eq!(error_of(|fake| fake.state().never_interrupts = true), Error::NoProof);
    assert_eq!(error_of(|fake| fake.state().works_after_reset = Some(1)), Error::NotReset);
    let left_alone = |fake: &Fake| {
        fake.state().implemented = 0b11;
        fake.state().works_after_reset = Some(1);
    };
    // A port that nobody uses counts too.
    let bench = Bench::new(2, left_alone);
    let (dma, _domain) = FakeDma::new(64 << 20);
    let access =
        DeviceAccess { registers: bench.fake.clone(), dma, interrupt: MessageInterrupt { messages: 1 } };
    let mut hba = Hba::new(access, Sizes { ports: 1, ..SIZES }).unwrap();
    hba.reset(SECOND);
    assert_eq!(hba.failure(), Some(Error::NotReset));
}

#[test]
fn what_a_port_takes_is_what_it_says() {
    let made = |sizes: Sizes, bytes| {
        let bench = Bench::new(2, |_| {});
        let (dma, _domain) = FakeDma::new(bytes);
        let interrupt = MessageInterrupt { messages: 1 };
        Hba::new(DeviceAccess { registers: bench.fake, dma, interrupt }, sizes).err()
    };
    for sizes in [SIZES, Sizes { requests: 1, request_bytes: 4096, ..SIZES }] {
        assert_eq!(made(sizes, 2 * sizes.port_bytes()), None);
        // Less than a page of each is between its buffers.
        assert_eq!(made(sizes, 2 * (sizes.port_bytes() - 4096)), Some(Error::NoMemory));
    }
}

#[test]
fn an_hba_that_lost_a_port_in_its_reset_is_refused() {
    let mut bench = Bench::new(2, |_| {});
    bench.fake.state().implemented = 1;
    bench.hba.start(bench.now);
    assert_eq!(bench.error(), Error::HbaChanged);
}

#[test]
fn one_that_was_pulled_before_it_is_started_is_found() {
    let mut bench = Bench::new(2, |_| {});
    bench.fake.state().is_gone = true;
    bench.hba.start(bench.now);
    assert_eq!(bench.error(), Error::Removed);
    assert_eq!(bench.hba.deadline(), None);
}

#[test]
fn a_port_in_use_is_stopped_first() {
    let mut bench = Bench::ready();
    bench.fake.port().holds = true;
    bench.submit_read(0, 8);
    // The fake insists on an order: no reset of the link, and no new list, while it works.
    let now = bench.now;
    bench.drive().start(now);
    assert!(bench.done().outcome.is_err());
    bench.fake.port().holds = false;
    bench.run();
    assert_eq!(bench.read(8, 8), bench.medium(4096..8192));
}

#[test]
fn a_port_that_does_not_stop_is_given_up_until_the_hba_is_reset() {
    let mut bench = Bench::ready();
    bench.fake.port().is_stuck = true;
    let now = bench.now;
    bench.drive().start(now);
    bench.pass(SECOND);
    assert_eq!(bench.now - now, 500 * MILLISECOND);
    assert_eq!(bench.error(), Error::Stuck);
    bench.fake.port().is_stuck = false;
    bench.hba.start(bench.now);
    bench.run();
    assert_eq!(bench.read(0, 1), bench.medium(0..512));
}

#[test]
fn a_drive_that_takes_its_time_gets_it() {
    let mut bench = Bench::started(|fake| fake.port().spin_looks = 2400);
    bench.geometry();
    assert!(bench.now - SECOND > 11 * SECOND, "{}", bench.now);
}

#[test]
fn a_drive_that_never_spins_up_is_given_up() {
    let mut bench = Bench::started(|fake| fake.port().spin_looks = u32::MAX);
    assert_eq!(bench.error(), Error::Busy(0x80));
    assert_eq!(bench.error().to_string(), "it did not become ready within 30 s (status 0x80)");
    assert!(bench.now - SECOND < 31 * SECOND);
}

#[test]
fn what_is_at_a_port_is_told() {
    for (signature, bad_link, error, within) in [
        (None, None, Error::Empty, 250),
        (Some(port::signature::ATA), Some(1), Error::NoLink(1), 2100),
        (Some(port::signature::ATA), Some(4), Error::NoLink(4), 2100),
        (Some(port::signature::ATAPI), None, Error::Packets, 50),
        (Some(port::signature::PORT_MULTIPLIER), None, Error::Multiplier, 50),
        (Some(0xc33c_0101), None, Error::Signature(0xc33c_0101), 50),
    ] {
        let mut bench = Bench::started(|fake| {
            (fake.port().signature, fake.port().bad_link) = (signature, bad_link);
        });
        assert_eq!(bench.error(), error);
        assert!(bench.now - SECOND <= within * MILLISECOND, "{error}: {}", bench.now);
        assert_eq!(bench.codes(), [], "it is left alone");
        let command = *bench.fake.port().register(port::COMMAND);
        assert_eq!(command & cmd::START, 0);
        // A disk that comes there later can be started.
        (bench.fake.port().signature, bench.fake.port().bad_link) = (Some(port::signature::ATA), None);
        let now = bench.now;
        bench.drive().start(now);
        bench.run();
        bench.geometry();
    }
}

#[test]
fn drives_are_spun_up_in_turn_where_the_hba_asks_for_it() {
    for in_turn in [false, true] {
        let mut bench = Bench::new(3, |fake| {
            if in_turn {
                fake.state().capabilities |= cap::STAGGERED_SPIN_UP;
            }
            fake.port_at(1).signature = None;
            for number in 0..3 {
                fake.port_at(number).spin_looks = 100;
            }
        });
        bench.hba.start(bench.now);
        let mut most = 0;
        for _ in 0..1000 {
            let spinning = (0..3)
                .filter(|number| {
                    let command = *bench.fake.port_at(*number).register(port::COMMAND);
                    let state = bench.hba.drive(*number).unwrap().status().state;
                    command & cmd::SPIN_UP != 0 && state == State::Starting
                })
                .count();
            most = most.max(spinning);
            bench.now = bench.hba.deadline().unwrap_or(bench.now);
            bench.hba.poll(bench.now);
            bench.deliver();
        }
        assert_eq!(most, if in_turn { 1 } else { 3 });
        let states = [0, 1, 2].map(|index| bench.hba.drive(index).unwrap().failure());
        assert_eq!(states, [None, Some(Error::Empty), None]);
    }
}

#[test]
fn buffers_that_it_does_not_reach_are_told() {
    let mut bench = Bench::started(|fake| fake.state().capabilities &= !cap::ADDRESSES_64);
    assert_eq!(bench.error().to_string(), "it reaches 4 GiB only, and its buffers are above");
}

#[test]
fn what_a_drive_says_of_itself_has_to_make_sense() {
    type Bend = fn(&mut FakePort);
    let refused: [(Bend, &str); 14] = [
        (|port| port.identify.fill(0), "it has no DMA with 48-bit addresses"),
        (|port| port.set_word(identify::GENERAL, 0x8000), "it says that it is no ATA device"),
        (|port| port.set_word(identify::GENERAL, 4), "it is in standby until it is told to spin up"),
        (|port| port.set_word(identify::SECURITY, 4), "it is locked by a password"),
        (|port| port.set_word(identify::CAPABILITIES, 0x100), "it has no DMA with 48-bit addresses"),
        (|port| port.set_word(identify::COMMAND_SETS, 0x4000), "it has no DMA with 48-bit addresses"),
        (|port| port.set_word(identify::COMMAND_SETS, 0xffff), "it has no DMA with 48-bit addresses"),
        (
            |port| port.set_word(identify::COMMAND_SETS, identify::VALID | identify::LBA48),
            "it has a write cache, and no command that flushes it",
        ),
        (|port| port.set_blocks(0), "it says to have no blocks, or more than 2^48"),
        (|port| port.set_blocks((1 << 48) + 1), "it says to have no blocks, or more than 2^48"),
        (|port| port.set_block_bytes(520), "its blocks have no power of two of bytes, 512 to 65536"),
        (|port| port.set_block_bytes(256), "its blocks have no power of two of bytes, 512 to 65536"),
        (|port| port.set_block_bytes(1 << 17), "its blocks have no power of two of bytes, 512 to 65536"),
        (
            |port| {
                port.set_block_bytes(1 << 16);
                port.set_blocks(1 << 48);
            },
            "it says to have 2^64 bytes or more",
        ),
    ];
    for (bend, words) in refused {
        let mut bench = Bench::started(|fake| bend(&mut fake.port()));
        assert_eq!(bench.error().to_string(), words);
    }
}

#[test]
fn the_checksum_of_identify_data_counts_where_there_is_one() {
    let with_sum = |wrong: u8| {
        Bench::started(|fake| {
            let mut port = fake.port();
            port.identify[510] = identify::CHECKED;
            let sum = port.identify.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            port.identify[511] = sum.wrapping_neg().wrapping_add(wrong);
        })
    };
    with_sum(0).geometry();
    assert_eq!(with_sum(1).error().to_string(), "what it says of itself has a wrong checksum");
}

#[test]
fn an_answer_that_was_not_written_is_not_the_last_one() {
    let mut bench = Bench::ready();
    // The next life's drive says that it is done and writes nothing.
    bench.fake.port().holds = true;
    let now = bench.now;
    bench.drive().start(now);
    while bench.fake.port().pending.is_empty() {
        bench.now = bench.hba.deadline().unwrap();
        bench.hba.poll(bench.now);
    }
    *bench.fake.port().register(port::ISSUE) = 0;
    *bench.fake.port().register(port::INTERRUPT_STATUS) |= 1;
    let now = bench.now;
    bench.drive().interrupt(0, now);
    assert!(matches!(bench.error(), Error::Identify(_)));
}

#[test]
fn a_drive_that_does_not_say_who_it_is_is_given_up() {
    let mut bench = Bench::started(|fake| fake.port().judge = Some(Box::new(|_| Some(0x0441))));
    assert_eq!(bench.error().to_string(), "it did not say who it is: aborted (status 0x441)");
    let mut bench = Bench::started(|fake| fake.port().holds = true);
    assert_eq!(bench.error(), Error::Late(command::IDENTIFY_DEVICE));
    assert_eq!(bench.drive().reserve(), Err(Refused::NotReady));
}

#[test]
fn being_called_late_is_not_held_against_it() {
    let mut bench = Bench::new(1, |fake| fake.port().spin_looks = 1);
    bench.hba.start(bench.now);
    while bench.drive().status().state == State::Starting {
        bench.now = bench.hba.deadline().map_or(bench.now, |deadline| deadline + 100 * SECOND);
        bench.deliver();
        bench.hba.poll(bench.now);
    }
    bench.geometry();
}
