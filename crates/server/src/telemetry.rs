//! The log: one line per event, for people or for programs.
//!
//! Code logs with `tracing`'s macros; this module decides what becomes of an event:
//!
//! ```text
//!   event ──▶ grave enough? ──▶ Line ──▶ every output of --log-outputs
//!
//!   json     {"level":"info","ts":"2026-11-21T10:45:39.094330Z","caller":"server/boot.rs:71",
//!             "msg":"ready to serve client requests","address":"127.0.0.1:2379"}
//!   console  2026-11-21T10:45:39.094Z  INFO ready to serve client requests address=127.0.0.1:2379
//! ```
//!
//! Times are UTC. Keys and order of the JSON form are etcd's, so that what reads etcd's logs reads
//! ours. `tracing` has no level above ERROR: an event with the target [`FATAL`] or [`PANIC`] is of
//! that level. Crates that are not ours are heard from WARN on: HTTP/2 libraries log every frame.
//!
//! An error is logged where it is handled, with its causes, as the field `error`:
//! `warn!(error = &failure as &dyn std::error::Error, "cannot do this")`.
//!
//! Writes are synchronous and a failed one is dropped: there is nowhere to report it to. Spans are
//! ignored; files are not rotated, but rotation by `copytruncate` works, as they are appended to.

pub mod line;

use std::backtrace::Backtrace;
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::config::{LogFormat, LogLevel, LogOutput, Logging, Notice, Program};
use line::Line;

/// The target of an event after which the member stops.
pub const FATAL: &str = "fatal";
/// The target of an event that tells of a panic.
pub const PANIC: &str = "panic";

/// The crates whose events of every level are logged.
const OURS: [&str; 7] = ["server", "node", "state", "storage", "metastore", FATAL, PANIC];

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// An output cannot be opened.
    #[error("open log file {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// There is one already.
    #[error("the process has a log already")]
    AlreadyStarted,
}

/// Starts the log of the process, sends panics to it, and logs what the configuration had to say.
pub fn start(
    logging: &Logging,
    program: Program,
    notices: &[Notice],
) -> Result<(), TelemetryError> {
    let format = logging.format.unwrap_or(match program {
        Program::Etcd => LogFormat::Json,
        Program::Metastore => LogFormat::Console,
    });
    let sinks = logging.outputs.iter().map(|output| Sink::open(output, format));
    let log = Log { level: logging.level, sinks: sinks.collect::<Result<_, _>>()? };
    let subscriber = tracing_subscriber::registry().with(log);
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|_| TelemetryError::AlreadyStarted)?;
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(
            target: PANIC,
            place,
            thread = std::thread::current().name(),
            backtrace = %Backtrace::force_capture(),
            "panic: {message}"
        );
    }));
    for notice in notices {
        notice.log();
    }
    Ok(())
}

/// Turns events into lines.
struct Log {
    level: LogLevel,
    sinks: Vec<Sink>,
}

/// One output.
struct Sink {
    format: LogFormat,
    colours: bool,
    writer: Mutex<Box<dyn Write + Send>>,
}

impl Sink {
    fn open(output: &LogOutput, format: LogFormat) -> Result<Sink, TelemetryError> {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let (writer, terminal): (Box<dyn Write + Send>, bool) = match output {
            LogOutput::Stderr => (Box::new(std::io::stderr()), std::io::stderr().is_terminal()),
            LogOutput::Stdout => (Box::new(std::io::stdout()), std::io::stdout().is_terminal()),
            LogOutput::File(path) => {
                let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
                let file =
                    file.map_err(|source| TelemetryError::Open { path: path.clone(), source })?;
                (Box::new(file), false)
            }
        };
        Ok(Sink { format, colours: terminal && !plain, writer: Mutex::new(writer) })
    }

    fn write(&self, line: &Line) {
        let text = match self.format {
            LogFormat::Json => line.to_json(),
            LogFormat::Console => line.to_console(self.colours),
        };
        // A panic while a line was being written spoils at most that line.
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // There is nowhere to report that a line could not be written.
        let _ = writer.write_all(text.as_bytes()).and_then(|()| writer.flush());
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let level = level_of(metadata);
        level >= self.level && (level >= LogLevel::Warn || is_ours(metadata.target()))
    }

    /// Lets `tracing` skip what no output wants with one comparison.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.level {
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Error | LogLevel::Panic | LogLevel::Fatal => LevelFilter::ERROR,
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = line::now(level_name(level_of(metadata)), &caller(metadata), "");
        event.record(&mut line);
        for sink in &self.sinks {
            sink.write(&line);
        }
    }
}

fn level_of(metadata: &Metadata<'_>) -> LogLevel {
    match (metadata.target(), *metadata.level()) {
        (FATAL, _) => LogLevel::Fatal,
        (PANIC, _) => LogLevel::Panic,
        (_, Level::ERROR) => LogLevel::Error,
        (_, Level::WARN) => LogLevel::Warn,
        (_, Level::INFO) => LogLevel::Info,
        (_, _) => LogLevel::Debug,
    }
}

fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
        LogLevel::Panic => "panic",
        LogLevel::Fatal => "fatal",
    }
}

fn is_ours(target: &str) -> bool {
    OURS.contains(&target.split("::").next().unwrap_or(target))
}

/// `crates/server/src/grpc/kv.rs`, line 7 → `grpc/kv.rs:7`; a file at the top of a crate is shown
/// with the crate's name.
fn caller(metadata: &Metadata<'_>) -> String {
    let file = metadata.file().unwrap_or("unknown").replace("/src/", "/");
    let start = file.rmatch_indices('/').nth(1).map_or(0, |(place, _)| place + 1);
    format!("{}:{}", &file[start..], metadata.line().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing_subscriber::layer::SubscriberExt;

    use super::{FATAL, Log, LogFormat, LogLevel, PANIC, Sink};

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: LogLevel, format: LogFormat, events: impl FnOnce()) -> Vec<String> {
        let memory = Memory::default();
        let writer = Mutex::new(Box::new(memory.clone()) as Box<dyn Write + Send>);
        let log = Log { level, sinks: vec![Sink { format, colours: false, writer }] };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log), events);
        let bytes = memory.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect()
    }

    #[derive(Debug, thiserror::Error)]
    #[error("open the log")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn json_lines_have_the_keys_of_etcd_in_its_order() {
        let lines = logged(LogLevel::Info, LogFormat::Json, || {
            let cause = "x".parse::<u8>().expect_err("no number");
            let error = Outer(cause);
            tracing::info!(
                address = "a \"b\"\n",
                count = 7_u64,
                up = true,
                "local-member-id" = format!("{:x}", 255),
                error = &error as &dyn std::error::Error,
                "ready to serve client requests"
            );
        });
        assert_eq!(lines.len(), 1, "one event, one line: {lines:?}");
        let rest = lines[0].split_once(",\"msg\"").expect("msg follows caller").1;
        assert_eq!(
            rest,
            ":\"ready to serve client requests\",\"address\":\"a \\\"b\\\"\\n\",\"count\":7,\
             \"up\":true,\"local-member-id\":\"ff\",\
             \"error\":\"open the log: invalid digit found in string\"}"
        );
        let line: Value = serde_json::from_str(&lines[0]).expect("JSON");
        assert!(lines[0].starts_with("{\"level\":\"info\",\"ts\":\"20"), "{}", lines[0]);
        let ts = line["ts"].as_str().expect("ts");
        assert_eq!((ts.len(), &ts[19..20], &ts[26..]), (27, ".", "Z"), "{ts}");
        let caller = line["caller"].as_str().expect("caller");
        assert!(caller.starts_with("server/telemetry.rs:"), "{caller}");
    }

    #[test]
    fn the_level_is_a_floor_and_strangers_are_heard_from_warn_on() {
        let events = || {
            tracing::debug!("d");
            tracing::info!("i");
            tracing::warn!("w");
            tracing::error!("e");
            tracing::error!(target: PANIC, "p");
            tracing::error!(target: FATAL, "f");
            tracing::info!(target: "h2::codec", "frame");
            tracing::warn!(target: "h2::codec", "broken");
        };
        for (level, expected) in [
            (LogLevel::Debug, "debug info warn error panic fatal warn"),
            (LogLevel::Info, "info warn error panic fatal warn"),
            (LogLevel::Error, "error panic fatal"),
            (LogLevel::Panic, "panic fatal"),
            (LogLevel::Fatal, "fatal"),
        ] {
            let levels: Vec<String> = logged(level, LogFormat::Json, events)
                .iter()
                .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["level"].clone())
                .map(|level| level.as_str().expect("text").to_owned())
                .collect();
            assert_eq!(levels.join(" "), expected, "{level:?}");
        }
    }

    #[test]
    fn console_lines_stay_one_line_each() {
        let lines = logged(LogLevel::Info, LogFormat::Console, || {
            tracing::warn!(path = "/tmp/a b", size = 3, "two\nlines");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("Z  WARN two\\nlines path=\"/tmp/a b\" size=3"), "{}", lines[0]);
    }
}
