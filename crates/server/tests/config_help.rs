//! The help text, whole: `UPDATE_GOLDENFILES=1 cargo test -p server --test config_help` rewrites
//! it, and the difference is read as prose.

use server::config::cli::{Outcome, decide};

#[test]
fn the_help_text_is_the_recorded_one() {
    let words = ["metastore", "--help"];
    let Outcome::Print { stdout, stderr, code: 0 } = decide(words.map(Into::into), &[]) else {
        panic!("--help prints and ends with code 0");
    };
    let text = format!("{stderr}{stdout}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config_help.txt");
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::write(path, &text).expect("rewrite the recorded help");
    }
    let recorded = std::fs::read_to_string(path).expect("the recorded help");
    for (ours, recorded) in text.lines().zip(recorded.lines()) {
        assert_eq!(ours, recorded);
    }
    assert_eq!(text.len(), recorded.len());
}
