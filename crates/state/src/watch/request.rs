//! What a client asks of its stream, and the texts of what it may be told instead.
//!
//! A refused watcher never ends the stream: the answer is one response with `created`, `canceled`,
//! watch id −1 and a reason. The texts are etcd's, which clients compare.

use bytes::Bytes;

use crate::types::KeyRange;

/// The start revision is negative.
pub const REASON_COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
/// The range can hold no key.
pub const REASON_EMPTY_RANGE: &str = "mvcc: watcher range is empty";
/// The client chose an id that the stream uses already.
pub const REASON_DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";

/// The id in responses that belong to no watcher.
pub const NO_WATCH_ID: i64 = -1;

/// A request on a watch stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchRequest {
    /// Begin a watcher.
    Create(WatchCreate),
    /// End a watcher.
    Cancel {
        /// Which.
        watch_id: i64,
    },
    /// Tell how far the whole stream is.
    Progress,
}

/// A watcher to be, field by field as the client sent it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchCreate {
    /// First key; empty means from the very first.
    pub key: Bytes,
    /// See [`KeyRange::from_request`].
    pub range_end: Bytes,
    /// First revision of interest; 0: from now on.
    pub start_revision: i64,
    /// Wants a sign of life when nothing happens.
    pub progress_notify: bool,
    /// Wants no puts.
    pub no_put: bool,
    /// Wants no deletions.
    pub no_delete: bool,
    /// Wants the value before each change.
    pub prev_kv: bool,
    /// The id it wants; 0: the stream's choice.
    pub watch_id: i64,
    /// Can put together responses that come in pieces.
    pub fragment: bool,
}

impl WatchCreate {
    /// Sets the filters by etcd's numbers: 0 no puts, 1 no deletions; others mean nothing.
    #[must_use]
    pub fn filtered(mut self, filters: &[i32]) -> WatchCreate {
        self.no_put |= filters.contains(&0);
        self.no_delete |= filters.contains(&1);
        self
    }

    /// The keys it names.
    #[must_use]
    pub fn range(&self) -> KeyRange {
        KeyRange::from_request(self.first_key(), self.range_end.clone())
    }

    /// The key, with "empty" read as the lowest key there is.
    #[must_use]
    pub fn first_key(&self) -> Bytes {
        if self.key.is_empty() { Bytes::from_static(b"\0") } else { self.key.clone() }
    }
}

/// Says whether the client may read what it wants to watch.
///
/// Asked once per watcher, when it is created, with the range end as the client sent it: deciding
/// on a normalized one once let clients watch more than they could read. `Err` is the reason that
/// the client is shown, for example `rpc error: code = PermissionDenied desc = etcdserver:
/// permission denied`.
pub trait ReadPermission {
    /// Decides on `[first_key, range_end)`.
    ///
    /// # Errors
    /// The reason for refusing.
    fn check(&self, first_key: &[u8], range_end: &[u8]) -> Result<(), String>;
}

/// Everybody may read everything: a store without authentication.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadEverything;

impl ReadPermission for ReadEverything {
    fn check(&self, _first_key: &[u8], _range_end: &[u8]) -> Result<(), String> {
        Ok(())
    }
}
