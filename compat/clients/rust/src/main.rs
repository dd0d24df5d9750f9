//! The story of `compat/clients/story.txt`, told with the Rust client `etcd-client`.
//!
//! ```text
//! story 127.0.0.1:2379
//! ```
//!
//! A line that begins with `@` asks whoever runs this to do something to the server, and waits for
//! a line on standard input.
//!
//! The client does not take up a broken watch again and sends a renewal only when told: programs
//! that use it do both, and so does this one. [`watch::Events`] is how.

mod watch;

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, Error, GetOptions, GetResponse, KeyValue,
    LeaseTimeToLiveOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse,
};
use watch::Events;

/// How long anything may take before the story is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// A lease of three seconds that is renewed so often, once a second, has outlived its own time.
const BEATS: usize = 4;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let endpoint = std::env::args().nth(1).expect("host:port of the server");
    let mut client = Client::connect([endpoint], None).await?;
    keys(&mut client).await?;
    transactions(&mut client).await?;
    watches(&mut client).await?;
    leases(&mut client).await?;
    say("@end");
    Ok(())
}

async fn keys(client: &mut Client) -> Result<(), Error> {
    say("## keys");
    let put = client.put("plan/a", "1", None).await?;
    say(&format!("put: revision {}", put.header().expect("a header").revision()));
    let again = client.put("plan/a", "2", Some(PutOptions::new().with_prev_key())).await?;
    let before = show(again.prev_key().expect("there was one"));
    let revision = again.header().expect("a header").revision();
    say(&format!("put again: revision {revision}, before: {before}"));
    client.put("plan/b", "1", None).await?;
    client.put("plan/c", "1", None).await?;
    say(&format!("get: {}", show(&client.get("plan/a", None).await?.kvs()[0])));
    say(&format!("get what is absent: {}", client.get("plan/none", None).await?.kvs().len()));
    let all = client.get("plan/", Some(GetOptions::new().with_prefix())).await?;
    say(&format!("prefix: {}", short(&all)));
    let options = GetOptions::new().with_prefix().with_limit(2);
    let options = options.with_sort(SortTarget::Key, SortOrder::Descend);
    let two = client.get("plan/", Some(options)).await?;
    say(&format!("two of them, last first: {}, {} in all", short(&two), two.count()));
    let at = |revision| Some(GetOptions::new().with_revision(revision));
    say(&format!("at revision 2: {}", show(&client.get("plan/a", at(2)).await?.kvs()[0])));
    let deleted = client.delete("plan/b", Some(DeleteOptions::new().with_prev_key())).await?;
    let revision = deleted.header().expect("a header").revision();
    let (count, before) = (deleted.deleted(), show(&deleted.prev_kvs()[0]));
    say(&format!("delete: {count} at revision {revision}, before: {before}"));
    let deleted = client.delete("plan/", Some(DeleteOptions::new().with_prefix())).await?;
    let revision = deleted.header().expect("a header").revision();
    say(&format!("delete the prefix: {} at revision {revision}", deleted.deleted()));
    client.compact(6, None).await?;
    say(&format!("get what is compacted: {}", refusal(client.get("plan/a", at(5)).await)));
    say(&format!("get the future: {}", refusal(client.get("plan/a", at(99)).await)));
    say(&format!("put without a key: {}", refusal(client.put("", "x", None).await)));
    Ok(())
}

async fn transactions(client: &mut Client) -> Result<(), Error> {
    say("## transactions");
    let create = |value: &str| {
        Txn::new()
            .when([Compare::version("claim", CompareOp::Equal, 0)])
            .and_then([TxnOp::put("claim", value, None)])
            .or_else([TxnOp::get("claim", None)])
    };
    say(&format!("created: {}", client.txn(create("mine")).await?.succeeded()));
    let again = client.txn(create("yours")).await?;
    let found = read_in(&again.op_responses()[0]);
    say(&format!("created again: {}, there is: {found}", again.succeeded()));
    let is_mine = Compare::value("claim", CompareOp::Equal, "mine");
    let swap =
        Txn::new().when([is_mine, Compare::mod_revision("claim", CompareOp::Less, 99)]).and_then([
            TxnOp::put("claim", "ours", None),
            TxnOp::put("side", "1", None),
            TxnOp::get("claim", None),
            TxnOp::delete("absent", None),
        ]);
    let swapped = client.txn(swap).await?;
    let answers = swapped.op_responses();
    let (count, read) = (answers.len(), read_in(&answers[2]));
    say(&format!("swapped: {}, {count} answers, read in it: {read}", swapped.succeeded()));
    let claim = client.get("claim", None).await?.kvs()[0].mod_revision();
    let side = client.get("side", None).await?.kvs()[0].mod_revision();
    say(&format!("in one revision: {claim} {side}"));
    let puts = [TxnOp::put("claim", "1", None), TxnOp::put("claim", "2", None)];
    let twice = client.txn(Txn::new().and_then(puts)).await;
    say(&format!("a key twice: {}", refusal(twice)));
    Ok(())
}

async fn watches(client: &mut Client) -> Result<(), Error> {
    say("## watch");
    let first = put(client, "watch/a", "0", 0).await? + 1;
    let lease = client.lease_grant(60, None).await?.id();
    let mut events = Events::of(client, "watch/", first).await?;
    put(client, "watch/a", "1", 0).await?;
    put(client, "watch/leased", "1", lease).await?;
    events.tell(2).await?;
    for how in ["kill", "restart"] {
        // Some of these are seen before the server goes, some after it has come back.
        put(client, "watch/a", how, 0).await?;
        client.delete("watch/a", None).await?;
        let puts = [TxnOp::put("watch/b", how, None), TxnOp::put("watch/c", how, None)];
        client.txn(Txn::new().and_then(puts)).await?;
        ask(how);
        let deadline = Instant::now() + PATIENCE;
        let all = loop {
            match client.get("watch/", Some(GetOptions::new().with_prefix())).await {
                Ok(all) => break all,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        say(&format!("after {how}: {}", short(&all)));
        put(client, "watch/a", "2", 0).await?;
        events.tell(5).await?;
    }
    let with_keys = LeaseTimeToLiveOptions::new().with_keys();
    let left = client.lease_time_to_live(lease, Some(with_keys)).await?;
    let keys: Vec<_> = left.keys().iter().map(|key| String::from_utf8_lossy(key)).collect();
    let (granted, runs) = (left.granted_ttl(), left.ttl() > 0);
    say(&format!("the lease: granted {granted}, runs {runs}, keeps {}", keys.join(" ")));
    client.lease_revoke(lease).await?;
    events.tell(1).await
}

async fn leases(client: &mut Client) -> Result<(), Error> {
    say("## lease");
    let granted = client.lease_grant(3, None).await?;
    say(&format!("granted: {}", granted.ttl()));
    let lease = granted.id();
    let first = put(client, "lease/a", "1", lease).await? + 1;
    let mut events = Events::of(client, "lease/", first).await?;
    put(client, "lease/b", "1", lease).await?;
    events.tell(1).await?;
    // Opening the stream renews the lease once by itself.
    let (mut keeper, mut beats) = client.lease_keep_alive(lease).await?;
    let mut last = Instant::now();
    for _ in 0..BEATS {
        keeper.keep_alive().await?;
        let beat = beats.message().await?.expect("the stream is open");
        say(&format!("kept alive: {}", beat.ttl()));
        last = Instant::now();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let all = client.get("lease/", Some(GetOptions::new().with_prefix())).await?;
    say(&format!("it lives: {}", short(&all)));
    // Nobody renews it any more: both keys go, in one revision.
    events.tell(2).await?;
    let took = last.elapsed();
    let in_time = [took > Duration::from_millis(2500), took < Duration::from_secs(6)];
    say(&format!("after its time: {}, soon after: {}", in_time[0], in_time[1]));
    let left = client.lease_time_to_live(lease, None).await?;
    say(&format!("what is left: {}", left.ttl()));
    let with_it = client.put("lease/c", "1", Some(PutOptions::new().with_lease(lease))).await;
    say(&format!("put with it: {}", refusal(with_it)));
    Ok(())
}

/// Puts a key under a lease, 0 for none; gives the revision.
async fn put(client: &mut Client, key: &str, value: &str, lease: i64) -> Result<i64, Error> {
    let response = client.put(key, value, Some(PutOptions::new().with_lease(lease))).await?;
    Ok(response.header().expect("a header").revision())
}

/// What the server says when it refuses a call.
fn refusal<T>(answer: Result<T, Error>) -> String {
    match answer {
        Ok(_) => "no refusal".to_owned(),
        Err(Error::GRpcStatus(status)) => status.message().to_owned(),
        Err(error) => format!("not from the server: {error}"),
    }
}

fn read_in(answer: &TxnOpResponse) -> String {
    match answer {
        TxnOpResponse::Get(found) => short(found),
        other => format!("not a read: {other:?}"),
    }
}

fn show(kv: &KeyValue) -> String {
    let (created, modified, version) = (kv.create_revision(), kv.mod_revision(), kv.version());
    format!("{} created {created} modified {modified} version {version}", pair(kv))
}

fn short(found: &GetResponse) -> String {
    found.kvs().iter().map(pair).collect::<Vec<_>>().join(" ")
}

fn pair(kv: &KeyValue) -> String {
    format!("{}={}", String::from_utf8_lossy(kv.key()), String::from_utf8_lossy(kv.value()))
}

fn say(line: &str) {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).expect("somebody reads this");
}

/// Has whoever runs this do something to the server, and waits until it is done.
fn ask(what: &str) {
    say(&format!("@{what}"));
    let answer = std::io::stdin().lock().lines().next();
    assert!(matches!(answer, Some(Ok(_))), "nobody answers @{what}");
}
