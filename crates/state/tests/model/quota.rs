//! The quota: what a command costs, where exactly it ends, and that a command which reaches it is
//! carried out and refused at once.

use bytes::Bytes;
use state::alarms::{Quota, cost};
use state::apply::Answer;
use state::command::{
    Alarm, Compact, DeleteRange, LeaseGrant, LeaseRevoke, Operation, Put, Range, Txn, TxnOp,
    TxnOperation,
};
use state::engine::Engine;
use state::engine::memory::MemoryEngine;
use state::outcome::{Outcome, Refusal};

use crate::harness::{CrashingEngine, Harness};

fn put(key: &str, value_bytes: usize) -> Put {
    let value = Bytes::from(vec![b'v'; value_bytes]);
    Put { key: Bytes::copy_from_slice(key.as_bytes()), value, ..Put::default() }
}

fn op(operation: TxnOperation) -> TxnOp {
    TxnOp { operation: Some(operation) }
}

fn puts(sizes: &[usize]) -> Vec<TxnOp> {
    sizes.iter().map(|bytes| op(TxnOperation::Put(put("k", *bytes)))).collect()
}

fn txn(success: Vec<TxnOp>, failure: Vec<TxnOp>) -> Txn {
    Txn { compare: Vec::new(), success, failure }
}

fn grant(id: i64) -> Operation {
    Operation::LeaseGrant(LeaseGrant { id, ttl_s: 60, ttl_min_s: 2 })
}

#[test]
fn a_command_costs_what_it_may_add_at_most() {
    const ONE: u64 = 256 + 1;
    assert_eq!(cost(&Operation::Put(put("k", 0))), ONE);
    assert_eq!(cost(&Operation::Put(put("key", 1000))), 256 + 3 + 1000);
    let keeps = Put { ignore_value: true, ..put("k", 0) };
    assert_eq!(cost(&Operation::Put(keeps)), ONE);
    assert_eq!(cost(&grant(1)), 64);

    // The dearer list counts, whichever is done.
    let of = |txn: Txn| cost(&Operation::Txn(txn));
    assert_eq!(of(txn(puts(&[10, 20]), puts(&[25]))), 2 * ONE + 30);
    assert_eq!(of(txn(puts(&[10]), puts(&[20, 30, 0]))), 3 * ONE + 50);
    // A nested one by the same rule, each for itself: the sum is of the dearer lists.
    let inner = || op(TxnOperation::Txn(txn(puts(&[1]), puts(&[7]))));
    let deeper = || op(TxnOperation::Txn(txn(vec![inner(), inner()], puts(&[5]))));
    assert_eq!(of(txn(vec![inner()], Vec::new())), ONE + 7);
    assert_eq!(of(txn(vec![deeper(), inner()], puts(&[1, 1]))), 3 * (ONE + 7));

    let read = op(TxnOperation::Range(Range::default()));
    let delete = || op(TxnOperation::DeleteRange(DeleteRange::default()));
    assert_eq!(of(txn(vec![read, delete()], vec![delete()])), 0);
    assert_eq!(of(Txn::default()), 0);
    assert_eq!(cost(&Operation::DeleteRange(DeleteRange::default())), 0);
    assert_eq!(cost(&Operation::Compact(Compact { revision: 1 })), 0);
    assert_eq!(cost(&Operation::LeaseRevoke(LeaseRevoke { id: 1 })), 0);
}

#[test]
fn size_and_cost_together_must_stay_below_the_quota() {
    let quota = Quota(Some(1000));
    for (size, cost, admitted) in [
        (742, 257, true),
        (743, 257, false),
        (744, 257, false),
        (0, 999, true),
        (0, 1000, false),
        (999, 0, true),
        (5000, 0, true),
        (u64::MAX, 1, false),
        (1, u64::MAX, false),
    ] {
        assert_eq!(quota.admits(size, cost), admitted, "{size} and {cost}");
    }
    assert!(Quota(None).admits(u64::MAX, u64::MAX));
    assert!(!Quota(Some(0)).admits(0, 1));
    assert!(Quota(Some(0)).admits(0, 0));
}

fn harnesses(quota: u64) -> [Harness; 2] {
    let engines: [Box<dyn Engine>; 2] =
        [Box::new(MemoryEngine::new()), Box::new(CrashingEngine::new())];
    engines.map(|engine| Harness::with_quota(engine, Quota(Some(quota))))
}

fn is_over(answer: &Answer) -> bool {
    let refused = matches!(answer.applied, Err(Refusal::NoSpace));
    assert_eq!(answer.over_quota, refused, "without an alarm both say the same");
    refused
}

#[test]
fn the_command_that_reaches_the_quota_is_done_and_refused() {
    // As much as a fresh store takes, and one put.
    let size = harnesses(u64::MAX)[0].state.reader().published().size.total_bytes;
    for mut harness in harnesses(size + 257 + 1) {
        assert!(!is_over(&harness.apply(Operation::Put(put("a", 0)))));
        let before = harness.state.revision().0;
        let answer = harness.apply(Operation::Put(put("b", 10_000)));
        assert!(is_over(&answer));
        assert_eq!(answer.revision.0, before + 1);
        let reader = harness.state.reader();
        assert!(reader.latest().index().get(b"b").is_some(), "it has taken effect");
        assert_eq!(harness.events.len(), 2, "and watchers hear of it");

        assert!(is_over(&harness.apply(grant(7))));
        assert!(harness.state.leases().contains(state::LeaseId(7)));
        // What the command is refused for anyway comes first, and then it was not done.
        let answer = harness.apply(grant(7));
        assert!(matches!(answer.applied, Err(Refusal::LeaseExists)) && !answer.over_quota);

        // The list that is not done counts as well.
        let failure = puts(&[1]);
        let delete =
            TxnOperation::DeleteRange(DeleteRange { key: "a".into(), ..Default::default() });
        assert!(is_over(&harness.apply(Operation::Txn(txn(vec![op(delete.clone())], failure)))));
        assert!(harness.state.reader().latest().index().get(b"a").is_none());

        // What does not grow the data is welcome.
        assert!(!is_over(&harness.apply(Operation::Txn(txn(vec![op(delete)], Vec::new())))));
        let delete = DeleteRange { key: "b".into(), ..DeleteRange::default() };
        assert!(!is_over(&harness.apply(Operation::DeleteRange(delete))));
        let revision = harness.state.revision().0;
        assert!(!is_over(&harness.apply(Operation::Compact(Compact { revision }))));
        assert!(!is_over(&harness.apply(Operation::LeaseRevoke(LeaseRevoke { id: 7 }))));
    }
}

#[test]
fn the_quota_ends_at_the_byte() {
    let size = harnesses(u64::MAX)[0].state.reader().published().size.total_bytes;
    let cost = 256 + 1 + 40;
    for (quota, over) in [(size + cost, true), (size + cost + 1, false)] {
        for mut harness in harnesses(quota) {
            assert_eq!(harness.state.reader().published().size.total_bytes, size);
            assert_eq!(is_over(&harness.apply(Operation::Put(put("k", 40)))), over, "{quota}");
        }
    }
}

#[test]
fn an_active_alarm_refuses_before_anything_is_done() {
    let raise = |alarm| Operation::Alarm(Alarm { action: 1, member: 1, alarm });
    let clear = |alarm| Operation::Alarm(Alarm { action: 2, member: 1, alarm });
    for mut harness in harnesses(u64::MAX) {
        harness.apply(Operation::Put(put("a", 0)));
        harness.apply(raise(1));
        for operation in
            [Operation::Put(put("b", 0)), Operation::Txn(txn(Vec::new(), puts(&[0]))), grant(7)]
        {
            let answer = harness.apply(operation);
            assert!(matches!(answer.applied, Err(Refusal::NoSpace)), "{answer:?}");
            assert!(!answer.over_quota, "not done, so nothing new to tell: {answer:?}");
        }
        let delete = DeleteRange { key: "a".into(), ..DeleteRange::default() };
        let answer = harness.apply(Operation::DeleteRange(delete.clone()));
        assert!(matches!(answer.applied, Ok(Outcome::DeleteRange(_))), "{answer:?}");

        harness.apply(raise(2));
        for operation in [
            Operation::Put(put("b", 0)),
            Operation::DeleteRange(delete),
            Operation::Txn(Txn::default()),
            Operation::Compact(Compact { revision: 1 }),
            Operation::LeaseRevoke(LeaseRevoke { id: 7 }),
        ] {
            let answer = harness.apply(operation);
            assert!(matches!(answer.applied, Err(Refusal::Corrupt)), "{answer:?}");
        }
        harness.apply(clear(2));
        harness.apply(clear(1));
        let answer = harness.apply(Operation::Put(put("b", 0)));
        assert!(matches!(answer.applied, Ok(Outcome::Put(_))), "{answer:?}");
        assert_eq!(harness.state.revision().0, 4);
    }
}
