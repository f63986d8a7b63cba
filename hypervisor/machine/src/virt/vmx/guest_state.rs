//! What is wrong with a guest's state that an entry refused (Intel SDM vol. 3 section
//! 26.3.1). The processor only says that something is; this looks for it in the order of
//! the manual and puts the first finding into words.

use spec::processor::{CR0_PE, CR0_PG, CR4_PAE, CR4_PCIDE, EFER_LMA, EFER_LME, RFLAGS_IF, RFLAGS_VM};
use spec::vmx::interruptibility::{MOV_SS, NMI, STI};
use spec::vmx::segment::UNUSABLE;
use spec::vmx::{event, segment};

/// Bits of RFLAGS that must be 0: 3, 5, 15 and those above 21. Bit 1 must be 1.
const RFLAGS_RESERVED: u64 = !0x3f_7fd7;

/// Bits of access rights.
const TYPE: u32 = 0xf;
const CODE_OR_DATA: u32 = 1 << 4;
const PRESENT: u32 = 1 << 7;
const RESERVED: u32 = 0xfffe_0f00;
const LONG: u32 = 1 << 13;
const DEFAULT_32: u32 = 1 << 14;
const GRANULAR: u32 = 1 << 15;

/// Rights of every segment in virtual-8086 mode.
const VIRTUAL_8086: u32 = 0xf3;

const CS: usize = 1;
const SS: usize = 2;
const LDTR: usize = 6;
const TR: usize = 7;

/// A segment register as the VMCS has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SegmentState {
    /// Selector.
    pub selector: u16,
    /// Access rights.
    pub rights: u32,
    /// Limit in bytes.
    pub limit: u32,
    /// Base.
    pub base: u64,
}

/// What the checks look at.
#[derive(Clone, Copy, Debug, Default)]
pub struct GuestState {
    /// CR0 as it really is.
    pub cr0: u64,
    /// CR4 as it really is.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
    /// The entry control "IA-32e mode guest".
    pub long_mode: bool,
    /// RFLAGS.
    pub rflags: u64,
    /// RIP.
    pub rip: u64,
    /// ES, CS, SS, DS, FS, GS, LDTR, TR.
    pub segments: [SegmentState; 8],
    /// Interruptibility.
    pub interruptibility: u32,
    /// The event to be delivered.
    pub event: u32,
}

impl SegmentState {
    fn is_usable(&self) -> bool {
        self.rights & UNUSABLE == 0
    }

    /// Whether limit and granularity fit each other.
    fn limit_fits(&self) -> bool {
        let granular = self.rights & GRANULAR != 0;
        let whole_pages = self.limit & 0xfff == 0xfff;
        let beyond_bytes = self.limit >> 20 != 0;
        if granular { whole_pages } else { !beyond_bytes }
    }

    fn level(&self) -> u32 {
        self.rights >> 5 & 3
    }
}

impl GuestState {
    /// The first thing that the manual forbids, in words.
    pub fn fault(&self) -> Option<&'static str> {
        self.mode_fault().or_else(|| self.flags_fault()).or_else(|| match self.rflags & RFLAGS_VM != 0 {
            true => self.virtual_8086_fault(),
            false => self.segment_fault(),
        })
    }

    /// Section 26.3.1.1.
    fn mode_fault(&self) -> Option<&'static str> {
        let paging = self.cr0 & CR0_PG != 0;
        let active = self.efer & EFER_LMA != 0;
        if paging && self.cr0 & CR0_PE == 0 {
            Some("paging without protected mode")
        } else if self.long_mode && (!paging || self.cr4 & CR4_PAE == 0) {
            Some("IA-32e mode without paging or without PAE")
        } else if !self.long_mode && self.cr4 & CR4_PCIDE != 0 {
            Some("CR4.PCIDE outside of IA-32e mode")
        } else if active != self.long_mode {
            Some("EFER.LMA that differs from the entry control for IA-32e mode")
        } else if paging && active != (self.efer & EFER_LME != 0) {
            Some("EFER.LMA that differs from EFER.LME while paging is on")
        } else {
            None
        }
    }

    /// Sections 26.3.1.4 and 26.3.1.5.
    fn flags_fault(&self) -> Option<&'static str> {
        let delivers =
            |kind| self.event & event::VALID != 0 && self.event >> event::KIND_SHIFT & event::KIND == kind;
        let interrupts = self.rflags & RFLAGS_IF != 0;
        let blocked = self.interruptibility & (STI | MOV_SS);
        if self.rflags & RFLAGS_RESERVED != 0 || self.rflags & 2 == 0 {
            Some("reserved bits of RFLAGS")
        } else if self.rflags & RFLAGS_VM != 0 && (self.long_mode || self.cr0 & CR0_PE == 0) {
            Some("virtual-8086 mode where there is none")
        } else if delivers(event::EXTERNAL) && !interrupts {
            Some("an interrupt to be delivered while RFLAGS.IF is clear")
        } else if delivers(event::EXTERNAL) && blocked != 0 {
            Some("an interrupt to be delivered in the shadow of STI or MOV SS")
        } else if delivers(event::NMI) && self.interruptibility & (MOV_SS | NMI) != 0 {
            Some("an NMI to be delivered while NMIs are blocked")
        } else if blocked == STI | MOV_SS {
            Some("the shadows of STI and MOV SS at once")
        } else if blocked & STI != 0 && !interrupts {
            Some("the shadow of STI while RFLAGS.IF is clear")
        } else if self.rip >> 32 != 0 && !self.runs_64_bit_code() {
            Some("an instruction pointer of more than 32 bits outside of 64-bit code")
        } else {
            None
        }
    }

    fn runs_64_bit_code(&self) -> bool {
        self.long_mode && self.segments[CS].rights & LONG != 0
    }

    /// Section 26.3.1.2, for virtual-8086 mode.
    fn virtual_8086_fault(&self) -> Option<&'static str> {
        let fits = |segment: &SegmentState| {
            segment.base == u64::from(segment.selector) << 4
                && segment.limit == 0xffff
                && segment.rights == VIRTUAL_8086
        };
        if self.segments[..LDTR].iter().all(fits) {
            self.system_segment_fault()
        } else {
            Some("a segment that is not one of virtual-8086 mode")
        }
    }

    /// Section 26.3.1.2, for the other modes, with unrestricted guest.
    fn segment_fault(&self) -> Option<&'static str> {
        let (cs, ss) = (&self.segments[CS], &self.segments[SS]);
        let kind = cs.rights & TYPE;
        let real = self.cr0 & CR0_PE == 0;
        let level_fits = match kind {
            3 => cs.level() == 0,
            9 | 11 => cs.level() == ss.level(),
            _ => cs.level() <= ss.level(),
        };
        if !matches!(kind, 3 | 9 | 11 | 13 | 15) || cs.rights & CODE_OR_DATA == 0 {
            Some("a CS that holds no accessed code segment")
        } else if !level_fits {
            Some("a CS whose privilege level does not fit that of SS")
        } else if (real || kind == 3) && ss.level() != 0 {
            Some("an SS whose privilege level is not 0 in real mode")
        } else if self.long_mode && cs.rights & LONG != 0 && cs.rights & DEFAULT_32 != 0 {
            Some("a CS for 64-bit and for 32-bit code at once")
        } else if ss.is_usable() && !matches!(ss.rights & TYPE, 3 | 7) {
            Some("an SS that holds no accessed, writable data segment")
        } else {
            self.any_segment_fault().or_else(|| self.system_segment_fault())
        }
    }

    /// What holds for ES, CS, SS, DS, FS and GS alike.
    fn any_segment_fault(&self) -> Option<&'static str> {
        for (index, segment) in self.segments[..LDTR].iter().enumerate() {
            if index != CS && !segment.is_usable() {
                continue;
            }
            let kind = segment.rights & TYPE;
            let unreadable_code = kind & 8 != 0 && kind & 2 == 0;
            if index != CS && (kind & 1 == 0 || unreadable_code) {
                return Some("a data segment that is not accessed or not readable");
            }
            let wanted = CODE_OR_DATA | PRESENT;
            if segment.rights & wanted != wanted || segment.rights & RESERVED != 0 {
                return Some("a segment that is not present, no code or data, or has reserved bits");
            }
            if !segment.limit_fits() {
                return Some("a segment whose limit does not fit its granularity");
            }
        }
        None
    }

    fn system_segment_fault(&self) -> Option<&'static str> {
        let (ldtr, tr) = (&self.segments[LDTR], &self.segments[TR]);
        let whole = |segment: &SegmentState| {
            segment.rights & (CODE_OR_DATA | PRESENT | RESERVED) == PRESENT && segment.limit_fits()
        };
        let busy = tr.rights & TYPE == 11 || tr.rights & TYPE == 3 && !self.long_mode;
        if !tr.is_usable() || !busy || !whole(tr) {
            Some("a TR that holds no busy task")
        } else if ldtr.is_usable() && (ldtr.rights & TYPE != 2 || !whole(ldtr)) {
            Some("an LDTR that holds no descriptor table")
        } else {
            None
        }
    }
}

// The checks name bits of access rights that `spec` has no use for elsewhere.
const _: () = assert!(RESERVED & (segment::LOW | segment::HIGH << segment::HIGH_SHIFT | UNUSABLE) == 0);

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(selector: u16, rights: u32, limit: u32) -> SegmentState {
        SegmentState { selector, rights, limit, base: 0 }
    }

    /// 64-bit code at level 0, as Linux runs.
    fn long() -> GuestState {
        let mut segments = [segment(0x18, 0xc093, u32::MAX); 8];
        segments[CS] = segment(0x10, 0xa09b, u32::MAX);
        segments[LDTR] = segment(0, UNUSABLE, 0);
        segments[TR] = segment(0x40, 0x8b, 0x67);
        GuestState {
            cr0: 0x8005_0033,
            cr4: 0x0037_26f0,
            efer: 0xd01,
            long_mode: true,
            rflags: 0x202,
            rip: 0xffff_ffff_8100_0000,
            segments,
            ..GuestState::default()
        }
    }

    /// After INIT.
    fn real() -> GuestState {
        let mut segments = [segment(0, 0x93, 0xffff); 8];
        segments[CS] = SegmentState { selector: 0xf000, rights: 0x9b, limit: 0xffff, base: 0xffff_0000 };
        segments[LDTR] = segment(0, 0x82, 0xffff);
        segments[TR] = segment(0, 0x8b, 0xffff);
        GuestState { cr0: 0x30, cr4: 0x2040, rflags: 2, rip: 0xfff0, segments, ..GuestState::default() }
    }

    fn virtual_8086() -> GuestState {
        let mut state = real();
        state.cr0 |= CR0_PE;
        state.rflags |= RFLAGS_VM;
        for segment in &mut state.segments[..LDTR] {
            *segment = SegmentState { selector: 0x1000, rights: VIRTUAL_8086, limit: 0xffff, base: 0x1_0000 };
        }
        state
    }

    #[test]
    fn what_processors_run_is_legal() {
        assert_eq!(long().fault(), None);
        assert_eq!(real().fault(), None);
        assert_eq!(virtual_8086().fault(), None);
        let mut flat = real();
        flat.cr0 |= CR0_PE;
        flat.segments[CS] = segment(0x10, 0xc09b, u32::MAX);
        assert_eq!(flat.fault(), None, "protected mode without paging");
    }

    /// A change of a legal state, and a word of the sentence that it must bring.
    type Case = (&'static str, fn(&mut GuestState));

    fn check(start: fn() -> GuestState, cases: &[Case]) {
        for (word, change) in cases {
            let mut state = start();
            change(&mut state);
            let said = state.fault().unwrap_or_else(|| panic!("{word}: nothing found"));
            assert!(said.contains(word), "{word}: {said}");
        }
    }

    #[test]
    fn each_fault_of_a_64_bit_state_is_found() {
        check(
            long,
            &[
                ("without protected mode", |state| state.cr0 &= !CR0_PE),
                ("without PAE", |state| state.cr4 &= !CR4_PAE),
                ("entry control", |state| state.efer &= !EFER_LMA),
                ("EFER.LME", |state| state.efer &= !EFER_LME),
                ("PCIDE", |state| {
                    state.long_mode = false;
                    state.efer = 0;
                    state.cr4 |= CR4_PCIDE;
                }),
                ("reserved bits of RFLAGS", |state| state.rflags |= 1 << 3),
                ("reserved bits of RFLAGS", |state| state.rflags &= !2),
                ("virtual-8086", |state| state.rflags |= RFLAGS_VM),
                ("RFLAGS.IF", |state| {
                    state.rflags &= !RFLAGS_IF;
                    state.event = event::VALID | 0x31;
                }),
                ("shadow of STI or MOV SS", |state| {
                    state.interruptibility = MOV_SS;
                    state.event = event::VALID | 0x31;
                }),
                ("NMIs are blocked", |state| {
                    state.interruptibility = NMI;
                    state.event = event::VALID | event::NMI << event::KIND_SHIFT | 2;
                }),
                ("at once", |state| state.interruptibility = STI | MOV_SS),
                ("shadow of STI", |state| {
                    state.rflags &= !RFLAGS_IF;
                    state.interruptibility = STI;
                }),
                ("accessed code", |state| state.segments[CS].rights = 0xa091),
                ("does not fit that of SS", |state| state.segments[CS].rights |= 0x60),
                ("32-bit code at once", |state| state.segments[CS].rights |= DEFAULT_32),
                ("writable", |state| state.segments[SS].rights = 0xc091),
                ("not readable", |state| state.segments[3].rights = 0xc099),
                ("not present", |state| state.segments[4].rights &= !PRESENT),
                ("reserved bits", |state| state.segments[4].rights |= 1 << 9),
                ("granularity", |state| state.segments[0].limit = 0xf_0000),
                ("busy task", |state| state.segments[TR].rights = 0x89),
                ("busy task", |state| state.segments[TR].rights |= UNUSABLE),
                ("descriptor table", |state| state.segments[LDTR] = segment(8, 0x8b, 0xf)),
            ],
        );
    }

    #[test]
    fn each_fault_of_the_older_modes_is_found() {
        check(
            real,
            &[
                ("more than 32 bits", |state| state.rip = 1 << 32),
                ("real mode", |state| {
                    state.segments[SS].rights |= 0x60;
                    state.segments[CS].rights = 0x9f;
                }),
                ("granularity", |state| state.segments[0].limit = 1 << 20),
            ],
        );
        check(virtual_8086, &[("virtual-8086", |state| state.segments[SS].base = 0)]);
    }

    #[test]
    fn segments_that_are_not_there_are_not_checked() {
        let mut state = long();
        for index in [0, 3, 4, 5] {
            state.segments[index] = segment(0, UNUSABLE, 0x1234);
        }
        assert_eq!(state.fault(), None);
    }
}
