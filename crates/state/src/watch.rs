//! Who hears of which change.
//!
//! ```text
//!  apply thread                │ queue, bounded │  one task per gRPC stream
//!  turn's events ─▶ WatchHub ──┼─▶ Arc<batch> ──┼─▶ WatchStream ─▶ Outbox ─▶ transport
//!                     ▲        │                │     │    ▲
//!                     └────────┼── HubInput ◀───┼─────┘    └ History, when deliveries were lost
//! ```
//!
//! The apply thread pays one message per interested *stream*: it finds the streams by key and range
//! and gives each the same [`EventBatch`]. Everything else happens in the task of the stream:
//! matching watchers, filtering, and putting together responses from event bytes that are encoded
//! once for all. A stream that cannot keep up loses its deliveries and nothing else: its watchers
//! turn into cursors over history and come back when they have caught up.
//!
//! # Example
//!
//! ```
//! use state::Revision;
//! use state::watch::{HubInput, StreamId, StreamInput, Token, WatchHub};
//!
//! let mut hub = WatchHub::new(Revision(1));
//! let (stream, token) = (StreamId(7), Token(1));
//! let range = state::KeyRange::single("a");
//! let answer = hub.handle(HubInput::Watch { stream, range, token });
//! // From here on the stream gets what happens to "a" after revision 1.
//! let Some((to, StreamInput::Reached { revision, .. })) = answer else { panic!() };
//! assert_eq!((to, revision), (stream, Revision(1)));
//! ```
//!
//! # What is promised to each watcher
//!
//! Every change of its range from its start on, once, in order; all changes of one revision in one
//! response (or its fragments); nothing after its cancellation; a sign of progress at R only when
//! everything up to R has been sent. The only way to lose a change is that it was compacted before
//! it could be sent, and then the watcher is told and ended.
//!
//! # What it does not do
//!
//! Nothing here is replicated or durable: clients create their watchers anew after a reconnect. It
//! knows no channels and no tasks; the server owns the queues, and [`stream`] says how to drive a
//! stream.

mod batch;
mod catch_up;
mod encode;
mod history;
mod hub;
mod interest;
mod job;
mod outbox;
mod progress;
mod range_tree;
mod request;
mod send;
pub mod stream;
mod watchers;

pub use batch::EventBatch;
pub use encode::Sender;
pub use history::History;
pub use hub::{Deliveries, HubInput, StreamId, StreamInput, Token, WatchHub};
pub use outbox::{MESSAGE_PREFIX_BYTES, Outbox, Responses};
pub use request::{
    NO_WATCH_ID, REASON_COMPACTED, REASON_DUPLICATE_ID, REASON_EMPTY_RANGE, ReadEverything,
    ReadPermission, WatchCreate, WatchRequest,
};
pub use stream::{StreamConfig, WatchStream};

/// Most revisions in one catch-up response: etcd's bound, which clients have seen.
pub const CATCH_UP_REVISIONS_MAX: usize = 1000;
/// Bytes after which a slice of history ends, with a whole revision: what one stream that catches
/// up holds in memory, and small enough that live watchers of the stream hardly wait for it.
pub const CATCH_UP_BYTES_MAX: usize = 512 * 1024;
/// What is added to the largest request to get the size from which responses are cut.
pub const FRAGMENT_OVERHEAD_BYTES: usize = 512 * 1024;
