//! Commands that end by themselves, and what they leave behind.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::{LOOK, PATIENCE};

/// For what a command has said before it was killed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a finished command left behind.
#[derive(Debug)]
pub struct Finished {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// The exit status; `None` after a signal, such as the one that ends our patience.
    pub code: Option<i32>,
}

/// Runs a command to its end with this standard input; one that does not end is killed.
///
/// # Errors
/// If it cannot be run.
///
/// # Panics
/// If a thread cannot be started.
pub fn run(command: &mut Command, stdin: &[u8]) -> io::Result<Finished> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().expect("piped above");
    let deadline = Instant::now() + PATIENCE;
    // Threads of their own: neither a large input nor two large outputs may wait for each other.
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A command that does not read its input closes the pipe; that is its right.
            let _ = input.write_all(stdin);
        });
        let stdout = read_all(child.stdout.take().expect("piped above"));
        let stderr = read_all(child.stderr.take().expect("piped above"));
        let mut outputs = [stdout, stderr].map(|output| {
            let left = deadline.saturating_duration_since(Instant::now());
            match output.recv_timeout(left) {
                Ok(bytes) => bytes,
                Err(_) => {
                    // It may have ended in this moment, which is as good.
                    let _ = child.kill();
                    // A child of its own may hold the pipe open: what it says is lost.
                    output.recv_timeout(LAST_WORDS).unwrap_or_default()
                }
            }
        });
        // With its outputs closed it has ended, or goes on in silence.
        let code = loop {
            if let Some(status) = child.try_wait()? {
                break status.code();
            }
            if Instant::now() >= deadline {
                // As above.
                let _ = child.kill();
            }
            std::thread::sleep(LOOK);
        };
        let [stdout, stderr] = outputs.each_mut().map(std::mem::take);
        Ok(Finished { stdout, stderr, code })
    })
}

/// Reads a pipe to its end in the background.
fn read_all(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is shown; the comparison notices what is missing.
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}
