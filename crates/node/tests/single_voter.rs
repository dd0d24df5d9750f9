//! A lone member: proposes, persists, hands out, and comes back from its log.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(missing_docs, reason = "a test binary")]

mod support;

use bytes::Bytes;
use node::consensus::{Consensus, Holds, OpenError};
use node::limits::IDLE_TICKS;
use node::messages::{ConsensusInput, ConsensusOutput, Payload, ReadBatch, Refused, SegmentId};
use state::command::batch_time;
use state::{ClusterTime, LogIndex, RequestId, Term};
use support::{Lone, config};

fn led() -> Lone {
    let mut lone = Lone::born();
    lone.settle();
    assert!(lone.standing.sole_voter, "{:?}", lone.standing);
    lone
}

#[test]
fn a_new_cluster_applies_its_member_and_leads_without_waiting_for_a_tick() {
    let lone = led();
    let payloads: Vec<_> = lone.applied.iter().map(|entry| &entry.payload).collect();
    let [Payload::Membership(member), Payload::Empty] = payloads[..] else {
        panic!("{payloads:?}");
    };
    assert_eq!(member.context, Bytes::from_static(b"row"));
    assert_eq!(lone.standing.term, Term(2));
    assert_eq!(lone.standing.committed, LogIndex(2));
}

#[test]
fn nothing_happens_before_the_first_write_is_durable() {
    let mut lone = Lone::born();
    lone.propose(1, "early");
    lone.turn();
    lone.turn();
    assert_eq!(lone.writes.len(), 1);
    assert!(lone.applied.is_empty() && !lone.standing.is_leader);
    lone.settle();
    assert_eq!(lone.story(), ["early"]);
}

#[test]
fn a_command_is_handed_out_only_when_it_is_durable() {
    let mut lone = led();
    lone.propose(1, "a");
    lone.turn();
    assert_eq!((lone.writes.len(), lone.story().len()), (1, 0));
    lone.persist_one();
    assert_eq!(lone.story(), ["a"]);
}

#[test]
fn what_waits_while_two_writes_are_in_flight_becomes_one_entry() {
    let mut lone = led();
    for request in 1..=2 {
        lone.propose(request, "x");
        lone.turn();
    }
    assert_eq!(lone.writes.len(), 2, "two appends in flight");
    for request in 3..=9 {
        lone.propose(request, "y");
        lone.turn();
    }
    assert_eq!(lone.writes.len(), 2);
    let before = lone.standing.committed;
    lone.settle();
    assert_eq!(lone.story(), ["x", "x", "y", "y", "y", "y", "y", "y", "y"]);
    assert_eq!(lone.standing.committed.0 - before.0, 3, "three entries");
}

#[test]
fn beside_a_write_on_its_way_only_much_is_begun() {
    let mut config = config();
    config.company_bytes = 100;
    let mut lone = Lone::born_with(config);
    lone.settle();
    let before = lone.standing.committed;
    lone.propose(1, "first");
    lone.turn();
    lone.propose(2, &"x".repeat(60));
    lone.turn();
    assert_eq!(lone.writes.len(), 1, "little waits for what is in flight");
    lone.propose(3, &"y".repeat(60));
    lone.turn();
    assert_eq!(lone.writes.len(), 2, "together they are much");
    lone.propose(4, "last");
    lone.settle();
    assert_eq!(lone.standing.committed.0 - before.0, 3, "first, two together, last");
    assert_eq!(lone.story().len(), 4);
}

#[test]
fn a_full_waiting_room_answers_that_it_is_overloaded() {
    let mut lone = led();
    for request in 1..=2 {
        lone.propose(request, "x");
        lone.turn();
    }
    let command = Bytes::from(vec![1; 1 << 20]);
    for request in 3..70 {
        let command = command.clone();
        lone.inbox.push_back(ConsensusInput::Propose { request: RequestId(request), command });
    }
    lone.turn();
    assert_eq!(lone.refused.first(), Some(&(RequestId(67), Refused::Overloaded)));
    assert_eq!(lone.refused.len(), 3);
}

#[test]
fn a_restart_hands_out_what_the_engine_lacks() {
    let mut lone = led();
    for (request, command) in ["a", "b", "c"].iter().enumerate() {
        lone.propose(request as u64, command);
        lone.settle();
    }
    let holds = lone.checkpoint();
    lone.propose(7, "d");
    lone.settle();
    let mut again = lone.restart(config(), holds);
    again.settle();
    assert_eq!(again.story(), ["d"]);
    assert!(again.standing.sole_voter);
    assert_eq!(again.standing.term, Term(3));
}

#[test]
fn an_engine_older_than_the_log_goes_back_is_refused() {
    let mut lone = led();
    lone.propose(1, "a");
    lone.settle();
    let holds = lone.checkpoint();
    // This start keeps only what that engine lacks.
    let again = Lone::open(lone.disk, config(), holds.clone());
    let mut again = again;
    again.settle();
    let recovered = support::recover(&again.disk, LogIndex(0)).unwrap().unwrap();
    let error = Consensus::open(config(), recovered.clone(), &Holds::default()).unwrap_err();
    assert!(matches!(error, OpenError::LogAhead { first: LogIndex(4), .. }), "{error:?}");
    let mut ahead = holds;
    ahead.index = LogIndex(90);
    let error = Consensus::open(config(), recovered, &ahead).unwrap_err();
    assert!(matches!(error, OpenError::LogBehind { last: LogIndex(4), .. }), "{error:?}");
}

#[test]
fn reads_of_a_sole_voter_are_answered_in_the_same_turn() {
    let mut lone = led();
    lone.inbox.push_back(ConsensusInput::ReadIndex(ReadBatch(5)));
    lone.turn();
    let [ConsensusOutput::ReadAt { batch: ReadBatch(5), index: LogIndex(2) }] = lone.reads[..]
    else {
        panic!("{:?}", lone.reads);
    };
}

#[test]
fn reads_wait_for_the_first_decision_of_the_term() {
    let mut lone = Lone::born();
    lone.inbox.push_back(ConsensusInput::ReadIndex(ReadBatch(5)));
    lone.turn();
    lone.persist_one();
    assert!(lone.reads.is_empty(), "{:?}", lone.reads);
    lone.settle();
    assert!(matches!(lone.reads[..], [ConsensusOutput::ReadAt { index: LogIndex(2), .. }]));
}

#[test]
fn time_goes_on_from_the_log_and_stands_still_while_nobody_runs() {
    let mut lone = led();
    lone.now_ms += 500;
    lone.propose(1, "a");
    lone.settle();
    let time = |lone: &Lone| match &lone.applied.last().unwrap().payload {
        Payload::Batch(batch) => batch_time(batch).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(time(&lone), ClusterTime(500));
    assert_eq!(lone.consensus.cluster_time(lone.now_ms + 9), ClusterTime(509));
    let holds = lone.checkpoint();
    let mut again = lone.restart(config(), holds);
    again.now_ms = 123_456;
    again.settle();
    again.now_ms += 20;
    again.propose(2, "b");
    again.settle();
    assert_eq!(time(&again), ClusterTime(520));
    again.now_ms -= 10;
    again.propose(3, "c");
    again.settle();
    assert_eq!(time(&again), ClusterTime(520), "a clock that runs backwards is not followed");
}

#[test]
fn an_idle_log_vouches_once_for_its_last_records() {
    let mut lone = led();
    lone.propose(1, "a");
    lone.settle();
    let mut markers = 0;
    for _ in 0..10 * IDLE_TICKS {
        lone.inbox.push_back(ConsensusInput::Tick);
        lone.turn();
        markers += lone.writes.len();
        lone.settle();
    }
    assert_eq!(markers, 1);
    let last = support::recover(&lone.disk, LogIndex(0)).unwrap().unwrap();
    assert_eq!(last.through, last.covered + 1, "only the marker itself is not covered");
}

#[test]
fn a_clean_stop_vouches_for_everything() {
    let mut lone = led();
    lone.propose(1, "a");
    lone.settle();
    let mut out = Vec::new();
    assert!(!lone.consensus.stop(&mut |output| out.push(output)));
    out.into_iter().for_each(|output| lone.take(output));
    lone.settle();
    assert!(lone.consensus.stop(&mut |output| panic!("{output:?}")));
    let recovered = support::recover(&lone.disk, LogIndex(0)).unwrap().unwrap();
    assert_eq!(recovered.again_from, None);
}

#[test]
fn a_checkpoint_lets_old_segments_go_after_the_log_has_said_so() {
    let mut config = config();
    config.segment_bytes = 1000;
    let mut lone = Lone::born_with(config.clone());
    lone.settle();
    for request in 0..40 {
        lone.propose(request, &format!("command {request} {}", "x".repeat(60)));
        lone.settle();
    }
    assert!(lone.disk.segments.len() > 4);
    let holds = lone.checkpoint();
    let released = lone.released.len();
    lone.inbox.push_back(ConsensusInput::Checkpointed { index: holds.index });
    lone.turn();
    assert_eq!(lone.released.len(), released, "not before it is durable");
    lone.propose(50, "after");
    lone.settle();
    let first = *lone.released.last().expect("a release");
    assert!(lone.released.len() > released && first > SegmentId(3));
    lone.disk.segments.retain(|id, _| *id >= first);
    let mut again = lone.restart(config, holds);
    again.settle();
    assert_eq!(again.story(), ["after"]);
}
