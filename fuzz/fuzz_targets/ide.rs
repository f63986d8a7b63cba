//! The emulated IDE controller: any registers, any strings, any tables in memory, a medium that answers
//! late, and in the middle of it states that are saved, forged and taken over.
#![no_main]

use access::GuestMemory;
use access::memory::VecMemory;
use devices::Device;
use devices::ide::{CONTROL, Disk, Ide, STATE_BYTES};
use devices::testing::{Bench, VecMedium};
use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use spec::ata::status;
use spec::ide::control;
use spec::{Gpa, Width};

const SECTORS: u64 = 256;
/// An access to a port is no wider; the last is one from memory's side.
const WIDTHS: [Width; 4] = [Width::Byte, Width::Word, Width::Dword, Width::Qword];

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let disk = Disk { start: 0, sectors: SECTORS, serial: *b"B-0001              " };
    let medium = VecMedium::new(512 * SECTORS as usize);
    // Both channels with both devices, or a master and a slave that are alone.
    let disks = if input.u8() & 1 == 0 { [[Some(disk); 2]; 2] } else { [[Some(disk), None], [None, Some(disk)]] };
    let mut bench = Bench::new(Ide::new(disks), VecMemory::new(0x1_0000), medium);
    bench.hold = true;
    while !input.is_empty() {
        let (kind, at, value) = (input.u8(), input.u8(), input.u8());
        match kind & 7 {
            0 if at & 0xc0 == 0xc0 => move_on(&mut bench, &mut input),
            0 => _ = bench.read(u64::from(at & 0x3f), Width::Dword),
            1 => _ = bench.serve(),
            2 => bench.write(
                u64::from(at & 0x3f),
                Width::Dword,
                u64::from(value) * 0x0101_0101 & !0xff | u64::from(value),
            ),
            3 => {
                _ = bench.read_string(
                    u64::from(at & 0x10),
                    WIDTHS[usize::from(at & 3)],
                    &mut vec![0; 16 * usize::from(value)],
                )
            }
            4 => {
                _ = bench.write_string(
                    u64::from(at & 0x10),
                    WIDTHS[usize::from(at & 3)],
                    &vec![value; 16 * usize::from(value)],
                )
            }
            5 => _ = bench.read(u64::from(at & 0x3f), WIDTHS[usize::from(value & 3)]),
            6 => bench.write(u64::from(at & 0x3f), Width::Byte, value.into()),
            _ => _ = bench.memory.write(Gpa(u64::from(at) << 2), &[value]),
        }
        assert!(bench.waiting.len() <= bench.device.most_requests());
    }
    while bench.serve() {}
    bench.write(CONTROL, Width::Byte, control::RESET.into());
    bench.write(CONTROL, Width::Byte, 0);
    assert_eq!(bench.read(CONTROL, Width::Byte), u64::from(status::READY));
});

/// Goes on with another controller, which is as this one is, or as somebody made its state.
fn move_on(bench: &mut Bench<Ide, VecMemory>, input: &mut Input<'_>) {
    while bench.serve() {}
    let good = saved(&bench.device);
    let (mut bytes, forgeries) = (good.clone(), input.u8() & 3);
    for _ in 0..forgeries {
        // What is behind the first bytes are buffers, which hold anything.
        let place = usize::from(input.u8()) % bytes.len();
        bytes[place] = input.u8();
    }
    bench.device.reset();
    let before = saved(&bench.device);
    let outcome = bench.device.restore(&bytes);
    assert!(outcome.is_ok() || forgeries > 0, "its own state is refused");
    assert!(outcome.is_err() || forgeries > 0 || saved(&bench.device) == good);
    if outcome.is_err() {
        assert!(saved(&bench.device) == before, "what is refused has changed something");
        bench.device.restore(&good).expect("its own state is taken");
    }
    bench.line = bench.device.line();
}

fn saved(device: &Ide) -> Vec<u8> {
    let mut bytes = vec![0; STATE_BYTES];
    let used = device.save(&mut bytes).expect("nothing is at the medium");
    bytes.truncate(used);
    bytes
}
