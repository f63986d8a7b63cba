//! An emulator that runs.

use crate::machine::{Machine, VARIABLES};
use crate::process::Group;
use crate::qmp::Qmp;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::io::{self, PipeReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long an emulator may take to open its channels.
const START: Duration = Duration::from_secs(20);

/// How a machine's run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The emulator ended by itself: the machine was powered off or reset.
    ByItself(ExitStatus),
    /// The time was up, or it was stopped.
    Killed,
}

/// A machine that runs. Dropping it kills the emulator and removes its sockets.
#[derive(Debug)]
pub struct Running {
    group: Group,
    serial: Serial,
    qmp: Option<Qmp>,
    errors: PathBuf,
    /// What the emulator says at a good end that its status does not tell.
    powered_off: &'static [&'static str],
    started: Instant,
    /// How long its COM1 is read slowly.
    slow: Duration,
    /// Dropped last, when the emulator is gone.
    private: PrivateFolder,
}

impl Machine {
    /// Starts the machine; the emulator's own messages go to `logs`/qemu.log.
    ///
    /// # Errors
    /// The emulator does not start; the error holds what it said.
    pub fn start(&self, logs: &Path) -> Result<Running> {
        let private = PrivateFolder::new()?;
        let folder = private.0.as_path();
        let errors = logs.join("qemu.log");
        if let Some(variables) = self.variables() {
            std::fs::copy(variables, folder.join(VARIABLES))
                .with_context(|| format!("cannot copy {}", variables.display()))?;
            writable(&folder.join(VARIABLES))?;
        }
        // We listen and the emulator connects: then there is no moment at which a
        // socket exists and nobody answers.
        let serial = Listener::new(folder, "com1")?;
        let qmp = Listener::new(folder, "qmp")?;
        let mut arguments = self.arguments(folder);
        arguments.extend(["-chardev".into(), serial.chardev("com1")]);
        arguments.extend(self.serial_arguments("com1", folder).context("cannot write a table")?);
        arguments.extend([
            "-chardev".into(),
            qmp.chardev("qmp"),
            "-mon".into(),
            "chardev=qmp,mode=control".into(),
        ]);

        let mut group = Group::spawn(self.qemu().program(), &arguments, self.qemu().environment(), &errors)?;
        let started = Instant::now();
        // The emulator opens character devices in the order of their arguments, and may
        // still find fault with a device after that.
        let late = self.late();
        let mut connect = || {
            let (serial, mut qmp) = (serial.accept(&mut group)?, Qmp::new(qmp.accept(&mut group)?)?);
            if !late.is_empty() {
                late.plug(&mut qmp)?;
            }
            Ok((serial, qmp))
        };
        let (serial, qmp) = connect().map_err(|error: anyhow::Error| {
            group.kill();
            let said = std::fs::read_to_string(&errors).unwrap_or_default();
            error.context(format!("{} did not start: {}", self.qemu().program().display(), said.trim()))
        })?;
        let (serial, qmp) = (Serial::Socket(serial), Some(qmp));
        let slow = Duration::ZERO;
        Ok(Running { group, serial, qmp, errors, powered_off: &[], started, slow, private })
    }
}

impl Running {
    /// An emulator whose COM1 is connected by TCP: `listener` waits for it. No control channel; see
    /// [`Running::of_pipe`] for `powered_off`.
    ///
    /// # Errors
    /// It does not connect.
    pub(crate) fn of_listener(
        mut group: Group,
        listener: &TcpListener,
        errors: PathBuf,
        powered_off: &'static [&'static str],
        private: PrivateFolder,
    ) -> Result<Self> {
        let started = Instant::now();
        listener.set_nonblocking(true)?;
        let socket = accept(&mut group, || listener.accept().map(|(socket, _)| socket))?;
        socket.set_nonblocking(false)?;
        let serial = Serial::Tcp(socket);
        Ok(Self { group, serial, qmp: None, errors, powered_off, started, slow: Duration::ZERO, private })
    }

    /// An emulator whose COM1 is a pipe: no input, no control channel. One of
    /// `powered_off` in its messages makes its end a good one, whatever its status.
    pub(crate) fn of_pipe(
        group: Group,
        serial: PipeReader,
        errors: PathBuf,
        powered_off: &'static [&'static str],
        private: PrivateFolder,
    ) -> Self {
        let (serial, started) = (Serial::Pipe(serial), Instant::now());
        Self { group, serial, qmp: None, errors, powered_off, started, slow: Duration::ZERO, private }
    }

    /// The machine's COM1, to read. Read it without pause: the machine waits while
    /// nobody does. Reading gives an end of file when the emulator ends.
    ///
    /// # Errors
    /// The system is out of descriptors.
    pub fn output(&self) -> Result<impl Read + Send + 'static> {
        let serial = match &self.serial {
            Serial::Socket(socket) => Serial::Socket(socket.try_clone()?),
            Serial::Pipe(pipe) => Serial::Pipe(pipe.try_clone()?),
            Serial::Tcp(socket) => Serial::Tcp(socket.try_clone()?),
        };
        Ok(Paced { serial, started: self.started, slow: self.slow, bytes: 0 })
    }

    /// Has [`Running::output`] read as slowly as a real line sends, for `time` from the start.
    pub fn read_slowly(&mut self, time: Duration) {
        self.slow = time;
    }

    /// The machine's COM1, to type to, where the emulator takes input.
    ///
    /// # Errors
    /// The system is out of descriptors.
    pub fn input(&self) -> Result<Option<Box<dyn Write + Send>>> {
        match &self.serial {
            Serial::Socket(socket) => Ok(Some(Box::new(socket.try_clone()?))),
            Serial::Tcp(socket) => Ok(Some(Box::new(socket.try_clone()?))),
            Serial::Pipe(_) => Ok(None),
        }
    }

    /// The control channel, where the emulator has one.
    pub fn qmp(&mut self) -> Option<&mut Qmp> {
        self.qmp.as_mut()
    }

    /// The control channel to keep, for use while the machine is watched.
    pub fn take_qmp(&mut self) -> Option<Qmp> {
        self.qmp.take()
    }

    /// When the emulator was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The private folder of its sockets, which goes with it.
    pub fn folder(&self) -> &Path {
        self.private.path()
    }

    /// What the emulator itself said so far.
    pub fn messages(&self) -> String {
        std::fs::read_to_string(&self.errors).unwrap_or_default()
    }

    /// Whether the emulator has ended.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        self.group.status()
    }

    /// Waits at most `timeout`, then kills the emulator.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn wait(&mut self, timeout: Duration) -> Result<Ended> {
        Ok(match self.group.wait(timeout)? {
            Some(_) if self.was_powered_off() => Ended::ByItself(ExitStatus::default()),
            Some(status) => Ended::ByItself(status),
            None => {
                self.kill();
                Ended::Killed
            }
        })
    }

    fn was_powered_off(&self) -> bool {
        let messages = self.messages();
        self.powered_off.iter().any(|text| messages.contains(text))
    }

    /// Kills the emulator.
    pub fn kill(&mut self) {
        self.group.kill();
    }
}

/// COM1 as the emulator's end of it is connected.
#[derive(Debug)]
enum Serial {
    Socket(UnixStream),
    Tcp(TcpStream),
    Pipe(PipeReader),
}

/// A socket whose other end vanished is at its end.
impl Read for Serial {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = match self {
                Self::Socket(socket) => socket.read(bytes),
                Self::Pipe(pipe) => pipe.read(bytes),
                Self::Tcp(socket) => socket.read(bytes),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(0),
                result => return result,
            }
        }
    }
}

/// Bytes a second of a line with 115200 baud, 8 data bits, no parity, one stop bit.
const LINE_RATE: u64 = 11_520;

/// COM1, read as slowly as a real line sends for a while.
struct Paced {
    serial: Serial,
    started: Instant,
    slow: Duration,
    bytes: u64,
}

impl Read for Paced {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        /// Fewer are not worth a look.
        const LEAST: u64 = 64;
        let mut most = bytes.len();
        while self.started.elapsed() < self.slow {
            let sent = self.started.elapsed().as_millis() as u64 * LINE_RATE / 1000;
            let waiting = sent.saturating_sub(self.bytes);
            if waiting >= LEAST {
                most = most.min(waiting as usize);
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let read = self.serial.read(bytes.get_mut(..most).unwrap_or_default())?;
        self.bytes += read as u64;
        Ok(read)
    }
}

struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    fn new(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        let socket =
            UnixListener::bind(&path).with_context(|| format!("cannot listen at {}", path.display()))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path })
    }

    fn chardev(&self, id: &str) -> OsString {
        format!("socket,id={id},server=off,path={}", self.path.display()).into()
    }

    fn accept(&self, group: &mut Group) -> Result<UnixStream> {
        let stream = accept(group, || self.socket.accept().map(|(stream, _)| stream))?;
        stream.set_nonblocking(false)?;
        Ok(stream)
    }
}

/// Waits until the emulator has connected; `try_accept` does not wait.
fn accept<S>(group: &mut Group, try_accept: impl Fn() -> io::Result<S>) -> Result<S> {
    let end = Instant::now() + START;
    loop {
        match try_accept() {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(status) = group.status()? {
            bail!("it ended at once ({status})");
        }
        if Instant::now() >= end {
            bail!("it opened no channel in {START:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A folder of our own for sockets, gone with its owner. Its name is short: a
/// socket's path may have 107 bytes.
#[derive(Debug)]
pub(crate) struct PrivateFolder(PathBuf);

impl PrivateFolder {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn new() -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let base = std::env::temp_dir();
        let base = if base.as_os_str().len() > 60 { PathBuf::from("/tmp") } else { base };
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let folder = base.join(format!("hv-{}-{number}", std::process::id()));
            match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok(Self(folder)),
                // Left by a killed process that had our number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("cannot make {}", folder.display())),
            }
        }
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn writable(file: &Path) -> Result<()> {
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600))?;
    Ok(())
}
