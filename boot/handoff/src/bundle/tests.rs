use super::*;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use plan::{Config, GuestConfig, HypervisorConfig, Memory};
use proptest::prelude::*;

fn config() -> Config {
    let guest = GuestConfig {
        cpus: vec![1],
        memory: Memory::mib(64),
        kernel: "k".into(),
        initrd: None,
        modules: vec![],
        command_line: "console=ttyS0".into(),
        runs_in: Some(plan::RunsIn::Ring3),
        interrupts: plan::Interrupts::Direct,
        ready: Some("login:".into()),
        on_power_off: plan::EndPolicy::Off,
        on_reboot: plan::EndPolicy::Restart,
        on_crash: plan::EndPolicy::HaltAll,
        unmapped_access: plan::UnmappedAccess::Crash,
        max_restarts: Some(3),
        snapshot: true,
        expect: plan::Expect::PowerOff,
        pci: vec![],
    };
    let guests = BTreeMap::from([("net".into(), guest)]);
    Config {
        hypervisor: HypervisorConfig::default(),
        disk: BTreeMap::new(),
        network: BTreeMap::new(),
        shared_memory: BTreeMap::new(),
        guest: guests,
    }
}

fn sample() -> Vec<u8> {
    let mut builder = Builder::new(&config()).unwrap();
    builder.add(ItemKind::Kernel, "net", "vmlinuz", vec![0x5a; 5000]).unwrap();
    builder.add(ItemKind::Initrd, "net", "net.cpio", b"070701".to_vec()).unwrap();
    builder.add(ItemKind::Module, "net", "b", b"second".to_vec()).unwrap();
    builder.add(ItemKind::Module, "net", "a", b"first".to_vec()).unwrap();
    builder.add(ItemKind::Kernel, "disk", "vmlinuz", vec![0x5a; 5000]).unwrap();
    builder.add(ItemKind::Symbols, "", "symbols", vec![]).unwrap();
    builder.build().unwrap()
}

/// Why `bytes` are refused.
fn refused(bytes: &[u8]) -> String {
    Bundle::parse(bytes).expect_err("accepted").to_string()
}

/// Changes a bundle and makes its header's hash right again.
fn forge(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = sample();
    change(&mut bytes);
    let header_bytes = usize::try_from(u64::from_le_bytes(bytes[16..24].try_into().unwrap())).unwrap();
    if let Some(table) = bytes.get(HEADER_BYTES..header_bytes) {
        let digest = hash(&[&bytes[..HASH_OFFSET], &[0; HASH_BYTES], table]);
        bytes[HASH_OFFSET..HEADER_BYTES].copy_from_slice(&digest);
    }
    bytes
}

/// Offset of the entry `index` of the item table.
fn entry(bytes: &[u8], index: usize) -> usize {
    let mut at = HEADER_BYTES;
    for _ in 0..index {
        let names =
            |offset: usize| usize::from(u16::from_le_bytes([bytes[at + offset], bytes[at + offset + 1]]));
        at += (ENTRY_BYTES + names(4) + names(6)).next_multiple_of(ENTRY_ALIGNMENT);
    }
    at
}

#[test]
fn everything_comes_back() {
    let bytes = sample();
    let bundle = Bundle::parse(&bytes).unwrap();
    assert_eq!(*bundle.config(), config());
    assert_eq!(bundle.item(ItemKind::Kernel, "net"), Some(&[0x5a; 5000][..]));
    assert_eq!(bundle.item(ItemKind::Initrd, "net"), Some(&b"070701"[..]));
    assert_eq!(bundle.item(ItemKind::Initrd, "disk"), None);
    assert_eq!(bundle.item(ItemKind::Symbols, ""), Some(&[][..]));
    let files: Vec<_> = bundle.start_files("net").skip(2).map(|item| (item.name, item.contents)).collect();
    assert_eq!(files, [("b", &b"second"[..]), ("a", &b"first"[..])]);
    assert!(bundle.items().iter().all(|item| item.offset % ALIGNMENT == 0));
    assert_eq!(bundle.find(ItemKind::Kernel, "disk").unwrap().name, "vmlinuz");
}

#[test]
fn equal_contents_are_stored_once() {
    let bytes = sample();
    let bundle = Bundle::parse(&bytes).unwrap();
    let offset = |guest| bundle.find(ItemKind::Kernel, guest).unwrap().offset;
    assert_eq!(offset("net"), offset("disk"));
}

#[test]
fn what_a_loader_puts_after_it_is_not_its_business() {
    let mut bytes = sample();
    let length = bytes.len();
    bytes.extend([0xff; 700]);
    assert_eq!(Bundle::parse(&bytes).unwrap().bytes().len(), length);
}

#[test]
fn opening_leaves_the_items_to_their_users() {
    let mut bytes = sample();
    let offset = Bundle::parse(&bytes).unwrap().find(ItemKind::Initrd, "net").unwrap().offset;
    bytes[offset] ^= 1;
    let bundle = Bundle::open(&bytes).unwrap();
    assert!(bundle.find(ItemKind::Kernel, "net").unwrap().verify().is_ok());
    assert_eq!(
        bundle.find(ItemKind::Initrd, "net").unwrap().verify().unwrap_err().to_string(),
        "item 2 (initrd `net.cpio` of guest `net`) of the bundle is corrupt: its SHA-256 does not match"
    );
}

#[test]
fn what_is_no_bundle() {
    assert_eq!(refused(b""), "this is no bundle: the first bytes are not `BULKHEAD`");
    assert_eq!(refused(&[0x7f; 4096]), "this is no bundle: the first bytes are not `BULKHEAD`");
    let mut other = sample();
    other[8] = 99;
    let reads =
        alloc::format!("this hypervisor reads version {VERSION}; pack it again with the same release");
    assert_eq!(refused(&other), alloc::format!("the bundle's format is version 99, {reads}"));
}

#[test]
fn a_bundle_that_is_cut_short() {
    let bytes = sample();
    assert_eq!(refused(&bytes[..40]), "the bundle is cut short: 40 bytes of 64");
    let message = alloc::format!("the bundle is cut short: 4096 bytes of {}", bytes.len());
    assert_eq!(refused(&bytes[..4096]), message);
    for length in 0..bytes.len() {
        assert!(Bundle::parse(&bytes[..length]).is_err(), "{length} bytes were accepted");
    }
}

#[test]
fn headers_that_lie() {
    let header =
        |at: usize, value: u64| forge(|bytes| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes()));
    assert_eq!(refused(&header(16, 8)), "the bundle's header is corrupt: its own size makes no sense");
    assert_eq!(refused(&header(16, 1 << 40)), "the bundle's header is corrupt: its own size makes no sense");
    assert!(refused(&header(24, u64::MAX)).starts_with("the bundle is cut short"));
    let count = |value: u32| forge(|bytes| bytes[12..16].copy_from_slice(&value.to_le_bytes()));
    assert_eq!(refused(&count(3)), "the bundle's header is corrupt: bytes after the last item's entry");
    assert_eq!(refused(&count(u32::MAX)), "item 7 of the bundle: the item table ends inside its entry");
    assert_eq!(refused(&forge(|_| ())[..0]), "this is no bundle: the first bytes are not `BULKHEAD`");
}

#[test]
fn entries_that_lie() {
    // Item 1 is the kernel of `net`, item 2 its initrd.
    let change = |index: usize, at: usize, value: &[u8]| {
        refused(&forge(|bytes| {
            let at = entry(bytes, index) + at;
            bytes[at..at + value.len()].copy_from_slice(value);
        }))
    };
    let kernel = "item 1 (kernel `vmlinuz` of guest `net`) of the bundle";
    assert_eq!(change(1, 0, &[99]), "item 1 of the bundle: its kind is unknown");
    assert_eq!(
        change(1, 0, &[5]),
        "item 1 (symbols `vmlinuz` of guest `net`) of the bundle: its kind and its guest do not fit together"
    );
    assert_eq!(change(1, 56, &[0xff]), "item 1 of the bundle: its name is not UTF-8");
    assert_eq!(
        change(1, 8, &1u64.to_le_bytes()),
        alloc::format!("{kernel}: its contents are not aligned to 4096 bytes")
    );
    assert_eq!(
        change(1, 8, &(u64::MAX - 4095).to_le_bytes()),
        alloc::format!("{kernel}: its contents are outside the bundle")
    );
    assert_eq!(
        change(1, 16, &u64::MAX.to_le_bytes()),
        alloc::format!("{kernel}: its contents are outside the bundle")
    );
    assert_eq!(
        change(2, 24, &[0; 32]),
        "item 2 (initrd `net.cpio` of guest `net`) of the bundle is corrupt: its SHA-256 does not match"
    );
    assert_eq!(change(1, 8, &0u64.to_le_bytes()), alloc::format!("{kernel}: its contents lie in the header"));
    let mut without = Builder::default();
    without.add(ItemKind::Symbols, "", "symbols", vec![1]).unwrap();
    assert_eq!(refused(&without.build().unwrap()), "the bundle holds no configuration");
}

#[test]
fn items_that_overlap_or_are_there_twice() {
    let mut builder = Builder::new(&config()).unwrap();
    builder.add(ItemKind::Kernel, "net", "a", vec![1]).unwrap();
    builder.add(ItemKind::Kernel, "net", "b", vec![2]).unwrap();
    assert_eq!(
        refused(&builder.build().unwrap()),
        "item 2 (kernel `b` of guest `net`) of the bundle is there twice"
    );
    // The initrd (item 2) gets the range of the kernel (item 1), but not its hash.
    let overlapping = forge(|bytes| {
        let (kernel, initrd) = (entry(bytes, 1), entry(bytes, 2));
        bytes.copy_within(kernel + 8..kernel + 16, initrd + 8);
    });
    assert_eq!(
        refused(&overlapping),
        "item 1 (kernel `vmlinuz` of guest `net`) of the bundle overlaps item 2 (initrd `net.cpio` of guest `net`)"
    );
}

#[test]
fn items_of_nobody_and_of_somebody() {
    let mut builder = Builder::new(&config()).unwrap();
    let told = builder.add(ItemKind::Kernel, "", "k", vec![]).unwrap_err();
    assert_eq!(told.to_string(), "a guest's item needs the guest's name, and no other item has one");
    assert!(builder.add(ItemKind::Symbols, "net", "s", vec![]).is_err());
}

#[test]
fn a_configuration_of_another_shape() {
    let mut builder = Builder::default();
    builder.add(ItemKind::Config, "", "config", vec![0xff; 20]).unwrap();
    assert_eq!(refused(&builder.build().unwrap()), "the bundle's configuration does not decode");
}

#[test]
fn a_changed_bit_anywhere_is_noticed() {
    let bytes = sample();
    // Every bit of header and table, and a bit here and there of the rest.
    let header_bytes = entry(&bytes, 7);
    for at in (0..header_bytes).chain((header_bytes..bytes.len()).step_by(13)) {
        let bits = if at < header_bytes { 0..8 } else { at % 8..at % 8 + 1 };
        for bit in bits {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            assert!(Bundle::parse(&changed).is_err(), "bit {bit} of byte {at:#x} was not noticed");
        }
    }
}

fn contents() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![prop::collection::vec(any::<u8>(), 0..64), Just(vec![7; 4096]), Just(vec![7; 4097])]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_packed_comes_back(
        guests in prop::collection::btree_map("[a-zé]{1,6}", (contents(), prop::option::of(contents()),
            prop::collection::btree_map("[a-z]{0,3}", contents(), 0..4)), 0..4),
    ) {
        let mut builder = Builder::new(&config()).unwrap();
        for (name, (kernel, initrd, modules)) in &guests {
            builder.add(ItemKind::Kernel, name, "k", kernel.clone()).unwrap();
            if let Some(initrd) = initrd {
                builder.add(ItemKind::Initrd, name, "", initrd.clone()).unwrap();
            }
            for (module, contents) in modules.iter().rev() {
                builder.add(ItemKind::Module, name, module, contents.clone()).unwrap();
            }
        }
        let bytes = builder.build().unwrap();
        let bundle = Bundle::parse(&bytes).unwrap();
        for (name, (kernel, initrd, modules)) in &guests {
            prop_assert_eq!(bundle.item(ItemKind::Kernel, name), Some(&kernel[..]));
            prop_assert_eq!(bundle.item(ItemKind::Initrd, name), initrd.as_deref());
            // As a start image numbers them.
            let found: Vec<_> = bundle.start_files(name).map(|item| (item.name, item.contents)).collect();
            let mut wanted = vec![("k", &kernel[..])];
            wanted.extend(initrd.as_deref().map(|initrd| ("", initrd)));
            wanted.extend(modules.iter().rev().map(|(name, bytes)| (name.as_str(), &bytes[..])));
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), magic in any::<bool>()) {
        let mut bytes = bytes;
        if magic {
            bytes.splice(0..0, MAGIC.into_iter().chain(VERSION.to_le_bytes()));
        }
        prop_assert!(Bundle::parse(&bytes).is_err());
    }

    #[test]
    fn no_forged_table_panics(at in 12usize..600, value in any::<[u8; 8]>(), length in 1usize..8) {
        let bytes = forge(|bytes| {
            let end = (at + length).min(bytes.len());
            let changed = &value[..end - at];
            if !(16..24).any(|byte| (at..end).contains(&byte)) {
                bytes[at..end].copy_from_slice(changed);
            }
        });
        // It may be harmless (a name, padding that stays zero), but it is never wild.
        if let Ok(bundle) = Bundle::parse(&bytes) {
            prop_assert!(bundle.items().iter().all(|item| item.verify().is_ok()));
        }
    }
}
