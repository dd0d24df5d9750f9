//! From the command line to a decision: start a member, or print something and end.
//!
//! `main` does what the [`Outcome`] says and nothing else:
//!
//! ```text
//!   metastore --version      Print  stdout, code 0
//!   metastore --bogus        Print  stderr with the usage, code 2
//!   metastore --name a       Start  with the configuration and what to say about it
//!   metastore --auto-tls     Print  stderr with the reason, code 1
//! ```

use std::ffi::OsString;

use super::arguments::Request;
use super::error::{ConfigError, UsageError, chain};
use super::program::Program;
use super::{Config, Loaded, help};
use crate::telemetry::line;

/// What to do.
#[derive(Debug)]
pub enum Outcome {
    /// Start a member.
    Start(Program, Box<Loaded>),
    /// Print and end.
    Print {
        /// For the output.
        stdout: String,
        /// For the error stream.
        stderr: String,
        /// The exit code.
        code: u8,
    },
}

/// Decides for the process that calls it.
#[must_use]
pub fn from_process() -> Outcome {
    let variables = std::env::vars_os().filter_map(|(key, value)| {
        // A variable that is not text is none of ours, or holds no value of any kind.
        Some((key.into_string().ok()?, value.into_string().ok()?))
    });
    decide(std::env::args_os(), &variables.collect::<Vec<_>>())
}

/// Decides for these words, of which the first is the program, and this environment.
#[must_use]
pub fn decide(
    words: impl IntoIterator<Item = OsString>,
    variables: &[(String, String)],
) -> Outcome {
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_default();
    let program = Program::named(&program.to_string_lossy());
    let words: Result<Vec<String>, _> = words.map(OsString::into_string).collect();
    let words = match words {
        Ok(words) => words,
        Err(word) => return refuse(program, &UsageError::NotText(word).into()),
    };
    if let Some(command @ ("gateway" | "grpc-proxy")) = words.first().map(String::as_str) {
        let stderr = format!(
            "{}: {command} is not part of MetaStore: clients talk to the member itself\n",
            program.name()
        );
        return Outcome::Print { stdout: String::new(), stderr, code: 1 };
    }
    match Request::parse(&words) {
        Ok(Request::Help) => {
            Outcome::Print { stdout: help::flag_list(), stderr: help::usage(program), code: 0 }
        }
        Ok(Request::Version) => {
            Outcome::Print { stdout: program.version_text(), stderr: String::new(), code: 0 }
        }
        Ok(Request::Start(arguments)) => match Config::load(&arguments, variables) {
            Ok(loaded) => Outcome::Start(program, Box::new(loaded)),
            Err(error) => refuse(program, &error.into()),
        },
        Err(error) => refuse(program, &error.into()),
    }
}

/// In etcd's form if we stand in for it: tools look for the line `failed to verify flags`.
fn refuse(program: Program, error: &ConfigError) -> Outcome {
    let message = chain(error);
    let (stderr, code) = match (error, program) {
        (ConfigError::Usage(_), _) => (format!("{message}\n{}", help::usage(program)), 2),
        (ConfigError::Invalid(_), Program::Metastore) => (format!("metastore: {message}\n"), 1),
        (ConfigError::Invalid(_), Program::Etcd) => {
            let text =
                line::now("warn", concat!("config/cli.rs:", line!()), "failed to verify flags")
                    .with("error", &message)
                    .to_json();
            (text, 1)
        }
    };
    Outcome::Print { stdout: String::new(), stderr, code }
}
