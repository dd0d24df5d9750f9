//! Values that are as compressible as real objects, each different.
//!
//! ```text
//! pool:   "namespace":"q7x0…f3","labels":{"app":"9c…       4 MiB, from a fixed seed
//!              └── value 2 ──┘     └── value 1 ──┘         slices, far apart
//! ```
//!
//! One value for all keys would flatter whoever compresses blocks of many values, and random bytes
//! would punish him. The text of objects is half names, which repeat in every object, and half
//! identifiers, which do not: LZ4 makes of it about the half, as it does of the objects of
//! Kubernetes. With [`Values::incompressible`] it makes nothing of it.
//!
//! What it does not do: values that are a protobuf or JSON that anybody could parse.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Larger than the window of a compressor, so that it never sees a piece twice; values begin at
/// every byte of it, so that millions of them differ.
const POOL_BYTES: usize = 4 << 20;
/// Spreads the values over the pool. A prime larger than the pool: every place has its turn before one
/// has its second.
const STRIDE: usize = 2_654_435_761;

/// What stands around the identifiers.
const NAMES: [&str; 16] = [
    "{\"metadata\":{\"name\":\"",
    "\",\"namespace\":\"",
    "\",\"uid\":\"",
    "\",\"resourceVersion\":\"",
    "\",\"creationTimestamp\":\"",
    "\",\"labels\":{\"app\":\"",
    "\",\"pod-template-hash\":\"",
    "\"},\"ownerReferences\":[{\"uid\":\"",
    "\"}]},\"spec\":{\"nodeName\":\"",
    "\",\"serviceAccountName\":\"",
    "\",\"containers\":[{\"image\":\"",
    "\",\"resources\":{\"requests\":{\"cpu\":\"",
    "\"}},\"env\":[{\"value\":\"",
    "\"}]}]},\"status\":{\"podIP\":\"",
    "\",\"containerID\":\"",
    "\",\"phase\":\"",
];

/// Values of one size; clones go on where the others are.
#[derive(Clone)]
pub(crate) struct Values {
    pool: Bytes,
    value_bytes: usize,
    taken: Arc<AtomicUsize>,
}

impl Values {
    /// See the module.
    pub(crate) fn like_objects(value_bytes: usize) -> Values {
        let mut random = Random(1);
        let mut pool = Vec::with_capacity(POOL_BYTES + 64);
        while pool.len() < POOL_BYTES {
            let [name, length, ..] = random.next();
            pool.extend_from_slice(NAMES[usize::from(name) % NAMES.len()].as_bytes());
            for _ in 0..=length % 2 {
                pool.extend(
                    random
                        .next()
                        .map(|byte| b"0123456789abcdefghijklmnopqrstuv"[usize::from(byte) % 32]),
                );
            }
        }
        Values::from_pool(pool, value_bytes)
    }

    /// Random bytes.
    pub(crate) fn incompressible(value_bytes: usize) -> Values {
        let mut random = Random(1);
        let pool = std::iter::repeat_with(|| random.next()).take(POOL_BYTES / 8).flatten();
        Values::from_pool(pool.collect(), value_bytes)
    }

    fn from_pool(pool: Vec<u8>, value_bytes: usize) -> Values {
        assert!(value_bytes < POOL_BYTES, "a value of {value_bytes} bytes");
        Values { pool: pool.into(), value_bytes, taken: Arc::default() }
    }

    /// The next one.
    pub(crate) fn next(&self) -> Bytes {
        let turn = self.taken.fetch_add(1, Ordering::Relaxed);
        let begin = turn.wrapping_mul(STRIDE) % (POOL_BYTES - self.value_bytes);
        self.pool.slice(begin..begin + self.value_bytes)
    }

    /// Bytes of each.
    pub(crate) fn value_bytes(&self) -> usize {
        self.value_bytes
    }
}

/// Splitmix: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> [u8; 8] {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// What a store that compresses blocks of 16 KiB makes of them.
    fn ratio(values: &Values) -> f64 {
        let (mut plain, mut compressed) = (0, 0);
        for _ in 0..64 {
            let block: Vec<u8> =
                (0..(16 << 10) / values.value_bytes()).flat_map(|_| values.next()).collect();
            plain += block.len();
            compressed += lz4_flex::block::compress(&block).len();
        }
        #[expect(clippy::cast_precision_loss, reason = "a million bytes")]
        let ratio = plain as f64 / compressed as f64;
        ratio
    }

    #[test]
    fn lz4_halves_what_looks_like_objects_and_nothing_else() {
        for value_bytes in [256, 1000, 4096, 16 << 10] {
            let objects = ratio(&Values::like_objects(value_bytes));
            assert!((1.8..2.2).contains(&objects), "{objects} for {value_bytes} bytes");
            let random = ratio(&Values::incompressible(value_bytes));
            assert!(random < 1.01, "{random} for {value_bytes} bytes");
        }
    }

    #[test]
    fn a_million_values_are_a_million_different_ones() {
        let values = Values::like_objects(256);
        let different: HashSet<Bytes> = (0..1_000_000).map(|_| values.next()).collect();
        assert_eq!(different.len(), 1_000_000);
    }
}
