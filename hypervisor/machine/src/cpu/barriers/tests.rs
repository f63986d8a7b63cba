extern crate std;
use super::*;
use crate::cpu::facts::tests::{amd, intel};
use std::vec::Vec;

const FILL: u32 = Steps::FILL_RETURNS.0;
const VERW: u32 = Steps::CLEAR_BUFFERS.0;
const IBRS_EXIT: u32 = Steps::RESTRICT.0;
const IBRS_ENTRY: u32 = Steps::UNRESTRICT.0;
const IBPB: u32 = Steps::FORGET_BRANCHES.0;
const BHB: u32 = Steps::CLEAR_HISTORY.0;
const L1: u32 = Steps::FLUSH_L1.0;
const DIVIDER: u32 = Steps::CLEAR_DIVIDER.0;

/// Microcode of 2018 and later: IBRS and IBPB, VERW, the flush of the L1 cache.
const MICROCODE: u32 = structured::SPEC_CTRL | structured::MD_CLEAR | structured::FLUSH_CMD;

/// One of Intel's with leaf 7 EDX and IA32_ARCH_CAPABILITIES.
fn of(model: u32, structured_d: u32, arch_capabilities: u64) -> Facts {
    Facts { structured_d, arch_capabilities, ..intel(model) }
}

/// One of AMD's with leaves 8000_0008 EBX and 8000_0021 EAX.
fn zen(family: u32, model: u32, extended_8b: u32, extended_21a: u32) -> Facts {
    Facts { extended_8b, extended_21a, ..amd(family, model) }
}

/// What is needed at exits, at entries, and of IA32_SPEC_CTRL.
type Needs = (u32, u32, u64);

#[test]
fn ring_3_reads_what_is_ring_0s_where_no_microcode_says_otherwise() {
    let reads = |facts: Facts| reads_what_is_ring_0s(&facts);
    assert!(reads(of(0x3c, MICROCODE, 0)), "Haswell");
    assert!(!reads(of(0x55, MICROCODE, says::RDCL_NO)), "Cascade Lake");
    assert!(!reads(intel(0x1c)), "Bonnell");
    assert!(!reads(amd(0x17, 0x31)), "Zen 2");
}

fn known() -> Vec<(&'static str, Facts, Needs)> {
    use says::*;
    let cascade_lake = RDCL_NO | IBRS_ALL | SKIP_L1_FLUSH | MDS_NO;
    let ice_lake = cascade_lake | TAA_NO | FB_CLEAR;
    let golden_cove = cascade_lake | TAA_NO | MMIO_NO;
    let hidden = amd_has::IBPB | amd_has::IBRS;
    std::vec![
        ("Bonnell", intel(0x1c), (0, 0, 0)),
        ("Haswell", of(0x3c, MICROCODE, 0), (FILL | IBRS_EXIT, IBRS_ENTRY | VERW | L1, 1)),
        ("Haswell without microcode", intel(0x3c), (FILL, 0, 0)),
        ("Skylake", of(0x5e, MICROCODE, 0), (FILL | IBRS_EXIT, IBRS_ENTRY | VERW | L1, 1)),
        ("Goldmont", of(0x5c, MICROCODE, 0), (FILL | IBRS_EXIT, IBRS_ENTRY, 1)),
        (
            "Cascade Lake with TSX",
            Facts { structured_b: RTM, ..of(0x55, MICROCODE, cascade_lake) },
            (FILL | BHB, VERW, 1),
        ),
        ("Ice Lake", of(0x6a, MICROCODE, ice_lake), (FILL | BHB, VERW, 1)),
        (
            "Alder Lake",
            Facts { structured_2d: BHI_CTRL, ..of(0x97, MICROCODE, golden_cove | RFDS_CLEAR) },
            (FILL, VERW, 1 | BHI_DIS_S),
        ),
        ("Granite Rapids", of(0xad, MICROCODE, golden_cove | RFDS_NO | PBRSB_NO | BHI_NO), (0, 0, 1),),
        ("Zen", zen(0x17, 0x01, amd_has::IBPB, 0), (FILL | IBPB, DIVIDER, 0)),
        ("Zen 2", zen(0x17, 0x31, hidden, 0), (FILL | IBPB, 0, 0)),
        ("Zen 3", zen(0x19, 0x21, hidden, amd_says::VERW_CLEAR), (FILL | IBPB, VERW, 0)),
        (
            "Zen 4",
            zen(0x19, 0x61, hidden, amd_says::VERW_CLEAR | amd_says::AUTOMATIC_IBRS),
            (FILL | IBPB, VERW, 0),
        ),
        (
            "one that AMD fixed",
            zen(0x1b, 0x10, hidden, amd_says::AUTOMATIC_IBRS | amd_says::SRSO_NO),
            (0, 0, 0),
        ),
        ("one that interprets", Facts { is_interpreted: true, ..zen(0x17, 0x01, hidden, 0) }, (0, 0, 0)),
    ]
}

#[test]
fn known_processors_get_what_they_need() {
    for (name, facts, (exit, entry, spec_ctrl)) in known() {
        let barriers = Barriers::needed(&facts);
        assert_eq!(
            (barriers.exit, barriers.entry, barriers.spec_ctrl),
            (Steps(exit), Steps(entry), spec_ctrl),
            "{name}: {} / {}",
            barriers.exit,
            barriers.entry
        );
        assert_eq!(barriers.guards(), exit | entry != 0, "{name}");
    }
}

#[test]
fn what_microcode_lacks_is_named() {
    let missing = Barriers::needed(&intel(0x3c)).missing;
    assert_eq!(std::format!("{missing}"), "VERW, IBRS, flush the L1 data cache");
    assert_eq!(Barriers::needed(&of(0x3c, MICROCODE, 0)).missing, Steps::NONE);
    assert_eq!(Barriers::needed(&amd(0x17, 0x31)).missing, Steps::FORGET_BRANCHES);
}

#[test]
fn a_step_that_writes_a_register_is_never_chosen_where_there_is_none() {
    for (name, facts, _) in known() {
        for wanted in [Wanted::Needed, Wanted::All] {
            let barriers = Barriers::wanted(wanted, &facts);
            for steps in [barriers.exit, barriers.entry, barriers.start] {
                assert!(has_ibpb(&facts) || !steps.has(Steps::FORGET_BRANCHES), "{name}");
                assert!(has_ibrs(&facts) || !steps.has(Steps::RESTRICT), "{name}");
                assert!(has_l1_flush(&facts) || !steps.has(Steps::FLUSH_L1), "{name}");
            }
            assert!(has_ibrs(&facts) || barriers.spec_ctrl == 0, "{name}");
            // What an exit restricts an entry gives back.
            assert_eq!(barriers.exit.has(Steps::RESTRICT), barriers.entry.has(Steps::UNRESTRICT), "{name}");
        }
        assert_eq!(Barriers::wanted(Wanted::None, &facts), Barriers::default(), "{name}");
    }
}

#[test]
fn a_processor_of_another_kind_is_noticed() {
    let [goldmont, skylake] = [0x5c, 0x5e].map(|model| Barriers::needed(&of(model, MICROCODE, 0)));
    assert!(skylake.covers(&goldmont) && skylake.covers(&skylake) && !goldmont.covers(&skylake));
}

/// What was issued, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Did {
    Write(u32, u64),
    Fill,
    Verw,
    History,
    Divide,
    Fence,
}

#[derive(Default)]
struct Recorder(Vec<Did>);

impl Issue for Recorder {
    fn write_msr(&mut self, msr: u32, value: u64) {
        self.0.push(Did::Write(msr, value));
    }
    fn fill_returns(&mut self) {
        self.0.push(Did::Fill);
    }
    fn clear_buffers(&mut self) {
        self.0.push(Did::Verw);
    }
    fn clear_history(&mut self) {
        self.0.push(Did::History);
    }
    fn clear_divider(&mut self) {
        self.0.push(Did::Divide);
    }
    fn fence(&mut self) {
        self.0.push(Did::Fence);
    }
}

fn trace(steps: impl FnOnce(&mut Recorder)) -> Vec<Did> {
    let mut recorder = Recorder::default();
    steps(&mut recorder);
    recorder.0
}

#[test]
fn a_trace_of_a_skylake() {
    use Did::*;
    let barriers = Barriers::needed(&of(0x5e, MICROCODE, 0));
    assert_eq!(trace(|to| after_exit(&barriers, to)), [Write(SPEC_CTRL, 1), Fence]);
    assert_eq!(trace(|to| before_entry(&barriers, to)), [Write(FLUSH_CMD, 1), Write(SPEC_CTRL, 0)]);
    assert_eq!(
        trace(|to| before_start(&barriers, to)),
        [Write(PRED_CMD, 1), Fill, Write(FLUSH_CMD, 1), Verw, Fence]
    );
}

#[test]
fn a_trace_of_an_ice_lake_and_of_zens() {
    use Did::*;
    let ice_lake = Barriers::needed(&known()[6].1);
    assert_eq!(trace(|to| after_exit(&ice_lake, to)), [History, Fence]);
    assert_eq!(trace(|to| before_entry(&ice_lake, to)), [], "VERW comes in the assembly");
    let zen = Barriers::needed(&zen(0x17, 0x01, amd_has::IBPB, 0));
    assert_eq!(trace(|to| after_exit(&zen, to)), [Write(PRED_CMD, 1), Fence]);
    assert_eq!(trace(|to| before_entry(&zen, to)), [Divide]);
    assert_eq!(trace(|to| before_start(&zen, to)), [Write(PRED_CMD, 1), Fill, Fence]);
}

#[test]
fn without_barriers_nothing_is_issued_at_a_start() {
    assert_eq!(trace(|to| before_start(&Barriers::default(), to)), []);
}

/// The instructions from `start` on, as far as `last` says.
fn instructions(start: u64, last: impl Fn(&iced_x86::Instruction) -> bool) -> Vec<iced_x86::Instruction> {
    // SAFETY: the functions looked at are longer than that, or followed by others.
    let bytes = unsafe { core::slice::from_raw_parts(start as *const u8, 2048) };
    let mut list = Vec::new();
    for instruction in iced_x86::Decoder::with_ip(64, bytes, start, 0).iter() {
        list.push(instruction);
        if last(&instruction) {
            return list;
        }
    }
    panic!("no end in {} instructions", list.len());
}

/// Whether the instruction reads or writes memory otherwise than VERW does.
fn touches_memory(instruction: &iced_x86::Instruction) -> bool {
    use iced_x86::{Mnemonic, OpKind};
    let names = (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory);
    let stack =
        matches!(instruction.mnemonic(), Mnemonic::Push | Mnemonic::Pop | Mnemonic::Call | Mnemonic::Ret);
    (names && instruction.mnemonic() != Mnemonic::Verw) || stack
}

/// The last access to memory before each entry of `path` with a VERW before it: none between.
fn entries_behind_verw(path: &[iced_x86::Instruction], entry: &[iced_x86::Mnemonic]) -> usize {
    use iced_x86::Mnemonic;
    let verws = path.iter().enumerate().filter(|(_, one)| one.mnemonic() == Mnemonic::Verw);
    verws
        .map(|(place, _)| {
            let after = &path[place..];
            let until = after.iter().position(|one| entry.contains(&one.mnemonic())).expect("an entry");
            let between = after[..until].iter().filter(|one| touches_memory(one)).count();
            assert_eq!(between, 0, "nothing is read between VERW and the entry");
        })
        .count()
}

#[test]
fn vmx_clears_buffers_last_and_fills_returns_before_the_first() {
    use iced_x86::Mnemonic;
    let run = crate::virt::vmx::world::run as *const () as u64;
    // The function ends in the jump from where the return stack is filled to the exit.
    let path = instructions(run, |one| one.mnemonic() == Mnemonic::Lfence);
    assert_eq!(entries_behind_verw(&path, &[Mnemonic::Vmresume, Mnemonic::Vmlaunch]), 2);
    let plain = path.iter().position(|one| one.mnemonic() == Mnemonic::Vmresume).unwrap();
    assert!(path[..plain].iter().all(|one| one.mnemonic() != Mnemonic::Verw), "it costs nothing else");
    // Both addresses that an exit can lead to are taken where the host's RIP is written.
    let exits: Vec<_> = path.iter().filter(|one| one.mnemonic() == Mnemonic::Lea).collect();
    assert_eq!(exits.len(), 2);
    let [usual, filling] = [exits[0], exits[1]].map(|lea| lea.ip_rel_memory_address());
    let filled = instructions(filling, |one| one.mnemonic() == Mnemonic::Jmp);
    let calls = filled.iter().filter(|one| one.mnemonic() == Mnemonic::Call).count();
    assert_eq!((calls, filled.last().unwrap().near_branch_target()), (RETURNS, usual));
    assert!(filled.iter().all(|one| one.mnemonic() != Mnemonic::Ret && !one.is_jmp_near_indirect()));
}

#[inline(never)]
unsafe extern "sysv64" fn guarded(registers: *mut access::vcpu::GeneralRegisters, guest: u64, host: u64) {
    // SAFETY: it is looked at and never called.
    unsafe { crate::virt::svm::world::run_guarded(registers, guest, host) }
}

#[inline(never)]
unsafe extern "sysv64" fn plain(registers: *mut access::vcpu::GeneralRegisters, guest: u64, host: u64) {
    // SAFETY: as above.
    unsafe { crate::virt::svm::world::run(registers, guest, host) }
}

#[test]
fn svm_clears_buffers_last_and_fills_returns_first() {
    use iced_x86::Mnemonic;
    let to_return = |one: &iced_x86::Instruction| one.mnemonic() == Mnemonic::Ret;
    let path = instructions(guarded as *const () as u64, to_return);
    assert_eq!(entries_behind_verw(&path, &[Mnemonic::Vmrun]), 1);
    let run = path.iter().position(|one| one.mnemonic() == Mnemonic::Vmrun).unwrap();
    let fenced = path.iter().position(|one| one.mnemonic() == Mnemonic::Lfence).unwrap();
    let calls = path[run..fenced].iter().filter(|one| one.mnemonic() == Mnemonic::Call).count();
    assert_eq!(calls, RETURNS);
    let usual = instructions(plain as *const () as u64, |one| one.mnemonic() == Mnemonic::Vmsave);
    let more = [Mnemonic::Verw, Mnemonic::Call, Mnemonic::Lfence];
    let found: Vec<_> = usual.iter().map(|one| one.mnemonic()).filter(|one| more.contains(one)).collect();
    assert_eq!(found, [], "of {:?}", usual.iter().map(|one| one.mnemonic()).collect::<Vec<_>>());
}
