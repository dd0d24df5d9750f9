//! A recorded log is cut and damaged in every way: what comes back is a beginning of it that holds
//! everything acknowledged, or the start is refused.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(missing_docs, reason = "a test binary")]

mod support;

use std::sync::OnceLock;

use bytes::Bytes;
use node::consensus::{Config, Consensus, Holds};
use node::messages::{LogWrite, SegmentId};
use node::wal::replay::Place;
use node::wal::writer::Origin;
use node::wal::{Batch, Entry, HardState, Recovered, ReplayError, Segment, Writer, record, replay};
use proptest::prelude::*;
use state::{ClusterId, LogIndex, MemberId};
use support::{CLUSTER, Disk, Lone, ME, config, recover};

/// Every write of two lives of a member, over several segments, and how they end.
struct Recording {
    writes: Vec<LogWrite>,
    /// The log after each write.
    logs: Vec<Vec<Entry>>,
}

fn small_segments() -> Config {
    let mut config = config();
    config.segment_bytes = 700;
    // Only what nobody vouches for is said again, so that old segments stay.
    config.rewrite_bytes = 0;
    config
}

fn entries(disk: &Disk) -> Vec<Entry> {
    recover(disk, LogIndex(0)).unwrap().unwrap().entries
}

fn record() -> &'static Recording {
    static RECORDING: OnceLock<Recording> = OnceLock::new();
    RECORDING.get_or_init(live_twice)
}

/// A member that lives twice and stops cleanly.
fn live_twice() -> Recording {
    let mut lone = Lone::born_with(small_segments());
    let mut writes = vec![first_write(&lone.disk)];
    let mut logs = vec![entries(&lone.disk)];
    for life in 0..2 {
        lone.turn();
        for request in 0..12 {
            lone.propose(request, &format!("life {life} request {request} {}", "·".repeat(20)));
            write_all(&mut lone, &mut writes, &mut logs);
        }
        if life == 0 {
            lone = lone.restart(small_segments(), Holds::default());
        }
    }
    for _ in 0..2 {
        let mut out = Vec::new();
        lone.consensus.stop(&mut |output| out.push(output));
        out.into_iter().for_each(|output| lone.take(output));
        write_all(&mut lone, &mut writes, &mut logs);
    }
    assert!(lone.disk.segments.len() > 4, "{} segments", lone.disk.segments.len());
    Recording { writes, logs }
}

fn first_write(disk: &Disk) -> LogWrite {
    let (segment, bytes) = disk.segments.first_key_value().unwrap();
    LogWrite { number: 1, segment: *segment, offset: 0, bytes: bytes.clone().into() }
}

fn write_all(lone: &mut Lone, writes: &mut Vec<LogWrite>, logs: &mut Vec<Vec<Entry>>) {
    for _ in 0..100 {
        if let Some(last) = lone.applied.last() {
            let index = last.index;
            lone.inbox.push_back(node::messages::ConsensusInput::Applied { index });
        }
        lone.turn();
        let Some(write) = lone.writes.front().cloned() else { return };
        lone.persist_one();
        writes.push(write);
        logs.push(entries(&lone.disk));
    }
    panic!("the log does not come to rest");
}

impl Recording {
    fn disk(&self, count: usize) -> Disk {
        let mut disk = Disk::default();
        self.writes[..count].iter().for_each(|write| disk.write(write));
        disk
    }

    fn log(&self) -> &[Entry] {
        self.logs.last().unwrap()
    }
}

#[test]
fn a_log_cut_at_any_record_boundary_is_exactly_what_was_written_before() {
    let recording = record();
    for count in 1..=recording.writes.len() {
        let mut disk = recording.disk(count);
        assert!(entries(&disk) == recording.logs[count - 1], "after {count} writes");
        // Preallocated space behind it changes nothing.
        disk.newest().resize(5000, 0);
        let recovered = recover(&disk, LogIndex(0)).unwrap().unwrap();
        assert!(recovered.entries == recording.logs[count - 1], "after {count} writes");
        assert_eq!(recovered.cut, None);
        let opened = Consensus::open(small_segments(), recovered, &Holds::default());
        assert!(opened.is_ok(), "after {count} writes: {opened:?}");
    }
}

#[test]
fn a_last_write_torn_at_any_byte_is_cut_off_and_nothing_else() {
    let recording = record();
    for count in 2..=recording.writes.len() {
        let write = &recording.writes[count - 1];
        for keep in 0..write.bytes.len() {
            for filler in [None, Some(0), Some(0xa5)] {
                let mut disk = recording.disk(count - 1);
                let mut torn = write.bytes[..keep].to_vec();
                if let Some(filler) = filler {
                    torn.resize(write.bytes.len(), filler);
                }
                // The zeros that a record may end with are there in a preallocated file.
                let whole = torn.len() == write.bytes.len() && torn == write.bytes;
                disk.write(&LogWrite { bytes: torn.into(), ..write.clone() });
                let expected = if whole { count - 1 } else { count - 2 };
                let what = format!("write {count} at {keep}");
                assert!(entries(&disk) == recording.logs[expected], "{what}");
            }
        }
    }
}

#[test]
fn of_two_writes_in_flight_the_later_one_alone_is_a_tail() {
    let recording = record();
    let mut tails = 0;
    for count in 3..=recording.writes.len() {
        let (torn, whole) = (&recording.writes[count - 2], &recording.writes[count - 1]);
        let mut disk = recording.disk(count - 2);
        let mut bytes = torn.bytes.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        disk.write(&LogWrite { bytes: bytes.into(), ..torn.clone() });
        disk.write(whole);
        // Recorded one at a time, most records vouch for the one before: that is rot.
        match recover(&disk, LogIndex(0)) {
            Ok(recovered) => {
                tails += 1;
                let entries = recovered.unwrap().entries;
                let before = &recording.logs[count - 3];
                // The first write of a life says again what was torn.
                assert!(entries == *before || entries == recording.logs[count - 1], "{count}");
            }
            Err(error) => assert!(matches!(error, ReplayError::Rot(_)), "{error:?}"),
        }
    }
    // Written together, they do not.
    let (mut writer, mut disk) = (writer(), Disk::default());
    disk.write(&writer.append(batch(1, &[1]), 0));
    let torn = writer.append(batch(2, &[1]), 1);
    let whole = writer.append(batch(3, &[1]), 1);
    disk.write(&LogWrite { bytes: vec![0; torn.bytes.len()].into(), ..torn });
    disk.write(&whole);
    let recovered = recover(&disk, LogIndex(0)).unwrap().unwrap();
    assert_eq!((recovered.entries.len(), recovered.through, recovered.covered), (1, 1, 1));
    assert!(recovered.cut.is_some());
    assert!(tails < recording.writes.len() / 4, "{tails} of {}", recording.writes.len());
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Whole,
    Refused,
    Lost,
}

/// After a clean stop everything acknowledged is vouched for.
fn judge(found: Result<Option<Recovered>, ReplayError>, log: &[Entry]) -> Verdict {
    match found {
        Ok(Some(recovered)) if recovered.entries == log => Verdict::Whole,
        Ok(_) => Verdict::Lost,
        Err(_) => Verdict::Refused,
    }
}

/// A reader that takes every bad record for a torn tail.
fn careless(mut disk: Disk) -> Result<Option<Recovered>, ReplayError> {
    for _ in 0..100 {
        match recover(&disk, LogIndex(0)) {
            Err(ReplayError::Rot(place)) => {
                disk.segments.retain(|id, _| *id <= place.segment);
                let segment = disk.segments.get_mut(&place.segment).unwrap();
                segment.truncate(usize::try_from(place.offset).unwrap());
            }
            found => return found,
        }
    }
    panic!("the careless reader does not come to an end");
}

#[test]
fn the_judge_sees_what_a_careless_reader_loses() {
    let recording = record();
    let mut disk = recording.disk(recording.writes.len());
    let write = &recording.writes[8];
    let at = usize::try_from(write.offset).unwrap() + write.bytes.len() - 1;
    disk.segments.get_mut(&write.segment).unwrap()[at] ^= 1;
    assert_eq!(judge(recover(&disk, LogIndex(0)), recording.log()), Verdict::Refused);
    assert_eq!(judge(careless(disk), recording.log()), Verdict::Lost);
}

#[test]
fn one_damaged_byte_anywhere_in_a_stopped_log_loses_nothing_silently() {
    let recording = record();
    let whole = recording.disk(recording.writes.len());
    let mut refused = 0;
    for (id, bytes) in &whole.segments {
        for at in 0..bytes.len() {
            let mut disk = whole.clone();
            disk.segments.get_mut(id).unwrap()[at] ^= 0x10;
            let verdict = judge(recover(&disk, LogIndex(0)), recording.log());
            assert_ne!(verdict, Verdict::Lost, "segment {} byte {at}", id.0);
            refused += usize::from(verdict == Verdict::Refused);
        }
    }
    assert!(refused > 2000, "{refused} refused");
}

#[test]
fn the_place_of_rot_is_named() {
    let recording = record();
    let mut disk = recording.disk(recording.writes.len());
    let write = &recording.writes[3];
    let at = usize::try_from(write.offset).unwrap() + write.bytes.len() - 1;
    disk.segments.get_mut(&write.segment).unwrap()[at] ^= 1;
    match recover(&disk, LogIndex(0)).unwrap_err() {
        ReplayError::Rot(Place { segment, offset }) => {
            assert_eq!(segment, write.segment);
            assert!(offset == write.offset || (write.offset == 0 && offset == 64), "{offset}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_missing_segment_is_named() {
    let recording = record();
    let whole = recording.disk(recording.writes.len());
    let needed = recover(&whole, LogIndex(0)).unwrap().unwrap().segments;
    let ids: Vec<SegmentId> = needed.into_iter().map(|(id, _)| id).collect();
    for id in &ids {
        let mut disk = whole.clone();
        disk.segments.remove(id);
        if id == ids.last().unwrap() {
            // Nobody can know of the newest but the engine.
            continue;
        }
        match recover(&disk, LogIndex(0)) {
            Err(ReplayError::Missing(missing)) => assert_eq!(missing, *id),
            other => panic!("without segment {}: {}", id.0, other.is_ok()),
        }
    }
}

#[test]
fn a_segment_that_ends_early_is_refused_where_it_was_durable() {
    let recording = record();
    let whole = recording.disk(recording.writes.len());
    for (id, bytes) in &whole.segments {
        for len in (0..bytes.len()).step_by(7) {
            let mut disk = whole.clone();
            disk.segments.get_mut(id).unwrap().truncate(len);
            if *id == *whole.segments.last_key_value().unwrap().0 {
                // The end of the newest segment looks like a crash. What an older record vouches
                // for must be there all the same.
                if let Ok(Some(recovered)) = recover(&disk, LogIndex(0)) {
                    assert!(recording.log().starts_with(&recovered.entries));
                }
            } else {
                let verdict = judge(recover(&disk, LogIndex(0)), recording.log());
                assert_ne!(verdict, Verdict::Lost, "segment {} at {len}", id.0);
            }
        }
    }
}

#[test]
fn another_members_log_and_a_newer_one_are_refused() {
    let mut disk = record().disk(3);
    let error = replay(&disk, CLUSTER, MemberId(5), LogIndex(0)).unwrap_err();
    assert!(matches!(error, ReplayError::Foreign { member: ME, .. }), "{error}");
    let error = replay(&disk, ClusterId(5), ME, LogIndex(0)).unwrap_err();
    assert!(matches!(error, ReplayError::Foreign { cluster: CLUSTER, .. }), "{error}");
    let header = disk.newest();
    header[8] = 9;
    let crc = crc32c::crc32c(&header[..60]);
    header[60..64].copy_from_slice(&crc.to_le_bytes());
    let error = recover(&disk, LogIndex(0)).unwrap_err();
    assert!(matches!(error, ReplayError::Newer { format: 9, .. }), "{error}");
}

#[test]
fn no_log_is_no_log_and_rubbish_is_not() {
    let mut disk = Disk::default();
    assert_eq!(recover(&disk, LogIndex(0)).unwrap(), None);
    disk.segments.insert(SegmentId(1), vec![0; 4096]);
    assert_eq!(recover(&disk, LogIndex(0)).unwrap(), None);
    disk.newest()[77] = 1;
    assert!(matches!(recover(&disk, LogIndex(0)).unwrap_err(), ReplayError::Rot(_)));
}

#[test]
fn a_recycled_file_lends_nothing_to_the_segment_it_becomes() {
    let recording = record();
    let whole = recording.disk(recording.writes.len());
    let count = recording.writes.len();
    for old in whole.segments.values() {
        // The newest segment was made of the file of an older one.
        let mut disk = recording.disk(count);
        let newest = disk.newest();
        let len = newest.len();
        newest.extend(old.get(len..).unwrap_or_default());
        assert_eq!(entries(&disk), recording.log());
        // And one that was only renamed holds nothing.
        let next = SegmentId(disk.segments.last_key_value().unwrap().0.0 + 1);
        disk.segments.insert(next, old.clone());
        assert_eq!(entries(&disk), recording.log());
    }
}

fn writer() -> Writer {
    let origin = Origin {
        cluster: CLUSTER,
        member: ME,
        salt: 5,
        segment: SegmentId(1),
        number: 1,
        older: Vec::new(),
    };
    Writer::new(origin, HardState::default(), 1000)
}

/// Entries from `first` on, of these terms.
fn batch(first: u64, terms: &[u64]) -> Batch {
    let entry = |term: &u64| Entry { term: *term, ..Entry::default() };
    Batch { first_index: first, entries: terms.iter().map(entry).collect(), ..Batch::default() }
}

#[test]
fn later_entries_void_earlier_ones_at_and_above_their_index() {
    let (mut writer, mut disk) = (writer(), Disk::default());
    disk.write(&writer.append(batch(1, &[1, 1, 1, 1]), 0));
    disk.write(&writer.append(batch(3, &[2]), 1));
    disk.write(&writer.append(batch(4, &[2, 3]), 2));
    let terms = |applied: u64| {
        let recovered = recover(&disk, LogIndex(applied)).unwrap().unwrap();
        let terms: Vec<u64> = recovered.entries.iter().map(|entry| entry.term).collect();
        (recovered.first_index, terms)
    };
    assert_eq!(terms(0), (1, vec![1, 1, 2, 2, 3]));
    assert_eq!(terms(3), (3, vec![2, 2, 3]), "what the engine has is left out");
}

#[test]
fn a_void_segment_does_not_say_what_is_needed() {
    let origin = |segment: u64, number: u64, older: &[u64]| Origin {
        cluster: CLUSTER,
        member: ME,
        salt: 5,
        segment: SegmentId(segment),
        number,
        older: older.iter().map(|id| (SegmentId(*id), 0)).collect(),
    };
    let open = |origin| Writer::new(origin, HardState::default(), 1000);
    let mut disk = Disk::default();
    disk.write(&open(origin(1, 1, &[])).append(batch(1, &[1]), 0));
    // Segment 2 was torn as a whole; 3 said that nothing older is needed, and was cut off with it.
    disk.write(&open(origin(3, 3, &[2])).append(batch(3, &[1]), 1));
    assert_eq!(entries(&disk).len(), 1);
    let mut next = open(origin(4, 2, &[1]));
    for number in 2..5 {
        disk.write(&next.append(batch(number, &[2]), number - 1));
    }
    let terms: Vec<u64> = entries(&disk).iter().map(|entry| entry.term).collect();
    assert_eq!(terms, [1, 2, 2, 2]);
}

/// A start said record 2 again in segment 2 and went on in segment 3; segment 1 still holds the old
/// record 2.
fn went_on(disk: &mut Disk) -> [LogWrite; 3] {
    let origin = |segment: u64, number: u64, older: Vec<(SegmentId, u64)>| Origin {
        cluster: CLUSTER,
        member: ME,
        salt: 5,
        segment: SegmentId(segment),
        number,
        older,
    };
    let mut first = Writer::new(origin(1, 1, Vec::new()), HardState::default(), 1000);
    disk.write(&first.append(batch(1, &[1]), 0));
    disk.write(&first.append(batch(2, &[1]), 1));
    let older = vec![(SegmentId(1), 2)];
    // So small that every record begins a segment.
    let mut next = Writer::new(origin(2, 2, older), HardState::default(), 120);
    let again = next.append(batch(2, &[2, 2]), 1);
    let mut large = batch(4, &[2]);
    large.entries[0].data = Bytes::from(vec![7; 100]);
    let third = next.append(large.clone(), 2);
    large.first_index = 5;
    [again, third, next.append(large, 2)]
}

#[test]
fn an_unreadable_segment_in_the_middle_is_not_papered_over_by_an_older_one() {
    let mut disk = Disk::default();
    let [again, third, _] = went_on(&mut disk);
    let rubbish = vec![0xa5; again.bytes.len()];
    disk.write(&LogWrite { bytes: rubbish.into(), ..again });
    disk.write(&third);
    match recover(&disk, LogIndex(0)).unwrap_err() {
        ReplayError::Rot(place) => assert_eq!((place.segment, place.offset), (SegmentId(2), 0)),
        other => panic!("{other}"),
    }
    disk.segments.remove(&SegmentId(2));
    let error = recover(&disk, LogIndex(0)).unwrap_err();
    assert!(matches!(error, ReplayError::Missing(SegmentId(2))), "{error}");
}

#[test]
fn a_segment_that_was_in_use_voids_older_records_even_if_its_own_are_rotten() {
    let mut disk = Disk::default();
    let [again, third, fourth] = went_on(&mut disk);
    let mut rotten = again.bytes.to_vec();
    *rotten.last_mut().unwrap() ^= 1;
    disk.write(&LogWrite { bytes: rotten.into(), ..again });
    // The third is torn; the fourth knows that the second was durable.
    assert_ne!(third.segment, fourth.segment);
    disk.write(&fourth);
    let error = recover(&disk, LogIndex(0)).unwrap_err();
    assert!(matches!(error, ReplayError::Rot(_)), "{error}");
}

#[test]
fn log_bytes_are_close_to_what_clients_put() {
    let put = |bytes: usize| "x".repeat(bytes);
    for (batch, most) in [(1, 1.16), (10, 1.03)] {
        let mut lone = Lone::born();
        lone.settle();
        let before = lone.disk.newest().len();
        for _ in 0..100 {
            (0..batch).for_each(|request| lone.propose(request, &put(320)));
            lone.settle();
        }
        let logged = lone.disk.newest().len() - before;
        let ratio = logged as f64 / (320 * 100 * batch) as f64;
        assert!(ratio < most, "batches of {batch}: {ratio:.3}");
    }
}

#[test]
fn a_log_with_a_hole_is_refused() {
    let (mut writer, mut disk) = (writer(), Disk::default());
    disk.write(&writer.append(batch(1, &[1]), 0));
    disk.write(&writer.append(batch(3, &[1]), 1));
    let error = recover(&disk, LogIndex(0)).unwrap_err();
    assert!(matches!(error, ReplayError::Gap { found: 3, last: 1, .. }), "{error}");
}

#[test]
fn a_record_larger_than_a_segment_has_one_of_its_own() {
    let (mut writer, mut disk) = (writer(), Disk::default());
    disk.write(&writer.append(batch(1, &[1]), 0));
    let mut large = batch(2, &[1]);
    large.entries[0].data = Bytes::from(vec![7; 5000]);
    let write = writer.append(large, 1);
    assert_eq!((write.segment, write.offset), (SegmentId(2), 0));
    disk.write(&write);
    let next = writer.append(batch(3, &[1]), 2);
    assert_eq!((next.segment, next.offset), (SegmentId(3), 0));
    disk.write(&next);
    assert_eq!(entries(&disk).len(), 3);
}

proptest! {
    #[test]
    fn several_damages_at_once_lose_nothing_silently(
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        sector in any::<bool>(),
    ) {
        let recording = record();
        let mut disk = recording.disk(recording.writes.len());
        // The last write is the marker: it vouches for all others, and nobody for it.
        let marker = recording.writes.last().unwrap();
        for (at, mask) in damages {
            let ids: Vec<SegmentId> = disk.segments.keys().copied().collect();
            let id = ids[at.index(ids.len())];
            let bytes = disk.segments.get_mut(&id).unwrap();
            let end = if id == marker.segment { usize::try_from(marker.offset).unwrap() } else { bytes.len() };
            let start = at.index(end.max(1));
            let stop = if sector { (start + 64).min(end) } else { (start + 1).min(end) };
            bytes[start..stop].iter_mut().for_each(|byte| *byte ^= mask);
        }
        prop_assert_ne!(judge(recover(&disk, LogIndex(0)), recording.log()), Verdict::Lost);
    }

    #[test]
    fn any_bytes_at_all_do_not_panic(
        segments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..4),
        keep in 0..400_usize,
    ) {
        let mut disk = record().disk(6);
        disk.newest().truncate(keep);
        for (bytes, id) in segments.into_iter().zip(20..) {
            disk.segments.insert(SegmentId(id), bytes);
        }
        if let Ok(Some(recovered)) = recover(&disk, LogIndex(0)) {
            prop_assert!(recovered.entries.len() <= record().log().len());
        }
    }
}

#[test]
fn the_last_number_and_the_last_name_there_are_overflow_nothing() {
    let mut disk = Disk::default();
    let head = Segment {
        cluster: CLUSTER,
        member: ME,
        id: SegmentId(1),
        first_number: u64::MAX,
        previous: None,
        oldest: SegmentId(1),
        salt: 9,
    };
    let mut bytes = head.encode().to_vec();
    record::encode(&Batch::default(), u64::MAX, u64::MAX - 1, head.seed(), &mut bytes);
    disk.segments.insert(head.id, bytes);
    let error = recover(&disk, LogIndex(0)).unwrap_err();
    assert!(matches!(error, ReplayError::Rot(_)), "{error}");
    disk.segments.insert(SegmentId(u64::MAX), vec![0; 100]);
    let error = recover(&disk, LogIndex(0)).unwrap_err();
    assert!(matches!(error, ReplayError::NoName(SegmentId(u64::MAX))), "{error}");
}
