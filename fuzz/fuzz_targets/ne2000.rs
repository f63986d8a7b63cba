//! The emulated NE2000: any registers, any strings at its data port, frames at any moment.
#![no_main]

use access::memory::VecMemory;
use devices::Device;
use devices::device::Reception;
use devices::ne2000::Ne2000;
use devices::testing::{Bench, VecMedium};
use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use network::{Frame, MacAddress, Tagging};
use spec::Width;
use spec::dp8390::RESET;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
/// The most bytes of a frame that is sent.
const LARGEST: usize = 1518;

type Card = Bench<Ne2000, VecMemory>;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut card = Bench::new(Ne2000::new(MAC), VecMemory::new(0), VecMedium::new(0));
    card.with(|card, context| card.set_link(true, context));
    let mut frame = Frame::new();
    if input.u8() & 1 == 0 {
        start(&mut card);
    }
    while !input.is_empty() {
        let (kind, port, value) = (input.u8(), u64::from(input.u8() & 0x3f), input.u8());
        match kind & 7 {
            0 => _ = card.read(port, input.width()),
            1 => _ = card.read_string(port, input.width(), &mut vec![0; 8 * usize::from(value)]),
            2 => _ = card.write_string(port, input.width(), &vec![kind; 8 * usize::from(value)]),
            3 => {
                let is_one = card.with(|card, context| card.transmit(&mut frame, context));
                assert!(frame.len() <= LARGEST && (is_one || frame.is_empty()));
                frame.clear();
            }
            4 => {
                let to = input.pick(&[MAC.0, [0xff; 6], [1, 0, 0x5e, 0, 0, 1], [2; 6]]);
                _ = receive(&mut card, to, 14 + 6 * usize::from(value));
            }
            5 => card.with(|card, context| card.set_link(value & 1 == 1, context)),
            6 => card.write(port, input.width(), value.into()),
            _ => card.write(port & 0x1f, Width::Byte, value.into()),
        }
    }
    // Whatever it was, a driver that begins anew has a card that works.
    card.with(|card, context| card.set_link(true, context));
    card.read(RESET, Width::Byte);
    start(&mut card);
    assert_eq!(receive(&mut card, [0xff; 6], 100), Reception::Taken);
    assert_eq!(card.read(7, Width::Byte), 1);
    card.write(0, Width::Byte, 0x26);
    assert!(card.with(|card, context| card.transmit(&mut frame, context)));
    assert_eq!(frame.len(), 60);
    assert_eq!(card.read(7, Width::Byte), 3);
});

/// Any frame to a station that is there or not.
fn receive(card: &mut Card, to: [u8; 6], bytes: usize) -> Reception {
    let mut frame = Frame::new();
    frame.append(&to).expect("room");
    frame.append(&vec![2; bytes - 6]).expect("room");
    let parts = frame.parts(Tagging::Keep).expect("a header");
    card.with(|card, context| card.receive(&parts, context))
}

/// A ring of pages 0x4c to 0x7f, and a frame of 60 bytes at page 0x40.
fn start(card: &mut Card) {
    for (port, value) in [
        (0, 0x21),
        (0xe, 0x49),
        (1, 0x4c),
        (2, 0x80),
        (3, 0x7f),
        (4, 0x40),
        (5, 60),
        (6, 0),
        (7, 0xff),
        (0xc, 0x0c),
        (0xd, 0),
        (0xf, 0x3f),
        (0, 0x61),
        (7, 0x4c),
        (0, 0x22),
    ] {
        card.write(port, Width::Byte, value);
    }
}
