use super::*;
use proptest::prelude::*;

fn bucket(bytes_per_second: u64, burst_bytes: u32) -> Bucket {
    Bucket::new(RateLimit {
        bytes_per_second: bytes_per_second.try_into().unwrap(),
        burst_bytes: burst_bytes.try_into().unwrap(),
    })
}

#[test]
fn a_frame_larger_than_the_burst_passes_and_is_paid_for() {
    let mut bucket = bucket(1000, 100);
    assert!(bucket.take(1100, 0));
    assert!(!bucket.take(1, 0));
    // A debt of 1000 bytes is paid after a second.
    assert_eq!(bucket.ready_ns(), NS_PER_SECOND + 1);
    assert!(!bucket.take(1, NS_PER_SECOND));
    assert!(bucket.take(1, NS_PER_SECOND + 1));
}

#[test]
fn a_clock_that_stands_or_goes_back_gives_nothing() {
    let mut bucket = bucket(1_000_000, 10);
    assert!(bucket.take(10, 5_000_000_000));
    for now_ns in [5_000_000_000, 0, 4_999_999_999] {
        assert!(!bucket.take(1, now_ns));
    }
    assert!(bucket.take(1, u64::MAX));
}

proptest! {
    #[test]
    fn no_more_passes_than_the_limit_and_no_less(
        rate in 1..20_000_000_000_u64, burst in 1..200_000_u32,
        frames in prop::collection::vec((1..65_536_usize, 0..1_000_000_u64), 1..200)
    ) {
        let mut bucket = bucket(rate, burst);
        let (mut now_ns, mut passed, mut largest) = (0, 0_u128, 0_u128);
        for (bytes, pause_ns) in frames {
            now_ns += pause_ns;
            let has_room = bucket.ready_ns() <= now_ns;
            let passes = bucket.take(bytes, now_ns);
            prop_assert_eq!(passes, has_room);
            if passes {
                passed += bytes as u128;
                largest = largest.max(bytes as u128);
            }
            let earned = u128::from(rate) * u128::from(now_ns) / u128::from(NS_PER_SECOND);
            prop_assert!(passed <= earned + u128::from(burst) + largest);
        }
    }
}
