//! What took longer than it should: one warning each, in etcd's words and keys, which dashboards
//! and scripts look for.
//!
//! | what | message | setting |
//! |---|---|---|
//! | a turn of the core thread that applied commands | `apply request took too long` | `--warning-apply-duration` |
//! | a read | the same, prefix `read-only range ` | the same |
//! | a request, from its first byte to its answer | `request stats` | `--warning-unary-request-duration` |
//!
//! Commands are applied by the batch, so that a turn stands for all its commands: the warning
//! tells how many there were and shows the largest one. Keys are shown, values are not.
//!
//! What is fast costs two looks at the clock.

use std::fmt::{Display, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use node::messages::{Committed, Payload};
use prost::Message;
use state::command::{Command, Operation, Range, decode_batch};
use state::outcome::RangeOutcome;
use time::OffsetDateTime;

use crate::config::duration::GoDuration;
use crate::telemetry::line;

/// Bytes of a key that a warning shows.
const KEY_BYTES_SHOWN: usize = 256;

/// Watches how long the core thread takes to apply commands.
pub struct SlowApply {
    limit: Duration,
    /// What the next turn applies: to describe it, should it be slow.
    batches: Vec<Bytes>,
}

impl SlowApply {
    /// A turn may take `limit`.
    #[must_use]
    pub fn new(limit: Duration) -> SlowApply {
        SlowApply { limit, batches: Vec::new() }
    }

    /// Takes note of what the next turn applies.
    pub fn note(&mut self, entries: &[Committed]) {
        let batch = |entry: &Committed| match &entry.payload {
            Payload::Batch(batch) => Some(batch.clone()),
            Payload::Empty | Payload::Membership(_) => None,
        };
        self.batches.extend(entries.iter().filter_map(batch));
    }

    /// A turn begins; nothing if it applies no commands.
    #[must_use]
    pub fn begin(&self) -> Option<Instant> {
        (!self.batches.is_empty()).then(Instant::now)
    }

    /// The turn is done.
    pub fn end(&mut self, begun: Option<Instant>) {
        let took = begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        if took > self.limit {
            let (request, commands) = describe_batches(&self.batches);
            warn(took, self.limit, "", &request, "", commands);
        }
        self.batches.clear();
    }
}

/// A read is done.
pub fn read(begun: Instant, limit: Duration, request: &Range, found: &RangeOutcome) {
    let took = begun.elapsed();
    if took > limit {
        let size: usize = found.kvs.iter().map(Bytes::len).sum();
        let found = format!("range_response_count:{} size:{size}", found.kvs.len());
        warn(took, limit, "read-only range ", &keys(&request.key, &request.range_end), &found, 1);
    }
}

/// A request has its answer. `path` names its method.
pub fn unary(begun: Instant, limit: Duration, path: &str) {
    let took = begun.elapsed();
    if took > limit {
        let start = line::timestamp(OffsetDateTime::now_utc() - took);
        tracing::warn!(
            "start time" = start,
            "time spent" = %go(took),
            "response type" = path,
            "request stats"
        );
    }
}

fn warn(
    took: Duration,
    limit: Duration,
    prefix: &str,
    request: &str,
    response: &str,
    commands: usize,
) {
    tracing::warn!(
        took = %go(took),
        "expected-duration" = %go(limit),
        prefix,
        request,
        response,
        commands,
        "apply request took too long"
    );
}

fn go(duration: Duration) -> GoDuration {
    GoDuration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

/// The largest command, and how many there are.
fn describe_batches(batches: &[Bytes]) -> (String, usize) {
    // They have been applied, hence can be read.
    let decoded = batches.iter().filter_map(|batch| decode_batch(batch.clone()).ok());
    let commands: Vec<Command> = decoded.flat_map(|(_, commands)| commands).collect();
    let largest = commands.iter().max_by_key(|command| command.encoded_len());
    (largest.map(describe).unwrap_or_default(), commands.len())
}

fn describe(command: &Command) -> String {
    let operation: &dyn Display = match &command.operation {
        None => &"",
        Some(Operation::Put(put)) => {
            &format!("put:<{} value_size:{} >", keys(&put.key, b""), put.value.len())
        }
        Some(Operation::DeleteRange(delete)) => {
            &format!("delete_range:<{} >", keys(&delete.key, &delete.range_end))
        }
        Some(Operation::Txn(txn)) => &format!(
            "txn:<compare_count:{} success_count:{} failure_count:{} size:{} >",
            txn.compare.len(),
            txn.success.len(),
            txn.failure.len(),
            txn.encoded_len()
        ),
        Some(Operation::Compact(compact)) => {
            &format!("compaction:<revision:{} >", compact.revision)
        }
        Some(Operation::LeaseGrant(lease)) => {
            &format!("lease_grant:<ttl:{}-second id:{:016x}>", lease.ttl_s, lease.id)
        }
        Some(Operation::LeaseRevoke(lease)) => &format!("lease_revoke:<id:{:016x}>", lease.id),
        Some(Operation::LeaseExpire(leases)) => {
            &format!("lease_expire:<count:{} >", leases.ids.len())
        }
        Some(Operation::LeaseRenew(leases)) => {
            &format!("lease_renew:<count:{} >", leases.ids.len())
        }
        Some(Operation::Alarm(alarm)) => {
            &format!("alarm:<action:{} alarm:{} >", alarm.action, alarm.alarm)
        }
        Some(Operation::Publish(_)) => &"cluster_member_attr_set:<>",
        Some(Operation::ClusterVersion(_)) => &"cluster_version_set:<>",
        Some(Operation::Range(range)) => {
            &format!("range:<{} >", keys(&range.key, &range.range_end))
        }
    };
    format!("header:<ID:{} > {operation}", command.request)
}

fn keys(key: &[u8], range_end: &[u8]) -> String {
    let mut text = format!("key:\"{}\"", shown(key));
    if !range_end.is_empty() {
        write!(text, " range_end:\"{}\"", shown(range_end)).expect("a string takes everything");
    }
    text
}

fn shown(key: &[u8]) -> impl Display {
    key[..key.len().min(KEY_BYTES_SHOWN)].escape_ascii()
}

#[cfg(test)]
mod tests {
    use state::command::{Compact, Put, begin_batch, push_command};
    use state::{ClusterTime, LogIndex, RequestId, Term};

    use super::*;

    fn batch(operations: Vec<Operation>) -> Committed {
        let mut batch = begin_batch(ClusterTime(1));
        for (number, operation) in operations.into_iter().enumerate() {
            let command = Command::new(RequestId(7 + number as u64), operation);
            push_command(&mut batch, &command.encode_to_vec());
        }
        let payload = Payload::Batch(batch.freeze());
        Committed { index: LogIndex(1), term: Term(1), payload }
    }

    #[test]
    fn a_turn_is_described_by_its_largest_command_without_its_value() {
        let put = Put { key: "a\"b".into(), value: "secret".into(), ..Put::default() };
        let entries = [
            batch(vec![Operation::Compact(Compact { revision: 9 }), Operation::Put(put)]),
            batch(vec![Operation::Compact(Compact { revision: 9 })]),
        ];
        let mut slow = SlowApply::new(Duration::ZERO);
        slow.note(&entries);
        let (request, commands) = describe_batches(&slow.batches);
        assert_eq!(request, "header:<ID:8 > put:<key:\"a\\\"b\" value_size:6 >");
        assert_eq!(commands, 3);
    }

    #[test]
    fn a_turn_that_applies_nothing_is_not_timed() {
        let mut slow = SlowApply::new(Duration::ZERO);
        let empty = Committed { index: LogIndex(1), term: Term(1), payload: Payload::Empty };
        slow.note(&[empty]);
        assert_eq!(slow.begin(), None);
        slow.note(&[batch(vec![Operation::Compact(Compact { revision: 9 })])]);
        let begun = slow.begin();
        assert!(begun.is_some());
        slow.end(begun);
        assert_eq!(slow.begin(), None, "what has been applied is forgotten");
    }
}
