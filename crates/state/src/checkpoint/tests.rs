use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::writer::padding;
use super::*;
use crate::engine::forgetful::{ForgetfulEngine, Values};
use crate::engine::memory::MemoryEngine;
use crate::engine::samples::{applied, batches, dump, forget, put, revision, tombstone};
use crate::engine::{Batch, Engine, EngineError, EngineView, Write};
use crate::mvcc::record::Record;
use crate::schema::Table;
use crate::types::Version;

const CLUSTER: ClusterId = ClusterId(0xcdf8_1818_e37d_dead);

fn chunks(view: Arc<dyn EngineView>) -> Vec<Bytes> {
    let mut writer = CheckpointWriter::new(view, CLUSTER).expect("memory");
    let (mut chunks, total) = (Vec::new(), writer.total_bytes());
    while let Some(chunk) = writer.next_chunk().expect("memory") {
        chunks.push(chunk);
        let written: usize = chunks.iter().map(Bytes::len).sum();
        assert_eq!(writer.remaining_bytes() + written as u64, total);
    }
    assert_eq!((writer.remaining_bytes(), total % 512), (0, 0));
    chunks
}

fn stream(view: Arc<dyn EngineView>) -> Vec<u8> {
    chunks(view).concat()
}

fn restored(
    bytes: &[u8],
    piece: usize,
) -> Result<(CheckpointHeader, MemoryEngine), CheckpointError> {
    let mut pieces = bytes.chunks(piece);
    let mut next = || Ok::<_, Infallible>(pieces.next().map(Bytes::copy_from_slice));
    let mut engine = MemoryEngine::new();
    match restore(&mut next, &mut engine) {
        Ok(header) => Ok((header, engine)),
        Err(RestoreError::Checkpoint(error)) => Err(error),
        Err(other) => panic!("{other:?}"),
    }
}

fn refusal(bytes: &[u8]) -> Option<CheckpointError> {
    restored(bytes, usize::MAX).err()
}

fn engine_with(writes: Vec<Write>) -> MemoryEngine {
    let mut engine = MemoryEngine::new();
    engine.commit(Batch { writes }).expect("memory");
    engine
}

fn tiny() -> MemoryEngine {
    engine_with(vec![
        applied(17, 2),
        revision(3),
        Write::Put(Table::Lease, vec![0, 0, 0, 0, 0, 0, 0, 7].into(), "60s".into()),
        Write::Append(put(2, 0, "a", "1")),
        Write::Append(put(3, 0, "b", "2")),
        Write::Append(tombstone(3, 1, "a")),
    ])
}

/// The bytes of `tiny`: a change here is a new format version.
const GOLDEN: &str = "
4d455441434b5054 00000001                      # METACKPT, version 1
48 00000028  cdf81818e37ddead                  # H, 40 bytes: cluster
  0000000000000011 0000000000000002            # applied index 17, term 2
  0000000000000003 0000000000000000            # revision 3, never compacted
  9f5773f5
6c 00000013  00000008 00000003                 # l, 19 bytes: a lease
  0000000000000007 363073  8528a8c6
6d 00000037                                    # m, 55 bytes
  00000007 00000010 6170706c696564             # applied
  0000000000000011 0000000000000002
  00000008 00000008 7265766973696f6e           # revision
  0000000000000003  b6597c00
56 0000005d                                    # V, 93 bytes
  0000000000000002 5f 0000000000000000 70      # 2_0, put
  0000000c 0a0161 1002 1802 2001 2a0131        # a, create 2, mod 2, version 1, value 1
  0000000000000003 5f 0000000000000000 70      # 3_0, put
  0000000c 0a0162 1003 1803 2001 2a0132
  0000000000000003 5f 0000000000000001 74      # 3_1, tombstone
  00000003 0a0161  e64bc563
45 000000f8                                    # E, 248 bytes
  0000000000000003 0000000000000003            # 3 rows, 3 records; 232 zeros follow
";
const GOLDEN_LAST: [u8; 4] = [0x17, 0x8a, 0x7e, 0xee];

fn golden() -> Vec<u8> {
    let digits: String = GOLDEN
        .lines()
        .flat_map(|line| line.split('#').next())
        .flat_map(str::split_whitespace)
        .collect();
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex");
    let mut bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
    bytes.resize(508, 0);
    bytes.extend(GOLDEN_LAST);
    bytes
}

#[test]
fn the_bytes_of_a_tiny_checkpoint_never_change() {
    assert_eq!(
        stream(tiny().view()).escape_ascii().to_string(),
        golden().escape_ascii().to_string()
    );
    let (header, engine) = restored(&golden(), 7).expect("golden");
    assert_eq!(dump(&*engine.view()), dump(&*tiny().view()));
    let expected = CheckpointHeader {
        cluster: CLUSTER,
        applied_index: LogIndex(17),
        applied_term: Term(2),
        revision: Revision(3),
        compacted: None,
    };
    assert_eq!(header, expected);
}

#[test]
fn every_damaged_byte_and_every_cut_is_refused() {
    let sound = stream(tiny().view());
    assert_eq!(refusal(&sound), None);
    for at in 0..sound.len() {
        for mask in [1, 2, 4, 8, 16, 32, 64, 128, 0xff] {
            let mut damaged = sound.clone();
            damaged[at] ^= mask;
            assert!(refusal(&damaged).is_some(), "byte {at} xor {mask}");
        }
        let cut = refusal(&sound[..at]);
        assert_eq!(cut, Some(CheckpointError::Truncated { offset: at as u64 }));
    }
    for tail in [&b"\0"[..], b"x", &sound, &[0; 512]] {
        let refused = refusal(&[&sound[..], tail].concat());
        assert_eq!(refused, Some(CheckpointError::Trailing { offset: sound.len() as u64 }));
    }
}

/// Three changes in each revision, in several chunks.
fn many_changes() -> MemoryEngine {
    let versions = (2..3_000).flat_map(|main| [(main, 0), (main, 1), (main, 2)]);
    let writes = versions.map(|(main, sub)| Write::Append(put(main, sub, "key", "some value")));
    engine_with(writes.collect())
}

#[test]
fn a_chunk_may_end_between_the_changes_of_one_revision() {
    let source = many_changes();
    let (_, engine) = restored(&stream(source.view()), 100_000).expect("it is sound");
    assert_eq!(dump(&*engine.view()), dump(&*source.view()));
}

#[test]
fn a_lost_repeated_or_swapped_chunk_is_refused_where_it_stands() {
    let chunks = chunks(many_changes().view());
    assert!(chunks.len() > 4, "{} chunks", chunks.len());
    assert_eq!(refusal(&chunks.concat()), None);
    // The header, then full chunks of history.
    let second = chunks[0].len() as u64;
    let lost: Vec<Bytes> = [&chunks[..1], &chunks[2..]].concat();
    assert_eq!(refusal(&lost.concat()), Some(CheckpointError::Checksum { offset: second }));
    let repeated: Vec<Bytes> = [&chunks[..2], &chunks[1..]].concat();
    let third = second + chunks[1].len() as u64;
    assert_eq!(refusal(&repeated.concat()), Some(CheckpointError::Checksum { offset: third }));
    let mut swapped = chunks.clone();
    swapped.swap(1, 2);
    assert_eq!(refusal(&swapped.concat()), Some(CheckpointError::Checksum { offset: second }));
}

/// A stream with right checksums, whatever its sections say.
fn forged(sections: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = [&MAGIC[..], &FORMAT_VERSION.to_be_bytes()].concat();
    let mut crc = crc32c::crc32c(&bytes);
    for (section, payload) in sections {
        let length = u32::try_from(payload.len()).expect("small");
        let chunk = [&[*section][..], &length.to_be_bytes(), payload].concat();
        crc = crc32c::crc32c_append(crc, &chunk);
        bytes.extend(chunk);
        bytes.extend(crc.to_be_bytes());
    }
    bytes
}

fn header(revision: i64) -> (u8, Vec<u8>) {
    let header = CheckpointHeader {
        cluster: CLUSTER,
        applied_index: LogIndex(0),
        applied_term: Term(0),
        revision: Revision(revision),
        compacted: None,
    };
    (SECTION_HEADER, header.encode().to_vec())
}

fn row(key: &str, value: &[u8]) -> Vec<u8> {
    let lengths = [key.len(), value.len()].map(|len| u32::try_from(len).expect("small"));
    let [key_length, value_length] = lengths.map(u32::to_be_bytes);
    [&key_length[..], &value_length, key.as_bytes(), value].concat()
}

fn change(main: i64, sub: u64, flag: u8, wire: &[u8]) -> Vec<u8> {
    let length = u32::try_from(wire.len()).expect("small");
    let key = [&main.to_be_bytes()[..], b"_", &sub.to_be_bytes(), &[flag]].concat();
    [&key[..], &length.to_be_bytes(), wire].concat()
}

/// The end behind `sections`.
fn end(sections: &[(u8, Vec<u8>)], rows: u64, records: u64) -> (u8, Vec<u8>) {
    let zeros = vec![0; padding(forged(sections).len() as u64)];
    (SECTION_END, [&rows.to_be_bytes()[..], &records.to_be_bytes(), &zeros].concat())
}

/// What a stream of these sections and a right end is refused for.
fn refusal_of(sections: &[(u8, Vec<u8>)], rows: u64, records: u64) -> Option<CheckpointError> {
    let mut sections = sections.to_vec();
    sections.push(end(&sections, rows, records));
    refusal(&forged(&sections))
}

#[test]
fn right_checksums_do_not_make_wrong_contents_pass() {
    use CheckpointError as E;
    let record = put(2, 0, "k", "v").bytes().to_vec();
    let good = change(2, 0, b'p', &record);
    let history = |entries: &[&[u8]]| (SECTION_HISTORY, entries.concat());
    let with = |history: (u8, Vec<u8>)| refusal_of(&[header(2), history], 0, 1);
    let user = |key| (b'u', row(key, b""));
    assert_eq!(refusal_of(&[header(2), user("ada"), history(&[&good])], 1, 1), None, "control");

    let offset = 61;
    let key = Some(E::HistoryKey { offset });
    assert_eq!(with(history(&[&change(2, 0, b'x', &record)])), key);
    assert_eq!(with(history(&[&change(2, 1 << 32, b'p', &record)])), key);
    assert_eq!(with(history(&[&change(-2, 0, b'p', &record)])), key);
    let mut dash = good.clone();
    dash[8] = b'-';
    assert_eq!(with(history(&[&dash])), key);

    let order = |sub| Some(E::HistoryOrder { version: Version { main: Revision(2), sub }, offset });
    assert_eq!(refusal_of(&[header(2), history(&[&good, &good])], 0, 2), order(0));
    assert_eq!(refusal_of(&[header(1), history(&[&good])], 0, 1), order(0), "above the revision");
    assert!(matches!(with(history(&[&change(2, 0, b't', &record)])), Some(E::Record { .. })));
    assert!(matches!(with(history(&[&change(1, 0, b'p', &record)])), Some(E::Record { .. })));
    let padded = [&record[..record.len() - 3], b"\x2a\x81\x00v"].concat();
    assert!(matches!(with(history(&[&change(2, 0, b'p', &padded)])), Some(E::Record { .. })));
    assert!(matches!(with(history(&[&good[..20]])), Some(E::TornEntry { .. })));

    let section = |section| Some(E::Section { offset, section });
    assert_eq!(refusal_of(&[header(1), (b'k', row("a", b""))], 1, 0), section(b'k'));
    assert_eq!(refusal_of(&[header(1), (b'z', row("a", b""))], 1, 0), section(b'z'));
    assert_eq!(refusal_of(&[header(1), header(1)], 0, 0), section(b'H'));
    let before_header = refusal_of(&[user("a"), header(1)], 1, 0);
    assert_eq!(before_header, Some(E::Section { offset: 12, section: b'u' }));
    let backwards = refusal_of(&[header(1), user("a"), (b'a', row("a", b""))], 2, 0);
    assert!(matches!(backwards, Some(E::Section { section: b'a', .. })));
    let short_goes_on = refusal_of(&[header(1), user("a"), user("b")], 2, 0);
    assert!(matches!(short_goes_on, Some(E::Section { section: b'u', .. })));

    let rows = (b'u', [row("b", b""), row("a", b"")].concat());
    let unordered = Some(E::RowOrder { table: Table::User, offset });
    assert_eq!(refusal_of(&[header(1), rows], 2, 0), unordered);
    assert!(matches!(refusal_of(&[header(1), user("a")], 2, 0), Some(E::Counts { rows: 2, .. })));
    assert!(matches!(with((b'u', row("a", b""))), Some(E::Counts { records: 1, .. })));

    let meta = |key: &str, value: &[u8]| refusal_of(&[header(2), (b'm', row(key, value))], 1, 0);
    assert_eq!(meta("revision", &2_i64.to_be_bytes()), None);
    assert!(matches!(meta("revision", &3_i64.to_be_bytes()), Some(E::Meta { .. })));
    assert!(matches!(meta("revision", b"3"), Some(E::Meta { .. })));
    assert!(matches!(meta("applied", &[0; 15]), Some(E::Meta { .. })));
    assert!(matches!(meta("compacted", &1_i64.to_be_bytes()), Some(E::Meta { .. })));
    assert!(matches!(refusal_of(&[header(2)], 0, 0), Some(E::Meta { .. })), "no change is at 2");

    assert_eq!(refusal_of(&[header(0)], 0, 0), Some(E::Header { offset: 12 }));
    let short = (SECTION_HEADER, header(1).1[1..].to_vec());
    assert_eq!(refusal_of(&[short], 0, 0), Some(E::Header { offset: 12 }));
    for (ends, what) in [(vec![0; 15], "short"), (vec![0; 16], "unpadded"), (vec![1; 400], "ones")]
    {
        let refused = refusal(&forged(&[header(1), (SECTION_END, ends)]));
        assert_eq!(refused, Some(E::Padding { offset }), "{what}");
    }
    assert_eq!(
        refusal_of(&[header(1), (b'u', Vec::new())], 0, 0),
        Some(E::ChunkLength { offset, length: 0 })
    );
    let long = (b'u', row("a", &vec![0; PAYLOAD_BYTES_MAX]));
    assert!(matches!(refusal_of(&[header(1), long], 1, 0), Some(E::ChunkLength { .. })));
}

#[test]
fn a_newer_format_is_named_as_such() {
    let with_version = |version: u32| {
        let mut bytes = stream(tiny().view());
        bytes[8..12].copy_from_slice(&version.to_be_bytes());
        refusal(&bytes).expect("it is refused")
    };
    assert_eq!(with_version(2), CheckpointError::Newer { version: 2, newest: 1 });
    assert_eq!(with_version(0), CheckpointError::Version { version: 0 });
    assert_eq!(refusal(b"SQLite format 3\0"), Some(CheckpointError::Magic));
    assert_eq!(refusal(b""), Some(CheckpointError::Truncated { offset: 0 }));
}

/// A record whose entry in the stream takes exactly so many bytes.
fn record_of(main: i64, entry_bytes: usize) -> Record {
    let overhead = RECORD_HEAD_BYTES + put(main, 0, "k", "").bytes().len();
    let value = (1..6).map(|length_bytes| entry_bytes - overhead - 1 - length_bytes);
    let mut records = value.map(|len| put(main, 0, "k", &"v".repeat(len)));
    records
        .find(|record| record.bytes().len() + RECORD_HEAD_BYTES == entry_bytes)
        .expect("one of the lengths of the length fits")
}

#[test]
fn entries_of_any_size_cross_chunks_and_fill_them_exactly() {
    let full = PAYLOAD_BYTES_MAX;
    for sizes in [
        vec![full],
        vec![full - 1, 100],
        vec![full + 1],
        vec![full * 3],
        vec![full * 3 + 7, 50, full * 2],
        vec![full / 2, full / 2, 60],
    ] {
        let writes = (2..).zip(&sizes).map(|(main, &bytes)| Write::Append(record_of(main, bytes)));
        let mut writes: Vec<Write> = writes.collect();
        let long_row = Bytes::from(vec![b'u'; full * 2]);
        writes.push(Write::Put(Table::User, "a".into(), long_row.slice(..full - 9)));
        writes.push(Write::Put(Table::User, "b".into(), long_row));
        let source = engine_with(writes);
        let chunks = chunks(source.view());
        assert!(chunks.iter().all(|chunk| chunk.len() <= full + 64));
        let (_, engine) = restored(&chunks.concat(), full / 3).expect("it is sound");
        assert_eq!(dump(&*engine.view()), dump(&*source.view()), "{sizes:?}");
    }
}

#[test]
fn the_revision_of_a_state_is_in_its_row_or_in_its_newest_change() {
    let revision_of = |writes| {
        let bytes = stream(engine_with(writes).view());
        restored(&bytes, 512).expect("it is sound").0.revision
    };
    let changes = || vec![Write::Append(put(2, 0, "a", "")), Write::Append(put(5, 0, "a", ""))];
    assert_eq!(revision_of(Vec::new()), Revision::FIRST);
    assert_eq!(revision_of(changes()), Revision(5));
    assert_eq!(revision_of([changes(), vec![revision(2)]].concat()), Revision(5));
    assert_eq!(revision_of([changes(), vec![revision(9)]].concat()), Revision(9));
}

#[test]
fn a_store_compacted_at_0_comes_back() {
    let compacted = |at: i64| {
        let row = Bytes::copy_from_slice(&meta::encode_revision(Revision(at)));
        Write::Put(Table::Meta, meta::COMPACTED.into(), row)
    };
    let compacted_of = |at: i64| {
        let engine = engine_with(vec![Write::Append(put(2, 0, "a", "")), compacted(at)]);
        let (header, copy) = restored(&stream(engine.view()), 512).expect("it is sound");
        assert_eq!(dump(&*copy.view()), dump(&*engine.view()));
        header.compacted
    };
    assert_eq!(compacted_of(0), None);
    assert_eq!(compacted_of(1), Some(Revision(1)));
}

/// Hides that the engine keeps count, as one with a disk does.
struct Uncounted(Arc<dyn EngineView>);

impl EngineView for Uncounted {
    fn record(&self, version: Version) -> Result<Option<Record>, EngineError> {
        self.0.record(version)
    }

    fn scan_history(
        &self,
        from: Version,
        until: Version,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        self.0.scan_history(from, until, visit)
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.0.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        self.0.scan(table, from, visit)
    }
}

#[test]
fn meta_rows_come_last_and_only_after_a_sound_end() {
    let bytes = stream(tiny().view());
    let mut reader = CheckpointReader::new();
    let mut batch = Batch::default();
    reader.push(&bytes, &mut batch).expect("it is sound");
    let is_meta = |write: &Write| matches!(write, Write::Put(Table::Meta, ..));
    assert!(!batch.writes.iter().any(is_meta));
    let before = batch.writes.len();
    let summary = reader.finish(&mut batch).expect("it is complete");
    assert!(batch.writes[before..].iter().all(is_meta) && batch.writes.len() == before + 2);
    assert_eq!((summary.rows, summary.records, summary.bytes), (3, 3, 512));
}

#[test]
fn a_restore_needs_an_empty_engine() {
    let bytes = Bytes::from(stream(tiny().view()));
    for write in [applied(1, 1), Write::Append(put(2, 0, "a", "1"))] {
        let mut engine = engine_with(vec![write]);
        let mut next = || Ok::<_, Infallible>(Some(bytes.clone()));
        assert!(matches!(restore(&mut next, &mut engine), Err(RestoreError::NotEmpty)));
    }
}

#[test]
fn a_view_is_written_as_it_was_while_the_engine_goes_on() {
    let mut engine = tiny();
    let expected = stream(engine.view());
    let mut writer = CheckpointWriter::new(engine.view(), CLUSTER).expect("memory");
    let mut bytes = Vec::new();
    for main in 4.. {
        let forget = forget(&put(main - 2, 0, "z", "9"));
        let writes = vec![Write::Append(put(main, 0, "z", "9")), forget, revision(main)];
        engine.commit(Batch { writes }).expect("memory");
        match writer.next_chunk().expect("memory") {
            Some(chunk) => bytes.extend(chunk),
            None => break,
        }
    }
    assert_eq!(bytes, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_committed_comes_back_from_its_checkpoint(
        batches in batches(),
        piece in 1..5_000_usize,
    ) {
        let mut source = MemoryEngine::new();
        for batch in batches {
            source.commit(batch).expect("memory");
        }
        let bytes = stream(source.view());
        prop_assert_eq!(&bytes, &stream(Arc::new(Uncounted(source.view()))));
        let (header, engine) = restored(&bytes, piece).expect("it is sound");
        prop_assert_eq!(dump(&*engine.view()), dump(&*source.view()));
        prop_assert_eq!(engine.size(), source.size());
        prop_assert_eq!(&bytes, &stream(engine.view()));

        let mut forgetful = ForgetfulEngine::new(Values::OnDisk);
        let mut whole = Some(Bytes::from(bytes));
        restore(&mut || Ok::<_, Infallible>(whole.take()), &mut forgetful).expect("it is sound");
        forgetful.flush();
        prop_assert_eq!(forgetful.durable_index(), header.applied_index);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(
        payloads in prop::collection::vec(
            (prop::sample::select(&b"HaclmruVEk"[..]), prop::collection::vec(any::<u8>(), 1..80)),
            0..6,
        ),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        // Noise alone ends at the mark; with right checksums it reaches every section.
        let mut sections = vec![header(1)];
        sections.extend(payloads);
        prop_assert!(refusal(&forged(&sections)).is_some());
        prop_assert!(refusal(&[&stream(tiny().view())[..300], &noise].concat()).is_some());
        prop_assert!(refusal(&noise).is_some());
    }
}

#[test]
fn states_that_differ_anywhere_have_different_streams() {
    let writes = |value: &str, main: i64| {
        vec![
            Write::Append(put(main, 0, "a", value)),
            Write::Put(Table::User, "ada".into(), value.to_owned().into()),
        ]
    };
    let streams = [writes("1", 2), writes("2", 2), writes("1", 3), writes("1", 2)];
    let distinct: BTreeSet<_> = streams.map(|writes| stream(engine_with(writes).view())).into();
    assert_eq!(distinct.len(), 3);
}
