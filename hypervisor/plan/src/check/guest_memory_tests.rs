//! Guest memory beside what bridges claim.

use super::tests::{config, everyday, plan, problems};
use crate::config::Config;
use platform::pci::Window;
use platform::{MemoryKind, MemoryRegion, Platform};
use spec::Hpa;

const GIB: u64 = 1 << 30;

/// The everyday machine with 200 GiB, and these windows of the root port above the e1000e.
fn board(windows: &[(u64, u64)]) -> Platform {
    let mut board = everyday();
    board.memory.push(MemoryRegion { start: Hpa(4 * GIB), bytes: 196 * GIB, kind: MemoryKind::Usable });
    let port = board.functions.iter_mut().find(|function| function.bridge.is_some()).unwrap();
    let window = |start: u64, end: u64| Window { start: Hpa(start), bytes: end - start, prefetchable: false };
    port.windows = windows.iter().map(|&(start, end)| window(start, end)).collect();
    if !windows.is_empty() {
        // Where the function's BARs are, which is above all memory below 4 GiB.
        port.windows.push(window(0xfe60_0000, 0xfe80_0000));
    }
    board
}

fn guest(memory: &str) -> Config {
    config(&[("a", &alloc::format!("cpus = [1]\nmemory = \"{memory}\""), &[("00:02.0/00.0", "8086:10d3")])])
}

fn low_end(memory: &str, board: &Platform) -> u64 {
    let plan = plan(&guest(memory), board);
    assert_eq!(plan.all_problems().count(), 0, "{plan:?}");
    plan.guests[0].low_memory_end
}

#[test]
fn memory_below_4_gib_ends_where_a_bridge_claims_addresses() {
    let windows = board(&[(0x8010_0000, 0x8030_0000), (0xfe00_0000, 0xfe20_0000)]);
    assert_eq!(low_end("3 GiB", &windows), 0x8000_0000, "in whole pages of 2 MiB");
    assert_eq!(low_end("2 GiB", &windows), 0xc000_0000, "nothing is in the way");
    assert_eq!(low_end("3 GiB", &board(&[(0xfe00_0000, 0xfe20_0000)])), 0xc000_0000);
    // Of a board file without windows at least the BARs are known.
    let mut bars = board(&[]);
    let e1000e = bars.functions.iter_mut().find(|function| function.parent.is_some()).unwrap();
    e1000e.bars[0].address = Hpa(0x9000_0000);
    assert_eq!(low_end("3 GiB", &bars), 0x9000_0000);
    // A guest without the function has nothing to do with it.
    let other = config(&[("a", "cpus = [1]\nmemory = \"3 GiB\"", &[("00:03.0", "1b36:0010")])]);
    assert_eq!(plan(&other, &windows).guests[0].low_memory_end, 0xc000_0000);
}

#[test]
fn memory_above_4_gib_does_not_reach_what_a_bridge_claims() {
    let windows = board(&[(8 * GIB, 9 * GIB)]);
    assert_eq!(low_end("7 GiB", &windows), 0xc000_0000);
    assert_eq!(
        problems(&guest("8 GiB"), &windows),
        [
            "guest.a.memory: the bridge 00:02.0 above 00:02.0/00.0 claims the addresses 0x200000000 to 0x23fffffff, where \
             the guest's memory would be, so the device could not reach it; give the guest \"7 GiB\" or less"
        ]
    );
    // What is cut below 4 GiB is above.
    let both = board(&[(0x8000_0000, 0x9000_0000), (8 * GIB, 9 * GIB)]);
    assert_eq!(low_end("6 GiB", &both), 0x8000_0000);
    let told = problems(&guest("7 GiB"), &both);
    assert!(told[0].ends_with("give the guest \"6 GiB\" or less"), "{told:?}");
    // One window over both.
    let wide = board(&[(0xa000_0000, 5 * GIB)]);
    let told = problems(&guest("3 GiB"), &wide);
    assert!(told[0].ends_with("give the guest \"2560 MiB\" or less"), "{told:?}");
}

#[test]
fn memory_that_has_no_place_at_all() {
    let told = problems(&guest("64 MiB"), &board(&[(0x20_0000, 0x30_0000)]));
    assert!(
        told[0].starts_with("guest.a.memory: the bridge 00:02.0")
            && told[0].contains("pass through a device elsewhere"),
        "{told:?}"
    );
    // A window in the legacy area is in nobody's way.
    assert_eq!(low_end("3 GiB", &board(&[(0xa_0000, 0xc_0000)])), 0xc000_0000);
    let told = problems(&guest("127 GiB"), &board(&[(0x8000_0000, 0x9000_0000)]));
    assert_eq!(
        told,
        [
            "guest.a.memory: 127 GiB are more than has a place: below 4 GiB a bridge claims the addresses from \
             0x80000000; give the guest \"126 GiB\" or less"
        ]
    );
}
