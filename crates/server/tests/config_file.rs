//! What a configuration file does, compared with what etcd does.

use std::path::{Path, PathBuf};

use server::config::cli::{Outcome, decide};
use server::config::{Config, InvalidConfig, Loaded, LogOutput, Notice, chain};
use tempfile::TempDir;

struct File {
    path: PathBuf,
    _directory: TempDir,
}

fn file(text: &str) -> File {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, text).expect("a file");
    File { path, _directory: directory }
}

fn load(path: &Path) -> Result<Loaded, String> {
    let flag = format!("--config-file={}", path.display());
    Config::from_flags(&[&flag]).map_err(|error| chain(&error))
}

fn loaded(text: &str) -> Loaded {
    load(&file(text).path).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The notices behind the first, which names the file.
fn remarks(text: &str) -> Vec<Notice> {
    let mut notices = loaded(text).notices;
    assert!(matches!(notices.remove(0), Notice::File(_)));
    notices
}

#[test]
fn the_example_is_read_and_says_the_defaults() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config.example.yaml");
    let Loaded { config, notices } = load(&example).expect("the example");
    assert_eq!(notices, [Notice::File(example)]);
    let mut defaults = Config::from_flags(&[]).expect("no flags").config;
    defaults.logging.format = config.logging.format;
    assert_eq!(format!("{config:#?}"), format!("{defaults:#?}"));
}

#[test]
fn keys_are_flags_with_values_of_their_type() {
    let config = loaded(
        "name: a\nsnapshot-count: 55\nmax-txn-ops: 1e3\nquota-backend-bytes: -1\n\
         unsafe-no-fsync: true\nwatch-progress-notify-interval: 600000000\n\
         warning-apply-duration: \"2s\"\nlog-outputs: [stdout, /tmp/a.log]\nheartbeat-interval: 50\n\
         listen-client-urls: http://127.0.0.1:1,unix:///tmp/a.sock\n\
         advertise-client-urls: http://a:1\nauto-compaction-retention: \"1\"\n",
    )
    .config;
    assert_eq!((config.name.as_str(), config.limits.txn_ops), ("a", 1000));
    assert_eq!((config.limits.quota_bytes, config.log.sync), (None, false));
    assert_eq!(config.watch_progress_interval.as_millis(), 600);
    assert_eq!((config.slow_apply.as_secs(), config.raft.heartbeat.as_millis()), (2, 50));
    assert_eq!(config.logging.outputs, [LogOutput::File("/tmp/a.log".into()), LogOutput::Stdout]);
    assert_eq!(config.listen.client.len(), 2);
}

#[test]
fn json_is_read_too_and_names_may_be_in_any_case() {
    let config = loaded("{\n\t\"Name\": \"a\",\n\t\"MAX-TXN-OPS\": 7\n}\n").config;
    assert_eq!((config.name.as_str(), config.limits.txn_ops), ("a", 7));
}

#[test]
fn nothing_is_unset_and_the_last_of_several_wins() {
    for text in ["", "# only a comment\n", "name:\nmax-txn-ops: null\n"] {
        let config = loaded(text).config;
        assert_eq!((config.name.as_str(), config.limits.txn_ops), ("default", 128), "{text:?}");
    }
    assert_eq!(loaded("name: a\nname: b\n").config.name, "b");
}

#[test]
fn a_value_of_another_type_is_refused() {
    for (text, message) in [
        ("name: 3", "key name of the configuration file takes a text (put it in quotes)"),
        (
            "auto-compaction-retention: 1",
            "key auto-compaction-retention of the configuration file takes a text (put it in quotes)",
        ),
        (
            "heartbeat-interval: 10m",
            "key heartbeat-interval of the configuration file takes a whole number",
        ),
        (
            "snapshot-count: \"5\"",
            "key snapshot-count of the configuration file takes a whole number",
        ),
        (
            "snapshot-count: 1.5",
            "key snapshot-count of the configuration file takes a whole number",
        ),
        ("max-txn-ops: -1", "key max-txn-ops of the configuration file: parse error"),
        ("pre-vote: \"true\"", "key pre-vote of the configuration file takes true or false"),
        ("log-outputs: stderr", "key log-outputs of the configuration file takes a list of texts"),
        ("log-outputs: [1]", "key log-outputs of the configuration file takes a list of texts"),
        ("grpc-keepalive-interval: 10", ""),
        (
            "grpc-keepalive-interval: 1.5",
            "key grpc-keepalive-interval of the configuration file takes whole nanoseconds",
        ),
        (
            "grpc-keepalive-interval: 10q",
            "key grpc-keepalive-interval of the configuration file: parse error",
        ),
        (
            "initial-cluster-state: foo",
            "key initial-cluster-state of the configuration file: invalid value",
        ),
        (
            "feature-gates: Foo=true",
            "key feature-gates of the configuration file: unrecognized feature gate: Foo",
        ),
        (
            "listen-client-urls: foo",
            "key listen-client-urls of the configuration file: URL scheme must be http, https, unix, or unixs: foo",
        ),
        (
            "socket-options: 1",
            "key socket-options of the configuration file takes keys with values",
        ),
    ] {
        let outcome = load(&file(text).path).map(|_| ());
        let expected = if message.is_empty() { Ok(()) } else { Err(message.to_owned()) };
        assert_eq!(outcome, expected, "{text}");
    }
}

#[test]
fn a_file_that_is_none_is_refused_with_its_name() {
    let missing = load(Path::new("/nonexistent/config")).expect_err("no file");
    assert!(missing.starts_with("open /nonexistent/config: No such file"), "{missing}");
    for text in ["a: [", "name: a\n- x\n", "{", "\u{0}"] {
        let error = load(&file(text).path).expect_err(text);
        assert!(error.starts_with("read configuration file /"), "{text:?}: {error}");
    }
    for text in ["- a\n", "only words", "7"] {
        let error = load(&file(text).path).expect_err(text);
        assert!(error.ends_with("does not hold keys with values"), "{text:?}: {error}");
    }
}

#[test]
fn unknown_keys_leave_a_remark_and_old_samples_are_read() {
    assert_eq!(remarks("bogus-key: {a: [1]}\n"), [Notice::UnknownKey("bogus-key".into())]);
    let old = "proxy: 'off'\nproxy-failure-wait: 5000\nenable-v2: true\ndiscovery-fallback: 'proxy'\n\
               discovery:\ncors:\nwal-dir:\nforce-new-cluster: false\nstrict-reconfig-check: false\n\
               enable-pprof: true\nclient-transport-security: {cert-file: , auto-tls: false}\n";
    let remarks = remarks(old);
    let unknown = remarks.iter().filter(|remark| matches!(remark, Notice::UnknownKey(_))).count();
    let not_yet = remarks.iter().filter(|remark| matches!(remark, Notice::NotYet { .. })).count();
    assert_eq!((unknown, not_yet, remarks.len()), (5, 2, 7), "{remarks:?}");
}

#[test]
fn what_would_protect_nothing_is_refused_in_sections_too() {
    for (text, setting) in [
        ("client-transport-security: {cert-file: a}", "--cert-file"),
        ("client-transport-security:\n  client-cert-auth: true\n", "--client-cert-auth"),
        ("client-transport-security: {allowed-hostname: [a]}", "--client-cert-allowed-hostname"),
        ("client-transport-security: {allowed-cn: [a]}", "client-transport-security.allowed-cn"),
        ("peer-transport-security: {trusted-ca-file: a}", "--peer-trusted-ca-file"),
        ("peer-transport-security: {allowed-cn: [a]}", "--peer-cert-allowed-cn"),
        ("peer-transport-security: {client-key-file: a}", "--peer-client-key-file"),
        ("discovery-config: {token: a}", "--discovery-token"),
        ("discovery-config: {endpoints: [a]}", "--discovery-endpoints"),
        ("discovery-config: {auth: {username: a}}", "discovery-config.auth"),
        ("discovery-config: {auth: {password: 7}}", "discovery-config.auth"),
        ("discovery-srv: a", "--discovery-srv"),
        ("auth-token: jwt", "--auth-token"),
        ("host-whitelist: a", "--host-whitelist"),
    ] {
        let error = load(&file(text).path).expect_err(text);
        assert!(
            error.starts_with(&format!("{setting} cannot be used with this version: ")),
            "{error}"
        );
    }
    let harmless = "client-transport-security: {allowed-cn: [], cert-file: ''}\n\
                    discovery-config: {auth: {username: ''}, secure: {insecure-transport: false}}\n";
    assert_eq!(remarks(harmless), []);
    assert_eq!(remarks("socket-options: {reuse-port: true, reuse-address: true}"), []);
}

#[test]
fn with_a_file_flags_and_environment_are_ignored() {
    let file = file("max-txn-ops: 7\n");
    let path = file.path.display().to_string();
    let decided = |words: &[&str], variables: &[(&str, &str)]| {
        let variables: Vec<_> =
            variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        match decide(words.iter().map(Into::into), &variables) {
            Outcome::Start(_, loaded) => loaded.config,
            Outcome::Print { stderr, .. } => panic!("{stderr}"),
        }
    };
    let by_flag = decided(
        &["etcd", "--config-file", &path, "--name=b", "--auto-tls"],
        &[("ETCD_NAME", "c"), ("ETCD_MAX_TXN_OPS", "abc")],
    );
    assert_eq!((by_flag.name.as_str(), by_flag.limits.txn_ops), ("default", 7));
    for variable in ["ETCD_CONFIG_FILE", "METASTORE_CONFIG_FILE"] {
        let by_variable = decided(&["etcd", "--name=b"], &[(variable, &path)]);
        assert_eq!((by_variable.name.as_str(), by_variable.limits.txn_ops), ("default", 7));
    }
    let stray = Config::from_flags(&[&format!("--config-file={path}"), "stray"]);
    assert!(matches!(
        stray.expect_err("a stray word"),
        server::config::ConfigError::Invalid(InvalidConfig::Stray(_))
    ));
}
