//! How much may be in flight.
//!
//! Every handler takes a permit for the bytes of its request and gives it back with its answer, so
//! that a flood of requests meets an error instead of the end of memory.
//!
//! ```text
//! request of n bytes ─▶ take(n) ─┬─ fits ──▶ handler ─▶ dropped: n bytes free again
//!                                └─ full ──▶ "too many requests"
//! ```
//!
//! It never waits: a queue in front of a full member only moves the memory elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::limits::{IN_FLIGHT_BYTES_MAX, REQUEST_OVERHEAD_BYTES};
use super::status::EtcdError;

/// The account of bytes in flight. Clones share it.
#[derive(Clone, Debug)]
pub struct Permits {
    account: Arc<Account>,
    bytes_max: u64,
}

#[derive(Debug, Default)]
struct Account {
    taken_bytes: AtomicU64,
    /// Requests so far.
    requests: AtomicU64,
}

/// Some bytes of the account; returns them when dropped.
#[derive(Debug)]
pub struct Permit {
    account: Arc<Account>,
    bytes: u64,
    request_bytes: usize,
}

impl Permit {
    /// The size of the request.
    #[must_use]
    pub fn request_bytes(&self) -> usize {
        self.request_bytes
    }
}

impl Default for Permits {
    fn default() -> Permits {
        Permits::new(IN_FLIGHT_BYTES_MAX)
    }
}

impl Permits {
    /// An account of at most `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Permits {
        Permits { account: Arc::default(), bytes_max }
    }

    /// Takes what a request of `request_bytes` needs.
    ///
    /// # Errors
    /// [`EtcdError::TooManyRequests`] if too much is in flight.
    pub fn take(&self, request_bytes: usize) -> Result<Permit, EtcdError> {
        let bytes = request_bytes as u64 + REQUEST_OVERHEAD_BYTES;
        let taken = self.account.taken_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.account.requests.fetch_add(1, Ordering::Relaxed);
        // Gives the bytes back on its way out if they are too many.
        let permit = Permit { account: Arc::clone(&self.account), bytes, request_bytes };
        if taken > self.bytes_max { Err(EtcdError::TooManyRequests) } else { Ok(permit) }
    }

    /// What is in flight now.
    #[must_use]
    pub fn taken_bytes(&self) -> u64 {
        self.account.taken_bytes.load(Ordering::Relaxed)
    }

    /// How many requests have come in so far, refused ones included.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.account.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.account.taken_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_account_refuses_and_an_answer_makes_room() {
        let permits = Permits::new(2 * (REQUEST_OVERHEAD_BYTES + 100));
        let first = permits.take(100).expect("room for the first");
        let second = permits.take(100).expect("room for the second");
        assert_eq!(permits.take(0).expect_err("full"), EtcdError::TooManyRequests);
        drop(first);
        let third = permits.take(100).expect("room again");
        drop((second, third));
        assert_eq!((permits.taken_bytes(), permits.requests()), (0, 4));
    }
}
