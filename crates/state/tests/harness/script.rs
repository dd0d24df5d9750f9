//! The language of the golden scripts: one command a line, answers as text.
//!
//! ```text
//! put k=v [lease=N] [prev] [ignore-value] [ignore-lease]
//! get KEY [END] [rev=N] [limit=N] [order=asc|desc] [by=version|create|mod|value] [keys-only]
//!     [count-only] [min-mod=N] [max-mod=N] [min-create=N] [max-create=N]
//! del KEY [END] [prev]
//! txn [if COMPARE...] [then OP; OP...] [else OP; OP...]     COMPARE: mod(k)=3 val(a..b)!=x
//!                                                          OP: put, get, del as above, ( txn ... )
//! grant id=N ttl=S | revoke N | renew N at=MS | expire N [term=T] | leases
//! time MS | compact N | sweep | hash [N] | alarm raise|clear|list [nospace|corrupt|N] | quota BYTES
//! turn ... end      several commands that readers see at once
//! events            what watchers have been told since the last time
//! restart           forget what the engine has not kept, replay the log
//! ```
//!
//! `*` as END means "everything from KEY on"; `\0` in a key is the zero byte.

use std::fmt::Write as _;

use bytes::Bytes;
use state::command::{
    Alarm, Compact, Compare, DeleteRange, LeaseExpire, LeaseGrant, LeaseRenew, LeaseRevoke,
    Operation, Put, Range, Txn, TxnOp, TxnOperation,
};
use state::mvcc::hash::hash_kv;
use state::mvcc::range::{ReadError, range};
use state::mvcc::record::Record;
use state::outcome::{Outcome, PutOutcome, RangeOutcome, TxnOutcome, TxnResponse};
use state::{ClusterTime, LeaseId, Version};

use crate::harness::Harness;

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::from(text.replace("\\0", "\0").into_bytes())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\\0")
}

fn end(text: &str) -> Bytes {
    if text == "*" { Bytes::from_static(b"\0") } else { bytes(text) }
}

fn number(text: &str) -> i64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not a number"))
}

pub(crate) fn key_value(bytes: &[u8]) -> String {
    // Any KeyValue parses as a record under the revision it names; find that revision first.
    let record = parse(bytes);
    let fields = record.fields();
    let mut out = format!(
        "{}={} (create {}, mod {}, version {}",
        text(record.key()),
        text(record.value()),
        fields.create_revision.0,
        fields.mod_revision.0,
        fields.version
    );
    if fields.lease != LeaseId::NONE {
        write!(out, ", lease {}", fields.lease.0).expect("a string takes everything");
    }
    out + ")"
}

fn parse(bytes: &[u8]) -> Record {
    for sub in [0] {
        for main in 0..10_000 {
            let version = Version { main: state::Revision(main), sub };
            if let Ok(record) = Record::from_wire(version, false, bytes) {
                return record;
            }
        }
    }
    panic!("{bytes:?} is not a KeyValue");
}

/// Runs one line; `None` if the command belongs to the runner.
pub(crate) fn run(harness: &mut Harness, line: &str) -> String {
    let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
    match command {
        "get" => read(harness, &get(rest)),
        "time" => {
            harness.time = ClusterTime(number(rest).cast_unsigned());
            String::new()
        }
        "turn" => {
            harness.in_turn = true;
            String::new()
        }
        "end" => {
            harness.in_turn = false;
            harness.publish();
            String::new()
        }
        "sweep" => {
            harness.sweep();
            String::new()
        }
        "hash" => hash(harness, rest),
        "events" => events(harness),
        "leases" => leases(harness),
        _ => {
            let answer = harness.apply(operation(line));
            let revision = answer.revision.0;
            match answer.applied {
                Ok(outcome) => show(&outcome, revision),
                Err(refusal) => format!("error: {refusal}\n"),
            }
        }
    }
}

pub(crate) fn operation(line: &str) -> Operation {
    let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
    match command {
        "put" => Operation::Put(put(rest)),
        "del" => Operation::DeleteRange(del(rest)),
        "txn" => Operation::Txn(txn(rest)),
        "compact" => Operation::Compact(Compact { revision: number(rest) }),
        "grant" => {
            let mut grant = LeaseGrant { id: 0, ttl_s: 0, ttl_min_s: 2 };
            for word in rest.split_whitespace() {
                match word.split_once('=').expect("name=value") {
                    ("id", id) => grant.id = number(id),
                    ("ttl", ttl) => grant.ttl_s = number(ttl),
                    (other, _) => panic!("grant does not know {other}"),
                }
            }
            Operation::LeaseGrant(grant)
        }
        "revoke" => Operation::LeaseRevoke(LeaseRevoke { id: number(rest) }),
        "renew" => {
            let (id, at) = rest.split_once(" at=").expect("renew N at=MS");
            let at_ms = vec![number(at).cast_unsigned()];
            Operation::LeaseRenew(LeaseRenew { ids: vec![number(id)], at_ms })
        }
        "expire" => {
            let (id, term) = rest.split_once(" term=").unwrap_or((rest, "2"));
            let term = number(term).cast_unsigned();
            Operation::LeaseExpire(LeaseExpire { ids: vec![number(id)], term })
        }
        "alarm" => Operation::Alarm(alarm(rest)),
        other => panic!("no command {other}"),
    }
}

fn alarm(rest: &str) -> Alarm {
    let (action, kind) = rest.split_once(' ').unwrap_or((rest, ""));
    let action = match action {
        "list" => 0,
        "raise" => 1,
        "clear" => 2,
        other => number(other).try_into().expect("a small number"),
    };
    let alarm = match kind {
        "nospace" => 1,
        "corrupt" => 2,
        "" => 0,
        other => number(other).try_into().expect("a small number"),
    };
    Alarm { action, member: 1, alarm }
}

fn put(rest: &str) -> Put {
    let mut words = rest.split_whitespace();
    let first = words.next().expect("put k=v");
    let (key, value) = first.split_once('=').unwrap_or((first, ""));
    let mut put = Put { key: bytes(key), value: bytes(value), ..Put::default() };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("lease", id) => put.lease = number(id),
            ("prev", _) => put.prev_kv = true,
            ("ignore-value", _) => put.ignore_value = true,
            ("ignore-lease", _) => put.ignore_lease = true,
            (other, _) => panic!("put does not know {other}"),
        }
    }
    put
}

fn get(rest: &str) -> Range {
    let mut range = Range::default();
    for (place, word) in rest.split_whitespace().enumerate() {
        match word.split_once('=').unwrap_or((word, "")) {
            (key, _) if place == 0 => range.key = bytes(key),
            ("rev", n) => range.revision = number(n),
            ("limit", n) => range.limit = number(n),
            ("order", "asc") => range.sort_order = 1,
            ("order", "desc") => range.sort_order = 2,
            ("by", by) => {
                let names = ["key", "version", "create", "mod", "value"];
                let target = names.iter().position(|name| *name == by).expect("a sort target");
                range.sort_target = i32::try_from(target).expect("five targets");
            }
            ("keys-only", _) => range.keys_only = true,
            ("count-only", _) => range.count_only = true,
            ("min-mod", n) => range.min_mod_revision = number(n),
            ("max-mod", n) => range.max_mod_revision = number(n),
            ("min-create", n) => range.min_create_revision = number(n),
            ("max-create", n) => range.max_create_revision = number(n),
            (until, "") if place == 1 => range.range_end = end(until),
            (other, _) => panic!("get does not know {other}"),
        }
    }
    range
}

fn del(rest: &str) -> DeleteRange {
    let mut delete = DeleteRange::default();
    for (place, word) in rest.split_whitespace().enumerate() {
        match word {
            key if place == 0 => delete.key = bytes(key),
            "prev" => delete.prev_kv = true,
            until => delete.range_end = end(until),
        }
    }
    delete
}

fn txn(rest: &str) -> Txn {
    let mut txn = Txn::default();
    let (head, failure) = split_outside(rest, "else ");
    let (head, success) = split_outside(&head, "then ");
    if let Some(compares) = head.trim().strip_prefix("if ") {
        txn.compare = compares.split_whitespace().map(compare).collect();
    }
    txn.success = ops(&success);
    txn.failure = ops(&failure);
    txn
}

/// Splits at `word` where no parenthesis is open.
fn split_outside(text: &str, word: &str) -> (String, String) {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && text[at..].starts_with(word) => {
                return (text[..at].to_owned(), text[at + word.len()..].to_owned());
            }
            _ => {}
        }
    }
    (text.to_owned(), String::new())
}

fn ops(text: &str) -> Vec<TxnOp> {
    let mut found = Vec::new();
    let mut rest = text.trim().to_owned();
    while !rest.is_empty() {
        let (op, after) = split_outside(&rest, ";");
        found.push(op_of(op.trim()));
        rest = after.trim().to_owned();
    }
    found
}

fn op_of(text: &str) -> TxnOp {
    let (command, rest) = text.split_once(' ').unwrap_or((text, ""));
    let operation = match command {
        "put" => TxnOperation::Put(put(rest)),
        "get" => TxnOperation::Range(get(rest)),
        "del" => TxnOperation::DeleteRange(del(rest)),
        "(" => {
            let inner = rest.strip_suffix(')').expect("a closing parenthesis").trim();
            let inner = inner.strip_prefix("txn").expect("( txn ... )").trim();
            TxnOperation::Txn(txn(inner))
        }
        other => panic!("no step {other}"),
    };
    TxnOp { operation: Some(operation) }
}

fn compare(text: &str) -> Compare {
    let (target, rest) = text.split_once('(').expect("target(key)");
    let (key, rest) = rest.split_once(')').expect("target(key)");
    let (result, operand) = [("!=", 3), ("=", 0), (">", 1), ("<", 2)]
        .iter()
        .find_map(|(sign, result)| Some((*result, rest.strip_prefix(sign)?)))
        .expect("= != > or <");
    let names = ["version", "create", "mod", "val", "lease"];
    let target = names.iter().position(|name| *name == target).expect("a compare target");
    let (key, range_end) = key.split_once("..").unwrap_or((key, ""));
    let is_value = target == 3;
    Compare {
        key: bytes(key),
        range_end: end(range_end),
        result,
        target: i32::try_from(target).expect("five targets"),
        number: if is_value { 0 } else { number(operand) },
        value: if is_value { bytes(operand) } else { Bytes::new() },
    }
}

fn read(harness: &Harness, query: &Range) -> String {
    match range(harness.state.reader(), query) {
        Ok(found) => show_range(&found),
        Err(ReadError::Refused(refusal)) => format!("error: {refusal}\n"),
        Err(error) => panic!("a test engine does not fail: {error}"),
    }
}

fn show_range(found: &RangeOutcome) -> String {
    let mut out = String::new();
    for kv in &found.kvs {
        writeln!(out, "{}", key_value(kv)).expect("a string takes everything");
    }
    let more = if found.more { ", more" } else { "" };
    out + &format!("count {}{more}, revision {}\n", found.count, found.revision.0)
}

fn show_put(put: &PutOutcome) -> String {
    let before =
        put.prev_kv.as_ref().map_or(String::new(), |kv| format!(", was {}", key_value(kv)));
    format!("revision {}{before}\n", put.revision.0)
}

fn show(outcome: &Outcome, revision: i64) -> String {
    match outcome {
        Outcome::Put(put) => show_put(put),
        Outcome::DeleteRange(delete) => show_delete(delete),
        Outcome::Txn(txn) => show_txn(txn),
        Outcome::LeaseGrant { id, ttl_s } => format!("lease {} for {ttl_s} s\n", id.0),
        Outcome::Alarm(alarms) => {
            let mut out = String::new();
            for alarm in alarms {
                let name = match alarm.alarm.number() {
                    1 => "NoSpace".to_owned(),
                    2 => "Corrupt".to_owned(),
                    other => format!("alarm {other}"),
                };
                writeln!(out, "{name} of {}", alarm.member).expect("a string");
            }
            if out.is_empty() { "no alarm\n".to_owned() } else { out }
        }
        Outcome::Compact | Outcome::LeaseRevoke | Outcome::Done => {
            format!("ok, revision {revision}\n")
        }
    }
}

fn show_delete(delete: &state::outcome::DeleteOutcome) -> String {
    let mut out = format!("deleted {}, revision {}\n", delete.deleted, delete.revision.0);
    for kv in &delete.prev_kvs {
        writeln!(out, "was {}", key_value(kv)).expect("a string takes everything");
    }
    out
}

fn show_txn(txn: &TxnOutcome) -> String {
    let mut out =
        format!("{}, revision {}\n", if txn.succeeded { "then" } else { "else" }, txn.revision.0);
    for response in &txn.responses {
        let shown = match response {
            TxnResponse::Range(found) => show_range(found),
            TxnResponse::Put(put) => show_put(put),
            TxnResponse::DeleteRange(delete) => show_delete(delete),
            TxnResponse::Txn(inner) => show_txn(inner),
        };
        for line in shown.lines() {
            writeln!(out, "  {line}").expect("a string takes everything");
        }
    }
    out
}

fn hash(harness: &Harness, rest: &str) -> String {
    let revision = if rest.is_empty() { 0 } else { number(rest) };
    match hash_kv(harness.state.reader(), revision) {
        Ok(hash) => format!(
            "hash {} at {}, compacted {}\n",
            hash.hash, hash.hash_revision, hash.compact_revision
        ),
        Err(ReadError::Refused(refusal)) => format!("error: {refusal}\n"),
        Err(error) => panic!("a test engine does not fail: {error}"),
    }
}

fn events(harness: &mut Harness) -> String {
    let mut out = String::new();
    for event in std::mem::take(&mut harness.events) {
        let record = &event.record;
        let version = record.version();
        let what = if record.is_put() {
            let fields = record.fields();
            format!("put {} (version {})", text(record.key()), fields.version)
        } else {
            format!("delete {}", text(record.key()))
        };
        let before =
            event.previous.map_or(String::new(), |p| format!(", before {}", p.revision().0));
        writeln!(out, "{}.{} {what}{before}", version.main.0, version.sub).expect("a string");
    }
    out
}

fn leases(harness: &Harness) -> String {
    let mut out = String::new();
    for (deadline, id) in harness.state.leases().by_deadline() {
        let lease = harness.state.leases().get(id).expect("listed");
        let keys = lease.keys.iter().map(|key| text(key)).collect::<Vec<_>>().join(" ");
        writeln!(out, "lease {} of {} s until {} ms: {keys}", id.0, lease.ttl_s, deadline.0)
            .expect("a string takes everything");
    }
    out
}
