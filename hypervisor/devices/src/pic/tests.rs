use super::*;
use proptest::prelude::*;

/// Initialised as an operating system does: vectors 0x20 and 0x28, all lines open.
fn initialised(icw4: u8) -> Pics {
    let mut pics = Pics::new();
    for (port, value) in [
        (0x20, 0x11),
        (0xa0, 0x11),
        (0x21, 0x20),
        (0xa1, 0x28),
        (0x21, 0x04),
        (0xa1, 0x02),
        (0x21, icw4),
        (0xa1, icw4),
        (0x21, 0),
        (0xa1, 0),
    ] {
        pics.write(port, value);
    }
    pics
}

fn pulse(pics: &mut Pics, irq: u8) {
    pics.set_line(irq, true);
    pics.set_line(irq, false);
}

#[test]
fn starts_masked_with_the_bios_vectors() {
    let mut pics = Pics::new();
    pulse(&mut pics, 1);
    assert!(!pics.is_requesting());
    pics.write(0x21, 0xfd);
    assert!(pics.is_requesting());
    assert_eq!(pics.acknowledge(), 0x09);
}

#[test]
fn priorities_hold_back_and_let_through() {
    let mut pics = initialised(1);
    pulse(&mut pics, 4);
    assert_eq!(pics.acknowledge(), 0x24);
    pulse(&mut pics, 6);
    assert!(!pics.is_requesting());
    pulse(&mut pics, 1);
    assert_eq!(pics.acknowledge(), 0x21);
    pics.write(0x20, 0x20);
    assert!(!pics.is_requesting(), "IRQ 4 is still in service");
    pics.write(0x20, 0x20);
    assert_eq!(pics.acknowledge(), 0x26);
}

#[test]
fn the_slave_comes_through_the_cascade() {
    let mut pics = initialised(1);
    pulse(&mut pics, 8);
    pulse(&mut pics, 3);
    assert_eq!(pics.acknowledge(), 0x28, "the slave is above IRQ 3");
    assert!(!pics.is_requesting());
    pics.write(0xa0, 0x20);
    pics.write(0x20, 0x62);
    assert_eq!(pics.acknowledge(), 0x23);
    // IRQ 2 itself is no line.
    pics.write(0x20, 0x20);
    pics.set_line(2, true);
    pics.set_line(16, true);
    pics.set_line(255, true);
    assert!(!pics.is_requesting());
}

#[test]
fn special_fully_nested_lets_the_slave_interrupt_itself() {
    for (icw4, nested) in [(0x01, false), (0x11, true)] {
        let mut pics = initialised(icw4);
        pulse(&mut pics, 12);
        assert_eq!(pics.acknowledge(), 0x2c);
        pulse(&mut pics, 9);
        assert_eq!(pics.is_requesting(), nested);
    }
}

#[test]
fn an_edge_is_kept_while_masked_and_a_level_is_not() {
    let mut pics = initialised(1);
    pics.write(0x21, 0xff);
    pics.write(0x4d0, 0x20);
    assert_eq!(pics.read(0x4d0), 0x20);
    pulse(&mut pics, 4);
    pulse(&mut pics, 5);
    pics.write(0x21, 0);
    assert_eq!(pics.acknowledge(), 0x24);
    pics.write(0x20, 0x20);
    assert!(!pics.is_requesting());
    // A level asks again after its end of interrupt.
    pics.set_line(5, true);
    assert_eq!(pics.acknowledge(), 0x25);
    pics.write(0x20, 0x20);
    assert!(pics.is_requesting());
    pics.set_line(5, false);
    assert!(!pics.is_requesting());
}

#[test]
fn the_elcr_leaves_the_motherboards_lines_edge_triggered() {
    let mut pics = initialised(1);
    pics.write(0x4d0, 0xff);
    pics.write(0x4d1, 0xff);
    assert_eq!((pics.read(0x4d0), pics.read(0x4d1)), (0xf8, 0xde));
}

#[test]
fn a_request_that_went_away_is_spurious() {
    let mut pics = initialised(1);
    pics.write(0x4d0, 0x20);
    pics.set_line(5, true);
    pics.set_line(5, false);
    assert_eq!(pics.acknowledge(), 0x27);
    pics.write(0x20, 0x0b);
    assert_eq!(pics.read(0x20), 0, "nothing is in service");
    pics.write(0x4d1, 0x08);
    pics.set_line(11, true);
    pics.set_line(11, false);
    assert_eq!(pics.acknowledge(), 0x27);
}

#[test]
fn rotation_moves_the_priorities() {
    let mut pics = initialised(1);
    pics.write(0x20, 0xc3); // line 3 is lowest, 4 highest
    pulse(&mut pics, 1);
    pulse(&mut pics, 4);
    assert_eq!(pics.acknowledge(), 0x24);
    pics.write(0x20, 0xa0); // rotate on non-specific EOI: 4 is lowest
    pulse(&mut pics, 4);
    assert_eq!(pics.acknowledge(), 0x21);
    pics.write(0x20, 0xe1); // rotate on specific EOI
    assert_eq!(pics.acknowledge(), 0x24);
}

#[test]
fn automatic_end_of_interrupt() {
    let mut pics = initialised(3);
    pulse(&mut pics, 0);
    assert_eq!(pics.acknowledge(), 0x20);
    pulse(&mut pics, 7);
    assert_eq!(pics.acknowledge(), 0x27);
    pics.write(0x20, 0x80); // rotate
    pulse(&mut pics, 0);
    assert_eq!(pics.acknowledge(), 0x20);
    pulse(&mut pics, 0);
    pulse(&mut pics, 5);
    assert_eq!(pics.acknowledge(), 0x25, "0 is lowest now");
}

#[test]
fn special_mask_mode_lets_lower_lines_through() {
    let mut pics = initialised(1);
    pulse(&mut pics, 1);
    assert_eq!(pics.acknowledge(), 0x21);
    pulse(&mut pics, 6);
    assert!(!pics.is_requesting());
    pics.write(0x21, 0x02);
    pics.write(0x20, 0x68);
    assert_eq!(pics.acknowledge(), 0x26);
    pics.write(0x20, 0x48);
    pulse(&mut pics, 7);
    assert!(!pics.is_requesting());
}

#[test]
fn poll_takes_the_request() {
    let mut pics = initialised(1);
    pics.write(0x20, 0x0c);
    assert_eq!(pics.read(0x20), 0, "nothing to take");
    pulse(&mut pics, 3);
    pics.write(0x20, 0x0c);
    assert_eq!(pics.read(0x20), 0x83);
    assert!(!pics.is_requesting());
    pics.write(0x20, 0x0b);
    assert_eq!(pics.read(0x20), 0x08);
    pics.write(0x20, 0x0a);
    assert_eq!(pics.read(0x20), 0);
    // Polling the slave leaves the master out of it.
    pulse(&mut pics, 14);
    pics.write(0xa0, 0x0c);
    assert_eq!(pics.read(0xa0), 0x86);
    assert!(!pics.is_requesting());
}

#[test]
fn initialisation_forgets_edges_and_keeps_levels() {
    let mut pics = initialised(1);
    pics.write(0x4d0, 0x20);
    pulse(&mut pics, 3);
    pics.set_line(5, true);
    // Without ICW4 and slave: two words.
    pics.write(0x20, 0x12);
    pics.write(0x21, 0x47);
    pics.write(0x21, 0x80);
    assert_eq!(pics.read(0x21), 0x80);
    assert_eq!(pics.acknowledge(), 0x45);
}

#[test]
fn open_means_open_all_the_way() {
    let mut pics = initialised(1);
    assert!(pics.is_open(0) && pics.is_open(8));
    pics.write(0x21, 0x05);
    assert!(!pics.is_open(0) && !pics.is_open(8) && pics.is_open(1));
    pics.write(0x21, 0);
    pics.write(0xa1, 1);
    assert!(!pics.is_open(8) && pics.is_open(9));
    assert!(!pics.is_open(16));
}

proptest! {
    #[test]
    fn survives_anything(accesses in proptest::collection::vec(any::<(u8, u8)>(), 0..300)) {
        let mut pics = Pics::new();
        for (what, value) in accesses {
            match what % 10 {
                0 => pics.set_line(value & 0x1f, value & 0x80 != 0),
                1 => { pics.read([0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1][usize::from(value % 6)]); }
                2 => {
                    let requesting = pics.is_requesting();
                    let bases = (pics.master.base, pics.slave.base);
                    let vector = pics.acknowledge();
                    prop_assert!(vector & 0xf8 == bases.0 || vector & 0xf8 == bases.1);
                    prop_assert!(requesting || vector == bases.0 | 7);
                }
                3 => { pics.write(0x4d0, value); pics.write(0x4d1, !value); }
                port => pics.write([0x20, 0x21, 0xa0, 0xa1][usize::from(port % 4)], value),
            }
            prop_assert!(pics.master.highest < 8 && pics.slave.highest < 8);
            prop_assert_eq!(pics.master.irr & 4 != 0, pics.slave.requested().is_some());
        }
    }
}
