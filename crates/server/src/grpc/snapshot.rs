//! A copy of the member's data as a stream, with its checksum at the end.
//!
//! ```text
//! checkpoint chunks ─▶ messages of 32 KiB ─▶ zeros up to a multiple of 512 ─▶ SHA-256
//! remaining_bytes      ... 65536, 32768                                 0      0
//! ```
//!
//! Tools append all blobs to a file and take it for whole if its size is a multiple of 512 plus the
//! 32 bytes of the checksum; hence the zeros, which a reader of the data skips. A chunk is asked for
//! only when the client has taken the one before it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use metastore_proto::etcdserverpb::SnapshotResponse;
use sha2::{Digest, Sha256};
use tokio_stream::Stream;
use tonic::Status;

use super::STORAGE_VERSION;
use super::limits::{SNAPSHOT_BLOCK_BYTES, SNAPSHOT_MESSAGE_BYTES};
use super::permit::Permit;
use super::status::EtcdError;
use crate::handle::Checkpoint;

/// The messages of one snapshot.
pub(crate) struct Snapshot {
    checkpoint: Checkpoint,
    /// Bytes that the checkpoint still owes.
    unread_bytes: u64,
    /// Zeros that follow the checkpoint.
    padding_bytes: u64,
    /// Read but not sent.
    buffer: BytesMut,
    /// `None` once it has been sent.
    digest: Option<Sha256>,
    _permit: Permit,
}

impl Snapshot {
    pub(crate) fn new(checkpoint: Checkpoint, permit: Permit) -> Snapshot {
        let total_bytes = checkpoint.total_bytes;
        let padding_bytes = total_bytes.next_multiple_of(SNAPSHOT_BLOCK_BYTES) - total_bytes;
        Snapshot {
            checkpoint,
            unread_bytes: total_bytes,
            padding_bytes,
            buffer: BytesMut::new(),
            digest: Some(Sha256::new()),
            _permit: permit,
        }
    }

    /// Takes a chunk of the checkpoint, or the zeros behind it.
    fn fill(&mut self, chunk: Option<Bytes>) -> Result<(), EtcdError> {
        let chunk = chunk.ok_or(EtcdError::SnapshotCut)?;
        let len = chunk.len() as u64;
        // More than announced is no better than less.
        self.unread_bytes = self.unread_bytes.checked_sub(len).ok_or(EtcdError::SnapshotCut)?;
        self.buffer.extend_from_slice(&chunk);
        Ok(())
    }

    fn message(&mut self) -> Option<SnapshotResponse> {
        let digest = self.digest.as_mut()?;
        let blob = if self.buffer.is_empty() {
            let digest = self.digest.take()?.finalize();
            Bytes::copy_from_slice(&digest)
        } else {
            let len = self.buffer.len().min(SNAPSHOT_MESSAGE_BYTES);
            let blob = self.buffer.split_to(len).freeze();
            digest.update(&blob);
            blob
        };
        let remaining_bytes = self.unread_bytes + self.padding_bytes + self.buffer.len() as u64;
        let version = STORAGE_VERSION.to_owned();
        Some(SnapshotResponse { header: None, remaining_bytes, blob, version })
    }
}

impl Stream for Snapshot {
    type Item = Result<SnapshotResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while self.buffer.len() < SNAPSHOT_MESSAGE_BYTES && self.unread_bytes > 0 {
            let chunk = ready!(self.checkpoint.chunks.poll_recv(context));
            if let Err(error) = self.fill(chunk) {
                return Poll::Ready(Some(Err(error.into())));
            }
        }
        if self.unread_bytes == 0 && self.padding_bytes > 0 {
            let padding = usize::try_from(self.padding_bytes).expect("less than a block");
            let len = self.buffer.len() + padding;
            self.buffer.resize(len, 0);
            self.padding_bytes = 0;
        }
        Poll::Ready(self.message().map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio_stream::StreamExt;

    use super::*;
    use crate::grpc::permit::Permits;

    async fn messages(total_bytes: u64, data: Vec<Bytes>) -> Vec<Result<SnapshotResponse, Status>> {
        let (sender, chunks) = mpsc::channel(1);
        let send = async move {
            for chunk in data {
                if sender.send(chunk).await.is_err() {
                    return;
                }
            }
        };
        let permit = Permits::default().take(0).expect("room");
        let snapshot = Snapshot::new(Checkpoint { total_bytes, chunks }, permit);
        let receive = UntilDrained::new(snapshot, &Default::default()).collect();
        tokio::join!(send, receive).1
    }

    use crate::grpc::drain::UntilDrained;

    #[tokio::test]
    async fn the_data_is_followed_by_its_checksum() {
        let data: Vec<Bytes> =
            [70_000, 3, 0, 500].map(|len| Bytes::from(vec![len as u8; len])).to_vec();
        let whole = data.concat();
        let total_bytes = whole.len() as u64;
        let padded_bytes = total_bytes.next_multiple_of(512);
        let messages = messages(total_bytes, data).await;
        let messages: Vec<_> = messages.into_iter().map(|message| message.expect("sent")).collect();
        let (last, parts) = messages.split_last().expect("at least the checksum");

        let mut sent = Vec::new();
        for part in parts {
            sent.extend_from_slice(&part.blob);
            assert!(part.blob.len() <= 32_768, "a message of {} bytes", part.blob.len());
            assert_eq!(part.remaining_bytes, padded_bytes - sent.len() as u64);
            assert_eq!((&part.version[..], &part.header), ("3.7.0", &None));
        }
        assert_eq!(sent.len() as u64, padded_bytes);
        assert_eq!(&sent[..whole.len()], whole);
        assert!(sent[whole.len()..].iter().all(|byte| *byte == 0));
        assert_eq!(last.remaining_bytes, 0);
        assert_eq!(last.blob[..], Sha256::digest(&sent)[..]);
    }

    #[tokio::test]
    async fn a_copy_that_ends_early_never_looks_whole() {
        for (total_bytes, len) in [(1000, 999), (1000, 1001)] {
            let messages = messages(total_bytes, vec![Bytes::from(vec![1; len])]).await;
            let last = messages.last().expect("an error").as_ref().expect_err("no checksum");
            assert_eq!(last.code(), tonic::Code::Unavailable);
        }
    }
}
