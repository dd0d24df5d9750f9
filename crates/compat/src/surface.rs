//! All of etcd's API, and what of it MetaStore has: where each method and field is shown to be right.
//!
//! What is written by hand is only what differs from the rule, and the rule is: a method is here, and
//! the differential test has seen each of its fields with a value, the same in both answers. The
//! differential test holds the rule; tests here hold the lists to what exists.

use std::collections::BTreeSet;

use prost_reflect::{Kind, MessageDescriptor};

use crate::schema;

/// Methods that answer `Unimplemented`: services with all their methods, or single ones.
const LATER: &[&str] = &[
    "/etcdserverpb.Cluster/MemberAdd",
    "/etcdserverpb.Cluster/MemberRemove",
    "/etcdserverpb.Cluster/MemberUpdate",
    "/etcdserverpb.Cluster/MemberPromote",
    "/etcdserverpb.Maintenance/Downgrade",
    "/etcdserverpb.Auth/",
    "/v3lockpb.Lock/",
    "/v3electionpb.Election/",
];

/// Sessions of etcdctl that go through a method, beside the differential test.
const SESSIONS: &[(&str, &[&str])] = &[
    ("/etcdserverpb.KV/Range", &["get", "put_and_del", "txn", "formats"]),
    ("/etcdserverpb.KV/RangeStream", &["get", "errors"]),
    ("/etcdserverpb.KV/Put", &["put_and_del", "errors", "lease"]),
    ("/etcdserverpb.KV/DeleteRange", &["put_and_del", "formats"]),
    ("/etcdserverpb.KV/Txn", &["txn", "alarm", "errors"]),
    ("/etcdserverpb.KV/Compact", &["compaction", "watch", "durability"]),
    ("/etcdserverpb.Watch/Watch", &["watch", "lease_expiry", "durability"]),
    ("/etcdserverpb.Lease/", &["lease", "lease_expiry", "durability"]),
    ("/etcdserverpb.Cluster/MemberList", &["maintenance"]),
    ("/etcdserverpb.Maintenance/Status", &["maintenance", "alarm"]),
    ("/etcdserverpb.Maintenance/HashKV", &["maintenance", "compaction", "durability"]),
    ("/etcdserverpb.Maintenance/Snapshot", &["maintenance"]),
    ("/etcdserverpb.Maintenance/Defragment", &["maintenance"]),
    ("/etcdserverpb.Maintenance/Alarm", &["alarm"]),
];

/// Where a field is shown that the differential test cannot compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// A test of ours: file and name.
    Test(&'static str, &'static str),
    /// etcd never sets it, and neither does MetaStore: the differential test would notice.
    NeverSet,
    /// It says something that this version cannot be.
    Later(&'static str),
}

/// The fields that the differential test cannot compare.
const ELSEWHERE: &[(&str, Elsewhere)] = &[
    (
        "etcdserverpb.ResponseHeader.raft_term",
        Elsewhere::Test("crates/server/src/grpc/tests.rs", "members_and_status_tell_who_this_is"),
    ),
    (
        "etcdserverpb.StatusResponse.raftTerm",
        Elsewhere::Test("crates/server/src/grpc/tests.rs", "members_and_status_tell_who_this_is"),
    ),
    (
        "etcdserverpb.StatusResponse.raftIndex",
        Elsewhere::Test("crates/server/src/grpc/tests.rs", "members_and_status_tell_who_this_is"),
    ),
    (
        "etcdserverpb.StatusResponse.raftAppliedIndex",
        Elsewhere::Test("crates/server/src/grpc/tests.rs", "members_and_status_tell_who_this_is"),
    ),
    ("etcdserverpb.StatusResponse.dbSize", QUOTA),
    ("etcdserverpb.StatusResponse.dbSizeInUse", QUOTA),
    ("etcdserverpb.StatusResponse.isLearner", Elsewhere::Later("a single member is no learner")),
    ("etcdserverpb.Member.isLearner", Elsewhere::Later("a single member is no learner")),
    ("etcdserverpb.DowngradeInfo.enabled", Elsewhere::Later("there is no downgrade")),
    ("etcdserverpb.DowngradeInfo.targetVersion", Elsewhere::Later("there is no downgrade")),
    (
        "etcdserverpb.HashResponse.hash",
        Elsewhere::Test(
            "crates/server/src/grpc/tests.rs",
            "a_snapshot_ends_with_its_checksum_and_hashes_name_their_revision",
        ),
    ),
    ("etcdserverpb.SnapshotResponse.blob", SNAPSHOT),
    ("etcdserverpb.SnapshotResponse.remaining_bytes", SNAPSHOT),
    ("etcdserverpb.SnapshotResponse.header", Elsewhere::NeverSet),
    ("etcdserverpb.DefragmentResponse.header", Elsewhere::NeverSet),
    ("etcdserverpb.MoveLeaderResponse.header", Elsewhere::NeverSet),
    ("etcdserverpb.LeaseGrantResponse.error", Elsewhere::NeverSet),
];

const QUOTA: Elsewhere = Elsewhere::Test(
    "crates/server/tests/knobs/quota.rs",
    "a_full_member_refuses_writes_until_space_is_made_and_the_alarm_cleared",
);
const SNAPSHOT: Elsewhere =
    Elsewhere::Test("crates/compat/src/aside.rs", "a_snapshot_is_told_from_a_broken_one");

/// Whether a method answers `Unimplemented` for now.
#[must_use]
pub fn is_later(path: &str) -> bool {
    LATER.iter().any(|later| matches(path, later))
}

fn matches(path: &str, pattern: &str) -> bool {
    path == pattern || pattern.ends_with('/') && path.starts_with(pattern)
}

/// The sessions of etcdctl that go through a method.
fn sessions(path: &str) -> &'static [&'static str] {
    SESSIONS.iter().find(|(pattern, _)| matches(path, pattern)).map_or(&[], |(_, names)| names)
}

fn elsewhere(field: &str) -> Option<Elsewhere> {
    ELSEWHERE.iter().find(|(name, _)| *name == field).map(|(_, elsewhere)| *elsewhere)
}

/// The messages of methods that are here, each once, in the order in which they are met.
fn messages(is_wanted: impl Fn(&str) -> bool) -> Vec<MessageDescriptor> {
    let mut found: Vec<MessageDescriptor> = Vec::new();
    let mut seen = BTreeSet::new();
    for method in schema::methods().filter(|method| is_wanted(&schema::path(method))) {
        let mut open = vec![method.output(), method.input()];
        while let Some(message) = open.pop() {
            if !seen.insert(message.full_name().to_owned()) {
                continue;
            }
            let inner = message.fields().filter_map(|field| match field.kind() {
                // Entries of a map are no messages that anybody names.
                Kind::Message(inner) if !inner.is_map_entry() => Some(inner),
                _ => None,
            });
            open.extend(inner);
            found.push(message);
        }
    }
    found
}

/// The fields that the differential test has to see with a value.
#[must_use]
pub fn fields_to_see() -> BTreeSet<String> {
    let messages = messages(|path| !is_later(path));
    let names = messages.iter().flat_map(|message| {
        let name = message.full_name().to_owned();
        message.fields().map(move |field| format!("{name}.{}", field.name())).collect::<Vec<_>>()
    });
    names.filter(|field| elsewhere(field).is_none()).collect()
}

/// The fields that it is said to be unable to compare.
pub fn fields_elsewhere() -> impl Iterator<Item = &'static str> {
    ELSEWHERE.iter().map(|(field, _)| *field)
}

/// The tables of `docs/compat.md`, as text.
#[must_use]
pub fn tables() -> String {
    let mut text = String::from("| call | status | sessions |\n|---|---|---|\n");
    for method in schema::methods() {
        let path = schema::path(&method);
        let status = if is_later(&path) { "later" } else { "here" };
        let sessions = sessions(&path).join(", ");
        let name = path.trim_start_matches('/').replace("etcdserverpb.", "").replace('/', ".");
        text += &format!("| `{name}` | {status} | {sessions} |\n");
    }
    text += "\n| message | compared with etcd's | shown elsewhere |\n|---|---|---|\n";
    let here = messages(|path| !is_later(path));
    for message in &here {
        text += &row(message);
    }
    let later: Vec<String> = messages(is_later)
        .iter()
        .filter(|message| !here.contains(message))
        .map(|message| format!("`{}`", message.name()))
        .collect();
    text + &format!("\nLater, with their calls: {}.\n", later.join(", "))
}

fn row(message: &MessageDescriptor) -> String {
    let (mut compared, mut others) = (Vec::new(), Vec::new());
    for field in message.fields() {
        match elsewhere(&format!("{}.{}", message.full_name(), field.name())) {
            None => compared.push(field.name().to_owned()),
            Some(Elsewhere::Test(file, name)) => {
                others.push(format!("`{}`: `{name}` in `{file}`", field.name()));
            }
            Some(Elsewhere::NeverSet) => others.push(format!("`{}`: never set", field.name())),
            Some(Elsewhere::Later(why)) => others.push(format!("`{}`: later, {why}", field.name())),
        }
    }
    let name = message.full_name().replace("etcdserverpb.", "");
    format!("| `{name}` | {} | {} |\n", compared.join(", "), others.join("; "))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::explained;

    const BEGIN: &str = "<!-- tables: cargo xtask compat-table -->\n";
    const END: &str = "<!-- end of tables -->\n";

    fn checkout() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn page() -> String {
        std::fs::read_to_string(checkout().join("docs/compat.md")).expect("the page")
    }

    #[test]
    fn the_page_has_the_tables_as_they_are_now() {
        let page = page();
        let (before, rest) = page.split_once(BEGIN).expect("where the tables begin");
        let (_, after) = rest.split_once(END).expect("where the tables end");
        let current = format!("{before}{BEGIN}\n{}\n{END}{after}", tables());
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            std::fs::write(checkout().join("docs/compat.md"), current).expect("write the page");
        } else {
            assert!(page == current, "docs/compat.md is stale: cargo xtask compat-table");
        }
    }

    #[test]
    fn each_explained_difference_has_its_line_and_each_line_its_entry() {
        let page = page();
        let (_, rest) = page.split_once("## What differs, and why\n").expect("the chapter");
        let chapter = rest.split("\n## ").next().expect("its text");
        let lines = chapter.lines().filter_map(|line| line.strip_prefix("| ")).skip(1);
        let lines: BTreeSet<&str> = lines.filter_map(|line| line.split(" | ").next()).collect();
        let entries: BTreeSet<&str> = explained::TABLE.iter().map(|entry| entry.name).collect();
        assert_eq!(lines, entries);
    }

    #[test]
    fn what_the_lists_name_exists() {
        let paths: Vec<String> = schema::methods().map(|method| schema::path(&method)).collect();
        let patterns = LATER.iter().chain(SESSIONS.iter().map(|(pattern, _)| pattern));
        for pattern in patterns {
            assert!(paths.iter().any(|path| matches(path, pattern)), "no method {pattern}");
        }
        for name in SESSIONS.iter().flat_map(|(_, names)| *names) {
            let file = checkout().join(format!("compat/session/{name}.session"));
            assert!(file.exists(), "no session {name}");
        }
        for (field, elsewhere) in ELSEWHERE {
            let (message, name) = field.rsplit_once('.').expect("a message and a field");
            let message = schema::pool().get_message_by_name(message);
            assert!(message.is_some_and(|m| m.get_field_by_name(name).is_some()), "no {field}");
            if let Elsewhere::Test(file, test) = elsewhere {
                let text = std::fs::read_to_string(checkout().join(file)).unwrap_or_default();
                assert!(text.contains(&format!("fn {test}(")), "no test {test} in {file}");
            }
        }
    }

    #[test]
    fn a_field_that_etcd_adds_has_to_be_seen() {
        let fields = fields_to_see();
        for field in [
            "etcdserverpb.PutRequest.key",
            "mvccpb.Event.prev_kv",
            "etcdserverpb.RequestOp.request_txn",
        ] {
            assert!(fields.contains(field), "{field} is missing");
        }
        assert!(!fields.contains("etcdserverpb.AuthenticateRequest.name"));
    }
}
