//! Committed states that no controller has said.

use super::*;
use crate::Device;
use crate::snapshot::RestoreFault;
use crate::testing::state_of;
use proptest::prelude::*;

/// A controller with commands of two queues at the medium, one with a flush to follow.
fn working() -> Guest {
    let mut guest = Guest::with_queues(config());
    guest.bench.hold = true;
    guest.send(1, transfer(nvm::READ, 3, 1, [DATA, 0]));
    let mut forced = transfer(nvm::WRITE, 5, 1, [DATA, 0]);
    forced.dwords[2] |= 1 << 30;
    guest.send(2, forced);
    assert_eq!(guest.bench.waiting.len(), 2);
    guest
}

fn restored(words: &[u64]) -> Result<Nvme, RestoreFault> {
    let mut device = Nvme::new(config());
    device.restore_words(words).map(|()| device)
}

/// How far the five pairs of queues are is in words 1 to 10, the registers are in 11 to 14, doorbells in 15 and 16,
/// features in 17 to 19, where the queues are in 20 to 39, and a command in 40 to 43 and so on.
#[test]
fn what_no_controller_has_said_is_refused() {
    type Forge = fn(&mut [u64]);
    let forgeries: [(Forge, &str); 21] = [
        (|words| words[0] |= 1 << 12, "bits that mean nothing"),
        (|words| words[0] |= 4, "CSTS is set"),
        (|words| words[0] = 0, "CC.EN"),
        (|words| words[0] |= 6 << 16, "the turn"),
        (|words| words[0] |= 5 << 24, "requests for events"),
        (|words| words[0] |= 1 << 37, "a message"),
        (|words| words[3] |= 64, "a submission queue"),
        (|words| words[3] |= 64 << 16, "a submission queue"),
        (|words| words[3] &= !(1 << 32), "not taken"),
        (|words| words[4] ^= 3 << 32, "no room"),
        (|words| words[4] |= 63 << 16, "no room"),
        (|words| words[11] |= 1 << 31, "CC is set"),
        (|words| words[12] |= 8, "ASQ"),
        (|words| words[14] |= 1 << 32, "bits that mean nothing"),
        (|words| words[15] |= 1, "doorbells"),
        (|words| words[20] = 0, "CSTS.RDY"),
        (|words| words[24] |= 0x10, "a submission queue"),
        (|words| words[26] = 0, "a submission queue"),
        (|words| words[40] ^= 1, "the tag of another"),
        (|words| words[41] |= 5, "a queue that is not there"),
        (|words| words[41] |= 3 << 32, "what there is not"),
    ];
    let words = state_of(&mut working().bench.device);
    for (place, (forge, said)) in forgeries.into_iter().enumerate() {
        let mut forged = words.clone();
        forge(&mut forged);
        match restored(&forged) {
            Err(RestoreFault::Impossible(what)) => assert!(what.contains(said), "{place}: {what}"),
            other => panic!("{place}: {:?}", other.err()),
        }
    }
    // The last slot is free, so nothing is looked at behind its first word.
    for count in 0..words.len() - 3 {
        assert_eq!(restored(&words[..count]).err(), Some(RestoreFault::Malformed), "{count}");
    }
    assert_eq!(state_of(&mut restored(&words).unwrap()), words);
}

proptest! {
    /// No words are more than a state that can be used, or an error.
    #[test]
    fn no_words_do_harm(
        changes in prop::collection::vec((0_usize..48, 0_u32..64, any::<u16>()), 1..4),
        tag in any::<u32>(),
    ) {
        let mut guest = working();
        let mut words = state_of(&mut guest.bench.device);
        for (at, shift, bits) in changes {
            words[at] ^= u64::from(bits) << shift;
        }
        if let Ok(device) = restored(&words) {
            guest.bench.line = device.line();
            guest.bench.device = device;
            for tag in (0..4).chain([tag]) {
                guest.bench.complete(Completion { tag, outcome: Ok(()) });
            }
            guest.bench.poll();
            for queue in 0..QUEUES as u16 {
                guest.ring(queue);
            }
            guest.bench.reset();
            prop_assert_eq!(guest.read(at::STATUS), 0);
        }
    }
}
