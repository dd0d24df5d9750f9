//! A watch that is taken up again where it broke.
//!
//! ```text
//! events of revision 7 │ 8 │ 9 │ ✂ the server goes away
//!                                 a new stream, from 10 on
//! ```
//!
//! All events of a revision come in one response, as long as fragments are not asked for: after the
//! last event of 9 the next is of 10 or later, and nothing is lost or told twice.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use etcd_client::{Client, Error, Event, EventType, WatchOptions, WatchStream};

use crate::{PATIENCE, pair, say};

/// The events of a prefix.
pub struct Events {
    client: Client,
    prefix: &'static str,
    next_revision: i64,
    stream: WatchStream,
    waiting: VecDeque<Event>,
}

impl Events {
    /// Follows the prefix from a revision on.
    pub async fn of(
        client: &Client,
        prefix: &'static str,
        next_revision: i64,
    ) -> Result<Events, Error> {
        let mut client = client.clone();
        let stream = open(&mut client, prefix, next_revision).await?;
        Ok(Events { client, prefix, next_revision, stream, waiting: VecDeque::new() })
    }

    /// Prints so many events.
    pub async fn tell(&mut self, count: usize) -> Result<(), Error> {
        for _ in 0..count {
            let event = self.next().await?;
            let kv = event.kv().expect("an event has a key");
            let (revision, before) = (kv.mod_revision(), event.prev_kv());
            let before = before.map_or("nothing".into(), |kv| String::from_utf8_lossy(kv.value()));
            match event.event_type() {
                EventType::Put => say(&format!("put {} at {revision}, before {before}", pair(kv))),
                EventType::Delete => {
                    let key = String::from_utf8_lossy(kv.key());
                    say(&format!("delete {key} at {revision}, before {before}"));
                }
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Event, Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(event);
            }
            let response = tokio::time::timeout(PATIENCE, self.stream.message());
            match response.await.expect("a watch is silent") {
                Ok(Some(response)) => {
                    assert!(!response.canceled(), "canceled: {}", response.cancel_reason());
                    let last = response.events().last().and_then(Event::kv);
                    if let Some(kv) = last {
                        self.next_revision = kv.mod_revision() + 1;
                    }
                    self.waiting.extend(response.events().iter().cloned());
                }
                Ok(None) | Err(_) => self.reopen(deadline).await?,
            }
        }
    }

    async fn reopen(&mut self, deadline: Instant) -> Result<(), Error> {
        loop {
            match open(&mut self.client, self.prefix, self.next_revision).await {
                Ok(stream) => {
                    self.stream = stream;
                    return Ok(());
                }
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

async fn open(client: &mut Client, prefix: &str, revision: i64) -> Result<WatchStream, Error> {
    let options = WatchOptions::new().with_prefix().with_start_revision(revision).with_prev_key();
    client.watch(prefix, Some(options)).await
}
