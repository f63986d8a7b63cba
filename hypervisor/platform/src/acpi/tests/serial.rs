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
    let memory = |stride, wide| SerialAddress::Memory { base: Hpa(0xfe03_4008), stride, wide };
    for (space, width, access, at, expected) in [
        (1, 8, 1, 0x2f8, COM2),
        (1, 32, 3, 0x2f8, COM2),
        (0, 8, 1, 0xfe03_4008, memory(1, false)),
        (0, 0, 0, 0xfe03_4008, memory(1, false)),
        (0, 16, 1, 0xfe03_4008, memory(2, false)),
        (0, 32, 1, 0xfe03_4008, memory(4, false)),
        (0, 32, 3, 0xfe03_4008, memory(4, true)),
        (0, 32, 0, 0xfe03_4008, memory(4, true)),
        (0, 8, 3, 0xfe03_4008, memory(4, true)),
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
        // No stride that can be read.
        spcr(2, 0, &address(0, 24, 1, 0xfe00_0000)),
        spcr(2, 0, &address(0, 16, 2, 0xfe00_0000)),
        spcr(2, 0, &address(0, 64, 4, 0xfe00_0000)),
        spcr(2, 0, &address(0, 8, 0xff, 0xfe00_0000)),
        spcr(2, 0, &{
            let mut shifted = address(0, 8, 1, 0xfe00_0000);
            shifted[2] = 4;
            shifted
        }),
        spcr(2, 0xff, &address(1, 8, 1, 0x2f8)),
        spcr(2, 0, &address(3, 8, 1, 0x2f8)),
        table(b"SPCR", &[]),
    ] {
        assert_eq!(ports(core::slice::from_ref(&wrong)), (vec![], 1), "{wrong:x?}");
    }
}

/// An SPCR of a revision with what is behind the address.
fn full(revision: u8, address: &[u8], fields: &[(usize, &[u8])]) -> SerialPort {
    let mut bytes = spcr(revision, 0, address);
    bytes.resize(88, 0);
    bytes[4] = 88;
    for (offset, field) in fields {
        bytes[*offset..offset + field.len()].copy_from_slice(field);
    }
    seal(&mut bytes, 9);
    let found = super::read(&[bytes]);
    assert_eq!(found.serial_ports.len(), 1, "{:?}", found.findings);
    found.serial_ports[0]
}

#[test]
fn the_rate_is_what_the_table_says_where_the_clock_is_known() {
    let at_ports = address(1, 8, 1, 0x2f8);
    let in_memory = address(0, 32, 3, 0xfe03_4000);
    let set = |baud, clock_hz| SerialRate::Set { baud, clock_hz };
    let (clock, precise): (&[u8], &[u8]) = (&48_000_000u32.to_le_bytes(), &3_000_000u32.to_le_bytes());
    for (revision, at, fields, expected) in [
        (2, &at_ports, &[][..], SerialRate::Keep),
        (2, &at_ports, &[(58, &[7][..])], SerialRate::PC),
        (2, &at_ports, &[(58, &[3][..])], set(9600, SerialRate::PC_CLOCK_HZ)),
        (2, &at_ports, &[(58, &[0xff][..])], SerialRate::Keep),
        (2, &in_memory, &[(58, &[7][..])], SerialRate::Keep),
        (2, &in_memory, &[(58, &[7][..]), (76, clock)], SerialRate::Keep),
        (3, &in_memory, &[(58, &[7][..]), (76, clock)], set(115_200, 48_000_000)),
        (3, &in_memory, &[(58, &[7][..]), (76, clock), (80, precise)], set(115_200, 48_000_000)),
        (4, &in_memory, &[(58, &[7][..]), (76, clock), (80, precise)], set(3_000_000, 48_000_000)),
    ] {
        assert_eq!(full(revision, at, fields).rate, expected, "revision {revision}, {fields:x?}");
    }
}

#[test]
fn the_interrupt_is_one_of_either_controller() {
    fn of(fields: &[(usize, &[u8])]) -> Option<SerialInterrupt> {
        full(2, &address(1, 8, 1, 0x2f8), fields).interrupt
    }
    let gsi: &[u8] = &19u32.to_le_bytes();
    assert_eq!(of(&[]), None);
    assert_eq!(of(&[(52, &[1, 3][..])]), Some(SerialInterrupt::Isa(3)));
    assert_eq!(of(&[(52, &[3, 3][..]), (54, gsi)]), Some(SerialInterrupt::Global(19)));
    assert_eq!(of(&[(52, &[2, 3][..])]), None, "the timer's");
    assert_eq!(of(&[(52, &[1, 0][..])]), None, "the timer's");
    assert_eq!(of(&[(52, &[1, 16][..])]), None);
    assert_eq!(of(&[(52, &[4, 3][..])]), None, "of no PC");
}

#[test]
fn debug_ports_come_behind_the_console() {
    let debug = dbg2(
        4,
        &[
            device(0x8000, 0, &address(1, 8, 1, 0x3e8)),
            device(0x8003, 0, &address(0, 8, 1, 0xf000_0000)),
            device(0x8000, 0xffff, &address(0, 8, 1, 0xf000_0000)),
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
