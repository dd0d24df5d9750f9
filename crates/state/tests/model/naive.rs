//! The store as the semantics describe it, without an index and without cleverness: a list of all
//! changes that a reader may still ask for. Every read walks it from the start.
//!
//! ```text
//! changes   (2,0) put a   (3,0) put b   (4,0) delete a   …          at(3): walk up to 3
//! ```
//!
//! [`Fault`] plants one wrong rule at a time, so that the test that compares can be tested.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;
use state::command::{
    Alarm, Compact, DeleteRange, LeaseExpire, LeaseGrant, LeaseRenew, Operation, Put, Range,
};
use state::outcome::{
    AlarmMember, AlarmType, Applied, DeleteOutcome, Outcome, PutOutcome, RangeOutcome, Refusal,
};
use state::{LeaseId, MemberId, Revision};

/// etcd's `mvccpb.KeyValue`, written down here once more so that bytes are compared, not code.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(int64, tag = "2")]
    pub(crate) create_revision: i64,
    #[prost(int64, tag = "3")]
    pub(crate) mod_revision: i64,
    #[prost(int64, tag = "4")]
    pub(crate) version: i64,
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) value: Bytes,
    #[prost(int64, tag = "6")]
    pub(crate) lease: i64,
}

impl KeyValue {
    pub(crate) fn bytes(&self) -> Bytes {
        Bytes::from(self.encode_to_vec())
    }
}

/// One change: a put, or a deletion if there is no value.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) main: i64,
    pub(crate) sub: i64,
    pub(crate) key: Bytes,
    pub(crate) put: Option<KeyValue>,
}

/// A wrong rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A key that comes back goes on counting its versions.
    VersionSurvivesDelete,
    /// `count` is what is left after the limit.
    CountObeysLimit,
    /// Compaction drops a deletion that stands exactly at its revision.
    TombstoneAtCompactedDropped,
    /// The compares of a nested transaction see the steps before it.
    NestedCompareSeesWrites,
    /// A put without a lease leaves the key on its old one.
    LeaseStays,
    /// `prev_kv` is what was there before the transaction, not before the put.
    PrevKvBeforeTxn,
    /// Equal keys of a descending sort come in descending order.
    TiesTurnAround,
    /// A read at an explicit revision sees the writes of its own transaction.
    ExplicitRevisionSeesWrites,
    /// `keys_only` answers with the lease, as before etcd 3.7.
    KeysOnlyShowsLease,
    /// An expiry of a deposed leader is carried out.
    StaleTermExpires,
    /// A value that is not there differs from every other.
    AbsentValueDiffers,
    /// The hash leaves out what is compacted, even if nothing is live.
    HashForgetsLastVersions,
}

/// What readers may see: set by each publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
}

#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) changes: Vec<Change>,
    pub(crate) revision: i64,
    /// -1 before the first compaction.
    pub(crate) compacted: i64,
    pub(crate) published: Published,
    pub(crate) time_ms: u64,
    /// TTL and deadline.
    pub(crate) leases: BTreeMap<i64, (i64, u64)>,
    /// Member and type.
    pub(crate) alarms: BTreeSet<(u64, i32)>,
    pub(crate) cluster_version: Option<String>,
    /// Since the last publish: the change, and what it replaced.
    pub(crate) events: Vec<(Change, Option<KeyValue>)>,
    pub(crate) fault: Option<Fault>,
}

pub(crate) fn in_range(key: &[u8], start: &[u8], end: &[u8]) -> bool {
    match end {
        b"" => key == start,
        b"\0" => key >= start,
        _ => key >= start && key < end,
    }
}

impl Model {
    pub(crate) fn new(fault: Option<Fault>) -> Model {
        Model {
            changes: Vec::new(),
            revision: 1,
            compacted: -1,
            published: Published { revision: 1, compacted: -1 },
            time_ms: 0,
            leases: BTreeMap::new(),
            alarms: BTreeSet::new(),
            cluster_version: None,
            events: Vec::new(),
            fault,
        }
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// The live keys at `revision`, in key order.
    pub(crate) fn at(&self, revision: i64) -> Vec<KeyValue> {
        let mut live = BTreeMap::new();
        for change in &self.changes {
            if change.main > revision {
                continue;
            }
            match &change.put {
                Some(kv) => live.insert(change.key.clone(), kv.clone()),
                None => live.remove(&change.key),
            };
        }
        live.into_values().collect()
    }

    pub(crate) fn now(&self) -> Vec<KeyValue> {
        self.at(i64::MAX)
    }

    pub(crate) fn find(&self, key: &[u8], revision: i64) -> Option<KeyValue> {
        self.at(revision).into_iter().find(|kv| kv.key == key)
    }

    pub(crate) fn apply(&mut self, term: u64, operation: &Operation) -> Applied {
        self.refused_by_alarms(operation)?;
        let before = self.changes.len();
        let applied = match operation {
            Operation::Put(put) => {
                self.check_put(put)?;
                self.put(put).map(Outcome::Put)
            }
            Operation::DeleteRange(delete) => Ok(Outcome::DeleteRange(self.delete(delete))),
            Operation::Txn(txn) => self.txn(txn).map(Outcome::Txn),
            Operation::Compact(compact) => self.compact(compact),
            Operation::LeaseGrant(grant) => self.grant(grant),
            Operation::LeaseRevoke(revoke) => self.revoke(revoke.id),
            Operation::LeaseExpire(expire) => return self.expire(term, expire),
            Operation::LeaseRenew(renew) => Ok(self.renew(renew)),
            Operation::Alarm(alarm) => self.alarm(alarm),
            Operation::ClusterVersion(decided) => {
                self.cluster_version = Some(decided.version.clone());
                Ok(Outcome::Done)
            }
            Operation::Range(_) | Operation::Publish(_) => Ok(Outcome::Done),
        };
        self.end_operation(before);
        applied
    }

    /// The revision moves if something changed, and watchers hear of it.
    fn end_operation(&mut self, before: usize) {
        for at in before..self.changes.len() {
            let change = self.changes[at].clone();
            // A put that begins a life has nothing before it, even if an earlier life ended in the
            // same transaction.
            let creates =
                change.put.as_ref().is_some_and(|kv| kv.create_revision == kv.mod_revision);
            let previous = if creates { None } else { self.find(&change.key, change.main - 1) };
            self.revision = change.main;
            self.events.push((change, previous));
        }
    }

    pub(crate) fn check_put(&self, put: &Put) -> Result<(), Refusal> {
        if put.lease != 0 && !self.leases.contains_key(&put.lease) {
            return Err(Refusal::LeaseNotFound);
        }
        if (put.ignore_value || put.ignore_lease) && self.find(&put.key, i64::MAX).is_none() {
            return Err(Refusal::KeyNotFound);
        }
        Ok(())
    }

    fn add(&mut self, key: Bytes, put: Option<KeyValue>) {
        let main = self.revision + 1;
        let sub = self.changes.iter().filter(|change| change.main == main).count();
        let sub = i64::try_from(sub).expect("a small number");
        self.changes.push(Change { main, sub, key, put });
    }

    pub(crate) fn changed_already(&self) -> bool {
        self.changes.last().is_some_and(|change| change.main > self.revision)
    }

    /// What a header inside a transaction shows.
    pub(crate) fn header(&self) -> Revision {
        Revision(self.revision + i64::from(self.changed_already()))
    }

    pub(crate) fn put(&mut self, put: &Put) -> Result<PutOutcome, Refusal> {
        let previous = self.find(&put.key, i64::MAX);
        if (put.ignore_value || put.ignore_lease) && previous.is_none() {
            return Err(Refusal::KeyNotFound);
        }
        let revision = self.revision + 1;
        let old = previous.clone().unwrap_or_default();
        let mut kv = KeyValue {
            key: put.key.clone(),
            create_revision: if previous.is_some() { old.create_revision } else { revision },
            mod_revision: revision,
            version: old.version + 1,
            value: if put.ignore_value { old.value } else { put.value.clone() },
            lease: if put.ignore_lease { old.lease } else { put.lease },
        };
        if self.has(Fault::VersionSurvivesDelete) && previous.is_none() {
            let puts = self.changes.iter().filter(|c| c.key == put.key && c.put.is_some());
            kv.version = 1 + i64::try_from(puts.count()).expect("a small number");
        }
        if self.has(Fault::LeaseStays) && put.lease == 0 {
            kv.lease = old.lease;
        }
        let shown = if self.has(Fault::PrevKvBeforeTxn) {
            self.find(&put.key, self.revision)
        } else {
            previous
        };
        self.add(put.key.clone(), Some(kv));
        let prev_kv = shown.filter(|_| put.prev_kv).map(|kv| kv.bytes());
        Ok(PutOutcome { revision: Revision(revision), prev_kv })
    }

    pub(crate) fn delete(&mut self, delete: &DeleteRange) -> DeleteOutcome {
        let mut victims = self.now();
        victims.retain(|kv| in_range(&kv.key, &delete.key, &delete.range_end));
        for victim in &victims {
            self.add(victim.key.clone(), None);
        }
        DeleteOutcome {
            revision: self.header(),
            deleted: i64::try_from(victims.len()).expect("a small number"),
            prev_kvs: victims.iter().filter(|_| delete.prev_kv).map(KeyValue::bytes).collect(),
        }
    }

    fn compact(&mut self, compact: &Compact) -> Applied {
        if compact.revision <= self.compacted {
            return Err(Refusal::Compacted);
        }
        if compact.revision > self.revision {
            return Err(Refusal::FutureRevision);
        }
        self.compacted = compact.revision;
        Ok(Outcome::Compact)
    }

    /// What the compacted revision leaves: the newest put of each key at or below it, deletions
    /// exactly at it, everything above.
    fn forget(&mut self) {
        let compacted = self.compacted;
        let all = self.changes.clone();
        let place = |change: &Change| (change.main, change.sub);
        let keeps_tombstones = !self.has(Fault::TombstoneAtCompactedDropped);
        self.changes.retain(|change| {
            let newer = |other: &Change| {
                other.key == change.key && other.main <= compacted && place(other) > place(change)
            };
            change.main > compacted
                || change.put.is_some() && !all.iter().any(newer)
                || change.put.is_none() && change.main == compacted && keeps_tombstones
        });
    }

    pub(crate) fn publish(&mut self) -> Vec<(Change, Option<KeyValue>)> {
        let published = Published { revision: self.revision, compacted: self.compacted };
        if published.compacted != self.published.compacted {
            self.forget();
        }
        self.published = published;
        std::mem::take(&mut self.events)
    }

    fn deadline(time_ms: u64, ttl_s: i64) -> u64 {
        time_ms.saturating_add(u64::try_from(ttl_s).unwrap_or(0).saturating_mul(1000))
    }

    fn grant(&mut self, grant: &LeaseGrant) -> Applied {
        if grant.ttl_s > 9_000_000_000 {
            return Err(Refusal::LeaseTtlTooLarge);
        }
        if self.leases.contains_key(&grant.id) {
            return Err(Refusal::LeaseExists);
        }
        let ttl_s = grant.ttl_s.max(grant.ttl_min_s);
        self.leases.insert(grant.id, (ttl_s, Model::deadline(self.time_ms, ttl_s)));
        Ok(Outcome::LeaseGrant { id: LeaseId(grant.id), ttl_s })
    }

    /// The keys whose present version names the lease.
    pub(crate) fn attached(&self, lease: i64) -> Vec<Bytes> {
        let live = self.now().into_iter();
        live.filter(|kv| lease != 0 && kv.lease == lease).map(|kv| kv.key).collect()
    }

    fn revoke(&mut self, id: i64) -> Applied {
        if self.leases.remove(&id).is_none() {
            return Err(Refusal::LeaseNotFound);
        }
        for key in self.attached(id) {
            self.add(key, None);
        }
        Ok(Outcome::LeaseRevoke)
    }

    fn expire(&mut self, term: u64, expire: &LeaseExpire) -> Applied {
        if expire.term != term && !self.has(Fault::StaleTermExpires) {
            return Err(Refusal::StaleTerm);
        }
        for id in &expire.ids {
            if self.leases.get(id).is_some_and(|(_, deadline)| *deadline <= self.time_ms) {
                let before = self.changes.len();
                self.revoke(*id)?;
                self.end_operation(before);
            }
        }
        Ok(Outcome::Done)
    }

    fn renew(&mut self, renew: &LeaseRenew) -> Outcome {
        for (id, at_ms) in renew.ids.iter().zip(&renew.at_ms) {
            if let Some((ttl_s, deadline)) = self.leases.get_mut(id) {
                *deadline = (*deadline).max(Model::deadline(*at_ms, *ttl_s));
            }
        }
        Outcome::Done
    }

    fn refused_by_alarms(&self, operation: &Operation) -> Result<(), Refusal> {
        let active = |kind: i32| self.alarms.iter().any(|(_, alarm)| *alarm == kind);
        let changes_data = matches!(
            operation,
            Operation::Put(_)
                | Operation::DeleteRange(_)
                | Operation::Txn(_)
                | Operation::Compact(_)
                | Operation::LeaseGrant(_)
                | Operation::LeaseRevoke(_)
                | Operation::LeaseExpire(_)
        );
        let grows = match operation {
            Operation::Put(_) | Operation::LeaseGrant(_) => true,
            Operation::Txn(txn) => super::transaction::has_put(txn),
            _ => false,
        };
        match () {
            () if changes_data && active(2) => Err(Refusal::Corrupt),
            () if grows && active(1) => Err(Refusal::NoSpace),
            () => Ok(()),
        }
    }

    fn alarm(&mut self, request: &Alarm) -> Applied {
        let entry = (request.member, request.alarm);
        let is_one = request.alarm != 0;
        let shown: Vec<(u64, i32)> = match request.action {
            0 => {
                let all = self.alarms.iter().copied();
                all.filter(|(_, kind)| request.alarm == 0 || *kind == request.alarm).collect()
            }
            1 if is_one => {
                self.alarms.insert(entry);
                vec![entry]
            }
            2 if is_one => self.alarms.take(&entry).into_iter().collect(),
            1 | 2 => Vec::new(),
            _ => return Err(Refusal::UnknownAlarmAction),
        };
        let shown = shown.into_iter().map(|(member, kind)| AlarmMember {
            member: MemberId(member),
            alarm: AlarmType::from_number(kind).expect("0 is never kept"),
        });
        Ok(Outcome::Alarm(shown.collect()))
    }

    /// A read of the published state.
    pub(crate) fn read(&self, query: &Range) -> Result<RangeOutcome, Refusal> {
        let Published { revision, compacted } = self.published;
        if query.revision > revision {
            return Err(Refusal::FutureRevision);
        }
        if query.revision > 0 && query.revision < compacted {
            return Err(Refusal::Compacted);
        }
        let at = if query.revision > 0 { query.revision } else { revision };
        Ok(self.range(query, at, Revision(revision)))
    }

    /// The answer to a query from the state at revision `at`.
    pub(crate) fn range(&self, query: &Range, at: i64, header: Revision) -> RangeOutcome {
        let mut kvs = self.at(at);
        kvs.retain(|kv| in_range(&kv.key, &query.key, &query.range_end));
        let mut count = i64::try_from(kvs.len()).expect("a small number");
        if query.count_only {
            return RangeOutcome { revision: header, kvs: Vec::new(), more: false, count };
        }
        let limit = if query.limit > 0 { query.limit } else { i64::MAX };
        let limit = usize::try_from(limit).expect("64 bits");
        let (order, target) = (query.sort_order, query.sort_target);
        let bounds = [
            query.min_mod_revision,
            query.max_mod_revision,
            query.min_create_revision,
            query.max_create_revision,
        ];
        let key_order = order == 0 || target == 0 && order == 1;
        if key_order && bounds == [0; 4] {
            kvs.truncate(limit.saturating_add(1));
        }
        let above = |number: i64, min: i64| min == 0 || number >= min;
        let below = |number: i64, max: i64| max == 0 || number <= max;
        kvs.retain(|kv| {
            above(kv.mod_revision, query.min_mod_revision)
                && below(kv.mod_revision, query.max_mod_revision)
                && above(kv.create_revision, query.min_create_revision)
                && below(kv.create_revision, query.max_create_revision)
        });
        let by = |a: &KeyValue, b: &KeyValue| match target {
            1 => a.version.cmp(&b.version),
            2 => a.create_revision.cmp(&b.create_revision),
            3 => a.mod_revision.cmp(&b.mod_revision),
            4 => a.value.cmp(&b.value),
            _ => a.key.cmp(&b.key),
        };
        if order == 2 && self.has(Fault::TiesTurnAround) {
            kvs.sort_by(by);
            kvs.reverse();
        } else if order == 2 {
            kvs.sort_by(|a, b| by(b, a));
        } else {
            kvs.sort_by(by);
        }
        let more = kvs.len() > limit;
        kvs.truncate(limit);
        if self.has(Fault::CountObeysLimit) {
            count = i64::try_from(kvs.len()).expect("a small number");
        }
        for kv in kvs.iter_mut().filter(|_| query.keys_only) {
            kv.value = Bytes::new();
            if target != 4 && !self.has(Fault::KeysOnlyShowsLease) {
                kv.lease = 0;
            }
        }
        let kvs = kvs.iter().map(KeyValue::bytes).collect();
        RangeOutcome { revision: header, kvs, more, count }
    }

    /// `HashKV` of the published state: hash, compacted revision, hashed revision.
    pub(crate) fn hash(&self, revision: i64) -> Result<(u32, i64, i64), Refusal> {
        self.read(&Range { revision, key: Bytes::from_static(b"k"), ..Range::default() })?;
        let Published { revision: newest, compacted } = self.published;
        // Below 0 there is a history too, and it is empty.
        let revision = if revision == 0 { newest } else { revision };
        let keep = self.at(revision);
        let mut bytes = b"key".to_vec();
        for change in self.changes.iter().filter(|change| change.main <= revision) {
            let kept = keep.iter().any(|kv| Some(kv) == change.put.as_ref());
            let skips = !keep.is_empty() || self.has(Fault::HashForgetsLastVersions);
            if change.main <= compacted && skips && !kept {
                continue;
            }
            if change.main == compacted && change.put.is_none() {
                continue;
            }
            bytes.extend(change.main.to_be_bytes());
            bytes.push(b'_');
            bytes.extend(change.sub.to_be_bytes());
            match &change.put {
                Some(kv) => bytes.extend(kv.bytes()),
                None => {
                    bytes.push(b't');
                    let only_key = KeyValue { key: change.key.clone(), ..KeyValue::default() };
                    bytes.extend(only_key.bytes());
                }
            }
        }
        Ok((crc32c::crc32c(&bytes), compacted, revision))
    }
}
