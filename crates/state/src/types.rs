//! The numbers of the domain, each with a type of its own so that they never mix.
//!
//! `Revision` counts changes of the key space, `LogIndex` counts entries of the raft log, `Term`
//! counts leaders, `LeaseId` and `MemberId` name things. None of them prints bare in a log line.

use std::fmt;

use bytes::Bytes;

/// The main revision of the store: 1 when fresh, plus one for each operation that changed a key.
///
/// Kept signed because that is its wire type; a valid revision is never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl Revision {
    /// The revision of a store that has never been written.
    pub const FIRST: Revision = Revision(1);
    /// Above every revision that can exist.
    pub const MAX: Revision = Revision(i64::MAX);

    /// The revision after this one.
    ///
    /// # Panics
    /// After 2^63 changes: the counter is 64 bits wide so that this is a broken invariant.
    #[must_use]
    pub fn next(self) -> Revision {
        Revision(self.0.checked_add(1).expect("fewer than 2^63 revisions"))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revision {}", self.0)
    }
}

/// Names one change: the main revision it shares with its transaction and its place in it.
///
/// This is the key of the history table. Changes are ordered by `(main, sub)`, which is also the
/// order of watch events and of hashing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The revision that the whole transaction shares.
    pub main: Revision,
    /// Counts the changes of one transaction from 0, in execution order, without gaps.
    pub sub: u32,
}

impl Version {
    /// The first change of `main`.
    #[must_use]
    pub fn first_of(main: Revision) -> Version {
        Version { main, sub: 0 }
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $format:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    };
}

number!(
    /// A position in the raft log, from 1; 0 is "before the first entry".
    LogIndex(u64), "log index {}"
);
number!(
    /// A leader's reign, from 1; 0 is "no term seen".
    Term(u64), "term {}"
);
number!(
    /// A lease. 0 is "no lease"; negative ones are legal.
    LeaseId(i64), "lease {:016x}"
);
number!(
    /// A member of the cluster; 0 is never a member.
    MemberId(u64), "member {:x}"
);
number!(
    /// A cluster; fixed when it is born.
    ClusterId(u64), "cluster {:x}"
);
number!(
    /// One client request on its way through the log, unique among the members of a cluster.
    RequestId(u64), "request {:x}"
);
number!(
    /// Cluster time in milliseconds: starts at 0 with the cluster, never runs backwards, stands
    /// still while no member runs. It has nothing to do with any wall clock.
    ClusterTime(u64), "cluster time {} ms"
);

impl LeaseId {
    /// "This key is not attached to a lease."
    pub const NONE: LeaseId = LeaseId(0);
}

/// A set of keys as etcd's requests name it: one key, an interval, or everything from a key on.
///
/// ```
/// use state::KeyRange;
/// let all = KeyRange::from_request(&b"\0"[..], &b"\0"[..]);
/// assert!(all.contains(b"any key"));
/// let one = KeyRange::from_request(&b"a"[..], &b""[..]);
/// assert!(one.contains(b"a") && !one.contains(b"ab"));
/// let backwards = KeyRange::from_request(&b"b"[..], &b"a"[..]);
/// assert!(backwards.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRange {
    /// The first key that may be in the range.
    pub start: Bytes,
    /// Where it ends.
    pub end: RangeEnd,
}

/// The upper bound of a [`KeyRange`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RangeEnd {
    /// Only the start key itself.
    Single,
    /// Every key below this one.
    Before(Bytes),
    /// No upper bound.
    Unbounded,
}

impl KeyRange {
    /// Reads `key` and `range_end` the way every etcd request means them: an empty end is the
    /// single key, the one zero byte is "no end", anything else is an exclusive bound.
    #[must_use]
    pub fn from_request(key: impl Into<Bytes>, range_end: impl Into<Bytes>) -> KeyRange {
        let (start, end) = (key.into(), range_end.into());
        let end = match &end[..] {
            [] => RangeEnd::Single,
            [0] => RangeEnd::Unbounded,
            _ => RangeEnd::Before(end),
        };
        KeyRange { start, end }
    }

    /// The range of one key.
    #[must_use]
    pub fn single(key: impl Into<Bytes>) -> KeyRange {
        KeyRange { start: key.into(), end: RangeEnd::Single }
    }

    /// Every key there can be.
    #[must_use]
    pub fn all() -> KeyRange {
        KeyRange { start: Bytes::new(), end: RangeEnd::Unbounded }
    }

    /// The key, if the range can only ever name one.
    #[must_use]
    pub fn as_single(&self) -> Option<&Bytes> {
        matches!(self.end, RangeEnd::Single).then_some(&self.start)
    }

    /// Whether `key` belongs to the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            RangeEnd::Single => key == self.start,
            RangeEnd::Before(end) => key >= &self.start[..] && key < &end[..],
            RangeEnd::Unbounded => key >= &self.start[..],
        }
    }

    /// Whether no key can belong to the range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.end, RangeEnd::Before(end) if end <= &self.start)
    }
}
