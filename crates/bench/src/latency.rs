//! How long things took: quantiles of many samples, medians of few.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Latencies of one run.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Latencies {
        Latencies(Histogram::new(3).expect("three digits are allowed"))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        // Not `saturating_record`: it cuts at a range that starts small and grows only here.
        self.0.record(micros.max(1)).expect("the range grows by itself");
    }

    #[expect(clippy::cast_precision_loss, reason = "three digits are kept")]
    pub(crate) fn p99_us(&self) -> f64 {
        self.0.value_at_quantile(0.99) as f64
    }
}

/// Latencies of one run, each with when it began.
#[derive(Default)]
pub(crate) struct Timed(Vec<(Instant, Duration)>);

impl Timed {
    pub(crate) fn push(&mut self, timed: (Instant, Duration)) {
        self.0.push(timed);
    }

    pub(crate) fn p99_us(&self) -> f64 {
        p99_us(self.0.iter())
    }

    /// Of what began before `end`.
    pub(crate) fn p99_us_until(&self, end: Instant) -> f64 {
        p99_us(self.0.iter().filter(|(begin, _)| *begin < end))
    }
}

fn p99_us<'a>(timed: impl Iterator<Item = &'a (Instant, Duration)>) -> f64 {
    let mut latencies = Latencies::new();
    timed.for_each(|(_, latency)| latencies.record(*latency));
    latencies.p99_us()
}

/// The middle one, or the mean of the middle two.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    assert!(!values.is_empty(), "the median of nothing");
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { values[middle - 1].midpoint(values[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median([4.0, 1.0, 2.0, 100.0]) - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn what_began_later_does_not_count() {
        let begin = Instant::now();
        let mut timed = Timed::default();
        for i in 0..100 {
            let us = if i < 50 { 200 } else { 9000 };
            timed.push((begin + Duration::from_millis(i), Duration::from_micros(us)));
        }
        let until_us = timed.p99_us_until(begin + Duration::from_millis(50));
        assert!((until_us - 200.0).abs() <= 1.0, "{until_us}");
        assert!((timed.p99_us() - 9000.0).abs() <= 9.0, "{}", timed.p99_us());
    }

    #[test]
    fn the_p99_sees_one_slow_request_in_fifty_and_not_one_in_two_hundred() {
        let p99_us = |slow_every: u32| {
            let mut latencies = Latencies::new();
            for i in 0..1000 {
                let us = if i % slow_every == 0 { 9000 } else { 200 };
                latencies.record(Duration::from_micros(us));
            }
            latencies.p99_us()
        };
        assert!((p99_us(50) - 9000.0).abs() <= 9.0, "{}", p99_us(50));
        assert!((p99_us(200) - 200.0).abs() <= 1.0, "{}", p99_us(200));
    }
}
