//! Bits of CR0, CR4, EFER, RFLAGS and entries of page tables (Intel SDM vol. 3 sections 2.5 and 2.2.1, vol. 1 section
//! 3.4.3, vol. 3 section 5.5; AMD APM vol. 2 sections 3.1, 3.2 and 5.4), as crate `x86_64` has them: numbers, for they
//! are mostly a guest's.

use x86_64::registers::control::{Cr0Flags, Cr4Flags, EferFlags};
use x86_64::registers::rflags::RFlags;
use x86_64::structures::paging::PageTableFlags;

macro_rules! bits {
    ($($name:ident = $flags:ident::$flag:ident, $what:literal;)*) => {$(
        #[doc = $what]
        pub const $name: u64 = $flags::$flag.bits();
    )*};
}

bits! {
    CR0_PE = Cr0Flags::PROTECTED_MODE_ENABLE, "CR0: protected mode.";
    CR0_TS = Cr0Flags::TASK_SWITCHED, "CR0: a task switch was made, so the FPU's registers are another task's.";
    CR0_ET = Cr0Flags::EXTENSION_TYPE, "CR0: always set since the 486.";
    CR0_WP = Cr0Flags::WRITE_PROTECT, "CR0: pages are write-protected for supervisors too.";
    CR0_NW = Cr0Flags::NOT_WRITE_THROUGH, "CR0: not write-through.";
    CR0_CD = Cr0Flags::CACHE_DISABLE, "CR0: caches are disabled.";
    CR0_PG = Cr0Flags::PAGING, "CR0: paging.";
    CR4_PSE = Cr4Flags::PAGE_SIZE_EXTENSION, "CR4: pages of 4 MiB in 32-bit paging.";
    CR4_PAE = Cr4Flags::PHYSICAL_ADDRESS_EXTENSION, "CR4: page table entries of 64 bits.";
    CR4_MCE = Cr4Flags::MACHINE_CHECK_EXCEPTION, "CR4: machine checks raise #MC, without which they shut down.";
    CR4_PGE = Cr4Flags::PAGE_GLOBAL, "CR4: global pages.";
    CR4_PCE = Cr4Flags::PERFORMANCE_MONITOR_COUNTER, "CR4: RDPMC at any privilege level.";
    CR4_OSFXSR = Cr4Flags::OSFXSR, "CR4: FXSAVE, and SSE instructions.";
    CR4_OSXMMEXCPT = Cr4Flags::OSXMMEXCPT_ENABLE, "CR4: #XM for SSE exceptions.";
    CR4_LA57 = Cr4Flags::L5_PAGING, "CR4: paging with five levels.";
    CR4_PCIDE = Cr4Flags::PCID, "CR4: process-context identifiers.";
    CR4_OSXSAVE = Cr4Flags::OSXSAVE, "CR4: XSAVE and XSETBV.";
    CR4_SMEP = Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, "CR4: supervisors execute no user pages.";
    CR4_SMAP = Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION, "CR4: supervisors access user pages with RFLAGS.AC only.";
    CR4_UMIP = Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, "CR4: SGDT, SIDT, SLDT, SMSW and STR are ring 0's alone.";
    EFER_SCE = EferFlags::SYSTEM_CALL_EXTENSIONS, "EFER: SYSCALL and SYSRET.";
    EFER_LME = EferFlags::LONG_MODE_ENABLE, "EFER: long mode, once there is paging.";
    EFER_LMA = EferFlags::LONG_MODE_ACTIVE, "EFER: long mode is active.";
    EFER_NXE = EferFlags::NO_EXECUTE_ENABLE, "EFER: pages can be barred from execution.";
    EFER_SVME = EferFlags::SECURE_VIRTUAL_MACHINE_ENABLE, "EFER: AMD-V's instructions.";
    RFLAGS_TF = RFlags::TRAP_FLAG, "RFLAGS: #DB after the next instruction.";
    RFLAGS_IF = RFlags::INTERRUPT_FLAG, "RFLAGS: maskable interrupts are taken.";
    RFLAGS_DF = RFlags::DIRECTION_FLAG, "RFLAGS: string instructions go down.";
    RFLAGS_RF = RFlags::RESUME_FLAG, "RFLAGS: the instruction runs again without instruction breakpoints.";
    RFLAGS_VM = RFlags::VIRTUAL_8086_MODE, "RFLAGS: virtual-8086 mode.";
    RFLAGS_AC = RFlags::ALIGNMENT_CHECK, "RFLAGS: alignment checks; with SMAP, access to user pages.";
    PAGE_PRESENT = PageTableFlags::PRESENT, "P: the entry counts.";
    PAGE_WRITABLE = PageTableFlags::WRITABLE, "R/W: what the entry leads to can be written.";
    PAGE_USER = PageTableFlags::USER_ACCESSIBLE, "U/S: it is a user's.";
    PAGE_WRITE_THROUGH = PageTableFlags::WRITE_THROUGH, "PWT: bit 0 of the index into the PAT.";
    PAGE_CACHE_DISABLE = PageTableFlags::NO_CACHE, "PCD: bit 1 of the index into the PAT.";
    PAGE_ACCESSED = PageTableFlags::ACCESSED, "A: the processor used the entry.";
    PAGE_DIRTY = PageTableFlags::DIRTY, "D: the processor wrote the page.";
    PAGE_SIZE = PageTableFlags::HUGE_PAGE, "PS: a leaf above level 1.";
    PAGE_GLOBAL = PageTableFlags::GLOBAL, "G: the translation outlives loads of CR3.";
    PAGE_NO_EXECUTE = PageTableFlags::NO_EXECUTE, "NX: nothing is executed there, with EFER.NXE.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_where_the_manuals_have_them() {
        assert_eq!(
            [CR0_PE, CR0_TS, CR0_ET, CR0_WP, CR0_NW, CR0_CD, CR0_PG].map(u64::trailing_zeros),
            [0, 3, 4, 16, 29, 30, 31]
        );
        let cr4 = [
            CR4_PSE,
            CR4_PAE,
            CR4_MCE,
            CR4_PGE,
            CR4_PCE,
            CR4_OSFXSR,
            CR4_OSXMMEXCPT,
            CR4_LA57,
            CR4_PCIDE,
            CR4_OSXSAVE,
            CR4_SMEP,
            CR4_SMAP,
            CR4_UMIP,
        ];
        assert_eq!(cr4.map(u64::trailing_zeros), [4, 5, 6, 7, 8, 9, 10, 12, 17, 18, 20, 21, 11]);
        let efer = [EFER_SCE, EFER_LME, EFER_LMA, EFER_NXE, EFER_SVME];
        assert_eq!(efer.map(u64::trailing_zeros), [0, 8, 10, 11, 12]);
        let page = [
            PAGE_PRESENT,
            PAGE_WRITABLE,
            PAGE_USER,
            PAGE_WRITE_THROUGH,
            PAGE_CACHE_DISABLE,
            PAGE_ACCESSED,
            PAGE_DIRTY,
            PAGE_SIZE,
            PAGE_GLOBAL,
            PAGE_NO_EXECUTE,
        ];
        assert_eq!(page.map(u64::trailing_zeros), [0, 1, 2, 3, 4, 5, 6, 7, 8, 63]);
        let rflags = [RFLAGS_TF, RFLAGS_IF, RFLAGS_DF, RFLAGS_RF, RFLAGS_VM, RFLAGS_AC];
        assert_eq!(rflags.map(u64::trailing_zeros), [8, 9, 10, 16, 17, 18]);
    }
}
