use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use proptest::prelude::*;
use state::checkpoint::{CheckpointWriter, restore};
use state::engine::memory::MemoryEngine;
use state::engine::mirror::Mirror;
use state::engine::samples::{applied, batches, dump, forget, put, tombstone};
use state::{ClusterId, MemberId, Revision};
use tempfile::TempDir;

use super::*;
use crate::tests::causes::chain;

const END: Version = Version { main: Revision::MAX, sub: u32::MAX };

const OWNER: Owner = Owner { cluster: ClusterId(0xc1), member: MemberId(0xa1) };

/// A folder with an engine that can be crashed and opened again.
struct World {
    folder: TempDir,
    options: RocksOptions,
}

impl World {
    fn new() -> World {
        let options = RocksOptions {
            cache_bytes: 1 << 20,
            write_buffer_bytes: 1 << 20,
            flush_at_close: false,
            ..RocksOptions::default()
        };
        World { folder: tempfile::tempdir().expect("a folder"), options }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("rocksdb")
    }

    fn try_open(&self) -> Result<RocksEngine, OpenError> {
        RocksEngine::open(&self.path(), &self.options, OWNER)
    }

    fn open(&self) -> RocksEngine {
        self.try_open().unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    fn file(&self, extension: &str) -> PathBuf {
        let files = fs::read_dir(self.path()).expect("a folder");
        let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
        files.retain(|file| file.extension().is_some_and(|found| found == extension));
        files.sort_by_key(|file| fs::metadata(file).expect("a file").len());
        files.pop().unwrap_or_else(|| panic!("a file of kind {extension}"))
    }
}

fn commit(engine: &mut RocksEngine, writes: Vec<Write>) {
    engine.commit(Batch { writes }).expect("a disk");
}

/// One entry with a put.
fn entry(engine: &mut RocksEngine, index: i64, value: &str) {
    let record = put(index, 0, "k", value);
    commit(engine, vec![Write::Append(record), applied(index.unsigned_abs(), 1)]);
}

fn versions(engine: &RocksEngine) -> Vec<i64> {
    let mut seen = Vec::new();
    let mut see = |record: &Record| {
        seen.push(record.revision().0);
        std::ops::ControlFlow::Continue(())
    };
    engine.view().scan_history(Version::default(), END, &mut see).expect("a disk");
    seen
}

/// Every version of the range by look-up, found or not: many at once, then each alone.
fn look_ups(view: &dyn EngineView) -> Vec<String> {
    let versions = (1..65).flat_map(|main| (0..4).map(move |sub| (main, sub)));
    let mut versions: Vec<Version> =
        versions.map(|(main, sub)| Version { main: Revision(main), sub }).collect();
    // Far apart and side by side, in no order.
    fastrand::Rng::with_seed(7).shuffle(&mut versions[..128]);
    let show = |found: Option<Record>| {
        found.map(|record| {
            format!("{:?} {:?} {:?}", record.version(), record.kind(), record.bytes())
        })
    };
    let together = view.records(&versions).expect("a disk").into_iter();
    let together: Vec<_> = together.map(show).collect();
    let alone = versions.iter().map(|version| view.record(*version).expect("a disk"));
    let alone: Vec<_> = alone.map(show).collect();
    assert_eq!(together, alone);
    alone.into_iter().flatten().collect()
}

/// What an index is loaded from.
fn changes(view: &dyn EngineView) -> Vec<String> {
    let mut lines = Vec::new();
    let mut see = |record: &Record| {
        let record = record.without_value();
        lines.push(format!("{:?} {:?}", record.version(), record.bytes()));
        std::ops::ControlFlow::Continue(())
    };
    view.scan_changes(Version::default(), END, &mut see).expect("a disk");
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn both_engines_show_the_same_whatever_is_committed(
        batches in batches(),
        flush_each in 1..9_usize,
    ) {
        let world = World::new();
        let mut mirror = Mirror::new(MemoryEngine::new(), world.open());
        let mut views = Vec::new();
        for (at, batch) in batches.into_iter().enumerate() {
            mirror.commit(batch).expect("a disk");
            if at % flush_each == 0 {
                mirror.second_mut().flusher().flush().expect("a disk");
            }
            let view = mirror.view();
            views.push((dump(&*view), look_ups(&*view), view));
        }
        for (shown, looked_up, view) in &views {
            prop_assert_eq!(shown, &dump(&**view));
            prop_assert_eq!(looked_up, &look_ups(&**view));
        }
        let (first, second) = mirror.into_parts();
        prop_assert_eq!(first.size().in_use_bytes, second.size().in_use_bytes);
        prop_assert_eq!(changes(&*first.view()), changes(&*second.view()));
    }

    #[test]
    fn a_crash_leaves_what_the_last_flush_held(batches in batches(), flushed in 0..60_usize) {
        let world = World::new();
        let mut engine = world.open();
        let (mut memory, mut expected) = (MemoryEngine::new(), MemoryEngine::new());
        let mut durable = LogIndex(0);
        for (at, batch) in batches.into_iter().enumerate() {
            memory.commit(batch.clone()).expect("memory");
            engine.commit(batch).expect("a disk");
            if at == flushed {
                durable = engine.flusher().flush().expect("a disk");
                expected = memory.clone();
            }
            prop_assert_eq!(engine.durable_index(), durable);
        }
        drop(engine);
        let engine = world.open();
        prop_assert_eq!(engine.durable_index(), durable);
        prop_assert_eq!(dump(&*engine.view()), dump(&*expected.view()));
        prop_assert_eq!(engine.size().in_use_bytes, expected.size().in_use_bytes);
        prop_assert_eq!(engine.view().content_size(), expected.view().content_size());
    }

    #[test]
    fn a_checkpoint_of_one_engine_restores_into_the_other(batches in batches()) {
        let world = World::new();
        let mut mirror = Mirror::new(MemoryEngine::new(), world.open());
        for batch in batches {
            mirror.commit(batch).expect("a disk");
        }
        let (memory, rocks) = mirror.into_parts();
        let streams = [memory.view(), rocks.view()].map(|view| {
            let mut writer = CheckpointWriter::new(view, OWNER.cluster).ok()?;
            let mut bytes = Vec::new();
            while let Some(chunk) = writer.next_chunk().expect("a disk") {
                bytes.extend(chunk);
            }
            Some(bytes)
        });
        prop_assert_eq!(&streams[0], &streams[1]);
        // Without a row that says what was applied there is no checkpoint to take.
        if let Some(bytes) = streams[0].clone() {
            let other = World::new();
            let mut engine = other.open();
            let mut pieces = vec![Bytes::from(bytes)].into_iter();
            restore(&mut || Ok::<_, std::io::Error>(pieces.next()), &mut engine).expect("sound");
            prop_assert_eq!(dump(&*engine.view()), dump(&*memory.view()));
        }
    }
}

#[test]
fn the_engine_goes_on_from_its_last_flush() {
    let world = World::new();
    let mut engine = world.open();
    for index in 1..=3 {
        entry(&mut engine, index, "v");
    }
    assert_eq!(engine.flusher().flush().expect("a disk"), LogIndex(3));
    entry(&mut engine, 4, "v");
    assert_eq!(versions(&engine), [1, 2, 3, 4]);
    drop(engine);

    let mut engine = world.open();
    assert_eq!((versions(&engine), engine.durable_index()), (vec![1, 2, 3], LogIndex(3)));
    for index in 4..=5 {
        entry(&mut engine, index, "again");
    }
    drop(engine);
    assert_eq!(versions(&world.open()), [1, 2, 3]);
}

#[test]
fn closing_leaves_nothing_to_replay_unless_it_is_told_not_to_flush() {
    let mut world = World::new();
    world.options.flush_at_close = true;
    let mut engine = world.open();
    entry(&mut engine, 1, "v");
    assert_eq!(engine.durable_index(), LogIndex(0));
    drop(engine);
    assert_eq!(world.open().durable_index(), LogIndex(1));
}

#[test]
fn buffers_that_are_full_are_flushed_whole_although_nobody_asks() {
    let world = World::new();
    let mut engine = world.open();
    let value = "x".repeat(10_000);
    for index in 1..=1000 {
        entry(&mut engine, index, &value);
    }
    drop(engine);
    let engine = world.open();
    let (durable, versions) = (engine.durable_index().0, versions(&engine));
    assert!(durable > 500, "{durable}");
    assert_eq!(versions.len() as u64, durable, "the history is as far as the row");
    assert_eq!(engine.view().content_size().expect("counted").history.entries, durable);
}

#[test]
fn a_view_keeps_what_it_shows_and_outlives_its_engine() {
    let world = World::new();
    let mut engine = world.open();
    entry(&mut engine, 1, "v");
    entry(&mut engine, 2, "w");
    let before = engine.view();
    commit(&mut engine, vec![forget(&put(1, 0, "k", "v")), Write::Append(tombstone(3, 0, "k"))]);
    engine.flusher().flush().expect("a disk");
    let record = |view: &dyn EngineView, main| {
        view.record(Version::first_of(Revision(main))).expect("a disk").map(|r| r.revision().0)
    };
    let after = engine.view();
    drop(engine);
    assert_eq!([1, 2, 3].map(|main| record(&*before, main)), [Some(1), Some(2), None]);
    assert_eq!([1, 2, 3].map(|main| record(&*after, main)), [None, Some(2), Some(3)]);
    assert_eq!(dump(&*before).len(), 3, "two changes and a row");
    // RocksDB holds its lock as long as somebody reads.
    assert!(world.try_open().is_err());
    drop((before, after));
    assert_eq!(versions(&world.open()), [2, 3]);
}

#[test]
fn forgotten_changes_leave_nothing_behind_once_they_are_flushed() {
    let world = World::new();
    let mut engine = world.open();
    for index in 1..=2000 {
        entry(&mut engine, index, "value");
        if index % 500 == 0 {
            engine.flusher().flush().expect("a disk");
        }
    }
    let in_use = engine.size().in_use_bytes;
    let gone = (1..=1990).map(|index| forget(&put(index, 0, "k", "value"))).collect();
    commit(&mut engine, gone);
    assert!(engine.size().in_use_bytes < in_use / 3);
    assert_eq!(engine.flusher().unflushed_deletions(), 1990);
    engine.flusher().flush().expect("a disk");
    assert_eq!(engine.flusher().unflushed_deletions(), 0);
    engine.shared.db.wait_for_compact(&rocksdb::WaitForCompactOptions::default()).expect("a disk");
    let entries = |name| {
        let property = rocksdb::properties::ESTIMATE_NUM_KEYS;
        let count = engine.shared.db.property_int_value_cf(engine.shared.family(name), property);
        count.expect("a property").expect("a number")
    };
    assert_eq!((entries(HISTORY), entries(CHANGES)), (10, 10));
    assert_eq!(versions(&engine), (1991..=2000).collect::<Vec<_>>());
}

#[test]
fn garbage_in_files_counts_for_the_quota_until_it_is_compacted() {
    let world = World::new();
    let mut engine = world.open();
    let mut random = fastrand::Rng::with_seed(7);
    let mut records = Vec::new();
    for index in 1..=300 {
        let value: String = (0..4000).map(|_| random.alphanumeric()).collect();
        let record = put(index, 0, "k", &value);
        records.push(record.clone());
        commit(&mut engine, vec![Write::Append(record), applied(index.unsigned_abs(), 1)]);
    }
    engine.flusher().flush().expect("a disk");
    let full = engine.size();
    commit(&mut engine, records[..290].iter().map(forget).collect());
    let swept = engine.size();
    assert!(swept.in_use_bytes < full.in_use_bytes / 10, "{swept:?} after {full:?}");
    assert!(swept.total_bytes > full.total_bytes / 2, "{swept:?} after {full:?}");
    engine.flusher().flush().expect("a disk");
    engine.shared.db.wait_for_compact(&rocksdb::WaitForCompactOptions::default()).expect("a disk");
    engine.shared.look_at_files();
    let compacted = engine.size();
    assert!(compacted.total_bytes < full.total_bytes / 10, "{compacted:?} after {full:?}");
}

#[test]
fn a_flipped_byte_is_reported_with_the_name_of_the_file() {
    let world = World::new();
    let mut engine = world.open();
    for index in 1..=500 {
        entry(&mut engine, index, &format!("value {index}").repeat(20));
    }
    engine.flusher().flush().expect("a disk");
    drop(engine);
    let file = world.file("sst");
    let mut bytes = fs::read(&file).expect("a file");
    bytes[100] ^= 0x10;
    fs::write(&file, bytes).expect("a file");
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    let said = match world.try_open() {
        Err(error) => chain(&error),
        Ok(engine) => {
            let visit = &mut |_: &Record| std::ops::ControlFlow::Continue(());
            let view = engine.view();
            let read = view.scan_history(Version::default(), END, visit);
            let read = read.and_then(|()| view.scan_changes(Version::default(), END, visit));
            chain(&read.expect_err("a damaged block"))
        }
    };
    assert!(said.contains(&name) && said.contains("mismatch"), "{said}");
}

#[test]
fn a_folder_that_has_lost_a_file_is_refused() {
    for (extension, expected) in [("sst", ".sst"), ("", "no CURRENT")] {
        let world = World::new();
        let mut engine = world.open();
        entry(&mut engine, 1, "v");
        engine.flusher().flush().expect("a disk");
        drop(engine);
        let lost = match extension {
            "" => world.path().join("CURRENT"),
            extension => world.file(extension),
        };
        fs::remove_file(lost).expect("a file");
        let said = chain(&world.try_open().err().expect("something is missing"));
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn folders_of_others_are_refused() {
    let world = World::new();
    let mut engine = world.open();
    entry(&mut engine, 1, "v");
    engine.flusher().flush().expect("a disk");
    drop(engine);
    let other = Owner { member: MemberId(0xb2), ..OWNER };
    let refused = RocksEngine::open(&world.path(), &world.options, other);
    assert!(matches!(refused, Err(OpenError::OtherOwner { .. })));

    let foreign = World::new();
    drop(rocksdb::DB::open_default(foreign.path()).map(|db| db.put("k", "v")).expect("a disk"));
    assert!(matches!(foreign.try_open(), Err(OpenError::Foreign { .. })));

    let engine = world.open();
    engine.shared.db.put(layout::FORMAT, 2_u32.to_be_bytes()).expect("a disk");
    engine.flusher().flush().expect("a disk");
    drop(engine);
    assert!(matches!(world.try_open(), Err(OpenError::Newer { found: 2, .. })));
}
