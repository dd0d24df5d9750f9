//! What a change does to the keys, told without an index, a log or a disk.
//!
//! ```text
//! keys at revision 7  +  put a=1, delete b  ──▶  events of revision 8  ──▶  keys at revision 8
//! ```
//!
//! A revision decides where a change stands in the order, so that the answer to every
//! acknowledged change, and every event of the history, can be told in advance and compared.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use metastore_proto::mvccpb::event::EventType;
use metastore_proto::mvccpb::{Event, KeyValue};

/// All living keys at some revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keyspace {
    keys: BTreeMap<Bytes, KeyValue>,
}

/// What a client asks for in one request, or the lessor at the end of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// These, in this order, in one revision. No two of them touch the same key.
    Write(Vec<Op>),
    /// One of the two, depending on whether this key was last written at this revision.
    Branch { key: Bytes, mod_revision: i64, then: Vec<Op>, otherwise: Vec<Op> },
    /// The end of a lease: its keys go.
    EndLease(i64),
}

/// A part of a [`Change`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Put {
        key: Bytes,
        value: Bytes,
        lease: i64,
    },
    /// All keys from the first up to, and without, the second.
    Delete {
        from: Bytes,
        to: Bytes,
    },
}

/// What a change does and what its client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) events: Vec<Event>,
    /// Keys that were deleted and, for a branch, whether the first was taken.
    pub(crate) answer: Answer,
}

/// See [`Effect::answer`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) deleted: i64,
    pub(crate) succeeded: bool,
}

impl Keyspace {
    /// What the change would do at this revision.
    pub(crate) fn effect(&self, change: &Change, revision: i64) -> Effect {
        let (ops, succeeded) = match change {
            Change::Write(ops) => (ops, false),
            Change::Branch { key, mod_revision, then, otherwise } => {
                let succeeded = self.mod_revision(key) == *mod_revision;
                (if succeeded { then } else { otherwise }, succeeded)
            }
            Change::EndLease(lease) => {
                let keys = self.keys_of(*lease);
                let events = keys.iter().map(|key| deletion(key, revision)).collect();
                return Effect { events, answer: Answer::default() };
            }
        };
        let mut answer = Answer { deleted: 0, succeeded };
        let mut events = Vec::new();
        for op in ops {
            match op {
                Op::Put { key, value, lease } => {
                    let before = self.keys.get(key);
                    events.push(event(
                        EventType::Put,
                        KeyValue {
                            key: key.clone(),
                            create_revision: before.map_or(revision, |kv| kv.create_revision),
                            mod_revision: revision,
                            version: before.map_or(0, |kv| kv.version) + 1,
                            value: value.clone(),
                            lease: *lease,
                        },
                    ));
                }
                Op::Delete { from, to } => {
                    let range = (Bound::Included(from), Bound::Excluded(to));
                    for (key, _) in self.keys.range::<Bytes, _>(range) {
                        events.push(deletion(key, revision));
                        answer.deleted += 1;
                    }
                }
            }
        }
        Effect { events, answer }
    }

    /// Lets events happen.
    pub(crate) fn apply(&mut self, events: &[Event]) {
        for event in events {
            let kv = event.kv.as_ref().expect("an event has a key");
            match event.r#type() {
                EventType::Put => self.keys.insert(kv.key.clone(), kv.clone()),
                EventType::Delete => self.keys.remove(&kv.key),
            };
        }
    }

    /// The keys attached to a lease, in order.
    pub(crate) fn keys_of(&self, lease: i64) -> Vec<Bytes> {
        let attached = self.keys.values().filter(|kv| kv.lease == lease);
        attached.map(|kv| kv.key.clone()).collect()
    }

    /// When a key was last written; 0 if it does not exist.
    pub(crate) fn mod_revision(&self, key: &Bytes) -> i64 {
        self.keys.get(key).map_or(0, |kv| kv.mod_revision)
    }

    /// Everything, in order.
    pub(crate) fn all(&self) -> Vec<KeyValue> {
        self.keys.values().cloned().collect()
    }
}

fn deletion(key: &Bytes, revision: i64) -> Event {
    let kv = KeyValue { key: key.clone(), mod_revision: revision, ..KeyValue::default() };
    event(EventType::Delete, kv)
}

fn event(kind: EventType, kv: KeyValue) -> Event {
    Event { r#type: kind as i32, kv: Some(kv), prev_kv: None }
}
