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

/// Just enough of protobuf's wire format for `mvccpb.KeyValue`, whose schema is frozen.
/// Source: <https://protobuf.dev/programming-guides/encoding/>.
mod wire {
    use super::PutFields;
    use crate::types::{LeaseId, Revision};

    pub(super) const ZERO: PutFields = PutFields {
        create_revision: Revision(0),
        mod_revision: Revision(0),
        version: 0,
        lease: LeaseId(0),
    };

    pub(super) struct Parsed<'a> {
        pub(super) key: &'a [u8],
        pub(super) fields: PutFields,
        pub(super) value: Value<'a>,
    }

    /// Field 5. Of a value elsewhere it is the length, as a number; no `KeyValue` on the wire has that.
    pub(super) enum Value<'a> {
        Here(&'a [u8]),
        Elsewhere(u64),
    }

    const VARINT: u8 = 0;
    const LENGTH_DELIMITED: u8 = 2;

    fn varint(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        out.push(value.to_le_bytes()[0]);
    }

    pub(super) fn int_field(out: &mut Vec<u8>, number: u8, value: i64) {
        if value != 0 {
            out.push(number << 3 | VARINT);
            varint(out, value.cast_unsigned());
        }
    }

    pub(super) fn bytes_field(out: &mut Vec<u8>, number: u8, value: &[u8]) {
        if !value.is_empty() {
            out.push(number << 3 | LENGTH_DELIMITED);
            varint(out, value.len() as u64);
            out.extend_from_slice(value);
        }
    }

    /// A put in canonical form.
    pub(super) fn encode(key: &[u8], fields: PutFields, value: &Value<'_>) -> Vec<u8> {
        let here = if let Value::Here(value) = value { value.len() } else { 0 };
        let mut bytes = Vec::with_capacity(key.len() + here + 48);
        bytes_field(&mut bytes, 1, key);
        int_field(&mut bytes, 2, fields.create_revision.0);
        int_field(&mut bytes, 3, fields.mod_revision.0);
        int_field(&mut bytes, 4, fields.version);
        match value {
            Value::Here(value) => bytes_field(&mut bytes, 5, value),
            Value::Elsewhere(length) => int_field(&mut bytes, 5, length.cast_signed()),
        }
        int_field(&mut bytes, 6, fields.lease.0);
        bytes
    }

    fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (first, rest) = bytes.split_first()?;
            *bytes = rest;
            value |= u64::from(first & 0x7f).checked_shl(shift)?;
            if first & 0x80 == 0 {
                // Canonical: no idle last byte, nothing beyond 64 bits.
                let is_shortest = shift == 0 || (*first != 0 && (shift < 63 || *first == 1));
                return is_shortest.then_some(value);
            }
        }
        None
    }

    fn read_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        let len = usize::try_from(read_varint(bytes)?).ok().filter(|&len| len > 0)?;
        let (field, rest) = bytes.split_at_checked(len)?;
        *bytes = rest;
        Some(field)
    }

    /// The key of a canonical record: always the first field.
    pub(super) fn key(mut bytes: &[u8]) -> &[u8] {
        match bytes.split_first() {
            Some((&tag, rest)) if tag == 1 << 3 | LENGTH_DELIMITED => {
                bytes = rest;
                read_bytes(&mut bytes).expect("a record is canonical by construction")
            }
            _ => b"",
        }
    }

    /// `None` unless `bytes` is in canonical form: known fields only, ascending, each at most once,
    /// defaults omitted, numbers in their shortest form.
    pub(super) fn parse(mut bytes: &[u8]) -> Option<Parsed<'_>> {
        let mut parsed = Parsed { key: b"", fields: ZERO, value: Value::Here(b"") };
        let mut last = 0;
        while let Some((&tag, rest)) = bytes.split_first() {
            bytes = rest;
            let (number, wire_type) = (tag >> 3, tag & 7);
            if number <= last {
                return None;
            }
            last = number;
            match (number, wire_type) {
                (1, LENGTH_DELIMITED) => parsed.key = read_bytes(&mut bytes)?,
                (5, LENGTH_DELIMITED) => parsed.value = Value::Here(read_bytes(&mut bytes)?),
                (2..=6, VARINT) => {
                    let value = read_varint(&mut bytes)?.cast_signed();
                    if value == 0 {
                        return None;
                    }
                    match number {
                        2 => parsed.fields.create_revision = Revision(value),
                        3 => parsed.fields.mod_revision = Revision(value),
                        4 => parsed.fields.version = value,
                        5 => parsed.value = Value::Elsewhere(value.cast_unsigned()),
                        _ => parsed.fields.lease = LeaseId(value),
                    }
                }
                _ => return None,
            }
        }
        Some(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> PutFields {
        PutFields {
            create_revision: Revision(2),
            mod_revision: Revision(300),
            version: 7,
            lease: LeaseId(-1),
        }
    }

    #[test]
    fn a_put_reads_back_what_went_in() {
        let record = Record::put(3, b"key", fields(), b"value");
        assert_eq!(record.key(), b"key");
        assert_eq!(record.value(), b"value");
        assert_eq!(record.fields(), fields());
        assert_eq!(record.version(), Version { main: Revision(300), sub: 3 });
        let again = Record::from_wire(record.version(), false, record.bytes())
            .expect("a record reads back");
        assert_eq!(again.bytes(), record.bytes());
    }

    #[test]
    fn a_put_without_its_value_knows_how_long_it_was() {
        for value in [&b""[..], b"v", &[7; 300]] {
            let record = Record::put(3, b"key", fields(), value);
            let stored = record.without_value();
            assert_eq!(stored.kind(), RecordKind::Stored);
            assert_eq!((stored.key(), stored.fields()), (record.key(), record.fields()));
            assert_eq!(stored.version(), record.version());
            assert_eq!(stored.wire_bytes(), record.bytes().len() as u64);
            let again = Record::from_wire_without_value(stored.version(), false, stored.bytes())
                .expect("it");
            assert_eq!((again.kind(), again.bytes()), (RecordKind::Stored, stored.bytes()));
            // Neither passes for the other, unless there is no value.
            let whole = Record::from_wire(stored.version(), false, stored.bytes());
            assert_eq!(whole.is_ok(), value.is_empty());
            let valueless =
                Record::from_wire_without_value(record.version(), false, record.bytes());
            assert_eq!(valueless.is_ok(), value.is_empty());
        }
        let tombstone = Record::tombstone(Version::first_of(Revision(4)), b"key");
        assert_eq!(tombstone.without_value().kind(), RecordKind::Tombstone);
    }

    #[test]
    fn bytes_that_are_not_a_record_are_refused() {
        let record = Record::put(0, b"key", fields(), b"value");
        let bytes = record.bytes();
        for cut in 0..bytes.len() {
            // A cut may end at a field boundary and still lack fields: then revisions disagree.
            let read = Record::from_wire(record.version(), false, &bytes[..cut]);
            assert!(read.is_err() || cut > 10, "cut at {cut}");
        }
        assert!(Record::from_wire(Version::first_of(Revision(1)), false, bytes).is_err());
        assert!(Record::from_wire(record.version(), true, bytes).is_err());
    }

    #[test]
    fn a_record_has_one_form_only() {
        let put = |main: i64, bytes: &[u8]| {
            Record::from_wire(Version::first_of(Revision(main)), false, bytes).is_ok()
        };
        let version = |bytes: &[u8]| put(5, &[b"\x0a\x01k\x10\x05\x18\x05\x20", bytes].concat());
        assert!(version(b"\x01"));
        assert!(version(b"\x01\x2a\x01v"));
        for (other, why) in [
            (&b"\x81\x00"[..], "an idle byte"),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x03", "more than 64 bits"),
            (b"\x00", "a default"),
            (b"\x01\x2a\x00", "an empty value that is not omitted"),
            (b"\x01\x30\x00", "a lease of none that is not omitted"),
            (b"\x01\x20\x01", "a field twice"),
            (b"\x01\x3a\x01x", "an unknown field"),
        ] {
            assert!(!version(other), "{why}");
        }
    }

    #[test]
    fn a_chain_of_a_million_versions_is_freed_without_recursion() {
        let mut newest = Record::put(0, b"k", fields(), b"v");
        for _ in 0..1_000_000 {
            let next = Record::put(0, b"k", fields(), b"v");
            Record::store(next.link(), Some(newest));
            newest = next;
        }
        drop(newest);
    }
}
