//! A copy of the member's data as a stream, with its checksum at the end.
//!
//! ```text
//! checkpoint ─▶ thread ─▶ queue, bounded ─▶ messages of 32 KiB ─▶ SHA-256
//!                                           65536, 32768, 0        0          remaining_bytes
//! ```
//!
//! Tools append all blobs to a file and take it for whole if its size is a multiple of 512, which a
//! checkpoint's is, plus the 32 bytes of the checksum. The thread reads on only as the client takes
//! what has been read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use metastore_proto::etcdserverpb::SnapshotResponse;
use sha2::{Digest, Sha256};
use state::ClusterId;
use state::checkpoint::CheckpointWriter;
use state::engine::{EngineError, EngineView};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tonic::Status;

use super::STORAGE_VERSION;
use super::limits::{SNAPSHOT_BLOCK_BYTES, SNAPSHOT_CHUNKS_AHEAD, SNAPSHOT_MESSAGE_BYTES};
use super::permit::Permit;
use super::status::EtcdError;
use crate::background;

/// A copy of the data on its way out.
pub(crate) struct Checkpoint {
    /// Of all chunks together.
    total_bytes: u64,
    /// In order; ends early if the storage fails.
    chunks: mpsc::Receiver<Bytes>,
}

/// Begins to copy what `view` shows.
pub(crate) async fn begin(
    view: Arc<dyn EngineView>,
    cluster: ClusterId,
) -> Result<Checkpoint, EtcdError> {
    let (opened, total_bytes) = oneshot::channel();
    let (sender, chunks) = mpsc::channel(SNAPSHOT_CHUNKS_AHEAD);
    let copy = move || {
        if let Err(error) = copy(view, cluster, opened, &sender) {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "failed to read a snapshot for a client");
        }
    };
    if let Err(error) = background::spawn("snapshot-rpc", copy) {
        let error: &dyn std::error::Error = &error;
        tracing::error!(error, "failed to start a thread for a snapshot");
        return Err(EtcdError::SnapshotCut);
    }
    let total_bytes = total_bytes.await.map_err(|_| EtcdError::SnapshotCut)?;
    Ok(Checkpoint { total_bytes, chunks })
}

fn copy(
    view: Arc<dyn EngineView>,
    cluster: ClusterId,
    opened: oneshot::Sender<u64>,
    chunks: &mpsc::Sender<Bytes>,
) -> Result<(), EngineError> {
    let mut writer = CheckpointWriter::new(view, cluster)?;
    if opened.send(writer.total_bytes()).is_err() {
        return Ok(());
    }
    while let Some(chunk) = writer.next_chunk()? {
        // The client has gone away.
        if chunks.blocking_send(chunk).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The messages of one snapshot.
pub(crate) struct Snapshot {
    checkpoint: Checkpoint,
    /// Bytes that the checkpoint still owes.
    unread_bytes: u64,
    /// Read but not sent.
    buffer: BytesMut,
    /// `None` once it has been sent.
    digest: Option<Sha256>,
    _permit: Permit,
}

impl Snapshot {
    pub(crate) fn new(checkpoint: Checkpoint, permit: Permit) -> Snapshot {
        let total_bytes = checkpoint.total_bytes;
        assert!(
            total_bytes.is_multiple_of(SNAPSHOT_BLOCK_BYTES),
            "a checkpoint of {total_bytes} bytes hides the checksum behind it"
        );
        Snapshot {
            checkpoint,
            unread_bytes: total_bytes,
            buffer: BytesMut::new(),
            digest: Some(Sha256::new()),
            _permit: permit,
        }
    }

    /// Takes a chunk of the checkpoint.
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
        let remaining_bytes = self.unread_bytes + self.buffer.len() as u64;
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
        Poll::Ready(self.message().map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;
    use crate::grpc::drain::UntilDrained;
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

    #[tokio::test]
    async fn the_data_is_followed_by_its_checksum() {
        let data: Vec<Bytes> = [(1, 70_000), (2, 3), (3, 0), (4, 653)]
            .map(|(byte, len)| Bytes::from(vec![byte; len]))
            .to_vec();
        let whole = data.concat();
        let total_bytes = whole.len() as u64;
        let messages = messages(total_bytes, data).await;
        let messages: Vec<_> = messages.into_iter().map(|message| message.expect("sent")).collect();
        let (last, parts) = messages.split_last().expect("at least the checksum");

        let mut sent = Vec::new();
        for part in parts {
            sent.extend_from_slice(&part.blob);
            assert!(part.blob.len() <= 32_768, "a message of {} bytes", part.blob.len());
            assert_eq!(part.remaining_bytes, total_bytes - sent.len() as u64);
            assert_eq!((&part.version[..], &part.header), ("3.7.0", &None));
        }
        assert_eq!(sent.len() as u64, total_bytes);
        assert_eq!(sent, whole);
        assert_eq!(last.remaining_bytes, 0);
        assert_eq!(last.blob[..], Sha256::digest(&sent)[..]);
    }

    #[tokio::test]
    async fn a_copy_that_ends_early_never_looks_whole() {
        for (total_bytes, len) in [(1024, 1023), (1024, 1025)] {
            let messages = messages(total_bytes, vec![Bytes::from(vec![1; len])]).await;
            let last = messages.last().expect("an error").as_ref().expect_err("no checksum");
            assert_eq!(last.code(), tonic::Code::Unavailable);
        }
    }
}
