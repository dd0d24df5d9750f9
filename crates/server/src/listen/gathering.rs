//! A socket that gathers small writes until it is flushed.
//!
//! To a socket with vectored writes HTTP/2 hands every DATA frame of 256 bytes or more by itself,
//! flushed; to any other it hands them together up to 1,024. Small responses of many streams are cheaper
//! in one write: copying some hundred bytes costs less than a system call.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes up to which writes are copied together: well below what is worth a system call.
const GATHER_BYTES_MAX: usize = 4096;

/// See the module.
#[derive(Debug)]
pub(super) struct Gathering<S> {
    socket: S,
    /// Not written yet, from `written` on.
    pending: Vec<u8>,
    written: usize,
}

impl<S> Gathering<S> {
    pub(super) fn new(socket: S) -> Gathering<S> {
        Gathering { socket, pending: Vec::new(), written: 0 }
    }

    fn nothing_is_pending(&mut self) {
        self.pending.clear();
        self.written = 0;
    }
}

impl<S: AsyncWrite + Unpin> Gathering<S> {
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.pending.len() {
            let rest = &self.pending[self.written..];
            let written = ready!(Pin::new(&mut self.socket).poll_write(context, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        self.nothing_is_pending();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.pending.len() + buffer.len() <= GATHER_BYTES_MAX {
            this.pending.extend_from_slice(buffer);
            return Poll::Ready(Ok(buffer.len()));
        }
        while this.written < this.pending.len() {
            let rest = &this.pending[this.written..];
            let both = [IoSlice::new(rest), IoSlice::new(buffer)];
            let socket = Pin::new(&mut this.socket);
            let written = ready!(socket.poll_write_vectored(context, &both))?;
            if written == 0 {
                return Poll::Ready(Ok(0));
            }
            match written.checked_sub(rest.len()) {
                None | Some(0) => this.written += written,
                Some(of_buffer) => {
                    this.nothing_is_pending();
                    return Poll::Ready(Ok(of_buffer));
                }
            }
        }
        this.nothing_is_pending();
        Pin::new(&mut this.socket).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Everything that arrives on the other side of a socket that takes at most `room` bytes at once.
    async fn arriving(room: usize, writes: Vec<Vec<u8>>) -> Vec<u8> {
        let (near, mut far) = tokio::io::duplex(room);
        let writer = async move {
            let mut near = Gathering::new(near);
            for write in writes {
                near.write_all(&write).await.expect("the other side reads");
            }
            near.shutdown().await.expect("the other side reads");
        };
        let mut arrived = Vec::new();
        let (_, read) = tokio::join!(writer, far.read_to_end(&mut arrived));
        read.expect("the socket does not fail");
        arrived
    }

    #[tokio::test]
    async fn bytes_arrive_in_order_however_they_are_cut() {
        let lengths = [1, 3000, 2000, 4096, 0, 17, 4097, 100, 20_000, 5];
        let writes: Vec<Vec<u8>> =
            (0u8..).zip(lengths).map(|(byte, length)| vec![byte; length]).collect();
        for room in [1, 7, 1000, 4096, 4100, 100_000] {
            assert_eq!(arriving(room, writes.clone()).await, writes.concat(), "room {room}");
        }
    }

    #[tokio::test]
    async fn small_writes_wait_for_the_flush_and_leave_together() {
        let (near, mut far) = tokio::io::duplex(GATHER_BYTES_MAX);
        let mut near = Gathering::new(near);
        assert!(!near.is_write_vectored());
        near.write_all(b"one ").await.expect("gathered");
        near.write_all(b"two").await.expect("gathered");
        let mut buffer = [0; 16];
        let early = tokio::time::timeout(std::time::Duration::ZERO, far.read(&mut buffer)).await;
        early.expect_err("nothing has been flushed");
        near.flush().await.expect("there is room");
        assert_eq!(far.read(&mut buffer).await.expect("flushed"), 7);
        assert_eq!(&buffer[..7], b"one two");
    }
}
