//! One committed entry after the other: the only way the data ever changes.
//!
//! Each command gets an answer that is the same on every member. What may differ between members
//! is only their quota: a command that reaches it is carried out all the same and answered with
//! [`Refusal::NoSpace`], as in etcd, and the member then raises its alarm through the log.

use bytes::Bytes;
use prost::Message;

use crate::alarms;
use crate::command::{
    self, Alarm, Command, Compact, LeaseExpire, LeaseGrant, LeaseRenew, Operation, Publish,
};
use crate::lease::{self, LeaseRow};
use crate::limits::LEASE_TTL_MAX_S;
use crate::members::{self, Member};
use crate::mvcc::write::Change;
use crate::outcome::{AlarmMember, AlarmType, Applied, Outcome, Refusal};
use crate::schema::{Table, meta};
use crate::state::{State, StateError};
use crate::types::{LeaseId, LogIndex, MemberId, RequestId, Revision, Term};

/// The answer to one command of an entry.
#[derive(Debug)]
pub struct Answer {
    /// Who asked.
    pub request: RequestId,
    /// The revision of the store right after the command.
    pub revision: Revision,
    /// What came of it.
    pub applied: Applied,
    /// The command was carried out although it reached this member's quota.
    pub over_quota: bool,
}

/// What an entry does.
#[derive(Debug)]
pub enum Entry {
    /// Nothing: a leader's first entry.
    Empty,
    /// A batch of commands.
    Batch(Bytes),
    /// A change of the membership.
    Membership {
        /// The member concerned.
        member: MemberId,
        /// Its new row, encoded; empty: it is gone.
        row: Bytes,
        /// Who votes afterwards, opaque.
        conf_state: Bytes,
    },
}

impl State {
    /// Applies the entry at `index` and commits it to the engine. The answers may be given once
    /// the turn is published.
    ///
    /// # Errors
    /// The engine failed or the entry cannot be read: the member must stop.
    pub fn apply_entry(
        &mut self,
        index: LogIndex,
        term: Term,
        entry: Entry,
    ) -> Result<Vec<Answer>, StateError> {
        let mut answers = Vec::new();
        match entry {
            Entry::Empty => {}
            Entry::Membership { member, row, conf_state } => {
                self.apply_membership(member, &row, conf_state)?;
            }
            Entry::Batch(bytes) => {
                let decoded = command::decode_batch(bytes);
                let (time, commands) =
                    decoded.map_err(|source| StateError::Batch { index, source })?;
                self.time = self.time.max(time);
                self.set_number(meta::CLUSTER_TIME, self.time.0);
                answers.reserve(commands.len());
                for command in commands {
                    answers.push(self.apply_command(term, command)?);
                }
            }
        }
        self.commit_entry(index, term)?;
        Ok(answers)
    }

    fn apply_command(&mut self, term: Term, command: Command) -> Result<Answer, StateError> {
        let request = command.request_id();
        let operation = command.operation.expect("decoding refuses a command without operation");
        let fits = self.quota.admits(self.engine.size().total_bytes, alarms::cost(&operation));
        let applied = match self.tables.alarms.admit(&operation) {
            Err(refusal) => Err(refusal),
            Ok(()) => self.apply_operation(term, operation)?,
        };
        let over_quota = applied.is_ok() && !fits;
        let applied = if over_quota { Err(Refusal::NoSpace) } else { applied };
        Ok(Answer { request, revision: self.revision, applied, over_quota })
    }

    fn apply_operation(&mut self, term: Term, operation: Operation) -> Result<Applied, StateError> {
        Ok(match operation {
            Operation::Put(put) => match self.check_put(&put) {
                Err(refusal) => Err(refusal),
                Ok(()) => {
                    let outcome = self.change(|state, change| Ok(state.put(change, &put)?))?;
                    Ok(Outcome::Put(outcome))
                }
            },
            Operation::DeleteRange(delete) => {
                let outcome =
                    self.change(|state, change| Ok(state.delete_range(change, &delete)?))?;
                Ok(Outcome::DeleteRange(outcome))
            }
            Operation::Txn(txn) => {
                self.change(|state, change| state.txn(change, &txn))?.map(Outcome::Txn)
            }
            Operation::Range(_) => Ok(Outcome::Done),
            Operation::Compact(compact) => self.apply_compact(&compact),
            Operation::LeaseGrant(grant) => self.apply_grant(&grant),
            Operation::LeaseRevoke(revoke) => self.apply_revoke(LeaseId(revoke.id))?,
            Operation::LeaseExpire(expire) => self.apply_expire(term, &expire)?,
            Operation::LeaseRenew(renew) => self.apply_renew(&renew),
            Operation::Alarm(alarm) => self.apply_alarm(&alarm),
            Operation::Publish(publish) => self.apply_publish(publish),
            Operation::ClusterVersion(decided) => {
                let version = Bytes::from(decided.version.clone());
                self.set_row(Table::Meta, Bytes::from_static(meta::CLUSTER_VERSION), version);
                std::sync::Arc::make_mut(&mut self.tables).cluster_version = Some(decided.version);
                Ok(Outcome::Done)
            }
        })
    }

    /// Runs one operation that may change keys, all at the next revision.
    fn change<T>(
        &mut self,
        run: impl FnOnce(&mut State, &mut Change) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        let mut change = Change { main: self.revision.next(), events: Vec::new() };
        let outcome = run(self, &mut change)?;
        if !change.events.is_empty() {
            self.revision = change.main;
            self.events.append(&mut change.events);
        }
        Ok(outcome)
    }

    fn apply_compact(&mut self, compact: &Compact) -> Applied {
        // Before the first compaction 0 is accepted once, as in etcd, where the mark starts at -1.
        if compact.revision <= self.compacted.map_or(-1, |compacted| compacted.0) {
            return Err(Refusal::Compacted);
        }
        if compact.revision > self.revision.0 {
            return Err(Refusal::FutureRevision);
        }
        self.compact(Revision(compact.revision));
        Ok(Outcome::Compact)
    }

    fn apply_grant(&mut self, grant: &LeaseGrant) -> Applied {
        if grant.ttl_s > LEASE_TTL_MAX_S {
            return Err(Refusal::LeaseTtlTooLarge);
        }
        let id = LeaseId(grant.id);
        if self.leases.contains(id) {
            return Err(Refusal::LeaseExists);
        }
        let ttl_s = grant.ttl_s.max(grant.ttl_min_s);
        self.leases.insert(id, ttl_s, lease::deadline(self.time, ttl_s));
        self.write_lease(id);
        Ok(Outcome::LeaseGrant { id, ttl_s })
    }

    fn write_lease(&mut self, id: LeaseId) {
        let lease = self.leases.get(id).expect("the caller has just changed it");
        let row = LeaseRow { ttl_s: lease.ttl_s, deadline_ms: lease.deadline.0 };
        self.set_row(Table::Lease, lease::row_key(id), Bytes::from(row.encode_to_vec()));
    }

    fn apply_revoke(&mut self, id: LeaseId) -> Result<Applied, StateError> {
        let Some(lease) = self.leases.remove(id) else { return Ok(Err(Refusal::LeaseNotFound)) };
        self.delete_row(Table::Lease, lease::row_key(id));
        self.change(|state, change| {
            state.delete_keys(change, lease.keys.into_iter());
            Ok(())
        })?;
        Ok(Ok(Outcome::LeaseRevoke))
    }

    /// A leader that has been deposed since cannot expire what its successor may have renewed.
    fn apply_expire(&mut self, term: Term, expire: &LeaseExpire) -> Result<Applied, StateError> {
        if expire.term != term.0 {
            return Ok(Err(Refusal::StaleTerm));
        }
        for id in expire.ids.iter().copied().map(LeaseId) {
            if self.leases.get(id).is_some_and(|lease| lease.deadline <= self.time) {
                // Only a lease that is not there is refused, and this one is.
                let _ = self.apply_revoke(id)?;
            }
        }
        Ok(Ok(Outcome::Done))
    }

    fn apply_renew(&mut self, renew: &LeaseRenew) -> Applied {
        for (id, at_ms) in renew.ids.iter().zip(&renew.at_ms) {
            let id = LeaseId(*id);
            if self.leases.renew(id, crate::types::ClusterTime(*at_ms)).is_some() {
                self.write_lease(id);
            }
        }
        Ok(Outcome::Done)
    }

    fn apply_alarm(&mut self, request: &Alarm) -> Applied {
        const LIST: i32 = 0;
        const RAISE: i32 = 1;
        const CLEAR: i32 = 2;
        let kind = AlarmType::from_number(request.alarm);
        if request.action == LIST {
            let matches = |active: &AlarmMember| request.alarm == 0 || Some(active.alarm) == kind;
            return Ok(Outcome::Alarm(self.tables.alarms.iter().filter(matches).collect()));
        }
        if request.action != RAISE && request.action != CLEAR {
            return Err(Refusal::UnknownAlarmAction);
        }
        let Some(kind) = kind else { return Ok(Outcome::Alarm(Vec::new())) };
        let alarm = AlarmMember { member: MemberId(request.member), alarm: kind };
        let tables = std::sync::Arc::make_mut(&mut self.tables);
        if request.action == RAISE {
            if tables.alarms.insert(alarm) {
                self.set_row(Table::Alarm, alarms::row_key(alarm), Bytes::new());
            }
            return Ok(Outcome::Alarm(vec![alarm]));
        }
        if !tables.alarms.remove(alarm) {
            return Ok(Outcome::Alarm(Vec::new()));
        }
        self.delete_row(Table::Alarm, alarms::row_key(alarm));
        Ok(Outcome::Alarm(vec![alarm]))
    }

    fn apply_publish(&mut self, publish: Publish) -> Applied {
        let id = MemberId(publish.member);
        let tables = std::sync::Arc::make_mut(&mut self.tables);
        // A member that has been removed meanwhile stays removed.
        if let Some(member) = tables.members.get_mut(&id) {
            member.name = publish.name;
            member.client_urls = publish.client_urls;
            let row = Bytes::from(member.encode_to_vec());
            self.set_row(Table::Member, members::row_key(id), row);
        }
        Ok(Outcome::Done)
    }

    fn apply_membership(
        &mut self,
        id: MemberId,
        row: &Bytes,
        conf_state: Bytes,
    ) -> Result<(), StateError> {
        let tables = std::sync::Arc::make_mut(&mut self.tables);
        if row.is_empty() {
            tables.members.remove(&id);
            self.delete_row(Table::Member, members::row_key(id));
        } else {
            let member = Member::decode(&row[..]).map_err(|_| {
                StateError::Engine(crate::engine::EngineError::Row { table: Table::Member })
            })?;
            tables.members.insert(id, member);
            self.set_row(Table::Member, members::row_key(id), row.clone());
        }
        self.set_row(Table::Meta, Bytes::from_static(meta::CONF_STATE), conf_state);
        Ok(())
    }
}
