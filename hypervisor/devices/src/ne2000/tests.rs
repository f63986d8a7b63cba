use super::*;
use crate::testing::{Bench, VecMedium};
use access::memory::VecMemory;
use network::Tagging;
use std::vec::Vec;

mod attacks;
mod linux;
mod saving;

const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0xab, 0xcd, 0xef]);
const DATA_PORT: u64 = DATA;
const RESET_PORT: u64 = 0x1f;

type Card = Bench<Ne2000, VecMemory>;

/// A card at power-up whose link is up.
fn card() -> Card {
    let mut bench = Bench::new(Ne2000::new(MAC), VecMemory::new(0), VecMedium::new(0));
    bench.with(|card, context| card.set_link(true, context));
    bench
}

fn out(card: &mut Card, port: u64, value: u8) {
    card.write(port, Width::Byte, value.into());
}

fn input(card: &mut Card, port: u64) -> u8 {
    card.read(port, Width::Byte) as u8
}

fn frame(bytes: &[u8]) -> Frame {
    let mut frame = Frame::new();
    frame.append(bytes).unwrap();
    frame
}

fn receive(card: &mut Card, bytes: &[u8]) -> Reception {
    let frame = frame(bytes);
    card.with(|card, context| card.receive(&frame.parts(Tagging::Keep).unwrap(), context))
}

/// What the card sends next.
fn transmit(card: &mut Card) -> Option<Vec<u8>> {
    let mut frame = Frame::new();
    let is_one = card.with(|card, context| card.transmit(&mut frame, context));
    assert!(is_one || frame.is_empty());
    is_one.then(|| frame.bytes().to_vec())
}

/// A frame to `to` of so many bytes, each unlike its neighbour.
fn bytes_to(to: [u8; 6], length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length).map(|place| (place * 7) as u8).collect();
    bytes[..6].copy_from_slice(&to);
    bytes
}
