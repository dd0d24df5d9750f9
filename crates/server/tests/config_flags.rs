//! What the command line and the environment do, compared with what etcd does.

use server::config::cli::{Outcome, decide};
use server::config::flags::{self, Standing};
use server::config::{
    AutoCompaction, Config, Kind, Loaded, LogFormat, LogLevel, LogOutput, Notice, Program,
};

/// The facts about etcd's flags: name, kind, default.
fn flags_of_etcd() -> Vec<(&'static str, &'static str, &'static str)> {
    let rows = include_str!("config_etcd_flags.txt").lines().filter(|row| !row.starts_with('#'));
    rows.map(|row| {
        let mut columns = row.splitn(3, ' ');
        let mut next = || columns.next().unwrap_or_default();
        (next(), next(), next())
    })
    .collect()
}

fn outcome(line: &str, variables: &[(&str, &str)]) -> Outcome {
    let variables: Vec<(String, String)> =
        variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    decide(line.split(' ').filter(|word| !word.is_empty()).map(Into::into), &variables)
}

fn started(line: &str, variables: &[(&str, &str)]) -> Loaded {
    match outcome(line, variables) {
        Outcome::Start(_, loaded) => *loaded,
        Outcome::Print { stderr, code, .. } => panic!("{line}: code {code}: {stderr}"),
    }
}

/// The exit code and the first line of the error stream.
fn refused(line: &str, variables: &[(&str, &str)]) -> (u8, String) {
    match outcome(line, variables) {
        Outcome::Print { stderr, code, .. } => {
            (code, stderr.lines().next().unwrap_or_default().to_owned())
        }
        Outcome::Start(..) => panic!("{line}: started"),
    }
}

#[test]
fn every_flag_of_etcd_is_accepted_with_its_kind_and_default() {
    let facts = flags_of_etcd();
    assert_eq!(facts.len(), 113);
    for (name, kind, default) in facts {
        let flag = flags::find(name).unwrap_or_else(|| panic!("--{name} has no row"));
        assert!(!flags::is_retired(flag), "--{name} is a flag of today");
        let ours = match flag.kind {
            Kind::Text | Kind::Texts | Kind::Sequence => "text",
            Kind::Bool => "bool",
            Kind::Int => "int",
            Kind::Uint => "uint",
            Kind::Uint32 => "uint32",
            Kind::Duration => "duration",
            Kind::Urls => "urls",
            Kind::Gates | Kind::Choice(_) => "choice",
        };
        let kind = match name {
            // An origin that is no URL admits nobody, so that it need not be one.
            "cors" => "text",
            // Where etcd panics, with exit code 2 as well.
            "log-level" => "choice",
            _ => kind,
        };
        assert_eq!(ours, kind, "kind of --{name}");
        let derived = ["initial-cluster", "log-format"].contains(&name);
        assert!(derived || flag.default == default, "default of --{name}: {:?}", flag.default);
    }
}

#[test]
fn every_default_of_etcd_can_be_written_out_without_a_warning() {
    for (name, _, default) in flags_of_etcd() {
        if ["config-file", "version", "listen-client-urls"].contains(&name) {
            continue;
        }
        let words = vec!["metastore".into(), format!("--{name}={default}").into()];
        match decide(words, &[]) {
            Outcome::Start(_, loaded) => assert_eq!(loaded.notices, [], "--{name}"),
            Outcome::Print { stderr, .. } => panic!("--{name}={default}: {stderr}"),
        }
    }
}

#[test]
fn each_flag_does_what_its_standing_says() {
    for flag in flags::all().chain(flags::RETIRED) {
        let value = match (flag.name, flag.kind) {
            ("proxy", _) => "on",
            ("experimental-txn-mode-write-with-shared-buffer", _) => "false",
            (_, Kind::Bool) if flag.default == "true" => "false",
            (_, Kind::Bool) => "true",
            (_, Kind::Duration) => "77s",
            (_, Kind::Urls) => "http://127.0.0.1:7777",
            (_, Kind::Int | Kind::Uint | Kind::Uint32) => "77",
            (_, _) => "other",
        };
        let line = match flag.name {
            // This gate needs the other.
            "experimental-enable-lease-checkpoint-persist" => {
                format!("metastore --feature-gates=LeaseCheckpoint=true --{}={value}", flag.name)
            }
            name => format!("metastore --{name}={value}"),
        };
        match flag.standing {
            Standing::Refused(why) => {
                let expected = format!("--{} cannot be used with this version: {why}", flag.name);
                assert!(refused(&line, &[]).1.ends_with(&expected), "{line}");
            }
            Standing::Warned(instead) => {
                let expected = Notice::NotYet { flag: flag.name, instead };
                assert_eq!(started(&line, &[]).notices, [expected], "{line}");
            }
            Standing::Renamed(to) if matches!(find(to), Standing::Refused(_)) => {
                assert!(
                    refused(&line, &[]).1.contains(&format!("--{to} cannot be used")),
                    "{line}"
                );
            }
            Standing::Renamed(_) | Standing::BecameGate(_) | Standing::Implies(..) => {
                let first = started(&line, &[]).notices.into_iter().next();
                assert!(
                    matches!(first, Some(Notice::Renamed { flag: old, .. }) if old == flag.name),
                    "{line}: {first:?}"
                );
            }
            Standing::Ignored => assert_eq!(started(&line, &[]).notices, [], "{line}"),
            // Each has a test of its own below or in the crate.
            Standing::Works | Standing::Met => {}
        }
    }
}

#[test]
fn what_protects_works_or_is_refused_and_is_never_ignored() {
    let harmless = ["self-signed-cert-validity"];
    let security = flags::GROUPS.iter().filter(|group| group.title == "Security");
    let mut names: Vec<&str> =
        security.flat_map(|group| group.flags).map(|flag| flag.name).collect();
    names.retain(|name| !harmless.contains(name));
    names.extend(["auth-token", "force-new-cluster", "wal-dir", "unsafe-no-fsync", "proxy"]);
    names.extend(["discovery", "discovery-token", "discovery-endpoints", "discovery-srv"]);
    assert_eq!(names.len(), 34);
    for name in names {
        assert!(matches!(find(name), Standing::Works | Standing::Refused(_)), "--{name}");
    }
}

fn find(name: &str) -> Standing {
    flags::find(name).expect("the table leads to its own rows").standing
}

#[test]
fn without_settings_a_member_is_what_etcd_would_be() {
    let Loaded { config, notices } = started("metastore", &[]);
    assert_eq!(notices, []);
    assert_eq!((config.name.as_str(), config.data_dir.to_str()), ("default", Some("default.etcd")));
    assert_eq!(config.listen.client[0].as_str(), "http://localhost:2379");
    assert_eq!(config.listen.peer[0].as_str(), "http://localhost:2380");
    assert_eq!(config.advertise_client_urls[0].as_str(), "http://localhost:2379");
    assert_eq!((config.raft.heartbeat.as_millis(), config.raft.election_ticks()), (100, 10));
    assert_eq!(config.limits.quota_bytes, Some(2 << 30));
    assert_eq!((config.limits.txn_ops, config.limits.request_bytes), (128, 1_572_864));
    assert_eq!(config.limits.streams, u32::MAX);
    assert_eq!(config.auto_compaction, AutoCompaction::Off);
    assert_eq!(config.watch_progress_interval.as_secs(), 600);
    assert_eq!(config.slow_apply.as_millis(), 100);
    assert_eq!(config.keepalive.interval.map(|time| time.as_secs()), Some(7200));
    assert!(config.log.sync);
    assert_eq!((config.logging.level, config.logging.format), (LogLevel::Info, None));
    assert_eq!(config.logging.outputs, [LogOutput::Stderr]);
    // As the log of etcd 3.7.3 shows them when it is started without settings.
    let founding = config.initial_cluster.found().expect("a cluster of one");
    assert_eq!(founding.member_id.0, 0x8e9e_05c5_2164_694d);
    assert_eq!(founding.cluster_id.0, 0xcdf8_1819_4e3a_8c32);
}

#[test]
fn a_name_alone_moves_the_directory_and_the_entry_of_the_cluster() {
    let config =
        started("metastore --name zz --initial-advertise-peer-urls http://127.0.0.1:5", &[]).config;
    assert_eq!(config.data_dir.to_str(), Some("zz.etcd"));
    let founders = &config.initial_cluster.founders;
    assert_eq!(founders.keys().collect::<Vec<_>>(), ["zz"]);
    assert_eq!(founders["zz"][0].as_str(), "http://127.0.0.1:5");
}

#[test]
fn inconsistent_settings_end_with_code_1_and_the_words_of_etcd() {
    for (flags, message) in [
        ("stray", "\"stray\" is not a valid flag"),
        ("--pre-vote false", "\"false\" is not a valid flag"),
        (
            "--listen-client-urls http://127.0.0.1:1",
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ),
        ("--listen-client-urls http://foo:1", "expected IP in URL for binding (http://foo:1)"),
        ("--listen-peer-urls http://*:1", "expected IP in URL for binding (http://*:1)"),
        ("--listen-metrics-urls http://foo:1", "expected IP in URL for binding (http://foo:1)"),
        (
            "--listen-client-http-urls http://localhost:2379",
            "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url http://localhost:2379",
        ),
        ("--heartbeat-interval 0", "--heartbeat-interval must be >0 (set to 0ms)"),
        (
            "--election-timeout 400",
            "--election-timeout[400ms] should be at least as 5 times as --heartbeat-interval[100ms]",
        ),
        (
            "--election-timeout 60000",
            "--election-timeout[60000ms] is too long, and should be set less than 50000ms",
        ),
        (
            "--initial-cluster default=foo",
            "error setting up initial cluster: URL scheme must be http, https, unix, or unixs: foo",
        ),
        ("--auto-compaction-mode foo", "unknown auto-compaction-mode \"foo\""),
        (
            "--auto-compaction-retention foo",
            "error parsing CompactionRetention: time: invalid duration \"foo\"",
        ),
        ("--log-format foo", "unknown log format: foo, supported values json, console"),
        ("--compact-hash-check-time -3s", "--compact-hash-check-time must be >0 (set to -3s)"),
        (
            "--feature-gates LeaseCheckpointPersist=true",
            "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint",
        ),
        (
            "--discovery-fallback proxy",
            "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"",
        ),
        // Ours: what cannot be done is said, never done in part.
        #[cfg(not(feature = "rocksdb"))]
        (
            "--engine rocksdb",
            "--engine=rocksdb: this binary was built without RocksDB; \
             build one with `make build`",
        ),
        (
            "--listen-client-urls https://127.0.0.1:1",
            "listen on https://127.0.0.1:1: TLS is not available in this version",
        ),
        (
            "--listen-client-urls= --advertise-client-urls=http://a:1",
            "--listen-client-urls is empty: no client could reach this member",
        ),
        (
            "--max-request-bytes 0x7fffffff",
            "--max-request-bytes must be between 0 and 134217728 (set to 2147483647)",
        ),
        (
            "--auto-compaction-retention 2562048",
            "error parsing CompactionRetention: time: invalid duration \"2562048\"",
        ),
        (
            "--auto-compaction-retention -1h",
            "error parsing CompactionRetention: time: invalid duration \"-1h\"",
        ),
    ] {
        assert_eq!(
            refused(&format!("metastore {flags}"), &[]),
            (1, format!("metastore: {message}"))
        );
    }
}

#[test]
fn an_unreadable_command_line_ends_with_code_2_and_the_usage() {
    for line in ["metastore --bogus", "etcd --bogus"] {
        let Outcome::Print { stdout, stderr, code } = outcome(line, &[]) else {
            panic!("{line}: started");
        };
        assert_eq!((code, stdout.as_str()), (2, ""));
        assert!(
            stderr.starts_with("flag provided but not defined: -bogus\nUsage:\n\n"),
            "{stderr}"
        );
    }
}

#[test]
fn as_etcd_a_refusal_is_a_line_of_its_log() {
    let (code, line) = refused("/usr/bin/etcd --heartbeat-interval 0", &[]);
    assert_eq!(code, 1);
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&line["level"], &line["msg"]), (&"warn".into(), &"failed to verify flags".into()));
    assert_eq!(line["error"], "--heartbeat-interval must be >0 (set to 0ms)");
}

#[test]
fn the_version_has_the_form_of_the_program_that_was_called() {
    let Outcome::Print { stdout, stderr, code: 0 } = outcome("/usr/local/bin/etcd --version", &[])
    else {
        panic!("--version prints");
    };
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!((lines.len(), lines[0], stderr.as_str()), (4, "etcd Version: 3.7.3", ""));
    for (line, start) in
        lines.iter().zip(["etcd V", "Git SHA: ", "Go Version: ", "Go OS/Arch: linux/"])
    {
        assert!(line.starts_with(start), "{line}");
    }
    let Outcome::Print { stdout, .. } = outcome("metastore -version", &[]) else {
        panic!("-version prints");
    };
    assert!(stdout.starts_with("metastore Version: 0."), "{stdout}");
    assert!(stdout.contains("\netcd API Version: 3.7.3\n"), "{stdout}");
}

#[test]
fn subcommands_of_etcd_are_declined_in_words() {
    for command in ["gateway start", "grpc-proxy start"] {
        let (code, line) = refused(&format!("etcd {command}"), &[]);
        assert_eq!(code, 1);
        assert!(line.contains("is not part of MetaStore"), "{line}");
    }
    let stray = refused("metastore --name x gateway", &[]);
    assert_eq!(stray, (1, "metastore: \"gateway\" is not a valid flag".to_owned()));
}

#[test]
fn the_environment_sets_what_the_command_line_does_not() {
    for prefix in ["ETCD", "METASTORE"] {
        let variable = format!("{prefix}_MAX_TXN_OPS");
        let Loaded { config, notices } = started("metastore --name a", &[(&variable, "256")]);
        assert_eq!(config.limits.txn_ops, 256);
        assert_eq!(notices, [Notice::Variable { name: variable, value: "256".into() }]);
    }
    let loaded =
        started("metastore", &[("ETCD_MAX_TXN_OPS", ""), ("PATH", "/bin"), ("MY_ETCD_NAME", "x")]);
    assert_eq!((loaded.config.limits.txn_ops, loaded.notices.len()), (128, 0), "empty is unset");
}

#[test]
fn a_variable_that_means_nothing_is_only_remarked_on() {
    for variable in
        ["ETCD_VERIFY", "ETCD_UNSUPPORTED_ARCH", "ETCD_FOO", "ETCD_name", "METASTORE_PORT"]
    {
        let notices = started("metastore", &[(variable, "all")]).notices;
        assert_eq!(notices, [Notice::UnknownVariable(format!("{variable}=all"))]);
    }
    let notices = started("metastore", &[("ETCD_VERSION", "3")]).notices;
    assert_eq!(notices, [Notice::SpecialVariable("ETCD_VERSION".into())]);
}

#[test]
fn a_variable_in_conflict_or_unreadable_ends_with_code_1() {
    for (line, variables, message) in [
        (
            "metastore --name a",
            &[("ETCD_NAME", "")][..],
            "conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable or disable flag): ETCD_NAME",
        ),
        (
            "metastore",
            &[("ETCD_MAX_TXN_OPS", "abc")],
            "invalid value \"abc\" for ETCD_MAX_TXN_OPS: parse error",
        ),
        (
            "metastore",
            &[("ETCD_PRE_VOTE", "xx")],
            "invalid value \"xx\" for ETCD_PRE_VOTE: parse error",
        ),
        (
            "metastore",
            &[("ETCD_NAME", "a"), ("METASTORE_NAME", "b")],
            "environment variables ETCD_NAME and METASTORE_NAME are both set, to different values",
        ),
    ] {
        assert_eq!(refused(line, variables), (1, format!("metastore: {message}")));
    }
    let same = started("metastore", &[("ETCD_NAME", "a"), ("METASTORE_NAME", "a")]);
    assert_eq!(same.config.name, "a");
    let Outcome::Print { code: 0, .. } = outcome("etcd --version", &[("ETCD_MAX_TXN_OPS", "abc")])
    else {
        panic!("the version is printed whatever the environment says");
    };
}

#[test]
fn values_reach_the_configuration() {
    let line = "etcd --data-dir /d --quota-backend-bytes -1 --auto-compaction-mode=revision \
                --auto-compaction-retention 1000 --max-concurrent-streams 7 \
                --watch-progress-notify-interval=5s --warning-apply-duration 1s --unsafe-no-fsync \
                --log-level debug --log-format console --log-outputs stdout,/tmp/a.log,stderr \
                --grpc-keepalive-interval 0s --max-request-bytes 0x1000 --snapshot-count 5 \
                --heartbeat-interval 10 --election-timeout 50 --feature-gates=LeaseCheckpoint=true";
    let Loaded { config, notices } = started(line, &[]);
    assert_eq!(config.data_dir.to_str(), Some("/d"));
    assert_eq!(config.limits.quota_bytes, None);
    assert_eq!((config.limits.streams, config.limits.request_bytes), (7, 4096));
    assert_eq!(config.auto_compaction, AutoCompaction::Revision(1000));
    assert_eq!(config.watch_progress_interval.as_secs(), 5);
    assert_eq!((config.slow_apply.as_secs(), config.log.sync), (1, false));
    assert_eq!(
        (config.logging.level, config.logging.format),
        (LogLevel::Debug, Some(LogFormat::Console))
    );
    let file = LogOutput::File("/tmp/a.log".into());
    assert_eq!(config.logging.outputs, [file, LogOutput::Stderr, LogOutput::Stdout]);
    assert_eq!((config.keepalive.interval, config.raft.election_ticks()), (None, 5));
    assert!(config.gates.is_on("LeaseCheckpoint"));
    assert_eq!(notices, [Notice::Gate("LeaseCheckpoint"), Notice::NoSync]);
}

#[test]
fn a_retention_is_hours_a_duration_or_revisions() {
    let hours = |hours: u64| AutoCompaction::Periodic(std::time::Duration::from_secs(hours * 3600));
    for (flags, expected) in [
        ("--auto-compaction-retention=1", hours(1)),
        ("--auto-compaction-retention=2h", hours(2)),
        ("--auto-compaction-retention=0", AutoCompaction::Off),
        ("--auto-compaction-retention=0s", AutoCompaction::Off),
        ("--auto-compaction-retention=", AutoCompaction::Off),
        (
            "--auto-compaction-mode=revision --auto-compaction-retention=1",
            AutoCompaction::Revision(1),
        ),
    ] {
        assert_eq!(
            started(&format!("etcd {flags}"), &[]).config.auto_compaction,
            expected,
            "{flags}"
        );
    }
}

#[test]
fn retired_names_set_what_they_became() {
    let line = "etcd --experimental-watch-progress-notify-interval=7s --debug \
                --experimental-enable-lease-checkpoint --experimental-max-learners=3 --max-learners=1";
    let Loaded { config, notices } =
        started(line, &[("ETCD_EXPERIMENTAL_WARNING_APPLY_DURATION", "9s")]);
    assert_eq!(config.watch_progress_interval.as_secs(), 7);
    assert_eq!(config.slow_apply.as_secs(), 9);
    assert_eq!(config.logging.level, LogLevel::Debug);
    assert!(config.gates.is_on("LeaseCheckpoint"));
    let renamed = notices.iter().filter(|notice| matches!(notice, Notice::Renamed { .. })).count();
    assert_eq!(renamed, 5, "{notices:?}");
    assert_eq!(
        notices.iter().filter(|n| matches!(n, Notice::NotYet { .. })).count(),
        0,
        "the new name wins"
    );
}

#[test]
fn large_and_small_values_are_remarked_on() {
    for (flags, notice) in [
        ("--max-request-bytes=20000000", Notice::LargeRequests(20_000_000)),
        ("--quota-backend-bytes=9000000000", Notice::LargeQuota(9_000_000_000)),
        ("--watch-progress-notify-interval=10ms", Notice::ProgressInterval { used_ms: 100 }),
        ("--log-outputs=systemd/journal", Notice::Journal),
    ] {
        assert_eq!(started(&format!("etcd {flags}"), &[]).notices, [notice]);
    }
}

#[test]
fn a_program_that_embeds_the_server_uses_the_same_flags() {
    let config = Config::from_flags(&["--name=a", "--data-dir=/tmp/x"]).expect("good flags").config;
    assert_eq!((config.name.as_str(), config.data_dir.to_str()), ("a", Some("/tmp/x")));
    Config::from_flags(&["--help"]).expect_err("there is nothing to start");
    assert_eq!(Program::named("/a/b/etcd"), Program::Etcd);
    assert_eq!(Program::named("etcd-metastore"), Program::Metastore);
}
