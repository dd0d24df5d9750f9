//! T5: a Ready that writes nothing must not leave a record behind. Alone in its binary, because it
//! looks at the memory of the process.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(missing_docs, reason = "a test binary")]

mod support;

use node::messages::{ConsensusInput, ReadBatch};
use support::Lone;

/// Pages in memory, where the system tells.
fn resident_pages() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split(' ').nth(1)?.parse().ok()
}

#[test]
fn t5_readies_without_a_write_leave_nothing_behind() {
    let mut lone = Lone::born();
    lone.settle();
    let mut read = |batch: u64| {
        // A read makes a Ready that nothing waits for.
        lone.inbox.push_back(ConsensusInput::ReadIndex(ReadBatch(batch)));
        lone.turn();
        assert_eq!(lone.reads.drain(..).count(), 1);
    };
    (0..20_000).for_each(&mut read);
    let before = resident_pages();
    (20_000..300_000).for_each(&mut read);
    let grown = resident_pages().zip(before).map(|(now, before)| now.saturating_sub(before));
    // Without the guard 280,000 records of 48 bytes and more stay: over 3,000 pages.
    assert!(grown.unwrap_or(0) < 1000, "{grown:?} pages more");
}
