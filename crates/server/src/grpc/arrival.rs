//! What gRPC itself asks of a request, before anybody looks at what it says.
//!
//! | header | must be | else |
//! |---|---|---|
//! | `:method` | `POST` | HTTP 405 |
//! | `grpc-encoding` | `gzip`, `identity` or absent | `Unimplemented` |
//!
//! Answers are never compressed: a client that can read gzip can read plain messages too, and the
//! network beside a store is faster than a compressor.

use http::{HeaderMap, Method, Request, Response, StatusCode};
use tonic::Status;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;

/// The answer to a request that goes no further.
pub(super) fn refusal<B>(request: &Request<B>) -> Option<Response<Body>> {
    let method = request.method().as_str();
    if request.method() != Method::POST {
        let text = format!("Received a HEADERS frame with :method {method:?} which should be POST");
        let mut response = Status::internal(text).into_http();
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return Some(response);
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

/// How the messages of an accepted request are compressed.
pub(super) fn compression(headers: &HeaderMap) -> Option<CompressionEncoding> {
    (encoding(headers) == b"gzip").then_some(CompressionEncoding::Gzip)
}

fn encoding(headers: &HeaderMap) -> &[u8] {
    headers.get("grpc-encoding").map_or(b"", |value| value.as_bytes())
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
    fn messages_may_be_plain_or_gzip_and_nothing_else() {
        for encoding in ["identity", "gzip"] {
            let request = request(Method::POST, Some(encoding));
            assert!(refusal(&request).is_none(), "{encoding}");
            assert_eq!(compression(request.headers()).is_some(), encoding == "gzip");
        }
        let (code, text) = refused(&request(Method::POST, Some("brotli")));
        assert_eq!(code, 200);
        assert_eq!(text, "grpc: Decompressor is not installed for grpc-encoding \"brotli\"");
    }
}
