//! Runs a session against one member and writes down what it showed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use child::finished::run;
use child::{Follow, PATIENCE, Running};

use crate::binaries::Binaries;
use crate::member::Member;
use crate::normalise::Names;
use crate::script::{Action, Step};
use crate::transcript::lines_of;

/// Starts the server, runs the steps and stops it again.
pub(crate) fn play(
    binaries: &Binaries,
    server: &Path,
    more_flags: &[String],
    steps: &[Step],
) -> Vec<String> {
    let (flags, steps) = match steps.split_first() {
        Some((Step { action: Action::Start(flags), .. }, rest)) => (flags.as_slice(), rest),
        _ => (&[][..], steps),
    };
    let flags: Vec<String> = flags.iter().chain(more_flags).cloned().collect();
    let member = Member::start(server, &flags);
    let names = Names { endpoint: member.endpoint(), ids: Vec::new() };
    let mut player =
        Player { binaries, member, names, background: BTreeMap::new(), lines: Vec::new() };
    for step in steps {
        player.lines.push(format!("> {}", step.line));
        player.step(&step.action);
    }
    player.lines
}

struct Player<'a> {
    binaries: &'a Binaries,
    member: Member,
    names: Names,
    background: BTreeMap<String, Running>,
    lines: Vec<String>,
}

impl Player<'_> {
    fn step(&mut self, action: &Action) {
        match action {
            Action::Start(_) => unreachable!("the parser lets flags stand first only"),
            Action::Run { words, stdin, name } => self.run(words, stdin, name.as_deref()),
            Action::Background { name, words, stdin } => self.start(name, words, stdin),
            Action::Say { name, text } => {
                let text = self.names.expand(text);
                self.background.get_mut(name).expect("a session starts before it says").say(&text);
            }
            Action::Await { name, lines } => self.wait(name, *lines),
            Action::Restart => self.member.restart(),
            Action::Crash => self.member.crash(),
        }
    }

    fn run(&mut self, words: &[String], stdin: &str, name: Option<&str>) {
        let stdin = self.names.expand(stdin);
        let finished = run(&mut self.etcdctl(words), stdin.as_bytes()).expect("etcdctl starts");
        if let Some(name) = name {
            let output = String::from_utf8_lossy(&finished.stdout);
            if !self.names.learn(name, &output) {
                self.lines.push("no id in the output".to_owned());
            }
        }
        let is_protobuf = words.iter().any(|word| word.contains("protobuf"));
        self.lines.extend(lines_of(&finished, &self.names, is_protobuf));
    }

    fn start(&mut self, name: &str, words: &[String], stdin: &str) {
        let mut running =
            Running::start(&mut self.etcdctl(words), Follow::Stdout).expect("etcdctl starts");
        for line in stdin.lines() {
            running.say(line);
        }
        let before = self.background.insert(name.to_owned(), running);
        assert!(before.is_none(), "two background commands are called {name}");
    }

    fn wait(&mut self, name: &str, lines: usize) {
        let running = self.background.get(name).expect("a session starts before it waits");
        let deadline = Instant::now() + PATIENCE;
        for _ in 0..lines {
            match running.next_line(deadline) {
                Some(line) => self.lines.push(self.names.normalise(&line)),
                None => return self.lines.push("no further line".to_owned()),
            }
        }
    }

    fn etcdctl(&self, words: &[String]) -> Command {
        let mut command = Command::new(&self.binaries.etcdctl);
        let endpoint = format!("{}{}", self.binaries.scheme, self.member.endpoint());
        command
            .current_dir(self.member.folder())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("ETCDCTL_ENDPOINTS", endpoint)
            // Long enough for a busy machine: a slow answer is not a different one.
            .env("ETCDCTL_COMMAND_TIMEOUT", "30s")
            .args(words.iter().map(|word| self.names.expand(word)));
        command
    }
}
