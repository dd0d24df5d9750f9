//! Asks a running member for everything and compares it with what was promised.
//!
//! ```text
//! watch from the compacted revision on ─▶ Oracle        every event, once, without gaps
//! range at a revision                  ─▶ Keyspace      now, at the compacted one, in between
//! range of a key at its revision       ─▶ each write since the last check
//! leases, time to live                 ─▶ LeaseBook
//! HashKV                               ─▶ as before the kill
//! ```

use std::time::Instant;

use bytes::Bytes;
use child::PATIENCE;
use metastore_proto::etcdserverpb::{
    HashKvRequest, LeaseLeasesRequest, LeaseTimeToLiveRequest, RangeRequest,
};
use metastore_proto::mvccpb::event::EventType;
use metastore_proto::mvccpb::{Event, KeyValue};
use tokio::task::JoinSet;

use crate::leases::{LeaseBook, Told};
use crate::load::Notes;
use crate::oracle::{History, Oracle, Violation};
use crate::requests::watch_all;
use crate::support::Client;

/// Reads that are under way at the same time.
const READERS: usize = 8;

/// Everything that was promised, and what was found out about it.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    pub(crate) oracle: Oracle,
    pub(crate) leases: LeaseBook,
    /// The last compaction that is known.
    pub(crate) compacted: i64,
    hash: Option<Hash>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hash {
    revision: i64,
    compacted: i64,
    hash: u32,
}

/// What a check has looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checked {
    pub(crate) revision: i64,
    pub(crate) revisions_replayed: usize,
    pub(crate) writes_read: usize,
    pub(crate) leases: usize,
    pub(crate) hash_compared: bool,
}

impl Promises {
    /// Takes over what the clients know.
    pub(crate) fn note(&mut self, notes: Notes) -> Result<(), Violation> {
        for done in notes.acknowledged {
            self.oracle.acknowledge(done)?;
        }
        for attempt in notes.attempts {
            self.oracle.attempt(attempt);
        }
        self.oracle.saw(notes.seen);
        for note in notes.leases {
            self.leases.note(note);
        }
        if let Some((from, until)) = notes.ran {
            self.leases.ran(from, until);
        }
        assert!(notes.surprises.is_empty(), "errors of a living member: {:?}", notes.surprises);
        Ok(())
    }

    /// Compares everything; `compacted` is a compaction that may have happened, or must if `is_sure`.
    pub(crate) async fn check(
        &mut self,
        client: &mut Client,
        compacted: Option<(i64, bool)>,
    ) -> Result<Checked, Violation> {
        let known = self.oracle.revision();
        let revision = self.learn_compaction(client, compacted).await;
        let from = 2.max(self.compacted + 1);
        let replayed = replay(client, from, revision).await;
        let may_have_ended = self.leases.may_have_ended(Instant::now());
        self.oracle.check(&replayed, from, revision, &may_have_ended)?;
        self.check_ranges(client).await;
        let new = self.oracle.facts(from.max(known + 1));
        let new = new.flat_map(|(revision, events)| events.iter().map(move |e| (revision, e)));
        let new: Vec<(i64, Event)> =
            new.map(|(revision, event)| (revision, event.clone())).collect();
        let writes_read = new.len();
        read_back(client, new).await;
        let leases = self.check_leases(client).await;
        let hash_compared = self.check_hash(client).await;
        let revisions_replayed = replayed.len();
        Ok(Checked { revision, revisions_replayed, writes_read, leases, hash_compared })
    }

    /// The newest revision; notes the compaction that the member knows.
    async fn learn_compaction(
        &mut self,
        client: &mut Client,
        asked_for: Option<(i64, bool)>,
    ) -> i64 {
        let answer = hash_at(client, 0).await;
        let (revision, compacted) = (answer.hash_revision, answer.compact_revision.max(0));
        match asked_for {
            Some((at, _)) if compacted == at => {}
            Some((at, true)) => panic!("a compaction at {at} was acknowledged, not at {compacted}"),
            _ => assert_eq!(compacted, self.compacted, "compacted where nobody asked for it"),
        }
        self.compacted = compacted;
        revision
    }

    /// The whole keyspace: now, at the oldest revision that can be read, and halfway between.
    async fn check_ranges(&self, client: &mut Client) {
        let revision = self.oracle.revision();
        let oldest = self.compacted.max(1);
        for at in [revision, oldest, oldest.midpoint(revision)] {
            let found = range(client, &Bytes::from_static(b"\0"), b"\0", at).await;
            let expected = self.oracle.keyspace_at(at).all();
            assert_eq!(found, expected, "all keys at revision {at}");
        }
    }

    async fn check_leases(&mut self, client: &mut Client) -> usize {
        let from = Instant::now();
        let listed = client.lease.lease_leases(LeaseLeasesRequest {}).await;
        let listed = listed.expect("a ready member lists leases").into_inner().leases;
        let mut told = Vec::new();
        for lease in listed {
            let request = LeaseTimeToLiveRequest { id: lease.id, keys: true };
            let answer = client.lease.lease_time_to_live(request).await;
            let answer = answer.expect("a ready member tells of leases").into_inner();
            // One that has just ended has no time to live.
            if answer.ttl >= 0 {
                let (granted_s, remaining_s) = (answer.granted_ttl, answer.ttl);
                told.push(Told { lease: lease.id, granted_s, remaining_s, keys: answer.keys });
            }
        }
        let keyspace = self.oracle.keyspace();
        self.leases
            .check(&told, keyspace, from, Instant::now())
            .unwrap_or_else(|violation| panic!("{violation}"));
        told.len()
    }

    /// Whether there was a hash to compare with.
    async fn check_hash(&mut self, client: &mut Client) -> bool {
        let compared = match self.hash {
            Some(before) if before.revision > self.compacted => {
                let answer = hash_at(client, before.revision).await;
                let compacted = answer.compact_revision.max(0);
                let same = before.compacted == compacted;
                if same {
                    assert_eq!(answer.hash, before.hash, "HashKV at revision {}", before.revision);
                }
                same
            }
            _ => false,
        };
        let revision = self.oracle.revision();
        let answer = hash_at(client, revision).await;
        let compacted = answer.compact_revision.max(0);
        self.hash = Some(Hash { revision, compacted, hash: answer.hash });
        compared
    }
}

async fn hash_at(
    client: &mut Client,
    revision: i64,
) -> metastore_proto::etcdserverpb::HashKvResponse {
    let answer = client.maintenance.hash_kv(HashKvRequest { revision }).await;
    answer.unwrap_or_else(|status| panic!("HashKV at {revision}: {status}")).into_inner()
}

/// The whole history from a revision to another, as a watch tells it.
pub(crate) async fn replay(client: &mut Client, from: i64, through: i64) -> History {
    let mut history = History::new();
    if from > through {
        return history;
    }
    let read = async {
        let mut stream = watch_all(client, from).await.expect("a ready member takes watches");
        while history.last_key_value().is_none_or(|(last, _)| *last < through) {
            let answer = stream.message().await.expect("a living member goes on");
            let answer = answer.expect("a living member goes on");
            assert!(!answer.canceled, "the watch from {from} was canceled: {answer:?}");
            for event in answer.events {
                let revision = event.kv.as_ref().expect("an event has a key").mod_revision;
                history.entry(revision).or_default().push(event);
            }
        }
    };
    let read = tokio::time::timeout(PATIENCE, read).await;
    assert!(read.is_ok(), "a watch from {from} has not reached {through}");
    // A lease may have ended meanwhile.
    history.split_off(&(through + 1));
    history
}

/// Each of these writes, by a read of its key at its revision.
async fn read_back(client: &Client, events: Vec<(i64, Event)>) {
    let mut readers = JoinSet::new();
    for part in events.chunks(events.len().div_ceil(READERS).max(1)) {
        let (mut client, part) = (client.clone(), part.to_vec());
        readers.spawn(async move {
            for (revision, event) in part {
                let kind = event.r#type();
                let kv = event.kv.expect("an event has a key");
                let found = range(&mut client, &kv.key, b"", revision).await;
                let expected = if kind == EventType::Put { vec![kv.clone()] } else { Vec::new() };
                assert_eq!(found, expected, "{:?} at revision {revision}", kv.key);
            }
        });
    }
    while let Some(done) = readers.join_next().await {
        done.expect("every write reads back as it was acknowledged");
    }
}

async fn range(
    client: &mut Client,
    key: &Bytes,
    range_end: &'static [u8],
    revision: i64,
) -> Vec<KeyValue> {
    let range_end = Bytes::from_static(range_end);
    let request = RangeRequest { key: key.clone(), range_end, revision, ..RangeRequest::default() };
    let answer = client.kv.range(request).await;
    answer.unwrap_or_else(|status| panic!("range at {revision}: {status}")).into_inner().kvs
}
