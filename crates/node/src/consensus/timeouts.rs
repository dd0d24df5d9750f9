//! How long a member waits before it tries to lead: a pure function, so that a run repeats.
//!
//! The `raft` crate draws this number at random whenever the role changes; it is overwritten before
//! every tick, in production as in simulation.

/// Ticks without a leader before an election in `term`: at least `election_ticks` and less than
/// twice as many, different for each member and term.
#[must_use]
pub fn election_timeout_ticks(seed: u64, member: u64, term: u64, election_ticks: usize) -> usize {
    let mixed = mix(mix(mix(seed).wrapping_add(member)).wrapping_add(term));
    let spread = mixed % election_ticks as u64;
    election_ticks + usize::try_from(spread).expect("less than a usize")
}

/// The finalizer of SplitMix64: every bit of the input reaches every bit of the output.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_spread_over_the_whole_range_and_repeat() {
        let mut seen = [0; 10];
        for term in 0..1000 {
            let ticks = election_timeout_ticks(1, 2, term, 10);
            assert_eq!(ticks, election_timeout_ticks(1, 2, term, 10));
            seen[ticks - 10] += 1;
        }
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
    }
}
