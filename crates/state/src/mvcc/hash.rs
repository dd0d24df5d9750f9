//! HashKV: the same number on every member that holds the same data, and the same as etcd's.
//!
//! A CRC-32C over `key`, then storage key and value bytes of each change in order, up to the hash
//! revision. Changes at or below the compacted revision count only if they are what a reader at the
//! hash revision still sees; if no key is left there, what a reader at the compacted revision sees.
//! So the number does not depend on how far sweeping has come.
//!
//! ```text
//! "key" · (main ‖ '_' ‖ sub [‖ 't'] · KeyValue)*       main, sub: 8 bytes big-endian
//! ```
//!
//! Unlike etcd, a member does not remember the hash of a revision with an older compaction behind
//! it: the answer always goes with the compacted revision it names.

use std::ops::ControlFlow;

use crate::engine::EngineView;
use crate::mvcc::range::ReadError;
use crate::mvcc::record::Record;
use crate::schema::{Table, meta};
use crate::types::{KeyRange, Revision, Version};
use crate::view::Reader;

/// Bytes in front of the first entry: the name of etcd's bucket.
const SEED: &[u8] = b"key";

/// The answer to a HashKV request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// The hash.
    pub hash: u32,
    /// Hashes compare only with equal ones of this; -1 before the first compaction.
    pub compact_revision: i64,
    /// The last revision that went in.
    pub hash_revision: i64,
    /// The revision of the store, for the header.
    pub store_revision: i64,
}

/// Hashes the history up to `revision` (0: up to now; below, there is none). Long: run it beside the
/// writer.
///
/// # Errors
/// The revision is compacted or does not exist yet, or the engine failed.
pub fn hash_kv(reader: &Reader, revision: i64) -> Result<HashKv, ReadError> {
    // The view holds back sweeping below it, so the compacted revision read after it is safe: what
    // it spares cannot be gone.
    let view = reader.view_for(revision)?;
    let compacted = reader.compacted();
    if compacted.is_some_and(|compacted| compacted > view.revision()) {
        return Err(crate::outcome::Refusal::Compacted.into());
    }
    let floor = compacted.unwrap_or(Revision(-1));
    let keeper = match compacted {
        Some(compacted) if view.index().count(&KeyRange::all()) == 0 => {
            match reader.index().at(compacted) {
                Ok(keeper) => keeper,
                // Compacted again since: begin anew, which happens once per compaction at most.
                Err(_) => return hash_kv(reader, revision),
            }
        }
        _ => view.index().clone(),
    };
    let mut crc = crc32c::crc32c(SEED);
    if revision < 0 {
        return Ok(HashKv {
            hash: crc,
            compact_revision: floor.0,
            hash_revision: revision,
            store_revision: view.store_revision().0,
        });
    }
    view.engine().scan_history(
        Version::default(),
        Version::first_of(view.revision().next()),
        &mut |record| {
            let counts = record.revision() > floor
                || record.is_put()
                    && keeper
                        .get(record.key())
                        .is_some_and(|newest| newest.version() == record.version());
            if counts {
                crc = add(crc, record);
            }
            ControlFlow::Continue(())
        },
    )?;
    Ok(HashKv {
        hash: crc,
        compact_revision: floor.0,
        hash_revision: view.revision().0,
        store_revision: view.store_revision().0,
    })
}

fn add(crc: u32, record: &Record) -> u32 {
    let (key, len) = storage_key(record.version(), !record.is_put());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &key[..len]), record.bytes())
}

/// The key under which etcd files a change: 17 bytes, or 18 for a deletion.
#[must_use]
pub fn storage_key(version: Version, tombstone: bool) -> ([u8; 18], usize) {
    let mut key = [0; 18];
    key[..8].copy_from_slice(&version.main.0.to_be_bytes());
    key[8] = b'_';
    key[9..17].copy_from_slice(&u64::from(version.sub).to_be_bytes());
    key[17] = b't';
    (key, if tombstone { 18 } else { 17 })
}

/// Hashes everything an engine holds, but for how far it has applied the log: equal for members
/// that hold the same bytes. For debugging only.
///
/// # Errors
/// The engine failed.
pub fn hash_all(view: &dyn EngineView) -> Result<u32, ReadError> {
    let mut crc = crc32c::crc32c(SEED);
    view.scan_history(Version::default(), Version::first_of(Revision::MAX), &mut |record| {
        crc = add(crc, record);
        ControlFlow::Continue(())
    })?;
    for table in Table::ALL {
        crc = crc32c::crc32c_append(crc, &[table.prefix()]);
        view.scan(table, b"", &mut |key, value| {
            if !(table == Table::Meta && key == meta::APPLIED) {
                crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, key), value);
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(crc)
}
