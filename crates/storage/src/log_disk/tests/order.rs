//! Order, truth and failure of reports.

use super::super::company::LATE;
use super::faulty::{FaultyDisk, Planted};
use super::*;

#[test]
fn two_writes_are_in_flight_and_the_second_waits_for_the_first_to_be_reported() {
    let mut rig = Rig::new();
    rig.disk.world().faults.hold_syncs = true;
    rig.append(100).expect("append");
    let first = rig.disk.held(1)[0];
    rig.append(100).expect("append");
    let second = rig.disk.held(2)[1];
    rig.disk.finish(second);
    // The lane of the second takes a third: so it is done with reporting whatever it could.
    rig.append(100).expect("append");
    rig.disk.held(2);
    assert_eq!(rig.events.try_recv().ok(), None, "nothing may be reported before the first");
    assert_eq!(rig.log.in_flight(), 3);
    rig.disk.finish(first);
    assert_eq!(rig.hear_many(2), persisted(1..=2));
    rig.disk.let_go();
    assert_eq!(rig.hear(), Heard::Persisted(3));
    assert_eq!(rig.end(), (vec![], vec![]));
}

#[test]
fn writes_that_wait_for_a_lane_share_one_sync() {
    let mut rig = Rig::new();
    rig.disk.world().faults.hold_syncs = true;
    for held in 1..=2 {
        rig.append(10).expect("append");
        rig.disk.held(held);
    }
    for _ in 3..=40 {
        rig.append(10).expect("append");
    }
    rig.disk.let_go();
    assert_eq!(rig.hear_many(40), persisted(1..=40));
    // Two that were held, and at most one for each lane that came back.
    let syncs = rig.disk.world().syncs;
    assert!((3..=4).contains(&syncs), "{syncs} syncs for 40 writes");
    assert_eq!(rig.end(), (vec![], vec![]));
}

/// Many writes of random sizes over many segments, released behind.
fn long_run(lanes: usize, seed: u64, planted: Planted) -> (Vec<Heard>, Vec<String>) {
    let disk = FaultyDisk::default();
    disk.world().faults.short_writes = Some(fastrand::Rng::with_seed(seed));
    let mut rig = Rig::on(disk, lanes);
    rig.disk.world().faults.planted = planted;
    let mut random = fastrand::Rng::with_seed(seed);
    for number in 1..=600_u64 {
        let size = random.usize(1..700);
        rig.append(size).expect("append");
        if number % 50 == 0 {
            assert_eq!(rig.hear_many(50), persisted(number - 49..=number));
            rig.log.release(rig.segment);
        }
    }
    rig.end()
}

#[test]
fn every_report_is_true_on_a_disk_that_cuts_writes_short() {
    for (lanes, seed) in [(1, 1), (2, 2), (2, 3), (4, 4)] {
        let (rest, violations) = long_run(lanes, seed, Planted::None);
        assert!(rest.is_empty(), "{rest:?}");
        assert!(violations.is_empty(), "lanes {lanes}, seed {seed}: {violations:?}");
    }
}

#[test]
fn planted_syncs_that_do_nothing_are_found() {
    let (_, violations) = long_run(2, 5, Planted::SyncLies);
    assert!(violations.iter().any(|v| v == "1 is acknowledged and not durable"), "{violations:?}");
}

#[test]
fn planted_folder_syncs_that_do_nothing_are_found() {
    let (_, violations) = long_run(2, 6, Planted::SyncNamesLies);
    let of = |text: &str| violations.iter().filter(|v| v.contains(text)).count();
    assert!(of("is acknowledged and not durable") > 0, "{violations:?}");
}

/// Two writes in flight; the sync of the second fails and takes the pages of the first with it; the
/// first sync ends before the lane of the second has come back to say what happened.
fn error_between_two_syncs(planted: Planted) -> (Vec<Heard>, Vec<String>) {
    let mut rig = Rig::new();
    rig.append(10).expect("append");
    assert_eq!(rig.hear(), Heard::Persisted(1));
    rig.disk.world().faults.hold_syncs = true;
    rig.disk.world().faults.planted = planted;
    rig.append(10).expect("append");
    rig.disk.held(1);
    rig.append(10).expect("append");
    let held = rig.disk.held(2);
    rig.disk.world().faults.sync_fails_in = Some(0);
    rig.disk.act(held[1]);
    rig.disk.finish(held[0]);
    let heard = rig.hear();
    rig.disk.finish(held[1]);
    rig.disk.let_go();
    let (mut rest, violations) = rig.end();
    rest.insert(0, heard);
    (rest, violations)
}

#[test]
fn an_error_that_one_lane_meets_is_not_hidden_from_the_other() {
    let (heard, violations) = error_between_two_syncs(Planted::None);
    let text = "make log write 2 durable: sync log/0000000000000001.wal: Input/output error";
    assert!(matches!(&heard[..], [Heard::Failed(error)] if error.starts_with(text)), "{heard:?}");
    assert!(violations.is_empty(), "{violations:?}");
}

#[test]
fn planted_lanes_that_share_a_view_are_found() {
    let (_, violations) = error_between_two_syncs(Planted::OneView);
    assert_eq!(violations, ["2 is acknowledged and not durable"]);
}

#[test]
fn after_a_failed_sync_or_write_nothing_is_reported_and_nothing_is_taken() {
    for k in 0..12 {
        for in_sync in [true, false] {
            let mut rig = Rig::new();
            if in_sync {
                rig.disk.world().faults.sync_fails_in = Some(k);
            } else {
                rig.disk.world().faults.write_fails_in = Some(k);
            }
            let mut refused = None;
            for _ in 0..100 {
                if let Err(error) = rig.append(50) {
                    refused = Some(error);
                    break;
                }
                // One at a time, so that there are at least k syncs.
                if matches!(rig.hear(), Heard::Failed(_)) {
                    refused = rig.append(50).err();
                    break;
                }
            }
            assert!(matches!(refused, Some(LogError::Stopped)), "fault {k}: {refused:?}");
            assert_eq!(lock(&rig.ledger).persisted, k, "the writes before the fault");
            assert_eq!(rig.end(), (vec![], vec![]));
        }
    }
}

#[test]
fn a_lone_write_is_done_by_its_caller_and_its_event_returned() {
    let mut rig = Rig::new();
    for number in 1..=3 {
        let write = rig.next_write(2000);
        let event = rig.log.append_inline(write).expect("append").expect("nothing is in flight");
        let heard = lock(&rig.ledger).hear(&rig.disk, &event);
        assert_eq!(heard, Heard::Persisted(number));
    }
    assert_eq!(rig.log.in_flight(), 0);
    assert_eq!(rig.end(), (vec![], vec![]));
}

#[test]
fn a_write_that_is_not_alone_goes_to_the_lanes() {
    let mut rig = Rig::new();
    rig.disk.world().faults.hold_syncs = true;
    rig.append(10).expect("append");
    rig.disk.held(1);
    let write = rig.next_write(10);
    assert!(rig.log.append_inline(write).expect("append").is_none());
    rig.disk.held(2);
    rig.disk.let_go();
    assert_eq!(rig.hear_many(2), persisted(1..=2));
    assert_eq!(rig.end(), (vec![], vec![]));
}

#[test]
fn a_lone_write_that_fails_says_so_once_and_is_the_last() {
    let mut rig = Rig::new();
    rig.disk.world().faults.sync_fails_in = Some(0);
    let write = rig.next_write(10);
    let event = rig.log.append_inline(write).expect("append");
    assert!(matches!(event, Some(LogEvent::Failed(LogError::Write { number: 1, .. }))));
    let write = rig.next_write(10);
    assert!(matches!(rig.log.append_inline(write), Err(LogError::Stopped)));
    assert!(matches!(rig.append(10), Err(LogError::Stopped)));
    assert_eq!(rig.end(), (vec![], vec![]));
}

#[test]
fn dropping_the_disk_finishes_what_was_handed_over() {
    let mut rig = Rig::new();
    for _ in 0..200 {
        rig.append(300).expect("append");
    }
    assert_eq!(rig.end(), (persisted(1..=200), vec![]));
}

fn with_companion(companion: Companion) -> Rig {
    let options = LogOptions { segment_bytes: SEGMENT_BYTES, companion, ..LogOptions::default() };
    Rig::with(FaultyDisk::default(), options).expect("the disk starts well")
}

#[test]
fn a_lone_sync_gets_company_by_which_nothing_is_acknowledged() {
    let mut rig = with_companion(Companion::Always);
    rig.disk.world().faults.hold_syncs = true;
    rig.append(100).expect("append");
    let companion = rig.disk.held_companion();
    rig.disk.finish(companion);
    // The companion's lane is free again: it takes the next write, and has reported nothing.
    rig.append(100).expect("append");
    rig.disk.held(2);
    assert_eq!(rig.events.try_recv().ok(), None);
    rig.disk.let_go();
    assert_eq!(rig.hear_many(2), persisted(1..=2));
    assert_eq!(rig.end(), (vec![], vec![]));
}

/// A write whose sync is alone in flight and late.
fn late_and_alone(rig: &mut Rig) {
    rig.append(100).expect("append");
    let held = rig.disk.held(1);
    let nothing = rig.events.recv_timeout(2 * LATE);
    assert!(nothing.is_err(), "acknowledged and not durable: {nothing:?}");
    assert_eq!(rig.disk.held(1), held, "it is alone");
    rig.disk.finish(held[0]);
    assert!(matches!(rig.hear(), Heard::Persisted(_)));
}

#[test]
fn three_late_syncs_that_were_alone_to_their_end_bring_company() {
    let mut rig = with_companion(Companion::WhileLate);
    rig.disk.world().faults.hold_syncs = true;
    late_and_alone(&mut rig);
    late_and_alone(&mut rig);
    // Late, and not alone to its end: tells nothing.
    rig.append(100).expect("append");
    rig.disk.held(1);
    rig.append(100).expect("append");
    let both = rig.disk.held(2);
    assert!(rig.events.recv_timeout(2 * LATE).is_err());
    both.into_iter().for_each(|ticket| rig.disk.finish(ticket));
    assert_eq!(rig.hear_many(2), persisted(3..=4));
    late_and_alone(&mut rig);
    rig.append(100).expect("append");
    rig.disk.held_companion();
    rig.disk.let_go();
    assert_eq!(rig.hear(), Heard::Persisted(6));
    assert_eq!(rig.end(), (vec![], vec![]));
}

#[test]
fn an_error_that_the_companion_meets_is_a_failure_like_any_other() {
    let mut rig = with_companion(Companion::Always);
    rig.disk.world().faults.hold_syncs = true;
    rig.append(100).expect("append");
    let companion = rig.disk.held_companion();
    rig.disk.world().faults.sync_fails_in = Some(0);
    rig.disk.finish(companion);
    assert!(matches!(rig.hear(), Heard::Failed(_)));
    rig.disk.let_go();
    assert_eq!(rig.end(), (vec![], vec![]));
}

#[test]
fn every_report_is_true_with_companions_and_writes_by_the_caller() {
    let mut rig = with_companion(Companion::Always);
    for number in 1..=300 {
        let write = rig.next_write(700);
        if let Some(event) = rig.log.append_inline(write).expect("append") {
            let heard = lock(&rig.ledger).hear(&rig.disk, &event);
            assert_eq!(heard, Heard::Persisted(number));
        } else {
            assert_eq!(rig.hear(), Heard::Persisted(number));
        }
    }
    assert_eq!(rig.end(), (vec![], vec![]));
}
