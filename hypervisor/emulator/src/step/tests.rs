use super::*;
use access::fake_processor::StillProcessor;
use access::memory::VecMemory;
use access::vcpu::SegmentName;
use alloc::vec::Vec;
use spec::Gpa;
use spec::processor::CR0_PE;

const TABLES: u64 = 0x1000;
const CODE: u64 = 0x8000;
const CPUID: [u8; 2] = [0x0f, 0xa2];

/// Memory with `code`, and page tables that map its first 2 MiB one to one.
fn memory(code: &[u8]) -> VecMemory {
    let memory = VecMemory::new(0x1_0000);
    for level in 0..2 {
        memory.write64(Gpa(TABLES + level * 0x1000), (TABLES + (level + 1) * 0x1000) | 0x23).unwrap();
    }
    memory.write64(Gpa(TABLES + 0x2000), 0xa3).unwrap();
    memory.write(Gpa(CODE), code).unwrap();
    memory
}

fn next(cpu: &StillProcessor, memory: &VecMemory, known: Known) -> Option<u64> {
    let recent = &mut Recent::default();
    let told = cpu.next_rip().or_else(|| next_rip_at_once(cpu, memory, recent, known));
    told.or_else(|| next_rip_by_decoding(cpu, memory, recent, known))
}

#[test]
fn an_instruction_is_stepped_over_with_its_prefixes() {
    let mut cpu = StillProcessor::long(TABLES);
    cpu.rip = CODE;
    assert_eq!(next(&cpu, &memory(&CPUID), Known::Cpuid), Some(CODE + 2));
    let prefixed: Vec<u8> = [&[0x66, 0x48][..], &CPUID].concat();
    assert_eq!(next(&cpu, &memory(&prefixed), Known::Cpuid), Some(CODE + 4));
}

#[test]
fn what_is_not_that_instruction_any_more_is_not_stepped_over() {
    let mut cpu = StillProcessor::long(TABLES);
    cpu.rip = CODE;
    assert_eq!(next(&cpu, &memory(&[0x0f, 0x32]), Known::Cpuid), None);
    // Not mapped, which the quick way and the proper one both find.
    cpu.rip = 4 << 20;
    assert_eq!(next(&cpu, &memory(&CPUID), Known::Cpuid), None);
}

#[test]
fn the_base_of_code_is_where_the_bytes_are() {
    let memory = memory(&CPUID);
    let mut cpu = StillProcessor::protected();
    cpu.rip = 0xffff_f000;
    assert_eq!(next(&cpu, &memory, Known::Cpuid), None);
    cpu.segment_mut(SegmentName::Cs).base = CODE + 0x1000;
    assert_eq!(next(&cpu, &memory, Known::Cpuid), Some(0xffff_f002));
}

#[test]
fn the_next_instruction_may_be_at_the_other_end_of_4_gib() {
    let memory = memory(&CPUID);
    let mut cpu = StillProcessor::protected();
    cpu.rip = 0xffff_ffff;
    cpu.segment_mut(SegmentName::Cs).base = CODE + 1;
    assert_eq!(next(&cpu, &memory, Known::Cpuid), Some(1));
}

#[test]
fn what_writes_a_control_register_is_found_in_every_mode() {
    // MOV CR4, RBX; with REX.B, R11.
    let memory = memory(&[0x41, 0x0f, 0x22, 0xe3]);
    let written = |cpu: &StillProcessor| control_write(cpu, &memory, &mut Recent::default());
    let mut cpu = StillProcessor::long(TABLES);
    cpu.rip = CODE;
    assert_eq!(written(&cpu), Some(Control::Move { register: 4, source: 11 }));
    let mut cpu = StillProcessor::real();
    cpu.rip = 1;
    cpu.segment_mut(SegmentName::Cs).base = CODE;
    assert_eq!(cpu.control.cr0 & CR0_PE, 0);
    assert_eq!(written(&cpu), Some(Control::Move { register: 4, source: 3 }));
    cpu.rip = 0;
    // 41 is INC CX there.
    assert_eq!(written(&cpu), None);
}
