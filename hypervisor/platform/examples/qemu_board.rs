//! Makes a board file of a QEMU machine, without a guest: its firmware runs, then
//! this reads the tables and configuration space through the qtest channel, with
//! the same code as the hypervisor.
//!
//! The everyday machine of `examples/boards/q35.json`:
//!
//! ```text
//! cargo run -p platform --example qemu_board -- qemu-system-x86_64 \
//!     -machine q35,kernel-irqchip=split -cpu EPYC,+svm,+npt,+x2apic -smp 4 -m 2G \
//!     -nodefaults -device intel-iommu,intremap=on,eim=on,caching-mode=on,device-iotlb=on,aw-bits=48 \
//!     -device pcie-root-port,id=port2,chassis=2,addr=2 \
//!     -netdev user,id=net2 -device e1000e,netdev=net2,bus=port2,addr=0 \
//!     -drive if=none,id=nvme3,format=raw,file.driver=null-co,file.size=256M \
//!     -device nvme,serial=bulkhead3,drive=nvme3,addr=3 > examples/boards/q35.json
//! ```
//!
//! With `-device amd-iommu,intremap=on,pt=off,xtsup=on` in place of `intel-iommu` it is
//! that of `examples/boards/q35-amdvi.json`.

use access::ConfigSpace;
use platform::{MemoryKind, MemoryRegion, PhysicalMemory, Platform, Tables};
use spec::{Bdf, Hpa, Width};
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the firmware may take until its tables are in memory.
const FIRMWARE_TIMEOUT: Duration = Duration::from_secs(20);
/// Ports of the firmware configuration interface.
const FW_CFG_SELECTOR: u16 = 0x510;
const FW_CFG_DATA: u16 = 0x511;
const FW_CFG_DIRECTORY: u16 = 0x19;

/// A machine reached through qtest: one command a line, one answer a line.
struct Machine {
    process: Child,
    channel: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Machine {
    fn start(command: &[String]) -> std::io::Result<Self> {
        let (program, arguments) = command.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
        let mut process = Command::new(program)
            .args(arguments)
            .args(["-display", "none", "-serial", "none", "-monitor", "none"])
            .args(["-qtest", "stdio", "-qtest-log", "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = process.stdin.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        let stdout = process.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        Ok(Self { process, channel: RefCell::new((stdin, BufReader::new(stdout))) })
    }

    /// Runs a command; what follows the OK of its answer.
    fn command(&self, command: &str) -> std::io::Result<String> {
        let (stdin, stdout) = &mut *self.channel.borrow_mut();
        writeln!(stdin, "{command}")?;
        stdin.flush()?;
        loop {
            let mut line = String::new();
            if stdout.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            // Lines of other kinds tell of interrupts.
            if let Some(answer) = line.strip_prefix("OK") {
                return Ok(answer.trim().to_string());
            }
            if line.starts_with("FAIL") || line.starts_with("ERR") {
                return Err(std::io::Error::other(format!("{command}: {line}")));
            }
        }
    }

    fn number(&self, command: &str) -> u64 {
        let answer = self.run(command);
        u64::from_str_radix(answer.trim_start_matches("0x"), 16).unwrap_or(u64::MAX)
    }

    /// As [`Self::command`]; a machine that is gone ends this program.
    fn run(&self, command: &str) -> String {
        self.command(command).unwrap_or_else(|error| {
            eprintln!("the machine does not answer: {error}");
            std::process::exit(1);
        })
    }

    /// What the machine tells its firmware about memory, as its file `etc/e820`.
    fn memory_map(&self) -> Vec<MemoryRegion> {
        let byte = || self.number(&format!("inb {FW_CFG_DATA:#x}")) as u8;
        let read = |selector: u16, bytes: usize| -> Vec<u8> {
            self.run(&format!("outw {FW_CFG_SELECTOR:#x} {selector:#x}"));
            (0..bytes).map(|_| byte()).collect()
        };
        let count = u32::from_be_bytes(read(FW_CFG_DIRECTORY, 4).try_into().unwrap_or_default());
        let directory = read(FW_CFG_DIRECTORY, 4 + 64 * count as usize);
        let file = directory[4..].chunks(64).find(|entry| entry[8..].starts_with(b"etc/e820\0"));
        let Some(file) = file else { return Vec::new() };
        let size = u32::from_be_bytes([file[0], file[1], file[2], file[3]]);
        let selector = u16::from_be_bytes([file[4], file[5]]);
        let field =
            |entry: &[u8], at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap_or_default());
        read(selector, size as usize)
            .chunks_exact(20)
            .map(|entry| MemoryRegion {
                start: Hpa(field(entry, 0)),
                bytes: field(entry, 8),
                kind: if entry[16] == 1 { MemoryKind::Usable } else { MemoryKind::Reserved },
            })
            .collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Nothing is lost if it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl PhysicalMemory for Machine {
    fn read(&self, hpa: Hpa, out: &mut [u8]) -> bool {
        let Ok(answer) = self.command(&format!("read {:#x} {:#x}", hpa.0, out.len())) else { return false };
        let digits = answer.trim_start_matches("0x").as_bytes();
        for (byte, pair) in out.iter_mut().zip(digits.chunks(2)) {
            let text = std::str::from_utf8(pair).unwrap_or_default();
            *byte = u8::from_str_radix(text, 16).unwrap_or(0xff);
        }
        true
    }
}

/// Configuration space through ports 0xcf8 and 0xcfc, and where the tables give an
/// address through memory.
struct Config<'a> {
    machine: &'a Machine,
    ecam: Option<platform::acpi::Ecam>,
}

const fn letter(width: Width) -> char {
    match width {
        Width::Byte => 'b',
        Width::Word => 'w',
        _ => 'l',
    }
}

impl Config<'_> {
    /// Selects a register; the port of its data.
    fn select(&self, function: Bdf, offset: u16) -> u16 {
        let address = 1 << 31 | u32::from(function.0) << 8 | u32::from(offset & 0xfc);
        self.machine.run(&format!("outl 0xcf8 {address:#x}"));
        0xcfc + (offset & 3)
    }
    fn memory(&self, function: Bdf, offset: u16) -> Option<u64> {
        Some(self.ecam?.address(function)?.0 + u64::from(offset))
    }
}

impl ConfigSpace for Config<'_> {
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32 {
        let letter = letter(width);
        let value = match self.memory(function, offset) {
            Some(address) => self.machine.number(&format!("read{letter} {address:#x}")),
            None => {
                let port = self.select(function, offset);
                self.machine.number(&format!("in{letter} {port:#x}"))
            }
        };
        (value & width.mask()) as u32
    }
    fn write(&self, function: Bdf, offset: u16, width: Width, value: u32) {
        let letter = letter(width);
        match self.memory(function, offset) {
            Some(address) => self.machine.run(&format!("write{letter} {address:#x} {value:#x}")),
            None => {
                let port = self.select(function, offset);
                self.machine.run(&format!("out{letter} {port:#x} {value:#x}"))
            }
        };
    }
    fn is_extended(&self, function: Bdf) -> bool {
        self.memory(function, 0).is_some()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let command: Vec<String> = std::env::args().skip(1).collect();
    let machine = Machine::start(&command)?;
    let start = Instant::now();
    let tables = loop {
        std::thread::sleep(Duration::from_millis(500));
        let tables = Tables::read(&machine, Hpa(0));
        // The tables are written after the devices got their addresses.
        if !tables.madt.processors.is_empty() || start.elapsed() > FIRMWARE_TIMEOUT {
            break tables;
        }
    };
    let mut memory = machine.memory_map();
    // What the firmware itself keeps of it: its data and option ROMs below 1 MiB, and
    // the tables at the end of the memory below 4 GiB.
    let reserved = |start: u64, bytes| MemoryRegion { start: Hpa(start), bytes, kind: MemoryKind::Reserved };
    memory.push(reserved(0x9_fc00, 0x6_0400));
    if let Some(low) = memory.iter().find(|region| region.start.0 == 0).copied() {
        memory.push(reserved(low.end().0 - 0x2_0000, 0x2_0000));
    }
    memory.extend(tables.ecam.iter().map(|ecam| reserved(ecam.range().0.0, ecam.range().1)));
    let ecam = tables.ecam.first().copied();
    let board = Platform::discover(tables, memory, &Config { machine: &machine, ecam });
    for finding in board.all_findings() {
        eprintln!("{finding}");
    }
    println!("{}", serde_json::to_string_pretty(&board)?);
    Ok(())
}
