//! The real consensus on a disk that fails: nothing acknowledged is ever lost.
#![allow(clippy::print_stdout, reason = "tests say what they saw")]

use sim::{Planted, Report, run};

const STEPS: u32 = 250;

/// Seeds that found something once.
const KNOWN: [u64; 0] = [];

/// `SIM_SEED=396 SIM_SEEDS=1 cargo test -p sim` repeats one run.
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn sum(seeds: impl Iterator<Item = u64>) -> Report {
    let mut sum = Report::default();
    for seed in seeds {
        let report = match run(seed, STEPS, Planted::Nothing) {
            Ok(report) => report,
            Err(violation) => panic!("seed {seed}: {violation}"),
        };
        sum.acknowledged += report.acknowledged;
        sum.crashes += report.crashes;
        sum.tails_cut += report.tails_cut;
        sum.rot_refused += report.rot_refused;
        sum.in_flight_max = sum.in_flight_max.max(report.in_flight_max);
        sum.overtakes += report.overtakes;
        sum.released += report.released;
    }
    sum
}

#[test]
fn nothing_acknowledged_is_lost_on_a_disk_that_loses_tears_and_reorders() {
    let (from, count) = (asked("SIM_SEED").unwrap_or(0), asked("SIM_SEEDS").unwrap_or(1500));
    let sum = sum((from..from + count).chain(KNOWN));
    println!("{sum:?}");
    if count < 1000 {
        return;
    }
    assert!(sum.acknowledged > 10_000, "too little was promised: {sum:?}");
    assert!(sum.crashes > 1000 && sum.tails_cut > 100, "too little went wrong: {sum:?}");
    assert!(sum.in_flight_max >= 2, "no two appends were in flight: {sum:?}");
    assert!(sum.overtakes > 100, "no write overtook another: {sum:?}");
    assert!(sum.released > 100 && sum.rot_refused > 10, "{sum:?}");
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in 0..50 {
        let (first, second) =
            (run(seed, STEPS, Planted::Nothing), run(seed, STEPS, Planted::Nothing));
        assert_eq!(first, second, "seed {seed}");
        assert_ne!(first.map(|report| report.trace), Ok(0), "seed {seed} says nothing");
    }
}

/// How many seeds it takes to notice.
fn caught(planted: Planted) -> u64 {
    let found = (0..2000).find(|seed| run(*seed, STEPS, planted).is_err());
    found.unwrap_or_else(|| panic!("{planted:?} goes unnoticed in 2000 seeds"))
}

#[test]
fn a_disk_that_acknowledges_before_it_syncs_is_caught() {
    println!("at seed {}", caught(Planted::DiskAcknowledgesEarly));
}

#[test]
fn a_shell_that_reports_durability_early_is_caught() {
    println!("at seed {}", caught(Planted::ShellAcknowledgesEarly));
}

#[test]
fn a_start_that_does_not_wait_for_its_first_write_is_caught() {
    println!("at seed {}", caught(Planted::ShellSkipsTheGate));
}

#[test]
fn a_start_that_takes_rot_for_a_torn_tail_is_caught() {
    println!("at seed {}", caught(Planted::RotIsCut));
}
