//! Whole runs: rounds of requests on fresh servers, until the number is reached or a difference is
//! found, which is then made small.
//!
//! Each round has a seed of its own, which is enough to repeat it.

mod minimise;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::coverage::Coverage;
use crate::driver::{Driver, Found, Program};
use crate::generate::{Generator, Profile};
use crate::step::Step;

/// Requests of one round: enough history to be interesting, few enough to be made small.
pub const ROUND_REQUESTS: usize = 4_000;
/// Steps shown of a run, the last of them.
const STEPS_SHOWN: usize = 30;

/// What is compared.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The server of reference.
    pub etcd: PathBuf,
    /// The server under test.
    pub subject: PathBuf,
    /// Flags that only the server under test gets.
    pub subject_flags: Vec<String>,
}

/// What a run has shown.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Requests made of each server.
    pub requests_count: usize,
    /// How often each explanation was needed.
    pub explained: BTreeMap<&'static str, usize>,
    /// What was put to the test.
    pub coverage: Coverage,
    /// The first difference that nothing explains, as text that says how to repeat it.
    pub failure: Option<String>,
}

impl Pair {
    /// Starts both with the limits of this profile.
    ///
    /// # Errors
    ///
    /// If one does not start.
    pub async fn start(&self, profile: &Profile) -> Result<Driver> {
        self.start_with(&profile.flags()).await
    }

    /// Starts both with these flags.
    ///
    /// # Errors
    ///
    /// If one does not start.
    pub async fn start_with(&self, flags: &[String]) -> Result<Driver> {
        let etcd = Program { binary: &self.etcd, flags: &[] };
        let subject = Program { binary: &self.subject, flags: &self.subject_flags };
        Driver::start(etcd, subject, flags).await
    }

    /// Makes so many requests, in rounds whose seeds count up from this one.
    ///
    /// # Errors
    ///
    /// If a server does not start, or does not come back.
    pub async fn run(&self, requests_count: usize, seed: u64) -> Result<Report> {
        let mut report = Report::default();
        let mut round_seed = seed;
        while report.requests_count < requests_count && report.failure.is_none() {
            let left = requests_count - report.requests_count;
            self.round(left.min(ROUND_REQUESTS), round_seed, &mut report).await?;
            round_seed += 1;
        }
        Ok(report)
    }

    async fn round(&self, requests_count: usize, seed: u64, report: &mut Report) -> Result<()> {
        let profile = Profile::of(seed);
        let mut driver = self.start(&profile).await?;
        let mut generator = Generator::new(seed, profile.clone());
        let mut steps = Vec::new();
        while driver.requests_count < requests_count && driver.found.is_empty() {
            let step = generator.step(&driver.world);
            driver.step(&step).await?;
            steps.push(step);
        }
        if driver.found.is_empty() {
            driver.step(&Step::Settle).await?;
        }
        report.requests_count += driver.requests_count;
        report.coverage.add(&driver.coverage);
        for (name, count) in &driver.explained {
            *report.explained.entry(name).or_default() += count;
        }
        if let Some(first) = driver.found.first().cloned() {
            let all = std::mem::take(&mut driver.found);
            drop(driver);
            let small = minimise::minimise(self, &profile, &steps, &first).await;
            report.failure = Some(text(seed, &all, &steps, small.as_deref()));
        }
        Ok(())
    }
}

/// A failure with all that is needed to understand and repeat it.
fn text(seed: u64, found: &[Found], steps: &[Step], small: Option<&[Step]>) -> String {
    let mut lines: Vec<String> = found.iter().map(Found::to_string).collect();
    lines.push(String::new());
    let (steps, what) = match small {
        Some(small) => (small, "on fresh servers show it"),
        None => (steps, "of this run show it, but no part of them does"),
    };
    lines.push(format!("{} steps {what}; the last of them:", steps.len()));
    let shown = &steps[steps.len().saturating_sub(STEPS_SHOWN)..];
    lines.extend(shown.iter().map(|step| format!("    {step}")));
    lines.push(String::new());
    lines.push(format!("Again: cargo xtask compat --seed {seed} --requests {ROUND_REQUESTS}"));
    lines.join("\n")
}

/// What the build script of `compat` leaves behind: the folder of etcd's binaries, built if need be.
/// `None` if there is no Go to build them with.
///
/// # Errors
///
/// If the build fails.
pub fn etcd_folder(checkout: &Path) -> Result<Option<PathBuf>> {
    /// How the script says that it has no Go.
    const GO_IS_ABSENT: i32 = 3;
    let output = std::process::Command::new(checkout.join("compat/build")).output()?;
    if output.status.code() == Some(GO_IS_ABSENT) {
        return Ok(None);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "compat/build failed:\n{complaint}");
    Ok(Some(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())))
}
