//! The requests that wait for the core thread.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use node::messages::{QueryAnswer, ReadBatch, Refused};
use state::apply::Answer;
use state::{LogIndex, RequestId, Term};

use crate::handle::Unserved;
use crate::reply::{Mail, Proposed, ReplyTo};

/// Who waits for what. Answers are collected and leave with [`Waiters::send_answers`].
#[derive(Debug, Default)]
pub struct Waiters {
    proposals: HashMap<RequestId, ReplyTo<Proposed>>,
    queries: HashMap<RequestId, ReplyTo<QueryAnswer>>,
    /// Reads that wait for the next round.
    reads: Vec<ReplyTo<()>>,
    /// Reads that wait for a round under way.
    rounds: HashMap<ReadBatch, Vec<ReplyTo<()>>>,
    /// Confirmed reads that wait until an entry is applied.
    confirmed: Vec<(LogIndex, Vec<ReplyTo<()>>)>,
    last_round: u64,
    mail: Mail,
}

impl Waiters {
    /// A command waits for its outcome.
    pub fn propose(&mut self, request: RequestId, reply: ReplyTo<Proposed>) {
        self.proposals.insert(request, reply);
    }

    /// A question waits for its answer.
    pub fn query(&mut self, request: RequestId, reply: ReplyTo<QueryAnswer>) {
        self.queries.insert(request, reply);
    }

    /// A read waits until it may.
    pub fn read(&mut self, reply: ReplyTo<()>) {
        self.reads.push(reply);
    }

    /// The round that confirms the reads that have come since the last one, if there are any.
    pub fn begin_read_round(&mut self) -> Option<ReadBatch> {
        if self.reads.is_empty() {
            return None;
        }
        self.last_round += 1;
        let batch = ReadBatch(self.last_round);
        self.rounds.insert(batch, std::mem::take(&mut self.reads));
        Some(batch)
    }

    /// A round has ended well: its reads may be served once `index` is applied.
    pub fn confirm(&mut self, batch: ReadBatch, index: LogIndex) {
        if let Some(reads) = self.rounds.remove(&batch) {
            self.confirmed.push((index, reads));
        }
    }

    /// A round was lost to a new leader: etcd fails its reads, and clients retry them.
    pub fn lose(&mut self, batch: ReadBatch) {
        for reply in self.rounds.remove(&batch).into_iter().flatten() {
            self.mail.answer(reply, Err(Unserved::LeaderChanged));
        }
    }

    /// Everything up to `applied` can be seen by readers.
    pub fn release_reads(&mut self, applied: LogIndex) {
        for (_, reads) in self.confirmed.extract_if(.., |(index, _)| *index <= applied) {
            for reply in reads {
                self.mail.answer(reply, Ok(()));
            }
        }
    }

    /// A command has been applied. Those of an earlier run have nobody waiting for them.
    pub fn applied(&mut self, answer: Answer, term: Term) {
        if let Some(reply) = self.proposals.remove(&answer.request) {
            self.mail.answer(reply, Ok((answer, term)));
        }
    }

    /// A question has been answered.
    pub fn answered(&mut self, request: RequestId, answer: QueryAnswer) {
        if let Some(reply) = self.queries.remove(&request) {
            self.mail.answer(reply, Ok(answer));
        }
    }

    /// A command has not been taken.
    pub fn refuse(&mut self, request: RequestId, why: Refused) {
        if let Some(reply) = self.proposals.remove(&request) {
            let why = match why {
                Refused::NoLeader => Unserved::NoLeader,
                _ => Unserved::TooManyRequests,
            };
            self.mail.answer(reply, Err(why));
        }
    }

    /// Gives up what has waited too long and forgets what nobody waits for any more: the answer to
    /// it may never come, or only after a day. Returns the questions among it. Visits all that wait.
    pub fn expire(&mut self, now: Instant) -> BTreeSet<RequestId> {
        let Waiters { proposals, queries, reads, rounds, confirmed, mail, .. } = self;
        for reply in proposals.extract_if(|_, reply| reply.is_over(now)).map(|(_, reply)| reply) {
            mail.answer(reply, Err(Unserved::Timeout));
        }
        let mut ended = BTreeSet::new();
        for (request, reply) in queries.extract_if(|_, reply| reply.is_over(now)) {
            ended.insert(request);
            mail.answer(reply, Err(Unserved::Timeout));
        }
        let rounds = rounds.values_mut();
        for reads in rounds.chain(confirmed.iter_mut().map(|(_, reads)| reads)).chain([reads]) {
            for reply in reads.extract_if(.., |reply| reply.is_over(now)) {
                mail.answer(reply, Err(Unserved::Timeout));
            }
        }
        ended
    }

    /// Sends the answers that have come together.
    pub fn send_answers(&mut self) {
        self.mail.send();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(7);

    #[test]
    fn commands_and_questions_of_clients_that_have_gone_are_forgotten() {
        let mut waiters = Waiters::default();
        let (stays, mut patient) = ReplyTo::new(PATIENCE);
        let (leaves, impatient) = ReplyTo::new(PATIENCE);
        waiters.query(RequestId(1), stays);
        waiters.query(RequestId(2), leaves);
        let (leaves, gone) = ReplyTo::new(PATIENCE);
        waiters.propose(RequestId(3), leaves);
        drop((impatient, gone));
        assert_eq!(waiters.expire(Instant::now()), BTreeSet::from([RequestId(2)]));
        assert_eq!((waiters.queries.len(), waiters.proposals.len()), (1, 0));
        patient.try_recv().expect_err("it still waits");
    }

    #[test]
    fn what_waits_too_long_times_out() {
        let mut waiters = Waiters::default();
        let (reply, mut proposal) = ReplyTo::new(PATIENCE);
        waiters.propose(RequestId(1), reply);
        let (reply, mut query) = ReplyTo::new(PATIENCE);
        waiters.query(RequestId(2), reply);
        let mut reads = Vec::new();
        for stage in 0..3 {
            let (reply, read) = ReplyTo::new(PATIENCE);
            waiters.read(reply);
            reads.push(read);
            if stage == 0 {
                let batch = waiters.begin_read_round().expect("a read waits");
                waiters.confirm(batch, LogIndex(9));
            } else if stage == 1 {
                waiters.begin_read_round().expect("a read waits");
            }
        }
        let now = Instant::now();
        assert_eq!(waiters.expire(now), BTreeSet::new());
        assert_eq!(waiters.expire(now + PATIENCE), BTreeSet::from([RequestId(2)]));
        assert_eq!(proposal.try_recv().expect("an answer").err(), Some(Unserved::Timeout));
        assert_eq!(query.try_recv().expect("an answer").err(), Some(Unserved::Timeout));
        for mut read in reads {
            assert_eq!(read.try_recv(), Ok(Err(Unserved::Timeout)));
        }
    }

    #[test]
    fn a_read_waits_for_its_round_and_its_entry() {
        let mut waiters = Waiters::default();
        assert_eq!(waiters.begin_read_round(), None);
        let (reply, mut read) = ReplyTo::new(PATIENCE);
        waiters.read(reply);
        let batch = waiters.begin_read_round().expect("a read waits");
        waiters.release_reads(LogIndex(5));
        waiters.confirm(batch, LogIndex(6));
        waiters.release_reads(LogIndex(5));
        read.try_recv().expect_err("entry 6 is not applied");
        waiters.release_reads(LogIndex(6));
        assert_eq!(read.try_recv(), Ok(Ok(())));
    }

    #[test]
    fn the_reads_of_a_lost_round_fail() {
        let mut waiters = Waiters::default();
        let (reply, mut read) = ReplyTo::new(PATIENCE);
        waiters.read(reply);
        let batch = waiters.begin_read_round().expect("a read waits");
        waiters.lose(batch);
        assert_eq!(read.try_recv(), Ok(Err(Unserved::LeaderChanged)));
    }
}
