//! One member among others, whose messages are written by hand: each guard around raft has a test
//! that fails without it.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(missing_docs, reason = "a test binary")]

mod support;

use std::collections::VecDeque;

use bytes::Bytes;
use node::consensus::{Config, Consensus, Holds, bootstrap};
use node::messages::{
    Committed, ConsensusInput, ConsensusOutput, LogWrite, MembershipChange, Payload, ReadBatch,
    Refused,
};
use protobuf::Message as _;
use raft::eraftpb::{ConfChange, ConfChangeType, Entry, EntryType, Message, MessageType};
use state::{LogIndex, MemberId, RequestId};
use support::{CLUSTER, Disk, recover};

/// Member 1, whose peers are the test.
struct Member {
    consensus: Consensus,
    disk: Disk,
    inbox: VecDeque<ConsensusInput>,
    writes: VecDeque<LogWrite>,
    sent: Vec<Message>,
    applied: Vec<Committed>,
    installs: Vec<LogIndex>,
    refused: Vec<Refused>,
    lost: Vec<ReadBatch>,
}

fn config(slots: usize) -> Config {
    let mut config = Config::new(CLUSTER, support::ME, 7);
    config.member = MemberId(1);
    config.slots = slots;
    config.company_bytes = 0;
    config
}

impl Member {
    /// A member of a new cluster with this many voters, at rest.
    fn of(voters: u64, slots: usize) -> Member {
        let mut disk = Disk::default();
        let rows: Vec<_> =
            (1..=voters).map(|id| (MemberId(id), Bytes::from_static(b"r"))).collect();
        disk.write(&bootstrap(&config(slots), 99, &rows));
        let mut member = Member::open(disk, slots, &Holds::default());
        member.settle();
        member
    }

    fn open(disk: Disk, slots: usize, holds: &Holds) -> Member {
        let config = config(slots);
        let recovered =
            node::wal::replay(&disk, CLUSTER, config.member, holds.index).unwrap().unwrap();
        Member {
            consensus: Consensus::open(config, recovered, holds).unwrap(),
            disk,
            inbox: VecDeque::new(),
            writes: VecDeque::new(),
            sent: Vec::new(),
            applied: Vec::new(),
            installs: Vec::new(),
            refused: Vec::new(),
            lost: Vec::new(),
        }
    }

    fn turn(&mut self) {
        let mut out = Vec::new();
        self.consensus.turn(1, &mut self.inbox, &mut |output| out.push(output)).unwrap();
        for output in out {
            match output {
                ConsensusOutput::Append(write) => self.writes.push_back(write),
                ConsensusOutput::Send { message, .. } => {
                    let mut sent = Message::default();
                    sent.merge_from_bytes(&message).unwrap();
                    self.sent.push(sent);
                }
                ConsensusOutput::Apply(entries) => self.applied.extend(entries),
                ConsensusOutput::Install { index, .. } => self.installs.push(index),
                ConsensusOutput::Refused { why, .. } => self.refused.push(why),
                ConsensusOutput::ReadLost(batch) => self.lost.push(batch),
                _ => {}
            }
        }
    }

    fn take(&mut self, input: ConsensusInput) {
        self.inbox.push_back(input);
        self.turn();
    }

    fn hear(&mut self, message: &Message) {
        self.take(ConsensusInput::Peer(Bytes::from(message.write_to_bytes().unwrap())));
    }

    fn persist(&mut self) {
        let write = self.writes.pop_front().expect("a write in flight");
        self.disk.write(&write);
        self.take(ConsensusInput::Persisted { number: write.number });
    }

    fn applied(&mut self) {
        if let Some(last) = self.applied.last() {
            self.take(ConsensusInput::Applied { index: last.index });
        }
    }

    fn settle(&mut self) {
        self.turn();
        for _ in 0..100 {
            if self.writes.is_empty() {
                return;
            }
            self.persist();
            self.applied();
        }
        panic!("the log does not come to rest");
    }

    fn tick(&mut self, ticks: usize) {
        (0..ticks).for_each(|_| self.take(ConsensusInput::Tick));
    }

    fn sent(&self, kind: MessageType) -> Vec<&Message> {
        self.sent.iter().filter(|message| message.get_msg_type() == kind).collect()
    }

    fn term(&self) -> u64 {
        self.consensus.standing().term.0
    }

    fn is_leader(&self) -> bool {
        self.consensus.standing().is_leader
    }

    fn last(&self) -> u64 {
        self.consensus.log_bounds().1.0
    }

    /// Wins an election with the voices of members 2 and 3; its own log must be at rest.
    fn elect(&mut self) {
        self.tick(30);
        let term = self.sent(MessageType::MsgRequestPreVote).last().expect("a campaign").term;
        for from in 2..=3 {
            self.hear(&message(MessageType::MsgRequestPreVoteResponse, from, term));
        }
        while !self.writes.is_empty() {
            self.persist();
        }
        for from in 2..=3 {
            self.hear(&message(MessageType::MsgRequestVoteResponse, from, term));
        }
        assert!(self.is_leader(), "{:?}", self.consensus);
    }

    /// Commits everything with the help of member 2.
    fn acknowledge(&mut self) {
        while !self.writes.is_empty() {
            self.persist();
        }
        let mut ack = message(MessageType::MsgAppendResponse, 2, self.term());
        ack.index = self.last();
        self.hear(&ack);
        self.applied();
    }

    fn batches(&self) -> usize {
        self.applied.iter().filter(|e| matches!(e.payload, Payload::Batch(_))).count()
    }
}

fn message(kind: MessageType, from: u64, term: u64) -> Message {
    let mut message = Message::default();
    message.set_msg_type(kind);
    (message.from, message.to, message.term) = (from, 1, term);
    message
}

/// Entries of a leader: `entries` are (index, term), and each says what term made it.
fn append(
    from: u64,
    term: u64,
    before: (u64, u64),
    entries: &[(u64, u64)],
    commit: u64,
) -> Message {
    let mut append = message(MessageType::MsgAppend, from, term);
    (append.index, append.log_term, append.commit) = (before.0, before.1, commit);
    let entries = entries.iter().map(|(index, term)| {
        let mut entry = Entry::default();
        (entry.index, entry.term) = (*index, *term);
        let time = state::ClusterTime(0);
        let mut batch = state::command::begin_batch(time);
        state::command::push_command(&mut batch, &term.to_le_bytes());
        entry.data = batch.freeze();
        entry
    });
    append.set_entries(entries.collect::<Vec<_>>().into());
    append
}

fn propose(member: &mut Member, command: &'static [u8]) {
    let command = Bytes::from_static(command);
    member.take(ConsensusInput::Propose { request: RequestId(1), command });
}

#[test]
fn t1_a_lone_voter_waits_for_its_own_append_before_an_election() {
    let mut member = Member::of(1, 2);
    assert!(member.is_leader());
    propose(&mut member, b"a");
    assert_eq!(member.writes.len(), 1, "an append in flight");
    // Somebody who was removed long ago still believes in a higher term.
    member.hear(&message(MessageType::MsgHeartbeat, 9, 40));
    assert!(!member.is_leader());
    member.hear(&message(MessageType::MsgTimeoutNow, 9, 40));
    member.tick(50);
    assert!(!member.is_leader(), "its own entry is not durable");
    member.settle();
    assert!(member.is_leader());
    assert_eq!(member.batches(), 1);
}

#[test]
fn t2_no_election_while_a_snapshot_is_being_installed() {
    let mut member = Member::of(3, 2);
    let mut snapshot = message(MessageType::MsgSnapshot, 2, 5);
    let metadata = snapshot.mut_snapshot().mut_metadata();
    (metadata.index, metadata.term) = (50, 5);
    metadata.mut_conf_state().voters = vec![1, 2, 3];
    member.hear(&snapshot);
    assert!(member.installs.is_empty(), "the log does not say so yet");
    member.tick(50);
    // What the applier did before says nothing about the snapshot.
    member.take(ConsensusInput::Applied { index: LogIndex(3) });
    member.persist();
    assert_eq!(member.installs, [LogIndex(50)]);
    member.tick(50);
    assert!(member.sent(MessageType::MsgRequestPreVote).is_empty());
    member.take(ConsensusInput::Applied { index: LogIndex(50) });
    member.tick(50);
    assert!(!member.sent(MessageType::MsgRequestPreVote).is_empty());
}

fn recover_term(disk: &Disk) -> u64 {
    node::wal::replay(disk, CLUSTER, MemberId(1), LogIndex(0)).unwrap().unwrap().hard.term
}

#[test]
fn t3_entries_do_not_leave_before_the_record_of_their_term_is_durable() {
    let mut member = Member::of(1, 2);
    let (change, context) = (MembershipChange::Learner(MemberId(2)), Bytes::from_static(b"r"));
    member.take(ConsensusInput::ProposeMembership { request: RequestId(1), change, context });
    member.settle();
    // So that the log says that the learner is decided.
    propose(&mut member, b"a");
    member.settle();
    // After a power cut it leads again, in a term that only it knows.
    let mut member = Member::open(member.disk, 2, &Holds::default());
    member.turn();
    member.persist();
    member.applied();
    member.turn();
    assert!(member.is_leader(), "{:?}", member.consensus);
    member.tick(3);
    assert!(!member.writes.is_empty(), "its term is not durable");
    assert!(member.sent.iter().all(|sent| sent.term != member.term()), "{:?}", member.sent);
    let term = member.term();
    assert_eq!(recover_term(&member.disk), term - 1, "a power cut now would lead to it again");
    member.persist();
    assert!(member.sent.iter().any(|sent| sent.term == member.term()));
}

#[test]
fn t3_a_leader_overtakes_its_disk_otherwise() {
    let mut member = Member::of(3, 2);
    member.elect();
    member.acknowledge();
    let mut probed = message(MessageType::MsgAppendResponse, 3, member.term());
    probed.index = member.last();
    member.hear(&probed);
    member.sent.clear();
    propose(&mut member, b"a");
    assert_eq!(member.writes.len(), 1, "not durable here");
    assert_eq!(member.sent(MessageType::MsgAppend).len(), 2);
}

#[test]
fn t4_an_old_acknowledgement_does_not_count_for_entries_that_came_back() {
    let mut member = Member::of(3, 4);
    let entries = [(4, 2), (5, 2), (6, 2), (7, 2)];
    member.hear(&append(2, 2, (3, 1), &entries, 3));
    member.hear(&append(3, 3, (3, 1), &[(4, 3)], 3));
    member.hear(&append(2, 4, (3, 1), &entries, 7));
    assert_eq!(member.writes.len(), 3, "three writes in flight");
    member.persist();
    assert_eq!(member.batches(), 0, "the second write cuts them off on disk");
    member.persist();
    assert_eq!(member.batches(), 0);
    let on_disk = node::wal::replay(&member.disk, CLUSTER, MemberId(1), LogIndex(0));
    assert_eq!(on_disk.unwrap().unwrap().last_index(), 4);
    member.persist();
    assert_eq!(member.batches(), 4);
}

#[test]
fn t6_votes_do_not_make_a_leader_whose_log_is_in_flight() {
    let mut member = Member::of(3, 2);
    member.hear(&append(2, 2, (3, 1), &[(4, 2)], 3));
    // The leader hands over while the entry is on its way to disk.
    member.hear(&message(MessageType::MsgTimeoutNow, 2, 2));
    assert_eq!((member.term(), member.writes.len()), (3, 2));
    for from in 2..=3 {
        member.hear(&message(MessageType::MsgRequestVoteResponse, from, 3));
    }
    assert!(!member.is_leader());
    assert!(member.sent(MessageType::MsgRequestVote).is_empty(), "it asks when it is durable");
    member.persist();
    member.persist();
    assert!(!member.sent(MessageType::MsgRequestVote).is_empty());
    member.hear(&message(MessageType::MsgRequestVoteResponse, 2, 3));
    assert!(member.is_leader());
}

#[test]
fn t7_a_leader_does_not_remove_itself() {
    let mut member = Member::of(3, 2);
    member.elect();
    member.acknowledge();
    let (change, context) = (MembershipChange::Removed(MemberId(1)), Bytes::new());
    member.take(ConsensusInput::ProposeMembership { request: RequestId(1), change, context });
    assert_eq!(member.refused, [Refused::LeaderRemoval]);
}

#[test]
fn t7_a_leader_that_is_removed_by_its_predecessor_stops() {
    let mut member = Member::of(3, 2);
    let mut removal = append(2, 2, (3, 1), &[(4, 2)], 3);
    let mut change = ConfChange::default();
    change.set_change_type(ConfChangeType::RemoveNode);
    change.node_id = 1;
    let entry = &mut removal.mut_entries()[0];
    entry.set_entry_type(EntryType::EntryConfChange);
    entry.data = Bytes::from(change.write_to_bytes().unwrap());
    member.hear(&removal);
    member.persist();
    member.elect();
    propose(&mut member, b"a");
    assert_eq!(member.writes.len(), 2);
    member.persist();
    let mut ack = message(MessageType::MsgAppendResponse, 2, member.term());
    ack.index = 5;
    member.hear(&ack);
    assert!(matches!(member.applied[3].payload, Payload::Membership(_)), "{:?}", member.applied);
    // Everything that was on its way still comes in.
    member.persist();
    ack.index = 6;
    member.hear(&ack);
    member.applied();
    member.tick(50);
    propose(&mut member, b"b");
    member.take(ConsensusInput::ReadIndex(ReadBatch(1)));
    assert_eq!(
        (&member.refused[..], &member.lost[..]),
        (&[Refused::NoLeader][..], &[ReadBatch(1)][..])
    );
    assert!(!member.is_leader() && member.consensus.standing().leader.is_none());
}

#[test]
fn t8_one_membership_change_at_a_time() {
    let mut member = Member::of(3, 2);
    member.elect();
    member.acknowledge();
    let empty = |member: &Member| {
        member.applied.iter().filter(|entry| matches!(entry.payload, Payload::Empty)).count()
    };
    let before = empty(&member);
    for id in 4..=5 {
        let (change, context) = (MembershipChange::Learner(MemberId(id)), Bytes::new());
        member.take(ConsensusInput::ProposeMembership { request: RequestId(id), change, context });
    }
    assert_eq!(member.refused, [Refused::MembershipPending]);
    member.acknowledge();
    assert_eq!(empty(&member), before, "no empty entry in its place");
    assert_eq!(member.applied.len(), 5);
}

#[test]
fn a_member_promises_nothing_that_is_not_durable() {
    let mut member = Member::of(3, 2);
    member.hear(&append(2, 2, (3, 1), &[(4, 2)], 3));
    assert!(member.sent(MessageType::MsgAppendResponse).is_empty());
    member.persist();
    assert_eq!(member.sent(MessageType::MsgAppendResponse).last().unwrap().index, 4);
    let mut vote = message(MessageType::MsgRequestVote, 3, 9);
    (vote.index, vote.log_term) = (9, 9);
    vote.context = Bytes::from_static(b"CampaignTransfer");
    member.hear(&vote);
    assert!(member.sent(MessageType::MsgRequestVoteResponse).is_empty());
    member.persist();
    assert_eq!(member.sent(MessageType::MsgRequestVoteResponse).len(), 1);
    let disk = node::wal::replay(&member.disk, CLUSTER, MemberId(1), LogIndex(0));
    let hard = disk.unwrap().unwrap().hard;
    assert_eq!((hard.term, hard.vote), (9, 3), "the vote is on disk");
}

#[test]
fn nonsense_of_peers_changes_nothing() {
    let mut member = Member::of(3, 2);
    member.hear(&append(2, 2, (3, 1), &[(4, 2)], 3));
    member.settle();
    let before = (member.term(), member.last());
    let far = u64::MAX - 3;
    let mut nonsense = vec![
        message(MessageType::MsgAppend, 2, 0),
        message(MessageType::MsgRequestVote, 2, 0),
        message(MessageType::MsgHup, 2, 2),
        message(MessageType::MsgTransferLeader, 2, 2),
        message(MessageType::MsgSnapshot, 2, 2),
        message(MessageType::MsgHeartbeat, 2, far),
        message(MessageType::MsgPropose, 2, 0),
        message(MessageType::MsgReadIndex, 2, 0),
        append(2, 2, (9, 0), &[(10, 2)], 3),
        append(2, 2, (4, 2), &[(6, 2)], 3),
        append(2, 2, (4, 2), &[(5, 2), (6, 1)], 3),
        append(2, 2, (4, 2), &[(5, 3)], 3),
    ];
    let mut lost_log = message(MessageType::MsgHeartbeat, 2, 2);
    lost_log.commit = 99;
    nonsense.push(lost_log);
    let mut not_mine = message(MessageType::MsgHeartbeat, 2, 7);
    not_mine.to = 3;
    nonsense.push(not_mine);
    for message in &nonsense {
        member.hear(message);
        assert_eq!((member.term(), member.last()), before, "{message:?}");
    }
    member.take(ConsensusInput::Peer(Bytes::from_static(b"\xff\xff\xff")));
    assert_eq!((member.term(), member.last()), before);
    assert!(recover(&member.disk, LogIndex(0)).is_err(), "another member's log");
}
