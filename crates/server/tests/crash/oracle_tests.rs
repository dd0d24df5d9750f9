//! The oracle is shown to fail: each broken promise is planted once.

use bytes::Bytes;
use metastore_proto::mvccpb::Event;

use crate::keyspace::{Answer, Change, Op};
use crate::oracle::{Acknowledged, Attempt, History, Oracle, Violation};

fn put(key: &'static str, value: &'static str) -> Change {
    let (key, value) = (Bytes::from_static(key.as_bytes()), Bytes::from_static(value.as_bytes()));
    Change::Write(vec![Op::Put { key, value, lease: 0 }])
}

fn delete(key: &'static str) -> Change {
    let to = Bytes::from(format!("{key}\0"));
    Change::Write(vec![Op::Delete { from: Bytes::from_static(key.as_bytes()), to }])
}

fn acknowledged(revision: i64, change: Change) -> Acknowledged {
    Acknowledged { revision, change, answer: Answer::default() }
}

/// An oracle that was promised a=1 at 2 and b=1 at 3, and the history that keeps this.
fn promised() -> (Oracle, History) {
    let mut oracle = Oracle::default();
    let mut history = History::new();
    for (revision, change) in [(2, put("a", "1")), (3, put("b", "1"))] {
        history.insert(revision, oracle.keyspace().effect(&change, revision).events);
        oracle.acknowledge(acknowledged(revision, change)).expect("nobody else wrote there");
    }
    (oracle, history)
}

fn events(oracle: &Oracle, change: &Change, revision: i64) -> Vec<Event> {
    oracle.keyspace().effect(change, revision).events
}

#[test]
fn a_history_that_keeps_every_promise_passes_and_becomes_fact() {
    let (mut oracle, mut history) = promised();
    oracle.check(&history, 2, 3, &[]).expect("everything is there");
    let overwritten = put("a", "2");
    oracle.attempt(Attempt { after: 3, change: overwritten.clone() });
    history.insert(4, events(&oracle, &overwritten, 4));
    oracle.check(&history, 2, 4, &[]).expect("an attempt may have been carried out");
    assert_eq!(oracle.revision(), 4);
    history.remove(&4);
    let lost = oracle.check(&history, 2, 3, &[]);
    assert!(matches!(lost, Err(Violation::Lost { revision: 4, last: 3, .. })), "{lost:?}");
}

#[test]
fn an_acknowledged_write_that_was_never_made_is_missed() {
    let (mut oracle, history) = promised();
    oracle.acknowledge(acknowledged(4, put("c", "1"))).expect("nobody else wrote there");
    let found = oracle.check(&history, 2, 3, &[]);
    assert!(matches!(found, Err(Violation::Lost { revision: 4, last: 3, .. })), "{found:?}");
}

#[test]
fn a_write_at_another_revision_or_with_another_value_is_noticed() {
    let (mut oracle, mut history) = promised();
    let other = events(&oracle, &put("b", "2"), 3);
    history.insert(3, other);
    let found = oracle.check(&history, 2, 3, &[]);
    assert!(matches!(found, Err(Violation::Altered { revision: 3, .. })), "{found:?}");
}

#[test]
fn a_revision_without_events_is_a_gap() {
    let (mut oracle, mut history) = promised();
    history.remove(&2);
    let found = oracle.check(&history, 2, 3, &[]);
    assert_eq!(found, Err(Violation::Gap { revision: 2, last: 3 }));
}

#[test]
fn what_nobody_asked_for_is_noticed_and_so_is_a_write_carried_out_twice() {
    let (mut oracle, mut history) = promised();
    oracle.attempt(Attempt { after: 3, change: put("a", "2") });
    history.insert(4, events(&oracle, &put("a", "9"), 4));
    let found = oracle.clone().check(&history, 2, 4, &[]);
    assert!(matches!(found, Err(Violation::Unasked { revision: 4, .. })), "{found:?}");

    let (_, first_two) = promised();
    oracle.check(&first_two, 2, 3, &[]).expect("everything is there");
    oracle.attempt(Attempt { after: 3, change: put("a", "2") });
    let once = events(&oracle, &put("a", "2"), 4);
    let mut after = oracle.keyspace().as_ref().clone();
    after.apply(&once);
    let twice = after.effect(&put("a", "2"), 5).events;
    history.extend([(4, once), (5, twice)]);
    let found = oracle.check(&history, 2, 5, &[]);
    assert!(matches!(found, Err(Violation::Unasked { revision: 5, .. })), "{found:?}");
}

#[test]
fn a_torn_transaction_is_noticed() {
    let (mut oracle, mut history) = promised();
    let (Change::Write(mut both), Change::Write(second)) = (put("x", "1"), put("y", "1")) else {
        unreachable!("both are writes")
    };
    both.extend(second);
    oracle.attempt(Attempt { after: 3, change: Change::Write(both) });
    history.insert(4, events(&oracle, &put("x", "1"), 4));
    let found = oracle.check(&history, 2, 4, &[]);
    assert!(matches!(found, Err(Violation::Unasked { revision: 4, .. })), "{found:?}");
}

#[test]
fn a_write_that_precedes_what_its_client_had_seen_is_noticed() {
    let (mut oracle, mut history) = promised();
    oracle.attempt(Attempt { after: 9, change: put("c", "1") });
    history.insert(4, events(&oracle, &put("c", "1"), 4));
    let found = oracle.check(&history, 2, 4, &[]);
    assert!(matches!(found, Err(Violation::TooEarly { revision: 4, after: 9, .. })), "{found:?}");
}

#[test]
fn what_a_watcher_saw_must_stay() {
    let (mut oracle, history) = promised();
    let seen = events(&oracle, &put("c", "1"), 4);
    oracle.saw(History::from([(4, seen)]));
    let found = oracle.check(&history, 2, 3, &[]);
    assert!(matches!(found, Err(Violation::SeenOtherwise { revision: 4, .. })), "{found:?}");
}

#[test]
fn a_wrong_answer_is_noticed() {
    let (mut oracle, mut history) = promised();
    oracle.check(&history, 2, 3, &[]).expect("everything is there");
    history.insert(4, events(&oracle, &delete("a"), 4));
    // It deleted one key, and the client was told of two.
    let answer = Answer { deleted: 2, succeeded: false };
    let two = Acknowledged { revision: 4, change: delete("a"), answer };
    oracle.acknowledge(two).expect("nobody else wrote there");
    let found = oracle.clone().check(&history, 2, 4, &[]);
    assert!(matches!(found, Err(Violation::Answer { revision: 4, .. })), "{found:?}");

    let (mut oracle, history) = promised();
    oracle.acknowledge(acknowledged(3, delete("a"))).expect("it wrote nothing");
    let found = oracle.check(&history, 2, 3, &[]);
    assert!(matches!(found, Err(Violation::NotDone { revision: 3, .. })), "{found:?}");
}

#[test]
fn two_acknowledgements_of_one_revision_are_noticed() {
    let (mut oracle, _) = promised();
    let twice = oracle.acknowledge(acknowledged(3, put("c", "1")));
    assert!(matches!(twice, Err(Violation::Altered { revision: 3, .. })), "{twice:?}");
}

#[test]
fn only_a_lease_that_may_have_ended_takes_its_keys_along() {
    let (mut oracle, mut history) = promised();
    oracle.check(&history, 2, 3, &[]).expect("everything is there");
    let key = Bytes::from_static(b"k");
    let leased = Change::Write(vec![Op::Put { key, value: Bytes::new(), lease: 7 }]);
    history.insert(4, events(&oracle, &leased, 4));
    oracle.acknowledge(acknowledged(4, leased)).expect("nobody else wrote there");
    oracle.check(&history, 2, 4, &[]).expect("everything is there");
    history.insert(5, events(&oracle, &Change::EndLease(7), 5));
    let found = oracle.clone().check(&history, 2, 5, &[8]);
    assert!(matches!(found, Err(Violation::Unasked { revision: 5, .. })), "{found:?}");
    assert_eq!(oracle.check(&history, 2, 5, &[8, 7]), Ok(vec![7]));
}
