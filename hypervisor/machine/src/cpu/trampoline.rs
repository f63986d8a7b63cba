//! Starting the other processors: INIT, start-up, from real mode to the upper half
//! (Intel SDM vol. 3 section 10.4).

#[cfg(target_os = "none")]
pub(crate) use bare::{release, start};

use core::fmt;

use crate::cpu::apic::ApicError;
use crate::memory::paging::MapError;

/// Why a processor was not started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartError {
    /// The memory map has no page below 1 MiB to start in.
    NoTrampoline,
    /// No memory for its stacks or tables.
    NoMemory(MapError),
    /// It did not answer in time.
    Silent,
    /// Its local APIC cannot be used.
    Apic(ApicError),
    /// The APIC's ID has more bits than its mode can address.
    WideId,
    /// Its time-stamp counter is not that of the first.
    OtherTime,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTrampoline => f.write_str("there is no usable page below 1 MiB to start it in"),
            Self::NoMemory(error) => write!(f, "no memory for its stacks: {error:?}"),
            Self::Silent => f.write_str("it did not answer to INIT and start-up messages"),
            Self::Apic(error) => write!(f, "its local APIC cannot be used: {error:?}"),
            Self::OtherTime => {
                f.write_str("its time-stamp counter is not that of the first, by which all guests are timed")
            }
            Self::WideId => f.write_str("its APIC ID needs x2APIC mode"),
        }
    }
}

#[cfg(target_os = "none")]
mod bare {
    use super::StartError;
    use alloc::boxed::Box;
    use core::arch::global_asm;
    use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    use spec::Hpa;

    use crate::cpu::processor::{self, Local};
    use crate::cpu::{apic, registers, tsc};
    use crate::memory::{frames, layout, paging};

    /// What the next processor finds. It takes `stack_top` with an exchange, so a
    /// processor that answers after it was given up finds nothing and halts.
    #[repr(C)]
    struct Mailbox {
        stack_top: AtomicU64,
        local: AtomicU64,
    }

    static MAILBOX: Mailbox = Mailbox { stack_top: AtomicU64::new(0), local: AtomicU64::new(0) };
    /// What the processors run, an `extern "C" fn(usize) -> !`.
    static ENTRY: AtomicUsize = AtomicUsize::new(0);
    /// All processors were tried: they may run.
    static RELEASED: AtomicBool = AtomicBool::new(false);
    /// CR3 for the first instructions; 0 until the page is prepared.
    static ROOT: AtomicU64 = AtomicU64::new(0);
    /// Whether a processor that took the mailbox could not use its APIC.
    static REFUSED: AtomicU64 = AtomicU64::new(0);
    /// TSC of the processor that started last, at its start.
    static STARTED_AT: AtomicU64 = AtomicU64::new(0);

    global_asm!(
        r#"
    .section .rodata.trampoline, "a"
    .balign 16
    .code16
trampoline:
    jmp 1f
    .balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00af9b000000ffff                    # 64-bit code
trampoline_gdt_pointer:
    .word 15
trampoline_gdt_base:
    .long 0
    .balign 4
trampoline_target:
    .long 0
    .word 8
    .balign 4
trampoline_root:
    .long 0
    .set gdt_pointer_offset, trampoline_gdt_pointer - trampoline
    .set target_offset, trampoline_target - trampoline
    .set root_offset, trampoline_root - trampoline
1:  cli
    cld
    mov ax, cs
    mov ds, ax
    lgdtd [gdt_pointer_offset]
    mov eax, 0x20                               # PAE
    mov cr4, eax
    mov eax, dword ptr [root_offset]
    mov cr3, eax
    mov ecx, 0xc0000080
    mov eax, 0x900                              # LME, NXE
    xor edx, edx
    wrmsr
    mov eax, {cr0}
    mov cr0, eax
    jmp fword ptr [target_offset]
    .code64
trampoline_64:
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov ss, eax
    movabs rbx, offset {mailbox}
    xor eax, eax
    xchg rax, qword ptr [rbx]
    test rax, rax
    jz 1f
    mov rsp, rax
    mov rdi, qword ptr [rbx + 8]
    xor ebp, ebp
    movabs rax, offset {main}
    call rax
1:  cli
    hlt
    jmp 1b
trampoline_end:
    .text
    "#,
        cr0 = const processor::CR0,
        mailbox = sym MAILBOX,
        main = sym main,
    );

    unsafe extern "C" {
        static trampoline: u8;
        static trampoline_64: u8;
        static trampoline_gdt: u8;
        static trampoline_gdt_base: u8;
        static trampoline_target: u8;
        static trampoline_root: u8;
        static trampoline_end: u8;
    }

    /// Copies the trampoline to its page and tells it where it is. Once.
    fn prepare(page: Hpa) -> Result<(), StartError> {
        if ROOT.load(Ordering::Relaxed) != 0 {
            return Ok(());
        }
        let root = paging::trampoline_root(page).map_err(StartError::NoMemory)?;
        let start = &raw const trampoline;
        let offset = |label: *const u8| label as usize - start as usize;
        let target = layout::direct(page);
        // SAFETY: the page is mapped writable in the direct map and the hypervisor's
        // alone; the code and the fields in it are shorter than a page. `page` is
        // below 1 MiB and `root` below 4 GiB, so both fit the fields.
        unsafe {
            target.copy_from_nonoverlapping(start, offset(&raw const trampoline_end));
            let put = |label: *const u8, value: u64| {
                target.add(offset(label)).cast::<u32>().write_unaligned(value as u32);
            };
            put(&raw const trampoline_gdt_base, page.0 + offset(&raw const trampoline_gdt) as u64);
            put(&raw const trampoline_target, page.0 + offset(&raw const trampoline_64) as u64);
            put(&raw const trampoline_root, root.0);
        }
        ROOT.store(root.0, Ordering::Relaxed);
        Ok(())
    }

    /// Starts the processor with `apic_id` as number `index`; it waits for [`release`].
    pub(crate) fn start(
        index: usize,
        apic_id: u32,
        entry: extern "C" fn(index: usize) -> !,
    ) -> Result<&'static Local, StartError> {
        if apic_id > 254 && !apic::is_x2apic() {
            return Err(StartError::WideId);
        }
        let page = frames::trampoline_page().ok_or(StartError::NoTrampoline)?;
        prepare(page)?;
        let stack = paging::allocate_stack(crate::boot::STACK_BYTES).map_err(StartError::NoMemory)?;
        let local = Local::for_processor(index, apic_id).map_err(StartError::NoMemory)?;
        let local: &'static Local = Box::leak(Box::new(local));
        ENTRY.store(entry as usize, Ordering::Relaxed);
        REFUSED.store(0, Ordering::Relaxed);
        MAILBOX.local.store(local as *const Local as u64, Ordering::Relaxed);
        MAILBOX.stack_top.store(stack.top, Ordering::Release);

        let running = || local.running.load(Ordering::Acquire);
        apic::send_init(apic_id);
        tsc::delay_us(10_000);
        // Two start-up messages, as the manuals ask; the second only if needed.
        let before = registers::read_tsc();
        for wait_us in [10_000, 1_000_000] {
            apic::send_start_up(apic_id, (page.0 >> 12) as u8);
            if tsc::poll_us(wait_us, running) {
                return match tsc::is_between(
                    before,
                    STARTED_AT.load(Ordering::Relaxed),
                    registers::read_tsc(),
                ) {
                    true => Ok(local),
                    false => {
                        local.running.store(false, Ordering::Release);
                        Err(StartError::OtherTime)
                    }
                };
            }
        }
        if MAILBOX.stack_top.swap(0, Ordering::AcqRel) != 0 || REFUSED.load(Ordering::Relaxed) == 0 {
            return Err(StartError::Silent);
        }
        Err(StartError::Apic(apic::ApicError::OtherMode))
    }

    /// Lets the processors that started run their entry.
    pub(crate) fn release() {
        RELEASED.store(true, Ordering::Release);
    }

    /// First Rust code of a started processor, on its own stack.
    extern "C" fn main(local: &'static Local) -> ! {
        processor::set_control_registers();
        if let Some(root) = paging::root() {
            // SAFETY: the hypervisor's own tables; the upper half, where this code
            // and stack are, is the same in them.
            unsafe { registers::write_cr3(root.0) };
        }
        processor::enable_global_pages();
        let expected = local.apic_id();
        processor::set_local(local);
        if apic::init().is_err() || local.apic_id() != expected {
            // Another processor than the one that was called, or none that can be
            // talked to: it stays out.
            REFUSED.store(1, Ordering::Relaxed);
            registers::halt_forever();
        }
        tsc::adopt_adjustment();
        STARTED_AT.store(registers::read_tsc(), Ordering::Relaxed);
        local.running.store(true, Ordering::Release);
        while !RELEASED.load(Ordering::Acquire) {
            core::hint::spin_loop();
        }
        if !local.running.load(Ordering::Acquire) {
            registers::halt_forever();
        }
        // SAFETY: `start` stored an `extern "C" fn(usize) -> !` before this processor
        // was started.
        let entry: extern "C" fn(usize) -> ! = unsafe { core::mem::transmute(ENTRY.load(Ordering::Relaxed)) };
        entry(local.index())
    }
}
