//! The log of a process: one for all, so that this file holds one test.

use server::config::{Config, Program};
use server::telemetry::{self, TelemetryError};

#[test]
fn every_output_gets_every_line_and_panics_are_lines_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let paths = ["a.log", "b.log"].map(|name| directory.path().join(name));
    std::fs::write(&paths[0], "{\"msg\":\"earlier\"}\n").expect("a log of an earlier run");
    let outputs = format!("--log-outputs={},{}", paths[0].display(), paths[1].display());
    let loaded = Config::from_flags(&[&outputs, "--metrics=extensive"]).expect("good flags");

    let lost = Config::from_flags(&["--log-outputs=/nonexistent/a.log"]).expect("good flags");
    let error =
        telemetry::start(&lost.config.logging, Program::Etcd, &[]).expect_err("no such place");
    assert!(matches!(error, TelemetryError::Open { .. }), "{error}");

    telemetry::start(&loaded.config.logging, Program::Etcd, &loaded.notices).expect("a log");
    tracing::info!(target: "server", "ready to serve client requests");
    let panicked = std::thread::Builder::new().name("worker".into()).spawn(|| panic!("on purpose"));
    panicked.expect("a thread").join().expect_err("it panics");
    // The assertions below are for people again.
    drop(std::panic::take_hook());
    let again = telemetry::start(&loaded.config.logging, Program::Etcd, &[]);
    assert!(matches!(again, Err(TelemetryError::AlreadyStarted)));

    let texts = paths.map(|path| std::fs::read_to_string(path).expect("a log"));
    assert_eq!(texts[0].strip_prefix("{\"msg\":\"earlier\"}\n"), Some(texts[1].as_str()));
    let lines: Vec<serde_json::Value> =
        texts[1].lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let seen: Vec<_> = lines.iter().map(|l| (l["level"].as_str(), l["msg"].as_str())).collect();
    let expected = [
        (Some("warn"), Some("setting has no effect")),
        (Some("info"), Some("ready to serve client requests")),
        (Some("panic"), Some("panic: on purpose")),
    ];
    assert_eq!(seen, expected);
    assert_eq!(lines[0]["flag"], "--metrics");
    assert_eq!(lines[2]["thread"], "worker");
    assert!(lines[2]["place"].as_str().is_some_and(|place| place.contains("config_logging.rs:")));
}
