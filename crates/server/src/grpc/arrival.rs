//! What gRPC itself asks of a request, before anybody looks at what it says.
//!
//! | header | must be | else |
//! |---|---|---|
//! | `content-type` | `application/grpc`, perhaps with a subtype | HTTP 415 |
//! | `grpc-timeout` | digits and a unit, or absent | HTTP 400 |
//! | `…-bin` | base64 | HTTP 400 |
//! | `:method` | `POST` | HTTP 405 |
//! | `grpc-timeout` | not over already | `DeadlineExceeded` |
//! | `grpc-encoding` | `gzip`, `identity` or absent | `Unimplemented` |
//!
//! Answers are never compressed: a client that can read gzip can read plain messages too, and the
//! network beside a store is faster than a compressor.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use tonic::Status;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;

use super::{binary, terms};

/// Names what the messages of a request are compressed with.
const ENCODING: &str = "grpc-encoding";

/// Whether these are the headers of a gRPC request: a subtype may follow, but not another word,
/// such as that of `application/grpc-web`.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let rest = content_type(headers).strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The answer to a request that comes as one of gRPC and is none.
#[must_use]
pub fn not_grpc(headers: &HeaderMap) -> Response<Body> {
    let content_type = String::from_utf8_lossy(content_type(headers));
    let text = format!("invalid gRPC request content-type {content_type:?}");
    with_http_status(Status::invalid_argument(text), StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

/// The answer to a request that goes no further.
pub(super) fn refusal<B>(request: &Request<B>) -> Option<Response<Body>> {
    if let Some(wrong) = malformed(request.headers()) {
        return Some(with_http_status(Status::internal(wrong), StatusCode::BAD_REQUEST));
    }
    let method = request.method().as_str();
    if request.method() != Method::POST {
        let text = format!("Received a HEADERS frame with :method {method:?} which should be POST");
        return Some(with_http_status(Status::internal(text), StatusCode::METHOD_NOT_ALLOWED));
    }
    let timeout = terms::timeout(request.headers());
    if timeout.is_ok_and(|timeout| timeout.is_some_and(|timeout| timeout.is_zero())) {
        return Some(terms::over().into_http());
    }
    match encoding(request.headers()) {
        b"" | b"identity" | b"gzip" => None,
        unknown => {
            let unknown = String::from_utf8_lossy(unknown);
            let text = format!("grpc: Decompressor is not installed for grpc-encoding {unknown:?}");
            Some(Status::unimplemented(text).into_http())
        }
    }
}

/// What is wrong with a header; of several, the last one is told.
fn malformed(headers: &HeaderMap) -> Option<String> {
    let wrong = |(name, value): (&HeaderName, &HeaderValue)| match name.as_str() {
        "grpc-timeout" => {
            terms::timeout_of(value).err().map(|wrong| format!("malformed grpc-timeout: {wrong}"))
        }
        name if name.ends_with(binary::SUFFIX) => {
            binary::illegal_at(value.as_bytes()).map(|place| {
                let value = binary::quoted(value.as_bytes());
                format!(
                    "malformed binary metadata {value} in header {name:?}: illegal base64 data at \
                     input byte {place}"
                )
            })
        }
        _ => None,
    };
    headers.iter().filter_map(wrong).last()
}

/// An encoding that is named and empty is none; the gRPC library would not know it.
pub(super) fn forget_empty_encoding(headers: &mut HeaderMap) {
    if headers.get(ENCODING).is_some_and(HeaderValue::is_empty) {
        headers.remove(ENCODING);
    }
}

/// How the messages of an accepted request are compressed.
pub(super) fn compression(headers: &HeaderMap) -> Option<CompressionEncoding> {
    (encoding(headers) == b"gzip").then_some(CompressionEncoding::Gzip)
}

fn with_http_status(status: Status, http: StatusCode) -> Response<Body> {
    let mut response = status.into_http();
    *response.status_mut() = http;
    response
}

fn content_type(headers: &HeaderMap) -> &[u8] {
    headers.get(header::CONTENT_TYPE).map_or(b"", |value| value.as_bytes())
}

fn encoding(headers: &HeaderMap) -> &[u8] {
    headers.get(ENCODING).map_or(b"", |value| value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, encoding: Option<&'static str>) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = method;
        if let Some(encoding) = encoding {
            request.headers_mut().insert("grpc-encoding", encoding.parse().expect("a header"));
        }
        request
    }

    fn refused(request: &Request<()>) -> (u16, String) {
        let response = refusal(request).expect("it is refused");
        let status = Status::from_header_map(response.headers()).expect("a status");
        (response.status().as_u16(), status.message().to_owned())
    }

    #[test]
    fn only_post_is_a_call() {
        assert!(refusal(&request(Method::POST, None)).is_none());
        let (code, text) = refused(&request(Method::PUT, None));
        assert_eq!(code, 405);
        assert_eq!(text, "Received a HEADERS frame with :method \"PUT\" which should be POST");
    }

    #[test]
    fn a_timeout_that_makes_no_sense_and_one_that_is_over_are_refused() {
        for (timeout, expected) in [
            (
                "later",
                (
                    400,
                    "malformed grpc-timeout: transport: timeout unit is not recognized: \"later\"",
                ),
            ),
            ("0S", (200, "context deadline exceeded")),
        ] {
            let mut request = request(Method::POST, None);
            request.headers_mut().insert("grpc-timeout", timeout.parse().expect("a header"));
            let (code, text) = refused(&request);
            assert_eq!((code, text.as_str()), expected);
        }
    }

    #[test]
    fn of_several_malformed_headers_the_last_is_told_before_the_method() {
        let bytes = "malformed binary metadata \"!\" in header \"x-bin\": \
                     illegal base64 data at input byte 0";
        let time = "malformed grpc-timeout: transport: timeout unit is not recognized: \"later\"";
        for (names, expected) in
            [(["grpc-timeout", "x-bin"], bytes), (["x-bin", "grpc-timeout"], time)]
        {
            let mut request = request(Method::GET, None);
            for name in names {
                let value = if name == "x-bin" { "!" } else { "later" };
                request.headers_mut().insert(name, value.parse().expect("a header"));
            }
            assert_eq!(refused(&request), (400, expected.to_owned()));
        }
        let mut sound = request(Method::POST, None);
        sound.headers_mut().insert("x-bin", "AAE".parse().expect("a header"));
        assert!(refusal(&sound).is_none());
    }

    #[test]
    fn what_is_not_grpc_hears_so() {
        let mut headers = HeaderMap::new();
        assert!(!is_grpc(&headers));
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("text/plain", false),
        ] {
            headers.insert(header::CONTENT_TYPE, content_type.parse().expect("a header"));
            assert_eq!(is_grpc(&headers), expected, "{content_type}");
        }
        let response = not_grpc(&headers);
        assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let status = Status::from_header_map(response.headers()).expect("a status");
        assert_eq!(status.message(), "invalid gRPC request content-type \"text/plain\"");
    }

    #[test]
    fn messages_may_be_plain_or_gzip_and_nothing_else() {
        for encoding in ["identity", "gzip"] {
            let request = request(Method::POST, Some(encoding));
            assert!(refusal(&request).is_none(), "{encoding}");
            assert_eq!(compression(request.headers()).is_some(), encoding == "gzip");
        }
        let mut empty = request(Method::POST, Some(""));
        assert!(refusal(&empty).is_none());
        forget_empty_encoding(empty.headers_mut());
        assert!(!empty.headers().contains_key(ENCODING));
        let (code, text) = refused(&request(Method::POST, Some("brotli")));
        assert_eq!(code, 200);
        assert_eq!(text, "grpc: Decompressor is not installed for grpc-encoding \"brotli\"");
    }
}
