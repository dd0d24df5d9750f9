//! Every crash of a recorded life, and the start that follows it.
//!
//! ```text
//! call 1 ─ call 2 ─ … ─ call k ─ … ─ call n
//!                          └▶ killed, killed within the next, no power: nothing or anything kept
//!                               └▶ a member opens what is left ─▶ it holds what was acknowledged
//!                                      └▶ and so after another crash: when it was killed, always
//!                                         without power, since it may have built on what was
//!                                         not durable; otherwise now and then any
//! ```
//!
//! Crashes that leave the same are tried once: nothing but a sync changes what is left for certain
//! when there is no power.
//!
//! Where the calls end, in memory or at the system, is the [`Machine`]'s business.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fastrand::Rng;

use super::life::live;
use super::medium::{Call, Crash, Medium};
use super::member::{Home, Member};
use super::story::Story;

/// The machine has two cores at least, and a start waits more than it reckons.
const THREADS: usize = 4;
/// A fault shows after most calls, once it shows: who strides through the whole life again and again
/// comes upon it sooner than who takes call after call.
const STRIDE: usize = 16;

/// Runs members on disks that remember every call.
pub(super) trait Machine: Sync {
    /// Where they live.
    type Home: Home;

    /// Lives on a disk that holds `start`, and gives the calls that it made.
    fn run(
        &self,
        start: &Medium,
        life: impl FnOnce(&Self::Home) -> Result<(), String>,
    ) -> Result<Vec<Call>, String>;
}

/// A recorded life.
pub(super) struct Recording {
    pub(super) start: Medium,
    pub(super) calls: Vec<Call>,
    pub(super) story: Story,
}

/// Records a life that nothing disturbs.
pub(super) fn record<M: Machine>(machine: &M, start: Medium) -> Recording {
    let mut story = Story::default();
    let calls = machine.run(&start, |home| live(home, &mut story)).expect("nothing disturbs it");
    Recording { start, calls, story }
}

/// Every call, every crash, and for some another crash in the start that follows, on an honest
/// machine. Gives how many starts there were, or what one of them found.
pub(super) fn crash_everywhere<M: Machine>(
    machine: &M,
    recording: &Recording,
    seed: u64,
) -> Result<usize, String> {
    let (next, is_found) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut starts = 0;
        loop {
            let first = next.fetch_add(1, Ordering::Relaxed);
            if first >= STRIDE || is_found.load(Ordering::Relaxed) {
                return Ok(starts);
            }
            let stride = crash_in_strides(machine, recording, seed, first, &is_found);
            starts += stride.inspect_err(|_| is_found.store(true, Ordering::Relaxed))?;
        }
    };
    let results: Vec<Result<usize, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("it tells its errors")).collect()
    });
    results.into_iter().sum()
}

/// Every crash after each so-manieth call, until somebody has found something.
fn crash_in_strides<M: Machine>(
    machine: &M,
    recording: &Recording,
    seed: u64,
    first: usize,
    is_found: &AtomicBool,
) -> Result<usize, String> {
    let mut medium = recording.start.clone();
    let mut starts = 0;
    for calls in 0..=recording.calls.len() {
        if is_found.load(Ordering::Relaxed) {
            break;
        }
        if calls % STRIDE == first {
            // So that a crash is the same whichever thread meets it.
            let mut rng = Rng::with_seed(seed.wrapping_add(calls as u64));
            starts += crash_at(machine, recording, &medium, calls, &mut rng)?;
        }
        if let Some(call) = recording.calls.get(calls) {
            medium.apply(call);
        }
    }
    Ok(starts)
}

/// Every crash after so many calls, which have left `medium`.
fn crash_at<M: Machine>(
    machine: &M,
    recording: &Recording,
    medium: &Medium,
    calls: usize,
    rng: &mut Rng,
) -> Result<usize, String> {
    let next = recording.calls.get(calls);
    // For every fourth call one of the crashes.
    let again = rng.usize(..4 * Crash::ALL.len());
    let mut starts = 0;
    for (number, crash) in Crash::ALL.into_iter().enumerate() {
        // What a start finds that is not yet durable it must not build on as it is.
        let then_power = crash == Crash::Killed;
        if !then_power && number != again && is_like_the_next(crash, next) {
            continue;
        }
        let at = |error| format!("{crash:?} after {calls} calls: {error}");
        let left = after(medium, next, crash, rng);
        let opened = open_after(machine, recording, left, calls).map_err(at)?;
        starts += 1;
        if then_power {
            crash_again(machine, &opened, opened.calls.len(), Crash::PowerStrict, rng)
                .map_err(at)?;
            starts += 1;
        }
        if number == again {
            let calls = rng.usize(0..=opened.calls.len());
            let crash = *rng.choice(&Crash::ALL).expect("there are some");
            crash_again(machine, &opened, calls, crash, rng).map_err(at)?;
            starts += 1;
        }
    }
    Ok(starts)
}

/// A crash of a start, after so many calls.
fn crash_again<M: Machine>(
    machine: &M,
    start: &Recording,
    calls: usize,
    crash: Crash,
    rng: &mut Rng,
) -> Result<(), String> {
    let mut medium = start.start.clone();
    start.calls[..calls].iter().for_each(|call| medium.apply(call));
    let left = after(&medium, start.calls.get(calls), crash, rng);
    let opened = open_after(machine, start, left, calls);
    opened.map_err(|error| format!("then {crash:?} after {calls} calls of the start: {error}"))?;
    Ok(())
}

/// Whether the same crash one call later leaves the same, when no less has been promised; or, for a
/// crash within a call, whether there is nothing to be within.
fn is_like_the_next(crash: Crash, next: Option<&Call>) -> bool {
    let Some(next) = next else { return crash == Crash::KilledWithin };
    let is_sync = matches!(next, Call::Sync { .. } | Call::SyncNames { .. });
    match crash {
        Crash::Killed => false,
        Crash::KilledWithin => !matches!(next, Call::Write { .. }),
        Crash::PowerStrict => !is_sync,
        Crash::PowerMixed => false,
    }
}

/// What a disk holds after a crash; `next` is the call that was not done any more.
fn after(medium: &Medium, next: Option<&Call>, crash: Crash, rng: &mut Rng) -> Medium {
    let mut medium = medium.clone();
    match (crash, next) {
        (Crash::KilledWithin, Some(next)) => medium.apply_part(next, rng),
        (Crash::Killed | Crash::KilledWithin, _) => {}
        (Crash::PowerStrict, _) => medium.lose_power(true, rng),
        (Crash::PowerMixed, _) => medium.lose_power(false, rng),
    }
    medium
}

/// Opens what one crash left; gives the recording of that start.
fn open_after<M: Machine>(
    machine: &M,
    recording: &Recording,
    start: Medium,
    calls: usize,
) -> Result<Recording, String> {
    let told = recording.story.after(calls);
    let mut story = told.clone();
    let calls = machine.run(&start, |home| {
        let mut member = Member::open(home, &mut story)?;
        member.holds(&told)?;
        // It goes on as if nothing had happened.
        member.put("after the crash", 40, &mut story)
    })?;
    Ok(Recording { start, calls, story })
}
