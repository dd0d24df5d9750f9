//! Values that were read or written lately, as records: a read of one of them asks RocksDB nothing.
//!
//! RocksDB's own cache holds blocks: a hit there still searches a block and copies the value, ten
//! times the cost of a hit here. What is big and read once (a list, a hash, a snapshot) passes by
//! without pushing out what is read often: lists enter nothing, and other entries enter on trial.
//!
//! What it does not do: it does not know which view asks. A version never changes, so that a view
//! only has to check that the version is one it shows.

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use state::Version;
use state::mvcc::record::Record;

/// Bytes that an entry takes beside the record's own: its counts and head, and its place here.
const ENTRY_BYTES: u64 = 120;

/// Mean size of a record that the number of places is reckoned with.
const RECORD_BYTES: u64 = 1024;

/// The part that is kept for entries that were read again. The rest holds what is new: it is what was
/// written last, which is what is read next more often than not.
const PROVEN_PART: f64 = 0.5;

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
        let mut options = OptionsBuilder::new();
        options.estimated_items_capacity(places).weight_capacity(bytes);
        let options = options.hot_allocation(PROVEN_PART).build().expect("both capacities are set");
        let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        Values(Cache::with_options(options, Bytes, hasher, lifecycle))
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

#[cfg(test)]
mod tests {
    use super::*;
    use state::Revision;
    use state::engine::samples::put;

    const VALUE_BYTES: u64 = 1000;

    fn values(places: u64) -> Values {
        Values::new(places * (VALUE_BYTES + ENTRY_BYTES + 20))
    }

    fn insert(values: &Values, main: i64) {
        values.insert(put(main, 0, "k", &"v".repeat(1000)));
    }

    fn has(values: &Values, main: i64) -> bool {
        values.get(Version::first_of(Revision(main))).is_some()
    }

    #[test]
    fn what_was_written_last_is_there_without_having_been_read() {
        let values = values(1000);
        for main in 1..=5000 {
            insert(&values, main);
        }
        let found = (4801..=5000).filter(|&main| has(&values, main)).count();
        assert!(found > 180, "{found} of the last 200");
        assert!(values.0.weight() <= values.0.capacity());
    }

    #[test]
    fn what_is_read_again_and_again_outlives_a_long_scan() {
        let values = values(1000);
        for main in 1..=100 {
            insert(&values, main);
        }
        for round in 0..50 {
            for main in 1..=100 {
                if !has(&values, main) {
                    insert(&values, main);
                }
            }
            for scanned in 0..200 {
                insert(&values, 1000 + round * 200 + scanned);
            }
        }
        let found = (1..=100).filter(|&main| has(&values, main)).count();
        assert!(found > 90, "{found} of 100");
    }
}
