use super::*;
use crate::testing::Space;
use spec::virtio::pci::{capability, notify_capability};

const BAR_BYTES: u64 = 0x4000;

fn right() -> [Vec<u8>; 3] {
    [
        capability(structure::COMMON, 4, 0, 0x1000).to_vec(),
        notify_capability(4, 0x3000, 0x1000, 4).to_vec(),
        capability(structure::DEVICE, 4, 0x2000, 0x1000).to_vec(),
    ]
}

fn find(capabilities: &[Vec<u8>]) -> Result<Layout, Error> {
    let capabilities: Vec<&[u8]> = capabilities.iter().map(Vec::as_slice).collect();
    Space::new(&capabilities).layout(BAR_BYTES)
}

use std::vec::Vec;

#[test]
fn registers_are_where_capabilities_say() {
    let layout = find(&right()).unwrap();
    assert_eq!((layout.bar, layout.common, layout.notify, layout.device), (4, 0, 0x3000, 0x2000));
    assert_eq!((layout.notify_bytes, layout.notify_multiplier, layout.device_bytes), (0x1000, 4, 0x1000));
}

#[test]
fn the_first_that_can_be_used_counts() {
    let [common, notify, device] = right();
    let reserved = capability(structure::COMMON, 6, 0, 0x1000).to_vec();
    let beyond = capability(structure::COMMON, 4, 0x3ffc, 0x1000).to_vec();
    let crooked = capability(structure::COMMON, 4, 2, 0x1000).to_vec();
    let short = capability(structure::COMMON, 4, 0, 0x30).to_vec();
    let cut = common[..8].to_vec();
    let other = capability(structure::COMMON, 4, 0x1000, 0x1000).to_vec();
    for wrong in [reserved, beyond, crooked, short, cut] {
        let layout = find(&[wrong, common.clone(), other.clone(), notify.clone(), device.clone()]).unwrap();
        assert_eq!((layout.bar, layout.common), (4, 0));
    }
    // Of two places to notify at, the one beside the rest.
    let elsewhere = notify_capability(2, 0, 0x1000, 4).to_vec();
    assert_eq!(find(&[common, elsewhere, notify, device]).unwrap().notify, 0x3000);
}

#[test]
fn what_is_not_all_behind_one_bar_is_refused() {
    let [common, notify, device] = right();
    let none = Error::Layout("no capability says where its virtio registers are");
    assert_eq!(find(&[]), Err(none));
    assert_eq!(find(&[notify.clone(), device.clone()]), Err(none));
    let apart = Error::Layout("not all of its virtio registers are behind one BAR");
    assert_eq!(find(&[common.clone(), notify.clone()]), Err(apart));
    let elsewhere = capability(structure::DEVICE, 2, 0x2000, 0x1000).to_vec();
    assert_eq!(find(&[common.clone(), notify, elsewhere]), Err(apart));
    let beyond = notify_capability(4, 0xffff_f000, 0x1000, 4).to_vec();
    assert_eq!(find(&[common, beyond, device]), Err(apart));
}

#[test]
fn whatever_configuration_space_holds_the_walk_ends() {
    let mut space = Space::new(&[&capability(structure::COMMON, 4, 0, 0x1000)]);
    for next in 0..=255 {
        space.0[0x41] = next;
        assert!(space.layout(BAR_BYTES).is_err());
    }
    // One that begins at the end of the space.
    space.0[0x34] = 0xfc;
    space.0[0xfc..].copy_from_slice(&[VENDOR_SPECIFIC, 0, 16, structure::COMMON]);
    assert!(space.layout(BAR_BYTES).is_err());
}
