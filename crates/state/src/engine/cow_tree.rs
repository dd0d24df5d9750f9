//! A persistent B+tree.
