//! One version of a key: the bytes a client will see, and the link to the version before it.
//!
//! A record is encoded once, when its command is applied, as the wire bytes of etcd's
//! `mvccpb.KeyValue` (ascending field order, defaults omitted). Range, watch, hash and snapshot all
//! use these bytes as they stand.
//!
//! ```text
//! put        key=1 create_revision=2 mod_revision=3 version=4 value=5 lease=6
//! tombstone  key=1
//! stored     as put, with the length of the value in its place: the engine has it
//! ```
//!
//! Newest first, the versions of a key form a chain through [`Record::previous`]; a sweep cuts the
//! chain behind the oldest version anybody may still read.

mod wire;

#[cfg(test)]
mod tests;

use std::mem;

use arc_swap::{ArcSwapAny, Guard};
use bytes::Bytes;
use triomphe::{Arc, ThinArc};

use crate::types::{LeaseId, Revision, Version};

/// What a [`Record`] says about its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// The key has a value and the record holds it.
    Resident,
    /// The key has a value; the record holds everything but it, the engine holds it.
    Stored,
    /// The key was deleted.
    Tombstone,
}

/// The fixed part of a record. Public only because [`Link`] names it.
///
/// Main and sub revision stand side by side because a [`Version`] is padded to 16 bytes: one byte
/// of kind would then cost eight.
#[derive(Debug)]
pub struct RecordHead {
    main: Revision,
    previous: Link,
    sub: u32,
    kind: RecordKind,
}

const _: () = assert!(mem::size_of::<RecordHead>() == 24, "every version of a key has one");

impl RecordHead {
    fn version(&self) -> Version {
        Version { main: self.main, sub: self.sub }
    }
}

/// A place that holds a record or nothing, readable while its one writer changes it.
pub type Link = ArcSwapAny<Option<ThinArc<RecordHead, u8>>>;

/// A shared, immutable version of a key. Cloning counts a reference and copies nothing.
#[derive(Clone, Debug)]
pub struct Record(ThinArc<RecordHead, u8>);

/// The fields of a put without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutFields {
    /// Revision of the put that began this life of the key.
    pub create_revision: Revision,
    /// Revision of this put.
    pub mod_revision: Revision,
    /// Counts the puts of this life from 1.
    pub version: i64,
    /// The lease the key is attached to, or [`LeaseId::NONE`].
    pub lease: LeaseId,
}

impl Record {
    /// A put whose bytes hold the value. `sub` is its place in its transaction.
    #[must_use]
    pub fn put(sub: u32, key: &[u8], fields: PutFields, value: &[u8]) -> Record {
        let bytes = wire::encode(key, fields, &wire::Value::Here(value));
        let version = Version { main: fields.mod_revision, sub };
        Record::from_parts(version, RecordKind::Resident, &bytes)
    }

    /// The same change without its value, if it has one: the engine keeps that.
    #[must_use]
    pub fn without_value(&self) -> Record {
        if self.kind() != RecordKind::Resident {
            // A copy: the links of a record belong to one index.
            return Record::from_parts(self.version(), self.kind(), self.bytes());
        }
        let parsed = self.parsed();
        let length = self.value().len() as u64;
        let bytes = wire::encode(parsed.key, parsed.fields, &wire::Value::Elsewhere(length));
        Record::from_parts(self.version(), RecordKind::Stored, &bytes)
    }

    /// A deletion.
    #[must_use]
    pub fn tombstone(version: Version, key: &[u8]) -> Record {
        let mut bytes = Vec::with_capacity(key.len() + 6);
        wire::bytes_field(&mut bytes, 1, key);
        Record::from_parts(version, RecordKind::Tombstone, &bytes)
    }

    /// Takes a record as an engine or a snapshot kept it.
    ///
    /// # Errors
    /// [`BadRecord`] if the bytes are not a `KeyValue` in canonical form with a key, or, for a put,
    /// if they disagree with `version`.
    pub fn from_wire(version: Version, tombstone: bool, bytes: &[u8]) -> Result<Record, BadRecord> {
        let parsed = wire::parse(bytes).ok_or(BadRecord { version })?;
        let wire::Value::Here(value) = parsed.value else { return Err(BadRecord { version }) };
        let consistent = if tombstone {
            parsed.fields == wire::ZERO && value.is_empty()
        } else {
            parsed.fields.mod_revision == version.main && parsed.fields.version > 0
        };
        if !consistent || parsed.key.is_empty() {
            return Err(BadRecord { version });
        }
        let kind = if tombstone { RecordKind::Tombstone } else { RecordKind::Resident };
        Ok(Record::from_parts(version, kind, bytes))
    }

    /// Takes a change as [`Record::without_value`] left it.
    ///
    /// # Errors
    /// As for [`Record::from_wire`].
    pub fn from_wire_without_value(
        version: Version,
        tombstone: bool,
        bytes: &[u8],
    ) -> Result<Record, BadRecord> {
        if tombstone {
            return Record::from_wire(version, tombstone, bytes);
        }
        let parsed = wire::parse(bytes).ok_or(BadRecord { version })?;
        let fields = parsed.fields;
        let valueless = matches!(parsed.value, wire::Value::Elsewhere(_) | wire::Value::Here(b""));
        let consistent = fields.mod_revision == version.main && fields.version > 0;
        if !valueless || !consistent || parsed.key.is_empty() {
            return Err(BadRecord { version });
        }
        Ok(Record::from_parts(version, RecordKind::Stored, bytes))
    }

    fn from_parts(version: Version, kind: RecordKind, bytes: &[u8]) -> Record {
        let Version { main, sub } = version;
        let head = RecordHead { main, previous: Link::new(None), sub, kind };
        Record(ThinArc::from_header_and_slice(head, bytes))
    }

    /// Which change this is.
    #[must_use]
    pub fn version(&self) -> Version {
        self.0.header.header.version()
    }

    /// The main revision of the change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.0.header.header.main
    }

    /// Whether it is a put with or without its value, or a deletion.
    #[must_use]
    pub fn kind(&self) -> RecordKind {
        self.0.header.header.kind
    }

    /// Whether the key exists after this change.
    #[must_use]
    pub fn is_put(&self) -> bool {
        self.kind() != RecordKind::Tombstone
    }

    /// The wire bytes of the `KeyValue`, as far as this record holds them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.slice
    }

    /// The wire bytes as a buffer that shares this record's memory.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        wire::key(self.bytes())
    }

    /// Revisions, version and lease of a put; all zero for a tombstone.
    #[must_use]
    pub fn fields(&self) -> PutFields {
        self.parsed().fields
    }

    /// The length of the wire bytes, those of a value that the engine keeps included.
    #[must_use]
    pub fn wire_bytes(&self) -> u64 {
        let held = self.bytes().len() as u64;
        if self.kind() != RecordKind::Stored {
            return held;
        }
        // Tag and length take as much whether the value follows or not.
        match self.parsed().value {
            wire::Value::Elsewhere(length) => held + length,
            wire::Value::Here(_) => held,
        }
    }

    /// The value; empty for a tombstone.
    ///
    /// # Panics
    /// If the engine holds it ([`RecordKind::Stored`]): the caller forgot to fetch it.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        assert!(self.kind() != RecordKind::Stored, "value of {:?} is not resident", self.version());
        match self.parsed().value {
            wire::Value::Here(value) => value,
            wire::Value::Elsewhere(_) => unreachable!("only stored records keep it elsewhere"),
        }
    }

    fn parsed(&self) -> wire::Parsed<'_> {
        wire::parse(self.bytes()).expect("a record is canonical by construction")
    }

    /// The place of the version before this one.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.0.header.header.previous
    }

    /// The version before this one, unless a sweep has cut it off.
    #[must_use]
    pub fn previous(&self) -> Option<Record> {
        self.link().load_full().map(Record)
    }

    /// The newest version in `link`.
    #[must_use]
    pub fn load(link: &Link) -> Option<Record> {
        link.load_full().map(Record)
    }

    /// The newest version in `link`'s chain that is not newer than `revision`, deletions included.
    #[must_use]
    pub fn load_at(link: &Link, revision: Revision) -> Option<Record> {
        // Guards on the way, one counted reference at the end: a version that is only passed by
        // is not worth a write to its reference count.
        let mut version = link.load();
        loop {
            let head = &version.as_ref()?.header.header;
            if head.main <= revision {
                return Guard::into_inner(version).map(Record);
            }
            let previous = head.previous.load();
            version = previous;
        }
    }

    /// Makes `previous` the version before this one. To be done before any reader can find this
    /// one.
    pub fn follow(&mut self, previous: Record) {
        let mut previous = Some(previous.0);
        self.0.with_arc_mut(|arc| {
            let Some(shared) = Arc::get_mut(arc) else { return };
            let link = Link::new(previous.take());
            let empty = mem::replace(&mut shared.header_mut().previous, link);
            // Storing into a link, or dropping one, looks whether any thread is reading it. Nobody
            // has ever seen this one.
            if empty.load().is_none() {
                mem::forget(empty);
            }
        });
        if previous.is_some() {
            self.link().store(previous);
        }
    }

    /// Whether `link` holds exactly this version.
    #[must_use]
    pub fn is_in(&self, link: &Link) -> bool {
        link.load().as_ref().is_some_and(|held| held.header.header.version() == self.version())
    }

    /// Takes away the version before this one.
    #[must_use]
    pub fn cut(&self) -> Option<Record> {
        self.link().swap(None).map(Record)
    }

    /// A link that holds this record.
    #[must_use]
    pub fn into_link(self) -> Link {
        Link::new(Some(self.0))
    }

    /// Makes `record` what `link` holds.
    pub fn store(link: &Link, record: Option<Record>) {
        link.store(record.map(|record| record.0));
    }
}

impl AsRef<[u8]> for Record {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for RecordHead {
    /// Frees a long chain one by one: the derived drop would recurse once per version.
    fn drop(&mut self) {
        // Most have nothing behind them, and a swap costs a look at what each thread reads.
        if self.previous.load().is_none() {
            return;
        }
        let mut next = self.previous.swap(None);
        while let Some(record) = next {
            // Only the last holder may take it apart; for others it just counts down.
            if ThinArc::strong_count(&record) != 1 {
                break;
            }
            next = record.header.header.previous.swap(None);
        }
    }
}

/// Bytes from an engine or a snapshot that are not the record they should be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("decode the record of {} sub {}", version.main, version.sub)]
pub struct BadRecord {
    /// The history key under which they were found.
    pub version: Version,
}
