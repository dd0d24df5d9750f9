//! What two runs may differ in: the whole list of it.
//!
//! | what | where | becomes |
//! |---|---|---|
//! | the member's address | anywhere | `ENDPOINT` |
//! | the client's own address | etcdctl's log, `LocalAddr` | `LOCAL` |
//! | wall clock | etcdctl's log, `"ts"` | `_` |
//! | an address in memory | etcdctl's log, `etcd-endpoints://0x…` | `_` |
//! | a name by chance | the log of etcdctl 3.4, `endpoint://client-…` | `_` |
//! | how long it took | `took`, `Took`: decimals with a unit | `_` |
//! | seconds left of a lease | `remaining(…)`, `"ttl"`, `"TTL" : ` of `lease timetolive` | `_` |
//! | raft term and index | headers, endpoint status | `_` |
//! | bytes on disk | endpoint status, snapshot log | `_` |
//! | width of a column | tables | one space, one line |
//! | a lease id named by `let` | anywhere, hexadecimal or decimal | its name |
//!
//! Everything else is compared as it stands: member and cluster ids, revisions, hashes, codes, texts.

/// Names for what differs between the two runs of a session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// The member's client address.
    pub(crate) endpoint: String,
    /// Ids by name, as their lower-case hexadecimal digits.
    pub(crate) ids: Vec<(String, String)>,
}

impl Names {
    /// Takes the lease id in an output of etcdctl under a name.
    pub(crate) fn learn(&mut self, name: &str, output: &str) -> bool {
        let word_after = |label: &str| {
            let (_, rest) = output.split_once(label)?;
            rest.split(|c: char| !c.is_ascii_alphanumeric()).next()
        };
        let id = match (word_after("\"ID\":"), word_after("lease ")) {
            (Some(decimal), _) => decimal.parse().ok(),
            (None, Some(hex)) => u64::from_str_radix(hex, 16).ok(),
            (None, None) => None,
        };
        self.ids.extend(id.map(|id: u64| (name.to_owned(), format!("{id:x}"))));
        id.is_some()
    }

    /// Puts the ids in place of `$name` in a word of a command line.
    pub(crate) fn expand(&self, word: &str) -> String {
        self.ids
            .iter()
            .fold(word.to_owned(), |word, (name, id)| word.replace(&format!("${name}"), id))
    }

    /// A line of output without what may differ.
    pub(crate) fn normalise(&self, line: &str) -> String {
        let mut line = line.replace(&self.endpoint, "ENDPOINT");
        for (name, id) in &self.ids {
            line = line.replace(&format!("{id:0>16}"), &format!("${name}"));
            line = line.replace(id, &format!("${name}"));
            if let Ok(number) = u64::from_str_radix(id, 16) {
                line = line.replace(&number.to_string(), &format!("${name}"));
            }
        }
        // What is left is masked, what was granted is not.
        if line.contains("\"granted-ttl\":") {
            line = mask(&line, "\"ttl\":", |c| c.is_ascii_digit());
        }
        for label in NUMBERS {
            line = mask(&line, label, |c| c.is_ascii_digit());
        }
        for label in DECIMALS {
            line = mask(&line, label, |c| c.is_ascii_digit() || c == '.');
        }
        for label in WORDS {
            // A label that opens a quote masks up to its end, any other up to the end of the word.
            line = match label.chars().last() {
                Some(quote @ ('"' | '\'')) => mask(&line, label, |c| c != quote),
                _ => mask(&line, label, |c| !c.is_whitespace() && !"/=".contains(c)),
            };
        }
        mask_columns(&line)
    }
}

/// Labels before a number that differs.
const NUMBERS: &[&str] = &[
    "\"raft_term\":",
    "\"raftTerm\":",
    "\"raftIndex\":",
    "\"raftAppliedIndex\":",
    "\"dbSize\":",
    "\"dbSizeInUse\":",
    "\"RaftTerm\" : ",
    "\"RaftIndex\" : ",
    "\"RaftAppliedIndex\" : ",
    "\"DBSize\" : ",
    "\"DBSizeInUse\" : ",
    "remaining(",
    "\"TTL\" : ",
];

/// Labels before a number with a fraction, which only etcdctl 3.4 writes.
const DECIMALS: &[&str] = &["\"ts\":", "\"took\":"];

/// Labels before a word that differs.
const WORDS: &[&str] = &[
    "\"ts\":\"",
    "etcd-endpoints://",
    "endpoint://client-",
    "took = ",
    "took ",
    "\"took\":\"",
    "\"Took\" : ",
    "LocalAddr: '",
    "\"size\":\"",
];

/// Replaces what follows each occurrence of the label, as far as it matches, by `_`.
fn mask(line: &str, label: &str, matches: impl Fn(char) -> bool) -> String {
    let mut masked = String::new();
    let mut rest = line;
    while let Some(found) = rest.find(label) {
        let (before, after) = rest.split_at(found + label.len());
        let end = after.find(|c| !matches(c)).unwrap_or(after.len());
        masked.push_str(before);
        masked.push_str(if end > 0 { "_" } else { "" });
        rest = &after[end..];
    }
    masked + rest
}

/// Columns of `endpoint status`, counted from 0: sizes, then raft's term and indexes.
const STATUS_COLUMNS: &[usize] = &[4, 5, 6, 10, 11, 12];
const STATUS_WIDTH: usize = 16;
/// The same of etcdctl 3.4.
const OLDER_STATUS_COLUMNS: &[usize] = &[3, 6, 7, 8];
const OLDER_STATUS_WIDTH: usize = 10;
/// Columns of `endpoint health`: how long it took.
const HEALTH_COLUMNS: &[usize] = &[2];
const HEALTH_WIDTH: usize = 4;
/// The lines of a table and their ends: of etcdctl 3.7, and of 3.4.
const TABLES: &[(char, char, &[char])] = &[('│', '─', &['┌', '├', '└']), ('|', '-', &['+'])];

fn mask_columns(line: &str) -> String {
    for (side, dash, corners) in TABLES {
        if line.starts_with(*corners) && line.contains(*dash) {
            return line.chars().filter(|c| c != dash).collect();
        }
        if let Some(inner) = line.strip_prefix(*side).and_then(|line| line.strip_suffix(*side)) {
            let cells: Vec<&str> = inner.split(*side).map(str::trim).collect();
            let masked = match cells.len() {
                HEALTH_WIDTH => HEALTH_COLUMNS,
                width => status_columns(width),
            };
            let cells = mask_cells(&cells, masked).join(&format!(" {side} "));
            return format!("{side} {cells} {side}");
        }
    }
    let cells: Vec<&str> = line.split(", ").collect();
    match status_columns(cells.len()) {
        [] => line.to_owned(),
        masked => mask_cells(&cells, masked).join(", "),
    }
}

fn status_columns(width: usize) -> &'static [usize] {
    match width {
        STATUS_WIDTH => STATUS_COLUMNS,
        OLDER_STATUS_WIDTH => OLDER_STATUS_COLUMNS,
        _ => &[],
    }
}

fn mask_cells<'a>(cells: &[&'a str], masked: &[usize]) -> Vec<&'a str> {
    cells
        .iter()
        .enumerate()
        .map(|(index, cell)| if masked.contains(&index) { "_" } else { *cell })
        .collect()
}

#[cfg(test)]
fn names() -> Names {
    let mut names = Names { endpoint: "127.0.0.1:40001".to_owned(), ids: Vec::new() };
    assert!(names.learn("L", "lease 02ea9b0c5d1f2a3b granted with TTL(60s)"));
    names
}

#[test]
fn what_may_differ_is_masked() {
    for (line, expected) in [
        ("127.0.0.1:40001 is healthy: took = 3.1ms", "ENDPOINT is healthy: took = _"),
        ("lease 02ea9b0c5d1f2a3b revoked", "lease $L revoked"),
        ("\"raft_term\":12}", "\"raft_term\":_}"),
        ("{\"ts\":\"2026-01-01T00:00:00Z\",\"msg\":\"x\"}", "{\"ts\":\"_\",\"msg\":\"x\"}"),
        ("granted with TTL(60s), remaining(58s)", "granted with TTL(60s), remaining(_s)"),
        (
            "E, 1, 3, 3, 20 kB, 9 kB, 2%, 2 GB, t, f, 2, 5, 5, , , f",
            "E, 1, 3, 3, _, _, _, 2 GB, t, f, _, _, _, , , f",
        ),
        ("│ a  │   12µs │", "│ a │ 12µs │"),
        ("├────┼────┤", "├┼┤"),
        ("E, 1, 3.7.3, 20 kB, t, f, 2, 5, 5, ", "E, 1, 3.7.3, _, t, f, _, _, _, "),
        ("| E |   true | 12µs |  |", "| E | true | _ |  |"),
        ("+----+--+", "+++"),
        ("{\"ts\":17.25,\"took\":0.5}", "{\"ts\":_,\"took\":_}"),
    ] {
        assert_eq!(names().normalise(line), expected);
    }
}

#[test]
fn what_must_agree_is_left_alone() {
    for line in [
        "Error: etcdserver: mvcc: required revision is a future revision",
        "{\"header\":{\"cluster_id\":7,\"member_id\":8,\"revision\":9}}",
        "127.0.0.1:40002",
        "lease 02ea9b0c5d1f2a3c revoked",
        "took",
    ] {
        assert_eq!(names().normalise(line), line);
    }
}
