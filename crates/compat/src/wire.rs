//! gRPC in its smallest form, right on HTTP/2, with nothing hidden: a test of answers has to see
//! all of an answer, and has to be able to say what no client library would.
//!
//! ```text
//! Call ─▶ HEADERS, DATA [0][length][message]… ─▶ server ─▶ HEADERS, DATA…, trailers ─▶ Reply
//! ```
//!
//! Answers may be compressed: whether they are is the server's choice. What it does not do: TLS,
//! deadlines, reconnecting.

use std::io::Read as _;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use flate2::read::GzDecoder;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use tokio::net::TcpStream;

/// What the server may send ahead: more than any answer of a test.
const WINDOW_BYTES: u32 = 64 << 20;
/// A compression flag and the length of the message.
const PREFIX_BYTES: usize = 5;

/// A call whose requests are all known at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// `/package.Service/Method`.
    pub path: String,
    /// The requests, encoded: one, but for streams.
    pub requests: Vec<Bytes>,
    /// Headers beside those that every call has, or in place of them; `:method` among them.
    pub headers: Vec<(String, Bytes)>,
    /// What is sent in place of the requests, for bodies that no client would send.
    pub body: Option<Bytes>,
    /// How many responses are waited for; 0 for all of them.
    pub responses_max: usize,
}

/// All that came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The status of HTTP.
    pub http: u16,
    /// The type of the body.
    pub content_type: String,
    /// The status of gRPC; `None` if there was none.
    pub code: Option<i32>,
    /// Its text.
    pub text: String,
    /// The responses, encoded.
    pub messages: Vec<Bytes>,
    /// How the stream or the connection broke, if it did.
    pub broken: Option<String>,
    /// The reason that the server gave for breaking this stream and not its connection.
    pub reset: Option<u32>,
}

impl Reply {
    /// The code that a client library tells its caller: what the server says, or else what gRPC has for
    /// streams that break.
    #[must_use]
    pub fn code_for_clients(&self) -> i32 {
        const REFUSED: u32 = 7;
        const CANCEL: u32 = 8;
        match (self.code, self.reset) {
            (Some(code), _) => code,
            // `Canceled`, `Unavailable`, `Internal`.
            (None, Some(CANCEL)) => 1,
            (None, Some(REFUSED) | None) => 14,
            (None, Some(_)) => 13,
        }
    }
}

/// One connection; clones share it.
#[derive(Clone, Debug)]
pub struct Connection {
    requests: SendRequest<Bytes>,
    address: SocketAddr,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    ///
    /// If nobody takes the connection.
    pub async fn open(address: SocketAddr) -> Result<Connection> {
        Connection::open_with_window(address, WINDOW_BYTES).await
    }

    /// Connects, and lets the server send no more than this ahead on each stream.
    ///
    /// # Errors
    ///
    /// If nobody takes the connection.
    pub async fn open_with_window(address: SocketAddr, stream_bytes: u32) -> Result<Connection> {
        let socket =
            TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        socket.set_nodelay(true)?;
        let (requests, driver) = h2::client::Builder::new()
            .initial_window_size(stream_bytes)
            .initial_connection_window_size(WINDOW_BYTES)
            .enable_push(false)
            .handshake(socket)
            .await?;
        tokio::spawn(driver);
        Ok(Connection { requests, address })
    }

    /// Where it leads.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes the call and waits for its end.
    pub async fn call(&self, call: &Call) -> Reply {
        let mut stream = match self.begin(&call.path, &call.headers).await {
            Ok(stream) => stream,
            Err(error) => return Reply { broken: Some(error.to_string()), ..Reply::default() },
        };
        match &call.body {
            Some(body) => stream.send_raw(body.clone()),
            None => call.requests.iter().for_each(|request| stream.send(request)),
        }
        stream.close();
        while stream.next().await.is_some() {
            if stream.reply.messages.len() == call.responses_max {
                break;
            }
        }
        stream.reply
    }

    /// Begins a call whose requests come one by one.
    ///
    /// # Errors
    ///
    /// If the connection is gone.
    pub async fn begin(&self, path: &str, headers: &[(String, Bytes)]) -> Result<Stream> {
        let uri: Uri = format!("http://{}{path}", self.address).parse()?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let map = request.headers_mut();
        map.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        map.insert(header::TE, HeaderValue::from_static("trailers"));
        for (name, value) in headers {
            if name == ":method" {
                continue;
            }
            map.insert(HeaderName::try_from(name)?, HeaderValue::from_bytes(value)?);
        }
        if let Some((_, method)) = headers.iter().find(|(name, _)| name == ":method") {
            *request.method_mut() = Method::from_bytes(method)?;
        }
        let mut ready = self.requests.clone().ready().await?;
        let (head, requests) = ready.send_request(request, false)?;
        let reply = Reply::default();
        Ok(Stream { requests, state: State::Head(head), buffer: BytesMut::new(), reply })
    }
}

/// A call under way.
#[derive(Debug)]
pub struct Stream {
    requests: SendStream<Bytes>,
    state: State,
    buffer: BytesMut,
    /// What has come so far, all of it once [`Stream::next`] has answered `None`.
    pub reply: Reply,
}

#[derive(Debug)]
enum State {
    Head(h2::client::ResponseFuture),
    Body(RecvStream),
    Ended,
}

impl Stream {
    /// Sends one more request. One that cannot be sent is noticed by the answer that never comes.
    pub fn send(&mut self, message: &Bytes) {
        let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len()).expect("a request is smaller than 4 GiB"));
        frame.extend_from_slice(message);
        let _ = self.requests.send_data(frame.freeze(), false);
    }

    /// Sends bytes as they are.
    fn send_raw(&mut self, bytes: Bytes) {
        let _ = self.requests.send_data(bytes, false);
    }

    /// Says that no request follows.
    pub fn close(&mut self) {
        let _ = self.requests.send_data(Bytes::new(), true);
    }

    /// Waits until the answer has begun, or never will.
    pub async fn answered(&mut self) {
        if matches!(self.state, State::Head(_))
            && let Err(error) = self.advance().await
        {
            self.broke(&error);
        }
    }

    fn broke(&mut self, error: &h2::Error) {
        self.reply.broken = Some(error.to_string());
        self.reply.reset = error.reason().filter(|_| error.is_reset()).map(u32::from);
        self.state = State::Ended;
    }

    /// The next response, or `None` at the end. Cancel safe: what has come is kept.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(message) = self.buffered() {
                self.reply.messages.push(message.clone());
                return Some(message);
            }
            match self.advance().await {
                Ok(true) => {}
                Ok(false) => {
                    self.state = State::Ended;
                    return None;
                }
                Err(error) => {
                    self.broke(&error);
                    return None;
                }
            }
        }
    }

    /// Reads one piece; tells whether there may be more.
    async fn advance(&mut self) -> Result<bool, h2::Error> {
        match &mut self.state {
            State::Head(head) => {
                let (head, body) = head.await?.into_parts();
                self.reply.http = head.status.as_u16();
                self.reply.content_type = header_text(&head.headers, "content-type");
                self.take_status(&head.headers);
                self.state = State::Body(body);
                Ok(true)
            }
            State::Body(body) => {
                if let Some(chunk) = body.data().await {
                    let chunk = chunk?;
                    body.flow_control().release_capacity(chunk.len())?;
                    self.buffer.extend_from_slice(&chunk);
                    return Ok(true);
                }
                if let Some(trailers) = body.trailers().await? {
                    self.take_status(&trailers);
                }
                Ok(false)
            }
            State::Ended => Ok(false),
        }
    }

    fn take_status(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status") {
            self.reply.code = code.to_str().ok().and_then(|code| code.parse().ok());
            self.reply.text = unescaped(&header_text(headers, "grpc-message"));
        }
    }

    fn buffered(&mut self) -> Option<Bytes> {
        let (&[compressed, a, b, c, d], rest) = self.buffer.split_first_chunk::<PREFIX_BYTES>()?;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
        if rest.len() < length {
            return None;
        }
        self.buffer.advance(PREFIX_BYTES);
        let message = self.buffer.split_to(length).freeze();
        Some(if compressed == 0 { message } else { unpacked(&message) })
    }
}

/// A message that came compressed. One that cannot be unpacked is left as it is, and is no message.
fn unpacked(message: &Bytes) -> Bytes {
    let mut bytes = Vec::new();
    match GzDecoder::new(&message[..]).read_to_end(&mut bytes) {
        Ok(_) => bytes.into(),
        Err(_) => message.clone(),
    }
}

fn header_text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
    String::from_utf8_lossy(value).into_owned()
}

/// The text of a status: `%` and two digits stand for a byte that no header may hold.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        let digits = others.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &others[2..];
            }
            _ => {
                bytes.push(first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_status_is_read_as_it_was_meant() {
    assert_eq!(
        unescaped("malformed method name: \"/a%20b\" 100%"),
        "malformed method name: \"/a b\" 100%"
    );
}
