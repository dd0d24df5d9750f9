//! Renewals, expiries and what a new reign makes of them.

use bytes::Bytes;
use prost::Message;
use state::alarms::Quota;
use state::apply::Entry;
use state::command::{Command, LeaseGrant, begin_batch, push_command};
use state::engine::memory::MemoryEngine;
use state::{LogIndex, RequestId, State};

use super::*;

const ID: LeaseId = LeaseId(7);
const TTL_MS: u64 = 60_000;

/// A state machine whose log is fed by hand: what it holds is what survives a crash.
struct World {
    state: State,
    lessor: Lessor,
    term: Term,
    /// Cluster time at the leader.
    now: u64,
    /// Proposed, and not in the log.
    proposed: Vec<Operation>,
}

impl World {
    /// A leader in term 2 with one lease of 60 s, granted at 0.
    fn new() -> World {
        let state = State::open(Box::new(MemoryEngine::new()), Quota(None)).expect("empty");
        let term = Term(2);
        let mut world = World { state, lessor: Lessor::default(), term, now: 0, proposed: vec![] };
        world.grant(ID, 60);
        world.lessor.lead(Some(term), ClusterTime(0));
        world
    }

    fn now(&self) -> ClusterTime {
        ClusterTime(self.now)
    }

    fn grant(&mut self, id: LeaseId, ttl_s: i64) {
        self.apply(vec![Operation::LeaseGrant(LeaseGrant { id: id.0, ttl_s, ttl_min_s: 1 })]);
    }

    /// One entry of the log.
    fn apply(&mut self, operations: Vec<Operation>) {
        let mut batch = begin_batch(self.now());
        for operation in operations {
            push_command(&mut batch, &Command::new(RequestId(1), operation).encode_to_vec());
        }
        let index = LogIndex(self.state.applied().0.0 + 1);
        let entry = Entry::Batch(Bytes::from(batch));
        self.state.apply_entry(index, self.term, entry).expect("the memory engine does not fail");
        self.state.publish();
    }

    /// Another client's write.
    fn other_write(&mut self) {
        self.apply(vec![Operation::LeaseGrant(LeaseGrant { id: 99, ttl_s: 900, ttl_min_s: 1 })]);
    }

    fn keep_alive(&mut self) -> KeepAlive {
        self.lessor.keep_alive(self.state.leases(), ID, ClusterTime(self.now))
    }

    fn logged(&mut self, asked: u64) -> KeepAlive {
        let now = self.now();
        self.lessor.logged(self.state.leases(), ID, ClusterTime(asked), now)
    }

    /// How many commands were proposed.
    fn due(&mut self) -> usize {
        let before = self.proposed.len();
        let (now, proposed) = (self.now(), &mut self.proposed);
        self.lessor.due(self.state.leases(), now, |operation| proposed.push(operation));
        self.proposed.len() - before
    }

    /// What was proposed enters the log.
    fn commit(&mut self) {
        let proposed = std::mem::take(&mut self.proposed);
        self.apply(proposed);
    }

    /// What is not in the log is gone; cluster time goes on from the last entry.
    fn crash(&mut self) {
        self.proposed.clear();
        self.now = self.state.time().0;
        self.term = Term(self.term.0 + 1);
        self.lessor = Lessor::default();
        self.lessor.lead(Some(self.term), ClusterTime(self.now));
    }

    fn ends(&self) -> u64 {
        self.lessor.ends(ID, self.state.leases().get(ID).expect("it lives")).0
    }

    fn lives(&self) -> bool {
        self.state.leases().contains(ID)
    }
}

const RENEWED: KeepAlive = KeepAlive::Renewed { ttl_s: 60 };

#[test]
fn a_renewal_within_the_second_after_a_logged_one_is_answered_at_once_and_never_logged() {
    let mut world = World::new();
    for now in [1, 500, 1000] {
        world.now = now;
        assert_eq!(world.keep_alive(), RENEWED);
        assert_eq!(world.due(), 0, "at {now}");
        assert_eq!(world.ends(), now + TTL_MS);
    }
}

#[test]
fn any_other_renewal_is_answered_when_it_is_in_the_log() {
    let mut world = World::new();
    world.now = 20_000;
    assert_eq!(world.keep_alive(), KeepAlive::Logging);
    assert_eq!(world.due(), 1);
    assert_eq!(world.logged(20_000), KeepAlive::Logging, "it is on its way");
    world.now = 20_030;
    world.commit();
    assert_eq!(world.logged(20_000), RENEWED);
    assert_eq!(world.ends(), 20_030 + TTL_MS, "from the answer on");
}

#[test]
fn a_slow_log_still_answers_and_promises_only_what_it_can_keep() {
    let mut world = World::new();
    world.now = 20_000;
    assert_eq!(world.keep_alive(), KeepAlive::Logging);
    world.due();
    world.now = 25_000;
    world.commit();
    assert_eq!(world.logged(20_000), RENEWED);
    assert_eq!(world.ends(), 21_000 + TTL_MS);
}

#[test]
fn keep_alives_that_come_together_share_a_command_and_those_that_follow_share_its_renewal() {
    let mut world = World::new();
    world.grant(LeaseId(8), 60);
    world.now = 20_000;
    assert_eq!(world.keep_alive(), KeepAlive::Logging);
    let leases = world.state.leases();
    let other = world.lessor.keep_alive(leases, LeaseId(8), ClusterTime(20_000));
    assert_eq!(other, KeepAlive::Logging);
    assert_eq!(world.due(), 1);
    let renew = LeaseRenew { ids: vec![7, 8], at_ms: vec![20_000, 20_000] };
    assert_eq!(world.proposed, [Operation::LeaseRenew(renew)]);
    world.now = 20_900;
    assert_eq!(world.keep_alive(), KeepAlive::Logging);
    assert_eq!(world.due(), 0, "the one on its way speaks for this one too");
    // A log that takes longer than that is asked again.
    world.now = 21_001;
    assert_eq!(world.keep_alive(), KeepAlive::Logging);
    assert_eq!(world.due(), 1);
    world.commit();
    assert_eq!((world.logged(20_000), world.logged(21_001)), (RENEWED, RENEWED));
}

#[test]
fn a_lease_that_is_hammered_is_logged_at_most_once_a_second() {
    let mut world = World::new();
    let mut commands = 0;
    for now in 0..10_000 {
        world.now = now;
        if world.keep_alive() == KeepAlive::Logging {
            commands += world.due();
            world.commit();
            assert_eq!(world.logged(now), RENEWED);
        }
    }
    assert_eq!(commands, 9);
}

#[test]
fn nothing_is_logged_if_nobody_renews() {
    let mut world = World::new();
    for now in (0..60_000).step_by(100) {
        world.now = now;
        assert_eq!(world.due(), 0);
    }
}

#[test]
fn no_crash_ends_a_lease_earlier_than_its_client_was_told() {
    // A client renews after any time from the last renewal on, others write at any time before the
    // crash, and the member dies right after the answer.
    for renewed in [1, 999, 1000, 1001, 20_000, 59_999] {
        for other in [None, Some(0), Some(renewed - 1), Some(renewed)] {
            for slow in [0, 5, 700] {
                let mut world = World::new();
                if let Some(other) = other {
                    world.now = other;
                    world.other_write();
                }
                world.now = renewed;
                let mut kept = world.keep_alive();
                if kept == KeepAlive::Logging {
                    world.due();
                    world.now += slow;
                    world.commit();
                    kept = world.logged(renewed);
                }
                assert_eq!(kept, RENEWED);
                world.crash();
                let left = world.ends() - world.now;
                let what =
                    format!("renewed at {renewed}, other write at {other:?}, {left} ms left");
                assert!(left >= TTL_MS, "{what}");
                assert!(left <= TTL_MS + 2000, "{what}");
            }
        }
    }
}

#[test]
fn a_lease_that_nobody_renewed_keeps_its_remaining_time_over_a_crash() {
    let mut world = World::new();
    world.now = 50_000;
    world.other_write();
    world.crash();
    assert_eq!(world.ends() - world.now, 10_000 + 1000);
    world.now = 60_999;
    assert_eq!(world.due(), 0);
    world.now = 61_000;
    assert_eq!(world.due(), 1);
    world.commit();
    assert!(!world.lives());
}

#[test]
fn a_renewal_answered_in_the_grace_survives_two_crashes() {
    let mut world = World::new();
    world.now = 1000;
    assert_eq!(world.keep_alive(), RENEWED);
    world.crash();
    world.crash();
    assert!(world.ends() - world.now >= TTL_MS + 1000 - 1000);
    assert_eq!(world.now, 0, "the log has not heard of any later time");
    world.grant(LeaseId(8), 60);
    assert_eq!(
        world.lessor.ends(LeaseId(8), world.state.leases().get(LeaseId(8)).expect("new")).0,
        TTL_MS
    );
}

#[test]
fn a_renewal_that_waits_for_the_log_spares_the_lease() {
    let mut world = World::new();
    world.now = 59_999;
    assert_eq!(world.keep_alive(), KeepAlive::Logging);
    world.now = 60_500;
    assert_eq!(world.due(), 1);
    assert!(matches!(world.proposed[0], Operation::LeaseRenew(_)));
    world.commit();
    assert!(world.lives());
    assert_eq!(world.logged(59_999), RENEWED);
}

#[test]
fn an_expiry_that_is_overtaken_by_a_renewal_does_nothing() {
    let mut world = World::new();
    world.now = 60_000;
    assert_eq!(world.due(), 1);
    let renew = LeaseRenew { ids: vec![7], at_ms: vec![59_000] };
    world.proposed.insert(0, Operation::LeaseRenew(renew));
    world.commit();
    assert!(world.lives());
}

#[test]
fn the_keep_alive_of_an_ending_lease_waits_for_its_end() {
    let mut world = World::new();
    world.now = 60_000;
    assert_eq!(world.keep_alive(), KeepAlive::Ending);
    assert_eq!(world.due(), 1);
    assert_eq!(world.keep_alive(), KeepAlive::Ending);
    world.commit();
    assert_eq!(world.keep_alive(), KeepAlive::Unknown);
    assert_eq!(world.logged(59_000), KeepAlive::Unknown);
}

#[test]
fn an_expiry_that_is_not_applied_is_proposed_again_and_not_before_its_time() {
    let mut world = World::new();
    world.now = 60_000;
    assert_eq!(world.due(), 1);
    world.now = 60_000 + OWN_COMMAND_RETRY_MS - 1;
    assert_eq!(world.due(), 0);
    world.now += 1;
    assert_eq!(world.due(), 1);
}

#[test]
fn what_the_log_refused_is_due_again_after_a_pause() {
    let mut world = World::new();
    world.grant(LeaseId(8), 1);
    world.now = 20_000;
    assert_eq!(world.keep_alive(), KeepAlive::Logging);
    assert_eq!(world.due(), 2, "a renewal and an expiry");
    world.proposed.clear();
    world.lessor.refused(world.now());
    assert_eq!(world.due(), 0);
    world.now += OWN_COMMAND_PAUSE_MS;
    assert_eq!(world.due(), 2);
    world.commit();
    assert_eq!(world.logged(20_000), RENEWED);
    assert!(!world.state.leases().contains(LeaseId(8)));
}

#[test]
fn a_deposed_leader_renews_and_expires_nothing() {
    let mut world = World::new();
    world.now = 20_000;
    assert_eq!(world.keep_alive(), KeepAlive::Logging);
    world.lessor.lead(None, world.now());
    assert_eq!(world.logged(20_000), KeepAlive::NotLeader);
    assert_eq!(world.keep_alive(), KeepAlive::NotLeader);
    world.now = 70_000;
    assert_eq!(world.due(), 0);
}

#[test]
fn the_expiry_of_an_older_term_is_refused_by_the_state() {
    let mut world = World::new();
    world.now = 60_000;
    assert_eq!(world.due(), 1);
    world.term = Term(3);
    world.commit();
    assert!(world.lives());
}

#[test]
fn renewals_of_leases_that_are_gone_are_forgotten() {
    let mut world = World::new();
    world.now = 500;
    assert_eq!(world.keep_alive(), RENEWED);
    world.now = 70_000;
    assert_eq!(world.due(), 1);
    world.commit();
    world.now = 72_000;
    world.due();
    let reign = world.lessor.reign.as_ref().expect("it leads");
    assert!(reign.renewed.is_empty() && reign.logging.is_empty() && reign.expiring.is_empty());
}
