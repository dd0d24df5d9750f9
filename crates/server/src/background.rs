//! Long work beside the requests.
//!
//! Snapshots and hashes of everything take seconds of a processor, and nobody waits for them by the
//! microsecond. Their threads step back: whenever a thread that serves requests has something to do, it
//! goes first. With as many processors as threads that makes no difference; with few it decides the
//! tail of everybody's latency.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Steps back by so much, of 19 that are possible: a tenth of the processor under full load, so that the
/// work still comes to its end.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Runs `work` on a thread of its own that steps back.
///
/// # Errors
/// The thread cannot be started.
pub fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        step_back();
        work()
    })
}

/// On Linux threads have priorities of their own.
#[cfg(target_os = "linux")]
fn step_back() {
    let this = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(this), NICE) {
        tracing::debug!(%error, "a background thread keeps the common priority");
    }
}

#[cfg(not(target_os = "linux"))]
fn step_back() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn priority() -> i32 {
        rustix::process::getpriority_process(Some(rustix::thread::gettid())).expect("a priority")
    }

    #[test]
    fn only_the_background_steps_back() {
        let before = priority();
        let background = spawn("test", priority).expect("a thread").join().expect("no panic");
        assert_eq!(background, NICE.max(before));
        assert_eq!(priority(), before);
    }
}
