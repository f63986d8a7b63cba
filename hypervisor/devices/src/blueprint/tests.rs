use super::*;
use crate::nvme::BlockSize;
use crate::testing::{RandomWords, random_words};
use proptest::prelude::*;

fn source() -> Option<Box<dyn Source>> {
    Some(Box::new(RandomWords::new(random_words()).0))
}

prop_compose! {
    fn disk()(start in any::<u64>(), sectors in any::<u64>(), serial in any::<[u8; 20]>()) -> ide::Disk {
        ide::Disk { start, sectors, serial }
    }
}

prop_compose! {
    fn nvme_config()(
        blocks in any::<u64>(), large in any::<bool>(), flags in any::<[bool; 2]>(), messages in any::<u16>(),
        serial in any::<[u8; 20]>(), uuid in any::<[u8; 16]>(), vendors in any::<[u16; 2]>(),
    ) -> nvme::Config {
        nvme::Config {
            blocks,
            block: if large { BlockSize::Bytes4096 } else { BlockSize::Bytes512 },
            writable: flags[0],
            is_polled: flags[1],
            messages,
            serial,
            uuid,
            vendor: vendors[0],
            subsystem_vendor: vendors[1],
        }
    }
}

prop_compose! {
    fn block_config()(
        sectors in any::<u64>(), shift in 9_u32..17, segment_bytes in 1_u32..(128 << 10), flags in any::<[bool; 3]>(),
        most_discarded in any::<u32>(), queues in any::<u16>(), name in any::<[u8; 20]>(),
    ) -> block::Config {
        let [writable, can_discard, can_write_zeroes] = flags;
        let block_bytes = 1 << shift;
        block::Config {
            sectors, block_bytes, segment_bytes, writable, can_discard, can_write_zeroes, most_discarded, queues, name,
        }
    }
}

fn mac() -> impl Strategy<Value = MacAddress> {
    any::<[u8; 6]>().prop_map(MacAddress)
}

fn virtio_device() -> impl Strategy<Value = VirtioDevice> {
    let net = (mac(), 68_u16.., any::<bool>(), any::<u16>()).prop_map(|(mac, mtu, any_source, pairs)| {
        VirtioDevice::Net { config: net::Config { mac, mtu, any_source }, pairs }
    });
    prop_oneof![
        block_config().prop_map(VirtioDevice::Block),
        net,
        Just(VirtioDevice::Console),
        Just(VirtioDevice::Entropy),
    ]
}

fn blueprint() -> impl Strategy<Value = Blueprint> {
    let disks = prop::array::uniform2(prop::array::uniform2(prop::option::of(disk())));
    let virtio = (virtio_device(), any::<u16>(), any::<bool>(), any::<bool>()).prop_map(
        |(device, messages, is_polled, offers_packed)| Blueprint::Virtio {
            device,
            messages,
            is_polled,
            offers_packed,
        },
    );
    let screen = prop::option::of((any::<u16>(), any::<u16>()).prop_map(|(x, y)| (x.into(), y.into())));
    prop_oneof![
        Just(Blueprint::Serial),
        mac().prop_map(Blueprint::Ne2000),
        disks.prop_map(Blueprint::Ide),
        nvme_config().prop_map(Blueprint::Nvme),
        virtio,
        (any::<u16>(), 0_u16..64).prop_map(|(position, peers)| Blueprint::Ivshmem { position, peers }),
        (22_u32..29, screen)
            .prop_map(|(shift, screen)| Blueprint::Display { memory_bytes: 1 << shift, screen }),
    ]
}

#[test]
fn a_device_without_random_numbers_is_not_built() {
    let device = VirtioDevice::Entropy;
    let entropy = Blueprint::Virtio { device, messages: 2, is_polled: false, offers_packed: true };
    assert_eq!(entropy.build(None).err(), Some(Unbuilt::NoSource));
    let broken: Box<dyn Source> = Box::new(RandomWords::new(std::iter::repeat(7)).0);
    assert_eq!(entropy.build(Some(broken)).err(), Some(Unbuilt::Source(Fault::Repetition)));
    assert!(entropy.build(source()).is_ok());
}

proptest! {
    /// What is written is what is read; and of nothing shorter or longer.
    #[test]
    fn comes_back_from_its_bytes(blueprint in blueprint(), cut in any::<prop::sample::Index>()) {
        let bytes = postcard::to_allocvec(&blueprint).unwrap();
        prop_assert_eq!(postcard::from_bytes(&bytes), Ok(blueprint));
        let cut = cut.index(bytes.len());
        prop_assert!(postcard::from_bytes::<Blueprint>(&bytes[..cut]).is_err());
    }

    /// Any bytes are a blueprint or an error, and every blueprint can be built.
    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(blueprint) = postcard::from_bytes::<Blueprint>(&bytes) {
            prop_assert!(blueprint.build(source()).is_ok());
        }
    }

    /// The room that is made beforehand is what the device says it needs.
    #[test]
    fn needs_what_the_device_says(blueprint in blueprint()) {
        let needs = blueprint.needs();
        let mut device = blueprint.build(source()).unwrap();
        prop_assert_eq!(needs.effects, device.most_effects());
        prop_assert_eq!(needs.requests, device.most_requests());
        prop_assert_eq!(needs.buffer_bytes, device.buffer().len());
        prop_assert_eq!(needs.state_words, device.state_words());
    }

    /// The PCI function is given messages by the number of queues.
    #[test]
    fn knows_its_queues(device in virtio_device()) {
        let queues = match device {
            VirtioDevice::Block(config) => Block::new(config).queues(),
            VirtioDevice::Net { config, pairs } => Net::with_pairs(config, pairs).queues(),
            VirtioDevice::Console => Console::new().queues(),
            VirtioDevice::Entropy => {
                let source = Tested::new(source().unwrap()).unwrap();
                Entropy::new(source).queues()
            }
        };
        prop_assert_eq!(device.queues(), queues.0);
    }
}
