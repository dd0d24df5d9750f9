//! What a run consists of: one step after the other, each the same for both servers.

use std::fmt;

use bytes::Bytes;
use metastore_proto::etcdserverpb as pb;
use prost::Message;

use crate::process::End;
use crate::schema;
use crate::wire::Call;

/// Grant, time to live, keep-alive, revoke.
const NAMELESS_LEASE_REQUESTS: usize = 4;

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Calls that change nothing, all at once.
    Together(Vec<Call>),
    /// One call.
    Call(Call),
    /// Both servers end and start again.
    Restart(End),
    /// A lease whose id the servers choose, each its own, through its whole life.
    NamelessLease {
        /// Its seconds to live.
        ttl: i64,
    },
    /// A lease that is revoked before it could expire.
    PassingLease {
        /// Its id.
        id: i64,
        /// Its seconds to live.
        ttl: i64,
    },
    /// Something done with one of the watch streams.
    Watch {
        /// Which stream.
        slot: usize,
        /// What is done.
        action: WatchAction,
    },
    /// Every watcher gets what it is due, and all is compared.
    Settle,
}

/// What can be done with a watch stream. One that is not open is opened first.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchAction {
    /// A request on it.
    Send(pb::WatchRequest),
    /// No more requests; events go on.
    HalfClose,
    /// The client goes away.
    Drop,
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
            Step::Call(_) => 1,
            Step::Watch { action: WatchAction::Send(_), .. } => 1,
            Step::NamelessLease { .. } => NAMELESS_LEASE_REQUESTS,
            Step::PassingLease { .. } => 2,
            Step::Restart(_) | Step::Settle | Step::Watch { .. } => 0,
        }
    }
}

/// A call with one request.
#[must_use]
pub fn call(path: &str, request: &impl Message) -> Call {
    let requests = vec![Bytes::from(request.encode_to_vec())];
    Call { path: path.to_owned(), requests, ..Call::default() }
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
        if let Some(body) = &self.body {
            write!(f, " body \"{}\"", body.escape_ascii())?;
        }
        let show = |(name, value): &(String, Bytes)| write!(f, " {name}: {}", value.escape_ascii());
        self.headers.iter().try_for_each(show)
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
            Step::NamelessLease { ttl } => write!(f, "a lease of {ttl} s without an id"),
            Step::PassingLease { id, ttl } => write!(f, "lease {id} of {ttl} s, revoked at once"),
            Step::Settle => f.write_str("settle"),
            Step::Watch { slot, action } => match action {
                WatchAction::Send(request) => {
                    let request = schema::dynamic("etcdserverpb.WatchRequest", request);
                    write!(f, "watch stream {slot}: {}", schema::text(&request))
                }
                WatchAction::HalfClose => write!(f, "watch stream {slot}: no more requests"),
                WatchAction::Drop => write!(f, "watch stream {slot}: gone"),
            },
        }
    }
}
