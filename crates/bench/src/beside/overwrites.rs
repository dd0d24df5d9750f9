//! What few keys that are written often take of the disk: leases of nodes, states of pods.

use std::time::Instant;

use anyhow::Result;

use super::Options;
use super::comparison::Comparison;
use super::footprint::{VALUE_BYTES, WRITTEN, Written, per_s, written};
use crate::load::{Data, in_order};

const KEYS: u64 = 10_000;
const OVERWRITES: u64 = 1_000_000;

/// A fresh server after the other.
pub(super) async fn measure(options: &Options, comparison: &mut Comparison<'_>) -> Result<()> {
    let (keys, overwrites) = (options.sized(KEYS), options.sized(OVERWRITES));
    let mut measured = Vec::new();
    for subject in comparison.subjects() {
        let loaded = options.start(subject, options.data(keys, VALUE_BYTES))?;
        loaded.put(keys, in_order).await?;
        let before = Written::begin(&loaded)?;
        let begin = Instant::now();
        loaded.put(overwrites, Data::scattered).await?;
        let puts_per_s = per_s(overwrites, begin.elapsed());
        loaded.quiet(options.settle).await?;
        measured.push(written(before.per_put(&loaded, overwrites)?, puts_per_s));
    }
    let what = format!("bytes written to disk per put, {overwrites} overwrites of {keys} keys");
    comparison.add(&what, WRITTEN, &measured)
}
