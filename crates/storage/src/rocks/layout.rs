//! What lies under which key; see `docs/adr/2026-11-21-table-and-key-schema.md`.
//!
//! | column family | key | value |
//! |---|---|---|
//! | `history` | main, 8 bytes · `_` · sub, 8 bytes, and `t` behind a deletion | `mvccpb.KeyValue` |
//! | `changes` | the same | the same without the value, its length in its place |
//! | `tables` | the table's prefix · key of the row | the row |
//! | `default` | a name | format, owner, counts |
//!
//! What is not here: what a record or a row says is the business of `state`.

use state::engine::SectionSize;
use state::mvcc::hash::storage_key;
use state::schema::Table;
use state::{Revision, Version};

/// Every change with its value.
pub(super) const HISTORY: &str = "history";
/// Every change without its value: what opening reads.
pub(super) const CHANGES: &str = "changes";
/// The small tables, each behind its prefix.
pub(super) const TABLES: &str = "tables";
/// Our own notes; RocksDB insists on this name.
pub(super) const OWN: &str = rocksdb::DEFAULT_COLUMN_FAMILY_NAME;

/// All of them.
pub(super) const FAMILIES: [&str; 4] = [OWN, HISTORY, CHANGES, TABLES];

/// The format of all this; 4 bytes.
pub(super) const FORMAT: &[u8] = b"format";
/// Cluster and member; 16 bytes.
pub(super) const OWNER: &[u8] = b"owner";
/// How many changes there are, and their bytes.
pub(super) const COUNTS: &[u8] = b"counts";

/// A key of `history` and `changes`.
pub(super) struct HistoryKey {
    bytes: [u8; 18],
    len: usize,
}

impl AsRef<[u8]> for HistoryKey {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Where the change is.
pub(super) fn history_key(version: Version, tombstone: bool) -> HistoryKey {
    let (bytes, len) = storage_key(version, tombstone);
    HistoryKey { bytes, len }
}

/// Which change is there, and whether it is a deletion; `None` if that is no key of ours.
pub(super) fn parse_history_key(key: &[u8]) -> Option<(Version, bool)> {
    let (main, rest) = key.split_first_chunk::<8>()?;
    let (b'_', rest) = rest.split_first()? else { return None };
    let (sub, mark) = rest.split_first_chunk::<8>()?;
    let main = i64::try_from(u64::from_be_bytes(*main)).ok()?;
    let sub = u32::try_from(u64::from_be_bytes(*sub)).ok()?;
    let tombstone = match mark {
        b"" => false,
        b"t" => true,
        _ => return None,
    };
    Some((Version { main: Revision(main), sub }, tombstone))
}

/// Where the row is.
pub(super) fn row_key(table: Table, key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(1 + key.len());
    row.push(table.prefix());
    row.extend_from_slice(key);
    row
}

/// Which row is there; `None` if that is no key of ours.
pub(super) fn parse_row_key(row: &[u8]) -> Option<(Table, &[u8])> {
    let (&prefix, key) = row.split_first()?;
    Some((Table::from_prefix(prefix)?, key))
}

/// The row at [`COUNTS`].
pub(super) fn encode_counts(history: &SectionSize) -> [u8; 16] {
    (u128::from(history.entries) << 64 | u128::from(history.bytes)).to_be_bytes()
}

/// Reads the row at [`COUNTS`]; `None` if it is not 16 bytes long.
pub(super) fn decode_counts(row: &[u8]) -> Option<SectionSize> {
    let (entries, bytes) = row.split_first_chunk::<8>()?;
    let bytes = u64::from_be_bytes(bytes.try_into().ok()?);
    Some(SectionSize { entries: u64::from_be_bytes(*entries), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_and_sort_as_versions_do() {
        let version = |main, sub| Version { main: Revision(main), sub };
        let mut keys = Vec::new();
        for (main, sub) in [(0, 0), (1, 0), (1, 1), (1, 256), (2, 0), (i64::MAX, u32::MAX)] {
            for tombstone in [false, true] {
                let key = history_key(version(main, sub), tombstone);
                assert_eq!(parse_history_key(key.as_ref()), Some((version(main, sub), tombstone)));
                keys.push(key.as_ref().to_vec());
            }
        }
        assert!(keys.is_sorted());
    }

    #[test]
    fn other_keys_are_refused() {
        let key = history_key(Version { main: Revision(7), sub: 3 }, true);
        for cut in 0..17 {
            assert_eq!(parse_history_key(&key.as_ref()[..cut]), None, "cut at {cut}");
        }
        for (at, byte) in [(0, 0x80), (8, b'-'), (9, 1), (17, b'u')] {
            let mut bad = key.as_ref().to_vec();
            bad[at] = byte;
            assert_eq!(parse_history_key(&bad), None, "{byte} at {at}");
        }
        assert_eq!(parse_row_key(b""), None);
        assert_eq!(parse_row_key(b"kx"), None, "a retired prefix");
    }
}
