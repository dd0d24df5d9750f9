//! Segments: prepared ahead, recycled, and missing on a full disk.

use super::faulty::FaultyDisk;
use super::*;
use crate::folder::Names;
use crate::log_disk::segment_files::SegmentFiles;

fn names(rig: &Rig, kind: &str) -> Vec<String> {
    rig.disk.world().names.keys().filter(|name| name.ends_with(kind)).cloned().collect()
}

/// Waits until two spares are ready.
fn settled(rig: &Rig) {
    drop(rig.disk.wait_until(|world| {
        world.names.keys().filter(|name| name.ends_with(".spare")).count() >= 2
    }));
}

#[test]
fn the_next_segment_and_a_reserve_are_ready_ahead() {
    let mut rig = Rig::new();
    settled(&rig);
    assert_eq!(rig.disk.world().prepared, 2);
    rig.append(100).expect("append");
    assert_eq!(rig.hear(), Heard::Persisted(1));
    settled(&rig);
    assert_eq!(rig.disk.world().prepared, 3);
    assert_eq!(names(&rig, ".wal"), ["0000000000000001.wal"]);
    assert_eq!(rig.end(), (vec![], vec![]));
}

#[test]
fn spares_are_filled_and_never_once_they_are_in_use() {
    let options = LogOptions { segment_bytes: SEGMENT_BYTES, ..LogOptions::default() };
    // The log grows by less than a bite with each write, and a spare takes four of them.
    let pace = Pace { space_retry: NEVER, fill: Duration::ZERO, bite_bytes: SEGMENT_BYTES / 4 };
    let mut rig = Rig::at(pace, FaultyDisk::default(), options).expect("the disk starts well");
    drop(rig.disk.wait_until(|world| world.filled == 2 * SEGMENT_BYTES));
    // Each takes a spare, while the preparer is about to fill it, does or has done so in part.
    for number in 1..=200 {
        rig.append(if number % 2 == 0 { 3100 } else { 1000 }).expect("append");
        assert_eq!(rig.hear(), Heard::Persisted(number));
    }
    let world = rig.disk.world();
    assert!(world.filled <= world.prepared * SEGMENT_BYTES, "a part was filled twice");
    drop(world);
    assert_eq!(rig.end(), (vec![], vec![]));
}

#[test]
fn a_spare_that_is_being_filled_is_not_taken_until_that_is_done() {
    let options = LogOptions { segment_bytes: SEGMENT_BYTES, ..LogOptions::default() };
    let pace = Pace { space_retry: NEVER, fill: Duration::ZERO, bite_bytes: SEGMENT_BYTES };
    let disk = FaultyDisk::default();
    // One is there from an earlier run, and counts as filled.
    disk.allocate("0000000000000000.tmp", SEGMENT_BYTES).expect("there is room");
    disk.rename("0000000000000000.tmp", "0000000000000000.spare").expect("it is there");
    disk.sync_names().expect("nothing fails");
    disk.world().faults.hold_fills = true;
    let mut rig = Rig::at(pace, disk, options).expect("the disk starts well");
    drop(rig.disk.wait_until(|world| world.is_filling));
    // The first takes that one, and the second finds nothing else than what is being filled.
    for _ in 0..2 {
        rig.append(3000).expect("append");
    }
    let has_come_to_it = |rig: &Rig| {
        let desk = rig.log.shared.lock();
        desk.wanted_bytes.is_some() || desk.segments.len() == 2
    };
    let deadline = std::time::Instant::now() + PATIENCE;
    while !has_come_to_it(&rig) {
        assert!(std::time::Instant::now() < deadline, "the second write takes a spare or waits");
        std::thread::yield_now();
    }
    rig.disk.let_fill();
    assert_eq!(rig.hear_many(2), persisted(1..=2));
    assert_eq!(rig.end(), (vec![], vec![]));
}

#[test]
fn a_spare_that_cannot_be_filled_for_want_of_room_is_used_as_it_is() {
    let options = LogOptions { segment_bytes: SEGMENT_BYTES, ..LogOptions::default() };
    let pace = Pace { space_retry: NEVER, fill: Duration::ZERO, bite_bytes: SEGMENT_BYTES };
    let disk = FaultyDisk::default();
    disk.world().faults.fill_is_full = true;
    let mut rig = Rig::at(pace, disk, options).expect("the disk starts well");
    for number in 1..=9 {
        rig.append(3000).expect("append");
        assert_eq!(rig.hear(), Heard::Persisted(number));
    }
    assert_eq!(rig.disk.world().filled, 0);
    assert_eq!(rig.end(), (vec![], vec![]));
}

#[test]
fn released_segments_are_recycled_and_only_a_few_are_kept() {
    let mut rig = Rig::new();
    for number in 1..=10 {
        rig.append(3000).expect("append");
        assert_eq!(rig.hear(), Heard::Persisted(number));
    }
    settled(&rig);
    let prepared = rig.disk.world().prepared;
    rig.log.release(SegmentId(10));
    drop(rig.disk.wait_until(|world| {
        world.names.contains_key("000000000000000a.wal")
            && world.names.keys().filter(|name| name.ends_with(".wal")).count() == 1
    }));
    for number in 11..=12 {
        rig.append(3000).expect("append");
        assert_eq!(rig.hear(), Heard::Persisted(number));
    }
    assert!(names(&rig, ".spare").len() <= 4);
    assert_eq!(rig.disk.world().prepared, prepared, "recycled segments need no preparing");
    assert_eq!(rig.end(), (vec![], vec![]));
}

#[test]
fn a_crash_while_segments_are_released_leaves_no_gap() {
    let mut rig = Rig::new();
    for number in 1..=10 {
        rig.append(3000).expect("append");
        assert_eq!(rig.hear(), Heard::Persisted(number));
    }
    rig.disk.world().history.clear();
    rig.log.release(SegmentId(9));
    drop(
        rig.disk.wait_until(|world| {
            world.names.keys().filter(|name| name.ends_with(".wal")).count() == 2
        }),
    );
    let disk = rig.disk.clone();
    assert_eq!(rig.end(), (vec![], vec![]));
    let history = std::mem::take(&mut disk.world().history);
    assert!(history.len() >= 32, "eight segments, a change and a sync each");
    for names in history {
        let ids: Vec<u64> = names
            .iter()
            .filter_map(|name| u64::from_str_radix(name.strip_suffix(".wal")?, 16).ok())
            .collect();
        let last = *ids.last().expect("the newest segment stays");
        let dense: Vec<u64> = (last + 1 - ids.len() as u64..=last).collect();
        assert_eq!(ids, dense);
        assert_eq!(last, 10);
    }
}

#[test]
fn a_write_larger_than_a_segment_gets_a_file_of_its_own_and_is_not_recycled() {
    let mut rig = Rig::new();
    rig.append(100).expect("append");
    rig.next_segment();
    rig.append(10_000).expect("append");
    rig.next_segment();
    rig.append(100).expect("append");
    assert_eq!(rig.hear_many(3), persisted(1..=3));
    let sizes = || -> Vec<u64> {
        let files = rig.disk.list().expect("list");
        files.into_iter().filter(|(name, _)| name.ends_with(".wal")).map(|(_, size)| size).collect()
    };
    assert_eq!(sizes(), [SEGMENT_BYTES, 10_000, SEGMENT_BYTES]);
    rig.log.release(SegmentId(3));
    drop(rig.disk.wait_until(|world| !world.names.contains_key("0000000000000002.wal")));
    let files = rig.disk.list().expect("list");
    assert!(files.iter().all(|(_, size)| *size == SEGMENT_BYTES), "{files:?}");
    assert_eq!(rig.end(), (vec![], vec![]));
}

#[test]
fn a_full_disk_is_told_early_and_once_and_the_log_goes_on_in_its_reserve() {
    let disk = FaultyDisk::default();
    disk.world().faults.room = Some(3);
    let mut rig = Rig::on(disk, 2);
    settled(&rig);
    // The first segment takes a spare, and the third file fills the disk.
    rig.append(3000).expect("append");
    assert_eq!(rig.hear(), Heard::Persisted(1));
    settled(&rig);
    rig.append(3000).expect("append");
    let mut heard = rig.hear_many(2);
    heard.sort_by_key(|event| *event == Heard::Full);
    assert_eq!(heard, [Heard::Persisted(2), Heard::Full]);
    // The reserve.
    rig.append(3000).expect("append");
    assert_eq!(rig.hear(), Heard::Persisted(3));
    // Beyond it a write waits, and is not lost.
    rig.append(3000).expect("append");
    rig.log.look_for_space();
    rig.disk.world().faults.room = Some(10);
    rig.log.look_for_space();
    let mut heard = rig.hear_many(2);
    heard.sort_by_key(|event| *event == Heard::SpaceAgain);
    assert_eq!(heard, [Heard::Persisted(4), Heard::SpaceAgain]);
    assert_eq!(rig.end(), (vec![], vec![]));
}

#[test]
fn a_release_gives_a_full_disk_its_room_back() {
    let disk = FaultyDisk::default();
    disk.world().faults.room = Some(3);
    let mut rig = Rig::on(disk, 2);
    for _ in 1..=3 {
        rig.append(3000).expect("append");
    }
    let mut heard = rig.hear_many(4);
    heard.retain(|event| *event != Heard::Full);
    assert_eq!(heard, persisted(1..=3), "and the disk is full");
    rig.append(3000).expect("append");
    rig.log.release(SegmentId(4));
    let mut heard = rig.hear_many(2);
    heard.sort_by_key(|event| *event == Heard::SpaceAgain);
    assert_eq!(heard, [Heard::Persisted(4), Heard::SpaceAgain]);
    assert_eq!(rig.end(), (vec![], vec![]));
}

#[test]
fn a_disk_that_ends_while_a_write_waits_for_room_does_not_acknowledge_it() {
    let disk = FaultyDisk::default();
    disk.world().faults.room = Some(1);
    let mut rig = Rig::on(disk, 2);
    rig.append(3000).expect("append");
    rig.append(3000).expect("append");
    let (heard, violations) = rig.end();
    assert!(!heard.contains(&Heard::Persisted(2)), "{heard:?}");
    assert_eq!(violations, Vec::<String>::new());
}

#[test]
fn a_fresh_log_without_room_is_refused_at_the_start() {
    let disk = FaultyDisk::default();
    disk.world().faults.room = Some(0);
    let error = Rig::try_on(disk, 2).err().expect("there is no room");
    let text = "allocate log/0000000000000000.tmp: No space left on device";
    assert!(chain(&error).starts_with(text), "{}", chain(&error));
}

#[test]
fn an_error_of_preparing_that_is_not_a_full_disk_stops_the_log() {
    let mut rig = Rig::new();
    settled(&rig);
    rig.disk.world().faults.prepare_fails = true;
    rig.append(100).expect("append");
    let mut heard = rig.hear();
    if heard == Heard::Persisted(1) {
        heard = rig.hear();
    }
    let text = "allocate log/0000000000000002.tmp: Input/output error";
    assert!(matches!(&heard, Heard::Failed(error) if error.starts_with(text)), "{heard:?}");
    assert!(matches!(rig.append(100), Err(LogError::Stopped)));
    assert_eq!(rig.end(), (vec![], vec![]));
}
