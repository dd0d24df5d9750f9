//! What leaves an applier, in which order, and what waits.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use state::alarms::Quota;
use state::command::{Command, Compact, LeaseGrant, Operation, Put, begin_batch, push_command};
use state::engine::memory::MemoryEngine;
use state::outcome::Refusal;
use state::view::Reader;
use state::watch::{HubInput, Token};
use state::{KeyRange, LogIndex};

use super::*;
use crate::limits::{
    LEASE_RENEWAL_GRACE_MS, LEASE_TIME_MARK_MS, OWN_COMMAND_PAUSE_MS, OWN_COMMAND_RETRY_MS,
};
use crate::messages::{LeaseInfo, Payload, Query};

const ME: MemberId = MemberId(1);
const TERM: Term = Term(2);
const STREAM: StreamId = StreamId(5);

/// Writes down what it is told, with the revision that readers see at that moment.
struct Shell {
    reader: Reader,
    said: Vec<(String, Revision)>,
    proposed: Vec<(RequestId, Bytes)>,
    answers: BTreeMap<RequestId, QueryAnswer>,
    replies: BTreeMap<RequestId, Result<(), Refusal>>,
    queue_has_room: bool,
}

impl Shell {
    fn note(&mut self, what: String) {
        let revision = self.reader.revision();
        self.said.push((what, revision));
    }
}

impl ApplierShell for Shell {
    fn emit(&mut self, output: ApplierOutput) {
        match output {
            ApplierOutput::Reply(answer, _) => {
                self.note(format!("reply {}", answer.request.0));
                self.replies.insert(answer.request, answer.applied.map(|_| ()));
            }
            ApplierOutput::Answer(request, answer) => {
                self.note(format!("answer {}", request.0));
                self.answers.insert(request, answer);
            }
            ApplierOutput::Propose(request, command) => self.proposed.push((request, command)),
            ApplierOutput::Applied(index) => self.note(format!("applied {}", index.0)),
        }
    }

    fn deliver(&mut self, stream: StreamId, input: StreamInput) -> bool {
        assert_eq!(stream, STREAM);
        if self.queue_has_room {
            let what = match input {
                StreamInput::Events(_) => "events",
                StreamInput::Reached { .. } => "reached",
                StreamInput::Lagged { .. } => "lagged",
            };
            self.note(what.to_owned());
        }
        self.queue_has_room
    }

    fn leave_word(&mut self, _: StreamId, input: StreamInput) {
        assert!(matches!(input, StreamInput::Lagged { .. }), "{input:?}");
        self.note("word".to_owned());
    }
}

struct World {
    applier: Applier,
    shell: Shell,
    inbox: VecDeque<ApplierInput>,
    index: u64,
    now: u64,
}

impl World {
    fn new() -> World {
        World::with(Quota(None))
    }

    fn with(quota: Quota) -> World {
        let state = State::open(Box::new(MemoryEngine::new()), quota).expect("empty");
        let shell = Shell {
            reader: state.reader().clone(),
            said: Vec::new(),
            proposed: Vec::new(),
            answers: BTreeMap::new(),
            replies: BTreeMap::new(),
            queue_has_room: true,
        };
        let applier = Applier::new(state, ME);
        World { applier, shell, inbox: VecDeque::new(), index: 0, now: 0 }
    }

    fn leads(mut self) -> World {
        self.standing(true);
        self
    }

    fn standing(&mut self, is_leader: bool) {
        let standing = Standing { term: TERM, is_leader, ..Standing::default() };
        self.inbox.push_back(ApplierInput::Standing(standing));
        self.turn();
    }

    fn turn(&mut self) {
        let World { applier, shell, inbox, now, .. } = self;
        applier.turn(ClusterTime(*now), inbox, shell).expect("the memory engine does not fail");
        applier.sweep(shell).expect("the memory engine does not fail");
    }

    fn decide(&mut self, commands: &[(u64, Operation)]) -> Committed {
        let encode = |(request, operation): &(u64, Operation)| {
            Bytes::from(Command::new(RequestId(*request), operation.clone()).encode_to_vec())
        };
        self.decide_encoded(&commands.iter().map(encode).collect::<Vec<_>>())
    }

    fn decide_encoded(&mut self, commands: &[Bytes]) -> Committed {
        let mut batch = begin_batch(ClusterTime(self.now));
        commands.iter().for_each(|command| push_command(&mut batch, command));
        self.index += 1;
        let index = LogIndex(self.index);
        Committed { index, term: TERM, payload: Payload::Batch(batch.freeze()) }
    }

    fn apply(&mut self, commands: &[(u64, Operation)]) {
        let entry = self.decide(commands);
        self.inbox.push_back(ApplierInput::Apply(vec![entry]));
        self.turn();
    }

    /// The member's own commands enter the log and are decided.
    fn apply_own(&mut self) {
        let proposed = std::mem::take(&mut self.shell.proposed);
        let commands: Vec<Bytes> = proposed.into_iter().map(|(_, command)| command).collect();
        assert!(!commands.is_empty(), "nothing was proposed");
        let entry = self.decide_encoded(&commands);
        self.inbox.push_back(ApplierInput::Apply(vec![entry]));
        self.turn();
    }

    fn refuse_own(&mut self) {
        for (request, _) in std::mem::take(&mut self.shell.proposed) {
            self.inbox.push_back(ApplierInput::Refused(request));
        }
        self.turn();
    }

    fn ask(&mut self, request: u64, query: Query) {
        self.inbox.push_back(ApplierInput::Query { request: RequestId(request), query });
        self.turn();
    }

    fn answer(&self, request: u64) -> Option<&QueryAnswer> {
        self.shell.answers.get(&RequestId(request))
    }

    fn reply(&self, request: u64) -> Option<Result<(), Refusal>> {
        self.shell.replies.get(&RequestId(request)).cloned()
    }

    fn watch(&mut self) {
        let range = KeyRange::from_request(Bytes::from_static(b"a"), Bytes::new());
        let watch = HubInput::Watch { stream: STREAM, range, token: Token(1) };
        self.inbox.push_back(ApplierInput::Watch(watch));
        self.turn();
        self.shell.said.clear();
    }
}

fn put(value: usize) -> Operation {
    let (key, value) = (Bytes::from_static(b"a"), Bytes::from(vec![b'x'; value]));
    Operation::Put(Put { key, value, ..Put::default() })
}

fn grant(id: i64, ttl_s: i64) -> Operation {
    Operation::LeaseGrant(LeaseGrant { id, ttl_s, ttl_min_s: 1 })
}

#[test]
fn readers_see_a_write_before_watchers_hear_of_it_and_those_before_its_client() {
    let mut world = World::new().leads();
    world.watch();
    world.apply(&[(1, put(1)), (2, put(2))]);
    let revision = Revision(3);
    let expected = ["events", "reply 1", "reply 2", "applied 1"].map(|s| (s.to_owned(), revision));
    assert_eq!(world.shell.said, expected);
}

#[test]
fn a_question_in_the_same_turn_is_answered_after_what_was_decided_before() {
    let mut world = World::new().leads();
    let entry = world.decide(&[(1, grant(7, 60))]);
    world.inbox.push_back(ApplierInput::Apply(vec![entry]));
    world.ask(2, Query::TimeToLive(LeaseId(7), true));
    let info = LeaseInfo { granted_s: 60, remaining_s: 59, keys: vec![] };
    assert_eq!(world.answer(2), Some(&QueryAnswer::TimeToLive(Some(info))));
}

#[test]
fn a_stream_whose_queue_is_full_finds_word_and_is_left_alone() {
    let mut world = World::new();
    world.watch();
    world.shell.queue_has_room = false;
    world.apply(&[(1, put(1))]);
    assert_eq!(world.shell.said[0], ("word".to_owned(), Revision(2)));
    world.shell.queue_has_room = true;
    world.shell.said.clear();
    world.apply(&[(2, put(1))]);
    assert!(world.shell.said.iter().all(|(what, _)| what != "events"), "{:?}", world.shell.said);
    let rejoin = HubInput::Rejoin { stream: STREAM, token: Token(2) };
    world.inbox.push_back(ApplierInput::Watch(rejoin));
    world.apply(&[(3, put(1))]);
    assert!(world.shell.said.iter().any(|(what, _)| what == "reached"), "{:?}", world.shell.said);
}

#[test]
fn entries_that_the_engine_holds_already_are_skipped() {
    let mut world = World::new();
    let entry = world.decide(&[(1, put(1))]);
    for _ in 0..2 {
        world.inbox.push_back(ApplierInput::Apply(vec![entry.clone()]));
    }
    world.inbox.push_back(ApplierInput::Apply(vec![entry]));
    world.turn();
    assert_eq!(world.applier.revision(), Revision(2));
    let replies = world.shell.said.iter().filter(|(what, _)| what == "reply 1").count();
    assert_eq!(replies, 1);
}

fn full() -> World {
    World::with(Quota(Some(1000))).leads()
}

#[test]
fn an_answer_over_the_quota_waits_until_the_alarm_is_raised() {
    let mut world = full();
    world.apply(&[(1, put(2000))]);
    assert_eq!(world.reply(1), None);
    assert_eq!(world.shell.proposed.len(), 1);
    world.apply(&[(2, put(2000))]);
    assert_eq!(world.shell.proposed.len(), 1, "one alarm for all");
    world.apply_own();
    assert_eq!(world.reply(1), Some(Err(Refusal::NoSpace)));
    assert_eq!(world.reply(2), Some(Err(Refusal::NoSpace)));
    world.apply(&[(3, put(1))]);
    assert_eq!(world.reply(3), Some(Err(Refusal::NoSpace)), "refused by the alarm, not held");
    assert_eq!(world.shell.proposed, []);
}

#[test]
fn a_refused_alarm_is_proposed_again_but_not_in_the_same_moment() {
    let mut world = full();
    world.apply(&[(1, put(2000))]);
    for _ in 0..3 {
        world.refuse_own();
        assert_eq!(world.shell.proposed, [], "that would go on for ever");
        world.now += OWN_COMMAND_PAUSE_MS;
        world.turn();
        assert_eq!(world.shell.proposed.len(), 1);
    }
    world.apply_own();
    assert_eq!(world.reply(1), Some(Err(Refusal::NoSpace)));
}

#[test]
fn an_alarm_that_is_lost_on_its_way_is_proposed_again() {
    let mut world = full();
    world.apply(&[(1, put(2000))]);
    world.shell.proposed.clear();
    world.now = OWN_COMMAND_RETRY_MS;
    world.turn();
    world.apply_own();
    assert_eq!(world.reply(1), Some(Err(Refusal::NoSpace)));
}

#[test]
fn a_full_log_raises_the_alarm_once() {
    let mut world = World::new().leads();
    world.inbox.extend([ApplierInput::LogFull, ApplierInput::LogFull]);
    world.turn();
    world.inbox.push_back(ApplierInput::LogFull);
    world.turn();
    assert_eq!(world.shell.proposed.len(), 1);
    world.apply_own();
    world.apply(&[(1, put(1))]);
    assert_eq!(world.reply(1), Some(Err(Refusal::NoSpace)));
}

#[test]
fn a_keep_alive_is_answered_when_its_renewal_has_been_applied() {
    let mut world = World::new().leads();
    world.apply(&[(1, grant(7, 60))]);
    world.ask(2, Query::KeepAlive(LeaseId(7)));
    assert_eq!(world.answer(2), Some(&QueryAnswer::KeepAlive(Some(60))), "it was just granted");
    world.now = LEASE_RENEWAL_GRACE_MS + 1;
    world.ask(3, Query::KeepAlive(LeaseId(7)));
    assert_eq!(world.answer(3), None);
    world.apply(&[(4, put(1))]);
    assert_eq!(world.answer(3), None, "that was something else");
    world.apply_own();
    assert_eq!(world.answer(3), Some(&QueryAnswer::KeepAlive(Some(60))));
    world.ask(5, Query::KeepAlive(LeaseId(8)));
    assert_eq!(world.answer(5), Some(&QueryAnswer::KeepAlive(None)));
}

#[test]
fn a_refused_renewal_is_proposed_again_after_a_pause() {
    let mut world = World::new().leads();
    world.apply(&[(1, grant(7, 60))]);
    world.now = 20_000;
    world.ask(2, Query::KeepAlive(LeaseId(7)));
    world.refuse_own();
    assert_eq!(world.shell.proposed, []);
    world.now += OWN_COMMAND_PAUSE_MS;
    world.turn();
    world.apply_own();
    assert_eq!(world.answer(2), Some(&QueryAnswer::KeepAlive(Some(60))));
}

#[test]
fn the_keep_alive_of_an_ending_lease_is_answered_when_it_is_gone() {
    let mut world = World::new().leads();
    world.apply(&[(1, grant(7, 60))]);
    world.now = 60_000;
    world.ask(2, Query::KeepAlive(LeaseId(7)));
    assert_eq!(world.answer(2), None);
    world.apply_own();
    assert_eq!(world.answer(2), Some(&QueryAnswer::KeepAlive(None)));
}

#[test]
fn a_deposed_leader_answers_all_that_waited_at_once() {
    let mut world = World::new().leads();
    world.apply(&[(1, grant(7, 60)), (2, grant(8, 1))]);
    world.now = 20_000;
    world.ask(3, Query::KeepAlive(LeaseId(7)));
    world.ask(4, Query::KeepAlive(LeaseId(8)));
    assert_eq!((world.answer(3), world.answer(4)), (None, None));
    world.standing(false);
    for request in [3, 4] {
        assert_eq!(world.answer(request), Some(&QueryAnswer::NotLeader), "request {request}");
    }
    let queries =
        [Query::KeepAlive(LeaseId(7)), Query::TimeToLive(LeaseId(7), false), Query::Leases];
    for (request, query) in (10..).zip(queries) {
        world.ask(request, query);
        assert_eq!(world.answer(request), Some(&QueryAnswer::NotLeader), "{query:?}");
    }
}

#[test]
fn what_nobody_waits_for_any_more_is_forgotten() {
    let mut world = World::new().leads();
    world.apply(&[(1, grant(7, 60)), (2, grant(8, 1)), (3, put(1)), (4, put(2))]);
    let view = world.shell.reader.at(Revision(2)).expect("readable");
    world.apply(&[(5, Operation::Compact(Compact { revision: 3 }))]);
    world.now = 20_000;
    world.ask(6, Query::KeepAlive(LeaseId(7)));
    world.ask(7, Query::KeepAlive(LeaseId(8)));
    world.ask(8, Query::Swept);
    let applier = &world.applier;
    let waiting = (applier.logging.len(), applier.ending.len(), applier.waiting_for_sweep.len());
    assert_eq!(waiting, (1, 1, 1));
    world.inbox.push_back(ApplierInput::Withdrawn([6, 7, 8].map(RequestId).into()));
    world.turn();
    let applier = &world.applier;
    let waiting = (applier.logging.len(), applier.ending.len(), applier.waiting_for_sweep.len());
    assert_eq!(waiting, (0, 0, 0));
    drop(view);
}

#[test]
fn sweeping_waits_for_a_held_view_without_spinning_and_then_goes_on() {
    let mut world = World::new().leads();
    world.apply(&[(1, put(1)), (2, put(2)), (3, put(3))]);
    let view = world.shell.reader.at(Revision(2)).expect("readable");
    world.apply(&[(4, Operation::Compact(Compact { revision: 4 }))]);
    world.ask(5, Query::Swept);
    assert_eq!(world.answer(5), None);
    world.turn();
    assert_eq!(world.applier.garbage(), Garbage::Held);
    drop(view);
    for _ in 0..10 {
        world.turn();
    }
    assert_eq!(world.applier.garbage(), Garbage::None);
    assert_eq!(world.answer(5), Some(&QueryAnswer::Swept));
    world.ask(6, Query::Swept);
    assert_eq!(world.answer(6), Some(&QueryAnswer::Swept), "there is nothing to wait for");
}

#[test]
fn with_a_lease_the_log_learns_the_time_however_idle_the_member() {
    let mut world = World::new().leads();
    world.now = 2 * LEASE_TIME_MARK_MS;
    world.turn();
    assert_eq!(world.shell.proposed, [], "without a lease nobody asks for the time");
    world.apply(&[(1, grant(7, 600))]);

    world.now += LEASE_TIME_MARK_MS - 1;
    world.turn();
    assert_eq!(world.shell.proposed, [], "the log has heard it lately");
    world.now += 1;
    world.turn();
    world.turn();
    assert_eq!(world.shell.proposed.len(), 1, "one is on its way");
    world.apply_own();
    assert_eq!(world.applier.state().time(), ClusterTime(world.now));
    world.turn();
    assert_eq!(world.shell.proposed, []);

    world.standing(false);
    world.now += 2 * LEASE_TIME_MARK_MS;
    world.turn();
    assert_eq!(world.shell.proposed, [], "it is the leader's clock that counts");
}
