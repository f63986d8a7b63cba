//! Intel's table of remapping units: right ones, and what real firmware does wrong.

use super::*;
use crate::acpi::dmar::ScopeKind;

pub(super) fn dmar(structures: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![38, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    body.extend(structures.concat());
    table(b"DMAR", &body)
}

fn structure(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &(4 + body.len() as u16).to_le_bytes(), body].concat()
}

pub(super) fn drhd(flags: u8, base: u64, scopes: &[u8]) -> Vec<u8> {
    structure(0, &[&[flags, 1, 0, 0], &base.to_le_bytes()[..], scopes].concat())
}

pub(super) fn rmrr(base: u64, limit: u64, scopes: &[u8]) -> Vec<u8> {
    structure(1, &[&[0; 4], &base.to_le_bytes()[..], &limit.to_le_bytes(), scopes].concat())
}

#[test]
fn remapping_units() {
    let tables = read(&[dmar(&[
        drhd(0, 0xfed9_0000, &[1, 8, 0, 0, 0, 0, 2, 0, 2, 10, 0, 0, 0, 0, 0x1c, 0, 3, 1]),
        drhd(1, 0xfed9_1000, &[3, 8, 0, 0, 5, 0xf0, 0x1f, 0, 4, 8, 0, 0, 6, 0, 0xf, 0]),
        rmrr(0x7e00_0000, 0x7e7f_ffff, &[1, 8, 0, 0, 0, 0, 0x14, 0]),
        structure(2, &[0; 4]),
        structure(4, &[0; 4]),
    ])]);
    assert_eq!(told(&tables), [""; 0]);
    let dmar = tables.dmar.unwrap();
    assert_eq!((dmar.address_bits, dmar.interrupt_remapping, dmar.x2apic_opt_out), (39, true, true));
    let [first, rest] = &dmar.units[..] else { panic!("{dmar:?}") };
    assert_eq!((first.base, first.register_bytes, first.include_all), (Hpa(0xfed9_0000), 8192, false));
    assert_eq!(first.scopes[0].kind, ScopeKind::Endpoint);
    assert_eq!(first.scopes[1].kind, ScopeKind::Bridge);
    assert_eq!(first.scopes[1].path, [DevFn::new(0x1c, 0), DevFn::new(3, 1)]);
    assert!(rest.include_all);
    assert_eq!(rest.scopes[0].kind, ScopeKind::IoApic(5));
    assert_eq!(rest.scopes[1].kind, ScopeKind::Hpet(6));
    assert_eq!((dmar.reserved[0].start, dmar.reserved[0].bytes), (Hpa(0x7e00_0000), 0x80_0000));
}

/// Scopes as the only unit of a table has them, and what is odd about the table.
fn scopes(scopes: &[u8]) -> (Vec<ScopeKind>, Vec<String>) {
    let tables = read(&[dmar(&[drhd(0, 0xfed9_0000, scopes)])]);
    let told = told(&tables);
    let units = tables.dmar.unwrap().units;
    assert_eq!(units[0].incomplete, !told.is_empty(), "a scope that is lost is noted");
    (units[0].scopes.iter().map(|scope| scope.kind).collect(), told)
}

#[test]
fn units_where_none_can_be() {
    let tables = read(&[dmar(&[
        drhd(0, 0, &[]),
        drhd(0, u64::MAX, &[]),
        drhd(0, 0xfed9_0800, &[]),
        drhd(1, 0xfed9_0000, &[]),
        drhd(1, 0xfed9_0000, &[]),
    ])]);
    assert_eq!(
        told(&tables),
        [
            "DMAR: a remapping unit is at hpa 0x0, which cannot be; what it covers is nobody's",
            "DMAR: a remapping unit is at hpa 0xffffffffffffffff, which cannot be; what it covers is nobody's",
            "DMAR: a remapping unit is at hpa 0xfed90800, which cannot be; what it covers is nobody's",
            "DMAR: the remapping unit at hpa 0xfed90000 is listed twice; the first counts",
        ]
    );
    let usable: Vec<bool> = tables.dmar.unwrap().units.iter().map(|unit| unit.has_registers()).collect();
    assert_eq!(usable, [false, false, false, true], "none is lost but the copy");
    let tables = read(&[dmar(&[drhd(0, 0xfed9_0000, &[]), drhd(1, 0xfed9_0000, &[])])]);
    assert_eq!(
        told(&tables),
        [
            "DMAR: the remapping unit at hpa 0xfed90000 is listed twice; what only the second covers is nobody's"
        ]
    );
    assert_eq!(tables.dmar.unwrap().units.len(), 2);
}

#[test]
fn two_units_for_everything() {
    let tables = read(&[dmar(&[drhd(1, 0xfed9_0000, &[]), drhd(1, 0xfed9_1000, &[])])]);
    assert_eq!(told(&tables), ["DMAR: two units claim to cover all of segment 0; the first counts"]);
}

#[test]
fn structures_of_length_0() {
    let tables = read(&[dmar(&[vec![0, 0, 0, 0, 1, 2, 3], drhd(0, 0xfed9_0000, &[])])]);
    assert_eq!(told(&tables), ["DMAR: a structure of type 0 says it has 0 bytes; the rest is ignored"]);
    assert!(tables.dmar.unwrap().units.is_empty());
}

#[test]
fn structures_longer_than_the_table() {
    let mut long = drhd(0, 0xfed9_1000, &[]);
    long[2] += 1;
    let tables = read(&[dmar(&[drhd(0, 0xfed9_0000, &[]), long])]);
    assert_eq!(told(&tables), ["DMAR: a structure of type 0 says it has 17 bytes; the rest is ignored"]);
    assert_eq!(tables.dmar.unwrap().units.len(), 1);
}

#[test]
fn truncated_structures() {
    let tables = read(&[dmar(&[structure(0, &[0; 11]), structure(1, &[0; 19]), drhd(0, 0xfed9_0000, &[])])]);
    assert_eq!(
        told(&tables),
        [
            "DMAR: a structure of type 0 has only 15 bytes; ignored",
            "DMAR: a structure of type 1 has only 23 bytes; ignored",
        ]
    );
    assert_eq!(tables.dmar.unwrap().units.len(), 1);
}

#[test]
fn structures_of_unknown_type() {
    let tables = read(&[dmar(&[structure(77, &[]), drhd(0, 0xfed9_0000, &[])])]);
    assert_eq!(told(&tables), ["DMAR: a structure of unknown type 77; ignored"]);
    assert_eq!(tables.dmar.unwrap().units.len(), 1);
}

#[test]
fn scopes_of_length_0() {
    let (found, told) = scopes(&[1, 8, 0, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 3, 0]);
    assert_eq!(told, ["DMAR: a device scope of type 1 says it has 0 bytes; the rest is ignored"]);
    assert_eq!(found, [ScopeKind::Endpoint]);
}

#[test]
fn scopes_of_wrong_length() {
    for length in [6, 9, 12] {
        let (found, told) = scopes(&[2, length, 0, 0, 0, 0, 2, 0, 1, 0]);
        let expected =
            alloc::format!("DMAR: a device scope of type 2 says it has {length} bytes; the rest is ignored");
        assert_eq!(told, [expected]);
        assert_eq!(found, []);
    }
}

#[test]
fn scopes_of_unknown_type() {
    let (found, told) = scopes(&[9, 8, 0, 0, 0, 0, 0, 0, 2, 8, 0, 0, 0, 0, 1, 0]);
    assert_eq!(told, ["DMAR: a device scope of unknown type 9; ignored"]);
    assert_eq!(found, [ScopeKind::Bridge]);
}

#[test]
fn scopes_through_devices_that_cannot_be() {
    let (found, told) =
        scopes(&[1, 8, 0, 0, 0, 0, 32, 0, 1, 10, 0, 0, 0, 0, 0, 0, 0, 8, 4, 8, 0, 0, 6, 0, 0xf, 0]);
    assert_eq!(
        told,
        [
            "DMAR: a device scope leads through device 0x20 function 0; ignored",
            "DMAR: a device scope leads through device 0x0 function 8; ignored",
        ]
    );
    assert_eq!(found, [ScopeKind::Hpet(6)]);
}

#[test]
fn reserved_memory_that_cannot_be() {
    let tables = read(&[dmar(&[
        rmrr(0x8000_0000, 0x7000_0000, &[]),
        rmrr(0, 0, &[]),
        rmrr(0, u64::MAX, &[]),
        rmrr(0, u64::MAX - 7, &[]),
        rmrr(0x7000_0010, 0x7000_1010, &[]),
    ])]);
    assert_eq!(
        told(&tables),
        [
            "DMAR: the reserved memory from hpa 0x80000000 to hpa 0x70000000 cannot be; ignored",
            "DMAR: the reserved memory from hpa 0x0 to hpa 0x0 cannot be; ignored",
            "DMAR: the reserved memory from hpa 0x0 to hpa 0xffffffffffffffff cannot be; ignored",
            "DMAR: the reserved memory from hpa 0x0 to hpa 0xfffffffffffffff8 cannot be; ignored",
            "DMAR: the reserved memory from hpa 0x70000010 to hpa 0x70001010 is not whole pages; rounded outward",
        ]
    );
    let reserved = &tables.dmar.unwrap().reserved;
    assert_eq!(reserved.len(), 1);
    assert_eq!((reserved[0].start, reserved[0].bytes), (Hpa(0x7000_0000), 0x2000));
}
