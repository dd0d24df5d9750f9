//! One way to the disk: writes a batch into its segment, syncs, and says so.
//!
//! Each lane opens the segment by itself. A file system reports an error of writing back once to
//! each *opening* of a file: if two lanes shared one, the first to sync would take the error and the
//! second would be told that its pages, lost by the same error, are safe.

use std::io;
use std::time::{Duration, Instant};

use node::messages::{LogWrite, SegmentId};

use super::LogError;
use super::segment_files::{SegmentFile, segment_name};
use super::shared::{Shared, Work};
use crate::files::FileError;

/// A lane and the segment it has open.
#[derive(Default)]
pub(crate) struct Lane {
    open: Option<(SegmentId, Box<dyn SegmentFile>)>,
}

/// The life of a lane's thread.
pub(crate) fn run(shared: &Shared) {
    let mut lane = Lane::default();
    while let Some(work) = shared.next_work() {
        match work {
            Work::Batch(writes) => {
                let done = lane.execute(shared, &writes);
                shared.finish(&writes, done);
            }
            Work::Companion(segment, number) => {
                // Nobody waits for it, but an error is an error: the disk has lost something.
                if let Err(error) = lane.accompany(shared, segment, number) {
                    shared.fail(error);
                }
            }
        }
    }
}

impl Lane {
    /// Writes the batch, which stays within one segment, and makes it durable. Gives the time of
    /// the sync; `None` if the disk is stopping and there is no segment to write to.
    pub(crate) fn execute(
        &mut self,
        shared: &Shared,
        batch: &[LogWrite],
    ) -> Result<Option<Duration>, LogError> {
        let first = batch.first().expect("a batch holds a write");
        let failed = |action, name: &str| {
            let error = FileError::new(action, &shared.path.join(name));
            let number = first.number;
            move |source| LogError::Write { number, source: error(source) }
        };
        let name = segment_name(first.segment);
        if shared.is_new(first.segment) {
            let ends = batch.iter().map(|w| w.offset.saturating_add(w.bytes.len() as u64));
            let bytes = ends.fold(shared.options.segment_bytes, u64::max);
            match shared.open_segment(first.segment, bytes) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(source) => return Err(LogError::Write { number: first.number, source }),
            }
        }
        let file = self.file(shared, first.segment, &name).map_err(failed("open", &name))?;
        for write in batch {
            write_all_at(file, &write.bytes, write.offset).map_err(failed("write", &name))?;
        }
        if !shared.options.durable {
            file.sync().map_err(failed("sync", &name))?;
            return Ok(Some(Duration::ZERO));
        }
        let lone = shared.begin_sync(first.segment, first.number);
        let begin = Instant::now();
        file.sync().map_err(failed("sync", &name))?;
        let time = begin.elapsed();
        if let Some(lone) = lone {
            shared.end_sync(lone, time);
        }
        Ok(Some(time))
    }

    /// Syncs beside another lane, which alone reports the write.
    fn accompany(
        &mut self,
        shared: &Shared,
        segment: SegmentId,
        number: u64,
    ) -> Result<(), LogError> {
        let name = segment_name(segment);
        // The other lane may be done and the segment released by now: nothing to sync is no loss.
        let Ok(file) = self.file(shared, segment, &name) else { return Ok(()) };
        file.sync().map_err(|source| {
            let source = FileError::new("sync", &shared.path.join(&name))(source);
            LogError::Write { number, source }
        })
    }

    fn file(
        &mut self,
        shared: &Shared,
        segment: SegmentId,
        name: &str,
    ) -> io::Result<&mut dyn SegmentFile> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != segment) {
            self.open = Some((segment, shared.files.open(name)?));
        }
        let (_, file) = self.open.as_mut().expect("it was opened above");
        Ok(file.as_mut())
    }
}

/// Writes until all is written. An interrupted or short write goes on; anything else is an error.
fn write_all_at(file: &mut dyn SegmentFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match file.write_at(&bytes[written..], offset + written as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
