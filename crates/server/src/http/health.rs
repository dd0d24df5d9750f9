//! Whether the member is well: `/health` for load balancers, `/livez` and `/readyz` for kubelets.
//!
//! | check | fails when | asked by |
//! |---|---|---|
//! | `data_corruption` | a CORRUPT alarm is active | `/readyz` |
//! | `serializable_read` | the member cannot read its own state | both |
//! | `linearizable_read` | a read cannot be confirmed by the cluster in time | `/readyz` |
//! | `non_learner` | the member has no vote | `/readyz` |
//!
//! `/health` is older and coarser: any alarm, no leader, then a read.
//!
//! A full quota makes a member refuse writes, yet it is alive and ready: only `/health` minds.

use std::fmt::Write;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use state::command::Range;
use state::mvcc::range::range;
use state::outcome::AlarmType;

use super::{TEXT, error, get};
use crate::grpc::status::EtcdError;
use crate::handle::NodeHandle;

/// One thing that can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

const LIVE: [Check; 1] = [Check::SerializableRead];
const READY: [Check; 4] =
    [Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

pub(super) fn routes() -> Router<NodeHandle> {
    let mut router = Router::new().route("/health", get(health));
    for (path, checks) in [("/livez", &LIVE[..]), ("/readyz", &READY[..])] {
        router = router.route(
            path,
            get(move |State(handle): State<NodeHandle>, RawQuery(query): RawQuery| async move {
                let query = Query(query.unwrap_or_default());
                let excluded = query.values("exclude");
                let wanted = checks
                    .iter()
                    .copied()
                    .filter(|check| !excluded.iter().any(|name| name == check.name()));
                report(&handle, &wanted.collect::<Vec<_>>(), query.has("verbose")).await
            }),
        );
        for check in checks {
            let path = format!("{path}/{}", check.name());
            router = router.route(
                &path,
                get(
                    move |State(handle): State<NodeHandle>, RawQuery(query): RawQuery| async move {
                        let verbose = Query(query.unwrap_or_default()).has("verbose");
                        report(&handle, &[*check], verbose).await
                    },
                ),
            );
        }
    }
    router
}

/// What stands behind the question mark.
struct Query(String);

impl Query {
    fn values(&self, name: &str) -> Vec<String> {
        let pairs = url::form_urlencoded::parse(self.0.as_bytes());
        pairs.filter(|(key, _)| key == name).map(|(_, value)| value.into_owned()).collect()
    }

    fn has(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }
}

async fn report(handle: &NodeHandle, checks: &[Check], verbose: bool) -> Response {
    let mut lines = String::new();
    let mut healthy = true;
    for check in checks {
        let line = match check.run(handle).await {
            Ok(()) => writeln!(lines, "[+]{} ok", check.name()),
            Err(reason) => {
                healthy = false;
                writeln!(lines, "[-]{} failed: {reason}", check.name())
            }
        };
        line.expect("a String takes all");
    }
    match (healthy, verbose) {
        (false, _) => error(StatusCode::SERVICE_UNAVAILABLE, lines),
        (true, false) => error(StatusCode::OK, "ok\n"),
        (true, true) => error(StatusCode::OK, lines + "ok\n"),
    }
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }

    async fn run(self, handle: &NodeHandle) -> Result<(), &'static str> {
        match self {
            Check::DataCorruption => {
                let corrupt = |kind| kind == AlarmType::CORRUPT;
                let found = handle.alarms().iter().any(|alarm| corrupt(alarm.alarm));
                if found { Err("alarm activated: CORRUPT") } else { Ok(()) }
            }
            Check::SerializableRead => read(handle, true).await,
            Check::LinearizableRead => read(handle, false).await,
            Check::NonLearner => {
                let this = handle.member_id();
                let mut members = handle.members().into_iter();
                let learner = members.any(|member| member.member_id() == this && member.is_learner);
                if learner { Err("not supported for learner") } else { Ok(()) }
            }
        }
    }
}

/// Reads one key, whichever comes first.
async fn read(handle: &NodeHandle, serializable: bool) -> Result<(), &'static str> {
    if !serializable && !handle.try_read_barrier() {
        let barrier = handle.read_barrier().await;
        barrier.map_err(|unserved| EtcdError::from(unserved).text())?;
    }
    let request = Range {
        key: vec![0].into(),
        range_end: vec![0].into(),
        limit: 1,
        keys_only: true,
        serializable,
        ..Range::default()
    };
    match range(handle.reader(), &request) {
        Ok(_) => Ok(()),
        Err(error) => Err(EtcdError::of_read(error).text()),
    }
}

async fn health(State(handle): State<NodeHandle>, RawQuery(query): RawQuery) -> Response {
    let query = Query(query.unwrap_or_default());
    let serializable = query.values("serializable").first().is_some_and(|value| value == "true");
    let reason = ailment(&handle, &query.values("exclude"), serializable).await;
    match reason {
        None => ([(CONTENT_TYPE, TEXT)], r#"{"health":"true","reason":""}"#).into_response(),
        Some(reason) => {
            let body = serde_json::json!({ "health": "false", "reason": reason });
            error(StatusCode::SERVICE_UNAVAILABLE, format!("{body}\n"))
        }
    }
}

/// The first thing that is wrong with the member.
async fn ailment(handle: &NodeHandle, excluded: &[String], serializable: bool) -> Option<String> {
    for alarm in handle.alarms() {
        let name = match alarm.alarm {
            AlarmType::NO_SPACE => "NOSPACE",
            AlarmType::CORRUPT => "CORRUPT",
            _ => "UNKNOWN",
        };
        if !excluded.iter().any(|excluded| excluded == name) {
            return Some(format!("ALARM {name}"));
        }
    }
    if !serializable && handle.status().leader == 0 {
        return Some("RAFT NO LEADER".to_owned());
    }
    read(handle, serializable).await.err().map(|error| format!("RANGE ERROR:{error}"))
}
