//! Random worlds: whatever is written, compacted, delayed, lost by overflow or left unread, each
//! watcher's events are the filtered history from its start, and signs of progress are true.

mod watch_world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use state::Revision;
use state::watch::{WatchCreate, WatchRequest};
use watch_world::client::{Client, Statistics};
use watch_world::{Change, Faults, PROGRESS_PERIOD_MS, Sizes, WatchResponse, World};

const LANES: usize = 2;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Happening {
    Write(Vec<(u8, Option<u8>)>),
    Publish,
    /// To the revision that lies so many percent between the last compaction and the present.
    Compact(u8),
    Sweep,
    Hear(usize),
    Deliver(usize),
    Step(usize),
    Read(usize),
    Create(usize, WatchCreate),
    /// Of the watchers there are, this one modulo their number.
    Cancel(usize, usize),
    AskProgress(usize),
    Tick(usize),
    /// Everything in flight arrives.
    Rest,
}

fn key_name(key: u8) -> String {
    char::from(b'a' + key).to_string()
}

fn any_create() -> impl Strategy<Value = WatchCreate> {
    let key = prop_oneof![1 => Just(String::new()), 9 => (0u8..4).prop_map(key_name)];
    let end = prop_oneof![
        5 => Just(String::new()),
        2 => Just("\0".to_owned()),
        4 => (0u8..5).prop_map(key_name),
    ];
    let start = prop_oneof![4 => Just(0), 5 => 1i64..12, 1 => 12i64..40, 1 => Just(-1)];
    // Not -1: its progress would look like that of the whole stream, as in etcd.
    let id = prop_oneof![8 => Just(0), 2 => prop_oneof![Just(-2i64), 1i64..4]];
    (key, end, start, id, any::<[bool; 3]>(), any::<u8>()).prop_map(
        |(key, end, start_revision, watch_id, [progress_notify, prev_kv, fragment], filters)| {
            WatchCreate {
                key: Bytes::from(key),
                range_end: Bytes::from(end),
                start_revision,
                progress_notify,
                no_put: filters % 5 == 1,
                no_delete: filters % 5 == 2,
                prev_kv,
                watch_id,
                fragment,
            }
        },
    )
}

fn any_happening() -> impl Strategy<Value = Happening> {
    let lane = 0..LANES;
    let change = (0u8..4, proptest::option::weighted(0.7, 0u8..60));
    prop_oneof![
        10 => proptest::collection::vec(change, 1..4).prop_map(Happening::Write),
        6 => Just(Happening::Publish),
        1 => (0u8..=100).prop_map(Happening::Compact),
        1 => Just(Happening::Sweep),
        8 => lane.clone().prop_map(Happening::Hear),
        8 => lane.clone().prop_map(Happening::Deliver),
        10 => lane.clone().prop_map(Happening::Step),
        6 => lane.clone().prop_map(Happening::Read),
        2 => (lane.clone(), any_create()).prop_map(|(lane, create)| Happening::Create(lane, create)),
        1 => (lane.clone(), any::<usize>()).prop_map(|(lane, which)| Happening::Cancel(lane, which)),
        4 => lane.clone().prop_map(Happening::AskProgress),
        2 => lane.prop_map(Happening::Tick),
        3 => Just(Happening::Rest),
    ]
}

fn any_sizes() -> impl Strategy<Value = Sizes> {
    (1usize..5, 1usize..300, 1usize..5, 40usize..300, 1usize..6, 1usize..300).prop_map(
        |(queue, outbox_bytes, outbox_responses, fragment_bytes, revisions, bytes)| Sizes {
            queue,
            outbox_bytes,
            outbox_responses,
            fragment_bytes,
            catch_up_revisions: revisions,
            catch_up_bytes: bytes,
        },
    )
}

fn any_story() -> impl Strategy<Value = (Sizes, Vec<Happening>)> {
    (any_sizes(), proptest::collection::vec(any_happening(), 1..300))
}

/// A world with a suspicious client at each stream.
struct Trial {
    world: World,
    clients: Vec<Client>,
    spoil: Spoil,
    now_ms: u64,
}

/// What happens to responses between stream and client, to see that clients notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoil {
    Nothing,
    /// Signs of progress claim one revision too much.
    ProgressAhead,
    /// Every seventh response with events is lost.
    Lose,
    /// Every seventh response with events comes twice.
    Repeat,
    /// The first two events of every seventh response change places.
    Swap,
}

impl Trial {
    fn run(
        sizes: Sizes,
        story: &[Happening],
        faults: Faults,
        spoil: Spoil,
    ) -> Result<Statistics, String> {
        let mut world = World::new();
        world.faults = faults;
        let mut clients = Vec::new();
        for _ in 0..LANES {
            world.open(sizes);
            clients.push(Client::new(sizes.fragment_bytes));
        }
        let mut trial = Trial { world, clients, spoil, now_ms: 0 };
        for happening in story {
            trial.happen(happening)?;
        }
        trial.happen(&Happening::Rest)?;
        trial.ask_everybody()?;
        let mut sum = Statistics::default();
        for client in &trial.clients {
            client.check_complete(&trial.world.store)?;
            sum.events += client.statistics.events;
            sum.previous += client.statistics.previous;
            sum.fragments += client.statistics.fragments;
            sum.progress += client.statistics.progress;
            sum.compacted += client.statistics.compacted;
        }
        Ok(sum)
    }

    /// Whatever has happened before: at rest, progress is answered, and with the present.
    fn ask_everybody(&mut self) -> Result<(), String> {
        for lane in 0..LANES {
            if !self.clients[lane].may_expect_progress(&self.world.store) {
                continue;
            }
            self.clients[lane].progress_requests = 0;
            self.happen(&Happening::AskProgress(lane))?;
            let answers = self.world.settle(&[true; LANES]);
            let [(_, answer)] = &answers[..] else {
                return Err(format!("asked for progress at rest and got {answers:?}"));
            };
            if answer.revision() != self.world.store.revision.0 {
                return Err(format!("progress at rest is {}", answer.revision()));
            }
            self.client_gets(lane, answer.clone())?;
        }
        Ok(())
    }

    fn happen(&mut self, happening: &Happening) -> Result<(), String> {
        match happening {
            Happening::Write(changes) => {
                // A transaction may change a key once.
                let mut keys = std::collections::BTreeSet::new();
                let changes: Vec<Change> = changes
                    .iter()
                    .filter(|(key, _)| keys.insert(*key))
                    .map(|(key, value)| match value {
                        Some(size) => {
                            let value = "v".repeat(usize::from(*size));
                            Change::Put(key_name(*key), value)
                        }
                        None => Change::Delete(key_name(*key)),
                    })
                    .collect();
                self.world.write(&changes);
            }
            Happening::Publish => self.world.publish(),
            Happening::Compact(percent) => {
                let first = self.world.store.compacted.map_or(1, |compacted| compacted.0 + 1);
                let last = self.world.store.revision.0;
                if first <= last {
                    let to = first + (last - first) * i64::from(*percent) / 100;
                    self.world.store.compact(Revision(to));
                }
            }
            Happening::Sweep => self.world.store.sweep(),
            Happening::Hear(lane) => self.world.hear(*lane),
            Happening::Deliver(lane) => drop(self.world.deliver(*lane)),
            Happening::Step(lane) => drop(self.world.step(*lane)),
            Happening::Read(lane) => {
                for response in self.world.take(*lane) {
                    self.client_gets(*lane, response)?;
                }
            }
            Happening::Create(lane, create) => {
                self.clients[*lane].creating.push_back(create.clone());
                self.world.request(*lane, WatchRequest::Create(create.clone()));
            }
            Happening::Cancel(lane, which) => {
                let client = &mut self.clients[*lane];
                let mut ids = client.watchers.keys().filter(|id| !client.canceling.contains(id));
                let count = ids.clone().count();
                if count > 0 {
                    let watch_id = *ids.nth(which % count).expect("below the count");
                    client.canceling.push(watch_id);
                    self.world.request(*lane, WatchRequest::Cancel { watch_id });
                }
            }
            Happening::AskProgress(lane) => {
                self.clients[*lane].progress_requests += 1;
                self.world.request(*lane, WatchRequest::Progress);
            }
            Happening::Tick(lane) => {
                self.now_ms += PROGRESS_PERIOD_MS;
                self.world.tick(*lane, self.now_ms);
            }
            Happening::Rest => {
                for (lane, response) in self.world.settle(&[true; LANES]) {
                    self.client_gets(lane, response)?;
                }
            }
        }
        Ok(())
    }

    fn client_gets(&mut self, lane: usize, mut response: WatchResponse) -> Result<(), String> {
        let client = &mut self.clients[lane];
        let control = response.created || response.canceled;
        let spoiled = !control && !response.events.is_empty() && client.statistics.events % 7 == 6;
        match self.spoil {
            Spoil::ProgressAhead if !control && response.events.is_empty() => {
                response.header.as_mut().expect("a header").revision += 1;
            }
            Spoil::Lose if spoiled => {
                client.statistics.events += 1;
                return Ok(());
            }
            Spoil::Repeat if spoiled => client.check(&response, &self.world.store)?,
            Spoil::Swap if spoiled && response.events.len() > 1 => response.events.swap(0, 1),
            _ => {}
        }
        client.check(&response, &self.world.store)
    }
}

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases = asked.unwrap_or(400);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_watcher_sees_the_filtered_history_once_and_in_order(
        (sizes, story) in any_story(),
    ) {
        if let Err(error) = Trial::run(sizes, &story, Faults::default(), Spoil::Nothing) {
            prop_assert!(false, "{}", error);
        }
    }
}

/// How many of `count` random stories end with a complaint.
fn complaints(count: usize, faults: Faults, spoil: Spoil) -> usize {
    let mut runner = TestRunner::deterministic();
    (0..count)
        .filter(|_| {
            let tree = any_story().new_tree(&mut runner).expect("a story");
            let (sizes, story) = tree.current();
            let run = AssertUnwindSafe(|| Trial::run(sizes, &story, faults, spoil));
            // A stream that finds its queue out of order panics: that is a complaint, too.
            !matches!(catch_unwind(run), Ok(Ok(_)))
        })
        .count()
}

#[test]
fn without_a_fault_nobody_complains_and_everything_occurs() {
    let mut runner = TestRunner::deterministic();
    let mut sum = Statistics::default();
    for _ in 0..200 {
        let (sizes, story) = any_story().new_tree(&mut runner).expect("a story").current();
        let seen = Trial::run(sizes, &story, Faults::default(), Spoil::Nothing)
            .expect("the world is in order");
        sum.events += seen.events;
        sum.previous += seen.previous;
        sum.fragments += seen.fragments;
        sum.progress += seen.progress;
        sum.compacted += seen.compacted;
    }
    assert!(sum.events > 2000, "{sum:?}");
    assert!(sum.previous > 100 && sum.fragments > 20, "{sum:?}");
    assert!(sum.progress > 50 && sum.compacted > 20, "{sum:?}");
}

#[test]
fn a_delivery_that_is_lost_without_a_word_is_noticed() {
    let faults = Faults { lose: Some(3), ..Faults::default() };
    let count = complaints(100, faults, Spoil::Nothing);
    assert!(count > 10, "{count} of 100");
}

#[test]
fn a_delivery_that_comes_twice_is_noticed() {
    let faults = Faults { repeat: Some(3), ..Faults::default() };
    let count = complaints(100, faults, Spoil::Nothing);
    assert!(count > 10, "{count} of 100");
}

#[test]
fn an_answer_that_overtakes_deliveries_is_noticed() {
    let faults = Faults { early_answers: true, ..Faults::default() };
    let count = complaints(100, faults, Spoil::Nothing);
    assert!(count > 5, "{count} of 100");
}

#[test]
fn responses_spoiled_on_their_way_are_noticed() {
    for spoil in [Spoil::ProgressAhead, Spoil::Lose, Spoil::Repeat, Spoil::Swap] {
        let count = complaints(100, Faults::default(), spoil);
        assert!(count > 3, "{spoil:?}: {count} of 100");
    }
}

/// However long a client reads nothing, its stream keeps one outbox, one batch in hand and a queue
/// of four; the other stream is served all the while.
#[test]
fn a_client_that_stops_reading_holds_a_constant() {
    const OUTBOX_BYTES: usize = 4096;
    const VALUE_BYTES: usize = 1000;
    let sizes = Sizes { outbox_bytes: OUTBOX_BYTES, catch_up_bytes: 4096, ..Sizes::default() };
    let mut world = World::new();
    let mut clients = [Client::default(), Client::default()];
    for (lane, client) in clients.iter_mut().enumerate() {
        world.open(sizes);
        for _ in 0..20 {
            let create = WatchCreate {
                range_end: Bytes::from_static(b"\0"),
                prev_kv: true,
                ..WatchCreate::default()
            };
            client.creating.push_back(create.clone());
            world.request(lane, WatchRequest::Create(create));
        }
    }
    let mut held = Vec::new();
    for round in 0..500 {
        world.write(&[Change::Put(format!("key{}", round % 7), "v".repeat(VALUE_BYTES))]);
        world.publish();
        // Lane 0 works as long as its outbox lets it, but nobody takes anything out.
        for _ in 0..5 {
            world.hear(0);
            world.deliver(0);
            world.step(0);
        }
        for (lane, response) in world.settle(&[false, true]) {
            clients[lane].check(&response, &world.store).expect("the other client is served");
        }
        if round >= 100 {
            held.push((world.batches_alive(), world.lanes[0].outbox.bytes_held()));
        }
    }
    assert_eq!(clients[1].statistics.events, 500 * 20);
    assert!(held.iter().all(|now| now == &held[0]), "what is held changes: {held:?}");
    let (batches, outbox_bytes) = held[0];
    assert!(batches <= 5, "{batches} batches");
    let response_bytes_max = 2 * VALUE_BYTES + 200;
    assert!(outbox_bytes <= OUTBOX_BYTES + response_bytes_max, "{outbox_bytes} bytes");

    for (lane, response) in world.settle(&[true, true]) {
        clients[lane].check(&response, &world.store).expect("it gets everything when it reads");
    }
    clients[0].check_complete(&world.store).expect("nothing is lost");
    assert_eq!(clients[0].statistics.events, 500 * 20);
}

fn watch_a() -> WatchRequest {
    let key = Bytes::from_static(b"a");
    WatchRequest::Create(WatchCreate { key, progress_notify: true, ..WatchCreate::default() })
}

fn put_a(world: &mut World) {
    world.write(&[Change::Put("a".to_owned(), "1".to_owned())]);
    world.publish();
}

#[test]
fn what_happens_while_a_stream_asks_to_rejoin_comes_from_history() {
    let mut world = World::new();
    world.open(Sizes { queue: 1, ..Sizes::default() });
    world.request(0, watch_a());
    world.settle(&[true]);
    for _ in 0..3 {
        put_a(&mut world);
    }
    assert_eq!(world.overflows, 1);
    // What was queued, then the loss; then everything is read and the stream asks to rejoin.
    while world.deliver(0) || world.step(0) {}
    assert_eq!(world.take(0).len(), 2);
    // The hub has not heard the request yet and does not deliver this.
    put_a(&mut world);
    let got = world.settle(&[true]);
    assert_eq!(got.iter().map(|(_, response)| response.revision()).collect::<Vec<_>>(), [5]);
}

#[test]
fn a_watcher_that_hears_something_before_its_sign_of_progress_gets_none() {
    let mut world = World::new();
    world.open(Sizes::default());
    world.request(0, watch_a());
    world.settle(&[true]);
    world.tick(0, PROGRESS_PERIOD_MS);
    put_a(&mut world);
    let got = world.settle(&[true]);
    assert_eq!(got.len(), 1, "{got:?}");
    assert_eq!(got[0].1.events.len(), 1);
    world.tick(0, 2 * PROGRESS_PERIOD_MS);
    assert!(world.settle(&[true]).is_empty(), "it heard something since the last tick");
    world.tick(0, 3 * PROGRESS_PERIOD_MS);
    let got = world.settle(&[true]);
    assert_eq!((got.len(), got[0].1.events.len(), got[0].1.revision()), (1, 0, 2));
}
