//! Instructions that are interpreted in a compartment.

use super::*;
use compartment::{Compartment, Ended, Kind, Restarts};
use emulator_compartment::{AREA_WORDS, EmulatorServer, First, RemoteEmulator};

/// A compartment of a guest with the code at 0.
struct Process {
    area: Vec<u64>,
    server: EmulatorServer,
    memory: access::memory::VecMemory,
    /// It does not come back from any call but the first.
    hangs: bool,
}

impl Compartment for Process {
    fn area(&mut self) -> &mut [u64] {
        &mut self.area
    }
    fn enter(&mut self) -> Result<(), Ended> {
        if Kind::of(&self.area) == Some(Kind::Interpreter) {
            First::serve(&mut self.area).expect("the first call");
            return Ok(());
        }
        if self.hangs {
            return Err(Ended::Late);
        }
        assert!(self.server.serve(&self.memory, &mut self.area));
        Ok(())
    }
}

/// Executes this 16-bit code, which reaches for the I/O APIC with BX at 0x10. How the guest ended, its vCPU's EAX, and the log.
fn executes(code: &[u8], hangs: bool) -> (Option<End>, u64, String) {
    let partition = self::partition(1);
    let memory = access::memory::VecMemory::new(0x1000);
    memory.write(Gpa(0), code).unwrap();
    let area = std::vec![0; AREA_WORDS];
    let process = Process { area, server: EmulatorServer::default(), memory, hangs };
    let apart = RemoteEmulator::begin(std::boxed::Box::new(process), &First::default(), Restarts::NONE);
    let gpa = layout::IOAPIC;
    let fault = Exit::NestedFault { gpa: gpa + 0x10, access: access::vcpu::NestedAccess::Read };
    let mut vp = VirtualProcessor::new(0, Scripted::new(&partition, &[exit(fault)], &[]));
    vp.interpreter.apart = Some(std::boxed::Box::new(apart.unwrap()));
    vp.cpu.still = access::fake_processor::StillProcessor::real();
    vp.cpu.still.segment_mut(SegmentName::Ds).base = gpa.0;
    vp.cpu.still.registers[RBX] = 0x10;
    vp.run(&partition);
    let log = partition.host.logged.borrow().join("\n");
    (partition.ended(), vp.cpu.still.registers[RAX], log)
}

#[test]
fn an_access_is_carried_out_where_it_is_interpreted_elsewhere() {
    // mov eax, [bx]: the register that is selected after reset, which has the identity.
    let code = &[0x66, 0x8b, 0x07];
    let (end, value, log) = executes(code, false);
    assert_eq!(end, Some(End::Stopped), "of the script: {log}");
    let partition = self::partition(1);
    let identity = partition.with_chipset(0, |chipset, effects, _| chipset.ioapic_read(0x10, effects)).0;
    assert_eq!(value, u64::from(identity));
}

#[test]
fn a_guest_whose_interpreter_is_gone_ends() {
    let (end, value, log) = executes(&[0x66, 0x8b, 0x07], true);
    assert_eq!((end, value), (Some(End::EmulatorFailed), 0));
    assert!(log.contains("its interpreter is gone, at 0x0: it did not come back in time"), "{log}");
}
