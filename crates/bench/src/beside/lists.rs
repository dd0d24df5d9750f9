//! What it takes to count a million keys and to list a tenth of them, in each way there is.
//!
//! The servers take turns with every single request. The client reads the bytes of a list and looks
//! at none: they are counted, so that a list that lacks something is no fast list.

use std::time::Instant;

use anyhow::{Result, ensure};
use metastore_proto::etcdserverpb::{RangeRequest, RangeResponse};

use super::Options;
use super::comparison::{Comparison, Limit, Measured};
use super::footprint::KEYS;
use crate::activity::{PAGE_KEYS, all_keys, list_pages};
use crate::latency::median;
use crate::load::Data;
use crate::loaded::Loaded;
use crate::wire::{Connection, WINDOW_BYTES, method};

/// Keys of a list.
const LIST_KEYS: u64 = KEYS / 10;
/// What counting may take, as a multiple of the other's: a twentieth.
const COUNT: Limit = Limit::OfReference { memory: Some(0.05), rocksdb: Some(0.05) };
const COUNT_TURNS: u32 = 100;
const LIST_TURNS: u32 = 10;

#[derive(Clone, Copy, Debug)]
enum Way {
    Count,
    Unary,
    Streamed,
    Paginated,
}

/// One line per way and server.
pub(super) async fn measure(
    servers: &[Loaded],
    options: &Options,
    comparison: &mut Comparison<'_>,
) -> Result<()> {
    let mut readers = Vec::new();
    for loaded in servers {
        let connection = Connection::open(loaded.server.address, WINDOW_BYTES).await?;
        readers.push((connection, loaded.data.clone()));
    }
    let (keys, list_keys) = (options.sized(KEYS), options.sized(LIST_KEYS));
    let list = format!("a list of {list_keys} keys");
    for (way, what) in [
        (Way::Count, format!("counting {keys} keys")),
        (Way::Unary, format!("{list}, unary")),
        (Way::Streamed, format!("{list}, streamed")),
        (Way::Paginated, format!("{list}, in pages of {PAGE_KEYS}")),
    ] {
        let listed = if let Way::Count = way { keys } else { list_keys };
        let measured = in_turn(way, listed, &readers).await?;
        let limit = if let Way::Count = way { COUNT } else { Limit::None };
        comparison.add(&what, limit, &measured)?;
    }
    Ok(())
}

async fn in_turn(way: Way, keys: u64, readers: &[(Connection, Data)]) -> Result<Vec<Measured>> {
    let turns = if let Way::Count = way { COUNT_TURNS } else { LIST_TURNS };
    let mut samples_ms = vec![Vec::new(); readers.len()];
    for turn in 0..=turns {
        for ((connection, data), samples_ms) in readers.iter().zip(&mut samples_ms) {
            let begin = Instant::now();
            read(way, connection, &data.with_keys(keys)).await?;
            // The first is not counted: caches are cold.
            if turn > 0 {
                samples_ms.push(begin.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    let medians_ms = samples_ms.into_iter().map(median);
    Ok(medians_ms.map(|ms| Measured { value: ms, text: format!("{ms:.3} ms") }).collect())
}

async fn read(way: Way, connection: &Connection, data: &Data) -> Result<()> {
    let (all, mut bytes) = (all_keys(data), 0);
    match way {
        Way::Count => {
            let count = RangeRequest { count_only: true, ..all };
            let counted: RangeResponse = connection.call(method::RANGE, &count).await?;
            ensure!(counted.count == i64::try_from(data.keys)?, "counted {}", counted.count);
            return Ok(());
        }
        Way::Unary => connection.begin(method::RANGE, &all, true).await?.drain(&mut bytes).await?,
        Way::Streamed => {
            let responses = connection.begin(method::RANGE_STREAM, &all, true).await?;
            responses.drain(&mut bytes).await?;
        }
        Way::Paginated => list_pages(connection, data, &mut bytes).await?,
    }
    ensure!(bytes > data.bytes(), "{bytes} bytes came, and the values alone are {}", data.bytes());
    Ok(())
}
