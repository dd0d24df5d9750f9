//! The stream that carries a whole state: for snapshot files, peers and the `Snapshot` RPC.
