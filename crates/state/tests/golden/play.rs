//! Plays a script on two state machines at once, and compares with what was recorded.

use std::fmt::Write as _;
use std::path::Path;

use crate::harness::{CrashingEngine, Harness};
use crate::script;
use state::engine::memory::MemoryEngine;

/// Of this crate, whichever crate runs the scripts.
const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../state/testdata");

struct Pair {
    memory: Harness,
    crashing: Harness,
    engine: CrashingEngine,
}

impl Pair {
    fn new() -> Pair {
        let engine = CrashingEngine::new();
        Pair {
            memory: Harness::new(Box::new(MemoryEngine::new())),
            crashing: Harness::new(Box::new(engine.clone())),
            engine,
        }
    }

    fn run(&mut self, line: &str) -> String {
        match line {
            "restart" => {
                self.memory.restart(Box::new(MemoryEngine::new()));
                let kept = self.engine.crash();
                self.crashing.restart(Box::new(kept));
                String::new()
            }
            "flush" => {
                self.engine.flush();
                String::new()
            }
            _ => {
                let first = script::run(&mut self.memory, line);
                let second = script::run(&mut self.crashing, line);
                assert_eq!(first, second, "engines disagree about {line:?}");
                first
            }
        }
    }
}

pub(crate) fn play(text: &str) -> String {
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

pub(crate) fn check(folder: &str) {
    let folder = Path::new(TESTDATA).join(folder);
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
