//! A child process whose output is read line by line while it runs.
//!
//! Waiting is for a line, with a bound, never for a time: a slow machine is slow, not wrong.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long anything may take before the test gives it up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running child; killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

/// Which of the two outputs is followed; the other is discarded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Follow {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Running {
    /// Starts the command with an open standard input.
    pub(crate) fn start(command: &mut Command, follow: Follow) -> std::io::Result<Running> {
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
        Ok(Running { child, stdin, lines })
    }

    /// The next line, or `None` when the child is silent for too long or has ended.
    pub(crate) fn next_line(&self, deadline: Instant) -> Option<String> {
        self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to the child's standard input.
    pub(crate) fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("open until the child is stopped");
        // A child that has ended already is noticed by what it did not print.
        let _ = writeln!(stdin, "{line}").and_then(|()| stdin.flush());
    }

    /// Asks the child to end as a service manager would and waits for it; `None` if it does not.
    pub(crate) fn terminate(&mut self) -> Option<ExitStatus> {
        let pid = self.id();
        // The shell's own kill: the program of that name is not on every machine.
        let kill = format!("kill -TERM {pid}");
        let asked = Command::new("bash").args(["-c", &kill]).status().expect("bash starts");
        assert!(asked.success(), "the child {pid} has ended before it was asked to");
        self.wait()
    }

    /// Waits until the child ends by itself; `None` if it does not.
    pub(crate) fn wait(&mut self) -> Option<ExitStatus> {
        // The output ends when the child does, which can be waited for with a bound.
        let deadline = Instant::now() + PATIENCE;
        while self.next_line(deadline).is_some() {}
        if Instant::now() >= deadline {
            return None;
        }
        self.child.wait().ok()
    }

    /// Ends the child at once, as a power cut would end its process.
    pub(crate) fn kill(&mut self) {
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

/// What a finished command left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Standard output.
    pub(crate) stdout: Vec<u8>,
    /// Standard error.
    pub(crate) stderr: Vec<u8>,
    /// The exit status; `None` after a signal, such as the one that ends our patience.
    pub(crate) code: Option<i32>,
}

/// Runs a command to its end with this standard input; one that does not end is killed.
pub(crate) fn run(command: &mut Command, stdin: &[u8]) -> std::io::Result<Finished> {
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
                    output.recv().unwrap_or_default()
                }
            }
        });
        let code = child.wait()?.code();
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
