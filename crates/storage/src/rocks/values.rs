//! Values that were read or written lately, as records: a read of one of them asks RocksDB nothing.
//!
//! RocksDB's own cache holds blocks: a hit there still searches a block and copies the value, ten
//! times the cost of a hit here. What is big and read once (a list, a hash, a snapshot) passes by
//! without pushing out what is read often: entries enter on trial.
//!
//! What it does not do: it does not know which view asks. A version never changes, so that a view
//! only has to check that the version is one it shows.

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use state::Version;
use state::mvcc::record::Record;

/// Bytes that an entry takes beside the record's own: its counts and head, and its place here.
const ENTRY_BYTES: u64 = 120;

/// Mean size of a record that the number of places is reckoned with.
const RECORD_BYTES: u64 = 1024;

/// See the module.
pub(super) struct Values(Cache<Version, Record, Bytes>);

#[derive(Clone)]
struct Bytes;

impl Weighter<Version, Record> for Bytes {
    fn weight(&self, _version: &Version, record: &Record) -> u64 {
        ENTRY_BYTES + record.bytes().len() as u64
    }
}

impl Values {
    /// Keeps at most about `bytes`.
    pub(super) fn new(bytes: u64) -> Values {
        let places = usize::try_from(bytes / RECORD_BYTES).unwrap_or(usize::MAX);
        Values(Cache::with_weighter(places, bytes, Bytes))
    }

    pub(super) fn get(&self, version: Version) -> Option<Record> {
        self.0.get(&version)
    }

    pub(super) fn insert(&self, record: Record) {
        self.0.insert(record.version(), record);
    }

    pub(super) fn remove(&self, version: Version) {
        self.0.remove(&version);
    }
}
