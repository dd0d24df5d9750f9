//! The rows. See [`super`] for how to read and change one.

use super::Kind::{Bool, Choice, Duration, Gates, Int, Sequence, Text, Texts, Uint, Uint32, Urls};
use super::Standing::{BecameGate, Ignored, Implies, Refused, Renamed, Warned};
use super::{Flag, Group, met, refused, retired, warned, works};

const NO_TLS: &str = "TLS is not available, and starting without it would leave unprotected what was meant to be protected";
const NO_DISCOVERY: &str =
    "discovery is not available, and starting without it would found a cluster of its own";
const NO_AUTH: &str = "authentication is not available yet and no client can enable it";
const NO_CLUSTER: &str = "it concerns clusters of several members, which are not available yet";
const OWN_FILES: &str = "log and snapshot files are kept as long as recovery needs them";
const NO_TRACING: &str = "distributed tracing is not available yet, no spans are sent";
const NO_BBOLT: &str = "there is no bbolt file here, so there is nothing it could change";

/// The flags of etcd 3.7 and ours, as the help text shows them.
pub const GROUPS: &[Group] = &[
    Group { title: "Member", flags: MEMBER },
    Group { title: "Storage of MetaStore", flags: STORAGE },
    Group { title: "Clustering", flags: CLUSTERING },
    Group { title: "Security", flags: SECURITY },
    Group { title: "Auth", flags: AUTH },
    Group { title: "Profiling and monitoring", flags: MONITORING },
    Group { title: "Logging", flags: LOGGING },
    Group { title: "Distributed tracing", flags: TRACING },
    Group { title: "Features", flags: FEATURES },
    Group { title: "Unsafe features", flags: UNSAFE },
];

#[rustfmt::skip] // One flag, one row: the table is read down its columns.
const MEMBER: &[Flag] = &[
    works("name", Text, "default", "Name of this member; it picks the entry in --initial-cluster."),
    works("data-dir", Text, "${name}.etcd", "Directory that holds everything the member keeps."),
    refused("wal-dir", Text, "", "the log lives inside the data directory and cannot be put elsewhere yet", "Directory for the log alone."),
    met("snapshot-count", Uint, "10000", "Accepted and not used: a snapshot is due by bytes of log, see --snapshot-log-bytes, not by entries."),
    works("heartbeat-interval", Uint, "100", "Milliseconds between heartbeats of a leader."),
    works("election-timeout", Uint, "1000", "Milliseconds without a heartbeat before an election; at least 5 heartbeats, at most 50000."),
    met("initial-election-tick-advance", Bool, "true", "Shorten the first election after a start; a lone member never waits for one."),
    works("listen-peer-urls", Urls, "http://localhost:2380", "Where to listen for other members."),
    works("listen-client-urls", Urls, "http://localhost:2379", "Where to listen for clients (gRPC, and HTTP unless --listen-client-http-urls is set)."),
    works("listen-client-http-urls", Urls, "", "Where to listen for HTTP alone; --listen-client-urls then serves only gRPC."),
    warned("max-snapshots", Uint, "5", OWN_FILES, "Snapshot files to keep."),
    warned("max-wals", Uint, "5", OWN_FILES, "Log files to keep."),
    warned("memory-mlock", Bool, "false", NO_BBOLT, "Lock the pages of etcd's database file in memory."),
    works("quota-backend-bytes", Int, "0", "Bytes of data after which writes are refused (alarm NOSPACE); 0 means 2 GiB, negative means no limit."),
    warned("backend-bbolt-freelist-type", Text, "map", NO_BBOLT, "How etcd's database file remembers free pages."),
    warned("backend-batch-interval", Duration, "0s", NO_BBOLT, "Longest time between two commits of etcd's database file."),
    warned("backend-batch-limit", Int, "0", NO_BBOLT, "Operations between two commits of etcd's database file."),
    works("max-txn-ops", Uint, "128", "Operations that one transaction may carry."),
    works("max-request-bytes", Uint, "1572864", "Largest request of a client, in bytes."),
    works("max-concurrent-streams", Uint32, "4294967295", "Streams that one client connection may have open."),
    warned("grpc-keepalive-min-time", Duration, "5s", "clients may ping as often as they like", "Shortest time between two pings of a client."),
    works("grpc-keepalive-interval", Duration, "2h", "Time without traffic after which a client is pinged, 0s for never."),
    works("grpc-keepalive-timeout", Duration, "20s", "Time after such a ping in which the client must answer, 0s for no pings."),
    works("socket-reuse-port", Bool, "false", "Let several processes listen on one port."),
    met("socket-reuse-address", Bool, "false", "Bind a port whose last connections are still closing; always so here."),
    warned("raft-read-timeout", Duration, "5s", NO_CLUSTER, "Longest wait for bytes of another member."),
    warned("raft-write-timeout", Duration, "5s", NO_CLUSTER, "Longest wait for another member to take bytes."),
    warned("enable-grpc-gateway", Bool, "true", "JSON is not served under /v3/ yet, whatever this says", "Serve JSON under /v3/."),
    works("feature-gates", Gates, "", "Features to turn on or off, as Name=true,Other=false; the names are those of etcd."),
];

#[rustfmt::skip]
const STORAGE: &[Flag] = &[
    works("engine", Choice(&["memory", "rocksdb"]), "memory", "Where the data lives: memory (log and snapshot files on disk) or rocksdb."),
    works("log-segment-bytes", Uint, "16777216", "Size of one file of the log; files of this size are reserved ahead."),
    works("snapshot-log-bytes", Uint, "134217728", "Least bytes of log after which the state is saved and the log is cut: the memory engine writes a snapshot, later with much data; rocksdb flushes."),
    works("rocksdb-cache-bytes", Uint, "100663296", "Memory of the rocksdb engine for values, blocks of files and write buffers."),
    works("rocksdb-write-buffer-bytes", Uint, "33554432", "Changes that the rocksdb engine keeps in memory before it writes them to files; part of its cache."),
    works("rocksdb-bloom-bits", Uint, "10", "Bits per key of the filters in rocksdb's files; 0 for none."),
    works("rocksdb-compression", Choice(&["none", "lz4", "zstd"]), "lz4", "How rocksdb compresses its files."),
    works("rocksdb-background-jobs", Uint, "2", "Threads with which rocksdb writes and compacts its files."),
];

#[rustfmt::skip]
const CLUSTERING: &[Flag] = &[
    works("initial-advertise-peer-urls", Urls, "http://localhost:2380", "Where other members find this one."),
    works("initial-cluster", Text, "${name}=${initial-advertise-peer-urls}", "Members that found the cluster, as name=url; used by the first start only."),
    works("initial-cluster-state", Choice(&["new", "existing"]), "new", "Found a cluster, or join an existing one; used by the first start only."),
    works("initial-cluster-token", Text, "etcd-cluster", "Text that makes the ids of this cluster and its members its own."),
    works("advertise-client-urls", Urls, "http://localhost:2379", "Where clients find this member; required if --listen-client-urls is set."),
    refused("discovery-token", Text, "", NO_DISCOVERY, "Token of the cluster at the discovery service."),
    refused("discovery-endpoints", Texts, "", NO_DISCOVERY, "Addresses of the discovery service."),
    refused("discovery-dial-timeout", Duration, "2s", NO_DISCOVERY, "Longest wait for a connection to the discovery service."),
    refused("discovery-request-timeout", Duration, "5s", NO_DISCOVERY, "Longest wait for its answer."),
    refused("discovery-keepalive-time", Duration, "2s", NO_DISCOVERY, "Time between pings to it."),
    refused("discovery-keepalive-timeout", Duration, "6s", NO_DISCOVERY, "Longest wait for the answer to a ping."),
    refused("discovery-insecure-transport", Bool, "true", NO_DISCOVERY, "Talk to it without TLS."),
    refused("discovery-insecure-skip-tls-verify", Bool, "false", NO_DISCOVERY, "Do not check its certificate."),
    refused("discovery-cert", Text, "", NO_DISCOVERY, "Certificate to show to it."),
    refused("discovery-key", Text, "", NO_DISCOVERY, "Key of that certificate."),
    refused("discovery-cacert", Text, "", NO_DISCOVERY, "Authorities to check its certificate with."),
    refused("discovery-user", Text, "", NO_DISCOVERY, "User, or user:password, at the discovery service."),
    refused("discovery-password", Text, "", NO_DISCOVERY, "Password of that user."),
    works("discovery-fallback", Choice(&["exit", "proxy"]), "exit", "What to do when discovery fails; only exit is left."),
    refused("discovery-srv", Text, "", NO_DISCOVERY, "DNS domain whose SRV records name the members."),
    refused("discovery-srv-name", Text, "", NO_DISCOVERY, "Ending of the name of those SRV records."),
    warned("strict-reconfig-check", Bool, "true", NO_CLUSTER, "Refuse changes of membership that would lose the quorum."),
    warned("pre-vote", Bool, "true", NO_CLUSTER, "Ask for votes in two rounds, so that a returning member disturbs nobody."),
    works("auto-compaction-retention", Text, "0", "History to keep: hours or a duration (periodic), or revisions; 0 keeps all."),
    works("auto-compaction-mode", Text, "periodic", "What --auto-compaction-retention counts: periodic or revision."),
    met("v2-deprecation", Choice(&["write-only", "write-only-skip-check", "write-only-drop-data", "gone"]), "write-only", "Accepted and not used: there is no v2 store."),
];

#[rustfmt::skip]
const SECURITY: &[Flag] = &[
    refused("cert-file", Text, "", NO_TLS, "Certificate to show to clients."),
    refused("key-file", Text, "", NO_TLS, "Key of that certificate."),
    refused("client-cert-auth", Bool, "false", NO_TLS, "Demand a certificate from clients."),
    refused("client-cert-file", Text, "", NO_TLS, "Certificate that the server shows when it calls itself."),
    refused("client-key-file", Text, "", NO_TLS, "Key of that certificate."),
    refused("client-crl-file", Text, "", NO_TLS, "List of revoked certificates of clients."),
    refused("client-cert-allowed-hostname", Texts, "", NO_TLS, "Names that a client's certificate may carry."),
    refused("trusted-ca-file", Text, "", NO_TLS, "Authorities to check clients' certificates with."),
    refused("auto-tls", Bool, "false", NO_TLS, "Serve clients with a certificate made at the start."),
    refused("peer-cert-file", Text, "", NO_TLS, "Certificate to show to members."),
    refused("peer-key-file", Text, "", NO_TLS, "Key of that certificate."),
    refused("peer-client-cert-auth", Bool, "false", NO_TLS, "Demand a certificate from members."),
    refused("peer-client-cert-file", Text, "", NO_TLS, "Certificate to show when calling members."),
    refused("peer-client-key-file", Text, "", NO_TLS, "Key of that certificate."),
    refused("peer-trusted-ca-file", Text, "", NO_TLS, "Authorities to check members' certificates with."),
    refused("peer-cert-allowed-cn", Texts, "", NO_TLS, "Common names that a member's certificate may carry."),
    refused("peer-cert-allowed-hostname", Texts, "", NO_TLS, "Names that a member's certificate may carry."),
    refused("peer-auto-tls", Bool, "false", NO_TLS, "Talk to members with a certificate made at the start."),
    refused("peer-crl-file", Text, "", NO_TLS, "List of revoked certificates of members."),
    refused("peer-skip-client-san-verification", Bool, "false", NO_TLS, "Do not compare a member's address with its certificate."),
    warned("self-signed-cert-validity", Uint, "1", "no certificates are made", "Years that a certificate made at the start is valid."),
    refused("cipher-suites", Sequence, "", NO_TLS, "Cipher suites to allow, by Go's names."),
    works("cors", Texts, "*", "Origins whose web pages may call; * is every one."),
    refused("host-whitelist", Texts, "*", "the Host header is not checked, so that the list would protect nothing", "Host names that HTTP requests may ask for."),
    refused("tls-min-version", Text, "TLS1.2", NO_TLS, "Oldest TLS version to allow."),
    refused("tls-max-version", Text, "", NO_TLS, "Newest TLS version to allow."),
];

#[rustfmt::skip]
const AUTH: &[Flag] = &[
    refused("auth-token", Text, "simple", "only simple tokens are known, and other ones would be checked by nobody", "Kind of tokens: simple, or jwt with its options."),
    warned("bcrypt-cost", Uint, "10", NO_AUTH, "Effort of hashing a password, 4 to 31."),
    warned("auth-token-ttl", Uint, "300", NO_AUTH, "Seconds that a simple token lives."),
];

#[rustfmt::skip]
const MONITORING: &[Flag] = &[
    warned("enable-pprof", Bool, "false", "there are no profiles under /debug/pprof/", "Serve profiles under /debug/pprof/."),
    warned("metrics", Text, "basic", "metrics are not served yet", "How much the metrics tell: basic or extensive."),
    works("listen-metrics-urls", Urls, "", "Where to listen for health alone (/metrics is not served yet)."),
];

#[rustfmt::skip]
const LOGGING: &[Flag] = &[
    works("logger", Text, "zap", "Accepted for etcd's sake; only zap, whose format is that of --log-format json."),
    works("log-outputs", Sequence, "default", "Where logs go: default (stderr), stderr, stdout or files."),
    works("log-level", Choice(&["debug", "info", "warn", "error", "panic", "dpanic", "fatal"]), "info", "Least grave level to log: debug, info, warn, error, panic or fatal."),
    works("log-format", Text, "", "json or console; json if started as etcd, otherwise console."),
    warned("enable-log-rotation", Bool, "false", "log files grow until something else rotates them", "Rotate the log file."),
    warned("log-rotation-config-json", Text, "{\"maxsize\": 100, \"maxage\": 0, \"maxbackups\": 0, \"localtime\": false, \"compress\": false}", "log files grow until something else rotates them", "When and how to rotate the log file."),
    works("warning-unary-request-duration", Duration, "300ms", "Time after which a request is logged as slow."),
];

#[rustfmt::skip]
const TRACING: &[Flag] = &[
    warned("enable-distributed-tracing", Bool, "false", NO_TRACING, "Send traces with OpenTelemetry."),
    warned("distributed-tracing-address", Text, "localhost:4317", NO_TRACING, "Where to send traces."),
    warned("distributed-tracing-service-name", Text, "etcd", NO_TRACING, "Name of the service in traces."),
    warned("distributed-tracing-instance-id", Text, "", NO_TRACING, "Name of this member in traces."),
    warned("distributed-tracing-sampling-rate", Int, "0", NO_TRACING, "Traces to send per million requests."),
];

#[rustfmt::skip]
const FEATURES: &[Flag] = &[
    warned("corrupt-check-time", Duration, "0s", NO_CLUSTER, "Time between comparisons of all members' data."),
    warned("compact-hash-check-time", Duration, "1m", NO_CLUSTER, "Time between comparisons of hashes made at compactions."),
    warned("compaction-batch-limit", Int, "1000", "compaction chooses the size of its steps itself", "Revisions that a step of compaction removes."),
    works("watch-progress-notify-interval", Duration, "10m", "Time after which an idle watcher that asked for it hears of progress."),
    works("warning-apply-duration", Duration, "100ms", "Time after which applying a command is logged as slow."),
    met("bootstrap-defrag-threshold-megabytes", Uint, "0", "Accepted and not used: there is nothing to defragment at a start."),
    warned("max-learners", Int, "1", NO_CLUSTER, "Learners that a cluster may have."),
    warned("compaction-sleep-interval", Duration, "10ms", "compaction chooses its pauses itself", "Pause between two steps of compaction."),
    warned("downgrade-check-time", Duration, "5s", NO_CLUSTER, "Time between two checks whether a downgrade is done."),
    warned("snapshot-catchup-entries", Uint, "5000", NO_CLUSTER, "Entries to keep behind a snapshot for slow members."),
];

#[rustfmt::skip]
const UNSAFE: &[Flag] = &[
    refused("force-new-cluster", Bool, "false", "it rewrites who belongs to the cluster, which this version cannot do", "Turn a member's data into a cluster of one."),
    works("unsafe-no-fsync", Bool, "false", "Never wait for the disk: acknowledged writes are lost when the machine stops."),
];

const OFF_BY_NATURE: &str = "it has been removed from etcd and does nothing";

/// Names that etcd 3.7 has dropped. Those that had a meaning are accepted with one warning,
/// because scripts still pass them and dying on them helps nobody; `--strict-flags` refuses them
/// as etcd does. The last ones etcd itself still swallows.
#[rustfmt::skip]
pub const RETIRED: &[Flag] = &[
    retired("experimental-initial-corrupt-check", Bool, "false", BecameGate("InitialCorruptCheck")),
    retired("experimental-compact-hash-check-enabled", Bool, "false", BecameGate("CompactHashCheck")),
    retired("experimental-enable-lease-checkpoint", Bool, "false", BecameGate("LeaseCheckpoint")),
    retired("experimental-enable-lease-checkpoint-persist", Bool, "false", BecameGate("LeaseCheckpointPersist")),
    retired("experimental-txn-mode-write-with-shared-buffer", Bool, "true", BecameGate("TxnModeWriteWithSharedBuffer")),
    retired("experimental-stop-grpc-service-on-defrag", Bool, "false", BecameGate("StopGRPCServiceOnDefrag")),
    retired("experimental-set-member-localaddr", Bool, "false", BecameGate("SetMemberLocalAddr")),
    retired("experimental-corrupt-check-time", Duration, "0s", Renamed("corrupt-check-time")),
    retired("experimental-compact-hash-check-time", Duration, "1m", Renamed("compact-hash-check-time")),
    retired("experimental-compaction-batch-limit", Int, "1000", Renamed("compaction-batch-limit")),
    retired("experimental-compaction-sleep-interval", Duration, "10ms", Renamed("compaction-sleep-interval")),
    retired("experimental-peer-skip-client-san-verification", Bool, "false", Renamed("peer-skip-client-san-verification")),
    retired("experimental-watch-progress-notify-interval", Duration, "10m", Renamed("watch-progress-notify-interval")),
    retired("experimental-warning-apply-duration", Duration, "100ms", Renamed("warning-apply-duration")),
    retired("experimental-warning-unary-request-duration", Duration, "300ms", Renamed("warning-unary-request-duration")),
    retired("experimental-bootstrap-defrag-threshold-megabytes", Uint, "0", Renamed("bootstrap-defrag-threshold-megabytes")),
    retired("experimental-backend-bbolt-freelist-type", Text, "map", Renamed("backend-bbolt-freelist-type")),
    retired("experimental-memory-mlock", Bool, "false", Renamed("memory-mlock")),
    retired("experimental-max-learners", Int, "1", Renamed("max-learners")),
    retired("experimental-downgrade-check-time", Duration, "5s", Renamed("downgrade-check-time")),
    retired("experimental-snapshot-catchup-entries", Uint, "5000", Renamed("snapshot-catchup-entries")),
    retired("experimental-snapshot-catch-up-entries", Uint, "5000", Renamed("snapshot-catchup-entries")),
    retired("experimental-enable-distributed-tracing", Bool, "false", Renamed("enable-distributed-tracing")),
    retired("experimental-distributed-tracing-address", Text, "localhost:4317", Renamed("distributed-tracing-address")),
    retired("experimental-distributed-tracing-service-name", Text, "etcd", Renamed("distributed-tracing-service-name")),
    retired("experimental-distributed-tracing-instance-id", Text, "", Renamed("distributed-tracing-instance-id")),
    retired("experimental-distributed-tracing-sampling-rate", Int, "0", Renamed("distributed-tracing-sampling-rate")),
    retired("experimental-wait-cluster-ready-timeout", Duration, "5s", Warned("clients are answered as soon as the member is ready")),
    retired("experimental-enable-v2v3", Text, "", Warned("there is no v2 API")),
    retired("enable-v2", Bool, "false", Warned("there is no v2 API")),
    retired("debug", Bool, "false", Implies("log-level", "debug")),
    retired("log-package-levels", Text, "", Warned("all parts log at --log-level")),
    retired("proxy", Text, "off", Refused("there is no proxy mode, and a member in its place would found a cluster of its own")),
    retired("proxy-failure-wait", Uint, "5000", Warned(OFF_BY_NATURE)),
    retired("proxy-refresh-interval", Uint, "30000", Warned(OFF_BY_NATURE)),
    retired("proxy-dial-timeout", Uint, "1000", Warned(OFF_BY_NATURE)),
    retired("proxy-write-timeout", Uint, "5000", Warned(OFF_BY_NATURE)),
    retired("proxy-read-timeout", Uint, "0", Warned(OFF_BY_NATURE)),
    retired("discovery", Text, "", Refused(NO_DISCOVERY)),
    retired("discovery-proxy", Text, "", Refused(NO_DISCOVERY)),
    retired("cluster-active-size", Bool, "false", Ignored),
    retired("cluster-remove-delay", Bool, "false", Ignored),
    retired("cluster-sync-interval", Bool, "false", Ignored),
    retired("config", Bool, "false", Ignored),
    retired("force", Bool, "false", Ignored),
    retired("max-result-buffer", Bool, "false", Ignored),
    retired("max-retry-attempts", Bool, "false", Ignored),
    retired("peer-heartbeat-interval", Bool, "false", Ignored),
    retired("peer-election-timeout", Bool, "false", Ignored),
    retired("retry-interval", Bool, "false", Ignored),
    retired("snapshot", Bool, "false", Ignored),
    retired("v", Bool, "false", Ignored),
    retired("vv", Bool, "false", Ignored),
    retired("test.coverprofile", Bool, "false", Ignored),
    retired("test.outputdir", Bool, "false", Ignored),
];
