//! Virtqueues that break a rule, whatever device they are of: it must ask for a reset, and work after
//! it. And what the second processor does to a queue in use.

use super::{ARENA, NOWHERE, Numbers, Outcome, PATIENCE, hold, nowhere, second};
use support::cpu::{write8, write16, write32};
use support::println;
use support::time::wait_until;
use support::virtio::register::{
    QUEUE_ENABLE, QUEUE_PLACES, QUEUE_RESET, QUEUE_SELECT, QUEUE_SIZE, QUEUE_VECTOR, STATUS,
};
use support::virtio::{AVAILABLE, INDIRECT, NEXT, NOTIFY, Part, Ring, USED, Virtio, WRITE, describe};

/// The queue that is attacked.
pub const RING: u64 = ARENA;
/// An indirect table.
const TABLE: u64 = ARENA + 0x4000;
/// What chains have for data.
pub const DATA: u64 = ARENA + 0x1_0000;
pub const DATA_BYTES: u64 = 0x2_0000;

/// A way to break a rule: what it is called, and what it makes of an empty queue.
type Break = (&'static str, fn(&mut Ring));

/// Those of the descriptors and the available ring.
const BREAKS: &[Break] = &[
    ("a loop of two", |ring| {
        ring.describe(0, DATA, 16, NEXT, 1);
        ring.describe(1, DATA, 16, NEXT, 0);
        ring.offer(0);
    }),
    ("a loop of one", |ring| {
        ring.describe(0, DATA, 1, NEXT | WRITE, 0);
        ring.offer(0);
    }),
    ("a loop of nothing", |ring| {
        ring.describe(0, DATA, 0, NEXT, 0);
        ring.offer(0);
    }),
    ("a head that is the size", |ring| ring.offer(ring.size)),
    ("a head beyond", |ring| ring.offer(0xffff)),
    ("a link beyond", |ring| {
        ring.describe(0, DATA, 16, NEXT, ring.size);
        ring.offer(0);
    }),
    ("an index one too far", |ring| ring.jump(ring.size + 1)),
    ("an index half way round", |ring| ring.jump(0x8000)),
    ("an index backwards", |ring| ring.jump(0xffff)),
    ("what is read behind what is written", |ring| {
        ring.chain(0, &[(DATA, 16, true), (DATA + 16, 16, false)]);
        ring.offer(0);
    }),
    ("an end beyond every address", |ring| {
        ring.chain(0, &[(u64::MAX - 3, 16, false), (DATA, 16, true)]);
        ring.offer(0);
    }),
    ("lengths that overflow", |ring| {
        ring.chain(0, &[(DATA, u32::MAX, false), (DATA, u32::MAX, true)]);
        ring.offer(0);
    }),
    ("a table in a table", |ring| {
        describe(TABLE, 0, TABLE + 0x100, 16, INDIRECT, 0);
        describe(TABLE + 0x100, 0, DATA, 16, WRITE, 0);
        offer_table(ring, TABLE, 16, 0);
    }),
    ("a table that is itself", |ring| {
        describe(TABLE, 0, TABLE, 16, INDIRECT, 0);
        offer_table(ring, TABLE, 16, 0);
    }),
    ("a table that goes on", |ring| offer_table(ring, TABLE, 16, NEXT)),
    ("a table of nothing", |ring| offer_table(ring, TABLE, 0, 0)),
    ("a table and a half", |ring| offer_table(ring, TABLE, 24, 0)),
    ("a table larger than the queue", |ring| offer_table(ring, TABLE, 16 * (u32::from(ring.size) + 1), 0)),
    ("a table of 4 GiB", |ring| offer_table(ring, TABLE, 0xffff_fff0, 0)),
    ("a loop in a table", |ring| {
        describe(TABLE, 0, DATA, 16, NEXT, 1);
        describe(TABLE, 1, DATA, 16, NEXT, 0);
        offer_table(ring, TABLE, 32, 0);
    }),
    ("a link out of a table", |ring| {
        describe(TABLE, 0, DATA, 16, NEXT, 1);
        offer_table(ring, TABLE, 16, 0);
    }),
    ("a table beyond every address", |ring| offer_table(ring, u64::MAX - 7, 16, 0)),
];

fn offer_table(ring: &mut Ring, table: u64, bytes: u32, more: u16) {
    ring.describe(0, table, bytes, INDIRECT | more, 1);
    ring.describe(1, DATA, 16, 0, 0);
    ring.offer(0);
}

/// Those of a packed queue: what its first descriptors are, each an address, bytes and flags. Those behind are
/// as the last one.
const PACKED_BREAKS: &[(&str, &[(u64, u32, u16)])] = &[
    ("a list without an end", &[(DATA, 1, AVAILABLE | NEXT)]),
    ("a list of nothing without an end", &[(DATA, 0, AVAILABLE | NEXT)]),
    ("a list of which only the start is available", &[(DATA, 16, AVAILABLE | NEXT), (DATA, 1, 0)]),
    ("a list that goes on in another lap", &[(DATA, 16, AVAILABLE | NEXT), (DATA, 1, USED)]),
    ("a list that goes on in what is used", &[(DATA, 16, AVAILABLE | NEXT), (DATA, 1, AVAILABLE | USED)]),
    ("what is read behind what is written", &[(DATA, 16, AVAILABLE | NEXT | WRITE), (DATA, 16, AVAILABLE)]),
    ("an end beyond every address", &[(u64::MAX - 3, 16, AVAILABLE), (0, 0, 0)]),
    ("lengths that overflow", &[(DATA, u32::MAX, AVAILABLE | NEXT), (DATA, u32::MAX, AVAILABLE), (0, 0, 0)]),
    ("a table that goes on", &[(TABLE, 16, AVAILABLE | INDIRECT | NEXT), (DATA, 16, AVAILABLE), (0, 0, 0)]),
    (
        "a table behind a buffer",
        &[(DATA, 16, AVAILABLE | NEXT), (TABLE, 16, AVAILABLE | INDIRECT), (0, 0, 0)],
    ),
    ("a table of nothing", &[(TABLE, 0, AVAILABLE | INDIRECT), (0, 0, 0)]),
    ("a table and a half", &[(TABLE, 24, AVAILABLE | INDIRECT), (0, 0, 0)]),
    ("a table larger than the queue", &[(TABLE, 16 * 257, AVAILABLE | INDIRECT), (0, 0, 0)]),
    ("a table of 4 GiB", &[(TABLE, 0xffff_fff0, AVAILABLE | INDIRECT), (0, 0, 0)]),
    ("a table beyond every address", &[(u64::MAX - 7, 16, AVAILABLE | INDIRECT), (0, 0, 0)]),
];

/// How long a device is given to use what it need not, in microseconds.
const A_WHILE: u64 = 20_000;

/// What is attacked.
pub struct Target<'a> {
    pub device: Virtio,
    pub queue: u16,
    pub size: u16,
    /// A chain that the device would take, in the first descriptors.
    pub good: &'a [Part],
    /// Whether the device is used after each of them; it is reset after each in any case.
    pub uses_each: bool,
    /// Whether the device soon writes when it wants to be notified, as it does where it stops polling: it
    /// need not while frames come and go, of the attack or of others.
    pub stops_polling: bool,
    /// Where the guest's memory ends.
    pub memory_end: u64,
    /// Sets the device up, but for that queue. Whether it could.
    pub prepare: &'a dyn Fn() -> bool,
    /// Has it look at the queue, where a notification does not.
    pub provoke: &'a dyn Fn(),
}

impl Target<'_> {
    /// Starts the device with the queue at `places`, as `offer` leaves it. Whether it asks for a reset.
    fn is_refused(&self, places: [u64; 3], offer: impl FnOnce(&mut Ring)) -> bool {
        self.is_refused_within(PATIENCE, places, offer)
    }

    fn is_refused_within(&self, microseconds: u64, places: [u64; 3], offer: impl FnOnce(&mut Ring)) -> bool {
        if !(self.prepare)() {
            return false;
        }
        let mut ring = Ring::new(RING, self.size);
        self.device.enable(self.queue, self.size, places);
        self.device.start();
        offer(&mut ring);
        self.device.kick(self.queue);
        wait_until(microseconds, || {
            (self.provoke)();
            self.device.needs_reset()
        })
    }
}

/// Everything that breaks a rule, after each of which `is_well` resets the device and uses it.
pub fn run(target: &Target<'_>, is_well: &mut dyn FnMut() -> bool) -> Outcome {
    let good = Ring::new(RING, target.size).places();
    for (what, offer) in BREAKS {
        hold(target.is_refused(good, offer), what)?;
        hold(!target.uses_each || is_well(), what)?;
    }
    let end = target.memory_end;
    for place in nowhere(target.device.base).into_iter().chain([end - 8, end]) {
        hold(target.is_refused(good, |ring| offer_table(ring, place, 16, 0)), "a table where nothing is")?;
    }
    hold(is_well(), "tables where nothing is broke it")?;
    for part in 0..3 {
        // The last place is so that the queue begins in memory: its indexes are there, its entries not.
        for place in nowhere(target.device.base).into_iter().chain([end - [0, 2, 4][part]]) {
            let mut places = good;
            places[part] = place;
            let offer = |ring: &mut Ring| {
                ring.chain(0, target.good);
                ring.offer(0);
            };
            let is_refused = target.is_refused(places, offer);
            if !is_refused {
                println!("functions: queue {} with part {part} at {place:#x}", target.queue);
            }
            hold(is_refused, "a queue where nothing is")?;
        }
        hold(is_well(), "a queue where nothing is broke it")?;
    }
    unaligned(target, good)?;
    geometry(target, good)?;
    hold(is_well(), "what is written to a queue's registers broke it")
}

/// The same for packed queues, which `target` agrees on.
pub fn run_packed(target: &Target<'_>, is_well: &mut dyn FnMut() -> bool) -> Outcome {
    let good = Ring::new(RING, target.size).places();
    for (what, descriptors) in PACKED_BREAKS {
        let offer = |ring: &mut Ring| {
            // The first one is written last.
            for index in (0..ring.size).rev() {
                let place = usize::from(index).min(descriptors.len() - 1);
                let (gpa, bytes, flags) = descriptors[place];
                // What stands there for the next one is the flags, and the ID before it.
                ring.describe(index, gpa, bytes, 0xffff, flags);
            }
        };
        hold(target.is_refused(good, offer), what)?;
        hold(!target.uses_each || is_well(), what)?;
    }
    for part in 0..3 {
        for place in nowhere(target.device.base) {
            let mut places = good;
            places[part] = place;
            let offer = |ring: &mut Ring| {
                for (index, (gpa, bytes, written)) in target.good.iter().enumerate().rev() {
                    let more = if index + 1 < target.good.len() { NEXT } else { 0 };
                    let direction = if *written { WRITE } else { 0 };
                    ring.describe(index as u16, *gpa, *bytes, 0, AVAILABLE | more | direction);
                }
            };
            if part == 2 && !target.stops_polling {
                // Whether it is refused or not used, it does no harm.
                target.is_refused_within(A_WHILE, places, offer);
                continue;
            }
            let is_refused = target.is_refused(places, offer);
            if !is_refused {
                println!("functions: packed queue {} with part {part} at {place:#x}", target.queue);
            }
            hold(is_refused, "a packed queue where nothing is")?;
        }
        hold(is_well(), "a packed queue where nothing is broke it")?;
    }
    Ok(())
}

/// Where a queue cannot begin, it is refused when it is enabled.
fn unaligned(target: &Target<'_>, good: [u64; 3]) -> Outcome {
    for (part, by) in [(0, 8), (1, 1), (2, 2)] {
        hold((target.prepare)(), "it does not start")?;
        let mut places = good;
        places[part] += by;
        target.device.enable(target.queue, target.size, places);
        hold(target.device.needs_reset(), "a queue that is not aligned")?;
    }
    Ok(())
}

/// Sizes that there are not, and what is written once the queue is enabled.
fn geometry(target: &Target<'_>, good: [u64; 3]) -> Outcome {
    let Target { device, queue, size, .. } = *target;
    hold((target.prepare)(), "it does not start")?;
    device.place(queue, size, good);
    for wrong in [0, 3, size + 1, 0x8000, 0xffff] {
        write16(device.base + QUEUE_SIZE, wrong);
        hold(device.places(queue).0 == size, "a size that is none")?;
    }
    device.enable(queue, size, good);
    device.start();
    for place in NOWHERE {
        device.place(queue, 1, [place; 3]);
        hold(device.places(queue) == (size, good), "a queue moved after its start")?;
    }
    // Queues that there are not.
    for other in [16, 0x7fff, 0xffff] {
        device.enable(other, 2, [DATA; 3]);
    }
    Ok(())
}

/// Has the second processor rewrite the memory of the queue at [`RING`], or with `registers` the
/// registers of the device too, where it is and what it may do.
pub fn start_disturbance(device: &Virtio, queue: u16, size: u16, registers: bool) -> bool {
    let work = if registers { rewrite_registers } else { rewrite_memory };
    let what = u64::from(queue) << 32 | u64::from(size);
    second::start([device.base, device.function.0.into(), what, 0], work)
}

fn rewrite_memory() -> ! {
    let [base, _, what, _] = second::words();
    let mut numbers = Numbers::new(0x1234_5678);
    while second::goes_on() {
        rewrite(&mut numbers, base, what as u16);
    }
    second::end()
}

/// Rewrites some of what is in memory for a queue of so many descriptors.
fn rewrite(numbers: &mut Numbers, base: u64, size: u16) {
    let size = u64::from(size);
    let places = [DATA, DATA + 0x1000, DATA + 0xfff, TABLE, 0x3000_0000, 0xfee0_0000, base, u64::MAX - 15];
    let lengths = [0, 1, 12, 16, 512, 513, 0x1000, 0x1_0000, u32::MAX];
    let at = if numbers.next().is_multiple_of(4) { TABLE } else { RING };
    let index = numbers.next() % size.min(16);
    let (gpa, bytes) = (numbers.one_of(&places), numbers.one_of(&lengths));
    let next = numbers.next() % (size + 1);
    describe(at, index as u16, gpa, bytes, numbers.next() as u16 & 7, next as u16);
    match numbers.next() % 8 {
        0 => write16(RING + 0x1002, numbers.next() as u16),
        1 => write16(RING + 0x2002, numbers.next() as u16),
        2 => write16(RING + 0x1004 + 2 * index, next as u16),
        // When to be told, of either side.
        3 => write16(RING + 0x1004 + 2 * size, numbers.next() as u16),
        4 => write16(RING + 0x2004 + 8 * size, numbers.next() as u16),
        // What a request begins with: its type and where, or the header of a frame.
        5 => write32(DATA, numbers.one_of(&[0, 1, 4, 8, 11, 13, 0x0101, u32::MAX])),
        6 => write32(DATA + 8, numbers.next() as u32 & 0xffff),
        _ => write32(DATA + 12, numbers.one_of(&[0, 0, 0, 1, u32::MAX])),
    }
}

fn rewrite_registers() -> ! {
    let [base, function, what, _] = second::words();
    let (queue, size) = ((what >> 32) as u16, what as u16);
    let function = support::pci::Function(function as u16);
    let home = [function.read_ecam(0x10), function.read_ecam(0x14)];
    let mut numbers = Numbers::new(0x8765_4321);
    while second::goes_on() {
        rewrite(&mut numbers, base, size);
        let value = numbers.next();
        match value >> 8 & 15 {
            0 => [0, 2, 4, 6].into_iter().for_each(|command| function.write_ecam(4, command)),
            1 => {
                function.write_ecam(0x10, numbers.one_of(&[DATA as u32, 0xfee0_0000, 0xffff_ffff, 0]));
                function.write_ecam(0x10, home[0]);
                function.write_ecam(0x14, home[1]);
            }
            2 => write8(base + STATUS, numbers.one_of(&[0, 0, 4, 15, 0x80])),
            3 => write16(base + QUEUE_SELECT, numbers.one_of(&[0, queue, queue, 0xffff])),
            4 => write16(base + QUEUE_SIZE, numbers.one_of(&[0, 1, size, 0x8000])),
            5 => {
                write16(base + QUEUE_ENABLE, 1);
                write16(base + QUEUE_RESET, value as u16 & 1);
            }
            6 => write16(base + QUEUE_VECTOR, value as u16),
            7 => write32(base + QUEUE_PLACES + (value >> 16 & 0x1c), numbers.one_of(&[RING as u32, 0])),
            // MSI-X on and off, masked and not; and its table.
            8 => function.write_ecam(0x40, (value as u32) << 30),
            9 => {
                let entry = base + 0x4000 + (value >> 16 & 0x30);
                write32(entry, numbers.one_of(&[0, 0xfee0_0000, DATA as u32, u32::MAX]));
                write32(entry + 8, 0x61);
                write32(entry + 12, value as u32 >> 31);
            }
            _ => write32(base + NOTIFY + (value >> 16 & 0xffc), value as u32),
        }
    }
    function.write_ecam(0x10, home[0]);
    function.write_ecam(0x14, home[1]);
    function.write_ecam(4, 6);
    second::end()
}
