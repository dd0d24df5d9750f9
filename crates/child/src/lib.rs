//! A program as a child process: its output line by line while it runs, and every way to end it.
//!
//! ```text
//! Running::start ─▶ next_line, next_line, … │ say │ terminate · kill · wait │ dropped: killed
//!          serve ─▶ the same, once a server says that it serves clients
//! finished::run  ─▶ both outputs and the exit status, when it has ended by itself
//! ```
//!
//! ```
//! use std::process::Command;
//! use std::time::Instant;
//!
//! use child::{Follow, PATIENCE, Running};
//!
//! let mut echo = Running::start(&mut Command::new("cat"), Follow::Stdout)?;
//! echo.say("hello");
//! assert_eq!(echo.next_line(Instant::now() + PATIENCE).as_deref(), Some("hello"));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Waiting is for a line or for the end, with a bound, never for a time: a slow machine is slow, not
//! wrong.
//!
//! What it does not do: it knows no flags. Which names, addresses and data a server gets is what
//! distinguishes a comparison from a measurement, and both from a test.

pub mod finished;
pub mod ports;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long most things may take before they are given up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What etcd logs when it answers; MetaStore says the same words.
pub const READY: &str = "ready to serve client requests";

/// Between two looks whether a child has ended that says nothing any more.
pub(crate) const LOOK: Duration = Duration::from_millis(5);

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    /// `None` once nobody wants to know.
    lines: Option<Receiver<String>>,
}

/// Which of the two outputs is followed; the other is discarded.
#[derive(Clone, Copy, Debug)]
pub enum Follow {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is no such program, or none that can be run.
    #[error("start {program}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It has ended, or been silent for too long.
    #[error("{program} did not become ready; it said:\n{}", said.join("\n"))]
    NotReady {
        /// The program.
        program: String,
        /// All of it, line by line.
        said: Vec<String>,
    },
}

impl Running {
    /// Starts the command with an open standard input.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn start(command: &mut Command, follow: Follow) -> io::Result<Running> {
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        match follow {
            Follow::Stdout => command.stdout(Stdio::piped()),
            Follow::Stderr => command.stderr(Stdio::piped()),
        };
        let mut child = command.spawn()?;
        let stdin = child.stdin.take();
        let output: Box<dyn Read + Send> = match follow {
            Follow::Stdout => Box::new(child.stdout.take().expect("piped above")),
            Follow::Stderr => Box::new(child.stderr.take().expect("piped above")),
        };
        let (sender, lines) = channel();
        // The thread ends with the pipe, that is with the child.
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                // Nobody listens any more: go on reading, or the child would block on a full pipe.
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        Ok(Running { child, stdin, lines: Some(lines) })
    }

    /// Starts a server and waits until it says that it serves. Gives what it has said, that line
    /// included.
    ///
    /// # Errors
    /// If it cannot be run, ends, or takes longer than `patience`.
    pub fn serve(
        command: &mut Command,
        patience: Duration,
    ) -> Result<(Running, Vec<String>), ServeError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let running = match Running::start(command, Follow::Stderr) {
            Ok(running) => running,
            Err(source) => return Err(ServeError::Start { program, source }),
        };
        let deadline = Instant::now() + patience;
        let mut said = Vec::new();
        while let Some(line) = running.next_line(deadline) {
            let is_ready = line.contains(READY);
            said.push(line);
            if is_ready {
                return Ok((running, said));
            }
        }
        Err(ServeError::NotReady { program, said })
    }

    /// The next line, or `None` when the child is silent for too long or has ended.
    #[must_use]
    pub fn next_line(&self, deadline: Instant) -> Option<String> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.lines.as_ref()?.recv_timeout(left).ok()
    }

    /// Listens no more: what the child says from now on is kept nowhere, and [`Running::next_line`] has
    /// nothing to give.
    pub fn ignore_lines(&mut self) {
        self.lines = None;
    }

    /// The number of its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to the child's standard input.
    ///
    /// # Panics
    /// If the child has been waited for, which closes its standard input.
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("open until the child is waited for");
        // A child that has ended already is noticed by what it did not print.
        let _ = writeln!(stdin, "{line}").and_then(|()| stdin.flush());
    }

    /// Asks the child to end, as a service manager would, and waits for nothing.
    ///
    /// # Errors
    /// If it has ended and been waited for.
    pub fn tell_to_stop(&self) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::TERM)?)
    }

    /// Asks the child to end and waits until it has; `None` if it does not.
    pub fn terminate(&mut self) -> Option<ExitStatus> {
        // An error means that it has ended already, as its status will show.
        let _ = self.tell_to_stop();
        self.wait()
    }

    /// Waits until the child ends by itself; `None` if it does not.
    pub fn wait(&mut self) -> Option<ExitStatus> {
        self.wait_until(Instant::now() + PATIENCE)
    }

    fn wait_until(&mut self, deadline: Instant) -> Option<ExitStatus> {
        drop(self.stdin.take());
        // The output ends when the child does, which can be waited for without looking again and again.
        while self.next_line(deadline).is_some() {}
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// Ends the child at once, as a power cut would end its process.
    pub fn kill(&mut self) {
        // Errors mean that it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_server_is_waited_for_until_its_line_and_no_longer() {
        let mut server = shell(&format!("echo one >&2; echo {READY} >&2; read; echo two >&2"));
        let (mut running, said) = Running::serve(&mut server, PATIENCE).expect("it serves");
        assert_eq!(said, ["one", READY]);
        running.say("");
        assert_eq!(running.next_line(Instant::now() + PATIENCE).as_deref(), Some("two"));
        assert_eq!(running.wait().and_then(|status| status.code()), Some(0));
    }

    #[test]
    fn a_server_that_does_not_serve_is_an_error_with_its_last_words() {
        let error = Running::serve(&mut shell("echo no >&2; exit 1"), PATIENCE).expect_err("none");
        assert_eq!(error.to_string(), "bash did not become ready; it said:\nno");
        let silent = Running::serve(&mut shell("read"), Duration::ZERO).expect_err("none");
        assert!(matches!(silent, ServeError::NotReady { said, .. } if said.is_empty()));
        let absent = Running::serve(&mut Command::new("/absent"), PATIENCE).expect_err("none");
        assert_eq!(absent.to_string(), "start /absent");
    }

    #[test]
    fn a_child_ends_as_it_is_told_to() {
        let mut polite = shell("echo begun; exec cat");
        let mut running = Running::start(&mut polite, Follow::Stdout).expect("bash");
        let begun = running.next_line(Instant::now() + PATIENCE);
        assert_eq!(begun.as_deref(), Some("begun"));
        let status = running.terminate().expect("it ends");
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));

        let mut reader = Running::start(&mut shell("cat; exit 3"), Follow::Stdout).expect("bash");
        assert_eq!(reader.wait().and_then(|status| status.code()), Some(3), "its input has ended");

        let mut stubborn = shell("trap '' TERM; echo begun; while :; do read -t 60; done");
        let mut running = Running::start(&mut stubborn, Follow::Stdout).expect("bash");
        assert!(running.next_line(Instant::now() + PATIENCE).is_some());
        running.tell_to_stop().expect("it runs");
        assert_eq!(running.wait_until(Instant::now() + Duration::from_millis(1)), None);
        running.kill();
        assert_eq!(running.next_line(Instant::now() + PATIENCE), None, "it has ended");
    }
}
