//! The measurements of `crates/bench` in small, on the binary of this build with each engine: that
//! they still measure what they say, not what comes out.

use std::ffi::OsString;

const SERVER: &str = env!("CARGO_BIN_EXE_metastore");

#[test]
fn servers_are_measured_beside_each_other() {
    // Ours takes etcd's place: whether a limit is kept is chance, whether it is looked at is not.
    let table = beside(&["--report-only"]).expect("everything can be measured");
    let servers: &[&str] = if cfg!(feature = "rocksdb") {
        &["again", "memory", "rocksdb"]
    } else {
        &["again", "memory"]
    };
    for what in [
        "bytes written to disk per put, 1000 overwrites of 10 keys",
        "bytes written to disk per put, 1000 new keys",
        "resident memory 0 s after the last put, 1000 keys",
        "restart to the ready line, 1000 keys",
        "counting 1000 keys",
        "a list of 100 keys, unary",
        "a list of 100 keys, streamed",
        "a list of 100 keys, in pages of 500",
        "keep-alives of 1 clients, each on a stream",
        "10 new watchers on each of 1 streams",
        "1 new watchers on each of 10 streams",
        "p99 of 500 put/s while 500 revisions are compacted",
        "p99 of 500 put/s while lists of 123 keys with 4096 bytes each stream",
        "p99 of 500 put/s while snapshots stream",
    ] {
        for server in servers {
            let begin = format!("| {what} | {server} | ");
            let line = table.lines().find(|line| line.starts_with(&begin));
            let line = line.unwrap_or_else(|| panic!("no line {begin}\n{table}"));
            let measured = &line[begin.len()..];
            let digits = measured.starts_with(|first: char| first.is_ascii_digit());
            assert!(digits || measured.starts_with("not measured: no disk"), "{line}");
            let compares = *server != "again" && !what.starts_with("p99");
            assert_eq!(line.contains("× | ≤") || line.ends_with("× |  |  |"), compares, "{line}");
        }
    }
}

#[test]
fn a_missed_limit_is_an_error_after_the_whole_table() {
    // No server counts twenty times as fast as itself.
    let error = beside(&["--only=lists"]).expect_err("the limit of counting");
    assert!(error.starts_with("limits missed: "), "{error}");
}

/// The table, or why there is none.
fn beside(flags: &[&str]) -> Result<String, String> {
    let mut line = vec!["bench".to_owned(), "beside".to_owned()];
    line.push(format!("--beside=again={SERVER}"));
    line.push(format!("--server=memory={SERVER}"));
    if cfg!(feature = "rocksdb") {
        line.push(format!("--server=rocksdb={SERVER} --engine=rocksdb"));
    }
    let small = ["--shrink=1000", "--rate=500", "--seconds=0.3", "--rounds=1", "--settle=0"];
    line.extend(small.iter().chain(flags).map(|flag| (*flag).to_owned()));
    let mut table = Vec::new();
    let run = bench::run(line.into_iter().map(OsString::from), &mut table);
    run.map_err(|error| format!("{error:#}"))?;
    Ok(String::from_utf8(table).expect("a table is text"))
}
