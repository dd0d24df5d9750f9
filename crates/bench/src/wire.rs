//! gRPC in its smallest form, right on HTTP/2.
//!
//! ```text
//! message ─▶ [0][length: 4 bytes][protobuf] ─▶ DATA frames ─▶ ... ─▶ trailers: grpc-status
//! ```
//!
//! The client shares the machine with the server, so what it costs itself hides what the server
//! costs: a full client stack takes as long for a put as the server does.
//!
//! ```text
//! let connection = Connection::open("127.0.0.1:2379".parse()?, WINDOW_BYTES).await?;
//! let request = PutRequest { key: "a".into(), value: "1".into(), ..Default::default() };
//! let response: PutResponse = connection.call(method::PUT, &request).await?;
//! ```
//!
//! What it does not do: TLS, compression, deadlines, reconnecting.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use prost::Message;
use tokio::net::TcpStream;

/// What the server may send ahead on one call, unless a benchmark asks for less.
pub(crate) const WINDOW_BYTES: u32 = 1 << 20;

/// A compression flag and the length of the message.
const PREFIX_BYTES: usize = 5;

/// One connection; clones share it.
#[derive(Clone)]
pub(crate) struct Connection {
    requests: SendRequest<Bytes>,
    authority: Authority,
}

impl Connection {
    /// Connects. The server may send `window_bytes` ahead on one call, and as much on all together.
    pub(crate) async fn open(address: SocketAddr, window_bytes: u32) -> Result<Connection> {
        let socket =
            TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        socket.set_nodelay(true)?;
        let (requests, driver) = h2::client::Builder::new()
            .initial_window_size(window_bytes)
            .initial_connection_window_size(window_bytes)
            .enable_push(false)
            .handshake(socket)
            .await?;
        tokio::spawn(driver);
        Ok(Connection { requests, authority: Authority::try_from(address.to_string())? })
    }

    /// A call with one request and one response.
    pub(crate) async fn call<R: Message + Default>(
        &self,
        method: &'static str,
        request: &impl Message,
    ) -> Result<R> {
        let mut responses = self.begin(method, request, true).await?;
        let response = responses.message().await?.context("the call ended without a response")?;
        ensure!(responses.message::<R>().await?.is_none(), "more than one response");
        Ok(response)
    }

    /// A call whose responses are read one by one. `last` says that no request follows the first;
    /// otherwise the way there stays open as long as the responses are kept.
    pub(crate) async fn begin(
        &self,
        method: &'static str,
        first: &impl Message,
        last: bool,
    ) -> Result<Responses> {
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(PathAndQuery::from_static(method))
            .build()?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));

        let mut ready = self.requests.clone().ready().await?;
        let (head, mut stream) = ready.send_request(request, false)?;
        stream.send_data(framed(first), last)?;
        let (head, body) = head.await?.into_parts();
        // A call that fails at once has its status in the headers.
        check_status(&head.headers)?;
        Ok(Responses { body, buffer: BytesMut::new(), requests: stream })
    }
}

/// The way back. What is not asked for stays with the server, but for the window.
pub(crate) struct Responses {
    body: RecvStream,
    buffer: BytesMut,
    /// The way there: a watch ends when it is closed.
    requests: SendStream<Bytes>,
}

impl Responses {
    /// Sends one more request of a call that was begun with more to come. Nothing holds it back: who
    /// sends many without reading responses has them all in memory.
    pub(crate) fn send(&mut self, request: &impl Message) -> Result<()> {
        Ok(self.requests.send_data(framed(request), false)?)
    }

    /// The next message, or `None` at a good end. Cancel safe.
    pub(crate) async fn message<R: Message + Default>(&mut self) -> Result<Option<R>> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(Some(R::decode(message)?));
            }
            match self.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }

    /// Reads to the end without looking at the messages, and counts the bytes as they come: a
    /// reader that costs next to nothing.
    pub(crate) async fn drain(mut self, bytes: &mut u64) -> Result<()> {
        while let Some(chunk) = self.chunk().await? {
            *bytes += chunk.len() as u64;
        }
        Ok(())
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        if let Some(chunk) = self.body.data().await {
            let chunk = chunk?;
            self.body.flow_control().release_capacity(chunk.len())?;
            return Ok(Some(chunk));
        }
        if let Some(trailers) = self.body.trailers().await? {
            check_status(&trailers)?;
        }
        Ok(None)
    }

    fn buffered(&mut self) -> Result<Option<Bytes>> {
        let Some((&[compressed, a, b, c, d], rest)) =
            self.buffer.split_first_chunk::<PREFIX_BYTES>()
        else {
            return Ok(None);
        };
        ensure!(compressed == 0, "a compressed response, which nobody has asked for");
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d]))?;
        if rest.len() < length {
            self.buffer.reserve(PREFIX_BYTES + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(PREFIX_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("a request is smaller than 4 GiB"));
    message.encode(&mut frame).expect("the buffer has the message's size");
    frame.freeze()
}

fn check_status(headers: &HeaderMap) -> Result<()> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match text("grpc-status") {
        None | Some("0") => Ok(()),
        Some(code) => {
            bail!("the server answered {code}: {}", text("grpc-message").unwrap_or_default())
        }
    }
}

/// The calls that benchmarks make.
pub(crate) mod method {
    pub(crate) const PUT: &str = "/etcdserverpb.KV/Put";
    pub(crate) const RANGE: &str = "/etcdserverpb.KV/Range";
    pub(crate) const RANGE_STREAM: &str = "/etcdserverpb.KV/RangeStream";
    pub(crate) const COMPACT: &str = "/etcdserverpb.KV/Compact";
    pub(crate) const WATCH: &str = "/etcdserverpb.Watch/Watch";
    pub(crate) const LEASE_GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
    pub(crate) const LEASE_KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
    pub(crate) const SNAPSHOT: &str = "/etcdserverpb.Maintenance/Snapshot";
    pub(crate) const HASH_KV: &str = "/etcdserverpb.Maintenance/HashKV";
}

#[cfg(test)]
mod tests;
