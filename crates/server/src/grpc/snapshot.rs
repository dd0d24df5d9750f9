//! A copy of the member's data as a stream, with its checksum at the end.
//!
//! ```text
//! thread:  checkpoint ─▶ messages of 32 KiB ─▶ SHA-256 ─▶ queue, bounded ─▶ connection
//!                        65536, 32768, 0        0          remaining_bytes
//! ```
//!
//! Tools append all blobs to a file and take it for whole if its size is a multiple of 512, which a
//! checkpoint's is, plus the 32 bytes of the checksum. The thread reads on only as the client takes
//! what has been read; what costs time is done there, and not on the thread that serves connections.

use std::collections::VecDeque;
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

/// Some messages of a snapshot.
struct Part {
    messages: Vec<SnapshotResponse>,
    /// The checksum is among them.
    is_last: bool,
}

/// Begins to copy what `view` shows.
pub(crate) async fn begin(
    view: Arc<dyn EngineView>,
    cluster: ClusterId,
    permit: Permit,
) -> Result<Snapshot, EtcdError> {
    let (opened, is_open) = oneshot::channel();
    let (sender, parts) = mpsc::channel(SNAPSHOT_CHUNKS_AHEAD);
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
    is_open.await.map_err(|_| EtcdError::SnapshotCut)?;
    Ok(Snapshot::new(parts, permit))
}

fn copy(
    view: Arc<dyn EngineView>,
    cluster: ClusterId,
    opened: oneshot::Sender<()>,
    parts: &mpsc::Sender<Part>,
) -> Result<(), EngineError> {
    let mut writer = CheckpointWriter::new(view, cluster)?;
    if opened.send(()).is_err() {
        return Ok(());
    }
    let mut cutter = Cutter::new(writer.total_bytes());
    while let Some(chunk) = writer.next_chunk()? {
        // The client has gone away.
        if parts.blocking_send(cutter.cut(&chunk)).is_err() {
            return Ok(());
        }
    }
    if let Some(last) = cutter.finish() {
        // Gone away at the last moment.
        let _ = parts.blocking_send(last);
    }
    Ok(())
}

/// Makes messages of chunks.
struct Cutter {
    /// Bytes that the checkpoint still owes.
    unread_bytes: u64,
    /// Read and in no message yet.
    buffer: BytesMut,
    digest: Sha256,
}

impl Cutter {
    fn new(total_bytes: u64) -> Cutter {
        assert!(
            total_bytes.is_multiple_of(SNAPSHOT_BLOCK_BYTES),
            "a checkpoint of {total_bytes} bytes hides the checksum behind it"
        );
        Cutter { unread_bytes: total_bytes, buffer: BytesMut::new(), digest: Sha256::new() }
    }

    /// The messages that a chunk completes.
    fn cut(&mut self, chunk: &[u8]) -> Part {
        let len = chunk.len() as u64;
        let unread_bytes = self.unread_bytes.checked_sub(len);
        self.unread_bytes = unread_bytes.expect("a checkpoint knows how long it is");
        self.digest.update(chunk);
        self.buffer.extend_from_slice(chunk);
        let mut messages = Vec::with_capacity(self.buffer.len() / SNAPSHOT_MESSAGE_BYTES);
        while self.buffer.len() >= SNAPSHOT_MESSAGE_BYTES {
            let blob = self.buffer.split_to(SNAPSHOT_MESSAGE_BYTES).freeze();
            messages.push(self.message(blob));
        }
        Part { messages, is_last: false }
    }

    /// What is left, and the checksum; nothing if the checkpoint is shorter than it said.
    fn finish(mut self) -> Option<Part> {
        if self.unread_bytes > 0 {
            return None;
        }
        let mut messages = Vec::with_capacity(2);
        if !self.buffer.is_empty() {
            let blob = self.buffer.split().freeze();
            messages.push(self.message(blob));
        }
        let checksum = Bytes::copy_from_slice(&self.digest.clone().finalize());
        messages.push(self.message(checksum));
        Some(Part { messages, is_last: true })
    }

    fn message(&self, blob: Bytes) -> SnapshotResponse {
        let remaining_bytes = self.unread_bytes + self.buffer.len() as u64;
        SnapshotResponse {
            header: None,
            remaining_bytes,
            blob,
            version: STORAGE_VERSION.to_owned(),
        }
    }
}

/// A copy of the data on its way out.
pub(crate) struct Snapshot {
    /// In order; ends early if the storage fails.
    parts: mpsc::Receiver<Part>,
    ready: VecDeque<SnapshotResponse>,
    is_whole: bool,
    _permit: Permit,
}

impl Snapshot {
    fn new(parts: mpsc::Receiver<Part>, permit: Permit) -> Snapshot {
        Snapshot { parts, ready: VecDeque::new(), is_whole: false, _permit: permit }
    }
}

impl Stream for Snapshot {
    type Item = Result<SnapshotResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(message)));
            }
            if self.is_whole {
                return Poll::Ready(None);
            }
            let Some(part) = ready!(self.parts.poll_recv(context)) else {
                self.is_whole = true;
                return Poll::Ready(Some(Err(EtcdError::SnapshotCut.into())));
            };
            self.ready.extend(part.messages);
            self.is_whole = part.is_last;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;
    use crate::grpc::drain::UntilDrained;
    use crate::grpc::permit::Permits;

    async fn messages(total_bytes: u64, data: &[Vec<u8>]) -> Vec<Result<SnapshotResponse, Status>> {
        let (sender, parts) = mpsc::channel(1);
        let send = async move {
            let mut cutter = Cutter::new(total_bytes);
            for chunk in data {
                if sender.send(cutter.cut(chunk)).await.is_err() {
                    return;
                }
            }
            if let Some(last) = cutter.finish() {
                assert!(sender.send(last).await.is_ok(), "the receiver waits for it");
            }
        };
        let permit = Permits::default().take(0).expect("room");
        let snapshot = Snapshot::new(parts, permit);
        let receive = UntilDrained::new(snapshot, &Default::default()).collect();
        tokio::join!(send, receive).1
    }

    #[tokio::test]
    async fn the_data_is_followed_by_its_checksum() {
        let data = [(1, 70_000), (2, 3), (3, 0), (4, 653)].map(|(byte, len)| vec![byte; len]);
        let whole = data.concat();
        let total_bytes = whole.len() as u64;
        let messages = messages(total_bytes, &data).await;
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
        let messages = messages(70_144, &[vec![1; 70_000], vec![1; 143]]).await;
        let last = messages.last().expect("an error").as_ref().expect_err("no checksum");
        assert_eq!(last.code(), tonic::Code::Unavailable);
    }

    #[test]
    #[should_panic(expected = "a checkpoint knows how long it is")]
    fn more_than_announced_is_a_fault_of_ours() {
        Cutter::new(1024).cut(&[1; 1025]);
    }
}
