//! The end of the medium, large blocks, and large drives.

use crate::bench::*;
use block::Refused;
use spec::ata::{command, identify};

#[test]
fn the_last_block_is_reached_and_the_next_is_not() {
    // Of 2 TiB, 2^32 blocks of 512 bytes, and of 2^48.
    for blocks in [1, 2, BLOCKS, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, 0x1_8000_0001, 1 << 48] {
        for is_simple in [false, true] {
            let mut bench = Bench::bent(|port| {
                port.set_blocks(blocks);
                if is_simple {
                    port.set_simple();
                }
            });
            assert_eq!(bench.geometry().blocks, blocks);
            bench.codes();
            bench.fake.port().holds = true;
            let now = bench.now;
            let drive = bench.drive();
            assert_eq!(drive.read(blocks, 1, now), Err(Refused::BeyondEnd));
            assert_eq!(drive.read(blocks - 1, 2, now), Err(Refused::BeyondEnd));
            assert_eq!(drive.write(blocks - 1, &[0; 1024], now), Err(Refused::BeyondEnd));
            assert_eq!(drive.read(u64::MAX, 1, now), Err(Refused::BeyondEnd));
            assert_eq!(drive.read(0, u64::MAX, now).unwrap_err(), Refused::BeyondEnd);
            bench.submit_write(blocks - 1, &[7; 512]);
            let issued = bench.fake.port().pending[0];
            assert_eq!((issued.registers.lba, issued.blocks()), (blocks - 1, 1));
        }
    }
}

#[test]
fn a_drive_of_4096_byte_blocks_is_addressed_in_them() {
    for shift in [9, 10, 12, 13, 16] {
        let bytes = 1_usize << shift;
        let blocks = (BLOCKS * 512) >> shift;
        let mut bench = Bench::bent(|port| {
            port.set_block_bytes(bytes as u32);
            port.set_blocks(blocks);
        });
        assert_eq!(bench.geometry().block_bytes as usize, bytes);
        let data: Vec<u8> = (0..3 * bytes).map(|byte| (byte % 241) as u8).collect();
        bench.submit_write(2, &data);
        bench.deliver();
        assert_eq!(bench.done().outcome, Ok(()));
        assert_eq!(bench.medium(2 * bytes..5 * bytes), data);
        assert_eq!(
            bench.read(blocks - 1, 1),
            bench.medium(BLOCKS as usize * 512 - bytes..BLOCKS as usize * 512)
        );
        let now = bench.now;
        assert_eq!(bench.drive().read(blocks - 1, 2, now), Err(Refused::BeyondEnd));
    }
}

#[test]
fn a_drive_of_512_byte_blocks_on_larger_sectors_is_addressed_in_blocks() {
    let mut bench = Bench::bent(|port| {
        // 2^3 logical blocks a physical sector, and a word of sizes that says nothing of logical ones.
        port.set_word(identify::BLOCK_SIZES, identify::VALID | 1 << 13 | 3);
        port.identify[2 * identify::BLOCK_WORDS..][..4].fill(0xff);
    });
    assert_eq!(bench.geometry().block_bytes, 512);
    bench.fake.port().set_word(identify::BLOCK_SIZES, 0);
    assert_eq!(bench.read(BLOCKS - 1, 1), bench.medium(BLOCKS as usize * 512 - 512..BLOCKS as usize * 512));
}

#[test]
fn the_whole_of_a_drive_is_read_and_nothing_beside_it() {
    let mut bench = Bench::ready();
    let mut whole = Vec::new();
    for first in (0..BLOCKS).step_by(512) {
        whole.extend(bench.read(first, 512));
    }
    assert_eq!(whole, bench.medium(0..BLOCKS as usize * 512));
    assert_eq!(
        bench.codes(),
        [command::IDENTIFY_DEVICE, command::READ_FPDMA_QUEUED, command::READ_FPDMA_QUEUED]
    );
}
