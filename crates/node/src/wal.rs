//! The log on disk: what its bytes are, what survives a crash, and how damage is told from a crash.
//!
//! The log is a row of *segments*; a segment is a header and then *records*. One record is what one
//! [`LogWrite`](crate::messages::LogWrite) carries: a batch of entries, a hard state, or both.
//!
//! ```text
//! segment 7                                                  segment 8
//! ┌────────┬────────┬────────┬─────┬────────┬ ─ ─ ─ ─ ─ ┐    ┌────────┬────────┬ ─ ─
//! │ header │ rec 41 │ rec 42 │  …  │ rec 97 │ 0s or old │    │ header │ rec 98 │ …
//! └────────┴────────┴────────┴─────┴────────┴ ─ ─ ─ ─ ─ ┘    └────────┴────────┴ ─ ─
//!
//! record   0    4    8              16    18    19   20
//!          │len │crc │ number        │ lag │flags│ 0  │ payload: len - 20 bytes …
//! ```
//!
//! * `len` counts the whole record; a zero ends the segment.
//! * `crc` is CRC-32C over everything but itself, **seeded by the segment** ([`segment::Segment`]).
//! * `number` counts records from 1, over all segments and restarts, without gaps.
//! * `number - lag` is `synced_through`: the last record known durable when this one was written.
//! * `flags` and `payload` are explained in [`record`].
//!
//! # Torn or rotten
//!
//! After a power cut the last writes may be there whole, in part or not at all, in any combination:
//! two are in flight at once. That is a *torn tail* and nobody was promised anything about it.
//! A record that was durable and can no longer be read is *rot*: starting without it would forget
//! acknowledged writes. They look the same; what tells them apart is what later records say:
//!
//! ```text
//!  … 95 ok │ 96 bad │ 97 ok, synced_through 95 │      96 was in flight with 97: a tail, cut at 96
//!  … 95 ok │ 96 bad │ 97 ok │ 98 ok, through 96 │     96 was durable: rot, refuse to start
//! ```
//!
//! So [`replay`](replay::replay) takes the highest `synced_through` of *any* valid record, wherever it
//! stands, as the *covered* number: everything up to it must be there, everything after it is kept
//! as far as it is whole. The last record before a crash is covered by nobody, so going idle and
//! stopping write an empty record behind it.
//!
//! # Going on after a crash
//!
//! Four things could go wrong when a log goes on behind a cut; one rule answers the first three: **opening
//! never writes behind old records. It begins a new segment, whose first record has the number
//! `covered + 1` and says again everything that was recovered beyond `covered`; nothing leaves the
//! member before that record is durable.**
//!
//! 1. *Stale bytes pass as new ones.* A whole record 97 behind the torn 96 would fit again once a
//!    new 96 is written before it. But the new 96 is in a new segment, and the header of that
//!    segment says it begins at 96: records with this number or a higher one in older segments are
//!    void. Inside a segment nothing is written twice, and bytes of a file that was another
//!    segment before have another seed: the checksum of the same bytes under different seeds
//!    always differs, because CRC is linear and its state update a bijection. Seeds differ since
//!    segment ids are never used twice: two ids below 2^32 differ in a burst of at most 32 bits,
//!    which CRC-32 always tells apart.
//! 2. *Recovered bytes were never durable.* After `kill -9` the tail is read from the page cache; a
//!    power cut later may take it. It does not matter any more, because it was written again.
//!    This also holds when the kernel reported a failed sync once and has since forgotten it.
//! 3. *The new segment itself is torn.* Then it holds no whole record, voids nothing, and the next
//!    start finds what this one found. If its first record was durable, later ones in it cover it.
//! 4. *A segment rots as a whole, and an older one still holds void records with its numbers.* Every
//!    segment names the one it continues; a link that leads elsewhere is damage.
//!
//! # What is asked of the disk
//!
//! `Persisted` is reported for a write only when its bytes, all bytes of earlier writes and the
//! directory entries of their segments are durable. A failed write or sync is never tried again.
//! Old segments are removed from the oldest on; which ones, the log itself says first (`oldest`
//! in a record), so that files that reappear after a crash are not mistaken for a gap.
//!
//! What this does *not* do: it opens no files (`storage` does), and it knows nothing of raft: an
//! entry is an index, a term and bytes.

pub mod record;
pub mod replay;
pub mod segment;
pub mod writer;

pub use record::{Batch, Entry, EntryKind, HardState, SnapshotMark};
pub use replay::{Recovered, ReplayError, SegmentSource, replay};
pub use segment::Segment;
pub use writer::Writer;
