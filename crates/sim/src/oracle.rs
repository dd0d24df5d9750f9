//! Remembers what was promised, and compares.
//!
//! * What was handed out stays at its place: same index, same term, same bytes, in every life.
//! * Entries are handed out without a gap, and their times never run backwards.
//! * What recovery finds is a beginning of what was logged, with everything acknowledged in it.
//! * A term that was durable is not forgotten.

use std::collections::BTreeMap;

use bytes::Bytes;
use node::messages::{Committed, LogWrite, Payload};
use node::wal::record::{self, FRAME_BYTES};
use node::wal::segment::HEADER_BYTES;
use node::wal::{Batch, Recovered};
use state::command::batch_time;

/// What the simulation found wrong.
pub type Violation = String;

/// What was promised.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// Entries handed out, in any life of the member.
    handed_out: BTreeMap<u64, (u64, Bytes)>,
    /// The last entry handed out in this life.
    last: u64,
    /// The log as it would be if nothing were ever lost.
    logged: BTreeMap<u64, (u64, Bytes)>,
    /// What the writes of this life say, until they are acknowledged.
    writes: BTreeMap<u64, Batch>,
    /// The last entry and the term of acknowledged writes.
    durable: (u64, u64),
}

impl Oracle {
    /// How many entries have been handed out.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.handed_out.len()
    }

    /// The last entry that was ever handed out.
    #[must_use]
    pub fn acknowledged_through(&self) -> u64 {
        self.handed_out.last_key_value().map_or(0, |(index, _)| *index)
    }

    /// The last entry handed out in this life.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// A write is on its way.
    pub fn appended(&mut self, write: &LogWrite) {
        let at = if write.offset == 0 { HEADER_BYTES } else { 0 };
        let batch = record::read(&write.bytes.slice(at..)).expect("a record of our own");
        assert!(write.bytes.len() >= at + FRAME_BYTES);
        if let Some(mark) = &batch.snapshot {
            self.logged.retain(|index, _| *index <= mark.index);
        }
        if !batch.entries.is_empty() {
            self.logged.retain(|index, _| *index < batch.first_index);
        }
        for (index, entry) in (batch.first_index..).zip(&batch.entries) {
            self.logged.insert(index, (entry.term, entry.data.clone()));
        }
        self.writes.insert(write.number, batch);
    }

    /// A write was acknowledged.
    pub fn persisted(&mut self, number: u64) {
        let Some(batch) = self.writes.remove(&number) else { return };
        if let Some(last) = batch.last_index() {
            self.durable.0 = last;
        }
        if let Some(hard) = batch.hard {
            self.durable.1 = self.durable.1.max(hard.term);
        }
    }

    /// Entries were handed out: clients may have been answered.
    ///
    /// # Errors
    /// They are not what was promised.
    pub fn handed_out(&mut self, entries: &[Committed]) -> Result<(), Violation> {
        for entry in entries {
            let (index, term) = (entry.index.0, entry.term.0);
            if index != self.last + 1 {
                return Err(format!("{index} was handed out after {}", self.last));
            }
            self.last = index;
            let says = match &entry.payload {
                Payload::Empty => Bytes::new(),
                Payload::Batch(batch) => batch.clone(),
                Payload::Membership(change) => change.context.clone(),
            };
            self.check_time(index, &entry.payload)?;
            let said = self.handed_out.entry(index).or_insert_with(|| (term, says.clone()));
            if *said != (term, says) {
                return Err(format!("entry {index} of term {} became one of {term}", said.0));
            }
        }
        Ok(())
    }

    fn check_time(&self, index: u64, payload: &Payload) -> Result<(), Violation> {
        let Payload::Batch(batch) = payload else { return Ok(()) };
        let time = batch_time(batch).map_err(|error| error.to_string())?;
        let mut before = self.handed_out.range(..index).rev();
        let before = before.find_map(|(_, (_, says))| batch_time(says).ok());
        match before.filter(|before| *before > time) {
            Some(before) => Err(format!("{time} at entry {index} follows {before}")),
            None => Ok(()),
        }
    }

    /// The member comes back with this log, and an engine that holds everything up to `applied`.
    ///
    /// # Errors
    /// The log is not what was promised.
    pub fn recovered(&mut self, recovered: &Recovered, applied: u64) -> Result<(), Violation> {
        let (first, last) = (recovered.first_index, recovered.last_index());
        let promised = self.acknowledged_through().max(self.durable.0);
        if last < promised {
            return Err(format!("the log ends at {last}, but {promised} was acknowledged"));
        }
        for (index, entry) in (first..).zip(&recovered.entries) {
            let logged = self.logged.get(&index);
            let same = logged.is_some_and(|l| l.0 == entry.term && l.1 == entry.data);
            if !same && index > applied {
                return Err(format!("entry {index} was never logged like this"));
            }
            let handed = self.handed_out.get(&index).filter(|(_, says)| !says.is_empty());
            let is_batch = entry.kind == node::wal::EntryKind::Normal;
            if let Some((term, says)) = handed.filter(|_| is_batch)
                && (*term, says) != (entry.term, &entry.data)
            {
                return Err(format!("entry {index} was acknowledged with other bytes"));
            }
        }
        if recovered.hard.term < self.durable.1 {
            let (term, durable) = (recovered.hard.term, self.durable.1);
            return Err(format!("term {durable} was durable, the log says {term}"));
        }
        self.logged.retain(|index, _| *index <= last);
        self.writes.clear();
        self.last = applied;
        // What was found beyond the durable entries may have been in a cache only.
        Ok(())
    }
}
