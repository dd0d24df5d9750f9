//! Runs the scripts under `testdata`: comment, commands, `---`, recorded answers.
//!
//! Every script runs on two state machines at once, one on the memory engine and one on an engine
//! that keeps values to itself and forgets what it has not flushed; every answer must be the same.
//! `UPDATE_GOLDENFILES=1` records the answers anew.

#[path = "harness/mod.rs"]
mod harness;
#[path = "harness/script.rs"]
mod script;

use std::fmt::Write as _;
use std::path::Path;

use harness::{Harness, SharedForgetful};
use state::engine::memory::MemoryEngine;

struct Pair {
    memory: Harness,
    forgetful: Harness,
    engine: SharedForgetful,
}

impl Pair {
    fn new() -> Pair {
        let engine = SharedForgetful::new();
        Pair {
            memory: Harness::new(Box::new(MemoryEngine::new())),
            forgetful: Harness::new(Box::new(engine.clone())),
            engine,
        }
    }

    fn run(&mut self, line: &str) -> String {
        match line {
            "restart" => {
                self.memory.restart(Box::new(MemoryEngine::new()));
                let kept = self.engine.crash();
                self.forgetful.restart(Box::new(kept));
                String::new()
            }
            "flush" => {
                self.engine.flush();
                String::new()
            }
            _ => {
                let first = script::run(&mut self.memory, line);
                let second = script::run(&mut self.forgetful, line);
                assert_eq!(first, second, "engines disagree about {line:?}");
                first
            }
        }
    }
}

fn play(text: &str) -> String {
    let mut pair = Pair::new();
    let mut out = String::new();
    for block in text.split("\n\n") {
        if block.trim().is_empty() {
            continue;
        }
        let mut answers = String::new();
        for line in block.lines().take_while(|line| *line != "---") {
            writeln!(out, "{line}").expect("a string takes everything");
            let command = line.split('#').next().unwrap_or("").trim();
            if !command.is_empty() {
                answers += &pair.run(command);
            }
        }
        writeln!(out, "---\n{answers}").expect("a string takes everything");
    }
    out.trim_end().to_owned() + "\n"
}

fn check(folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(folder);
    let mut scripts = 0;
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of scripts")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    names.sort();
    for path in names {
        let recorded = std::fs::read_to_string(&path).expect("a script");
        let played = play(&recorded);
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            std::fs::write(&path, &played).expect("a script is writable");
        } else {
            assert_eq!(played, recorded, "{} has other answers", path.display());
        }
        scripts += 1;
    }
    assert!(scripts > 0, "no scripts in {}", folder.display());
}

#[test]
fn a_script_with_a_wrong_answer_is_noticed() {
    let right = play("put a=1\nget a");
    assert!(right.contains("a=1 (create 2, mod 2, version 1)"), "{right}");
    assert_ne!(right.replace("version 1", "version 2"), play(&right));
    assert_eq!(right, play(&right));
}

macro_rules! scripts {
    ($($name:ident: $folder:literal),* $(,)?) => {
        $(#[test]
        fn $name() {
            check($folder);
        })*
    };
}

scripts! {
    versions_of_a_key: "mvcc",
    reads_with_every_option: "range",
    transactions: "txn",
    leases: "lease",
    compaction: "compact",
    hashes: "hash",
}
