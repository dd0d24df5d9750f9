//! What goes into a record comes out of it, and nothing else passes for one.

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
    let again =
        Record::from_wire(record.version(), false, record.bytes()).expect("a record reads back");
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
        let again =
            Record::from_wire_without_value(stored.version(), false, stored.bytes()).expect("it");
        assert_eq!((again.kind(), again.bytes()), (RecordKind::Stored, stored.bytes()));
        // Neither passes for the other, unless there is no value.
        let whole = Record::from_wire(stored.version(), false, stored.bytes());
        assert_eq!(whole.is_ok(), value.is_empty());
        let valueless = Record::from_wire_without_value(record.version(), false, record.bytes());
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
