//! Knows what was promised and says whether a history keeps it.
//!
//! ```text
//!  acknowledged at 5, 6, 8         must be there, at that revision, as asked for
//!  attempted, never answered       may be there once, whole, or not at all
//!  seen by a watcher before        must be there: it was decided
//!
//!  history after the crash   2 3 4 5 6 7 8        no revision without an event
//!                                      └─ 7 must be one of the attempts, or the end of a lease
//! ```
//!
//! What a check has found in the history becomes a fact: it must be there in every later one.
//!
//! The oracle knows nothing of processes or of time: who may have ended is told to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use metastore_proto::mvccpb::Event;

use crate::keyspace::{Answer, Change, Keyspace, Op};

/// Events by revision.
pub(crate) type History = BTreeMap<i64, Vec<Event>>;

/// A request that may or may not have been carried out.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// The newest revision that its client had seen.
    pub(crate) after: i64,
    pub(crate) change: Change,
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    /// The revision in the header of the answer.
    pub(crate) revision: i64,
    pub(crate) change: Change,
    pub(crate) answer: Answer,
}

impl Acknowledged {
    /// Whether it made a revision.
    fn wrote(&self) -> bool {
        let ops = match &self.change {
            Change::Write(ops) => ops,
            Change::Branch { then, .. } if self.answer.succeeded => then,
            Change::Branch { otherwise, .. } => otherwise,
            Change::EndLease(_) => return false,
        };
        self.answer.deleted > 0 || ops.iter().any(|op| matches!(op, Op::Put { .. }))
    }
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("lost: revision {revision} was acknowledged, the history ends at {last}: {promised}")]
    Lost { revision: i64, last: i64, promised: String },
    #[error("at revision {revision} stands {found}, acknowledged was {promised}")]
    Altered { revision: i64, found: String, promised: String },
    #[error("revision {revision} has changed since it was checked: {found}, before: {before}")]
    Rewritten { revision: i64, found: String, before: String },
    #[error("revision {revision} has no event, the history ends at {last}")]
    Gap { revision: i64, last: i64 },
    #[error("at revision {revision} stands what nobody asked for: {found}")]
    Unasked { revision: i64, found: String },
    #[error("at revision {revision} stands what was asked for after revision {after}: {found}")]
    TooEarly { revision: i64, after: i64, found: String },
    #[error("a watcher saw {seen} at revision {revision}, where now stands {found}")]
    SeenOtherwise { revision: i64, seen: String, found: String },
    #[error("at revision {revision} a client was told {told:?}, which should be {expected:?}")]
    Answer { revision: i64, told: Answer, expected: Answer },
    #[error("a request changed nothing at revision {revision}, but should have: {expected}")]
    NotDone { revision: i64, expected: String },
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Oracle {
    facts: History,
    /// The keys at the last revision of `facts`.
    keyspace: Arc<Keyspace>,
    acknowledged: BTreeMap<i64, Acknowledged>,
    /// Answered, but changed nothing.
    idle: Vec<Acknowledged>,
    attempts: Vec<Attempt>,
    seen: History,
}

impl Default for Oracle {
    fn default() -> Oracle {
        Oracle {
            // A store begins at revision 1, which holds nothing.
            facts: History::from([(1, Vec::new())]),
            keyspace: Arc::default(),
            acknowledged: BTreeMap::new(),
            idle: Vec::new(),
            attempts: Vec::new(),
            seen: History::new(),
        }
    }
}

impl Oracle {
    /// The newest revision that is a fact.
    pub(crate) fn revision(&self) -> i64 {
        *self.facts.keys().next_back().expect("revision 1 is always there")
    }

    /// The keys at that revision.
    pub(crate) fn keyspace(&self) -> &Arc<Keyspace> {
        &self.keyspace
    }

    /// The keys at an earlier revision.
    pub(crate) fn keyspace_at(&self, revision: i64) -> Keyspace {
        let mut keyspace = Keyspace::default();
        for events in self.facts.range(..=revision).map(|(_, events)| events) {
            keyspace.apply(events);
        }
        keyspace
    }

    /// The facts of these revisions.
    pub(crate) fn facts(&self, from: i64) -> impl Iterator<Item = (i64, &Vec<Event>)> {
        self.facts.range(from..).map(|(revision, events)| (*revision, events))
    }

    /// A request was answered.
    pub(crate) fn acknowledge(&mut self, done: Acknowledged) -> Result<(), Violation> {
        let revision = done.revision;
        if let Change::EndLease(_) = done.change {
            // Its answer does not say whether there were keys: if so, a revision may be its work,
            // and at its own revision there are none any more.
            self.attempts.push(Attempt { after: 0, change: done.change.clone() });
            self.idle.push(done);
            return Ok(());
        }
        if !done.wrote() {
            self.idle.push(done);
            return Ok(());
        }
        let promised = show_change(&done.change);
        match self.acknowledged.insert(revision, done) {
            // Two requests cannot both have made one revision.
            Some(other) => {
                Err(Violation::Altered { revision, found: show_change(&other.change), promised })
            }
            None => Ok(()),
        }
    }

    /// A request was not answered.
    pub(crate) fn attempt(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
    }

    /// A watcher was told this.
    pub(crate) fn saw(&mut self, seen: History) {
        self.seen.extend(seen);
    }

    /// Compares with the history from `from` to `last`, where the member now ends. Leases in
    /// `may_have_ended` may be over; says which of them had keys and are.
    pub(crate) fn check(
        &mut self,
        replayed: &History,
        from: i64,
        last: i64,
        may_have_ended: &[i64],
    ) -> Result<Vec<i64>, Violation> {
        assert!(from <= self.revision() + 1, "what is not known yet was compacted");
        let mut ended = Vec::new();
        for revision in from..=last {
            let Some(found) = replayed.get(&revision).filter(|events| !events.is_empty()) else {
                return Err(Violation::Gap { revision, last });
            };
            if let Some(before) = self.facts.get(&revision) {
                if found != before {
                    let (found, before) = (show(found), show(before));
                    return Err(Violation::Rewritten { revision, found, before });
                }
                continue;
            }
            self.learn(revision, found, may_have_ended, &mut ended)?;
        }
        if let Some((revision, events)) = self.facts.range(last + 1..).next() {
            return Err(Violation::Lost { revision: *revision, last, promised: show(events) });
        }
        if let Some((revision, lost)) = self.acknowledged.pop_first() {
            return Err(Violation::Lost { revision, last, promised: show_change(&lost.change) });
        }
        self.check_seen()?;
        self.check_idle()?;
        // Had they been carried out, they would be in the log.
        self.attempts.clear();
        Ok(ended)
    }

    /// Makes the events of a new revision a fact, if somebody asked for them.
    fn learn(
        &mut self,
        revision: i64,
        found: &[Event],
        may_have_ended: &[i64],
        ended: &mut Vec<i64>,
    ) -> Result<(), Violation> {
        if let Some(done) = self.acknowledged.remove(&revision) {
            let effect = self.keyspace.effect(&done.change, revision);
            if effect.events != found {
                let (found, promised) = (show(found), show(&effect.events));
                return Err(Violation::Altered { revision, found, promised });
            }
            if effect.answer != done.answer {
                let (told, expected) = (done.answer, effect.answer);
                return Err(Violation::Answer { revision, told, expected });
            }
        } else if let Some(at) = self
            .attempts
            .iter()
            .position(|attempt| self.keyspace.effect(&attempt.change, revision).events == found)
        {
            let Attempt { after, .. } = self.attempts.swap_remove(at);
            if revision <= after {
                return Err(Violation::TooEarly { revision, after, found: show(found) });
            }
        } else if let Some(lease) = may_have_ended.iter().find(|lease| {
            self.keyspace.effect(&Change::EndLease(**lease), revision).events == found
        }) {
            ended.push(*lease);
        } else {
            return Err(Violation::Unasked { revision, found: show(found) });
        }
        Arc::make_mut(&mut self.keyspace).apply(found);
        self.facts.insert(revision, found.to_vec());
        Ok(())
    }

    fn check_seen(&mut self) -> Result<(), Violation> {
        for (revision, seen) in std::mem::take(&mut self.seen) {
            let found = self.facts.get(&revision);
            if found != Some(&seen) {
                let found = found.map_or("nothing".to_owned(), |found| show(found));
                return Err(Violation::SeenOtherwise { revision, seen: show(&seen), found });
            }
        }
        Ok(())
    }

    fn check_idle(&mut self) -> Result<(), Violation> {
        let mut idle = std::mem::take(&mut self.idle);
        idle.sort_by_key(|done| done.revision);
        let Some(first) = idle.first() else { return Ok(()) };
        let mut keyspace = self.keyspace_at(first.revision);
        let mut at = first.revision;
        for done in &idle {
            while at < done.revision {
                at += 1;
                keyspace.apply(&self.facts[&at]);
            }
            let effect = keyspace.effect(&done.change, done.revision);
            if !effect.events.is_empty() {
                let (revision, expected) = (done.revision, show(&effect.events));
                return Err(Violation::NotDone { revision, expected });
            }
        }
        Ok(())
    }
}

/// Events for a message: keys, and values as far as they tell them apart.
pub(crate) fn show(events: &[Event]) -> String {
    let one = |event: &Event| {
        let kv = event.kv.clone().unwrap_or_default();
        let (key, value) = (String::from_utf8_lossy(&kv.key), String::from_utf8_lossy(&kv.value));
        let value: String = value.chars().take(40).collect();
        let at = (kv.create_revision, kv.mod_revision, kv.version, kv.lease);
        format!("{} {key}={value} {at:?}", event.r#type().as_str_name())
    };
    events.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn show_change(change: &Change) -> String {
    let mut text = format!("{change:?}");
    if let Some((cut, _)) = text.char_indices().nth(300) {
        text.truncate(cut);
    }
    text
}
