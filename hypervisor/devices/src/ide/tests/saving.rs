//! Controllers that are saved, restored and forged.

use super::*;
use crate::ide::channel::Phase;
use crate::ide::dma::Transfer;
use crate::ide::geometry::Geometry;
use crate::ide::pio::{BUFFER_BYTES, Data, Pio};
use crate::ide::state::{STATE_BYTES, State, VERSION};
use crate::snapshot::{self, RestoreFault, SaveFault};

fn save(device: &Ide) -> Vec<u8> {
    let mut bytes = std::vec![0; STATE_BYTES];
    let length = device.save(&mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

/// `state` as bytes, with buffers of zeroes.
fn bytes_of(state: &State) -> Vec<u8> {
    let mut bytes = std::vec![0; STATE_BYTES];
    let head = snapshot::encode(VERSION, state, &mut bytes).unwrap();
    bytes.truncate(head + 2 * BUFFER_BYTES);
    bytes
}

/// Goes on with another controller, which is as this one is.
fn move_on(machine: &mut Machine) {
    let bytes = save(&machine.device);
    let disks = machine.device.state().channels.map(|channel| channel.units.map(|unit| unit.disk));
    machine.device = Ide::new(disks);
    machine.device.restore(&bytes).unwrap();
    assert_eq!(save(&machine.device), bytes);
    assert_eq!(machine.line, machine.device.line());
}

#[test]
fn a_driver_goes_on_in_the_middle_of_its_data() {
    let mut machine = machine();
    machine.medium.bytes.fill(7);
    issue(&mut machine, 0, command::SET_MULTIPLE, 0, 4);
    issue(&mut machine, 0, command::READ_MULTIPLE, 3, 20);
    let mut read = std::vec![0; 20 * 512];
    for part in read.chunks_mut(1000) {
        move_on(&mut machine);
        machine.read_string(register::DATA, Width::Dword, part);
    }
    assert_eq!(read, std::vec![7; 20 * 512]);
    issue(&mut machine, 1, command::WRITE_MULTIPLE, 3, 20);
    let data: Vec<u8> = (0..20 * 512_u32).map(|at| (at >> 5) as u8).collect();
    for part in data.chunks(3000) {
        move_on(&mut machine);
        machine.write_string(CHANNEL_STRIDE + register::DATA, Width::Word, part);
    }
    assert_eq!(machine.medium.bytes[(SECTORS as usize + 3) * 512..][..data.len()], data);
}

#[test]
fn a_transfer_that_waits_for_its_bus_master_is_moved_with_it() {
    let mut machine = machine();
    machine.medium.bytes.fill(7);
    table(&machine, &[(DATA, 512 | master::LAST)]);
    machine.write(BUS_MASTER + master::TABLE, Width::Dword, TABLE);
    issue(&mut machine, 0, command::READ_DMA, 9, 1);
    assert_eq!(get(&mut machine, CONTROL), status::BUSY);
    move_on(&mut machine);
    put(&mut machine, BUS_MASTER, master::TO_MEMORY | master::START);
    assert!(machine.line);
    move_on(&mut machine);
    let mut data = [0; 512];
    machine.memory.read(Gpa(DATA), &mut data).unwrap();
    assert_eq!(data, [7; 512]);
    assert_eq!(get(&mut machine, BUS_MASTER + master::STATUS), master::INTERRUPT);
}

#[test]
fn there_is_no_state_while_a_request_is_at_the_medium() {
    let mut machine = machine();
    machine.hold = true;
    table(&machine, &[(DATA, 512 | master::LAST)]);
    dma(&mut machine, 0, command::READ_DMA, 0, 1);
    let mut bytes = std::vec![0; STATE_BYTES];
    assert_eq!(machine.device.save(&mut bytes), Err(SaveFault::Busy));
    put(&mut machine, CONTROL, control::RESET);
    put(&mut machine, CONTROL, 0);
    assert_eq!(machine.device.save(&mut bytes), Err(SaveFault::Busy), "it moves data yet");
    machine.serve();
    assert!(machine.device.save(&mut bytes).is_ok());
    for room in [0, 100, 2 * BUFFER_BYTES] {
        assert_eq!(machine.device.save(&mut bytes[..room]), Err(SaveFault::TooLong));
    }
}

/// A request from before does not end a command from after.
#[test]
fn a_restored_controller_forgets_its_own_requests() {
    let bytes = save(&machine().device);
    let mut machine = machine();
    machine.hold = true;
    issue(&mut machine, 0, ata::FLUSH_CACHE, 0, 0);
    machine.device.restore(&bytes).unwrap();
    assert_eq!(get(&mut machine, CONTROL), status::READY);
    issue(&mut machine, 0, ata::FLUSH_CACHE, 0, 0);
    assert!(machine.serve());
    assert_eq!(get(&mut machine, CONTROL), status::BUSY);
    assert!(machine.serve());
    assert_eq!(get(&mut machine, CONTROL), status::READY);
}

#[test]
fn states_that_are_cut_off_or_of_something_else() {
    let bytes = save(&machine().device);
    let mut device = machine().device;
    for length in [0, 1, 100, 2 * BUFFER_BYTES, bytes.len() - 1] {
        assert!(device.restore(&bytes[..length]).is_err(), "{length}");
    }
    assert_eq!(device.restore(&[&bytes[..], &[0]].concat()), Err(RestoreFault::Malformed));
    assert_eq!(device.restore(&[&[77], &bytes[1..]].concat()), Err(RestoreFault::Version(77)));
    let disk = Disk { start: 0, sectors: SECTORS, serial: *b"B-0001              " };
    let second = Disk { start: SECTORS * 512, ..disk };
    for disks in [
        [[Some(disk), None], [None; 2]],
        [[Some(disk), None], [Some(disk), None]],
        [[Some(disk), Some(second)], [None; 2]],
        [[Some(Disk { sectors: SECTORS - 1, ..disk }), None], [Some(second), None]],
    ] {
        assert_eq!(Ide::new(disks).restore(&bytes), Err(RestoreFault::Configuration));
    }
    assert_eq!(save(&device), bytes);
}

/// One forgery: what is changed, and what is said of it.
type Forgery = (fn(&mut State), &'static str);

/// Restores what `forge` makes of the state of `machine`. It has to be refused, and to change nothing.
fn refused(machine: &mut Machine, (place, (forge, said)): (usize, Forgery)) {
    let before = save(&machine.device);
    let mut state = machine.device.state();
    forge(&mut state);
    let fault = machine.device.restore(&bytes_of(&state)).expect_err(said);
    let is_said = matches!(fault, RestoreFault::Impossible(what) if what.contains(said));
    assert!(is_said, "{place}: {fault} instead of {said}");
    assert_eq!(save(&machine.device), before);
}

#[test]
fn states_that_no_idle_controller_has() {
    let forgeries: [Forgery; 19] = [
        (|state| state.channels[0].control |= control::RESET, "the status"),
        (|state| state.channels[0].units[0].status = status::BUSY, "the status"),
        (|state| state.channels[0].units[0].status = status::READY | status::DATA_REQUEST, "the status"),
        (|state| state.channels[1].units[0].status = 0, "the status"),
        (|state| state.channels[0].units[0].status |= status::ERROR, "the error"),
        (|state| state.channels[0].units[0].error = error::ABORTED, "the error"),
        (|state| state.channels[0].units[0].error = 3, "the error"),
        (|state| state.channels[0].units[0].multiple = 3, "blocks"),
        (|state| state.channels[0].units[0].multiple = 32, "blocks"),
        (|state| state.channels[0].units[1].status = status::READY, "a device that is not there"),
        (|state| state.channels[0].units[1].interrupt = true, "a device that is not there"),
        (|state| state.channels[0].units[0].geometry = Geometry::forge(17, 63), "cylinders"),
        (|state| state.channels[0].phase = Phase::Flush { submitted: true }, "the status"),
        (
            |state| {
                state.channels[0].units[0].status = status::BUSY;
                state.channels[0].units[0].error = 0;
                state.channels[0].phase = Phase::Flush { submitted: false };
            },
            "a flush",
        ),
        (|state| state.channels[1].master.status = master::ACTIVE, "a bus master"),
        (|state| state.channels[1].master.status = 8, "a bus master"),
        (|state| state.channels[1].master.forge(0x80, 0, (0, 0)), "a bus master"),
        (|state| state.channels[1].master.forge(0, 2, (0, 0)), "a bus master"),
        (|state| state.channels[1].master.forge(0, 0, (0xffff_f000, 0x1002)), "a bus master"),
    ];
    let mut machine = machine();
    forgeries.into_iter().enumerate().for_each(|forgery| refused(&mut machine, forgery));
    assert_eq!(get(&mut machine, CONTROL), status::READY);
}

fn pio(data: Data, first: u64, sectors: u32) -> Phase {
    Phase::Pio(Pio::new(data, first, sectors, 1))
}

#[test]
fn states_that_no_controller_in_mid_command_has() {
    let mut machine = machine();
    issue(&mut machine, 0, command::WRITE_SECTORS, 3, 2);
    let forgeries: [Forgery; 8] = [
        (|state| state.channels[0].control |= control::RESET, "a command"),
        (|state| state.channels[0].units[0].status = status::READY, "the status"),
        (|state| state.channels[0].units[0].error = 1, "the error"),
        (|state| state.channels[0].phase = pio(Data::Write, SECTORS, 1), "data"),
        (|state| state.channels[0].phase = pio(Data::Write, 3, 0), "data"),
        (|state| state.channels[0].phase = pio(Data::Write, u64::MAX, 2), "data"),
        (|state| state.channels[0].phase = pio(Data::Identify, 3, 2), "data"),
        (|state| state.channels[0].phase = pio(Data::Read, 3, 2), "data"),
    ];
    forgeries.into_iter().enumerate().for_each(|forgery| refused(&mut machine, forgery));
    machine.write_string(register::DATA, Width::Word, &[9; 1024]);
    assert_eq!(machine.medium.bytes[3 * 512..5 * 512], [9; 1024]);
    issue(&mut machine, 0, command::READ_DMA, 3, 2);
    let forgeries: [Forgery; 6] = [
        (|state| state.channels[0].phase = Phase::Idle, "the status"),
        (|state| state.channels[0].units[0].interrupt = true, "a busy disk"),
        (|state| state.channels[0].phase = transfer(SECTORS - 1, 2, 0), "a transfer"),
        (|state| state.channels[0].phase = transfer(0, 0, 0), "a transfer"),
        (|state| state.channels[0].phase = transfer(0, 2, 1), "a transfer"),
        (|state| state.channels[0].master.forge(master::START, 0, (0, 0)), "a transfer waits"),
    ];
    forgeries.into_iter().enumerate().for_each(|forgery| refused(&mut machine, forgery));
}

fn transfer(first: u64, sectors: u32, submitted: u32) -> Phase {
    Phase::Dma(Transfer { write: false, first, sectors, submitted })
}

#[test]
fn the_longest_state_fits() {
    let disk = Disk { start: u64::MAX, sectors: u64::MAX, serial: [b'x'; 20] };
    let mut state = Ide::new([[Some(disk); 2]; 2]).state();
    for channel in &mut state.channels {
        channel.phase = Phase::Pio(Pio::new(Data::Write, u64::MAX, u32::MAX, 16));
        channel.master.forge(u8::MAX, u32::MAX, (u64::MAX, u32::MAX));
    }
    // Two places in the buffer are zero here, and are of two bytes else.
    assert!(bytes_of(&state).len() + 2 * 2 * 2 <= STATE_BYTES);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// A controller that is saved and restored into another one in mid-run ends as one that was not.
    #[test]
    fn nobody_can_tell(before in steps(100), after in steps(100)) {
        let mut machines = [stepped(), stepped()];
        for (place, machine) in machines.iter_mut().enumerate() {
            before.iter().for_each(|next| step(machine, *next));
            while machine.serve() {}
            if place == 1 {
                move_on(machine);
            }
            after.iter().for_each(|next| step(machine, *next));
            while machine.serve() {}
        }
        let [plain, restored] = machines;
        prop_assert!(plain.medium == restored.medium);
        prop_assert_eq!(save(&plain.device), save(&restored.device));
        prop_assert_eq!(plain.line, restored.line);
    }

    /// What is damaged is refused, and changes nothing; or it is a state like another, with which nothing
    /// breaks.
    #[test]
    fn damaged_states_break_nothing(
        before in steps(60),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        after in steps(60),
    ) {
        let mut machine = stepped();
        before.iter().for_each(|next| step(&mut machine, *next));
        while machine.serve() {}
        let good = save(&machine.device);
        let mut bytes = good.clone();
        for (place, value) in damage {
            // The buffers take anything.
            let place = place.index(bytes.len() - 2 * BUFFER_BYTES);
            bytes[place] = value;
        }
        if machine.device.restore(&bytes).is_err() {
            prop_assert_eq!(save(&machine.device), good);
        }
        machine.line = machine.device.line();
        after.iter().for_each(|next| step(&mut machine, *next));
        while machine.serve() {}
        prop_assert!(machine.device.save(&mut std::vec![0; STATE_BYTES]).is_ok());
    }
}
