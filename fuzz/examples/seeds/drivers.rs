//! Seeds for drives, network interfaces and their drivers.

use super::Seeds;

pub fn nvme() -> Seeds {
    // A page of memory as the target's addresses go.
    let page = |page: u8| [page, 4];
    let io = |queue: u8, opcode: u8, first: u8, blocks: u8, prp1: u8, prp2: u8| {
        let head = [12, queue, opcode, first, 0, blocks - 1, 0, 0, 7, 0, 0];
        [&head[..], &page(prp1), &page(prp2), &[1]].concat()
    };
    let admin = |opcode: u8, low: u8, high: u8, next: [u8; 2]| {
        let head = [11, opcode, low, high, next[0], next[1], 0, 0, 9, 0, 0];
        [&head[..], &page(0x30), &page(0x31), &[1]].concat()
    };
    let list = [&[7][..], &page(0x3c), &[4], &page(0x38), &page(0x34), &page(0x35), &page(0x39)].concat();
    let identify = [0, 1, 2, 3].map(|cns| admin(0, cns, 0, [0, 0])).concat();
    let features = [1, 2, 4, 5, 6, 7, 8, 9, 10, 11].map(|feature| admin(8, feature, 0, [1, 0])).concat();
    let logs = [1, 2, 3].map(|log| admin(3, log, 15, [0, 0])).concat();
    let reads =
        [io(1, 0, 8, 8, 0x30, 0), io(2, 0, 100, 16, 0x30, 0x31), io(3, 0, 0, 40, 0x30, 0x3c)].concat();
    let writes = [io(1, 1, 8, 8, 0x30, 0), io(2, 2, 0, 1, 0, 0), io(3, 1, 0, 40, 0x30, 0x3c)].concat();
    let late = [vec![8, 5], reads.clone(), vec![9, 3], admin(1, 1, 0, [0, 0]), vec![9, 31, 3, 1, 1, 3, 0, 9]]
        .concat();
    let resets =
        [vec![8, 5], reads.clone(), vec![8, 3, 8, 6, 9, 31, 8, 1], reads.clone(), vec![8, 0, 9, 31]].concat();
    vec![
        ("admin", [&[0][..], &identify, &features, &logs].concat()),
        ("transfers", [&[0][..], &list, &reads, &writes].concat()),
        ("read-only", [&[2][..], &list, &reads, &writes].concat()),
        ("late", [&[0x20][..], &list, &late].concat()),
        ("resets", [&[1][..], &list, &resets].concat()),
    ]
}

/// What the device is, then steps: see the target.
pub fn virtio_blk() -> Seeds {
    // A place in the data as the target's addresses go.
    let data = [0_u8, 0, 5];
    let send = |queue: u8, head: u8, kind: u8, sector: u8, segments: u8, unit: u8| {
        [&[13, queue, head, kind, 0, sector, segments][..], &data, &[unit, 1]].concat()
    };
    let range = |sector: u8| [&[sector, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 7]].concat();
    let list = [&[6][..], &data, &[128], &(0..8).flat_map(range).collect::<Vec<_>>()].concat();
    let reads = [send(0, 0, 0, 8, 8, 4), send(0, 20, 0, 0, 64, 4), send(1, 0, 0, 40, 2, 32)].concat();
    let writes = [send(0, 90, 1, 8, 3, 4), send(0, 100, 2, 0, 0, 0), send(1, 10, 1, 0, 4, 32)].concat();
    let others = [send(0, 40, 3, 0, 1, 1), list, send(0, 50, 4, 0, 1, 1), send(0, 60, 5, 0, 1, 1)].concat();
    let all = [&reads[..], &writes, &others, &send(0, 70, 6, 0, 0, 0)].concat();
    let poll = [11, 12, 1, 11, 12, 0];
    let late =
        [&[8, 5][..], &all, &[9, 3, 1, 8, 1, 9, 31, 7, 9, 31, 0, 8, 7], &reads, &[8, 0, 8, 4, 8, 7]].concat();
    let states = [&all[..], &[8, 6, 0, 8, 6, 1, 40, 0, 1, 8, 6, 2, 3, 0, 9, 80, 0, 1], &reads].concat();
    let shift = |after: u8, low: u8, value: u8| [&[7, after, low, 0, 2, value][..], &[0; 7]].concat();
    let changing = [shift(2, 0, 1), shift(4, 8, 64), reads.clone(), shift(3, 16, 3), writes.clone()].concat();
    let circle = [4, 0, 0, 0, 0, 0, 5, 1, 1, 1, 4, 1, 0, 0, 0, 0, 5, 1, 1, 0, 5, 0, 0, 8, 7];
    let indirect = [4, 0, 0, 0, 0, 0, 5, 3, 4, 0, 5, 0, 0];
    vec![
        ("requests", [&[0x40][..], &all].concat()),
        ("blocks", [&[0x41][..], &all].concat()),
        ("read-only", [&[0x42][..], &all].concat()),
        ("polled", [&[0x50][..], &reads, &poll, &writes, &poll, &others, &poll].concat()),
        ("late", [&[0x40][..], &late].concat()),
        ("packed", [&[0xc0][..], &all, &[8, 8, 0, 127], &reads].concat()),
        ("packed-polled", [&[0xd0][..], &reads, &poll, &writes, &poll, &others, &poll].concat()),
        ("packed-late", [&[0xc0][..], &late].concat()),
        ("states", [&[0x50][..], &states].concat()),
        ("changing", [&[0x40][..], &changing].concat()),
        ("chains", [&[0x40][..], &circle, &indirect, &circle].concat()),
    ]
}

/// What the device is, then steps: see the target.
pub fn virtio_character() -> Seeds {
    // One segment of 64 bytes, that the device writes or reads.
    let add = |queue: u8, shape: u8| [11, queue, shape, 0, 0, 64, 0, 0];
    let random = [&[0_u8, 100, 0][..], &add(0, 8), &add(0, 8), &[6, 0, 0, 1, 0x14], &add(0, 8)].concat();
    let failing = [&[2_u8, 4, 0][..], &add(0, 8), &[7], &[0xff; 8], &add(0, 8)].concat();
    let prints = [&[1_u8][..], &add(1, 0), &[4, 40], &add(1, 0), &[4, 255]].concat();
    let types =
        [&[1_u8][..], &add(0, 8), &[5, b'x', 5, b'y'], &add(0, 8), &[5, b'z', 6, 1, 9, 0, 7]].concat();
    let lies = [1_u8, 10, 1, 1, 0, 3, 2, 5, 0, 3, 1, 4, 9, 5, 1, 10, 0, 3, 9, 5, 2, 0, 0, 5, 1];
    vec![
        ("random", random),
        ("failing", failing),
        ("prints", prints),
        ("types", types),
        ("lies", lies.to_vec()),
    ]
}

/// A choice of how many slots there are, then steps: see the target.
pub fn ahci() -> Seeds {
    let begin = [0_u8, 6, 6, 6, 6, 5, 6, 6, 5];
    let read = |block: u16, blocks: u8| [&[0][..], &block.to_le_bytes(), &[blocks]].concat();
    let write = |block: u16, blocks: u8| [&[1][..], &block.to_le_bytes(), &[blocks, 0x5a]].concat();
    let good = [&begin[..], &read(3, 8), &[5], &write(40, 100), &[5, 2, 5], &read(41, 99), &[5, 11]].concat();
    // Four in flight, of which the third one fails, and all are taken.
    let held = [&begin[..], &[10], &read(0, 1), &read(1, 2), &read(3, 4), &write(90, 2)].concat();
    let failed = [&held[..], &[4, 3, 2, 5, 4, 0, 0, 5, 4, 0, 0, 5, 4, 0, 0, 5, 6, 11]].concat();
    let unplugged = [&held[..], &[9, 0, 2, 9, 20, 0, 0, 0, 0, 0, 5, 6, 6, 11, 9, 0, 7, 12, 0, 6, 6]].concat();
    vec![("good", good), ("failed", failed), ("unplugged", unplugged)]
}

/// Steps by their numbers in the target.
pub fn nvme_driver() -> Seeds {
    let begin = [0_u8, 0];
    let bring_up = [5_u8, 5, 4, 4, 4, 4, 4, 4];
    let read = |block: u16, blocks: u8| [&[0][..], &block.to_le_bytes(), &[blocks]].concat();
    let write = |block: u16, blocks: u8| [&[1][..], &block.to_le_bytes(), &[blocks, 0x5a]].concat();
    let good =
        [&begin[..], &bring_up, &read(3, 8), &[4], &write(40, 200), &[4, 2, 4], &read(41, 199), &[4, 10]]
            .concat();
    let held = [
        &begin[..],
        &bring_up,
        &[11],
        &read(0, 1),
        &read(1, 40),
        &write(90, 2),
        &[3, 1, 3, 0, 4, 3, 0, 3, 0, 4],
    ]
    .concat();
    let gone = [&begin[..], &bring_up, &[11], &read(0, 1), &[8, 0, 255, 255, 255, 255, 9, 5, 5]].concat();
    let garbage =
        [&begin[..], &bring_up, &[11], &read(0, 1), &[7, 4, 0, 0, 1, 1, 0, 0, 1, 0, 4, 7, 4, 0, 0, 0, 1, 4]]
            .concat();
    let again =
        [&begin[..], &bring_up, &[11], &read(0, 1), &[9, 3, 0], &bring_up, &read(7, 7), &[4]].concat();
    vec![("good", good), ("held", held), ("gone", gone), ("garbage", garbage), ("again", again)]
}

/// An 82574: frames each way, one that hangs, one that lies, and one that is set up late.
pub fn e1000e() -> Seeds {
    let begin = [&[0_u8][..], &[2; 4]].concat();
    let send = [0_u8, 100, 0, 0, 1, 7];
    let receive = [8_u8, 100, 0, 0, 5];
    let good = [&begin[..], &send, &receive, &[4, 0, 0], &send, &receive, &[2]].concat();
    let hung = [&begin[..], &send[..5], &[2, 2, 2, 2], &[2; 4], &send].concat();
    let lies = [&begin[..], &[8, 255, 255, 1, 3, 5, 6, 0, 2, 2, 2, 2, 10, 0, 255, 255, 255, 255, 2]].concat();
    let late = [&[1_u8, 11, 7][..], &[2; 120], &[13, 6, 0], &[2; 4], &receive].concat();
    vec![("good", good), ("hung", hung), ("lies", lies), ("late", late)]
}

/// The same for an 82576, and one whose link is to be negotiated while its semaphores lie.
pub fn igb() -> Seeds {
    let begin = [&[0_u8, 11, 8][..], &[2; 6]].concat();
    let negotiates = [&begin[..], &[10, 6, 1, 0, 0, 0], &[2; 90], &[13, 6, 0], &[2; 8]].concat();
    [e1000e(), vec![("negotiates", negotiates)]].concat()
}

/// Two guests, one in a VLAN, an isolated one, and two uplinks; frames, tagged ones, and a large one.
pub fn switch() -> Seeds {
    let ports = [0_u8, 0, 0, 1, 16, 0, 7, 0, 7, 0];
    let up: Vec<u8> = (0..5_u8).flat_map(|port| [0, 0, 0, 0, 0, port, 0, 1]).collect();
    let send = |from: u8, kind: u8, places: u8| [&[1, 0, 0, 0, 0, from, 1], &[kind, places][..]].concat();
    let payload = [&[60_u8, 8, 0][..], &[0x45; 58]].concat();
    let plain =
        [&send(0, 0x11, 0x02)[..], &payload, &send(3, 0x11, 0x80), &payload, &send(2, 0x11, 0x28), &payload]
            .concat();
    let tagged =
        [&send(3, 0x13, 0x9e)[..], &[1], &payload, &send(1, 0x01, 0x18), &payload, &[16, 0, 6]].concat();
    let headers = [
        &[8_u8, 0, 0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2][..],
        &[0, 80, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x19, 32, 0, 0, 0, 0, 0],
    ]
    .concat();
    let large =
        [&send(0, 0x25, 0x08)[..], &[headers.len() as u8], &headers, &[0, 0xf0, 34, 0, 16, 180, 5, 54, 0]]
            .concat();
    [("plain", plain), ("tagged", tagged), ("large", large)]
        .map(|(name, steps)| (name, [&ports[..], &up, &steps].concat()))
        .into()
}

/// What the network is, its ports, then steps: see the target.
pub fn network_backend() -> Seeds {
    let room = |guest: u8| [0, guest, 4, 15];
    let send = |guest: u8, to: u8| [&[0, guest, 0, 0, to, 0, 10][..], &[7; 10]].concat();
    // A packet of TCP of 5,000 bytes, in segments of 64.
    let large = |guest: u8, to: u8| [0, guest, 0, 4, to, 0, 0, 0, 0, 0x88, 0x13, 5];
    let comes = |to: u8| [&[8, 0, to, 0, 10][..], &[7; 10], &[3]].concat();
    let turns = [&room(0)[..], &[12], &room(1), &[12], &room(2), &[12], &room(1), &[12]].concat();
    let all = |has: &[u8], behind: &[u8]| {
        let frames = [send(0, 1), send(1, 2), send(2, 8), send(0, 12), comes(0), comes(2)].concat();
        let rooms = [room(0), room(1), room(2)].concat();
        [has, &rooms, &frames, &turns, behind, &turns].concat()
    };
    let plain = [2_u8, 0, 0, 0, 0, 0, 0];
    let vlans = [2_u8, 7, 0, 0, 1, 16, 1];
    let limited = [3_u8, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0];
    // The second guest is to have everything cut.
    let cut = [&[0x82_u8, 0, 0][..], &[255; 8], &[0, 0], &[0; 8], &[0, 0], &[255; 8]].concat();
    let larges = [large(0, 1), large(2, 8), large(0, 8), large(2, 12), large(1, 8)].concat();
    let reboots =
        [&larges[..], &[12, 0, 1, 7, 1], &[255; 8], &room(1), &[12, 6, 0, 5, 7, 1], &[255; 6]].concat();
    let lies =
        [7, 0, 12, 12, 7, 1, 12, 7, 2, 2, 12, 10, 200, 12, 7, 7, 1, 7, 5, 2, 12, 10, 200, 7, 6].to_vec();
    let polled = [&[9, 1, 12][..], &send(0, 1), &[9, 0, 12, 0, 1, 9, 0, 12, 9, 1]].concat();
    vec![
        ("plain", all(&plain, &larges)),
        ("vlans", all(&vlans, &larges)),
        ("limited", all(&limited, &send(0, 1))),
        ("cut", all(&cut, &larges)),
        ("reboots", all(&cut, &reboots)),
        ("removed", all(&cut, &[&larges[..], &[12, 12, 10, 0xaa, 0]].concat())),
        ("cards", all(&[0x1a, 0, 0, 0, 0, 0, 0], &larges)),
        ("lies", all(&plain, &lies)),
        ("polled", all(&plain, &polled)),
    ]
}
