//! Doorbells of guests that share memory: each is carried once.

use super::killed::{KILLS, killed};
use super::*;
use devices::device::Doorbell;
use devices::ivshmem::Ivshmem;
use spec::ivshmem::register;

/// Peers: one more than there are in a word of a state.
const PEERS: u16 = 9;

#[test]
fn the_registers_of_shared_memory_go_on() {
    let memory = Shared::new();
    let mut here = Ivshmem::new(1, PEERS);
    let mut there = killed(|| Box::new(Ivshmem::new(1, PEERS)), false, 7, &memory);
    let (mut number, mut effects) = (0_u64, Effects::with_capacity(1));
    let mut carried = 0;
    while there.compartment().unwrap().restarts < KILLS {
        number = number.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let (peer, vector) = (number >> 33 & 0xf, number >> 40 & 0xf);
        let mut both = |call: &mut dyn FnMut(&mut dyn Device, &mut Context<'_>) -> u64| {
            let seen: [_; 2] = [&mut here as &mut dyn Device, &mut there].map(|device| {
                let context = &mut Context { memory: &memory, now: 0, effects: &mut effects };
                let value = call(device, context);
                (value, effects.pop(), effects.pop())
            });
            assert_eq!(seen[0], seen[1]);
            seen[0].0
        };
        match number >> 50 & 7 {
            0 => {
                let mask = &mut |device: &mut dyn Device, context: &mut Context<'_>| {
                    device.write(register::INTERRUPT_MASK, Width::Dword, number & 0xff, context);
                    device.read(register::INTERRUPT_MASK, Width::Dword, context)
                };
                assert_eq!(both(mask), number & 0xff);
            }
            1 | 2 => {
                let take = &mut |device: &mut dyn Device, _: &mut Context<'_>| {
                    let bell = device.take_doorbell();
                    bell.map_or(0, |Doorbell { peer, vector }| 1 + u64::from(peer) * 8 + u64::from(vector))
                };
                carried += u64::from(both(take) != 0);
            }
            3 if number >> 60 == 0 => {
                let reset = &mut |device: &mut dyn Device, _: &mut Context<'_>| {
                    device.reset();
                    0
                };
                both(reset);
            }
            _ => {
                let ring = &mut |device: &mut dyn Device, context: &mut Context<'_>| {
                    device.write(register::DOORBELL, Width::Dword, peer << 16 | vector, context);
                    0
                };
                both(ring);
            }
        }
        assert_eq!(here.work(), there.work());
    }
    assert_eq!(there.work().requests, carried);
    assert_eq!(there.ended(), None);
}
