//! The newest part of the log in memory: what raft reads.
//!
//! ```text
//!          base (term known)        raft's applied            last
//!            │◀── kept for followers ──▶│◀── needed ──────────▶│
//!  … cut     ·   e   e   e   e   e   e      e   e   e   e   e
//! ```
//!
//! It must hold everything above raft's applied index, durable or not, or raft reuses an index
//! silently. It is not the log on disk: that one goes back to the last checkpoint.

use std::collections::VecDeque;

use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::wire::{ConfState, Entry, HardState, Snapshot};

/// The newest entries of the log.
#[derive(Debug)]
pub(super) struct Tail {
    /// What raft starts from.
    start: (HardState, ConfState),
    /// Index and term of the entry before the first.
    base: (u64, u64),
    /// Consecutive entries, each with the bytes of all entries up to it.
    entries: VecDeque<(Entry, u64)>,
    /// Bytes of all entries up to the base.
    base_bytes: u64,
    /// Index, term and membership of the newest checkpoint, for members that are far behind.
    checkpoint: Option<(u64, u64, ConfState)>,
}

impl Tail {
    pub(super) fn new(
        hard: HardState,
        members: ConfState,
        base: (u64, u64),
        entries: impl Iterator<Item = Entry>,
    ) -> Tail {
        let mut tail = Tail {
            start: (hard, members),
            base,
            entries: VecDeque::new(),
            base_bytes: 0,
            checkpoint: None,
        };
        entries.for_each(|entry| tail.push(entry));
        tail
    }

    pub(super) fn first(&self) -> u64 {
        self.base.0 + 1
    }

    pub(super) fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    fn push(&mut self, entry: Entry) {
        assert_eq!(entry.index, self.last() + 1, "the log has no gaps");
        let bytes =
            self.bytes_through(self.last()) + (entry.data.len() + entry.context.len()) as u64;
        self.entries.push_back((entry, bytes));
    }

    /// Appends entries, in the place of those at and above the first of them.
    pub(super) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        let (index, base) = (first.index, self.base.0);
        assert!(index > base, "entry {index} would replace what was cut at {base}");
        self.entries.truncate(self.place(index));
        entries.iter().for_each(|entry| self.push(entry.clone()));
    }

    /// Begins anew behind a snapshot.
    pub(super) fn reset(&mut self, snapshot: &Snapshot) -> u64 {
        let metadata = snapshot.get_metadata();
        self.entries.clear();
        self.base = (metadata.index, metadata.term);
        self.base_bytes = 0;
        metadata.index
    }

    /// Forgets entries up to `index` but for the newest `keep_bytes` of them.
    pub(super) fn cut(&mut self, index: u64, keep_bytes: u64) {
        let through = self.bytes_through(index);
        while let Some((entry, bytes)) = self.entries.front() {
            if entry.index > index || through - bytes < keep_bytes {
                break;
            }
            self.base = (entry.index, entry.term);
            self.base_bytes = *bytes;
            self.entries.pop_front();
        }
    }

    /// Bytes of the entries above `index`.
    pub(super) fn bytes_above(&self, index: u64) -> u64 {
        self.bytes_through(self.last()) - self.bytes_through(index)
    }

    fn bytes_through(&self, index: u64) -> u64 {
        match index.checked_sub(self.first()).and_then(|at| usize::try_from(at).ok()) {
            Some(at) => match self.entries.get(at).or(self.entries.back()) {
                Some((_, bytes)) => *bytes,
                None => self.base_bytes,
            },
            None => self.base_bytes,
        }
    }

    /// The term of an entry, if it is known.
    pub(super) fn term_of(&self, index: u64) -> Option<u64> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        let at = index.checked_sub(self.first())?;
        self.entries.get(usize::try_from(at).ok()?).map(|(entry, _)| entry.term)
    }

    pub(super) fn set_checkpoint(&mut self, index: u64, term: u64, members: ConfState) {
        self.checkpoint = Some((index, term, members));
    }

    fn place(&self, index: u64) -> usize {
        let at = index.saturating_sub(self.first());
        usize::try_from(at).map_or(self.entries.len(), |at| at.min(self.entries.len()))
    }
}

impl Storage for Tail {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let (hard, members) = self.start.clone();
        Ok(RaftState::new(hard, members))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.first() {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last() + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let max_bytes = max_size.into().unwrap_or(u64::MAX);
        let mut entries = Vec::new();
        let mut bytes = 0_u64;
        for (entry, _) in self.entries.range(self.place(low)..self.place(high)) {
            // As raft measures it, and never nothing.
            bytes += u64::from(protobuf::Message::compute_size(entry));
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        match self.term_of(index) {
            Some(term) => Ok(term),
            None if index < self.base.0 => Err(StorageError::Compacted.into()),
            None => Err(StorageError::Unavailable.into()),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// Raft asks when a member needs entries that are gone. The receiver ignores a snapshot that
    /// does not name it, so an older one would be sent in vain for ever.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let usable = self.checkpoint.as_ref().filter(|(index, _, members)| {
            let named = members.voters.contains(&to) || members.learners.contains(&to);
            *index >= request_index && *index >= self.base.0 && named
        });
        let Some((index, term, members)) = usable else {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        };
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = *index;
        metadata.term = *term;
        metadata.set_conf_state(members.clone());
        Ok(snapshot)
    }
}
