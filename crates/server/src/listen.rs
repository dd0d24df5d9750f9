//! Listeners.
use tokio_util::sync::CancellationToken;

/// How the shell stops.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Take nothing new, finish what runs.
    pub draining: CancellationToken,
    /// Cut what still runs.
    pub closed: CancellationToken,
}
