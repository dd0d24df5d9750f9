//! The driver's hand on the watch streams.

use anyhow::Result;

use super::Driver;
use crate::explained::{self, Question};
use crate::schema;
use crate::step::{Step, WatchAction};
use crate::watching::{Observed, WatchPair};
use crate::wire::Call;

impl Driver {
    /// Does something with a stream, at a quiet point.
    pub(super) async fn watch(
        &mut self,
        step: &Step,
        slot: usize,
        action: &WatchAction,
    ) -> Result<()> {
        self.advance(step).await;
        if !self.streams.contains_key(&slot) {
            let mut pair = WatchPair::open(&self.etcd.connection, &self.subject.connection).await?;
            pair.plant(self.fault);
            self.streams.insert(slot, pair);
        }
        let pair = self.streams.get_mut(&slot).expect("opened above");
        let observed = match action {
            WatchAction::Send(request) => {
                self.coverage.sent(&schema::dynamic("etcdserverpb.WatchRequest", request));
                pair.send(request, &self.log).await
            }
            WatchAction::HalfClose => {
                pair.half_close();
                self.world.half_closed.insert(slot);
                Observed::default()
            }
            WatchAction::Drop => {
                let observed = pair.settle(&self.log).await;
                self.has_spoiled |= pair.has_spoiled();
                self.streams.remove(&slot);
                self.world.half_closed.remove(&slot);
                observed
            }
        };
        let is_behind = observed.is_behind;
        self.observe(step, observed);
        if is_behind {
            let witness =
                self.witness.as_mut().expect("there is one but while the servers restart");
            let observed = witness.pass(&self.log).await;
            self.observe(step, observed);
        }
        self.world.watchers.remove(&slot);
        if let Some(pair) = self.streams.get(&slot) {
            self.world.watchers.insert(slot, pair.ids().collect());
        }
        Ok(())
    }

    /// Waits until the log of events is complete.
    async fn advance(&mut self, step: &Step) {
        let witness = self.witness.as_mut().expect("there is one but while the servers restart");
        let observed = witness.advance(self.world.revision, &mut self.log).await;
        self.observe(step, observed);
    }

    /// Compares what all streams have received.
    pub(super) async fn settle(&mut self, step: &Step) {
        self.advance(step).await;
        let slots: Vec<usize> = self.streams.keys().copied().collect();
        for slot in slots {
            let pair = self.streams.get_mut(&slot).expect("its key was taken above");
            let observed = pair.settle(&self.log).await;
            self.observe(step, observed);
        }
    }

    fn observe(&mut self, step: &Step, observed: Observed) {
        let name = "etcdserverpb.WatchResponse";
        for (one, other) in &observed.responses {
            self.coverage.answered(&schema::dynamic(name, one), &schema::dynamic(name, other));
        }
        self.coverage.answer("/etcdserverpb.Watch/Watch", 0);
        let call = Call { path: "/etcdserverpb.Watch/Watch".to_owned(), ..Call::default() };
        for difference in observed.differences {
            let question = Question {
                world: &self.world,
                call: &call,
                etcd: None,
                subject: None,
                difference: &difference,
            };
            match explained::explanation(question) {
                Some(name) => *self.explained.entry(name).or_default() += 1,
                None => self.report(step.to_string(), difference),
            }
        }
    }
}
