//! The interpreter on a processor in any state, over memory and page tables of any contents: what
//! is not carried out leaves no trace, and what is carried out goes where it may.
#![no_main]

use access::GuestMemory;
use access::fake_processor::StillProcessor;
use access::memory::VecMemory;
use access::vcpu::{NestedAccess, PortAccess, ProcessorState, RCX, Segment, SegmentName, TaskSource};
use emulator::decode::Known;
use emulator::{
    Bus, Outcome, Ports, Recent, memory_access, next_rip_at_once, next_rip_by_decoding, string_port,
    task_switch,
};
use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use spec::processor::{CR0_PG, CR0_WP, CR4_LA57, CR4_PAE, CR4_PSE, CR4_SMAP, CR4_SMEP, RFLAGS_VM};
use spec::{Gpa, Width};

const MEMORY_BYTES: u64 = 0x2_0000;
const TABLES: u64 = 0x1000;
const CODE: u64 = 0x8000;
const DATA: u64 = 0x1_0000;
/// Where the page tables map the device, and where it is.
const DEVICE: u64 = 0x20_0000;
const DEVICE_GPA: u64 = 0xd000_0000;
const PAGE: u64 = 0x1000;
/// What one exit may carry out: so many elements of a string, each with two places, byte by byte
/// where they cross a page.
const ACCESSES_MAX: usize = 64 * 2 * 8;

/// What answers; it floats.
struct Device {
    fault: Gpa,
    accesses: usize,
}

impl Device {
    fn asked(&mut self, gpa: Gpa, width: Width) {
        self.accesses += 1;
        assert!((gpa.0 & (PAGE - 1)) + width.bytes() <= PAGE, "{gpa} is across pages");
        let on_page = gpa.0 / PAGE == self.fault.0 / PAGE;
        assert!(on_page || gpa.0 + width.bytes() > MEMORY_BYTES, "{gpa} is memory");
    }
}

impl Bus for Device {
    fn read(&mut self, gpa: Gpa, width: Width) -> Option<u64> {
        self.asked(gpa, width);
        Some(u64::MAX)
    }
    fn write(&mut self, gpa: Gpa, width: Width, value: u64) {
        self.asked(gpa, width);
        assert_eq!(value & !width.mask(), 0);
    }
}

impl Ports for Device {
    fn input(&mut self, _: u16, _: Width) -> Option<u32> {
        self.accesses += 1;
        Some(u32::MAX)
    }
    fn output(&mut self, _: u16, width: Width, value: u32) {
        self.accesses += 1;
        assert_eq!(u64::from(value) & !width.mask(), 0);
    }
}

fn memory(input: &mut Input) -> VecMemory {
    let memory = VecMemory::new(MEMORY_BYTES as usize);
    let put = |at, value| {
        let _ = memory.write64(Gpa(at), value);
    };
    put(TABLES, TABLES + 0x1000 | 0x27);
    put(TABLES + 0x1000, TABLES + 0x2000 | 0x27);
    put(TABLES + 0x2000, 0xe7);
    put(TABLES + 0x2008, DEVICE_GPA | 0xe7);
    for _ in 0..input.u8() % 8 {
        put(u64::from(input.u32()) % MEMORY_BYTES, input.u64());
    }
    memory
}

/// An address that leads somewhere, or any.
fn address(input: &mut Input) -> u64 {
    match input.u8() % 4 {
        0 => DEVICE + u64::from(input.u16()),
        1 => DATA + u64::from(input.u8()),
        2 => input.u8().into(),
        _ => input.u64(),
    }
}

fn processor(input: &mut Input) -> StillProcessor {
    let mut cpu = match input.u8() % 3 {
        0 => StillProcessor::long(TABLES),
        1 => StillProcessor::protected(),
        _ => StillProcessor::real(),
    };
    cpu.rip = CODE;
    cpu.control.cr3 = TABLES;
    cpu.level = input.u8() & 3;
    cpu.rflags = u64::from(input.u32()) & (RFLAGS_VM << 1) - 1 | 2;
    let toggled = input.u8();
    for (bit, [cr0, cr4]) in
        [[CR0_PG, 0], [CR0_WP, 0], [0, CR4_PAE], [0, CR4_PSE], [0, CR4_LA57], [0, CR4_SMAP], [0, CR4_SMEP]]
            .into_iter()
            .enumerate()
    {
        if toggled >> bit & 1 != 0 {
            cpu.control.cr0 ^= cr0;
            cpu.control.cr4 ^= cr4;
        }
    }
    for register in &mut cpu.registers {
        *register = address(input);
    }
    for name in [SegmentName::Es, SegmentName::Cs, SegmentName::Ss, SegmentName::Ds, SegmentName::Tr] {
        if input.u8() & 1 != 0 {
            *cpu.segment_mut(name) = Segment {
                selector: input.u16(),
                attributes: input.u16() & 0xfff,
                limit: input.u32(),
                base: input.u32().into(),
            };
        }
    }
    cpu.tables[0] = (DATA, input.u16());
    cpu
}

/// Holds what came of an instruction against the state before it.
fn check(outcome: Outcome, before: &StillProcessor, after: &StillProcessor, device: &Device) {
    assert!(device.accesses <= ACCESSES_MAX, "{} accesses", device.accesses);
    let mut untouched = after.clone();
    match outcome {
        Outcome::Done => return carried_out(before, after, device),
        Outcome::Inject(event) if !event.is_fault() => return carried_out(before, after, device),
        Outcome::Inject(access::vcpu::Event::Exception { vector: 14, .. }) => {
            untouched.control.cr2 = before.control.cr2;
        }
        Outcome::Waiting => panic!("the device answers at once"),
        Outcome::Inject(_) | Outcome::Retry | Outcome::Unsupported => {}
    }
    assert_eq!(&untouched, before, "{outcome:?} has left a trace");
    assert_eq!(device.accesses, 0, "{outcome:?} has asked the device");
}

fn carried_out(before: &StillProcessor, after: &StillProcessor, device: &Device) {
    // A string of no elements asks nobody.
    assert!(device.accesses != 0 || before.registers[RCX] & 0xffff == 0);
    let length = after.rip.wrapping_sub(before.rip);
    assert!(length <= 15, "{length} bytes");
    assert_eq!(after.control, before.control);
    assert!(!after.shadow);
}

const KNOWN: [Known; 5] = [Known::Cpuid, Known::Halt, Known::Control, Known::Port, Known::Hypercall];

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let before = processor(&mut input);
    let fault = Gpa(match input.u8() % 3 {
        0 => DEVICE_GPA + u64::from(input.u16()),
        1 => DATA,
        _ => input.u64(),
    });
    let kind =
        input.pick(&[NestedAccess::Read, NestedAccess::Write, NestedAccess::Fetch, NestedAccess::Walk]);
    let (port, width, is_input) = (input.u16(), input.port_width(), input.u8() & 1 != 0);
    let selector = input.u16();
    let source = input.pick(&[TaskSource::Call, TaskSource::Return, TaskSource::Jump, TaskSource::Gate]);
    let memory = memory(&mut input);
    let code = before.segments[SegmentName::Cs as usize].base.wrapping_add(CODE) & 0xffff_ffff;
    let _ = memory.write(Gpa(if before.control.efer != 0 { CODE } else { code }), input.bytes(15));

    let device = || Device { fault, accesses: 0 };
    let mut recent = Recent::default();
    let (mut cpu, mut bus) = (before.clone(), device());
    let outcome = memory_access(&mut cpu, &memory, &mut bus, &mut recent, fault, kind);
    check(outcome, &before, &cpu, &bus);

    let (mut cpu, mut ports) = (before.clone(), device());
    let access = PortAccess { port, width, input: is_input, string: true, repeat: false };
    let outcome = string_port(&mut cpu, &memory, &mut ports, &mut recent, access);
    check(outcome, &before, &cpu, &ports);

    for known in KNOWN {
        let told = before.next_rip().or_else(|| next_rip_at_once(&before, &memory, &mut recent, known));
        let told = told.or_else(|| next_rip_by_decoding(&before, &memory, &mut recent, known));
        if let Some(next) = told {
            assert!((1..=15).contains(&(next - before.rip)), "{known:?}: {next:#x}");
        }
    }

    let mut cpu = before.clone();
    if task_switch::switch(&mut cpu, &memory, selector, source).is_ok() {
        assert_eq!(cpu.segments[SegmentName::Tr as usize].selector, selector);
    }
});
