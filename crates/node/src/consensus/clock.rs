//! Cluster time: where the log stands, and how it goes on.
//!
//! ```text
//! last time in the log 5000 ms, seen at 70 ms of this process ─▶ at 90 ms it is 5020 ms
//! ```
//!
//! A leader goes on from the last batch in its log by its own monotonic clock; nobody's wall clock
//! matters. That no batch carries a lower time than the one before it is seen to where batches are made.

use state::ClusterTime;

/// Cluster time by a process clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// A time that the log has reached, and the reading of the process clock it belongs to.
    anchor: (u64, u64),
    started: bool,
    /// The newest reading of the process clock.
    now_ms: u64,
}

impl Clock {
    /// Goes on from the time the log has reached.
    pub(super) fn new(reached: ClusterTime) -> Clock {
        Clock { anchor: (reached.0, 0), started: false, now_ms: 0 }
    }

    /// Takes a reading of the process clock.
    pub(super) fn advance(&mut self, now_ms: u64) {
        if !self.started {
            self.anchor.1 = now_ms;
            self.started = true;
        }
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// Stops the time that has passed without a leader from counting: time stands still while
    /// nobody writes it down.
    pub(super) fn lead(&mut self, reached: ClusterTime) {
        self.anchor = (reached.0, self.now_ms);
    }

    /// The cluster time at a reading of the process clock.
    pub(super) fn at(&self, now_ms: u64) -> ClusterTime {
        let passed = if self.started { now_ms.saturating_sub(self.anchor.1) } else { 0 };
        ClusterTime(self.anchor.0.saturating_add(passed))
    }

    /// The cluster time at the newest reading.
    pub(super) fn now(&self) -> ClusterTime {
        self.at(self.now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_from_the_log_and_never_backwards() {
        let mut clock = Clock::new(ClusterTime(5000));
        assert_eq!(clock.now(), ClusterTime(5000));
        clock.advance(70);
        clock.advance(90);
        assert_eq!(clock.now(), ClusterTime(5020));
        clock.advance(80);
        assert_eq!(clock.now(), ClusterTime(5020), "a reading from the past changes nothing");
    }

    #[test]
    fn a_new_leader_does_not_count_the_time_without_one() {
        let mut clock = Clock::new(ClusterTime(1000));
        clock.advance(0);
        clock.advance(60_000);
        clock.lead(ClusterTime(1500));
        assert_eq!(clock.now(), ClusterTime(1500));
    }
}
