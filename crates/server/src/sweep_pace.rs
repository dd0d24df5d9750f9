//! How much of the core thread's time goes into removing what was compacted away.
//!
//! Nobody waits for it by the microsecond, so it comes in small pieces between the turns of those who
//! do. It must keep up with them all the same: what is superseded faster than it is removed is never
//! removed.
//!
//! ```text
//! alone         piece piece piece piece piece                          all of the time
//! short turns   piece ▪▪▪▪▪▪ piece ▪▪▪▪▪▪ piece                        its share, by resting several times as long
//! long turns    piece ▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪ piece piece piece ▪▪▪▪▪▪▪▪▪  its share, by longer pieces
//! ```
//!
//! With rests three times as long as the pieces: one of 60 µs is followed by a rest of 180 µs. If a turn ends
//! only 1 ms after that, the rest has been 1 ms too long: the next piece takes a third of it, 333 µs, and
//! is paid for.
//!
//! The clock is handed in. What is removed, and in what slices, is known to the state machine.

use std::time::{Duration, Instant};

use node::applier::Garbage;

use crate::limits::{SWEEP_LATE_MAX, SWEEP_REST, SWEEP_RETRY, SWEEP_RETRY_MAX};

/// Tells when garbage is removed and for how long.
#[derive(Debug)]
pub struct SweepPace {
    /// Not before then; `None` while there is no garbage.
    due: Option<Instant>,
    /// Until garbage that a view holds is looked at again.
    retry: Duration,
    /// Since the last piece.
    has_had_inputs: bool,
}

/// One uninterrupted removal.
#[derive(Debug)]
pub struct Piece {
    begin: Instant,
    /// Rest beyond what the piece before had to be followed by.
    late: Duration,
    is_alone: bool,
}

impl Piece {
    /// When it has taken enough, be it before its first slice: every piece has one.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.begin + self.late / SWEEP_REST
    }
}

impl SweepPace {
    /// Nothing has happened.
    #[must_use]
    pub fn new() -> SweepPace {
        SweepPace { due: None, retry: SWEEP_RETRY, has_had_inputs: false }
    }

    /// Something else is to be done.
    pub fn had_input(&mut self) {
        self.has_had_inputs = true;
    }

    /// When to ask again, at the latest.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A turn has ended: begins a piece if it is time for one.
    #[must_use]
    pub fn begin(&mut self, now: Instant, garbage: Garbage) -> Option<Piece> {
        if garbage == Garbage::None {
            self.due = None;
            return None;
        }
        // How long there was no garbage is no reason to hurry.
        let late = now.checked_duration_since(*self.due.get_or_insert(now))?;
        let is_alone = !std::mem::take(&mut self.has_had_inputs);
        Some(Piece { begin: now, late: late.min(SWEEP_LATE_MAX), is_alone })
    }

    /// The piece is done and has left this garbage.
    pub fn end(&mut self, piece: &Piece, now: Instant, garbage: Garbage) {
        let pause = match garbage {
            Garbage::None => {
                *self = SweepPace { has_had_inputs: self.has_had_inputs, ..SweepPace::new() };
                return;
            }
            // Most views are held for microseconds, some for minutes.
            Garbage::Held => {
                let pause = self.retry;
                self.retry = (2 * pause).min(SWEEP_RETRY_MAX);
                pause
            }
            Garbage::Removable => {
                self.retry = SWEEP_RETRY;
                let took = now.saturating_duration_since(piece.begin);
                // A member that was stopped in a piece and continued has not worked all that time.
                let rest = took.saturating_mul(SWEEP_REST).min(SWEEP_LATE_MAX);
                // What it was late by was rest, too: paid for twice it would be half the share.
                if piece.is_alone { Duration::ZERO } else { rest.saturating_sub(piece.late) }
            }
        };
        self.due = Some(now + pause);
    }
}

impl Default for SweepPace {
    fn default() -> SweepPace {
        SweepPace::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the state machine takes for its smallest step.
    const SLICE: Duration = Duration::from_micros(60);

    /// A core thread whose clock moves by what is done, and by nothing else.
    struct Thread {
        pace: SweepPace,
        now: Instant,
        /// Time it takes to remove what there is.
        garbage: Duration,
        is_held: bool,
        swept: Duration,
        longest_piece: Duration,
        pieces: u32,
    }

    impl Thread {
        fn with_garbage(garbage: Duration) -> Thread {
            Thread {
                pace: SweepPace::new(),
                now: Instant::now(),
                garbage,
                is_held: false,
                swept: Duration::ZERO,
                longest_piece: Duration::ZERO,
                pieces: 0,
            }
        }

        fn garbage(&self) -> Garbage {
            match (self.garbage.is_zero(), self.is_held) {
                (true, _) => Garbage::None,
                (false, true) => Garbage::Held,
                (false, false) => Garbage::Removable,
            }
        }

        /// A turn that takes so long and leaves so much garbage.
        fn turn(&mut self, length: Duration, garbage: Duration) {
            self.pace.had_input();
            self.now += length;
            self.garbage += garbage;
            self.sweep();
        }

        /// As the core thread does at the end of each turn.
        fn sweep(&mut self) {
            let Some(piece) = self.pace.begin(self.now, self.garbage()) else { return };
            let begin = self.now;
            loop {
                self.now += SLICE;
                if !self.is_held {
                    self.garbage = self.garbage.saturating_sub(SLICE);
                }
                if self.garbage() != Garbage::Removable || self.now >= piece.until() {
                    break;
                }
            }
            self.pieces += 1;
            self.swept += self.now - begin;
            self.longest_piece = self.longest_piece.max(self.now - begin);
            self.pace.end(&piece, self.now, self.garbage());
        }

        /// Nothing comes in until it looks at garbage again; tells how long that was.
        fn idle(&mut self) -> Duration {
            let due = self.pace.due().expect("there is garbage");
            let pause = due.saturating_duration_since(self.now);
            self.now += pause;
            self.sweep();
            pause
        }
    }

    const PLENTY: Duration = Duration::from_secs(1000);

    fn lengths() -> impl Iterator<Item = Duration> {
        [20, 100, 250, 1000, 3000, 10_000, 100_000].into_iter().map(Duration::from_micros)
    }

    #[test]
    fn alone_it_takes_all_of_the_time_slice_by_slice() {
        let mut thread = Thread::with_garbage(1000 * SLICE);
        let begin = thread.now;
        thread.sweep();
        while thread.pace.due().is_some() {
            assert_eq!(thread.idle(), Duration::ZERO);
        }
        assert_eq!(thread.garbage(), Garbage::None);
        assert_eq!(thread.now - begin, 1000 * SLICE, "no rest");
        assert_eq!(thread.longest_piece, SLICE, "whoever comes waits for one slice");
    }

    #[test]
    fn beside_others_it_takes_its_share_of_the_time_however_long_their_turns_are() {
        let due = 1.0 / f64::from(1 + SWEEP_REST);
        for length in lengths() {
            let mut thread = Thread::with_garbage(PLENTY);
            let begin = thread.now;
            for _ in 0..10_000 {
                thread.turn(length, Duration::ZERO);
            }
            let share = thread.swept.as_secs_f64() / (thread.now - begin).as_secs_f64();
            assert!(
                (share / due - 1.0).abs() < 0.04,
                "turns of {length:?}: {share:.3} of {due:.3}"
            );
        }
    }

    #[test]
    fn beside_short_turns_its_pieces_are_short() {
        for length in lengths() {
            let mut thread = Thread::with_garbage(PLENTY);
            for _ in 0..10_000 {
                thread.turn(length, Duration::ZERO);
            }
            let longest = length / SWEEP_REST + 2 * SLICE;
            assert!(thread.longest_piece <= longest, "{length:?}: {:?}", thread.longest_piece);
        }
    }

    #[test]
    fn what_turns_leave_does_not_outgrow_what_is_removed() {
        for length in lengths() {
            // Nine tenths of what it may take beside them.
            let left = length / SWEEP_REST * 9 / 10;
            let mut thread = Thread::with_garbage(Duration::ZERO);
            let mut most = Duration::ZERO;
            for _ in 0..10_000 {
                thread.turn(length, left);
                most = most.max(thread.garbage);
            }
            assert!(most <= 10 * (left + SLICE), "turns of {length:?} leave {most:?}");
        }
    }

    #[test]
    fn it_rests_beside_others_until_they_are_gone() {
        let mut thread = Thread::with_garbage(PLENTY);
        thread.turn(SLICE, Duration::ZERO);
        assert_eq!(thread.idle(), SWEEP_REST * SLICE, "somebody was there since the piece before");
        assert_eq!(thread.idle(), Duration::ZERO);
        thread.turn(SLICE, Duration::ZERO);
        assert!(thread.idle() > Duration::ZERO, "somebody has come again");
    }

    #[test]
    fn the_time_without_garbage_does_not_make_the_first_piece_longer() {
        let mut thread = Thread::with_garbage(Duration::ZERO);
        thread.turn(SLICE, Duration::ZERO);
        thread.turn(Duration::from_secs(60), PLENTY);
        assert_eq!((thread.pieces, thread.longest_piece), (1, SLICE));
    }

    #[test]
    fn a_member_that_was_held_up_for_long_does_not_make_up_for_all_of_it() {
        let mut thread = Thread::with_garbage(PLENTY);
        thread.turn(SLICE, Duration::ZERO);
        thread.turn(Duration::from_secs(60), Duration::ZERO);
        let longest = thread.longest_piece;
        assert!(longest <= SWEEP_LATE_MAX / SWEEP_REST + SLICE, "{longest:?}");
        for _ in 0..100 {
            thread.turn(SLICE, Duration::ZERO);
        }
        assert_eq!(thread.longest_piece, longest, "nor does it later");
    }

    #[test]
    fn a_member_that_was_held_up_in_a_piece_does_not_rest_for_all_of_it() {
        let mut pace = SweepPace::new();
        let begin = Instant::now();
        pace.had_input();
        let piece = pace.begin(begin, Garbage::Removable).expect("it is time");
        let end = begin + Duration::from_secs(3600);
        pace.end(&piece, end, Garbage::Removable);
        assert_eq!(pace.due(), Some(end + SWEEP_LATE_MAX));
    }

    #[test]
    fn what_a_view_holds_is_looked_at_less_and_less_often_until_it_is_let_go() {
        let mut thread = Thread::with_garbage(PLENTY);
        thread.is_held = true;
        thread.sweep();
        let mut pauses: Vec<Duration> = (0..10).map(|_| thread.idle()).collect();
        assert_eq!(pauses[..3], [SWEEP_RETRY, 2 * SWEEP_RETRY, 4 * SWEEP_RETRY]);
        assert_eq!(pauses.pop(), Some(SWEEP_RETRY_MAX));
        thread.is_held = false;
        thread.idle();
        assert_eq!(thread.idle(), Duration::ZERO, "it goes on at once");
        thread.is_held = true;
        thread.idle();
        assert_eq!(thread.idle(), SWEEP_RETRY, "the next view is one of its own");
    }
}
