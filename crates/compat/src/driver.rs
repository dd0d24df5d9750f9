//! Sends the steps to both servers and compares what they answer.
//!
//! ```text
//!                 ┌─▶ etcd    ─▶ Answer ──────────┐
//! Step ─ both at ─┤                               ├─▶ compare ─▶ differences that nothing explains
//!        once     └─▶ subject ─▶ Answer ─(fault)──┘
//! ```
//!
//! There is one writer, so revisions are the same on both sides; reads go out together.

mod leases;
mod watches;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::answer::{Answer, Difference, compare};
use crate::coverage::Coverage;
use crate::explained::Question;
use crate::fault::Fault;
use crate::process::{End, Server};
use crate::step::Step;
use crate::watching::{Log, WatchPair, Witness};
use crate::wire::{Call, Connection};
use crate::world::World;
use crate::{aside, explained, schema};

/// A difference that nothing explains.
#[derive(Clone, Debug)]
pub struct Found {
    /// The number of the step, from 0.
    pub step: usize,
    /// What was asked.
    pub request: String,
    /// Where the answers differ.
    pub difference: Difference,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: {}\n    {}", self.step, self.request, self.difference)
    }
}

/// Two servers under the same requests.
#[derive(Debug)]
pub struct Driver {
    etcd: Side,
    subject: Side,
    witness: Option<Witness>,
    log: Log,
    streams: BTreeMap<usize, WatchPair>,
    /// What is known of their state.
    pub world: World,
    steps_count: usize,
    /// Requests made of each.
    pub requests_count: usize,
    /// Differences that nothing explains.
    pub found: Vec<Found>,
    /// How often each explanation was needed.
    pub explained: BTreeMap<&'static str, usize>,
    /// What was put to the test.
    pub coverage: Coverage,
    /// What is done to the subject's answers, until it has met something to spoil.
    fault: Option<Fault>,
    has_spoiled: bool,
}

#[derive(Debug)]
struct Side {
    /// `None` only while it starts again.
    server: Option<Server>,
    connection: Connection,
}

impl Side {
    async fn start(binary: &Path, flags: &[String]) -> Result<Side> {
        let server = Server::start(binary, flags)?;
        let connection = Connection::open(server.address).await?;
        Ok(Side { server: Some(server), connection })
    }

    /// On a thread of its own: meanwhile this one tells the server that its streams have ended, or
    /// it would wait for them.
    async fn restart(&mut self, end: End) -> Result<()> {
        let mut server = self.server.take().context("the server runs")?;
        let restarted = tokio::task::spawn_blocking(move || server.restart(end).map(|()| server));
        let server = restarted.await.context("restart the server")??;
        self.connection = Connection::open(server.address).await?;
        self.server = Some(server);
        Ok(())
    }

    async fn answer(&self, call: &Call) -> Answer {
        Answer::of(&call.path, self.connection.call(call).await)
    }
}

/// A program and the flags that it alone gets.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// The server's binary.
    pub binary: &'a Path,
    /// Its own flags.
    pub flags: &'a [String],
}

impl Driver {
    /// Starts both on empty folders, with these flags beside their own.
    ///
    /// # Errors
    ///
    /// If one does not start.
    pub async fn start(
        etcd: Program<'_>,
        subject: Program<'_>,
        flags: &[String],
    ) -> Result<Driver> {
        let with = |program: Program<'_>| [program.flags, flags].concat();
        let etcd = Side::start(etcd.binary, &with(etcd)).await?;
        let subject = Side::start(subject.binary, &with(subject)).await?;
        let witness = Witness::open(&etcd.connection, &subject.connection).await?;
        Ok(Driver {
            etcd,
            subject,
            witness: Some(witness),
            log: Log::new(),
            streams: BTreeMap::new(),
            world: World::new(),
            steps_count: 0,
            requests_count: 0,
            found: Vec::new(),
            explained: BTreeMap::new(),
            coverage: Coverage::default(),
            fault: None,
            has_spoiled: false,
        })
    }

    /// Takes one step with both.
    ///
    /// # Errors
    ///
    /// If a server does not come back after a restart.
    pub async fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Call(call) => self.call(step, call).await,
            Step::Together(calls) => self.together(calls).await,
            Step::Restart(end) => self.restart(step, *end).await?,
            Step::NamelessLease { ttl } => self.nameless_lease(step, *ttl).await,
            Step::PassingLease { id, ttl } => self.passing_lease(step, *id, *ttl).await,
            Step::Watch { slot, action } => self.watch(step, *slot, action).await?,
            Step::Settle => self.settle(step).await,
        }
        self.steps_count += 1;
        self.requests_count += step.requests_count();
        Ok(())
    }

    /// The connections to both: etcd's and the subject's.
    pub(crate) fn connections(&self) -> (&Connection, &Connection) {
        (&self.etcd.connection, &self.subject.connection)
    }

    /// Tells both to stop, and does not wait.
    pub(crate) fn terminate(&self) -> Result<()> {
        for side in [&self.etcd, &self.subject] {
            side.server.as_ref().context("the server runs")?.tell_to_stop()?;
        }
        Ok(())
    }

    /// Asks the server under test alone.
    pub async fn ask_subject(&self, call: &Call) -> Answer {
        self.subject.answer(call).await
    }

    /// Spoils the subject's answers from now on, or no longer.
    pub fn plant(&mut self, fault: Option<Fault>) {
        self.fault = fault;
        self.has_spoiled = false;
        self.streams.values_mut().for_each(|pair| pair.plant(fault));
    }

    /// Whether the planted fault has met something to spoil.
    #[must_use]
    pub fn has_spoiled(&self) -> bool {
        self.has_spoiled || self.streams.values().any(WatchPair::has_spoiled)
    }

    async fn call(&mut self, step: &Step, call: &Call) {
        if call.path.ends_with("/Compact") {
            // Whoever is behind loses history, and when somebody is behind is a matter of chance.
            self.settle(step).await;
        }
        let (etcd, subject) = tokio::join!(self.etcd.answer(call), self.subject.answer(call));
        self.check(call, etcd, subject);
    }

    async fn together(&mut self, calls: &[Call]) {
        let ask = |side: &Side, call: &Call| {
            let (connection, call) = (side.connection.clone(), call.clone());
            tokio::spawn(async move { Answer::of(&call.path, connection.call(&call).await) })
        };
        let pairs: Vec<_> =
            calls.iter().map(|call| (ask(&self.etcd, call), ask(&self.subject, call))).collect();
        for (call, (etcd, subject)) in calls.iter().zip(pairs) {
            let (etcd, subject) = (etcd.await, subject.await);
            let whole = "a call ends, however the server behaves";
            self.check(call, etcd.expect(whole), subject.expect(whole));
        }
    }

    async fn restart(&mut self, step: &Step, end: End) -> Result<()> {
        self.settle(step).await;
        // The clients of the streams are gone before the servers are.
        self.streams.clear();
        self.witness = None;
        let begun = Instant::now();
        let (etcd, subject) = tokio::join!(self.etcd.restart(end), self.subject.restart(end));
        etcd.and(subject)?;
        self.witness = Some(Witness::open(&self.etcd.connection, &self.subject.connection).await?);
        self.world.restart(begun.elapsed());
        Ok(())
    }

    /// Compares two answers to a call, and learns from etcd's.
    fn check(&mut self, call: &Call, mut etcd: Answer, mut subject: Answer) {
        self.world.learn(call, &etcd);
        self.log.compact(self.world.compacted);
        aside::put_aside(&mut etcd);
        aside::put_aside(&mut subject);
        let is_spoiled =
            !self.has_spoiled && self.fault.is_some_and(|fault| fault.spoil(&mut subject));
        self.has_spoiled |= is_spoiled;
        self.record(call, &etcd, &subject);
        let (found_count, mut is_explained) = (self.found.len(), false);
        for difference in compare(&etcd, &subject) {
            if aside::is_of_time(&difference, self.world.restarts_s) {
                continue;
            }
            let question = Question {
                world: &self.world,
                call,
                etcd: Some(&etcd),
                subject: Some(&subject),
                difference: &difference,
            };
            match explained::explanation(question) {
                Some(name) => {
                    *self.explained.entry(name).or_default() += 1;
                    is_explained = true;
                }
                None => self.report(call.to_string(), difference),
            }
        }
        if is_spoiled && is_explained && self.found.len() == found_count {
            // Where answers may differ a fault cannot be noticed: it has to strike again.
            self.has_spoiled = false;
        }
    }

    pub(crate) fn report(&mut self, request: String, difference: Difference) {
        self.found.push(Found { step: self.steps_count, request, difference });
    }

    fn record(&mut self, call: &Call, etcd: &Answer, subject: &Answer) {
        self.coverage.answer(&call.path, etcd.code.unwrap_or(-1));
        let input = schema::method(&call.path).map(|method| method.input());
        for request in &call.requests {
            let message = input.clone().and_then(|input| schema::decode(input, request));
            message.iter().for_each(|message| self.coverage.sent(message));
        }
        for (one, other) in etcd.messages.iter().zip(&subject.messages) {
            self.coverage.answered(one, other);
        }
    }
}
