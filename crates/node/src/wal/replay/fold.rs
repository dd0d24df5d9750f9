//! The second pass: the log as it was after each batch that counts.

use bytes::Bytes;

use crate::wal::record::{Batch, Entry};

use super::{Place, Recovered, ReplayError};

/// The log as it was after each batch.
#[derive(Debug, Default)]
pub(super) struct Fold {
    pub(super) log: Recovered,
    pub(super) applied: u64,
    pub(super) started: bool,
}

impl Fold {
    pub(super) fn take(
        &mut self,
        batch: Batch,
        place: Place,
        uncovered: bool,
    ) -> Result<(), ReplayError> {
        let log = &mut self.log;
        if let Some(hard) = batch.hard {
            log.hard = hard;
        }
        if let Some(commit) = batch.commit {
            log.hard.commit = commit;
        }
        if let Some(mark) = batch.snapshot {
            log.entries.clear();
            log.first_index = mark.index + 1;
            log.snapshot = Some(mark);
            log.again_snapshot = uncovered;
            log.again_from = None;
            self.started = true;
        }
        if batch.entries.is_empty() {
            return Ok(());
        }
        let (first, last) = (batch.first_index, batch.first_index + batch.entries.len() as u64 - 1);
        if !self.started {
            log.first_index = first;
            self.started = true;
        } else if first > log.last_index() + 1 && first <= self.applied + 1 {
            // What is missing has been applied: a start wrote again only what it still needed.
            log.entries.clear();
            log.first_index = first;
        } else if first > log.last_index() + 1 {
            return Err(ReplayError::Gap { place, found: first, last: log.last_index() });
        }
        if uncovered {
            log.again_from = Some(log.again_from.map_or(first, |from| from.min(first)));
        } else if let Some((_, highest)) = log.segments.last_mut() {
            *highest = last.max(*highest);
        }
        self.replace(first, batch.entries);
        Ok(())
    }

    /// Puts entries in the place of what stood at their indexes and above.
    fn replace(&mut self, first: u64, entries: Vec<Entry>) {
        let log = &mut self.log;
        let known = log.first_index;
        let keep = usize::try_from(first.saturating_sub(known)).unwrap_or(usize::MAX);
        log.entries.truncate(keep);
        for (index, entry) in (first..).zip(entries) {
            if index < known {
                continue;
            }
            if index < self.applied {
                log.entries.clear();
                log.first_index = index + 1;
                continue;
            }
            // A copy, so that no entry keeps the whole segment in memory.
            let data = Bytes::copy_from_slice(&entry.data);
            let context = Bytes::copy_from_slice(&entry.context);
            log.entries.push(Entry { data, context, ..entry });
        }
    }
}
