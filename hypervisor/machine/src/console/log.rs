//! The `log` facade, shown on the console.

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::console;

struct Logger;

static LOGGER: Logger = Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let prefix = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            Level::Info => "",
            Level::Debug => "debug: ",
            Level::Trace => "trace: ",
        };
        console::write_log(prefix, *record.args());
    }

    fn flush(&self) {}
}

/// Sends everything up to `level` to the console. A second call only sets the level.
pub fn init(level: LevelFilter) {
    // An error means that the logger is set already.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(level);
}
