//! An address space with the program of compartments in it.

use alloc::format;
use alloc::string::{String, ToString};
use compartment::{Ended, layout};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use handoff::Program;
use handoff::bundle::{Bundle, ItemKind};
use machine::cpu::barriers;
use machine::cpu::facts::Facts;
use machine::cpu::registers;
use machine::cpu::ring3::{Left, Start};
use machine::cpu::timer;
use machine::memory::page_table::MapError;
use machine::memory::user_space::{AddressSpace, Place, Published};
use spin::Once;

/// Calls take some microseconds. The time also passes while an emulator, or another hypervisor below this
/// one, runs something else.
const MOST_MS: u64 = 250;

/// What runs in all of them.
struct Loaded {
    program: Program<'static>,
    /// Its instructions and its constants, for all of them.
    text: Published,
    rodata: Option<Published>,
}

static LOADED: Once<Loaded> = Once::new();
/// Ticks of the TSC in a millisecond.
static TICKS_PER_MS: AtomicU64 = AtomicU64::new(1_000_000);
/// How often one is made anew in a minute.
static MOST_RESTARTS: AtomicU32 = AtomicU32::new(0);
/// There is a compartment.
static IN_USE: AtomicBool = AtomicBool::new(false);
/// The housekeeping CPU looks for those that take too long.
static IS_WATCHED: AtomicBool = AtomicBool::new(false);

/// Tells how fast the TSC is, before there are any.
pub fn set_tsc_hz(tsc_hz: u64) {
    TICKS_PER_MS.store(tsc_hz / 1000, Ordering::Relaxed);
}

/// So many milliseconds in ticks of the TSC.
pub fn ticks(milliseconds: u64) -> u64 {
    TICKS_PER_MS.load(Ordering::Relaxed).saturating_mul(milliseconds)
}

/// How often one is made anew in a minute.
pub fn most_restarts() -> u32 {
    MOST_RESTARTS.load(Ordering::Relaxed)
}

/// Whether there is a compartment.
pub fn are_in_use() -> bool {
    IN_USE.load(Ordering::Relaxed)
}

/// The housekeeping CPU looks for compartments that take too long from now on.
pub fn watch() {
    IS_WATCHED.store(true, Ordering::Relaxed);
}

/// Takes the program from the bundle.
///
/// # Errors
/// A sentence about what is wrong with it.
pub fn load(bundle: &Bundle<'static>) -> Result<(), String> {
    MOST_RESTARTS.store(bundle.config().hypervisor.restarts, Ordering::Relaxed);
    let Some(item) = bundle.find(ItemKind::Program, "") else { return Ok(()) };
    item.verify().map_err(|error| error.to_string())?;
    let program = Program::parse(item.contents, layout::IMAGE..layout::STACK_TOP - layout::STACK_BYTES);
    let program = program.map_err(|error| error.to_string())?;
    let publish = |part| Published::new(part).map_err(|error| format!("{error:?}"));
    let rodata = if program.rodata.is_empty() { None } else { Some(publish(program.rodata)?) };
    let text = publish(program.text)?;
    if barriers::reads_what_is_ring_0s(&Facts::here()) {
        log::warn!(
            "on this processor what runs in ring 3 can read all memory (CVE-2017-5754): a model there is kept from \
             writing, not from reading"
        );
    }
    LOADED.call_once(|| Loaded { program, text, rodata });
    Ok(())
}

/// An address space in which the program is, its stack, its heap and its area.
pub struct Space {
    /// For what else there is to be in it.
    pub space: AddressSpace,
    area: Place,
    variables: Place,
    /// CR2 of its last fault.
    fault_address: u64,
}

impl Space {
    /// One that nobody entered yet, of what `domain` stands for: a guest's number, or what is none.
    ///
    /// # Errors
    /// A sentence about why there is none.
    pub fn new(domain: u32, area_words: usize, heap_bytes: usize) -> Result<Self, String> {
        let loaded = LOADED.get().ok_or("the bundle has no program for ring 3")?;
        let made = Self::of(loaded, domain, area_words as u64, heap_bytes as u64);
        made.map_err(|error| format!("there is no compartment for it: {error:?}"))
    }

    fn of(loaded: &Loaded, domain: u32, area_words: u64, heap_bytes: u64) -> Result<Self, MapError> {
        let start = Start {
            rip: loaded.program.entry,
            rsp: layout::STACK_TOP,
            arguments: [layout::AREA, area_words, heap_bytes],
        };
        let mut space = AddressSpace::new(domain, start)?;
        let Program { address, text, rodata, data, zero_bytes, .. } = loaded.program;
        space.add_published(address, loaded.text, true)?;
        let rodata_at = address + text.len() as u64;
        if let Some(rodata) = loaded.rodata {
            space.add_published(rodata_at, rodata, false)?;
        }
        let variables_at = rodata_at + rodata.len() as u64;
        let variables = space.add_memory(variables_at, data.len() as u64 + zero_bytes)?;
        space.add_memory(layout::STACK_TOP - layout::STACK_BYTES, layout::STACK_BYTES)?;
        let area = space.add_memory(layout::AREA, area_words * 8)?;
        space.add_memory(layout::HEAP, heap_bytes)?;
        let mut space = Self { space, area, variables, fault_address: 0 };
        space.write_variables(data);
        IN_USE.store(true, Ordering::Relaxed);
        Ok(space)
    }

    /// Its variables are what they are at first.
    ///
    /// # Errors
    /// There is no program.
    pub fn begin(&mut self) -> Result<(), Ended> {
        let loaded = LOADED.get().ok_or(Ended::Answer("there is no program for it"))?;
        self.write_variables(loaded.program.data);
        Ok(())
    }

    fn write_variables(&mut self, data: &[u8]) {
        let variables = self.space.memory(self.variables);
        variables.fill(0);
        if let Some(variables) = variables.get_mut(..data.len()) {
            variables.copy_from_slice(data);
        }
    }

    /// The words of its area.
    pub fn area(&mut self) -> &mut [u64] {
        bytemuck::try_cast_slice_mut(self.space.memory(self.area)).unwrap_or_default()
    }

    /// Runs it until it is left.
    ///
    /// # Errors
    /// Why that is no answer.
    pub fn enter(&mut self) -> Result<(), Ended> {
        let most_ticks = ticks(MOST_MS);
        let is_watched = IS_WATCHED.load(Ordering::Relaxed);
        if !is_watched {
            timer::arm_timer(registers::read_tsc().saturating_add(most_ticks));
        }
        let left = self.space.enter(most_ticks);
        if !is_watched {
            timer::disarm_timer();
        }
        match left {
            Left::Done { rax: layout::DONE, .. } => Ok(()),
            Left::Done { rdi, .. } => Err(Ended::GaveUp { line: rdi }),
            Left::Fault { vector, rip, address } => {
                self.fault_address = address;
                Err(Ended::Fault { vector, rip })
            }
            Left::Late => Err(Ended::Late),
        }
    }

    /// CR2 of its last fault, which is told once.
    pub const fn take_fault_address(&mut self) -> u64 {
        core::mem::replace(&mut self.fault_address, 0)
    }
}
