//! Opening the folder of the engine: whose it is, whether it is whole, how far it has come.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use rocksdb::{Cache, DB, ErrorKind, IteratorMode, WriteBatch, WriteOptions};
use state::engine::{ContentSize, SectionSize};
use state::schema::{Table, meta};
use state::{ClusterId, LogIndex, MemberId, Version};

use super::layout::{self, CHANGES, COUNTS, FORMAT, OWNER, TABLES, row_key};
use super::options::RocksOptions;
use crate::files::{FileError, create_dir};

/// The format that this version writes, and the newest that it understands.
const FORMAT_VERSION: u32 = 1;

/// Whose data the engine holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cluster.
    pub cluster: ClusterId,
    /// The member.
    pub member: MemberId,
}

/// Why the engine cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file operation of ours failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// RocksDB cannot open it, or what it reads there is damaged; it names the file.
    #[error("open the storage engine in {}", path.display())]
    Rocks {
        /// The folder.
        path: PathBuf,
        /// What RocksDB says.
        source: rocksdb::Error,
    },
    /// Files of an engine without the one that says which belong to it.
    #[error(
        "{} holds {entry} but no CURRENT: the storage engine is incomplete; \
         restore the whole folder, or the member from a snapshot",
        path.display()
    )]
    Incomplete {
        /// The folder.
        path: PathBuf,
        /// One of the files.
        entry: String,
    },
    /// It is RocksDB's, but not ours.
    #[error("{} holds a RocksDB database of another program: {what}", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// How it differs.
        what: &'static str,
    },
    /// A newer version wrote it.
    #[error(
        "{} has format {found}, and this version knows formats up to {FORMAT_VERSION}: \
         start it with the version that wrote it or a newer one",
        path.display()
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It is another member's.
    #[error(
        "{} belongs to {} of {}, not to {} of {}",
        path.display(), found.member, found.cluster, wanted.member, wanted.cluster
    )]
    OtherOwner {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        found: Owner,
        /// Whose it should be.
        wanted: Owner,
    },
    /// One of our own notes is not what we write.
    #[error("{} holds a damaged note: {what}", path.display())]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// Which.
        what: &'static str,
    },
}

/// Bytes of key and value of each row, by the key under which RocksDB has it.
pub(super) type RowSizes = HashMap<Vec<u8>, u64>;

/// An open database and what the engine must know of it.
pub(super) struct Opened {
    pub(super) db: DB,
    pub(super) applied: LogIndex,
    pub(super) content: ContentSize,
    pub(super) rows: RowSizes,
    pub(super) newest: Version,
}

pub(super) fn open(path: &Path, options: &RocksOptions, owner: Owner) -> Result<Opened, OpenError> {
    create_dir(path)?;
    refuse_incomplete(path)?;
    let rocks = |source| OpenError::Rocks { path: path.to_path_buf(), source };
    let cache = usize::try_from(options.block_cache_bytes()).unwrap_or(usize::MAX);
    let cache = Cache::new_lru_cache(cache);
    let database = options.database(&cache).map_err(rocks)?;
    let families = options.families(&database, &cache);
    let db = DB::open_cf_descriptors(&database, path, families).map_err(|error| {
        match error.kind() {
            // What it says of families that it finds and we do not name.
            ErrorKind::InvalidArgument if error.as_ref().contains("olumn famil") => {
                foreign(path, "it has other column families")
            }
            _ => rocks(error),
        }
    })?;
    let notes = Notes { path, db: &db };
    notes.check_or_write(owner)?;
    let applied = notes.applied()?;
    let (rows, tables) = notes.rows()?;
    let content = ContentSize { history: notes.counts()?, tables };
    let newest = notes.newest()?;
    Ok(Opened { applied, content, rows, newest, db })
}

/// RocksDB would begin a new database beside the files of an old one.
fn refuse_incomplete(path: &Path) -> Result<(), OpenError> {
    if path.join("CURRENT").exists() {
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(FileError::new("list", path))? {
        let entry = entry.map_err(FileError::new("list", path))?.file_name();
        let entry = entry.to_string_lossy().into_owned();
        // The files that hold data; what an interrupted creation leaves may stay.
        if entry.ends_with(".sst") || entry.ends_with(".blob") {
            return Err(OpenError::Incomplete { path: path.to_path_buf(), entry });
        }
    }
    Ok(())
}

fn foreign(path: &Path, what: &'static str) -> OpenError {
    OpenError::Foreign { path: path.to_path_buf(), what }
}

/// Reads what an open database says of itself.
struct Notes<'a> {
    path: &'a Path,
    db: &'a DB,
}

impl Notes<'_> {
    /// Checks that the database is ours; a new one becomes ours.
    fn check_or_write(&self, owner: Owner) -> Result<(), OpenError> {
        let Some(format) = self.db.get(FORMAT).map_err(|error| self.rocks(error))? else {
            return self.begin(owner);
        };
        let format = format[..].try_into().map_err(|_| foreign(self.path, "format"))?;
        match u32::from_be_bytes(format) {
            FORMAT_VERSION => {}
            found => return Err(OpenError::Newer { path: self.path.to_path_buf(), found }),
        }
        let row = self.db.get(OWNER).map_err(|error| self.rocks(error))?;
        let found = row.as_deref().and_then(decode_owner).ok_or(self.damaged("owner"))?;
        if found != owner {
            let path = self.path.to_path_buf();
            return Err(OpenError::OtherOwner { path, found, wanted: owner });
        }
        Ok(())
    }

    /// Notes whose it is. A crash before the first flush loses that with everything else.
    fn begin(&self, owner: Owner) -> Result<(), OpenError> {
        for name in layout::FAMILIES {
            let family = self.family(name);
            if self.db.iterator_cf(family, IteratorMode::Start).next().is_some() {
                return Err(foreign(self.path, "it holds data without a format"));
            }
        }
        let mut batch = WriteBatch::default();
        batch.put(FORMAT, FORMAT_VERSION.to_be_bytes());
        batch.put(OWNER, encode_owner(owner));
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(batch, &options).map_err(|error| self.rocks(error))
    }

    fn applied(&self) -> Result<LogIndex, OpenError> {
        let key = row_key(Table::Meta, meta::APPLIED);
        let row = self.db.get_cf(self.family(TABLES), key).map_err(|error| self.rocks(error))?;
        let Some(row) = row else { return Ok(LogIndex(0)) };
        let (index, _term) = meta::decode_applied(&row).ok_or(self.damaged("applied"))?;
        Ok(index)
    }

    fn rows(&self) -> Result<(RowSizes, [SectionSize; Table::ALL.len()]), OpenError> {
        let (mut rows, mut sizes) = (RowSizes::new(), ContentSize::default().tables);
        for row in self.db.iterator_cf(self.family(TABLES), IteratorMode::Start) {
            let (row, value) = row.map_err(|error| self.rocks(error))?;
            let (table, key) = layout::parse_row_key(&row).ok_or(self.damaged("key of a row"))?;
            let bytes = (key.len() + value.len()) as u64;
            sizes[table.position()].add(bytes);
            rows.insert(row.into_vec(), bytes);
        }
        Ok((rows, sizes))
    }

    fn counts(&self) -> Result<SectionSize, OpenError> {
        match self.db.get(COUNTS).map_err(|error| self.rocks(error))? {
            None => Ok(SectionSize::default()),
            Some(row) => layout::decode_counts(&row).ok_or(self.damaged("counts")),
        }
    }

    fn newest(&self) -> Result<Version, OpenError> {
        let last = self.db.iterator_cf(self.family(CHANGES), IteratorMode::End).next();
        let Some(last) = last else { return Ok(Version::default()) };
        let (key, _) = last.map_err(|error| self.rocks(error))?;
        let (version, _) =
            layout::parse_history_key(&key).ok_or(self.damaged("key of the history"))?;
        Ok(version)
    }

    fn family(&self, name: &str) -> &rocksdb::ColumnFamily {
        self.db.cf_handle(name).expect("every family has just been opened")
    }

    fn rocks(&self, source: rocksdb::Error) -> OpenError {
        OpenError::Rocks { path: self.path.to_path_buf(), source }
    }

    fn damaged(&self, what: &'static str) -> OpenError {
        OpenError::Damaged { path: self.path.to_path_buf(), what }
    }
}

fn encode_owner(owner: Owner) -> [u8; 16] {
    (u128::from(owner.cluster.0) << 64 | u128::from(owner.member.0)).to_be_bytes()
}

fn decode_owner(row: &[u8]) -> Option<Owner> {
    let (cluster, member) = row.split_first_chunk::<8>()?;
    Some(Owner {
        cluster: ClusterId(u64::from_be_bytes(*cluster)),
        member: MemberId(u64::from_be_bytes(member.try_into().ok()?)),
    })
}
