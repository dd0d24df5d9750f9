//! A URL where HTTP/2 has `host:port`.
//!
//! Clients up to etcd 3.4 send the endpoint as `:authority` just as their user gave it when they ask one member
//! for its status. etcd takes it; the HTTP/2 library here, which reads every authority and offers no way
//! to keep it from that, refuses the request. Nobody here asks what the authority says. So on its way
//! from the socket it becomes one that can be read:
//!
//! ```text
//! http://10.0.0.1:2379  ─▶  httpB3310.0.0.1:2379
//! ```
//!
//! `:` becomes `B` and `/` becomes `3`: in the code for texts of headers ([`text`]) each has the number of
//! bits of the other and differs in the last of them. So no length changes, of no frame and of no table in
//! which both sides keep headers; nothing has to be held back, and nothing else has to be understood.
//!
//! The first request of a connection decides. If its authority is no URL, as those of all newer clients,
//! the bytes are looked at no more: it is the client's habit, or it is not.
//!
//! What it does not do: it finds no authority behind padding or a priority, in a second frame of one
//! request, or under a name that is spelt out. No client is known to send a URL in such a way; the library
//! refuses the request, which is what the standard asks.

mod block;
mod text;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use block::{Block, Progress};

/// How every connection of HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length, type, flags, stream.
const FRAME_HEAD_BYTES: usize = 9;
/// The type of the frame that begins a request.
const HEADERS: u8 = 1;
/// Flags of that frame: something comes before the headers.
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;

/// A socket whose requests have an authority that can be read.
#[derive(Debug)]
pub(super) struct ReadableAuthority<S> {
    socket: S,
    /// `None` once it is known that the client sends no URLs.
    frames: Option<Frames>,
}

impl<S> ReadableAuthority<S> {
    pub(super) fn new(socket: S) -> ReadableAuthority<S> {
        ReadableAuthority { socket, frames: Some(Frames::new()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadableAuthority<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        if let Some(frames) = &mut self.frames
            && !frames.pass(&mut buffer.filled_mut()[before..])
        {
            self.frames = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadableAuthority<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// Follows the frames of a client as far as it takes to find its authorities.
#[derive(Debug)]
struct Frames {
    place: Place,
    /// An authority of this client was a URL.
    sends_urls: bool,
}

#[derive(Debug)]
enum Place {
    /// So many bytes into the beginning of the connection.
    Preface(usize),
    /// So many bytes into the head of a frame.
    Head(usize, [u8; FRAME_HEAD_BYTES]),
    /// In a frame, or the rest of one, that holds no authority.
    Passing { left: u32 },
    /// In the headers of a request.
    Headers { left: u32, block: Block },
}

impl Frames {
    fn new() -> Frames {
        Frames { place: Place::Preface(0), sends_urls: false }
    }

    /// Lets these bytes pass, changed where they have to be; tells whether to look at more.
    fn pass(&mut self, mut bytes: &mut [u8]) -> bool {
        while let Some(byte) = bytes.first_mut() {
            let mut passed_count = 1;
            match &mut self.place {
                Place::Preface(seen) => {
                    if *byte != PREFACE[*seen] {
                        return false;
                    }
                    *seen += 1;
                    if *seen == PREFACE.len() {
                        self.place = Place::FRAME;
                    }
                }
                Place::Head(seen, head) => {
                    head[*seen] = *byte;
                    *seen += 1;
                    if *seen == FRAME_HEAD_BYTES {
                        self.place = Place::behind(*head);
                    }
                }
                Place::Passing { left } => {
                    let (more, here) = (*left, bytes.len());
                    passed_count = usize::try_from(more).map_or(here, |more| more.min(here));
                    *left -= u32::try_from(passed_count).expect("no more than are left");
                }
                Place::Headers { left, block } => {
                    *left -= 1;
                    let (left, progress) = (*left, block.pass(byte));
                    if progress != Progress::Under || left == 0 {
                        self.sends_urls |= progress == Progress::Authority { is_url: true };
                        if !self.sends_urls {
                            return false;
                        }
                        self.place = Place::Passing { left };
                    }
                }
            }
            if matches!(self.place, Place::Passing { left: 0 }) {
                self.place = Place::FRAME;
            }
            bytes = &mut bytes[passed_count..];
        }
        true
    }
}

impl Place {
    /// At the beginning of a frame.
    const FRAME: Place = Place::Head(0, [0; FRAME_HEAD_BYTES]);

    /// What follows this head of a frame.
    fn behind(head: [u8; FRAME_HEAD_BYTES]) -> Place {
        let [a, b, c, kind, flags, ..] = head;
        let left = u32::from_be_bytes([0, a, b, c]);
        if kind == HEADERS && flags & (PADDED | PRIORITY) == 0 && left > 0 {
            Place::Headers { left, block: Block::default() }
        } else {
            Place::Passing { left }
        }
    }
}

#[cfg(test)]
mod tests;
