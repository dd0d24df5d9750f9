//! The commands of a page, and what the page says they show.
//!
//! ````text
//! ```sh              the block is one piece of shell: it must succeed
//! make run
//! ```
//!
//! ```console         commands after "$ ", each with the output that must follow it
//! $ etcdctl put greeting hello
//! OK
//! $ etcdctl lease grant 60
//! lease ... granted with TTL(60s)
//! ```
//! ````
//!
//! In an output `...` stands for anything within a line, and alone on a line for any lines.

/// A piece of shell on a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// The line of the page where it stands, counted from 1.
    pub(crate) line: usize,
    /// What is typed.
    pub(crate) text: String,
    /// What it shows; `None` if the page does not say.
    pub(crate) shows: Option<Vec<String>>,
}

/// Finds the commands of a page; the error names a block that would escape the test.
pub(crate) fn commands(page: &str) -> Result<Vec<Command>, String> {
    let mut commands: Vec<Command> = Vec::new();
    let mut language: Option<String> = None;
    for (index, raw) in page.lines().enumerate() {
        let line = index + 1;
        if let Some(info) = raw.trim_start().strip_prefix("```") {
            let opened = language.is_none();
            language = opened.then(|| info.trim().to_owned());
            match language.as_deref() {
                Some("sh") => commands.push(Command { line, text: String::new(), shows: None }),
                Some("bash" | "shell" | "zsh" | "terminal") => {
                    return Err(format!(
                        "line {line}: a block of commands is called sh or console"
                    ));
                }
                _ => {}
            }
            continue;
        }
        match (language.as_deref(), raw.strip_prefix("$ ")) {
            (Some("sh"), _) => {
                let block = commands.last_mut().expect("pushed where the block opened");
                block.text.push_str(raw);
                block.text.push('\n');
            }
            (Some("console"), Some(text)) => {
                commands.push(Command { line, text: text.to_owned(), shows: Some(Vec::new()) });
            }
            (Some("console"), None) => {
                let command = commands.last_mut().and_then(|command| command.shows.as_mut());
                let shows = command.ok_or(format!("line {line}: an output before its command"))?;
                shows.push(raw.to_owned());
            }
            _ => {}
        }
    }
    Ok(commands)
}

/// Whether an output is what the page shows.
pub(crate) fn is_shown(expected: &[String], actual: &[String]) -> bool {
    match expected.split_first() {
        None => actual.is_empty(),
        Some((any, rest)) if any.trim() == "..." => {
            (0..=actual.len()).any(|skipped| is_shown(rest, &actual[skipped..]))
        }
        Some((line, rest)) => actual
            .split_first()
            .is_some_and(|(first, others)| line_matches(line, first) && is_shown(rest, others)),
    }
}

fn line_matches(expected: &str, actual: &str) -> bool {
    let Some((before, after)) = expected.trim_end().split_once("...") else {
        return expected.trim_end() == actual.trim_end();
    };
    actual.strip_prefix(before).is_some_and(|rest| {
        let mut starts = (0..=rest.len()).filter(|start| rest.is_char_boundary(*start));
        starts.any(|start| line_matches(after, &rest[start..]))
    })
}

#[test]
fn commands_and_their_outputs_are_found() {
    let page = "text\n```sh\nmake run\n```\n```console\n$ a\none\n$ b\n```\n```text\n$ no\n```\n";
    let found = commands(page).expect("well formed");
    let parts: Vec<_> = found.iter().map(|c| (c.line, c.text.as_str(), c.shows.clone())).collect();
    let one = vec!["one".to_owned()];
    assert_eq!(parts, [(2, "make run\n", None), (6, "a", Some(one)), (8, "b", Some(Vec::new()))]);
}

#[test]
fn a_block_of_another_shell_is_refused_because_nobody_would_run_it() {
    commands("```bash\nrm -rf /\n```").expect_err("not sh");
    commands("```console\nan output\n```").expect_err("no command");
}

#[test]
fn dots_stand_for_anything_and_nothing_else_does() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (expected, actual, same) in [
        ("a\nb", "a\nb", true),
        ("a\nb", "a\nc", false),
        ("a", "a\nb", false),
        ("...\nb", "a\na\nb", true),
        ("lease ... granted ...(60s)", "lease 1f granted with TTL(60s)", true),
        ("lease ... granted", "lease 1f revoked", false),
        ("", "", true),
    ] {
        assert_eq!(is_shown(&lines(expected), &lines(actual)), same, "{expected} / {actual}");
    }
}
