//! `--warning-apply-duration`, `--warning-unary-request-duration`.

use crate::member::{Member, get, put};

#[tokio::test]
async fn what_is_slow_is_warned_of_in_etcds_words() {
    let member =
        Member::start(&["--warning-apply-duration=1ns", "--warning-unary-request-duration=1ns"]);
    let mut kv = member.kv().await;
    kv.put(put("a", "secret")).await.unwrap();
    let applied = member.log_line(&["apply request took too long", "put:<key"]);
    let line: serde_json::Value = serde_json::from_str(&applied).unwrap();
    assert_eq!(line["level"], "warn");
    assert_eq!((&line["expected-duration"], &line["prefix"]), (&"1ns".into(), &"".into()));
    assert!(line["took"].as_str().unwrap().ends_with('s'), "{applied}");
    let request = line["request"].as_str().unwrap();
    assert!(request.starts_with("header:<ID:"), "{applied}");
    assert!(request.ends_with(" > put:<key:\"a\" value_size:6 >"), "{applied}");
    assert!(!applied.contains("secret"), "{applied}");

    let stats = member.log_line(&["request stats"]);
    let line: serde_json::Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(line["response type"], "/etcdserverpb.KV/Put");
    assert!(line["time spent"].as_str().unwrap().ends_with('s'), "{stats}");
    assert!(line["start time"].as_str().unwrap().ends_with('Z'), "{stats}");

    kv.range(get("a", 0)).await.unwrap();
    let read = member.log_line(&["apply request took too long", "read-only range "]);
    let line: serde_json::Value = serde_json::from_str(&read).unwrap();
    assert_eq!(line["request"], "key:\"a\"");
    let found = line["response"].as_str().unwrap();
    assert!(found.starts_with("range_response_count:1 size:"), "{read}");
}

#[tokio::test]
async fn what_is_fast_is_not_warned_of() {
    let flags = ["--warning-apply-duration=1h", "--warning-unary-request-duration=1h"];
    let member = Member::start(&[flags[0], flags[1], "--auto-compaction-retention=1s"]);
    let mut kv = member.kv().await;
    kv.put(put("a", "1")).await.unwrap();
    kv.range(get("a", 0)).await.unwrap();
    // Everything up to a line that comes later.
    member.log_line(&["completed auto periodic compaction"]);
    let log = member.log_so_far();
    assert!(!log.contains("\"warn\""), "{log}");
}
