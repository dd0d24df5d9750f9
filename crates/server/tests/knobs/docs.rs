//! `docs/configuration.md` is the table of flags as a page: `UPDATE_GOLDENFILES=1 cargo test -p
//! server --test knobs docs` rewrites it, and the difference is read as prose.

use std::fmt::Write;

use server::config::flags::{self, Flag, GROUPS, RETIRED, Standing};

const INTRODUCTION: &str = "\
# Configuration

Every flag of etcd 3.7 is known, with etcd's name, default and spelling, and so are the variables
and keys of the configuration file that go with it:

```text
--max-txn-ops=256   --max-txn-ops 256   -max-txn-ops=256   the last of several counts
ETCD_MAX_TXN_OPS=256                                        or METASTORE_MAX_TXN_OPS
max-txn-ops: 256                                            in the file of --config-file
```

A flag that is given its default is always accepted. What happens otherwise:

| | |
|---|---|
| works | It does what it says. |
| accepted | It changes nothing: what it asks for is met in another way, or there is nothing it could change. |
| warned | The member starts, with one warning that says what happens instead. |
| refused | The member does not start: going on without it would be unsafe. |

Own flags of MetaStore are those under *Storage of MetaStore*, and `--strict-flags`. The log is cut
by bytes, not by entries: a snapshot is written beside the running member when the log has grown by
twice what the last snapshot held, and by `--snapshot-log-bytes` at least; the log before it is then
released. With `--engine=rocksdb` there are no snapshot files, and a flush takes their place. `--snapshot-count`
has no part in this.
";

/// Under the title of the flags that are about it.
const ENGINES: (&str, &str) = (
    "Storage of MetaStore",
    "
The engine is chosen by the first start and written down in the data directory; a later start with
another one is refused and says which one to name. Which one:

| | memory | rocksdb |
|---|---|---|
| the data | fits into memory, history included | is larger than memory, or should not fill it |
| in memory | everything | the key index (keys, revisions, leases, sizes of values), and a cache of the size set here |
| a read of the present | no look-up | one, unless the value is in the cache |
| on disk | snapshot files, and the log behind the newest | files of RocksDB, and the log behind their last flush |
| a start reads | the snapshot, then the log behind it | keys and revisions of the history without values, then the log behind the flush |

The memory of `rocksdb` is the key index plus `--rocksdb-cache-bytes`: a third of that for whole values that
were read or written lately, the rest for blocks of files, on whose account the write buffers are. A disk with
less room than three write buffers raises the alarm NOSPACE, for RocksDB stops for good when it cannot write
out what is in memory.

RocksDB expects of its file system that after a power cut a file is no longer than what was written of it. So it
is with ext4 in its default mode, XFS and btrfs; not with ext4's `data=writeback`, where a member may refuse to
start after a power cut.
",
);

#[test]
fn the_page_about_the_configuration_is_what_the_table_says() {
    let page = page();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let recorded = std::fs::read_to_string(path).unwrap();
    for (now, recorded) in page.lines().zip(recorded.lines()) {
        assert_eq!(now, recorded, "the page is out of date; see the top of this test");
    }
    assert_eq!(page.len(), recorded.len(), "lines are missing, or left over");
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let sections = GROUPS.iter().map(|group| (group.title, group.flags));
    for (title, rows) in sections.chain([("Where settings come from", flags::CONTROL)]) {
        let head = "| flag | default | what it does | |\n|---|---|---|---|";
        writeln!(page, "\n## {title}\n\n{head}").unwrap();
        for flag in rows {
            let standing = standing(flag);
            let default = code(flag.default);
            writeln!(page, "| `--{}` | {default} | {} | {standing} |", flag.name, flag.help)
                .unwrap();
        }
        if title == ENGINES.0 {
            page.push_str(ENGINES.1);
        }
    }
    page.push_str(
        "\n## Former flags\n\nNames that etcd 3.7 no longer knows, or swallows without a word. \
         `--strict-flags` refuses\nthose that etcd refuses.\n\n| flag | |\n|---|---|\n",
    );
    for flag in RETIRED {
        writeln!(page, "| `--{}` | {} |", flag.name, standing(flag)).unwrap();
    }
    page
}

fn standing(flag: &Flag) -> String {
    match flag.standing {
        Standing::Works => "works".to_owned(),
        Standing::Met => "accepted".to_owned(),
        Standing::Warned(instead) => format!("warned: {instead}"),
        Standing::Refused(why) => format!("refused: {why}"),
        Standing::Renamed(name) => format!("warned: sets `--{name}`"),
        Standing::BecameGate(gate) => format!("warned: sets `--feature-gates={gate}=…`"),
        Standing::Implies(name, value) => format!("warned: sets `--{name}={value}`"),
        Standing::Ignored => "ignored, as by etcd".to_owned(),
    }
}

fn code(text: &str) -> String {
    assert!(!text.contains(['|', '`']), "{text} would break the table");
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}
