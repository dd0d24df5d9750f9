//! Session files: etcdctl command lines, one a line, with a little around them.
//!
//! ```text
//! # A comment.
//! start --max-txn-ops=4           flags of the member; only as the first step
//! put greeting 'hello world'      an etcdctl command line; quotes as in a shell
//! put big                         with a standard input:
//! | {x*2000}                      … one line of 2,000 times "x"
//! | {3: put key{i} value}         … three lines, numbered 0, 1, 2
//! let L = lease grant 60          the id in the output is called $L from here on
//! lease revoke $L
//! & w watch --rev=1 greeting      a command in the background, called w
//! say w progress                  a line for its standard input
//! await w 3                       waits for its next 3 lines and shows them
//! restart                         stops the member cleanly and starts it on its data
//! crash                           kills the member and starts it on its data
//! ```

/// One step of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The line as written, for the transcript.
    pub(crate) line: String,
    /// What to do.
    pub(crate) action: Action,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Flags for the member.
    Start(Vec<String>),
    /// Runs etcdctl to its end; the output's id gets the name, if there is one.
    Run { words: Vec<String>, stdin: String, name: Option<String> },
    /// Starts etcdctl in the background.
    Background { name: String, words: Vec<String>, stdin: String },
    /// Writes a line to a background command.
    Say { name: String, text: String },
    /// Waits for lines of a background command.
    Await { name: String, lines: usize },
    /// A clean stop and a start.
    Restart,
    /// A kill and a start.
    Crash,
}

/// Reads a session; the error names the line.
pub(crate) fn parse(text: &str) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = |what: &str| format!("line {}: {what}: {line}", index + 1);
        if let Some(input) = line.strip_prefix('|') {
            let Some(Step { action, .. }) = steps.last_mut() else {
                return Err(at("an input without a command"));
            };
            let (Action::Run { stdin, .. } | Action::Background { stdin, .. }) = action else {
                return Err(at("an input for something that reads none"));
            };
            stdin.push_str(&expand(input.strip_prefix(' ').unwrap_or(input)));
            continue;
        }
        let action = parse_action(line).ok_or_else(|| at("not a step"))?;
        if matches!(action, Action::Start(_)) && !steps.is_empty() {
            return Err(at("only the first step may give flags"));
        }
        steps.push(Step { line: line.to_owned(), action });
    }
    if steps.is_empty() { Err("a session without a step".to_owned()) } else { Ok(steps) }
}

fn parse_action(line: &str) -> Option<Action> {
    let words = split(line)?;
    let stdin = String::new();
    let action = match words[0].as_str() {
        "start" => Action::Start(words[1..].to_vec()),
        "restart" => Action::Restart,
        "crash" => Action::Crash,
        "&" => Action::Background {
            name: words.get(1)?.clone(),
            words: words.get(2..).filter(|rest| !rest.is_empty())?.to_vec(),
            stdin,
        },
        "say" => Action::Say { name: words.get(1)?.clone(), text: words.get(2..)?.join(" ") },
        "await" => {
            Action::Await { name: words.get(1)?.clone(), lines: words.get(2)?.parse().ok()? }
        }
        "let" if words.get(2)? == "=" => Action::Run {
            name: Some(words.get(1)?.clone()),
            words: words.get(3..).filter(|rest| !rest.is_empty())?.to_vec(),
            stdin,
        },
        _ => Action::Run { words, stdin, name: None },
    };
    Some(action)
}

/// Splits a line into words: spaces part them, quotes hold them together, nothing is an escape.
fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    (quote.is_none() && !words.is_empty()).then_some(words)
}

/// Writes out `{x*2000}` and `{3: … {i} …}`; anything else is a line as it stands.
fn expand(input: &str) -> String {
    let inner = input.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    if let Some((text, count)) = inner.and_then(|inner| inner.split_once('*'))
        && let Ok(count) = count.parse()
    {
        return text.repeat(count);
    }
    if let Some((count, text)) = inner.and_then(|inner| inner.split_once(": "))
        && let Ok(count) = count.parse::<u32>()
    {
        return (0..count).map(|i| text.replace("{i}", &i.to_string()) + "\n").collect();
    }
    format!("{input}\n")
}

#[test]
fn quotes_hold_words_together_and_may_hold_none() {
    assert_eq!(split("put 'a b' \"\" c").expect("well formed"), ["put", "a b", "", "c"]);
    assert_eq!(split("put 'a"), None, "a quote that does not close");
}

#[test]
fn inputs_belong_to_the_command_above_them() {
    let steps = parse("txn\n| put a 1\n|\n| {2: put k{i} v}\n").expect("well formed");
    let Action::Run { stdin, .. } = &steps[0].action else { panic!("not a command: {steps:?}") };
    assert_eq!(stdin, "put a 1\n\nput k0 v\nput k1 v\n");
}

#[test]
fn a_malformed_session_is_refused_with_its_line() {
    for (text, line) in [("| x", 1), ("put a 1\nstart --x", 2), ("put a\n\nawait w many", 3)] {
        let error = parse(text).expect_err("malformed");
        assert!(error.starts_with(&format!("line {line}:")), "{error}");
    }
}
