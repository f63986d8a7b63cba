//! Task switches by hardware (Intel SDM vol. 3 chapter 8), where the processor leaves them to
//! software: VT-x tells which task and why, after it has checked the selector and the
//! descriptor. Operating systems of 32 bits use them for double faults, old ones for more.
//!
//! What is checked once more is what memory may say otherwise by now.

use crate::descriptor::{Descriptor, Table};
use crate::walk::{Access, PageFault, Paging};
use access::GuestMemory;
use access::vcpu::{Event, ProcessorState, Segment, SegmentName, TaskSource};
use spec::processor::{CR0_PG, CR0_TS, CR4_PAE, EFER_LMA};

/// Where a task state segment has what: in bytes from its beginning.
struct Layout {
    /// Bytes that it has at least.
    bytes: u32,
    /// Bytes of a register.
    width: usize,
    cr3: Option<u64>,
    ip: u64,
    flags: u64,
    /// AX and the others, in the order in which instructions number them.
    general: u64,
    /// ES, CS, SS, DS and, if there are six, FS and GS.
    segments: u64,
    selectors: usize,
    local_table: u64,
    /// A debug exception follows if bit 0 is set.
    trap: Option<u64>,
}

const LINK: u64 = 0;

/// Of 32 bits (figure 8-2).
static WIDE: Layout = Layout {
    bytes: 104,
    width: 4,
    cr3: Some(0x1c),
    ip: 0x20,
    flags: 0x24,
    general: 0x28,
    segments: 0x48,
    selectors: 6,
    local_table: 0x60,
    trap: Some(0x64),
};

/// Of 16 bits (figure 8-10).
static NARROW: Layout = Layout {
    bytes: 44,
    width: 2,
    cr3: None,
    ip: 0x0e,
    flags: 0x10,
    general: 0x12,
    segments: 0x22,
    selectors: 4,
    local_table: 0x2a,
    trap: None,
};

impl Layout {
    /// Of the segment that a descriptor of this type describes (table 3-2).
    fn of(kind: u8) -> Option<&'static Self> {
        match kind & !BUSY {
            FREE_TASK => Some(&WIDE),
            FREE_NARROW_TASK => Some(&NARROW),
            _ => None,
        }
    }

    fn register(&self, index: usize) -> u64 {
        self.general + (self.width * index) as u64
    }

    fn selector(&self, index: usize) -> u64 {
        self.segments + (self.width * index) as u64
    }
}

const NESTED: u32 = 1 << 14;
const VIRTUAL_8086: u32 = 1 << 17;
const ALWAYS_ONE: u32 = 1 << 1;
/// The bits of EFLAGS that there are.
const FLAGS: u32 = 0x3f_7fd7;

/// Descriptor types (table 3-2).
const FREE_TASK: u8 = 0x9;
const FREE_NARROW_TASK: u8 = 0x1;
const LOCAL_TABLE_TYPE: u8 = 0x2;
/// The bit that makes a free task's type a busy one's.
const BUSY: u8 = 1 << 1;

const DEBUG: u8 = 1;
const INVALID_TASK: u8 = 10;
const NOT_PRESENT: u8 = 11;
const STACK_FAULT: u8 = 12;
const PROTECTION: u8 = 13;

/// Why there is no new task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// An exception to deliver, in the task that is there now.
    Fault(Event),
    /// The guest ends: what it runs now is no task, which no processor allows.
    NoTask,
}

/// An exception with a selector as its error code, without the selector's privilege level.
fn selector_fault(vector: u8, selector: u16) -> Failure {
    Failure::Fault(Event::Exception { vector, error: Some(u32::from(selector & !3)) })
}

/// The part of a new task that stands in its segment.
struct Task {
    cr3: Option<u32>,
    eip: u32,
    eflags: u32,
    general: [u32; 8],
    segments: [u16; 6],
    local_table: u16,
    trap: bool,
}

impl Task {
    /// The selector for a segment register; the null selector for what a task has none for.
    fn selector(&self, name: SegmentName) -> u16 {
        self.segments.get(name as usize).copied().unwrap_or(0)
    }
}

/// The four pointers that CR3 points to with PAE.
type PaePointers = [u64; 4];

/// Switches to the task whose state segment has this selector.
///
/// # Errors
/// See [`Failure`].
pub fn switch<V: ProcessorState, M: GuestMemory>(
    cpu: &mut V,
    memory: &M,
    selector: u16,
    source: TaskSource,
) -> Result<(), Failure> {
    // What led through a gate is delivered by the switch.
    let error = cpu.take_interrupted();
    let mut tasks = Tasks { cpu, memory };
    let ((new, layout), old) = (tasks.new_segment(selector, source)?, tasks.cpu.segment(SegmentName::Tr));
    let old_layout = Layout::of(old.attributes as u8 & 0xf).ok_or(Failure::NoTask)?;
    let mut task = tasks.read_task(new.base().into(), layout)?;
    let pointers = tasks.read_pointers(&task)?;
    tasks.save(old.base, old_layout, source)?;
    if matches!(source, TaskSource::Jump | TaskSource::Return) {
        tasks.set_busy(old.selector, false)?;
    }
    if matches!(source, TaskSource::Call | TaskSource::Gate) {
        tasks.write(u64::from(new.base()) + LINK, 2, old.selector.into())?;
        task.eflags |= NESTED;
    }
    if source != TaskSource::Return {
        tasks.set_busy(selector, true)?;
    }
    let attributes = new.attributes() | u16::from(BUSY);
    let segment = Segment { selector, attributes, limit: new.limit(), base: new.base().into() };
    tasks.cpu.set_segment(SegmentName::Tr, segment);
    tasks.enter(&task, pointers)?;
    if let Some(code) = error {
        tasks.push(code, layout.width)?;
    }
    match task.trap {
        true => Err(Failure::Fault(Event::Exception { vector: DEBUG, error: None })),
        false => Ok(()),
    }
}

struct Tasks<'a, V, M> {
    cpu: &'a mut V,
    memory: &'a M,
}

impl<V: ProcessorState, M: GuestMemory> Tasks<'_, V, M> {
    /// The new task's descriptor, checked as sections 8.2.1 and 8.3 say.
    fn new_segment(
        &mut self,
        selector: u16,
        source: TaskSource,
    ) -> Result<(Descriptor, &'static Layout), Failure> {
        let vector = if source == TaskSource::Return { INVALID_TASK } else { PROTECTION };
        if selector & 4 != 0 {
            return Err(selector_fault(vector, selector));
        }
        let descriptor = self.descriptor(selector, vector)?;
        let returns = source == TaskSource::Return;
        let kind = descriptor.system_type().filter(|kind| (kind & BUSY != 0) == returns);
        let layout = kind.and_then(Layout::of).ok_or(selector_fault(vector, selector))?;
        if !descriptor.is_present() {
            return Err(selector_fault(NOT_PRESENT, selector));
        }
        if descriptor.limit() < layout.bytes - 1 {
            return Err(selector_fault(INVALID_TASK, selector));
        }
        Ok((descriptor, layout))
    }

    fn descriptor(&mut self, selector: u16, vector: u8) -> Result<Descriptor, Failure> {
        let place = Table::of(self.cpu, selector).place(selector);
        let place = place.ok_or(selector_fault(vector, selector))?;
        let (low, high) = (self.read(place, 4)?, self.read(place + 4, 4)?);
        Ok(Descriptor(u64::from(high) << 32 | u64::from(low)))
    }

    /// Where a byte of the tables or task segments is: these accesses are the supervisor's,
    /// whoever runs.
    fn translate(&mut self, linear: u64, access: Access) -> Result<spec::Gpa, Failure> {
        let paging = Paging::new(self.cpu.control(), 0, self.cpu.rflags());
        let result = paging.translate(self.memory, linear & 0xffff_ffff, access);
        result.map_err(|fault| self.page_fault(fault))
    }

    fn page_fault(&mut self, fault: PageFault) -> Failure {
        let mut control = self.cpu.control();
        control.cr2 = fault.address;
        self.cpu.set_control(control);
        Failure::Fault(fault.event())
    }

    /// Outside of memory there are ones, and writes go nowhere, as on a bus.
    fn read_byte(&mut self, linear: u64) -> Result<u8, Failure> {
        let gpa = self.translate(linear, Access::Read)?;
        let mut byte = [0xff];
        let _ = self.memory.read(gpa, &mut byte);
        Ok(byte[0])
    }

    fn write_byte(&mut self, linear: u64, value: u8) -> Result<(), Failure> {
        let gpa = self.translate(linear, Access::Write)?;
        let _ = self.memory.write(gpa, &[value]);
        Ok(())
    }

    /// Reads `width` bytes, at most 4.
    fn read(&mut self, linear: u64, width: usize) -> Result<u32, Failure> {
        let mut bytes = [0; 4];
        for (place, byte) in (linear..).zip(bytes.iter_mut().take(width)) {
            *byte = self.read_byte(place)?;
        }
        Ok(u32::from_le_bytes(bytes))
    }

    /// Writes the lower `width` bytes, at most 4.
    fn write(&mut self, linear: u64, width: usize, value: u32) -> Result<(), Failure> {
        let bytes = value.to_le_bytes().into_iter().take(width);
        (linear..).zip(bytes).try_for_each(|(place, byte)| self.write_byte(place, byte))
    }

    fn read_task(&mut self, base: u64, layout: &Layout) -> Result<Task, Failure> {
        let (mut general, mut segments) = ([0; 8], [0; 6]);
        for (index, register) in general.iter_mut().enumerate() {
            *register = self.read(base + layout.register(index), layout.width)?;
        }
        for (index, selector) in segments.iter_mut().enumerate().take(layout.selectors) {
            *selector = self.read(base + layout.selector(index), 2)? as u16;
        }
        let cr3 = layout.cr3.map(|place| self.read(base + place, 4)).transpose()?;
        let trap = layout.trap.map(|place| self.read(base + place, 2)).transpose()?;
        Ok(Task {
            cr3,
            eip: self.read(base + layout.ip, layout.width)?,
            eflags: self.read(base + layout.flags, layout.width)?,
            general,
            segments,
            local_table: self.read(base + layout.local_table, 2)? as u16,
            trap: trap.is_some_and(|flags| flags & 1 != 0),
        })
    }

    /// What the processor would load with CR3 from physical memory, and check (section 4.4.1).
    fn read_pointers(&self, task: &Task) -> Result<Option<PaePointers>, Failure> {
        const PRESENT: u64 = 1;
        const RESERVED: u64 = 0x1e6 | 0xfff << 52;
        let control = self.cpu.control();
        let pae = control.cr0 & CR0_PG != 0 && control.cr4 & CR4_PAE != 0 && control.efer & EFER_LMA == 0;
        let Some(cr3) = task.cr3.filter(|_| pae) else { return Ok(None) };
        let mut pointers = PaePointers::default();
        for (place, pointer) in (u64::from(cr3 & !0x1f)..).step_by(8).zip(&mut pointers) {
            let read = self.memory.read64(spec::Gpa(place)).unwrap_or(u64::MAX);
            if read & PRESENT != 0 && read & RESERVED != 0 {
                return Err(Failure::Fault(Event::PROTECTION));
            }
            *pointer = read;
        }
        Ok(Some(pointers))
    }

    /// The task that is left, as far as its segment holds it.
    fn save(&mut self, base: u64, layout: &Layout, source: TaskSource) -> Result<(), Failure> {
        let eip = self.cpu.next_rip().unwrap_or(self.cpu.rip()) as u32;
        let flags = self.cpu.rflags() as u32;
        let flags = if source == TaskSource::Return { flags & !NESTED } else { flags };
        self.write(base + layout.ip, layout.width, eip)?;
        self.write(base + layout.flags, layout.width, flags)?;
        for index in 0..8 {
            let value = self.cpu.register(index) as u32;
            self.write(base + layout.register(index), layout.width, value)?;
        }
        for (index, name) in SEGMENT_NAMES.into_iter().enumerate().take(layout.selectors) {
            let selector = self.cpu.segment(name).selector;
            self.write(base + layout.selector(index), 2, selector.into())?;
        }
        Ok(())
    }

    fn set_busy(&mut self, selector: u16, busy: bool) -> Result<(), Failure> {
        let place = Table::of(self.cpu, selector & !4).place(selector & !4);
        let place = place.ok_or(selector_fault(INVALID_TASK, selector))? + 5;
        let byte = self.read_byte(place)?;
        self.write_byte(place, if busy { byte | BUSY } else { byte & !BUSY })
    }

    /// From here on the new task is there; what is wrong with it is its own fault.
    fn enter(&mut self, task: &Task, pointers: Option<PaePointers>) -> Result<(), Failure> {
        let mut control = self.cpu.control();
        control.cr0 |= CR0_TS;
        if let Some(cr3) = task.cr3.filter(|_| control.cr0 & CR0_PG != 0) {
            control.cr3 = cr3.into();
        }
        self.cpu.set_control(control);
        if let Some(pointers) = pointers {
            self.cpu.set_pae_pointers(pointers);
        }
        self.cpu.end_local_breakpoints();
        self.cpu.set_rip(task.eip.into());
        self.cpu.set_rflags(u64::from(task.eflags & FLAGS | ALWAYS_ONE));
        self.cpu.clear_interrupt_shadow();
        for (index, value) in task.general.iter().enumerate() {
            self.cpu.set_register(index, (*value).into());
        }
        // Until each is loaded the selector is there, and nothing can be done with it.
        for (name, selector) in SEGMENT_NAMES.into_iter().zip(task.segments) {
            let segment = match task.eflags & VIRTUAL_8086 {
                0 => not_loaded(name, selector),
                _ => Descriptor::of_virtual_8086(selector),
            };
            self.cpu.set_segment(name, segment);
        }
        self.load_local_table(task.local_table)?;
        if task.eflags & VIRTUAL_8086 != 0 {
            return Ok(());
        }
        // CS first: its privilege level is the one that the others are held against.
        let level = task.selector(SegmentName::Cs) as u8 & 3;
        // Neither counts before both are right: they have one privilege level.
        let [code, stack] =
            [SegmentName::Cs, SegmentName::Ss].map(|name| self.check(name, task.selector(name), level));
        if let (Some(code), Some(stack)) = (code?, stack?) {
            self.cpu.set_segment(SegmentName::Cs, code);
            self.cpu.set_segment(SegmentName::Ss, stack);
        }
        for name in [SegmentName::Es, SegmentName::Ds, SegmentName::Fs, SegmentName::Gs] {
            if let Some(segment) = self.check(name, task.selector(name), level)? {
                self.cpu.set_segment(name, segment);
            }
        }
        Ok(())
    }

    fn load_local_table(&mut self, selector: u16) -> Result<(), Failure> {
        self.cpu.set_segment(SegmentName::Ldtr, Segment { selector, ..Segment::default() });
        if selector & !3 == 0 {
            return Ok(());
        }
        let descriptor = self.descriptor(selector, INVALID_TASK)?;
        let right = descriptor.system_type() == Some(LOCAL_TABLE_TYPE) && descriptor.is_present();
        if selector & 4 != 0 || !right {
            return Err(selector_fault(INVALID_TASK, selector));
        }
        self.cpu.set_segment(SegmentName::Ldtr, descriptor.segment(selector));
        Ok(())
    }

    /// What a segment register is to hold, as section 8.3, step 14, and table 8-1 say; `None`
    /// for one that the null selector leaves empty.
    fn check(&mut self, name: SegmentName, selector: u16, level: u8) -> Result<Option<Segment>, Failure> {
        let vital = matches!(name, SegmentName::Cs | SegmentName::Ss);
        if selector & !3 == 0 {
            return if vital { Err(selector_fault(INVALID_TASK, selector)) } else { Ok(None) };
        }
        let descriptor = self.descriptor(selector, INVALID_TASK)?;
        let requested = selector as u8 & 3;
        let right = match name {
            SegmentName::Cs if descriptor.is_conforming() => descriptor.level() <= level,
            SegmentName::Cs => descriptor.is_code() && descriptor.level() == level,
            SegmentName::Ss => descriptor.is_writable() && descriptor.level() == level && requested == level,
            _ if descriptor.is_conforming() => descriptor.is_readable(),
            _ => descriptor.is_readable() && descriptor.level() >= level.max(requested),
        };
        if !right {
            return Err(selector_fault(INVALID_TASK, selector));
        }
        if !descriptor.is_present() {
            let vector = if name == SegmentName::Ss { STACK_FAULT } else { NOT_PRESENT };
            return Err(selector_fault(vector, selector));
        }
        Ok(Some(descriptor.segment(selector)))
    }

    /// Pushes an error code onto the new task's stack.
    fn push(&mut self, code: u32, width: usize) -> Result<(), Failure> {
        const ESP: usize = access::vcpu::RSP;
        const BIG: u16 = 1 << 10;
        let stack = self.cpu.segment(SegmentName::Ss);
        let mask = if stack.attributes & BIG != 0 { 0xffff_ffff } else { 0xffff };
        let pointer = self.cpu.register(ESP);
        let top = pointer.wrapping_sub(width as u64) & mask;
        self.write(stack.base.wrapping_add(top), width, code)?;
        self.cpu.set_register(ESP, pointer & !mask & 0xffff_ffff | top);
        Ok(())
    }
}

/// What a segment register holds whose selector is the new task's and whose descriptor is not
/// loaded yet, or does not load: nothing. No processor delivers the fault that follows without
/// a CS and an SS, so those are of no bytes, and of the level from which every handler gets a
/// stack of its own.
const fn not_loaded(name: SegmentName, selector: u16) -> Segment {
    const USER_CODE: u16 = 0xfb;
    const USER_DATA: u16 = 0xf3;
    let attributes = match name {
        SegmentName::Cs => USER_CODE,
        SegmentName::Ss => USER_DATA,
        _ => 0,
    };
    Segment { selector, attributes, limit: 0, base: 0 }
}

/// In the order of a task's segment.
const SEGMENT_NAMES: [SegmentName; 6] =
    [SegmentName::Es, SegmentName::Cs, SegmentName::Ss, SegmentName::Ds, SegmentName::Fs, SegmentName::Gs];

#[cfg(test)]
mod tests;
