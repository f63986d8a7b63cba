//! Memory that guests share.

use super::tests::{plan, q35};
use crate::text::parse;
use crate::{Base, PeerPlan, SharedMemoryPlan};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Guests of which each has one function with these keys.
fn text(tables: &str, functions: &[&str]) -> String {
    let mut text = tables.to_string();
    for (index, keys) in functions.iter().enumerate() {
        let name = char::from(b'a' + index as u8);
        text += &format!(
            "[guest.{name}]\ncpus = [{}]\nmemory = \"64 MiB\"\nkernel = \"k\"\n[[guest.{name}.pci]]\n\
             slot = \"01.0\"\n{keys}\n",
            index + 1
        );
    }
    text
}

fn problems(text: &str) -> Vec<String> {
    let (config, _) = parse(text).unwrap_or_else(|errors| panic!("{text}\n{errors:?}"));
    plan(&config, &q35()).all_problems().map(ToString::to_string).collect()
}

const BOARD: &str = "[shared_memory.board]\nsize = \"2 MiB\"\n";
const PEER: &str = "emulate = \"ivshmem\"\nshared_memory = \"board\"";

#[test]
fn each_peer_knows_who_it_is() {
    let text = text(BOARD, &[PEER, PEER]);
    let (config, _) = parse(&text).unwrap();
    let plan = plan(&config, &q35());
    assert_eq!(plan.all_problems().count(), 0);
    let board = SharedMemoryPlan { name: "board".into(), bytes: 2 << 20, peers: 2 };
    assert_eq!(plan.shared_memory, [board]);
    for (position, guest) in (0..).zip(&plan.guests) {
        let peer = PeerPlan { memory: "board".into(), position };
        assert_eq!(guest.emulated[0].base, Base::SharedMemory(peer));
    }
}

#[test]
fn what_is_missing_or_too_much_is_said() {
    assert_eq!(
        problems(&text(BOARD, &["emulate = \"ivshmem\""])),
        [
            "guest.a.pci[0].emulate: nothing says which memory is shared; add shared_memory = \"...\", and a table \
             [shared_memory.NAME] with its size"
        ]
    );
    assert_eq!(
        problems(&text("", &[PEER])),
        [
            "guest.a.pci[0].shared_memory: there is no shared memory `board`; add a table [shared_memory.board] with \
          its size"
        ]
    );
    assert_eq!(
        problems(&text(BOARD, &["emulate = \"virtio-rng\"\nshared_memory = \"board\""])),
        ["guest.a.pci[0].shared_memory: the function shares no memory; remove the key"]
    );
    for (size, right) in [("3 MiB", "4 MiB"), ("1 MiB", "2 MiB")] {
        let text = text(&BOARD.replace("2 MiB", size), &[PEER]);
        assert_eq!(
            problems(&text),
            [
                format!("shared_memory.board.size: {size} is no power of two from 2 MiB on; use \"{right}\""),
                "guest.a.pci[0].shared_memory: shared memory `board` cannot be used; see what is said about it".into()
            ]
        );
        // What the hypervisor takes memory for is what was found right.
        let (config, _) = parse(&text).unwrap();
        assert_eq!(plan(&config, &q35()).shared_memory, []);
    }
}

#[test]
fn what_is_shared_is_memory_of_the_machine_once_and_has_a_place_in_each_guest() {
    let large = BOARD.replace("2 MiB", "1 GiB");
    assert_eq!(problems(&text(&large, &[PEER, PEER])), [""; 0]);
    let larger = BOARD.replace("2 MiB", "2 GiB");
    assert_eq!(
        problems(&text(&larger, &[PEER])),
        [
            "guest.a.memory: 64 MiB do not fit: of the machine's 2044 MiB there are 0 bytes left for it; give less to \
             the guests before it"
        ]
    );
    let huge = BOARD.replace("2 MiB", "1024 GiB");
    assert!(problems(&text(&huge, &[PEER])).iter().any(|problem| problem.contains("pci[0].shared_memory")));
}
