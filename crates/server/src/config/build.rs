//! From settings to a [`Config`]: every check that looks at values, and every one that looks at
//! two of them together.

use std::time::Duration;

use super::cluster::{InitialCluster, InitialState};
use super::error::InvalidConfig;
use super::notice::Notice;
use super::settings::Settings;

use super::{
    AutoCompaction, Config, Engine, Keepalive, Limits, Listeners, Loaded, LogFiles, LogFormat,
    LogLevel, LogOutput, Logging, RECOMMENDED_REQUEST_BYTES, REQUEST_BYTES_MAX, RaftTiming,
};

/// What etcd uses when the quota is not set.
const DEFAULT_QUOTA_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// etcd's advice against more.
const LARGE_QUOTA_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// More often than this, progress would be most of what a watcher hears.
const PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// What etcd uses when the interval is zero.
const PROGRESS_INTERVAL_DEFAULT: Duration = Duration::from_secs(600);
/// What fits into a duration of etcd: 292 years.
const PERIOD_SECONDS_MAX: u64 = i64::MAX.unsigned_abs() / 1_000_000_000;
/// A lost leader must be noticed within this.
const ELECTION_MS_MAX: u64 = 50_000;
/// Room for the operations of a transaction is reserved in one piece.
const TXN_OPS_MAX: u64 = 1 << 24;
/// Below this a segment holds too few requests, above it preallocation stalls the disk.
const SEGMENT_BYTES: (u64, u64) = (1 << 20, 1 << 30);
/// A snapshot per this many bytes of log at most, and at least.
const SNAPSHOT_BYTES: (u64, u64) = (1 << 20, 1 << 40);

/// Less is no cache, more is no setting of anybody.
#[cfg(feature = "rocksdb")]
const ROCKSDB_CACHE_BYTES: (u64, u64) = (8 << 20, 1 << 44);
/// Below this every turn would flush; above it a restart replays gigabytes.
#[cfg(feature = "rocksdb")]
const ROCKSDB_BUFFER_BYTES: (u64, u64) = (1 << 20, 4 << 30);
/// With 30 bits a filter is wrong once in a million times.
#[cfg(feature = "rocksdb")]
const ROCKSDB_BLOOM_BITS: (u64, u64) = (0, 30);
/// RocksDB needs a thread to flush and one to compact.
#[cfg(feature = "rocksdb")]
const ROCKSDB_JOBS: (u64, u64) = (2, 64);

pub(super) fn build(mut settings: Settings) -> Result<Loaded, InvalidConfig> {
    let logging = logging(&mut settings)?;
    let listen = listeners(&settings)?;
    let raft = raft_timing(&settings)?;
    check_the_rest(&mut settings)?;
    let name = settings.text("name").to_owned();
    let config = Config {
        data_dir: match settings.text("data-dir") {
            path if settings.is_set("data-dir") && !path.is_empty() => path.into(),
            _ => format!("{name}.etcd").into(),
        },
        engine: engine(&settings)?,
        #[cfg(feature = "rocksdb")]
        rocksdb: rocksdb(&settings)?,
        listen,
        advertise_client_urls: settings.urls("advertise-client-urls"),
        initial_cluster: initial_cluster(&settings, &name)?,
        raft,
        log: log_files(&mut settings)?,
        limits: limits(&mut settings)?,
        auto_compaction: auto_compaction(&settings)?,
        watch_progress_interval: progress_interval(&mut settings),
        slow_apply: settings.duration("warning-apply-duration").as_std(),
        slow_request: settings.duration("warning-unary-request-duration").as_std(),
        keepalive: Keepalive {
            interval: positive(&settings, "grpc-keepalive-interval"),
            timeout: positive(&settings, "grpc-keepalive-timeout"),
        },
        json_gateway: settings.switch("enable-grpc-gateway"),
        cors: settings.texts("cors").to_vec(),
        share_ports: settings.switch("socket-reuse-port"),
        logging,
        gates: settings.gates("feature-gates"),
        name,
    };
    Ok(Loaded { config, notices: settings.into_notices() })
}

fn engine(settings: &Settings) -> Result<Engine, InvalidConfig> {
    match settings.text("engine") {
        "memory" => Ok(Engine::Memory),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => Ok(Engine::RocksDb),
        // The row takes no other word.
        other => Err(InvalidConfig::Engine(other.to_owned())),
    }
}

#[cfg(feature = "rocksdb")]
fn rocksdb(settings: &Settings) -> Result<storage::rocks::RocksOptions, InvalidConfig> {
    use storage::rocks::{Compression, RocksOptions};

    let number = |name, bounds| -> Result<u32, InvalidConfig> {
        Ok(u32::try_from(bounded(settings, name, bounds)?).expect("the bounds have 32 bits"))
    };
    Ok(RocksOptions {
        cache_bytes: bounded(settings, "rocksdb-cache-bytes", ROCKSDB_CACHE_BYTES)?,
        write_buffer_bytes: bounded(settings, "rocksdb-write-buffer-bytes", ROCKSDB_BUFFER_BYTES)?,
        bloom_bits: number("rocksdb-bloom-bits", ROCKSDB_BLOOM_BITS)?,
        compression: match settings.text("rocksdb-compression") {
            "none" => Compression::None,
            "lz4" => Compression::Lz4,
            // The row takes no other word.
            _ => Compression::Zstd,
        },
        background_jobs: number("rocksdb-background-jobs", ROCKSDB_JOBS)?,
        ..RocksOptions::default()
    })
}

fn logging(settings: &mut Settings) -> Result<Logging, InvalidConfig> {
    if settings.text("logger") != "zap" {
        return Err(InvalidConfig::Logger(settings.text("logger").to_owned()));
    }
    let level = match settings.text("log-level") {
        "debug" => LogLevel::Debug,
        "info" => LogLevel::Info,
        "warn" => LogLevel::Warn,
        "error" => LogLevel::Error,
        // `dpanic` panics in development builds of etcd, which nobody runs.
        "panic" | "dpanic" => LogLevel::Panic,
        // The row takes no other word.
        _ => LogLevel::Fatal,
    };
    let format = match settings.text("log-format") {
        "" => None,
        "json" => Some(LogFormat::Json),
        "console" => Some(LogFormat::Console),
        other => return Err(InvalidConfig::LogFormat(other.to_owned())),
    };
    Ok(Logging { level, format, outputs: log_outputs(settings)? })
}

fn log_outputs(settings: &mut Settings) -> Result<Vec<LogOutput>, InvalidConfig> {
    let mut names = settings.texts("log-outputs").to_vec();
    names.sort();
    names.dedup();
    if names.len() > 1 && names.iter().any(|name| name == "default") {
        return Err(InvalidConfig::LogOutputs);
    }
    if names.iter().any(|name| name == "systemd/journal") {
        settings.note(Notice::Journal);
    }
    let mut outputs: Vec<LogOutput> = Vec::new();
    for name in &names {
        let output = match name.as_str() {
            "default" | "stderr" | "systemd/journal" => LogOutput::Stderr,
            "stdout" => LogOutput::Stdout,
            path => LogOutput::File(path.strip_prefix("file://").unwrap_or(path).into()),
        };
        if !outputs.contains(&output) {
            outputs.push(output);
        }
    }
    if outputs.is_empty() {
        outputs.push(LogOutput::Stderr);
    }
    Ok(outputs)
}

fn listeners(settings: &Settings) -> Result<Listeners, InvalidConfig> {
    let listen = Listeners {
        client: settings.urls("listen-client-urls"),
        http: settings.urls("listen-client-http-urls"),
        peer: settings.urls("listen-peer-urls"),
        metrics: settings.urls("listen-metrics-urls"),
    };
    let all = [&listen.peer, &listen.client, &listen.http, &listen.metrics];
    for url in all.into_iter().flatten() {
        url.bind_address()?;
        if url.is_tls() {
            return Err(InvalidConfig::ListenTls(url.to_string()));
        }
    }
    if settings.is_set("listen-client-urls") && !settings.is_set("advertise-client-urls") {
        return Err(InvalidConfig::NotAdvertised);
    }
    if listen.client.is_empty() {
        return Err(InvalidConfig::NoListener);
    }
    match listen.client.iter().find(|url| listen.http.contains(url)) {
        Some(url) => Err(InvalidConfig::SameListener(url.to_string())),
        None => Ok(listen),
    }
}

fn raft_timing(settings: &Settings) -> Result<RaftTiming, InvalidConfig> {
    let heartbeat = settings.uint("heartbeat-interval");
    let election = settings.uint("election-timeout");
    if heartbeat == 0 {
        return Err(InvalidConfig::Heartbeat(heartbeat));
    }
    if heartbeat.saturating_mul(5) > election {
        return Err(InvalidConfig::ElectionShort { election, heartbeat });
    }
    if election > ELECTION_MS_MAX {
        return Err(InvalidConfig::ElectionLong(election));
    }
    let (heartbeat, election) = (Duration::from_millis(heartbeat), Duration::from_millis(election));
    Ok(RaftTiming { heartbeat, election })
}

/// Checks of settings that leave nothing in the configuration.
fn check_the_rest(settings: &mut Settings) -> Result<(), InvalidConfig> {
    if settings.text("discovery-fallback") == "proxy" {
        return Err(InvalidConfig::ProxyFallback);
    }
    let check_time = settings.duration("compact-hash-check-time");
    if check_time.0 <= 0 {
        return Err(InvalidConfig::CompactHashCheckTime(check_time));
    }
    let gates = settings.gates("feature-gates");
    if gates.is_on("LeaseCheckpointPersist") && !gates.is_on("LeaseCheckpoint") {
        return Err(InvalidConfig::GateNeeds("LeaseCheckpointPersist", "LeaseCheckpoint"));
    }
    let defaults = super::FeatureGates::default();
    for (gate, on) in gates.iter() {
        if on != defaults.is_on(gate.name) {
            settings.note(Notice::Gate(gate.name));
        }
    }
    Ok(())
}

fn initial_cluster(settings: &Settings, name: &str) -> Result<InitialCluster, InvalidConfig> {
    let advertised = settings.urls("initial-advertise-peer-urls");
    let founders = if settings.is_set("initial-cluster") {
        InitialCluster::parse_founders(settings.text("initial-cluster"))
            .map_err(|source| InvalidConfig::InitialCluster { source })?
    } else {
        [(name.to_owned(), advertised.clone())].into()
    };
    Ok(InitialCluster {
        state: match settings.text("initial-cluster-state") {
            "existing" => InitialState::Existing,
            _ => InitialState::New,
        },
        token: settings.text("initial-cluster-token").to_owned(),
        name: name.to_owned(),
        advertised,
        founders,
    })
}

fn log_files(settings: &mut Settings) -> Result<LogFiles, InvalidConfig> {
    let sync = !settings.switch("unsafe-no-fsync");
    if !sync {
        settings.note(Notice::NoSync);
    }
    Ok(LogFiles {
        segment_bytes: bounded(settings, "log-segment-bytes", SEGMENT_BYTES)?,
        snapshot_after_bytes: bounded(settings, "snapshot-log-bytes", SNAPSHOT_BYTES)?,
        sync,
    })
}

fn limits(settings: &mut Settings) -> Result<Limits, InvalidConfig> {
    let request_bytes = bounded(settings, "max-request-bytes", (0, REQUEST_BYTES_MAX))?;
    if request_bytes > RECOMMENDED_REQUEST_BYTES {
        settings.note(Notice::LargeRequests(request_bytes));
    }
    let quota_bytes = match settings.int("quota-backend-bytes") {
        0 => Some(DEFAULT_QUOTA_BYTES),
        bytes => u64::try_from(bytes).ok(),
    };
    if let Some(bytes) = quota_bytes.filter(|bytes| *bytes > LARGE_QUOTA_BYTES) {
        settings.note(Notice::LargeQuota(bytes));
    }
    let txn_ops = bounded(settings, "max-txn-ops", (0, TXN_OPS_MAX))?;
    let streams = settings.uint("max-concurrent-streams");
    Ok(Limits {
        quota_bytes,
        txn_ops: usize::try_from(txn_ops).expect("the bound fits"),
        request_bytes: usize::try_from(request_bytes).expect("the bound fits"),
        streams: u32::try_from(streams).expect("the row says 32 bits"),
    })
}

fn auto_compaction(settings: &Settings) -> Result<AutoCompaction, InvalidConfig> {
    let mode = settings.text("auto-compaction-mode");
    let text = match settings.text("auto-compaction-retention") {
        "" => "0",
        text => text,
    };
    let invalid = || InvalidConfig::CompactionRetention(text.to_owned());
    let number: Option<u64> = text.parse().ok();
    match (mode, number) {
        ("periodic" | "revision", Some(0)) => Ok(AutoCompaction::Off),
        ("revision", Some(revisions)) => Ok(AutoCompaction::Revision(revisions)),
        ("revision", None) => Err(invalid()),
        ("periodic", Some(hours)) => {
            let seconds = hours.checked_mul(3600).filter(|seconds| *seconds <= PERIOD_SECONDS_MAX);
            let seconds = seconds.ok_or_else(invalid)?;
            Ok(AutoCompaction::Periodic(Duration::from_secs(seconds)))
        }
        ("periodic", None) => match super::duration::GoDuration::parse(text) {
            Some(period) if period.0 > 0 => Ok(AutoCompaction::Periodic(period.as_std())),
            Some(period) if period.0 == 0 => Ok(AutoCompaction::Off),
            _ => Err(invalid()),
        },
        (other, _) => Err(InvalidConfig::CompactionMode(other.to_owned())),
    }
}

fn progress_interval(settings: &mut Settings) -> Duration {
    let asked = settings.duration("watch-progress-notify-interval");
    if asked.0 == 0 {
        return PROGRESS_INTERVAL_DEFAULT;
    }
    let used = asked.as_std().max(PROGRESS_INTERVAL_MIN);
    if used != asked.as_std() {
        settings.note(Notice::ProgressInterval { used_ms: 100 });
    }
    used
}

/// A duration whose zero means never.
fn positive(settings: &Settings, name: &str) -> Option<Duration> {
    Some(settings.duration(name).as_std()).filter(|duration| !duration.is_zero())
}

fn bounded(
    settings: &Settings,
    flag: &'static str,
    (least, most): (u64, u64),
) -> Result<u64, InvalidConfig> {
    match settings.uint(flag) {
        value if (least..=most).contains(&value) => Ok(value),
        value => Err(InvalidConfig::OutOfBounds { flag, value, least, most }),
    }
}
