//! Golden scripts of watching: `testdata/watch/*.txt`, each a small lesson.
//!
//! A script is a list of paragraphs: comments, commands, `---`, and what clients get. What is said
//! in one paragraph still holds in the next. `UPDATE_GOLDENFILES=1 cargo test` records anew.
//!
//! ```text
//! put KEY VALUE            del KEY             txn put a 1; del b      turn put a 1; put b 2
//! compact REVISION         fill KEY COUNT BYTES
//! watch KEY[..END] [from=N] [id=N] [prev_kv] [no_put] [no_delete] [fragment] [progress_notify]
//! cancel ID                progress           tick
//! stop (the client reads nothing)            go on                   held
//! ```
//!
//! `turn` does each change in a revision of its own, but all in one turn. A command that begins
//! with `@N` is for stream N, and output of streams other than 0 is marked so.

mod watch_world;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use state::Revision;
use state::watch::{ReadPermission, WatchCreate, WatchRequest};
use watch_world::{Change, KeyValue, PROGRESS_PERIOD_MS, Sizes, WatchEvent, WatchResponse, World};

#[test]
fn scripts_say_what_was_recorded() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/watch");
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(&directory)
        .expect("the scripts are there")
        .map(|entry| entry.expect("a directory entry").path())
        .collect();
    scripts.sort();
    assert!(scripts.len() >= 8, "only {} scripts in {directory:?}", scripts.len());
    for path in scripts {
        let recorded = std::fs::read_to_string(&path).expect("a script is text");
        let now = run(&recorded);
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            std::fs::write(&path, now).expect("rewrite a script");
        } else {
            assert_eq!(now, recorded, "{} says something else now", path.display());
        }
    }
}

#[test]
fn a_script_that_records_a_lie_is_noticed() {
    let honest = run("watch a\nput a 1\n---\n");
    assert!(honest.contains("events 0 at 2: put a=1 (created 2)"), "{honest}");
    assert_ne!(run(&honest.replace("put a 1", "put a 2")), honest);
}

/// Runs a script and returns it with the output that it has now.
fn run(script: &str) -> String {
    let mut runner = Runner::new();
    let mut paragraphs = Vec::new();
    for paragraph in script.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        let commands: Vec<&str> =
            paragraph.trim_matches('\n').lines().take_while(|line| *line != "---").collect();
        let mut text = commands.join("\n");
        let output: String = commands
            .iter()
            .filter(|line| !line.starts_with('#'))
            .map(|command| runner.command(command))
            .collect();
        if commands.iter().any(|line| !line.starts_with('#')) {
            text.push_str("\n---\n");
            text.push_str(if output.is_empty() { "(nothing)\n" } else { &output });
        } else {
            text.push('\n');
        }
        paragraphs.push(text);
    }
    paragraphs.join("\n")
}

struct Runner {
    world: World,
    reads: Vec<bool>,
    now_ms: u64,
}

/// May read nothing that begins with "secret".
struct NoSecrets;

impl ReadPermission for NoSecrets {
    fn check(&self, first_key: &[u8], _range_end: &[u8]) -> Result<(), String> {
        if first_key.starts_with(b"secret") {
            let reason = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
            return Err(reason.to_owned());
        }
        Ok(())
    }
}

impl Runner {
    fn new() -> Runner {
        let mut world = World::new();
        let sizes = Sizes {
            outbox_bytes: 4096,
            fragment_bytes: 200,
            catch_up_revisions: 5,
            ..Sizes::default()
        };
        world.open(sizes);
        world.open(sizes);
        Runner { world, reads: vec![true, true], now_ms: 0 }
    }

    fn command(&mut self, line: &str) -> String {
        let (lane, command) = match line.strip_prefix('@') {
            Some(rest) => {
                let (lane, command) = rest.split_once(' ').expect("@N command");
                (lane.parse().expect("the number of a stream"), command)
            }
            None => (0, line),
        };
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["put" | "del", ..] => self.world.write(&[change(command)]),
            ["txn", ..] => self.world.write(&changes(&command[4..])),
            ["turn", ..] => {
                for change in changes(&command[5..]) {
                    self.world.write(&[change]);
                }
            }
            ["fill", key, count, bytes] => {
                let value = "x".repeat(bytes.parse().expect("a size"));
                for number in 0..count.parse().expect("a count") {
                    self.world.write(&[Change::Put(format!("{key}{number}"), value.clone())]);
                }
            }
            ["compact", revision] => {
                self.world.publish();
                self.world.store.compact(Revision(revision.parse().expect("a revision")));
                self.world.store.sweep();
            }
            ["watch", keys, ref options @ ..] => {
                let request = WatchRequest::Create(create(keys, options));
                self.world.request_as(lane, request, &NoSecrets);
            }
            ["cancel", id] => {
                let watch_id = id.parse().expect("a watch id");
                self.world.request(lane, WatchRequest::Cancel { watch_id });
            }
            ["progress"] => self.world.request(lane, WatchRequest::Progress),
            ["tick"] => {
                self.now_ms += PROGRESS_PERIOD_MS;
                self.world.tick(lane, self.now_ms);
            }
            ["stop"] => self.reads[lane] = false,
            ["go", "on"] => self.reads[lane] = true,
            ["held"] => {
                let held = &self.world.lanes[lane];
                let (behind, all) = (held.stream.behind_count(), held.stream.watcher_count());
                return format!(
                    "{behind} of {all} watchers behind, {} deliveries queued, {} overflows\n",
                    held.queue.len(),
                    self.world.overflows
                );
            }
            _ => panic!("no such command: {line}"),
        }
        let reads = self.reads.clone();
        let mut output = String::new();
        for (lane, response) in self.world.settle(&reads) {
            if lane > 0 {
                let _ = write!(output, "@{lane} ");
            }
            let _ = writeln!(output, "{}", shown(&response));
        }
        output
    }
}

fn changes(text: &str) -> Vec<Change> {
    text.split(';').map(|part| change(part.trim())).collect()
}

fn change(text: &str) -> Change {
    match text.split_whitespace().collect::<Vec<&str>>()[..] {
        ["put", key, value] => Change::Put(key.to_owned(), value.to_owned()),
        ["del", key] => Change::Delete(key.to_owned()),
        _ => panic!("no such change: {text}"),
    }
}

/// `a` is one key, `a..c` a range, `a..` everything from a on, `..` everything.
fn create(keys: &str, options: &[&str]) -> WatchCreate {
    let (key, range_end) = match keys.split_once("..") {
        None => (keys, Bytes::new()),
        Some((key, "")) => (key, Bytes::from_static(b"\0")),
        Some((key, end)) => (key, Bytes::from(end.to_owned())),
    };
    let key = Bytes::from(key.to_owned());
    let mut create = WatchCreate { key, range_end, ..WatchCreate::default() };
    for option in options {
        match option.split_once('=') {
            Some(("from", revision)) => create.start_revision = revision.parse().expect("from=N"),
            Some(("id", id)) => create.watch_id = id.parse().expect("id=N"),
            None if *option == "prev_kv" => create.prev_kv = true,
            None if *option == "no_put" => create = create.filtered(&[0, 77]),
            None if *option == "no_delete" => create = create.filtered(&[1]),
            None if *option == "fragment" => create.fragment = true,
            None if *option == "progress_notify" => create.progress_notify = true,
            _ => panic!("no such option: {option}"),
        }
    }
    create
}

fn shown(response: &WatchResponse) -> String {
    let (id, revision) = (response.watch_id, response.revision());
    let mut text = match (response.created, response.canceled) {
        (true, false) => format!("created {id} at {revision}"),
        (true, true) => format!("refused {id} at {revision}"),
        (false, true) => format!("canceled {id} at {revision}"),
        (false, false) if response.events.is_empty() => format!("progress {id} at {revision}"),
        (false, false) => format!("events {id} at {revision}: "),
    };
    if response.compact_revision != 0 {
        let _ = write!(text, ", compacted {}", response.compact_revision);
    }
    if !response.cancel_reason.is_empty() {
        let _ = write!(text, ", {}", response.cancel_reason);
    }
    let events: Vec<String> = response.events.iter().map(event).collect();
    text.push_str(&events.join(", "));
    if response.fragment {
        text.push_str(" …");
    }
    text
}

fn event(event: &WatchEvent) -> String {
    let kv = event.kv.as_ref().expect("an event has a key");
    let mut text = match event.kind {
        0 => format!("put {}", pair(kv)),
        1 => format!("delete {} (at {})", String::from_utf8_lossy(&kv.key), kv.mod_revision),
        kind => panic!("event type {kind}"),
    };
    if event.kind == 0 && kv.create_revision == kv.mod_revision {
        let _ = write!(text, " (created {})", kv.mod_revision);
    } else if event.kind == 0 {
        let _ = write!(text, " (at {})", kv.mod_revision);
    }
    if let Some(previous) = &event.prev_kv {
        let _ = write!(text, " [was {} at {}]", pair(previous), previous.mod_revision);
    }
    text
}

fn pair(kv: &KeyValue) -> String {
    let value = String::from_utf8_lossy(&kv.value);
    let value =
        if value.len() > 20 { format!("{} bytes", value.len()) } else { value.into_owned() };
    format!("{}={value}", String::from_utf8_lossy(&kv.key))
}
