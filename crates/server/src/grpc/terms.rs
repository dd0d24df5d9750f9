//! On what terms a client is answered, beside the answer itself: until when, and under which name.
//!
//! | header of the request | what becomes of it |
//! |---|---|
//! | `grpc-timeout: 5S` | a call that is not over by then ends with `DeadlineExceeded` |
//! | `content-type: application/grpc+proto` | the answer's content type has the same subtype |
//!
//! A write that was handed over goes on without its client, which does not learn what became of it;
//! so it is with every time limit.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;

/// Digits and a unit: as much as gRPC allows.
const TIMEOUT_CHARS_MAX: usize = 9;
/// More than any server runs; what a timer can hold is less than what a client can write.
const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The terms of one call. Most have none, and then it costs nothing.
#[derive(Default)]
pub struct Terms {
    until: Option<Pin<Box<Sleep>>>,
    content_type: Option<HeaderValue>,
}

impl Terms {
    /// The terms that these headers ask for; they are known to be well formed.
    pub(crate) fn of(headers: &HeaderMap) -> Terms {
        let timeout = timeout(headers).ok().flatten();
        Terms {
            until: timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout))),
            content_type: content_type(headers),
        }
    }

    /// Whether the time is over; if not, the task is woken when it is.
    pub(super) fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.until.as_mut().is_some_and(|until| until.as_mut().poll(context).is_ready())
    }

    /// The response on these terms. What it streams ends when the time is over.
    pub(super) fn apply(&mut self, mut response: Response<Body>) -> Response<Body> {
        if let Some(content_type) = self.content_type.take() {
            response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        }
        match self.until.take() {
            // One whose status is told already has nothing to stream.
            Some(until) if !response.headers().contains_key("grpc-status") => {
                response.map(|body| Body::new(Until { body: Some(body), until }))
            }
            _ => response,
        }
    }
}

/// How a call ends whose time is over.
pub(super) fn over() -> Status {
    Status::deadline_exceeded("context deadline exceeded")
}

/// How long the client waits; the error is what is wrong with the header.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, String> {
    headers.get("grpc-timeout").map(timeout_of).transpose()
}

/// The same, of the header's value.
pub(super) fn timeout_of(value: &HeaderValue) -> Result<Duration, String> {
    let text = String::from_utf8_lossy(value.as_bytes());
    let wrong = |what: &str| Err(format!("transport: timeout {what}: {text:?}"));
    let digits_count = match text.len() {
        0 | 1 => return wrong("string is too short"),
        length if length > TIMEOUT_CHARS_MAX => return wrong("string is too long"),
        length => length - 1,
    };
    let unit = match text.as_bytes()[digits_count] {
        b'H' => Duration::from_secs(3600),
        b'M' => Duration::from_secs(60),
        b'S' => Duration::from_secs(1),
        b'm' => Duration::from_millis(1),
        b'u' => Duration::from_micros(1),
        b'n' => Duration::from_nanos(1),
        _ => return wrong("unit is not recognized"),
    };
    let digits = &text[..digits_count];
    match digits.parse::<u32>() {
        Ok(count) if !digits.starts_with('+') => Ok(unit.saturating_mul(count).min(TIMEOUT_MAX)),
        _ => Err(format!("strconv.ParseUint: parsing {digits:?}: invalid syntax")),
    }
}

/// The content type of the answer, if it is not the usual one.
fn content_type(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers.get(header::CONTENT_TYPE)?.as_bytes();
    let subtype = asked.strip_prefix(b"application/grpc")?.get(1..)?;
    if subtype.is_empty() {
        return None;
    }
    let answered = [b"application/grpc+", &subtype.to_ascii_lowercase()[..]].concat();
    HeaderValue::from_bytes(&answered).ok()
}

/// A body that ends when the time is over.
struct Until {
    /// `None` once the time was over.
    body: Option<Body>,
    until: Pin<Box<Sleep>>,
}

impl http_body::Body for Until {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        ready!(self.until.as_mut().poll(context));
        self.body = None;
        let mut trailers = HeaderMap::new();
        over().add_header(&mut trailers).expect("a text that a header can hold");
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.as_ref().map_or_else(http_body::SizeHint::default, http_body::Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).expect("a header"));
        headers
    }

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        for (text, expected) in [
            ("5S", Ok(Duration::from_secs(5))),
            ("0n", Ok(Duration::ZERO)),
            ("12345678u", Ok(Duration::from_micros(12_345_678))),
            ("99999999H", Ok(TIMEOUT_MAX)),
            ("5", Err("transport: timeout string is too short: \"5\"")),
            ("", Err("transport: timeout string is too short: \"\"")),
            ("123456789S", Err("transport: timeout string is too long: \"123456789S\"")),
            ("5x", Err("transport: timeout unit is not recognized: \"5x\"")),
            ("-1S", Err("strconv.ParseUint: parsing \"-1\": invalid syntax")),
            ("+1S", Err("strconv.ParseUint: parsing \"+1\": invalid syntax")),
        ] {
            let found = timeout(&headers("grpc-timeout", text));
            assert_eq!(found, expected.map(Some).map_err(str::to_owned), "{text}");
        }
        assert_eq!(timeout(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn the_subtype_is_the_clients() {
        for (asked, answered) in [
            ("application/grpc", None),
            ("application/grpc+proto", Some("application/grpc+proto")),
            ("application/grpc;Charset=utf-8", Some("application/grpc+charset=utf-8")),
        ] {
            let found = content_type(&headers("content-type", asked));
            assert_eq!(found.as_ref().map(|found| found.to_str().expect("text")), answered);
        }
    }

    #[test]
    fn a_stream_without_end_ends_when_the_time_is_over() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime");
        let status = runtime.block_on(async {
            let mut terms = Terms::of(&headers("grpc-timeout", "1m"));
            let endless = Body::new(http_body_util::StreamBody::new(tokio_stream::pending::<
                Result<Frame<Bytes>, Status>,
            >()));
            let response = terms.apply(Response::new(endless));
            let body = response.into_body().collect().await.expect("it ends well");
            Status::from_header_map(body.trailers().expect("trailers")).expect("a status")
        });
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
        assert_eq!(status.message(), "context deadline exceeded");
    }
}
