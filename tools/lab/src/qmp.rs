//! The emulator's control channel (QEMU Machine Protocol).

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longest wait for an answer. A machine under TCG may hold its lock for seconds.
const ANSWER: Duration = Duration::from_secs(20);

/// An open control channel, past its greeting.
#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Qmp {
    /// Takes the greeting and leaves negotiation mode.
    ///
    /// # Errors
    /// The other side does not speak QMP, or closes.
    pub fn new(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(ANSWER))?;
        let writer = stream.try_clone()?;
        let mut qmp = Self { reader: BufReader::new(stream), writer };
        let greeting = qmp.receive()?;
        if greeting.get("QMP").is_none() {
            bail!("no QMP greeting but {greeting}");
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and gives what it returns.
    ///
    /// # Errors
    /// The command fails, or the channel closes.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.writer, "{request}").with_context(|| format!("QMP {command}"))?;
        loop {
            let mut answer = self.receive().with_context(|| format!("QMP {command}"))?;
            if let Some(error) = answer.get("error") {
                bail!("QMP {command}: {error}");
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            // Anything else is an event.
        }
    }

    /// Writes the first display's contents to `file` as PNG.
    ///
    /// # Errors
    /// The machine has no display, or the emulator cannot write the file.
    pub fn screenshot(&mut self, file: &Path) -> Result<()> {
        self.execute("screendump", json!({ "filename": file, "format": "png" })).map(drop)
    }

    /// Writes the first display's contents to `file` as a portable pixmap.
    ///
    /// # Errors
    /// As [`screenshot`](Self::screenshot).
    pub fn pixmap(&mut self, file: &Path) -> Result<()> {
        self.execute("screendump", json!({ "filename": file, "format": "ppm" })).map(drop)
    }

    /// Runs a command of the human monitor and gives its text.
    ///
    /// # Errors
    /// The channel closes.
    pub fn monitor(&mut self, command: &str) -> Result<String> {
        let answer = self.execute("human-monitor-command", json!({ "command-line": command }))?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    /// Plugs a device, as `-device` would: `driver` and properties.
    ///
    /// # Errors
    /// The emulator refuses it.
    pub fn plug(&mut self, device: Value) -> Result<()> {
        self.execute("device_add", device).map(drop)
    }

    /// Asks for a device's unplugging.
    ///
    /// # Errors
    /// There is no such device.
    pub fn unplug(&mut self, id: &str) -> Result<()> {
        self.execute("device_del", json!({ "id": id })).map(drop)
    }

    /// Ends the emulator.
    ///
    /// # Errors
    /// The channel closed before the answer.
    pub fn quit(&mut self) -> Result<()> {
        self.execute("quit", json!({})).map(drop)
    }

    fn receive(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("the emulator closed the channel");
        }
        serde_json::from_str(&line).with_context(|| format!("not QMP: {line:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn against(answers: &'static str) -> Result<Qmp> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(answers.as_bytes()).unwrap();
        // Keep the other end until the test is over, reads of it end then.
        std::thread::spawn(move || {
            let _ = theirs.shutdown(std::net::Shutdown::Write);
            let _ = std::io::copy(&mut theirs, &mut std::io::sink());
        });
        Qmp::new(ours)
    }

    #[test]
    fn skips_events_before_an_answer() {
        let mut qmp = against(concat!(
            "{\"QMP\": {}}\n{\"return\": {}}\n",
            "{\"event\": \"RESUME\"}\n{\"return\": {\"status\": \"running\"}}\n"
        ))
        .unwrap();
        assert_eq!(qmp.execute("query-status", json!({})).unwrap()["status"], "running");
    }

    #[test]
    fn errors_name_the_command() {
        let mut qmp = against("{\"QMP\": {}}\n{\"return\": {}}\n{\"error\": {\"desc\": \"no\"}}\n").unwrap();
        let error = qmp.screenshot(Path::new("x.png")).unwrap_err();
        assert!(format!("{error:#}").contains("screendump"), "{error:#}");
    }

    #[test]
    fn a_closed_or_foreign_channel_is_an_error() {
        assert!(against("").is_err());
        assert!(against("{\"hello\": 1}\n").is_err());
        assert!(against("220 smtp\n").is_err());
    }
}
