//! What a member answers to plain HTTP: versions and health.
//!
//! ```text
//! GET /version                     {"etcdserver":…,"etcdcluster":…,"storage":…}
//! GET /health                      {"health":"true","reason":""}, or 503 and why
//! GET /livez, /readyz              ok, or 503 and which checks failed
//! GET /livez/CHECK, /readyz/CHECK  the same for one check
//! ```
//!
//! Everything else is `404 page not found`. Texts, content types and headers are etcd's: load
//! balancers and kubelets compare them.
//!
//! What it does not do: the JSON gateway and metrics are not here.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use http::header::{self, HeaderName};
use http::{HeaderValue, Method, StatusCode};

use crate::config::ETCD_VERSION;
use crate::grpc::STORAGE_VERSION;
use crate::handle::NodeHandle;

mod health;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Answers plain HTTP for the member behind `handle`.
pub fn router(handle: NodeHandle, origins: Origins) -> Router {
    Router::new()
        .route("/version", get(version))
        .merge(health::routes())
        .fallback(not_found)
        .layer(from_fn_with_state(origins, cross_origin))
        .with_state(handle)
}

/// Answers behind a door for monitoring: health alone.
pub fn monitoring(handle: NodeHandle) -> Router {
    Router::new().merge(health::routes()).fallback(not_found).with_state(handle)
}

/// Answers other members: who this is.
pub fn peers(handle: NodeHandle) -> Router {
    Router::new().route("/version", get(version)).fallback(not_found).with_state(handle)
}

/// Answers nothing, where there is only gRPC.
pub fn nothing() -> Router {
    Router::new().fallback(not_found)
}

async fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A route for `GET` alone; other methods, `HEAD` among them, are told so.
fn get<H, T>(handler: H) -> axum::routing::MethodRouter<NodeHandle>
where
    H: axum::handler::Handler<T, NodeHandle>,
    T: 'static,
{
    // axum's own `get` would answer `HEAD` as well.
    on(MethodFilter::GET, handler).head(method_not_allowed).fallback(method_not_allowed)
}

async fn method_not_allowed() -> Response {
    let allow = [(header::ALLOW, HeaderValue::from_static("GET"))];
    (allow, error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")).into_response()
}

/// A text that browsers must not take for anything else.
fn error(status: StatusCode, text: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, TEXT),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (status, headers, text.into()).into_response()
}

/// Whose web pages may call: the origins, or everybody if `*` is among them.
#[derive(Clone, Debug)]
pub struct Origins(pub Arc<[String]>);

impl Origins {
    /// Pages of everybody.
    #[must_use]
    pub fn all() -> Origins {
        Origins(Arc::new(["*".to_owned()]))
    }

    /// What browsers are told about a page of this origin, if they may call.
    fn admitted(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        let is_listed = |wanted: &[u8]| self.0.iter().any(|listed| listed.as_bytes() == wanted);
        if is_listed(b"*") {
            return Some(HeaderValue::from_static("*"));
        }
        origin.filter(|origin| is_listed(origin.as_bytes())).cloned()
    }
}

/// Tells browsers whose pages may call, and answers their question beforehand.
async fn cross_origin(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 2] = [
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("accept, content-type, authorization"),
        ),
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE"),
        ),
    ];
    let admitted = origins.admitted(request.headers().get(header::ORIGIN));
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::OK.into_response()
    } else {
        next.run(request).await
    };
    if let Some(origin) = admitted {
        response.headers_mut().extend(HEADERS);
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

/// Versions of the program, the cluster and the storage.
async fn version(State(handle): State<NodeHandle>) -> Response {
    let cluster = handle.status().cluster_version;
    let cluster = cluster.as_deref().unwrap_or("not_decided");
    let body = format!(
        r#"{{"etcdserver":"{ETCD_VERSION}","etcdcluster":"{cluster}","storage":"{STORAGE_VERSION}"}}"#
    );
    ([(header::CONTENT_TYPE, JSON)], body).into_response()
}

#[cfg(test)]
mod tests;
