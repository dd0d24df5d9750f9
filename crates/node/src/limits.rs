//! Bounds of the node, each with its unit and its reason.

/// Renewals are written down so often at most, in milliseconds of cluster time.
pub const LEASE_RENEWAL_LOG_INTERVAL_MS: u64 = 1000;

/// An expiry that has not been applied is proposed again after this, in milliseconds: etcd's
/// request timeout at default settings.
pub const LEASE_EXPIRY_RETRY_MS: u64 = 7000;

/// Slices of sweeping in one turn of the applier.
pub const SWEEP_SLICES_PER_TURN: usize = 4;
