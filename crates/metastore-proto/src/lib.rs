//! metastore-proto
