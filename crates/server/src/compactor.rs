//! Drives the [`Compactor`]: tells it the time and the revision, and
//! proposes what it asks for.
//!
//! Its compactions are ordinary ones: they go through the log, and clients cannot tell them from
//! those that a client has asked for.

use std::time::{Duration, Instant};

use node::compactor::{Compactor, Policy};
use state::Revision;
use state::command::{Compact, Operation};
use state::outcome::Refusal;
use tokio_util::sync::CancellationToken;

use crate::config::AutoCompaction;
use crate::handle::NodeHandle;

/// What the configuration asks for.
#[must_use]
pub fn policy(setting: &AutoCompaction) -> Option<Policy> {
    match *setting {
        AutoCompaction::Off => None,
        AutoCompaction::Periodic(period) => {
            let period_ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
            Some(Policy::Periodic { period_ms: period_ms.max(1) })
        }
        AutoCompaction::Revision(keep) => Some(Policy::Revisions { keep }),
    }
}

/// Compacts by `policy` until the member stops.
pub async fn run(policy: Policy, handle: NodeHandle, draining: CancellationToken) {
    let begun = Instant::now();
    let now_ms = || u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut compactor = Compactor::new(policy, 0);
    compactor.begin(0, handle.reader().revision());
    let mode = match policy {
        Policy::Periodic { .. } => "periodic",
        Policy::Revisions { .. } => "revision",
    };
    loop {
        let wait_ms = compactor.next_tick_ms().saturating_sub(now_ms());
        tokio::select! {
            () = draining.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
        }
        let leads = handle.status().leader == handle.member_id().0;
        let Some(target) = compactor.tick(now_ms(), handle.reader().revision(), leads) else {
            continue;
        };
        let revision = target.0;
        tracing::info!(revision, "starting auto {mode} compaction");
        let started = Instant::now();
        match compact(&handle, target).await {
            Ok(()) => {
                compactor.finished(target, now_ms());
                let took = format!("{:?}", started.elapsed());
                tracing::info!(revision, took, "completed auto {mode} compaction");
            }
            Err(error) => tracing::warn!(revision, error, "failed auto {mode} compaction"),
        }
    }
}

async fn compact(handle: &NodeHandle, target: Revision) -> Result<(), String> {
    let operation = Operation::Compact(Compact { revision: target.0 });
    let answer = handle.propose(operation).await.map_err(|unserved| unserved.to_string())?;
    match answer.applied {
        // Somebody else has been here.
        Ok(_) | Err(Refusal::Compacted) => Ok(()),
        Err(refusal) => Err(refusal.to_string()),
    }
}
