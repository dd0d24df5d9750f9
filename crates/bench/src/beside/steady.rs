//! Puts at a steady rate beside a compaction, a list and a snapshot: what each does to their p99.
//!
//! ```text
//! a round of a server:  garbage · alone · compaction · alone · list · alone · snapshot · alone
//! ```
//!
//! A compaction is over before the puts are: those count that were due while it ran, or in its first
//! second if it took less. Lists and snapshots are repeated as long as the puts last.

use anyhow::Result;

use super::Options;
use super::comparison::{Comparison, Limit, Measured};
use crate::activity::Activity;
use crate::disturbed::{Turns, alone_us};
use crate::load::{Data, in_order, put_all};
use crate::loaded::Loaded;

/// Revisions that a compaction removes.
const GARBAGE: u64 = 500_000;
/// Keys of the list, under a letter of their own, and the bytes of their values: 500 MB.
const LIST_KEYS: u64 = 122_071;
const LIST_VALUE_BYTES: usize = 4096;
/// What the p99 may become, as a multiple of what it is alone.
const P99: Limit = Limit::Itself(1.5);
const ACTIVITIES: [Activity; 3] =
    [Activity::CompactOnce, Activity::ListStreamed, Activity::Snapshot];

/// What is known of one server.
struct Steady<'a> {
    loaded: &'a Loaded,
    list: Data,
    turns: [Turns; ACTIVITIES.len()],
    /// Revisions superseded since the last compaction.
    garbage: u64,
}

/// One line per activity and server.
pub(super) async fn measure(
    servers: &[Loaded],
    options: &Options,
    comparison: &mut Comparison<'_>,
) -> Result<()> {
    let mut all = Vec::new();
    for loaded in servers {
        let list = options.data(options.sized(LIST_KEYS), LIST_VALUE_BYTES).under('l');
        put_all(loaded.server.address, &list, list.keys, in_order).await?;
        loaded.quiet(options.settle).await?;
        // Not counted: connections and caches are new.
        alone_us(loaded, options.pace()).await?;
        let garbage = options.pace().puts();
        all.push(Steady { loaded, list, turns: Default::default(), garbage });
    }
    for _ in 0..options.rounds {
        for steady in &mut all {
            steady.round(options).await?;
        }
    }
    for (i, activity) in ACTIVITIES.into_iter().enumerate() {
        let measured = all.iter().map(|steady| {
            let turns = &steady.turns[i];
            let value = turns.ratio();
            Measured { value, text: format!("{value:.2}× ({turns})") }
        });
        let measured: Vec<Measured> = measured.collect();
        let beside = match activity {
            Activity::CompactOnce => format!("{} revisions are compacted", options.sized(GARBAGE)),
            Activity::ListStreamed => {
                let keys = options.sized(LIST_KEYS);
                format!("lists of {keys} keys with {LIST_VALUE_BYTES} bytes each stream")
            }
            _ => "snapshots stream".to_owned(),
        };
        let what = format!("p99 of {} put/s while {beside}", options.rate);
        comparison.add(&what, P99, &measured)?;
    }
    Ok(())
}

impl Steady<'_> {
    async fn round(&mut self, options: &Options) -> Result<()> {
        let (pace, loaded) = (options.pace(), self.loaded);
        let puts = pace.puts();
        // The puts of the run alone make some, too.
        let missing = options.sized(GARBAGE).saturating_sub(self.garbage + puts);
        loaded.put(missing, Data::scattered).await?;
        loaded.quiet(options.settle).await?;
        let mut before_us = alone_us(loaded, pace).await?;
        for (activity, turns) in ACTIVITIES.into_iter().zip(&mut self.turns) {
            let keys = match activity {
                Activity::ListStreamed => &self.list,
                _ => &loaded.data,
            };
            before_us = turns.take(loaded, pace, activity, keys, before_us).await?;
        }
        // A run after the compaction, and two for each activity behind it.
        self.garbage = puts * 5;
        Ok(())
    }
}
