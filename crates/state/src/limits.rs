//! Bounds of the state machine, each with its unit and its reason.

/// Keys that one uninterrupted step of a short read looks at before it takes a new bearing.
pub const SCAN_SLOTS_PER_STEP: usize = 4096;

/// Keys that one step of a cursor looks at, live or not: about 100 µs, so that a long list never
/// occupies a thread that serves others.
pub const CURSOR_SLOTS_PER_STEP: usize = 1000;

/// Longest life of a lease in seconds, as in etcd.
pub const LEASE_TTL_MAX_S: i64 = 9_000_000_000;

/// Superseded versions that one slice of sweeping drops: tens of microseconds between two applies.
pub const SWEEP_VERSIONS_PER_SLICE: usize = 128;

/// What a put costs against the quota beside its key and value, in bytes, as in etcd.
pub const PUT_OVERHEAD_BYTES: u64 = 256;

/// What a lease costs against the quota, in bytes, as in etcd.
pub const LEASE_OVERHEAD_BYTES: u64 = 64;

/// Leases that one expiry command names.
pub const EXPIRIES_PER_COMMAND: usize = 500;

/// History entries that a hash visits between two looks at whether it is still wanted.
pub const HASH_ENTRIES_PER_STEP: usize = 10_000;
