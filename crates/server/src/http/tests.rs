//! Every answer as a client sees it.

use axum::body::to_bytes;
use state::command::{Alarm, Operation};
use state::outcome::AlarmType;
use tower::ServiceExt;

use super::*;
use crate::toy_member::ToyMember;

async fn ask(member: &ToyMember, method: &str, path: &str) -> (Response<()>, String) {
    let request = http::Request::builder().method(method).uri(path).body(Body::empty());
    let response =
        router(member.handle.clone(), Origins::all()).oneshot(request.expect("a request")).await;
    let (parts, body) = response.expect("never fails").into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("a body");
    (Response::from_parts(parts, ()), String::from_utf8(body.to_vec()).expect("text"))
}

async fn get(member: &ToyMember, path: &str) -> (u16, String) {
    let (head, body) = ask(member, "GET", path).await;
    (head.status().as_u16(), body)
}

async fn set_alarm(member: &ToyMember, action: i32, alarm: AlarmType) {
    let alarm = Alarm { action, member: 1, alarm: alarm.number() };
    member.propose(Operation::Alarm(alarm)).await;
}

async fn raise(member: &ToyMember, alarm: AlarmType) {
    set_alarm(member, 1, alarm).await;
}

fn ill(reason: &str) -> (u16, String) {
    (503, format!("{{\"health\":\"false\",\"reason\":\"{reason}\"}}\n"))
}

#[tokio::test]
async fn version_names_program_cluster_and_storage() {
    let (head, body) = ask(&ToyMember::start(), "GET", "/version").await;
    assert_eq!(head.headers()["content-type"], "application/json");
    assert_eq!(body, r#"{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}"#);
}

#[tokio::test]
async fn only_get_is_allowed_and_other_paths_do_not_exist() {
    let member = ToyMember::start();
    for path in ["/version", "/health", "/livez", "/readyz", "/readyz/non_learner"] {
        for method in ["POST", "PUT", "HEAD", "DELETE"] {
            let (head, _) = ask(&member, method, path).await;
            assert_eq!(head.status(), 405, "{method} {path}");
            assert_eq!(head.headers()["allow"], "GET", "{method} {path}");
        }
        let (head, body) = ask(&member, "POST", path).await;
        assert_eq!(body, "Method Not Allowed\n");
        assert_eq!(head.headers()["content-type"], "text/plain; charset=utf-8");
    }
    for path in ["/", "/nope", "/version/", "/livez/", "/livez/linearizable_read", "/v3/kv/range"] {
        assert_eq!(get(&member, path).await, (404, "404 page not found\n".to_owned()), "{path}");
        assert_eq!(ask(&member, "POST", path).await.0.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn browsers_of_any_origin_are_let_in() {
    let member = ToyMember::start();
    for (method, path) in [("OPTIONS", "/nope"), ("GET", "/nope"), ("GET", "/version")] {
        let (head, body) = ask(&member, method, path).await;
        assert_eq!(head.headers()["access-control-allow-origin"], "*");
        assert_eq!(
            head.headers()["access-control-allow-methods"],
            "POST, GET, OPTIONS, PUT, DELETE"
        );
        assert_eq!(
            head.headers()["access-control-allow-headers"],
            "accept, content-type, authorization"
        );
        assert_eq!(method == "OPTIONS", head.status() == 200 && body.is_empty(), "{path}");
    }
}

#[tokio::test]
async fn health_names_the_first_thing_that_is_wrong() {
    let member = ToyMember::start();
    let well = (200, r#"{"health":"true","reason":""}"#.to_owned());
    assert_eq!(get(&member, "/health").await, well);

    raise(&member, AlarmType::NO_SPACE).await;
    member.lose_leader();
    assert_eq!(get(&member, "/health").await, ill("ALARM NOSPACE"));
    assert_eq!(get(&member, "/health?exclude=CORRUPT").await, ill("ALARM NOSPACE"));
    assert_eq!(
        get(&member, "/health?exclude=CORRUPT&exclude=NOSPACE").await,
        ill("RAFT NO LEADER")
    );
    assert_eq!(get(&member, "/health?exclude=NOSPACE&serializable=true").await, well);
    set_alarm(&member, 2, AlarmType::NO_SPACE).await;
    raise(&member, AlarmType::CORRUPT).await;
    assert_eq!(get(&member, "/health?exclude=NOSPACE").await, ill("ALARM CORRUPT"));
    set_alarm(&member, 2, AlarmType::CORRUPT).await;
    raise(&member, AlarmType::from_number(7).expect("not 0")).await;
    assert_eq!(get(&member, "/health").await, ill("ALARM UNKNOWN"));
}

#[tokio::test]
async fn a_full_member_is_ready_and_a_corrupt_one_alive() {
    let member = ToyMember::start();
    let ok = (200, "ok\n".to_owned());
    raise(&member, AlarmType::NO_SPACE).await;
    assert_eq!(get(&member, "/livez").await, ok);
    assert_eq!(get(&member, "/readyz").await, ok);
    raise(&member, AlarmType::CORRUPT).await;
    assert_eq!(get(&member, "/livez").await, ok);
    let failed = "[-]data_corruption failed: alarm activated: CORRUPT\n";
    assert_eq!(get(&member, "/readyz/data_corruption").await, (503, failed.to_owned()));
    let all = "[-]data_corruption failed: alarm activated: CORRUPT\n[+]serializable_read ok\n\
               [+]linearizable_read ok\n[+]non_learner ok\n";
    assert_eq!(get(&member, "/readyz").await, (503, all.to_owned()));
    assert_eq!(get(&member, "/readyz?exclude=data_corruption").await, ok);
}

#[tokio::test]
async fn a_member_without_leader_is_alive_and_not_ready() {
    let member = ToyMember::start();
    member.lose_leader();
    let alive = "[+]serializable_read ok\nok\n";
    assert_eq!(get(&member, "/livez?verbose").await, (200, alive.to_owned()));
    let failed = "[-]linearizable_read failed: etcdserver: request timed out\n";
    assert_eq!(get(&member, "/readyz/linearizable_read").await, (503, failed.to_owned()));
}

#[tokio::test]
async fn checks_are_listed_on_demand_and_unknown_names_do_not_matter() {
    let member = ToyMember::start();
    let path = "/readyz?verbose&exclude=linearizable_read&exclude=nonsense";
    let listed = "[+]data_corruption ok\n[+]serializable_read ok\n[+]non_learner ok\nok\n";
    assert_eq!(get(&member, path).await, (200, listed.to_owned()));
    let one = "[+]non_learner ok\nok\n";
    assert_eq!(get(&member, "/readyz/non_learner?verbose").await, (200, one.to_owned()));
    // What is left out of the whole is not left out of the one.
    let path = "/livez/serializable_read?exclude=serializable_read&verbose";
    assert_eq!(get(&member, path).await, (200, "[+]serializable_read ok\nok\n".to_owned()));
}
