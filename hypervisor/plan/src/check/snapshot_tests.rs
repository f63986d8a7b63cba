//! Guests that have room for a snapshot.

use super::tests::{config, problems, problems_of, q35};
use alloc::format;

#[test]
fn snapshots() {
    assert_eq!(
        problems_of(
            "emulate = \"nvme\"\nbacking = { image = \"root.img\" }\n[guest.b]\ncpus = [2]\nmemory = \"64 MiB\"\n\
                     kernel = \"k\"\nsnapshot = true\ninterrupts = \"direct\""
        ),
        ["guest.b.snapshot: a guest that takes its interrupts itself cannot be frozen; use interrupts = \
             \"virtual\", or remove the key"]
    );
    let (with_drive, _) = crate::text::parse(
        "[guest.a]\ncpus = [1]\nmemory = \"64 MiB\"\nkernel = \"k\"\nsnapshot = true\n[[guest.a.pci]]\n\
         slot = \"01.0\"\nemulate = \"nvme\"\nbacking = { image = \"root.img\" }",
    )
    .unwrap();
    assert_eq!(
        problems(&with_drive, &q35()),
        [
            "guest.a.snapshot: the state of a PCI function cannot be saved yet; remove the key, or the guest's functions"
        ]
    );
}

#[test]
fn room_for_a_snapshot_is_memory() {
    let [most, more] = ["1006 MiB", "1008 MiB"].map(|memory| {
        let keys = format!("cpus = [1]\nmemory = \"{memory}\"\nsnapshot = true");
        problems(&config(&[("a", &keys, &[])]), &q35())
    });
    assert_eq!(most, [""; 0]);
    assert_eq!(
        more,
        [
            "guest.a.memory: 1008 MiB do not fit: of the machine's 2044 MiB there are 1006 MiB left for it; give it \
             \"1006 MiB\" or less, or less to the guests before it"
        ]
    );
}
