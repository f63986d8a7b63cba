//! A machine from start to end in the real emulator, with a boot sector for a guest.
//! Without a QEMU on PATH there is nothing to test, and the tests say so.

use lab::consoles::{Consoles, Logs, View};
use lab::{Boot, Ended, Iommu, Machine, Qemu, session};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// 16-bit code at 0x7c00: writes the text behind it to COM1, powers q35 off.
const WRITE_AND_END: &[u8] = &[
    0xfc, // cld
    0x31, 0xc0, 0x8e, 0xd8, // xor ax, ax; mov ds, ax
    0xbe, 0x1d, 0x7c, // mov si, 0x7c1d
    0xac, 0x84, 0xc0, 0x74, 0x06, // lodsb; test al, al; jz +6
    0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5, // mov dx, 0x3f8; out dx, al; jmp lodsb
    0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, // mov dx, 0x604; mov ax, 0x2000; out dx, ax
    0xf4, 0xeb, 0xfd, // hlt; jmp hlt
];
/// Where the port of the power-off is: port 0x80 instead lets the machine run on.
const POWER_PORT: usize = 20;

struct Bench {
    folder: PathBuf,
    machine: Machine,
}

impl Bench {
    /// A machine whose boot sector writes `text`; `None` without an emulator.
    fn new(name: &str, text: &str, ends: bool) -> Option<Self> {
        let qemu = match Qemu::find() {
            Ok(qemu) => qemu,
            Err(why) => {
                eprintln!("not tested: {why:#}");
                return None;
            }
        };
        let folder = std::env::temp_dir().join(format!("lab-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut sector = WRITE_AND_END.to_vec();
        if !ends {
            sector[POWER_PORT..POWER_PORT + 2].copy_from_slice(&[0x80, 0x00]);
        }
        sector.extend_from_slice(text.as_bytes());
        sector.resize(510, 0);
        sector.extend_from_slice(&[0x55, 0xaa]);
        sector.resize(1 << 20, 0);
        let image = folder.join("disk");
        std::fs::write(&image, sector).unwrap();
        let machine = Machine::everyday(&qemu, Boot::Bios(image)).cpus(1).memory_mib(64).iommu(Iommu::None);
        Some(Self { folder, machine })
    }

    fn run(&self, timeout: u64, stop_at: &str) -> (Ended, Vec<String>) {
        let mut running = self.machine.start(&self.folder).unwrap();
        let mut consoles =
            Consoles::new(View::Nothing, Some(Logs::new(&self.folder).unwrap()), std::io::sink());
        let mut lines = Vec::new();
        let timeout = Some(Duration::from_secs(timeout));
        let ended = session::run(&mut running, &mut consoles, timeout, false, |line| {
            lines.push(format!("{}: {}", line.owner, line.text));
            if line.text == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (ended.unwrap(), lines)
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_machine_that_powers_off_ends_by_itself() {
    let Some(bench) = Bench::new("off", "net> he\ndisk| up\nnet| llo\nlast", true) else { return };
    let (ended, lines) = bench.run(60, "");
    assert!(matches!(ended, Ended::ByItself(status) if status.success()), "{ended:?}");
    assert_eq!(lines, ["disk: up", "net: hello", "firmware: last"]);
    assert_eq!((bench.log("net.log"), bench.log("disk.log")), ("hello\n".into(), "up\n".into()));
}

#[test]
fn a_machine_that_runs_on_is_stopped() {
    let Some(bench) = Bench::new("stop", "net| one\nnet| two\n", false) else { return };
    let start = Instant::now();
    let (ended, lines) = bench.run(60, "one");
    assert_eq!(ended, Ended::Killed);
    assert_eq!(lines.first().map(String::as_str), Some("net: one"));
    assert!(start.elapsed() < Duration::from_secs(50));
}

#[test]
fn time_runs_out() {
    let Some(bench) = Bench::new("late", "net| one\n", false) else { return };
    let (ended, lines) = bench.run(8, "");
    assert_eq!((ended, lines), (Ended::Killed, vec!["net: one".to_owned()]));
}

#[test]
fn the_control_channel_answers_and_makes_screenshots() {
    let Some(bench) = Bench::new("qmp", "", false) else { return };
    let machine = bench.machine.clone().vga();
    let mut running = machine.start(&bench.folder).unwrap();
    assert!(running.qmp().unwrap().monitor("info version").unwrap().contains('.'));
    let picture = bench.folder.join("screen.png");
    running.qmp().unwrap().screenshot(&picture).unwrap();
    assert!(std::fs::read(&picture).unwrap().starts_with(b"\x89PNG"));
    running.qmp().unwrap().quit().unwrap();
    assert!(matches!(running.wait(Duration::from_secs(20)).unwrap(), Ended::ByItself(_)));
}

#[test]
fn an_emulator_that_refuses_its_arguments_says_why() {
    let Some(bench) = Bench::new("bad", "", true) else { return };
    let error = bench.machine.clone().device("no-such-device").start(&bench.folder).unwrap_err();
    assert!(format!("{error:#}").contains("no-such-device"), "{error:#}");
}

#[test]
fn no_sockets_are_left_behind() {
    let Some(bench) = Bench::new("clean", "", false) else { return };
    let running = bench.machine.start(&bench.folder).unwrap();
    let folder = running.folder().to_owned();
    assert!(folder.join("qmp").exists());
    drop(running);
    assert!(!folder.exists());
}
