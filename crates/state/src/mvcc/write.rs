//! The changes of one operation, all at one revision.
//!
//! A [`Change`] collects what an operation does: records for the index and the history, rows for
//! the tables, events for the watchers. The revision of the store moves only if it changed a key.

use bytes::Bytes;

use crate::command::{DeleteRange, Put};
use crate::engine::EngineError;
use crate::mvcc::record::{PutFields, Record};
use crate::outcome::{DeleteOutcome, Event, PutOutcome};
use crate::state::State;
use crate::types::{KeyRange, LeaseId, Revision, Version};

use std::ops::ControlFlow;

/// One operation that may change keys.
pub(crate) struct Change {
    /// The revision that its changes share, if there are any.
    pub(crate) main: Revision,
    /// The events, in order; their number is the next sub.
    pub(crate) events: Vec<Event>,
}

impl Change {
    /// What a read in the middle of the operation shows in its header.
    pub(crate) fn revision(&self) -> Revision {
        if self.events.is_empty() { Revision(self.main.0 - 1) } else { self.main }
    }

    fn next(&self) -> Version {
        let sub = u32::try_from(self.events.len()).expect("fewer than 2^32 changes at once");
        Version { main: self.main, sub }
    }
}

impl State {
    /// Sets a key. The caller has checked the lease and, for a put that keeps something, that the
    /// key is there.
    pub(crate) fn put(
        &mut self,
        change: &mut Change,
        put: &Put,
    ) -> Result<PutOutcome, EngineError> {
        let before = self.index.newest(&put.key);
        let fields_before = before.as_ref().map(Record::fields);
        let lease = match fields_before {
            Some(fields) if put.ignore_lease => fields.lease,
            _ => put.lease_id(),
        };
        let version = change.next();
        let fields = PutFields {
            create_revision: fields_before.map_or(version.main, |fields| fields.create_revision),
            mod_revision: version.main,
            version: fields_before.map_or(1, |fields| fields.version + 1),
            lease,
        };
        let needs_value = put.ignore_value || put.prev_kv;
        let resolved = match before.clone() {
            Some(record) if needs_value => Some(self.resolve(record)?),
            _ => None,
        };
        let record = match &resolved {
            Some(kept) if put.ignore_value => {
                Record::put(version.sub, &put.key, fields, kept.value())
            }
            _ => Record::put(version.sub, &put.key, fields, &put.value),
        };
        self.move_lease(&put.key, fields_before.map_or(LeaseId::NONE, |f| f.lease), lease);
        let prev_kv = resolved.filter(|_| put.prev_kv).map(|record| record.to_bytes());
        self.record(change, record, before);
        Ok(PutOutcome { revision: version.main, prev_kv })
    }

    /// Deletes the keys of a range.
    pub(crate) fn delete_range(
        &mut self,
        change: &mut Change,
        delete: &DeleteRange,
    ) -> Result<DeleteOutcome, EngineError> {
        let victims = self.live(&delete.keys());
        let mut prev_kvs = Vec::new();
        if delete.prev_kv {
            for victim in &victims {
                prev_kvs.push(self.resolve(victim.clone())?.to_bytes());
            }
        }
        let deleted = i64::try_from(victims.len()).expect("fewer than 2^63 keys");
        for victim in victims {
            self.delete(change, victim);
        }
        Ok(DeleteOutcome { revision: change.revision(), deleted, prev_kvs })
    }

    /// Deletes the keys of a lease that is gone, in key order, at one revision.
    pub(crate) fn delete_keys(&mut self, change: &mut Change, keys: impl Iterator<Item = Bytes>) {
        for key in keys {
            if let Some(victim) = self.index.newest(&key) {
                self.delete(change, victim);
            }
        }
    }

    fn live(&self, range: &KeyRange) -> Vec<Record> {
        if let Some(key) = range.as_single() {
            return self.index.newest(key).into_iter().collect();
        }
        let mut records = Vec::new();
        self.index.scan_at(range, Revision::MAX, &mut |record| {
            records.push(record.clone());
            ControlFlow::Continue(())
        });
        records
    }

    fn delete(&mut self, change: &mut Change, victim: Record) {
        let tombstone = Record::tombstone(change.next(), victim.key());
        self.move_lease(victim.key(), victim.fields().lease, LeaseId::NONE);
        self.record(change, tombstone, Some(victim));
    }

    fn move_lease(&mut self, key: &[u8], from: LeaseId, to: LeaseId) {
        if from != to {
            if from != LeaseId::NONE {
                self.leases.detach(from, key);
            }
            if to != LeaseId::NONE {
                self.leases.attach(to, key);
            }
        }
    }

    /// Files a change in the index, the history and the list of events.
    fn record(&mut self, change: &mut Change, record: Record, before: Option<Record>) {
        let previous = match before {
            // Changed twice in one transaction: watchers compare with the revision before it.
            Some(before) if before.revision() == change.main => {
                self.index.get_at(record.key(), Revision(change.main.0 - 1))
            }
            before => before,
        };
        if record.is_put() {
            let kept = self.engine.keeps_values_resident();
            self.index.put(if kept { record.clone() } else { record.without_value() });
        } else {
            self.index.delete(record.clone());
        }
        self.append(record.clone());
        change.events.push(Event { record, previous });
    }
}
