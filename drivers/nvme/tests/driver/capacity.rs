//! The end of the medium, large blocks, and large drives.

use crate::fake::*;
use block::Refused;
use spec::nvme::command::nvm;

/// A drive that says to have so many blocks of 2^`shift` bytes, and carries nothing out.
fn drive_of(blocks: u64, shift: u8) -> Bench {
    let bench = Bench::started(|fake| {
        fake.set_format(shift, 0);
        fake.state().namespace[..8].copy_from_slice(&blocks.to_le_bytes());
        fake.state().namespace[8..16].copy_from_slice(&blocks.to_le_bytes());
    });
    assert_eq!((bench.namespace().blocks, bench.namespace().block_bytes), (blocks, 1 << shift));
    bench.fake.state().holds = true;
    bench.fake.state().writes.clear();
    bench
}

#[test]
fn the_last_block_is_reached_and_the_next_is_not() {
    // Of 2 TiB, 2^32 blocks of 512 bytes, and of just less than 2^64 bytes.
    for blocks in [1, 2, BLOCKS, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, 0x1_8000_0001, 1 << 47] {
        for shift in [9, 12] {
            let mut bench = drive_of(blocks, shift);
            let (now, bytes) = (bench.now, 1 << shift);
            let driver = &mut bench.driver;
            assert_eq!(driver.read(blocks, 1, now), Err(Refused::BeyondEnd));
            assert_eq!(driver.read(blocks - 1, 2, now), Err(Refused::BeyondEnd));
            assert_eq!(driver.write(blocks - 1, &vec![0; 2 * bytes], now), Err(Refused::BeyondEnd));
            assert_eq!(driver.read(u64::MAX, 1, now), Err(Refused::BeyondEnd));
            assert_eq!(driver.read(0, u64::MAX, now), Err(Refused::BeyondEnd));
            assert_eq!(bench.fake.state().writes, []);
            let tag = bench.driver.write(blocks - 1, &vec![7; bytes], now).unwrap();
            let command = bench.fake.next_command();
            assert_eq!(
                (command.opcode, command.first_block(), command.blocks()),
                (nvm::WRITE, blocks - 1, 1)
            );
            bench.driver.start(now);
            assert_eq!(bench.done().tag, tag);
        }
    }
}

#[test]
fn a_drive_that_says_to_have_more_than_can_be_counted_is_refused() {
    for (blocks, shift) in [(1_u64 << 55, 9), (1 << 52, 12), (u64::MAX, 9)] {
        let bench = Bench::started(|fake| {
            fake.set_format(shift, 0);
            fake.state().namespace[..8].copy_from_slice(&blocks.to_le_bytes());
            fake.state().namespace[8..16].copy_from_slice(&blocks.to_le_bytes());
        });
        assert_eq!(bench.error().to_string(), "namespace 1 says to have 2^64 bytes or more");
    }
}

#[test]
fn the_whole_of_a_drive_is_read_and_nothing_beside_it() {
    for shift in [9, 12] {
        let blocks = (BLOCKS * 512) >> shift;
        let mut bench = drive_of(blocks, shift);
        bench.fake.state().holds = false;
        let half = blocks / 2;
        let whole = [bench.read(0, half), bench.read(half, half)].concat();
        assert!(whole == bench.fake.state().medium);
        let last = bench.read(blocks - 1, 1);
        assert_eq!(last, bench.fake.state().medium[(blocks as usize - 1) << shift..]);
    }
}
