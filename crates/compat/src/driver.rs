//! Sends the steps to both servers and compares what they answer.
//!
//! ```text
//!                 ┌─▶ etcd    ─▶ Answer ─┐
//! Step ─ both at ─┤                      ├─▶ compare ─▶ differences that nothing explains
//!        once     └─▶ subject ─▶ Answer ─┘
//! ```
//!
//! There is one writer, so revisions are the same on both sides; reads go out together.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::Result;

use crate::answer::{Answer, Difference, compare};
use crate::process::{End, Server};
use crate::step::Step;
use crate::wire::{Call, Connection};
use crate::world::World;
use crate::{aside, explained};

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
    /// What is known of their state.
    pub world: World,
    steps_count: usize,
    /// Requests made of each.
    pub requests_count: usize,
    /// Differences that nothing explains.
    pub found: Vec<Found>,
    /// How often each explanation was needed.
    pub explained: BTreeMap<&'static str, usize>,
}

#[derive(Debug)]
struct Side {
    server: Server,
    connection: Connection,
}

impl Side {
    async fn start(binary: &Path, flags: &[String]) -> Result<Side> {
        let server = Server::start(binary, flags)?;
        let connection = Connection::open(server.address).await?;
        Ok(Side { server, connection })
    }

    async fn restart(&mut self, end: End) -> Result<()> {
        self.server.restart(end)?;
        self.connection = Connection::open(self.server.address).await?;
        Ok(())
    }

    async fn answer(&self, call: &Call) -> Answer {
        Answer::of(&call.path, self.connection.call(call).await)
    }
}

impl Driver {
    /// Starts both on empty folders.
    ///
    /// # Errors
    ///
    /// If one does not start.
    pub async fn start(
        etcd: &Path,
        subject: &Path,
        flags: &[String],
        subject_flags: &[String],
    ) -> Result<Driver> {
        let all: Vec<String> = flags.iter().chain(subject_flags).cloned().collect();
        Ok(Driver {
            etcd: Side::start(etcd, flags).await?,
            subject: Side::start(subject, &all).await?,
            world: World::new(),
            steps_count: 0,
            requests_count: 0,
            found: Vec::new(),
            explained: BTreeMap::new(),
        })
    }

    /// Takes one step with both.
    ///
    /// # Errors
    ///
    /// If a server does not come back after a restart.
    pub async fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Call(call) => self.call(call).await,
            Step::Together(calls) => self.together(calls).await,
            Step::Restart(end) => {
                self.etcd.restart(*end).await?;
                self.subject.restart(*end).await?;
                self.world.restarted = true;
            }
        }
        self.steps_count += 1;
        self.requests_count += step.requests_count();
        Ok(())
    }

    async fn call(&mut self, call: &Call) {
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

    fn check(&mut self, call: &Call, mut etcd: Answer, mut subject: Answer) {
        aside::put_aside(&mut etcd);
        aside::put_aside(&mut subject);
        self.world.learn(&etcd);
        for difference in compare(&etcd, &subject) {
            match explained::explanation(&self.world, call, &difference) {
                Some(name) => *self.explained.entry(name).or_default() += 1,
                None => self.found.push(Found {
                    step: self.steps_count,
                    request: call.to_string(),
                    difference,
                }),
            }
        }
    }
}
