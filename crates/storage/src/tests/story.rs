//! What a member promised and what it held, entry by entry: what it is judged by after a crash.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;

use state::engine::memory::MemoryEngine;
use state::engine::{ContentSize, Engine, EngineView, SectionSize};
use state::mvcc::hash::{HashKv, hash_kv};
use state::schema::Table;
use state::{LogIndex, Revision, State, Version};

/// What a state holds, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    revision: Revision,
    hash: HashKv,
    leases: usize,
}

/// What a member has told others.
#[derive(Clone, Copy, Debug, Default)]
struct Promises {
    /// The newest entry that a client was told of.
    acknowledged: LogIndex,
    /// The newest entry that the engine was said to hold for certain.
    saved: LogIndex,
}

/// What was promised when, and what was there after each entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    /// Before any of the calls.
    base: Promises,
    /// With the number of calls that had been made by then.
    since: Vec<(usize, Promises)>,
    contents: BTreeMap<LogIndex, Content>,
    /// Everything in the engine, as it was with this entry as the last: more than one, when old
    /// history was removed before the next.
    digests: BTreeMap<LogIndex, Vec<u64>>,
}

impl Story {
    /// The story up to a crash after so many calls; what was there later is known all the same.
    pub(super) fn after(&self, calls: usize) -> Story {
        let kept = self.since.partition_point(|(at, _)| *at <= calls);
        let last = kept.checked_sub(1).map(|last| self.since[last].1);
        let base = last.unwrap_or(self.base);
        let (contents, digests) = (self.contents.clone(), self.digests.clone());
        Story { base, since: Vec::new(), contents, digests }
    }

    /// The newest entry that was acknowledged.
    pub(super) fn acknowledged(&self) -> LogIndex {
        self.now().acknowledged
    }

    /// Whether a member may be like this that was opened after all that was promised: it holds
    /// everything up to `opened_at`, and its engine held what the digest is of up to an entry of
    /// its own.
    pub(super) fn allows(
        &self,
        opened_at: LogIndex,
        (engine_at, digest): (LogIndex, u64),
        state: &State,
    ) -> Result<(), String> {
        let Promises { acknowledged, saved } = self.now();
        if opened_at < acknowledged {
            return Err(format!("it holds {opened_at}, acknowledged was {acknowledged}"));
        }
        if engine_at < saved {
            return Err(format!("the engine holds {engine_at}, said to be durable was {saved}"));
        }
        let is_empty = engine_at == LogIndex(0) && digest == empty_digest()?;
        let known = self.digests.get(&engine_at);
        if !is_empty && !known.is_some_and(|digests| digests.contains(&digest)) {
            return Err(format!("the engine at {engine_at} holds what it never held there"));
        }
        // A leader's first entry, which follows, changes nothing.
        let (now, then) = (content(state)?, self.contents.get(&opened_at));
        if then.is_some_and(|then| *then != now) {
            return Err(format!("at {opened_at} it held {then:?}, now {now:?}"));
        }
        Ok(())
    }

    /// Notes what is there after an entry.
    pub(super) fn note_entry(&mut self, state: &State) -> Result<(), String> {
        let index = state.applied().0;
        self.contents.insert(index, content(state)?);
        self.digests.insert(index, Vec::new());
        self.note_digest(state)
    }

    /// Notes what the engine is from now on allowed to hold with the same last entry.
    pub(super) fn note_digest(&mut self, state: &State) -> Result<(), String> {
        let digest = digest(&*state.reader().engine_view())?;
        self.digests.entry(state.applied().0).or_default().push(digest);
        Ok(())
    }

    fn now(&self) -> Promises {
        self.since.last().map_or(self.base, |(_, promises)| *promises)
    }

    pub(super) fn promise(&mut self, calls: usize, acknowledged: LogIndex, saved: LogIndex) {
        let now = self.now();
        let (acknowledged, saved) = (now.acknowledged.max(acknowledged), now.saved.max(saved));
        self.since.push((calls, Promises { acknowledged, saved }));
    }
}

fn content(state: &State) -> Result<Content, String> {
    let hash = hash_kv(state.reader(), 0).map_err(|error| error.to_string())?;
    Ok(Content { revision: state.revision(), hash, leases: state.leases().len() })
}

/// Everything that an engine shows, in short. What it counts and what it looks up must agree with
/// what it lists.
pub(super) fn digest(view: &dyn EngineView) -> Result<u64, String> {
    let (mut hasher, mut counted, mut wrong) = (DefaultHasher::new(), ContentSize::default(), None);
    let (first, last) = (Version::default(), Version { main: Revision::MAX, sub: u32::MAX });
    let listed = view.scan_history(first, last, &mut |record| {
        let version = record.version();
        (version.main.0, version.sub, record.is_put(), record.bytes()).hash(&mut hasher);
        counted.history.add(record.wire_bytes());
        match view.record(version) {
            Ok(Some(found)) if found.bytes() == record.bytes() => ControlFlow::Continue(()),
            found => {
                wrong = Some(format!("{version:?} is listed, and looked up it is {found:?}"));
                ControlFlow::Break(())
            }
        }
    });
    listed.map_err(|error| format!("{error:?}"))?;
    for table in Table::ALL {
        let size: &mut SectionSize = &mut counted.tables[table.position()];
        let listed = view.scan(table, b"", &mut |key, value| {
            (table.position(), key, value).hash(&mut hasher);
            size.add((key.len() + value.len()) as u64);
            ControlFlow::Continue(())
        });
        listed.map_err(|error| format!("{error:?}"))?;
    }
    if let Some(count) = view.content_size().filter(|count| *count != counted) {
        wrong = Some(format!("it counts {count:?} and lists {counted:?}"));
    }
    wrong.map_or(Ok(hasher.finish()), Err)
}

fn empty_digest() -> Result<u64, String> {
    digest(&*MemoryEngine::new().view())
}
