//! The few file operations that durability rests on, each in one place.
//!
//! A file appears under its name whole or not at all:
//!
//! ```text
//!   write name.tmp ── sync it ── rename to name ── sync the folder
//! ```
//!
//! Without the first sync a crash may leave an empty file under the final name; without the last it
//! may leave the old name, although the caller was told that the new one is there.
//!
//! ```no_run
//! # use std::path::Path;
//! storage::files::write_atomically(Path::new("data/MANIFEST"), b"{}")?;
//! # Ok::<(), storage::files::FileError>(())
//! ```
//!
//! What it does not do: retry. A failed sync may have dropped the very pages it was asked to save,
//! and the next one would answer "fine".

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// An operation on a file or a folder failed.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}", path.display())]
pub struct FileError {
    /// What we were doing, as a verb: "sync", "create folder".
    pub action: &'static str,
    /// To what.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`: names the operation and the path.
    pub(crate) fn new(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> FileError + use<> {
        let path = path.to_path_buf();
        move |source| FileError { action, path, source }
    }
}

/// Whether the disk, or this user's share of it, has no room left.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Writes a whole file so that a crash leaves the old one or the new one, never a mixture.
///
/// # Errors
/// If any step fails; the file of that name is then the old one.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = temporary_name(path);
    let mut file = create_truncated(&temporary)?;
    file.write_all(bytes).map_err(FileError::new("write", &temporary))?;
    file.sync_all().map_err(FileError::new("sync", &temporary))?;
    drop(file);
    rename_durably(&temporary, path)
}

/// The name under which a file is written before it is whole.
pub(crate) fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// Opens for writing, empty, readable by this user alone.
pub(crate) fn create_truncated(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(FileError::new("create", path))
}

/// Renames inside one folder and makes that survive a crash.
///
/// # Errors
/// If the rename or the sync of the folder fails.
pub fn rename_durably(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(FileError::new("rename to", to))?;
    sync_dir(folder_of(to))
}

/// Makes the names in a folder durable: creations, renames and removals.
///
/// # Errors
/// If the folder cannot be opened or synced.
pub fn sync_dir(path: &Path) -> Result<(), FileError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(FileError::new("sync folder", path))
}

/// Creates a folder and those above it that are missing, for this user alone, durably.
///
/// A folder that exists may be the work of a process that was killed before it could sync what is
/// above: one that is built upon is made durable, too.
///
/// # Errors
/// If one cannot be created or its parent cannot be synced.
pub fn create_dir(path: &Path) -> Result<(), FileError> {
    let mut missing = Vec::new();
    for folder in path.ancestors().take_while(|folder| !folder.as_os_str().is_empty()) {
        if folder.exists() {
            sync_found(folder)?;
            break;
        }
        missing.push(folder);
    }
    for folder in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(folder) {
            Ok(()) => sync_dir(folder_of(folder))?,
            // Another process was faster: what follows decides whether the two can share it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(FileError::new("create folder", folder)(error)),
        }
    }
    Ok(())
}

/// Makes the name of a folder durable that was there already.
fn sync_found(folder: &Path) -> Result<(), FileError> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem};
    match sync_dir(folder_of(folder)) {
        // Whoever may not look into it has not made anything there, and nobody where nothing can be
        // made: file systems of images know no sync.
        Err(error)
            if matches!(
                error.source.kind(),
                PermissionDenied | ReadOnlyFilesystem | InvalidInput
            ) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

/// The folder that a name stands in; `.` for a bare name.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Reserves the blocks of a file, so that writing it later cannot meet a full disk. Says whether it
/// did: not every file system can, and then only filling the file reserves.
///
/// # Errors
/// If there is no room.
pub fn preallocate(file: &File, bytes: u64) -> io::Result<bool> {
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP) => return Ok(false),
            result => return Ok(result.map(|()| true)?),
        }
    }
}

/// A file that is written front to back.
pub(crate) trait DurableFile: Write {
    /// Makes the bytes written so far durable.
    fn sync_data(&mut self) -> io::Result<()>;
    /// The size as well.
    fn sync_all(&mut self) -> io::Result<()>;
}

impl DurableFile for File {
    fn sync_data(&mut self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn sync_all(&mut self) -> io::Result<()> {
        File::sync_all(self)
    }
}

impl DurableFile for Box<dyn DurableFile> {
    fn sync_data(&mut self) -> io::Result<()> {
        (**self).sync_data()
    }

    fn sync_all(&mut self) -> io::Result<()> {
        (**self).sync_all()
    }
}

/// Writes a large file front to back, syncing as it goes.
///
/// All of it in one sync at the end would make every sync of the log wait behind hundreds of
/// megabytes; small bites keep that wait short.
pub(crate) struct PacedWriter<F: DurableFile> {
    file: F,
    sync_bytes: u64,
    dirty_bytes: u64,
    written_bytes: u64,
}

impl<F: DurableFile> PacedWriter<F> {
    /// Syncs whenever `sync_bytes` have been written.
    pub(crate) fn new(file: F, sync_bytes: u64) -> PacedWriter<F> {
        PacedWriter { file, sync_bytes, dirty_bytes: 0, written_bytes: 0 }
    }

    /// The size of the file so far.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Makes everything durable, including the size.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl<F: DurableFile> Write for PacedWriter<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = usize::try_from(self.sync_bytes - self.dirty_bytes).unwrap_or(usize::MAX);
        let written = self.file.write(&bytes[..bytes.len().min(room)])?;
        self.dirty_bytes += written as u64;
        self.written_bytes += written as u64;
        if self.dirty_bytes >= self.sync_bytes {
            self.file.sync_data()?;
            self.dirty_bytes = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("MANIFEST");
        write_atomically(&path, b"first, which is longer").expect("write");
        write_atomically(&path, b"second").expect("write again");
        assert_eq!(fs::read(&path).expect("read"), b"second");
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1);
    }

    #[test]
    fn errors_say_what_was_done_to_which_path_and_keep_the_cause() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("absent").join("file");
        let error = write_atomically(&path, b"").expect_err("the folder is absent");
        assert_eq!(error.to_string(), format!("create {}.tmp", path.display()));
        assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn folders_are_created_for_their_owner_alone() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a/b/c");
        create_dir(&path).expect("create");
        create_dir(&path).expect("create again");
        for made in [path.as_path(), folder.path().join("a").as_path()] {
            let mode = fs::metadata(made).expect("metadata").permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", made.display());
        }
    }

    #[test]
    fn a_paced_file_holds_every_byte_whatever_the_pace() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let bytes: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
        for sync_bytes in [1_u64, 999, 4096, u64::MAX] {
            let path = folder.path().join("paced");
            let mut writer = PacedWriter::new(create_truncated(&path).expect("create"), sync_bytes);
            let part = if sync_bytes == 1 { &bytes[..100] } else { &bytes[..] };
            for chunk in part.chunks(777) {
                writer.write_all(chunk).expect("write");
            }
            writer.finish().expect("finish");
            assert_eq!(fs::read(&path).expect("read"), part);
        }
    }

    #[test]
    fn a_full_disk_is_told_from_other_errors() {
        assert!(is_full(&io::Error::from(Errno::NOSPC)));
        assert!(is_full(&io::Error::from(Errno::DQUOT)));
        assert!(!is_full(&io::Error::from(Errno::IO)));
    }
}
