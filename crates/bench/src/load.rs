//! Puts: as many as the server takes, or at a given rate.
//!
//! ```text
//! pacer thread ──due──▶ one task per put ──▶ latency = answered - due
//! ```
//!
//! At a rate the load is *open loop*: a put is sent when it is due, whether or not those before it
//! have been answered. A server that stops for 100 ms at 5,000 puts/s so makes 500 of them slow, as
//! it would for 500 clients that know nothing of each other; a client that waits for its answer
//! would show one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::{BufMut as _, Bytes, BytesMut};
use metastore_proto::etcdserverpb::{PutRequest, PutResponse};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::latency::Timed;
use crate::values::Values;
use crate::wire::{Connection, WINDOW_BYTES, method};

/// Puts in flight where throughput counts: enough for any group commit.
const IN_FLIGHT: usize = 512;
/// Connections that share them.
const CONNECTIONS: usize = 16;
/// Puts become due in bursts, each so long after the last: a wake-up for each put would cost more
/// than the put.
const BURST: Duration = Duration::from_millis(1);
/// The time that a value begins with.
const STAMP_BYTES: usize = 8;
/// A put that takes longer fails the run.
const STUCK: Duration = Duration::from_secs(30);
/// Spreads the keys that are put in turn over the whole key space.
const STRIDE: u64 = 2_654_435_761;

/// The keys and values of a benchmark.
#[derive(Clone)]
pub(crate) struct Data {
    /// How many keys there are.
    pub(crate) keys: u64,
    folder: char,
    key_bytes: usize,
    values: Values,
}

impl Data {
    pub(crate) fn new(keys: u64, key_bytes: usize, values: Values) -> Data {
        let value_bytes = values.value_bytes();
        assert!(value_bytes >= STAMP_BYTES, "no room for a time in {value_bytes} bytes");
        Data { keys, folder: 'k', key_bytes, values }
    }

    /// The same with so many keys.
    pub(crate) fn with_keys(&self, keys: u64) -> Data {
        Data { keys, ..self.clone() }
    }

    /// The same under another letter, so that both can be in one store.
    pub(crate) fn under(self, folder: char) -> Data {
        Data { folder, ..self }
    }

    /// Key number `number`; keys sort as their numbers.
    pub(crate) fn key(&self, number: u64) -> Bytes {
        format!("{}/{number:0width$}", self.folder, width = self.key_bytes - 2).into()
    }

    /// Where the keys end.
    pub(crate) fn end(&self) -> Bytes {
        self.key(self.keys)
    }

    /// Bytes of all values.
    pub(crate) fn bytes(&self) -> u64 {
        self.keys * u64::try_from(self.values.value_bytes()).expect("64 bits")
    }

    /// A key that comes `turn`th when all are visited out of order.
    pub(crate) fn scattered(&self, turn: u64) -> u64 {
        turn.wrapping_mul(STRIDE) % self.keys
    }

    /// A put whose value begins with a time, in nanoseconds since an instant that both ends know.
    fn put(&self, number: u64, stamp: Duration) -> PutRequest {
        let text = self.values.next();
        let mut value = BytesMut::with_capacity(text.len());
        value.put_u64(u64::try_from(stamp.as_nanos()).expect("less than 500 years"));
        value.extend_from_slice(&text[STAMP_BYTES..]);
        PutRequest { key: self.key(number), value: value.freeze(), ..PutRequest::default() }
    }
}

/// Opens some connections.
async fn connect(address: SocketAddr) -> Result<Arc<[Connection]>> {
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(address, WINDOW_BYTES).await?);
    }
    Ok(connections.into())
}

/// Puts the first `turns` of these keys as fast as the server takes them.
pub(crate) async fn put_all(
    address: SocketAddr,
    data: &Data,
    turns: u64,
    key_of: fn(&Data, u64) -> u64,
) -> Result<()> {
    let connections = connect(address).await?;
    let next = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for i in 0..IN_FLIGHT {
        let connection = connections[i % connections.len()].clone();
        let (data, next) = (data.clone(), next.clone());
        clients.spawn(async move {
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                if turn >= turns {
                    return anyhow::Ok(());
                }
                let put = data.put(key_of(&data, turn), Duration::ZERO);
                connection.call::<PutResponse>(method::PUT, &put).await?;
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(())
}

/// Puts in the order of the keys.
pub(crate) fn in_order(_data: &Data, turn: u64) -> u64 {
    turn
}

/// Puts at a rate.
pub(crate) struct Paced<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) data: &'a Data,
    /// Per second.
    pub(crate) rate: u64,
    pub(crate) lasting: Duration,
    /// What the stamps in the values count from.
    pub(crate) epoch: Instant,
}

impl Paced<'_> {
    /// Runs and answers with the latency of each put, counted from when it was due.
    pub(crate) async fn run(&self) -> Result<Timed> {
        let connections = connect(self.address).await?;
        let mut due = pacer(self.rate, self.lasting);
        let mut puts: JoinSet<Result<(Instant, Duration)>> = JoinSet::new();
        let mut latencies = Timed::default();
        let mut turn = 0;
        while let Some((at, count)) = due.recv().await {
            for _ in 0..count {
                let lane = usize::try_from(turn).expect("64 bits") % connections.len();
                let connection = connections[lane].clone();
                let put = self.data.put(self.data.scattered(turn), at - self.epoch);
                puts.spawn(async move {
                    let call = connection.call::<PutResponse>(method::PUT, &put);
                    tokio::time::timeout(STUCK, call).await.context("a put is stuck")??;
                    Ok((at, at.elapsed()))
                });
                turn += 1;
            }
            while let Some(put) = puts.try_join_next() {
                latencies.push(put??);
            }
        }
        while let Some(put) = puts.join_next().await {
            latencies.push(put??);
        }
        Ok(latencies)
    }
}

/// Tells when puts are due, and how many. A thread of its own: the runtime's timers are coarse.
fn pacer(rate: u64, lasting: Duration) -> mpsc::UnboundedReceiver<(Instant, u64)> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let start = Instant::now();
        let (mut at, mut sent) = (start, 0);
        while at - start < lasting {
            at += BURST;
            if let Some(wait) = at.checked_duration_since(Instant::now()) {
                std::thread::sleep(wait);
            }
            let due = puts_due(rate, at - start);
            if sender.send((at, due - sent)).is_err() {
                return;
            }
            sent = due;
        }
    });
    receiver
}

/// How many puts are due in all after so long.
pub(crate) fn puts_due(rate: u64, after: Duration) -> u64 {
    rate * u64::try_from(after.as_micros()).expect("less than 500,000 years") / 1_000_000
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn bursts_add_up_to_the_rate_even_if_it_is_no_multiple() {
        assert_eq!(puts_due(5000, Duration::from_millis(1)), 5);
        assert_eq!(puts_due(700, Duration::from_millis(1)), 0);
        assert_eq!(puts_due(700, Duration::from_secs(3)), 2100);
    }

    #[test]
    fn keys_sort_as_their_numbers_and_stand_before_the_end() {
        let data = Data::new(1000, 64, Values::like_objects(16));
        assert!(data.key(9) < data.key(10));
        assert!(data.key(999) < data.end());
        assert!(data.with_keys(10).key(10) >= data.with_keys(10).end());
        assert!(data.end() < data.clone().under('l').key(0));
        assert_eq!(data.key(7).len(), 64);
    }

    #[test]
    fn scattered_turns_visit_every_key() {
        let data = Data::new(20_000, 32, Values::like_objects(16));
        let visited: BTreeSet<u64> = (0..data.keys).map(|turn| data.scattered(turn)).collect();
        assert_eq!(visited.len(), 20_000);
    }
}
