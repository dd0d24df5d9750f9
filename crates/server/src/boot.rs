//! From a configuration to a running member, in the one order that works.
//!
//! ```text
//! data directory ─▶ engine, as it was saved ─▶ log ─▶ Consensus ┐
//!                                        └────▶ State ─▶ Applier ─┴▶ core thread ─▶ handle
//! ```
//!
//! Everything that can be wrong with what is on disk is found here, before anything is served.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{JoinHandle, ScopedJoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use node::applier::Applier;
use node::consensus::{self, Consensus, Holds};
use node::messages::{LogWrite, SegmentId};
use node::wal::{Recovered, ReplayError};
use prost::Message;
use state::alarms::Quota;
use state::command::{ClusterVersion, Operation, Publish};
use state::members::Member;
use state::schema::{Table, meta};
use state::{LogIndex, State};
use storage::data_dir::{DataDir, Stamp};
use storage::log_disk::{Companion, LogDir, LogOptions, segment_path};
use storage::log_start::{LogStart, LogStartError};
use tokio::sync::oneshot;

use crate::checkpoints::Checkpoints;
use crate::config::Config;
use crate::core::{Core, CoreError, CoreInput, CoreParts};
use crate::engines::{self, OpenEngine};
use crate::handle::{Beacon, HandleParts, NodeHandle, Settings};
use crate::limits::{READY_POLL, UNREAD_VIEW_MAX};

/// The cluster version that a new cluster decides on: that of the API it speaks.
pub const CLUSTER_VERSION: &str = "3.7.0";

/// A member whose core thread runs.
pub struct Running {
    /// For handlers.
    pub handle: NodeHandle,
    /// Ends when the member does.
    pub core: JoinHandle<Result<(), CoreError>>,
    /// Resolves when the core thread ends, whatever the reason.
    pub ended: oneshot::Receiver<()>,
    /// Keeps the directory locked.
    pub data_dir: DataDir,
}

/// Opens everything and starts the core thread. The member serves once [`Running::become_ready`]
/// has returned.
///
/// It is the core thread that opens what it is going to own: memory that is freed where it was
/// allocated goes back to the system, and a start reads a log that it soon lets go of.
///
/// # Errors
/// The data directory is not ours, in use or damaged, or the configuration does not fit it.
pub fn start(config: &Config) -> Result<Running> {
    let config = config.clone();
    let (opened, opening) = mpsc::channel();
    let (ending, ended) = oneshot::channel();
    let run = move || {
        let _dropped_at_the_end: oneshot::Sender<()> = ending;
        let (core, handle, data_dir) = match open(&config) {
            Ok(parts) => parts,
            Err(error) => {
                // Whoever started this thread waits.
                let _ = opened.send(Err(error));
                return Ok(());
            }
        };
        let _ = opened.send(Ok((handle, data_dir)));
        core.run()
    };
    let core = std::thread::Builder::new()
        .name("core".to_owned())
        .spawn(run)
        .context("start the core thread")?;
    let (handle, data_dir) = opening.recv().context("the core thread ended")??;
    Ok(Running { handle, core, ended, data_dir })
}

fn open(config: &Config) -> Result<(Core, NodeHandle, DataDir)> {
    let data_dir = open_data_dir(config)?;
    let (cluster, member) = (data_dir.stamp().cluster, data_dir.stamp().member);
    // Both take long with much data, and neither needs the other unless a snapshot is damaged.
    let expected = engines::expected_index(config, &data_dir)?;
    let (opened, early) = std::thread::scope(|scope| {
        let read = |index| read_log(config, &data_dir, index);
        let early = expected.map(|index| scope.spawn(move || read(index)));
        let open = || {
            let OpenEngine { engine, save, damaged } = engines::open(config, &data_dir)?;
            let state = State::open(engine, Quota(config.limits.quota_bytes));
            anyhow::Ok((state.context("open the data")?, save, damaged))
        };
        (open(), early.map(ScopedJoinHandle::join))
    });
    let (state, save, damaged) = opened?;
    let applied = state.applied().0;
    let log = match early {
        Some(Ok(log)) if expected == Some(applied) => log?,
        Some(Err(_)) => bail!("the thread that reads the log panicked"),
        _ => read_log(config, &data_dir, applied)?,
    };
    let consensus = open_consensus(config, &data_dir, &state, log)?;
    // They were not needed. Left in their place they would count among the snapshots to keep, and
    // crowd out sound ones that are written before the log has caught up with them.
    for snapshot in damaged {
        snapshot.set_aside()?;
    }

    let (core_sender, inbox) = mpsc::channel();
    let report = core_sender.clone();
    let log = LogDir::new(&data_dir.log(), log_options(config));
    // The core thread may have ended by the time the disk reports.
    let disk = log.start(move |event| drop(report.send(CoreInput::Log(event))))?;
    let beacon = Arc::new(Beacon::default());
    let handle = NodeHandle::new(HandleParts {
        core: core_sender.clone(),
        reader: state.reader().clone(),
        beacon: Arc::clone(&beacon),
        settings: settings(config),
        cluster,
        member,
        started_ms: unix_ms(),
    });
    // Before any of the log is applied: what was saved.
    let saved_bytes = state.reader().published().size.total_bytes;
    let checkpoints = Checkpoints::new(core_sender, save, saved_bytes);
    let core = Core::new(CoreParts {
        consensus,
        applier: Applier::new(state, member),
        disk,
        inbox,
        beacon,
        checkpoints,
        slow_apply: config.slow_apply,
        tick: config.raft.heartbeat,
    });
    Ok((core, handle, data_dir))
}

fn open_data_dir(config: &Config) -> Result<DataDir> {
    let stamp = match DataDir::stamp_of(&config.data_dir)? {
        // An existing member is who it is; the flags for founding a cluster are for its first start.
        Some(stamp) => Stamp::new(engines::name(config.engine), stamp.cluster, stamp.member),
        None => {
            let founding = config.initial_cluster.found()?;
            Stamp::new(engines::name(config.engine), founding.cluster_id, founding.member_id)
        }
    };
    Ok(DataDir::open(&config.data_dir, &stamp)?)
}

/// Works with the log as a member does that starts.
fn with_log<T>(config: &Config, data_dir: &DataDir, work: impl FnOnce(&LogStart<'_>) -> T) -> T {
    let Stamp { cluster, member, .. } = *data_dir.stamp();
    let log = || LogDir::new(&data_dir.log(), log_options(config));
    work(&LogStart { cluster, member, log: &log, birth: data_dir })
}

/// Reads the log behind `applied`; `None` if it has not begun.
fn read_log(config: &Config, data_dir: &DataDir, applied: LogIndex) -> Result<Option<Recovered>> {
    with_log(config, data_dir, |log| log.read(applied)).map_err(|error| named(error, data_dir))
}

/// Says where the log is that cannot be gone on with.
fn named(error: LogStartError, data_dir: &DataDir) -> anyhow::Error {
    match error {
        LogStartError::Read(error) => {
            let segment = file_of(&error);
            let place = segment.map_or(data_dir.log(), |id| segment_path(&data_dir.log(), id));
            anyhow::Error::new(error).context(format!("read the log in {}", place.display()))
        }
        LogStartError::Lost => anyhow!("{} has lost its log", data_dir.path().display()),
        error => error.into(),
    }
}

/// Puts the log behind what the engine holds, and founds the cluster if there is none.
fn open_consensus(
    config: &Config,
    data_dir: &DataDir,
    state: &State,
    read: Option<Recovered>,
) -> Result<Consensus> {
    let holds = holds(state)?;
    let consensus_config = consensus_config(config, data_dir.stamp());
    let recovered = with_log(config, data_dir, |log| {
        log.go_on_or_begin(read, holds.index, || first_write(config, &consensus_config))
    });
    let recovered = recovered.map_err(|error: anyhow::Error| match error.downcast() {
        Ok(error) => named(error, data_dir),
        Err(error) => error,
    })?;
    if let Some(place) = recovered.cut {
        let file = segment_path(&data_dir.log(), place.segment).display().to_string();
        tracing::warn!(file, %place, "cut off what was not acknowledged at the end of the log");
    }
    // If they do not meet, the way back to a member that is whole is the same.
    Consensus::open(consensus_config, recovered, &holds).with_context(|| {
        let engine = engines::name(config.engine);
        format!(
            "what the {engine} engine has saved and the log in {} do not fit together: restore \
                 the whole data directory",
            data_dir.path().display()
        )
    })
}

fn log_options(config: &Config) -> LogOptions {
    LogOptions {
        segment_bytes: config.log.segment_bytes,
        durable: config.log.sync,
        // Where a disk that has nothing else to do completes late, a lone put is an order of magnitude
        // faster.
        companion: Companion::WhileLate,
        ..LogOptions::default()
    }
}

impl Running {
    /// Waits until the member has told the cluster its name and addresses: from then on it serves.
    ///
    /// # Errors
    /// The core thread has ended.
    pub async fn become_ready(&self, config: &Config) -> Result<()> {
        let publish = Publish {
            member: self.handle.member_id().0,
            name: config.name.clone(),
            client_urls: config
                .advertise_client_urls
                .iter()
                .map(|url| url.as_str().to_owned())
                .collect(),
        };
        self.until_applied(Operation::Publish(publish)).await?;
        if self.handle.status().cluster_version.is_none() {
            let version = ClusterVersion { version: CLUSTER_VERSION.to_owned() };
            self.until_applied(Operation::ClusterVersion(version)).await?;
        }
        Ok(())
    }

    /// Proposes until it is applied: twice does no harm, and a slow disk is no reason to give up.
    async fn until_applied(&self, operation: Operation) -> Result<()> {
        while let Err(reason) = self.handle.propose(operation.clone()).await {
            tracing::debug!(%reason, "not ready yet");
            if self.core.is_finished() {
                bail!("the member stopped while it started");
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(())
    }
}

/// The segment that an error of the log is about.
fn file_of(error: &ReplayError) -> Option<SegmentId> {
    match error {
        ReplayError::List(_) => None,
        ReplayError::Read { segment, .. }
        | ReplayError::Missing(segment)
        | ReplayError::Foreign { segment, .. }
        | ReplayError::Newer { segment, .. }
        | ReplayError::NoName(segment) => Some(*segment),
        ReplayError::Rot(place)
        | ReplayError::Record { place, .. }
        | ReplayError::Gap { place, .. } => Some(place.segment),
    }
}

fn holds(state: &State) -> Result<Holds> {
    let (index, term) = state.applied();
    let row = state.reader().engine_view().get(Table::Meta, meta::CONF_STATE)?;
    Ok(Holds { index, term, time: state.time(), conf_state: row.unwrap_or_default() })
}

fn consensus_config(config: &Config, stamp: &Stamp) -> consensus::Config {
    let mut consensus = consensus::Config::new(stamp.cluster, stamp.member, unix_ms());
    consensus.election_ticks = config.raft.election_ticks() as usize;
    consensus.segment_bytes = config.log.segment_bytes;
    consensus
}

/// Begins the log of a new cluster of this one member.
fn first_write(config: &Config, consensus: &consensus::Config) -> Result<LogWrite> {
    let founding = config.initial_cluster.found()?;
    let peer_urls = founding.peer_urls.iter().map(|url| url.as_str().to_owned()).collect();
    let member = Member { id: consensus.member.0, peer_urls, ..Member::default() };
    let row = Bytes::from(member.encode_to_vec());
    let salt = u32::try_from(unix_ms() & 0xffff_ffff).expect("32 bits");
    Ok(consensus::bootstrap(consensus, salt, &[(consensus.member, row)]))
}

fn settings(config: &Config) -> Settings {
    let election_s = config.raft.election.as_secs_f64();
    // Half as long again as an election may take, in whole seconds, as etcd does it: in ticks
    // first, rounded down, then in seconds, rounded up.
    let ticks = u64::from(config.raft.election_ticks()) * 3 / 2;
    let ttl_min_ms = ticks * u64::try_from(config.raft.heartbeat.as_millis()).unwrap_or(u64::MAX);
    Settings {
        max_txn_ops: config.limits.txn_ops,
        max_request_bytes: config.limits.request_bytes,
        request_timeout: Duration::from_secs_f64(5.0 + 2.0 * election_s),
        progress_interval: config.watch_progress_interval,
        lease_ttl_min_s: i64::try_from(ttl_min_ms.div_ceil(1000)).unwrap_or(i64::MAX),
        max_concurrent_streams: config.limits.streams,
        quota_setting: config
            .limits
            .quota_bytes
            .map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        quota: Quota(config.limits.quota_bytes),
        slow_read: config.slow_apply,
        slow_request: config.slow_request,
        unread_view: UNREAD_VIEW_MAX,
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
