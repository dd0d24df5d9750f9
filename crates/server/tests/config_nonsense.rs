//! Nothing that an operator can write makes the program panic.

use fastrand::Rng;
use server::config::cli::{Outcome, decide};
use server::config::{Config, flags};

/// Pieces that lead deep into the readers of values.
const PIECES: [&str; 40] = [
    "-",
    "--",
    "=",
    "",
    " ",
    ",",
    ":",
    "/",
    "://",
    "http",
    "unix",
    "[",
    "]",
    "::1",
    "localhost",
    "@",
    "%",
    "*",
    "0",
    "00",
    "0x",
    "_",
    "9",
    "18446744073709551615",
    "-1",
    ".",
    "h",
    "ms",
    "\u{b5}s",
    "\u{3bc}",
    "true",
    "AllAlpha",
    "{",
    "}",
    "\n",
    "\t",
    "\"",
    "a: ",
    "- ",
    "\u{1f980}",
];

fn nonsense(rng: &mut Rng, pieces: usize) -> String {
    (0..rng.usize(0..=pieces)).map(|_| PIECES[rng.usize(0..PIECES.len())]).collect()
}

#[test]
fn no_command_line_and_no_environment_panics() {
    let names: Vec<&str> = flags::all().chain(flags::RETIRED).map(|flag| flag.name).collect();
    let mut rng = Rng::with_seed(7);
    let mut outcomes = [0_u32; 3];
    for _ in 0..5_000 {
        let mut name = || names[rng.usize(0..names.len())];
        let (flag, variable) =
            (name(), format!("ETCD_{}", name().to_uppercase().replace('-', "_")));
        // Files are the other test's.
        if flag == "config-file" || variable == "ETCD_CONFIG_FILE" {
            continue;
        }
        let words = ["metastore".to_owned(), format!("--{flag}={}", nonsense(&mut rng, 5))];
        let words =
            words.into_iter().chain([nonsense(&mut rng, 2)]).filter(|word| !word.is_empty());
        let variables = [(variable, nonsense(&mut rng, 5))];
        match decide(words.map(Into::into), &variables) {
            Outcome::Start(..) => outcomes[0] += 1,
            Outcome::Print { code, stderr, .. } => {
                assert!(code == 0 || !stderr.is_empty(), "a refusal says why");
                outcomes[usize::from(code.min(2))] += u32::from(code != 0);
            }
        }
    }
    assert!(outcomes.iter().all(|count| *count > 50), "each way out was taken: {outcomes:?}");
}

#[test]
fn no_configuration_file_panics() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.yaml");
    let flag = format!("--config-file={}", path.display());
    let names: Vec<&str> = flags::all().map(|flag| flag.name).collect();
    let mut rng = Rng::with_seed(8);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..500 {
        let name = names[rng.usize(0..names.len())];
        let text = format!("{name}: {}\n{}", nonsense(&mut rng, 4), nonsense(&mut rng, 3));
        std::fs::write(&path, text).expect("a file");
        match Config::from_flags(&[&flag]) {
            Ok(_) => read += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(read > 20 && refused > 20, "{read} read, {refused} refused");
}
