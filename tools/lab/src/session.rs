//! One run of a machine from start to end, with its consoles.

use crate::consoles::Consoles;
use crate::demux::Line;
use crate::running::{Ended, Running};
use crate::terminal::{RawTerminal, forward};
use anyhow::Result;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// How long an emulator whose serial line is closed may take to end.
const LAST_BREATH: Duration = Duration::from_secs(5);
/// How often the session looks whether a signal came.
const TICK: Duration = Duration::from_millis(100);

enum Event {
    Output(Vec<u8>),
    OutputClosed,
    Quit,
}

/// Runs `machine` until it ends by itself, `timeout` is up, `on_line` breaks, the
/// user quits, or we are told to end by a signal. Then the emulator is gone, and
/// every line that it wrote went through `consoles` and `on_line`.
///
/// With `interactive` and a terminal on standard input, its keys go to the machine.
///
/// # Errors
/// The consoles cannot be written or the emulator cannot be waited for.
pub fn run<W: Write>(
    machine: &mut Running,
    consoles: &mut Consoles<W>,
    timeout: Option<Duration>,
    interactive: bool,
    mut on_line: impl FnMut(&Line) -> ControlFlow<()>,
) -> Result<Ended> {
    let end = timeout.map(|timeout| Instant::now() + timeout);
    let told_to_end = Arc::new(AtomicBool::new(false));
    let _signals = Signals::register(&told_to_end)?;
    // Bounded: a view that is slower than the machine slows the machine.
    let (sender, receiver) = sync_channel(64);
    let mut output = machine.output()?;
    std::thread::spawn({
        let sender = sender.clone();
        move || read(&mut output, &sender)
    });
    let input = if interactive { machine.input()? } else { None };
    let terminal = if input.is_some() { RawTerminal::enter()? } else { None };
    if let (Some(_), Some(input)) = (&terminal, input) {
        std::thread::spawn(move || forward(input, || drop(sender.send(Event::Quit))));
    }

    let mut stopped = false;
    loop {
        let left = end.map_or(TICK, |end| TICK.min(end.saturating_duration_since(Instant::now())));
        let mut flow = ControlFlow::Continue(());
        match receiver.recv_timeout(left) {
            Ok(Event::Output(bytes)) => {
                consoles.receive(&bytes, |line| {
                    if flow.is_continue() {
                        flow = on_line(line);
                    }
                })?;
            }
            Ok(Event::OutputClosed) | Err(RecvTimeoutError::Disconnected) => break,
            Ok(Event::Quit) => flow = ControlFlow::Break(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let late = end.is_some_and(|end| Instant::now() >= end);
        if !stopped && (late || flow.is_break() || told_to_end.load(Ordering::Relaxed)) {
            // What it wrote until now still comes, then the end of the output.
            stopped = true;
            machine.kill();
        }
    }
    consoles.finish(|line| {
        let _ = on_line(line);
    })?;
    drop(terminal);
    let ended = machine.wait(LAST_BREATH)?;
    Ok(if stopped { Ended::Killed } else { ended })
}

fn read(output: &mut impl Read, sender: &SyncSender<Event>) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        match output.read(&mut bytes) {
            Ok(count) if count > 0 => {
                if sender.send(Event::Output(bytes[..count].to_vec())).is_err() {
                    return;
                }
            }
            _ => break,
        }
    }
    let _ = sender.send(Event::OutputClosed);
}

/// Signals that ask us to end, noted instead of obeyed at once, so that the
/// terminal is restored and the emulator ends first.
struct Signals(Vec<signal_hook::SigId>);

impl Signals {
    fn register(flag: &Arc<AtomicBool>) -> Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let mut ids = Self(Vec::new());
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            ids.0.push(signal_hook::flag::register(signal, flag.clone())?);
        }
        Ok(ids)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.0.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}
