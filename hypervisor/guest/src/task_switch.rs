//! Task switches by hardware (Intel SDM vol. 3 chapter 8), where the processor leaves them to
//! software: VT-x tells which task and why, after it has checked the selector and the
//! descriptor. Operating systems of 32 bits use them for double faults, old ones for more.
//!
//! What is checked once more is what memory may say otherwise by now. Tasks of 16 bits are not
//! offered, and neither is a change of page tables with PAE, whose four pointers the processor
//! would have to load again.

use crate::descriptor::{Descriptor, Table};
use crate::walk::{Access, CR0_PG, CR4_PAE, EFER_LMA, PageFault, Paging};
use access::GuestMemory;
use access::vcpu::{Event, Segment, SegmentName, TaskSource, Vcpu};

/// Bytes of a task state segment of 32 bits (figure 8-2).
const BYTES: u32 = 104;
const LINK: u64 = 0x00;
const CR3: u64 = 0x1c;
const EIP: u64 = 0x20;
const EFLAGS: u64 = 0x24;
/// EAX and the others, in the order in which instructions number them.
const GENERAL: u64 = 0x28;
/// ES, CS, SS, DS, FS, GS.
const SEGMENTS: u64 = 0x48;
const LOCAL_TABLE: u64 = 0x60;

const NESTED: u32 = 1 << 14;
const VIRTUAL_8086: u32 = 1 << 17;
const ALWAYS_ONE: u32 = 1 << 1;
const CR0_TS: u64 = 1 << 3;

/// Descriptor types (table 3-2): what is not free is busy.
const FREE_TASK: u8 = 0x9;
const BUSY_TASK: u8 = 0xb;
const LOCAL_TABLE_TYPE: u8 = 0x2;
/// The bit that makes a free task's type a busy one's.
const BUSY: u8 = 1 << 1;

const INVALID_TASK: u8 = 10;
const NOT_PRESENT: u8 = 11;
const STACK_FAULT: u8 = 12;
const PROTECTION: u8 = 13;

/// Why there is no new task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// An exception to deliver, in the task that is there now.
    Fault(Event),
    /// The guest ends; in words what it wanted.
    NotOffered(&'static str),
}

/// An exception with a selector as its error code, without the selector's privilege level.
fn selector_fault(vector: u8, selector: u16) -> Failure {
    Failure::Fault(Event::Exception { vector, error: Some(u32::from(selector & !3)) })
}

/// The part of a new task that stands in its segment.
struct Task {
    cr3: u32,
    eip: u32,
    eflags: u32,
    general: [u32; 8],
    segments: [u16; 6],
    local_table: u16,
}

/// Switches to the task whose state segment has this selector.
///
/// # Errors
/// See [`Failure`].
pub fn switch<V: Vcpu, M: GuestMemory>(
    cpu: &mut V,
    memory: &M,
    selector: u16,
    source: TaskSource,
) -> Result<(), Failure> {
    // What led through a gate is delivered by the switch.
    let error = cpu.take_interrupted();
    let mut tasks = Tasks { cpu, memory };
    let (new, old) = (tasks.new_segment(selector, source)?, tasks.cpu.segment(SegmentName::Tr));
    if old.attributes as u8 & 0xf != BUSY_TASK {
        return Err(Failure::NotOffered("from a task of 16 bits"));
    }
    let mut task = tasks.read_task(new.base().into())?;
    tasks.check_tables(&task)?;
    tasks.save(old.base, source)?;
    if matches!(source, TaskSource::Jump | TaskSource::Return) {
        tasks.set_busy(old.selector, false)?;
    }
    if matches!(source, TaskSource::Call | TaskSource::Gate) {
        tasks.write_word(u64::from(new.base()) + LINK, old.selector)?;
        task.eflags |= NESTED;
    }
    if source != TaskSource::Return {
        tasks.set_busy(selector, true)?;
    }
    let attributes = new.attributes() | u16::from(BUSY);
    let segment = Segment { selector, attributes, limit: new.limit(), base: new.base().into() };
    tasks.cpu.set_segment(SegmentName::Tr, segment);
    tasks.enter(&task)?;
    match error {
        Some(code) => tasks.push(code),
        None => Ok(()),
    }
}

struct Tasks<'a, V, M> {
    cpu: &'a mut V,
    memory: &'a M,
}

impl<V: Vcpu, M: GuestMemory> Tasks<'_, V, M> {
    /// The new task's descriptor, checked as sections 8.2.1 and 8.3 say.
    fn new_segment(&mut self, selector: u16, source: TaskSource) -> Result<Descriptor, Failure> {
        let vector = if source == TaskSource::Return { INVALID_TASK } else { PROTECTION };
        if selector & 4 != 0 {
            return Err(selector_fault(vector, selector));
        }
        let descriptor = self.descriptor(selector, vector)?;
        let wanted = if source == TaskSource::Return { BUSY_TASK } else { FREE_TASK };
        match descriptor.system_type() {
            Some(kind) if kind == wanted => {}
            Some(0x1 | 0x3) => return Err(Failure::NotOffered("to a task of 16 bits")),
            _ => return Err(selector_fault(vector, selector)),
        }
        if !descriptor.is_present() {
            return Err(selector_fault(NOT_PRESENT, selector));
        }
        if descriptor.limit() < BYTES - 1 {
            return Err(selector_fault(INVALID_TASK, selector));
        }
        Ok(descriptor)
    }

    fn descriptor(&mut self, selector: u16, vector: u8) -> Result<Descriptor, Failure> {
        let place = Table::of(self.cpu, selector).place(selector);
        let place = place.ok_or(selector_fault(vector, selector))?;
        let (low, high) = (self.read(place)?, self.read(place + 4)?);
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

    fn read(&mut self, linear: u64) -> Result<u32, Failure> {
        let mut bytes = [0; 4];
        for (place, byte) in (linear..).zip(&mut bytes) {
            *byte = self.read_byte(place)?;
        }
        Ok(u32::from_le_bytes(bytes))
    }

    fn write(&mut self, linear: u64, value: u32) -> Result<(), Failure> {
        (linear..).zip(value.to_le_bytes()).try_for_each(|(place, byte)| self.write_byte(place, byte))
    }

    fn write_word(&mut self, linear: u64, value: u16) -> Result<(), Failure> {
        (linear..).zip(value.to_le_bytes()).try_for_each(|(place, byte)| self.write_byte(place, byte))
    }

    fn read_task(&mut self, base: u64) -> Result<Task, Failure> {
        let (mut general, mut segments) = ([0; 8], [0; 6]);
        for (index, register) in (0..).zip(&mut general) {
            *register = self.read(base + GENERAL + 4 * index)?;
        }
        for (index, selector) in (0..).zip(&mut segments) {
            *selector = self.read(base + SEGMENTS + 4 * index)? as u16;
        }
        Ok(Task {
            cr3: self.read(base + CR3)?,
            eip: self.read(base + EIP)?,
            eflags: self.read(base + EFLAGS)?,
            general,
            segments,
            local_table: self.read(base + LOCAL_TABLE)? as u16,
        })
    }

    fn check_tables(&self, task: &Task) -> Result<(), Failure> {
        let control = self.cpu.control();
        let pae = control.cr0 & CR0_PG != 0 && control.cr4 & CR4_PAE != 0 && control.efer & EFER_LMA == 0;
        if pae && control.cr3 as u32 != task.cr3 {
            return Err(Failure::NotOffered("to other page tables with PAE"));
        }
        Ok(())
    }

    /// The task that is left, as far as its segment holds it.
    fn save(&mut self, base: u64, source: TaskSource) -> Result<(), Failure> {
        let eip = self.cpu.next_rip().unwrap_or(self.cpu.rip()) as u32;
        let flags = self.cpu.rflags() as u32;
        let flags = if source == TaskSource::Return { flags & !NESTED } else { flags };
        self.write(base + EIP, eip)?;
        self.write(base + EFLAGS, flags)?;
        for index in 0..8 {
            let value = self.cpu.register(index) as u32;
            self.write(base + GENERAL + 4 * index as u64, value)?;
        }
        for (index, name) in (0..).zip(SEGMENT_NAMES) {
            let selector = self.cpu.segment(name).selector;
            self.write_word(base + SEGMENTS + 4 * index, selector)?;
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
    fn enter(&mut self, task: &Task) -> Result<(), Failure> {
        let mut control = self.cpu.control();
        control.cr0 |= CR0_TS;
        if control.cr0 & CR0_PG != 0 {
            control.cr3 = task.cr3.into();
        }
        self.cpu.set_control(control);
        self.cpu.set_rip(task.eip.into());
        self.cpu.set_rflags(u64::from(task.eflags | ALWAYS_ONE));
        self.cpu.clear_interrupt_shadow();
        for (index, value) in task.general.iter().enumerate() {
            self.cpu.set_register(index, (*value).into());
        }
        // Until each is loaded the selector is there, and nothing can be done with it.
        for (name, selector) in SEGMENT_NAMES.into_iter().zip(task.segments) {
            let segment = match task.eflags & VIRTUAL_8086 {
                0 => Segment { selector, ..Segment::default() },
                _ => Descriptor::of_virtual_8086(selector),
            };
            self.cpu.set_segment(name, segment);
        }
        self.load_local_table(task.local_table)?;
        if task.eflags & VIRTUAL_8086 != 0 {
            return Ok(());
        }
        // CS first: its privilege level is the one that the others are held against.
        let level = task.segments[SegmentName::Cs as usize] as u8 & 3;
        for name in [SegmentName::Cs, SegmentName::Ss] {
            self.load(name, task.segments[name as usize], level)?;
        }
        for name in [SegmentName::Es, SegmentName::Ds, SegmentName::Fs, SegmentName::Gs] {
            self.load(name, task.segments[name as usize], level)?;
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

    /// Loads a segment register as section 8.3, step 14, and table 8-1 say.
    fn load(&mut self, name: SegmentName, selector: u16, level: u8) -> Result<(), Failure> {
        let vital = matches!(name, SegmentName::Cs | SegmentName::Ss);
        if selector & !3 == 0 {
            return if vital { Err(selector_fault(INVALID_TASK, selector)) } else { Ok(()) };
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
        self.cpu.set_segment(name, descriptor.segment(selector));
        Ok(())
    }

    /// Pushes an error code onto the new task's stack.
    fn push(&mut self, code: u32) -> Result<(), Failure> {
        const ESP: usize = access::vcpu::RSP;
        const BIG: u16 = 1 << 10;
        let stack = self.cpu.segment(SegmentName::Ss);
        let mask = if stack.attributes & BIG != 0 { 0xffff_ffff } else { 0xffff };
        let pointer = self.cpu.register(ESP);
        let top = pointer.wrapping_sub(4) & mask;
        self.write(stack.base.wrapping_add(top), code)?;
        self.cpu.set_register(ESP, pointer & !mask & 0xffff_ffff | top);
        Ok(())
    }
}

/// In the order of a task's segment.
const SEGMENT_NAMES: [SegmentName; 6] =
    [SegmentName::Es, SegmentName::Cs, SegmentName::Ss, SegmentName::Ds, SegmentName::Fs, SegmentName::Gs];

#[cfg(test)]
mod tests;
