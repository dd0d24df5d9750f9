//! One line of the log, before it has a look.

use std::error::Error;
use std::fmt::{Debug, Write};

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tracing::field::{Field, Visit};

/// Microseconds and `Z`, as etcd prints a time in UTC.
const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
/// For people milliseconds are enough.
const SHORT_TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// One line of the log.
#[derive(Clone, Debug)]
pub struct Line {
    time: OffsetDateTime,
    level: &'static str,
    caller: String,
    message: String,
    fields: Vec<(&'static str, Value)>,
}

/// A time as log lines show it.
#[must_use]
pub fn timestamp(time: OffsetDateTime) -> String {
    time.format(TIME).unwrap_or_default()
}

/// A line that is written now.
#[must_use]
pub fn now(level: &'static str, caller: &str, message: &str) -> Line {
    Line {
        time: OffsetDateTime::now_utc(),
        level,
        caller: caller.to_owned(),
        message: message.to_owned(),
        fields: Vec::new(),
    }
}

impl Line {
    /// The line with one more field.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: &str) -> Line {
        self.add(key, value.into());
        self
    }

    fn add(&mut self, key: &'static str, value: Value) {
        self.fields.push((key, value));
    }

    /// One JSON object and a line feed.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = format!(
            "{{\"level\":\"{}\",\"ts\":\"{}\",\"caller\":{},\"msg\":{}",
            self.level,
            timestamp(self.time),
            Value::from(self.caller.as_str()),
            Value::from(self.message.as_str()),
        );
        for (key, value) in &self.fields {
            write!(text, ",{}:{value}", Value::from(*key)).expect("a string takes everything");
        }
        text.push_str("}\n");
        text
    }

    /// A line for a terminal. Where the event comes from is shown if somebody may have to look.
    #[must_use]
    pub fn to_console(&self, colours: bool) -> String {
        let (on, dim, off) = match (colours, self.level) {
            (false, _) => ("", "", ""),
            (true, "debug") => ("\x1b[2m", "\x1b[2m", "\x1b[0m"),
            (true, "info") => ("\x1b[32m", "\x1b[2m", "\x1b[0m"),
            (true, "warn") => ("\x1b[33m", "\x1b[2m", "\x1b[0m"),
            (true, _) => ("\x1b[1;31m", "\x1b[2m", "\x1b[0m"),
        };
        let time = self.time.format(SHORT_TIME).unwrap_or_default();
        let level = self.level.to_uppercase();
        let message = one_line(&self.message);
        let mut text = format!("{dim}{time}{off} {on}{level:>5}{off} {message}");
        for (key, value) in &self.fields {
            let value = match value {
                Value::String(value) if is_plain(value) => value.clone(),
                value => value.to_string(),
            };
            write!(text, " {dim}{key}={off}{value}").expect("a string takes everything");
        }
        if self.level != "info" {
            write!(text, " {dim}({}){off}", self.caller).expect("a string takes everything");
        }
        text.push('\n');
        text
    }
}

/// What a terminal would take for a command, or a reader for another line, is spelled out.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '"')
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.add(field.name(), value.into());
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.add(field.name(), crate::config::chain(value).into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
