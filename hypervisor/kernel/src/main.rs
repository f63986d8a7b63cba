//! The hypervisor's binary: boot order and wiring, nothing else.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the hypervisor runs on the bare machine: build it with `cargo hv`");
}

/// Bring-up: shows what the machine is and turns it off.
#[cfg(target_os = "none")]
#[unsafe(no_mangle)]
fn hypervisor_main(boot: &'static mut bootloader_api::BootInfo) -> ! {
    use machine::{apic, console, frames, heap, interrupts, paging, power, processor, timer, tsc};

    log::info!("hello from {:?}, command line {:?}", machine::boot::door(), machine::boot::command_line());
    for region in boot.memory_regions.iter() {
        log::info!("{:#014x}..{:#014x} {:?}", region.start, region.end, region.kind);
    }
    log::info!("{} MiB of RAM, rsdp {:x?}", frames::ram_bytes() >> 20, boot.rsdp_addr);
    assert!(heap::init(1 << 20), "no heap");
    let rate = tsc::calibrate(&tsc::Platform::default());
    log::info!("TSC {rate:?}");
    apic::init().expect("a local APIC");
    log::info!("x2APIC: {}", apic::use_x2apic());
    timer::calibrate(rate.hz);
    timer::init();
    timer::arm_timer(machine::registers::read_tsc() + rate.hz / 1000);
    while interrupts::take_vectors() == [0; 4] {
        interrupts::halt_until_interrupt();
    }
    log::info!("the timer came");
    let count = processor::start_others(&[0, 1, 2, 3], other);
    log::info!("{count} processors");
    (1..count).for_each(processor::kick);
    tsc::delay_us(100_000);
    if let Some(address) = boot.ramdisk_addr.into_option() {
        log::info!("bundle of {} bytes at {address:#x}", boot.ramdisk_len);
    }
    let _ = paging::root();
    heap::seal();
    console::write_line("guest", false, b"part");
    power::power_off(&power::SoftOff {
        pm1a_control: 0x604,
        pm1b_control: None,
        sleep_type_a: 0,
        sleep_type_b: 0,
    });
    panic!("still on");
}

#[cfg(target_os = "none")]
extern "C" fn other(index: usize) -> ! {
    log::info!("processor {index} runs");
    loop {
        machine::interrupts::halt_until_interrupt();
        if machine::interrupts::was_kicked() {
            log::info!("processor {index} was kicked");
        }
    }
}
