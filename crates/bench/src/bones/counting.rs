//! What it costs to count a range and to read a page of it.
//!
//! The cost inside the server is estimated as the latency of the request less that of a get which
//! finds nothing: the way there and back is the same. The requests take turns, so that whatever
//! disturbs the machine disturbs them alike.

use std::time::Instant;

use anyhow::{Result, ensure};
use metastore_proto::etcdserverpb::{RangeRequest, RangeResponse};

use crate::activity::{PAGE_KEYS, all_keys, revision};
use crate::latency::median;
use crate::loaded::Loaded;
use crate::report::{Report, Row};
use crate::wire::{Connection, WINDOW_BYTES, method};

/// What counting may cost.
const COUNT_US_MAX: f64 = 20.0;
/// How far back the past is.
const REVISIONS_BACK: i64 = 1000;
/// What one page may cost more than another, as a multiple.
const PAGE_RATIO_MAX: f64 = 1.2;
const TURNS: usize = 2000;
const PAGE_TURNS: usize = 300;

pub(super) async fn measure(loaded: &Loaded, report: &mut Report<'_>) -> Result<()> {
    let data = &loaded.data;
    let connection = Connection::open(loaded.server.address, WINDOW_BYTES).await?;
    let now = revision(&connection, data).await?;
    let past = now - REVISIONS_BACK;

    let nothing = RangeRequest { key: "nothing".into(), ..RangeRequest::default() };
    let count = RangeRequest { count_only: true, ..all_keys(data) };
    let count_past = RangeRequest { revision: past, ..count.clone() };
    let keys = i64::try_from(data.keys)?;
    // Only new keys have been put so far, one a revision.
    let requests = [(nothing, 0), (count, keys), (count_past, keys - REVISIONS_BACK)];
    let [nothing_us, count_us, past_us] = medians(&connection, &requests, TURNS).await?;
    for (what, us) in [("now", count_us), ("1,000 revisions back", past_us)] {
        let what = format!("counting {keys} keys, {what}");
        let detail = format!("{us:.0} µs to the client, {nothing_us:.0} µs for an empty get");
        report.add(&Row::at_most(&what, us - nothing_us, COUNT_US_MAX, " µs", &detail))?;
    }

    let page = |first: u64| {
        let left = data.keys - first;
        let limit = i64::try_from(PAGE_KEYS).expect("small");
        let request = RangeRequest { key: data.key(first), limit, ..all_keys(data) };
        (request, i64::try_from(left).expect("fewer than 2^63 keys"))
    };
    let pages = [page(0), page(data.keys / 2), page(data.keys - PAGE_KEYS)];
    let us = medians(&connection, &pages, PAGE_TURNS).await?;
    let (most, least) =
        (us.into_iter().fold(0.0, f64::max), us.into_iter().fold(f64::MAX, f64::min));
    let detail = format!("start {:.0} µs, middle {:.0} µs, end {:.0} µs", us[0], us[1], us[2]);
    let what = format!("dearest to cheapest page of {PAGE_KEYS} of {keys} keys");
    report.add(&Row::at_most(&what, most / least, PAGE_RATIO_MAX, "×", &detail))?;
    Ok(())
}

/// The latencies of requests that take turns, each with the count it must be answered with.
async fn medians<const N: usize>(
    connection: &Connection,
    requests: &[(RangeRequest, i64); N],
    turns: usize,
) -> Result<[f64; N]> {
    let mut samples: [Vec<f64>; N] = std::array::from_fn(|_| Vec::with_capacity(turns));
    for _ in 0..turns {
        for ((request, count), samples) in requests.iter().zip(&mut samples) {
            let begin = Instant::now();
            let response: RangeResponse = connection.call(method::RANGE, request).await?;
            samples.push(begin.elapsed().as_secs_f64() * 1e6);
            ensure!(response.count == *count, "counted {}, expected {count}", response.count);
        }
    }
    Ok(samples.map(median))
}
