//! A server with data in it, and how it takes puts.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::activity::{Activity, Done};
use crate::latency::Timed;
use crate::load::{Data, Paced, in_order, put_all, puts_due};
use crate::process::{Program, Server};

/// A server is left alone after many puts until it writes nothing more, but not for longer.
const QUIET_WITHIN: Duration = Duration::from_mins(1);
/// It counts as quiet after so long without a write.
const QUIET: Duration = Duration::from_secs(2);

/// Puts at a steady rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Per second.
    pub(crate) rate: u64,
    pub(crate) lasting: Duration,
}

impl Pace {
    /// How many in all.
    pub(crate) fn puts(self) -> u64 {
        puts_due(self.rate, self.lasting)
    }
}

/// See the module.
pub(crate) struct Loaded {
    // Dropped first: the folder goes after its server.
    pub(crate) server: Server,
    pub(crate) data: Data,
    program: Program,
    folder: TempDir,
}

impl Loaded {
    /// Starts the program in this folder and puts all keys in their order.
    pub(crate) async fn start(program: &Program, folder: TempDir, data: Data) -> Result<Loaded> {
        let loaded = Loaded::empty(program, folder, data)?;
        loaded.put(loaded.data.keys, in_order).await?;
        loaded.quiet(QUIET_WITHIN).await?;
        Ok(loaded)
    }

    /// Starts it without the keys.
    pub(crate) fn empty(program: &Program, folder: TempDir, data: Data) -> Result<Loaded> {
        let server = Server::start(program, &data_dir(&folder))?;
        Ok(Loaded { server, data, program: program.clone(), folder })
    }

    /// Stops the server and starts it again on what it has.
    pub(crate) fn restarted(self) -> Result<Loaded> {
        let Loaded { server, data, program, folder } = self;
        server.stop()?;
        let server = Server::start(&program, &data_dir(&folder))?;
        Ok(Loaded { server, data, program, folder })
    }

    /// Where the data lies.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Puts the first `turns` of these keys as fast as the server takes them.
    pub(crate) async fn put(&self, turns: u64, key_of: fn(&Data, u64) -> u64) -> Result<()> {
        put_all(self.server.address, &self.data, turns, key_of).await.context("load the keys")
    }

    /// Waits until the server has no more to write, but not longer than that.
    pub(crate) async fn quiet(&self, within: Duration) -> Result<()> {
        let end = Instant::now() + within;
        let mut written = self.server.written_bytes()?;
        while Instant::now() < end {
            tokio::time::sleep(QUIET).await;
            let now = self.server.written_bytes()?;
            if now == written {
                break;
            }
            written = now;
        }
        Ok(())
    }

    /// Puts at a rate, to be run.
    pub(crate) fn paced(&self, pace: Pace) -> Paced<'_> {
        Paced {
            address: self.server.address,
            data: &self.data,
            rate: pace.rate,
            lasting: pace.lasting,
            epoch: Instant::now(),
        }
    }

    /// Puts at a rate with something beside them that looks at these keys.
    pub(crate) async fn puts_beside(
        &self,
        pace: Pace,
        what: Activity,
        keys: &Data,
    ) -> Result<(Timed, Done)> {
        let beside = what.start(self.server.address, keys, pace.lasting);
        let latencies = self.paced(pace).run().await?;
        let done = beside.join().map_err(|_| anyhow::anyhow!("{} panicked", what.name()))?;
        Ok((latencies, done.with_context(|| what.name())?))
    }
}

fn data_dir(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("data")
}
