//! Each model is built in a heap of the size that is said of it, and works there.

use compartment::{Build, Compartment, Ended, Range, Remote};
use devices::blueprint::{Blueprint, VirtioDevice};
use devices::device::{Context, Device};
use devices::effect::Effects;
use devices::{ide, nvme, virtio};
use models::heap::Heap;
use models::random::Generator;
use models::state::State;
use network::MacAddress;
use spec::{Gpa, Width};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The heap that a thread allocates from, if not from the system's: where it starts and ends.
#[derive(Clone, Copy)]
struct Arena {
    heap: &'static Heap,
    start: usize,
    end: usize,
}

thread_local! {
    static ARENA: Cell<Option<Arena>> = const { Cell::new(None) };
    /// Bytes that were asked for and not given back, and the most of them.
    static USED: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

struct Routed;

// SAFETY: both allocators keep their promises, and a block goes back to the one that it is of by its address.
unsafe impl GlobalAlloc for Routed {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(arena) = ARENA.get() else {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        };
        let (used, most) = USED.get();
        USED.set((used + layout.size(), most.max(used + layout.size())));
        // SAFETY: the caller's promise.
        unsafe { arena.heap.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match ARENA.get().filter(|arena| (arena.start..arena.end).contains(&block.addr())) {
            // SAFETY: the caller's promise; the block is in the arena.
            Some(arena) => unsafe {
                USED.set((USED.get().0 - layout.size(), USED.get().1));
                arena.heap.dealloc(block, layout);
            },
            // SAFETY: the caller's promise; arenas are left only by who has dropped what was in them.
            None => unsafe { System.dealloc(block, layout) },
        }
    }
}

#[global_allocator]
static ALLOCATOR: Routed = Routed;

/// A compartment in this process, with a heap of its own.
struct InProcess {
    words: Vec<u64>,
    state: Option<State>,
    arena: Arena,
    guest: &'static [u8],
}

const GUEST_BYTES: usize = 0x4000;

impl InProcess {
    fn new(build: &Build) -> Self {
        let heap: &'static Heap = Box::leak(Box::new(Heap::new()));
        let memory = Vec::leak(vec![0_u8; build.heap_bytes()]);
        let start = memory.as_ptr().addr();
        // SAFETY: leaked memory that nobody else knows.
        assert!(unsafe { heap.claim(memory.as_mut_ptr(), memory.len()) });
        Self {
            words: vec![0; build.sizes.words().next_multiple_of(512)],
            state: None,
            arena: Arena { heap, start, end: start + memory.len() },
            guest: Vec::leak(vec![0; GUEST_BYTES]),
        }
    }
}

impl Compartment for InProcess {
    fn area(&mut self) -> &mut [u64] {
        &mut self.words
    }

    fn enter(&mut self) -> Result<(), Ended> {
        ARENA.set(Some(self.arena));
        match &mut self.state {
            // SAFETY: the memory of the guest that `build` names is leaked, and used by nothing else.
            None => self.state = unsafe { State::build(&mut self.words, self.guest.as_ptr().addr() as u64) },
            Some(state) => assert!(state.serve(&mut self.words)),
        }
        ARENA.set(None);
        Ok(())
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        ARENA.set(Some(self.arena));
        self.state = None;
        ARENA.set(None);
    }
}

/// Builds the device, uses it a little, and gives the most bytes of its heap that were in use.
fn most_used(blueprint: Blueprint) -> (usize, usize) {
    USED.set((0, 0));
    let memory = vec![Range { start: Gpa(0), bytes: GUEST_BYTES as u64 }; 1];
    let build = Build::new(blueprint, memory);
    let mut compartment = InProcess::new(&build);
    assert_eq!(build.enter(&mut compartment), Ok(()), "{blueprint:?}");
    let mut device = Remote::new(compartment, build.sizes).expect("a device");
    let nothing = access::memory::VecMemory::new(1);
    let mut effects = Effects::with_capacity(device.most_effects());
    for offset in (0..0x1010).step_by(4) {
        let mut context = Context { memory: &nothing, now: 0, effects: &mut effects };
        device.write(offset, Width::Dword, 0xffff_ffff, &mut context);
        device.read(offset, Width::Dword, &mut context);
        while effects.pop().is_some() {}
    }
    device.reset();
    assert_eq!(device.ended(), None, "{blueprint:?}");
    (USED.get().1, build.heap_bytes())
}

fn virtio(device: VirtioDevice) -> Blueprint {
    Blueprint::Virtio { device, messages: 32, is_polled: true, offers_packed: true }
}

#[test]
fn each_model_fits_its_heap() {
    let mac = MacAddress([2, 0, 0, 0, 0, 1]);
    let disk = Some(ide::Disk { start: 0, sectors: 1 << 20, serial: [b'1'; 20] });
    let nvme = nvme::Config {
        blocks: 1 << 20,
        block: nvme::BlockSize::Bytes512,
        writable: true,
        is_polled: true,
        messages: 5,
        serial: [b'1'; 20],
        uuid: [1; 16],
        vendor: 1,
        subsystem_vendor: 1,
    };
    let block = virtio::block::Config {
        sectors: 1 << 20,
        block_bytes: 512,
        segment_bytes: 4096,
        writable: true,
        can_discard: true,
        can_write_zeroes: true,
        most_discarded: 1,
        queues: 16,
        name: [0; 20],
    };
    let net = virtio::net::Config { mac, mtu: 1500, any_source: false };
    let mut blueprints = vec![
        Blueprint::Serial,
        Blueprint::Ne2000(mac),
        Blueprint::Ide([[disk; 2]; 2]),
        Blueprint::Nvme(nvme),
        virtio(VirtioDevice::Block(block)),
        virtio(VirtioDevice::Net { config: net, pairs: 7 }),
        virtio(VirtioDevice::Console),
        Blueprint::Ivshmem { position: 0, peers: 64 },
        Blueprint::Display { memory_bytes: 16 << 20, screen: None },
    ];
    if Generator::detect().is_some() {
        blueprints.push(virtio(VirtioDevice::Entropy));
    }
    let uses: Vec<_> = blueprints.into_iter().map(|blueprint| (most_used(blueprint), blueprint)).collect();
    for ((used, heap), blueprint) in &uses {
        println!(
            "{used} bytes of {heap}: {}",
            &format!("{blueprint:?}")[..20.min(format!("{blueprint:?}").len())]
        );
    }
    // Blocks cost more than they have bytes; and a heap that is far too large is a number that nobody looked at.
    for ((used, heap), blueprint) in uses {
        assert!((used + 1024..2 * used + (8 << 10)).contains(&heap), "{used} bytes of {heap}: {blueprint:?}");
    }
}
