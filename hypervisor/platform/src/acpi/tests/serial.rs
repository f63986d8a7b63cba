//! SPCR and DBG2, right ones and wrong ones.

use super::*;

/// A generic address: space, width in bits, access size, address.
fn address(space: u8, width: u8, access: u8, address: u64) -> Vec<u8> {
    [&[space, width, 0, access][..], &address.to_le_bytes()].concat()
}

fn spcr(revision: u8, kind: u8, address: &[u8]) -> Vec<u8> {
    let mut body = vec![kind, 0, 0, 0];
    body.extend(address);
    body.resize(44, 0);
    let mut bytes = table(b"SPCR", &body);
    bytes[8] = revision;
    seal(&mut bytes, 9);
    bytes
}

/// A device of DBG2 with one address.
fn device(kind: u16, subtype: u16, address: &[u8]) -> Vec<u8> {
    const HEADER: u16 = 22;
    let mut bytes = vec![0];
    bytes.extend((HEADER + address.len() as u16).to_le_bytes());
    bytes.resize(12, 0);
    for word in [kind, subtype, 0, HEADER, HEADER + 12] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(address);
    bytes
}

fn dbg2(count: u32, devices: &[Vec<u8>]) -> Vec<u8> {
    let body = [&44u32.to_le_bytes()[..], &count.to_le_bytes(), &devices.concat()].concat();
    table(b"DBG2", &body)
}

fn ports(tables: &[Vec<u8>]) -> (Vec<SerialAddress>, usize) {
    let before = super::read(&[]).findings.len();
    let found = super::read(tables);
    (found.serial_ports.iter().map(|port| port.address).collect(), found.findings.len() - before)
}

const COM2: SerialAddress = SerialAddress::Port(0x2f8);

#[test]
fn the_console_is_found_at_ports_and_in_memory() {
    let memory = |dwords| SerialAddress::Memory { base: Hpa(0xfe03_4000), dwords };
    for (space, width, access, at, expected) in [
        (1, 8, 1, 0x2f8, COM2),
        (0, 8, 1, 0xfe03_4000, memory(false)),
        (0, 32, 3, 0xfe03_4000, memory(true)),
        (0, 32, 0, 0xfe03_4000, memory(true)),
    ] {
        let table = spcr(2, 0, &address(space, width, access, at));
        assert_eq!(ports(&[table]), (vec![expected], 0));
    }
    // Before revision 2 the kind says something else.
    assert_eq!(ports(&[spcr(1, 3, &address(1, 8, 1, 0x2f8))]), (vec![COM2], 0));
}

#[test]
fn no_console_and_what_cannot_be_is_left_out() {
    assert_eq!(ports(&[spcr(2, 0, &address(1, 8, 1, 0))]), (vec![], 0));
    for wrong in [
        spcr(2, 3, &address(0, 32, 3, 0xfe00_0000)),
        spcr(2, 0, &address(1, 8, 1, 0xfffe)),
        spcr(2, 0, &address(1, 8, 1, 0x1_0000)),
        spcr(2, 0, &address(0, 8, 1, u64::MAX - 3)),
        spcr(2, 0, &address(0, 32, 3, 0xfe00_0002)),
        spcr(2, 0, &address(3, 8, 1, 0x2f8)),
        table(b"SPCR", &[]),
    ] {
        assert_eq!(ports(&[wrong.clone()]), (vec![], 1), "{wrong:x?}");
    }
}

#[test]
fn debug_ports_come_behind_the_console() {
    let debug = dbg2(
        3,
        &[
            device(0x8000, 0, &address(1, 8, 1, 0x3e8)),
            device(0x8003, 0, &address(0, 8, 1, 0xf000_0000)),
            device(0x8000, 0x12, &address(1, 8, 1, 0x2f8)),
        ],
    );
    let expected = vec![COM2, SerialAddress::Port(0x3e8)];
    assert_eq!(ports(&[debug, spcr(4, 0x12, &address(1, 8, 1, 0x2f8))]), (expected, 0));
}

#[test]
fn devices_that_do_not_fit_end_the_list() {
    let right = device(0x8000, 0, &address(1, 8, 1, 0x2f8));
    let mut long = right.clone();
    long[1] = 0xff;
    assert_eq!(ports(&[dbg2(9, &[right.clone(), long])]), (vec![COM2], 1));
    let mut short = right.clone();
    short[1] = 3;
    assert_eq!(ports(&[dbg2(2, &[short, right.clone()])]), (vec![], 1));
    assert_eq!(ports(&[dbg2(u32::MAX, &[right])]), (vec![COM2], 1));
    assert_eq!(ports(&[table(b"DBG2", &[0xff; 8])]), (vec![], 1));
}

proptest! {
    #[test]
    fn anything_is_survived(body in prop::collection::vec(any::<u8>(), 0..120)) {
        super::read(&[table(b"SPCR", &body), table(b"DBG2", &body)]);
    }
}
