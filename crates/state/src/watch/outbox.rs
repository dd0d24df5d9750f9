//! Where a stream leaves its responses until the transport takes them.
//!
//! Each response lies there as gRPC sends it: one zero byte (not compressed), the length as four
//! bytes big-endian, the message. A stream with a thousand watchers of one key so leaves as one
//! run of bytes, not as a thousand little buffers.
//!
//! ```text
//! | 0 len | WatchResponse | 0 len | WatchResponse | …
//! ```
//!
//! The outbox is bounded: [`Outbox::is_full`] stops every loop that fills it. It may pass its bound
//! by one response, because a response must carry all events of a revision, however large.

use bytes::Bytes;

/// Bytes in front of each message: gRPC's compression flag and length.
/// Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.
pub const MESSAGE_PREFIX_BYTES: usize = 5;

/// A bounded run of responses.
#[derive(Debug)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// Where each response ends, in `bytes`.
    ends: Vec<usize>,
    bytes_max: usize,
    responses_max: usize,
}

impl Outbox {
    /// An empty outbox that is full at `bytes_max` bytes or `responses_max` responses.
    #[must_use]
    pub fn new(bytes_max: usize, responses_max: usize) -> Outbox {
        assert!(bytes_max > 0 && responses_max > 0, "an outbox must be able to hold something");
        Outbox { bytes: Vec::new(), ends: Vec::new(), bytes_max, responses_max }
    }

    /// Whether the transport has to take something before more is produced.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= self.bytes_max || self.ends.len() >= self.responses_max
    }

    /// Whether there is nothing to take.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes held, prefixes included.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.bytes.len()
    }

    /// Takes everything.
    #[must_use]
    pub fn take(&mut self) -> Responses {
        Responses {
            framed: Bytes::from(std::mem::take(&mut self.bytes)),
            ends: std::mem::take(&mut self.ends),
        }
    }

    /// Appends one response; `write` adds its bytes and nothing else.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; MESSAGE_PREFIX_BYTES]);
        write(&mut self.bytes);
        let message = self.bytes.len() - start - MESSAGE_PREFIX_BYTES;
        // gRPC cannot frame more than 4 GiB, and no transaction comes near.
        let len = u32::try_from(message).expect("a response is below 4 GiB");
        self.bytes[start + 1..start + MESSAGE_PREFIX_BYTES].copy_from_slice(&len.to_be_bytes());
        self.ends.push(self.bytes.len());
    }
}

/// Responses on their way out.
#[derive(Clone, Debug)]
pub struct Responses {
    framed: Bytes,
    ends: Vec<usize>,
}

impl Responses {
    /// All of them, each with its gRPC prefix: the body of an HTTP response goes on with this.
    #[must_use]
    pub fn framed(&self) -> &Bytes {
        &self.framed
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Each `WatchResponse` alone, without its prefix. Shares memory, copies nothing.
    pub fn messages(&self) -> impl Iterator<Item = Bytes> + '_ {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let message = self.framed.slice(start + MESSAGE_PREFIX_BYTES..end);
            start = end;
            message
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_framed_and_alone() {
        let mut outbox = Outbox::new(1000, 3);
        outbox.push(|out| out.extend_from_slice(b"abc"));
        outbox.push(|_| ());
        assert!(!outbox.is_full());
        outbox.push(|out| out.push(7));
        assert!(outbox.is_full());
        let responses = outbox.take();
        assert!(outbox.is_empty() && !outbox.is_full());
        assert_eq!(&responses.framed()[..13], b"\0\0\0\0\x03abc\0\0\0\0\0");
        let messages: Vec<Bytes> = responses.messages().collect();
        assert_eq!(messages, [&b"abc"[..], &b""[..], &b"\x07"[..]]);
    }
}
