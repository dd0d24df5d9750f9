//! What a run consists of: one step after the other, each the same for both servers.

use std::fmt;

use bytes::Bytes;
use prost::Message;

use crate::process::End;
use crate::schema;
use crate::wire::Call;

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Calls that change nothing, all at once.
    Together(Vec<Call>),
    /// One call.
    Call(Call),
    /// Both servers end and start again.
    Restart(End),
}

impl Step {
    /// A call with one request.
    #[must_use]
    pub fn call(path: &str, request: &impl Message) -> Step {
        Step::Call(call(path, request))
    }

    /// How many requests it makes of each server.
    #[must_use]
    pub fn requests_count(&self) -> usize {
        match self {
            Step::Together(calls) => calls.len(),
            Step::Call(call) => call.requests.len(),
            Step::Restart(_) => 0,
        }
    }
}

/// A call with one request.
#[must_use]
pub fn call(path: &str, request: &impl Message) -> Call {
    let requests = vec![Bytes::from(request.encode_to_vec())];
    Call { path: path.to_owned(), requests, headers: Vec::new() }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        write!(f, "{name}")?;
        let input = schema::method(&self.path).map(|method| method.input());
        for request in &self.requests {
            let message = input.clone().and_then(|input| schema::decode(input, request));
            match message {
                Some(message) => write!(f, " {{{}}}", schema::text(&message))?,
                None => write!(f, " {} bytes that are no request", request.len())?,
            }
        }
        self.headers.iter().try_for_each(|(name, value)| write!(f, " {name}: {value}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Call(call) => call.fmt(f),
            Step::Together(calls) => {
                let calls: Vec<String> = calls.iter().map(Call::to_string).collect();
                f.write_str(&calls.join(" | "))
            }
            Step::Restart(End::Graceful) => f.write_str("restart"),
            Step::Restart(End::Killed) => f.write_str("kill -9 and start"),
        }
    }
}
