//! Whether a transaction writes a key twice in one list.
//!
//! ```text
//! put a, put a                          refused
//! delete [a, c), put b                  refused, in either order
//! txn{put b}, put b                     refused
//! txn{ then: put b  else: put b }       fine: only one of them happens
//! delete [a, c), delete [b, d)          fine
//! ```
//!
//! Three oddities are etcd's and kept, because clients may lean on them: transactions inside are
//! visited before the operations beside them, the ranges that one deletes count only for what comes
//! after it, and a deletion without an upper bound covers nothing here.

use std::collections::{BTreeMap, BTreeSet};

use state::command::{DeleteRange, TxnOp, TxnOperation};

use crate::grpc::status::EtcdError;

/// Checks one list of a transaction.
///
/// # Errors
/// [`EtcdError::DuplicateKey`] if a key in it would be written twice.
pub(super) fn check(ops: &[TxnOp]) -> Result<(), EtcdError> {
    match ops {
        // By far the most common lists have nothing to collide with.
        [] => Ok(()),
        [op] if !matches!(op.operation, Some(TxnOperation::Txn(_))) => Ok(()),
        _ => writes_of(ops).map(drop),
    }
}

/// What a list writes, lists inside it included.
#[derive(Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Intervals<'a>,
}

fn writes_of(ops: &[TxnOp]) -> Result<Writes<'_>, EtcdError> {
    let mut writes = Writes::default();
    for op in ops {
        if let Some(TxnOperation::DeleteRange(delete)) = &op.operation {
            writes.deletes.add_range(delete);
        }
    }
    for op in ops {
        let Some(TxnOperation::Txn(txn)) = &op.operation else { continue };
        let (success, failure) = (writes_of(&txn.success)?, writes_of(&txn.failure)?);
        // The same key in both lists of one transaction is one key: only one of them happens.
        let puts: BTreeSet<&[u8]> = success.puts.union(&failure.puts).copied().collect();
        for key in puts {
            writes.put(key)?;
        }
        writes.deletes.add_all(success.deletes);
        writes.deletes.add_all(failure.deletes);
    }
    for op in ops {
        if let Some(TxnOperation::Put(put)) = &op.operation {
            writes.put(&put.key)?;
        }
    }
    Ok(writes)
}

impl<'a> Writes<'a> {
    fn put(&mut self, key: &'a [u8]) -> Result<(), EtcdError> {
        if self.deletes.contains(key) || !self.puts.insert(key) {
            return Err(EtcdError::DuplicateKey);
        }
        Ok(())
    }
}

/// Where an interval ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End<'a> {
    /// Right behind this key.
    After(&'a [u8]),
    /// Right before it.
    Before(&'a [u8]),
}

impl End<'_> {
    /// The key at which it ends, and whether that key itself still belongs to it.
    fn order(&self) -> (&[u8], bool) {
        match self {
            End::Before(key) => (key, false),
            End::After(key) => (key, true),
        }
    }
}

/// A union of intervals of keys, each kept by its start. They never touch.
#[derive(Default)]
struct Intervals<'a> {
    by_start: BTreeMap<&'a [u8], End<'a>>,
}

impl<'a> Intervals<'a> {
    fn add_range(&mut self, delete: &'a DeleteRange) {
        let end = match &delete.range_end[..] {
            [] => End::After(&delete.key),
            end => End::Before(end),
        };
        self.add(&delete.key, end);
    }

    fn add_all(&mut self, other: Intervals<'a>) {
        for (start, end) in other.by_start {
            self.add(start, end);
        }
    }

    /// Joins the interval with those it meets, so that a look-up has one candidate only.
    fn add(&mut self, start: &'a [u8], end: End<'a>) {
        // Backwards, or up to the one zero byte, which here is a bound like any other.
        if end.order() <= (start, false) {
            return;
        }
        let (mut start, mut end) = (start, end);
        if let Some((&before, &before_end)) = self.by_start.range(..=start).next_back()
            && before_end.order() >= (start, false)
        {
            start = before;
            end = longer(end, before_end);
        }
        while let Some((&next, &next_end)) = self.by_start.range(start..).next()
            && (next, false) <= end.order()
        {
            self.by_start.remove(next);
            end = longer(end, next_end);
        }
        self.by_start.insert(start, end);
    }

    fn contains(&self, key: &[u8]) -> bool {
        let before = self.by_start.range(..=key).next_back();
        before.is_some_and(|(_, end)| end.order() > (key, false))
    }
}

fn longer<'a>(one: End<'a>, other: End<'a>) -> End<'a> {
    if one.order() >= other.order() { one } else { other }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use state::command::{Put, Txn};

    use super::*;

    fn put(key: &'static str) -> TxnOp {
        let put = Put { key: Bytes::from_static(key.as_bytes()), ..Put::default() };
        TxnOp { operation: Some(TxnOperation::Put(put)) }
    }

    fn delete(key: &'static str, end: &'static str) -> TxnOp {
        let (key, range_end) = (key.as_bytes().into(), end.as_bytes().into());
        TxnOp {
            operation: Some(TxnOperation::DeleteRange(DeleteRange {
                key,
                range_end,
                prev_kv: false,
            })),
        }
    }

    fn txn(success: Vec<TxnOp>, failure: Vec<TxnOp>) -> TxnOp {
        let txn = Txn { compare: vec![], success, failure };
        TxnOp { operation: Some(TxnOperation::Txn(txn)) }
    }

    #[test]
    fn a_key_is_written_once_in_each_list() {
        let fine: Vec<Vec<TxnOp>> = vec![
            vec![],
            vec![put("a")],
            vec![put("a"), put("b")],
            vec![delete("a", "c"), delete("b", "d")],
            vec![delete("a", ""), put("b"), put("aa")],
            vec![delete("a", "c"), put("c")],
            vec![delete("c", "a"), put("b")],
            vec![txn(vec![put("a")], vec![put("a")]), put("b")],
            vec![txn(vec![put("a")], vec![delete("a", "")])],
            // etcd's oddities: order among siblings, and no upper bound.
            vec![txn(vec![put("k")], vec![]), txn(vec![delete("k", "")], vec![])],
            vec![delete("a", "\0"), put("b")],
        ];
        for ops in fine {
            assert_eq!(check(&ops), Ok(()), "{ops:?}");
        }
        let twice: Vec<Vec<TxnOp>> = vec![
            vec![put("a"), put("b"), put("a")],
            vec![put("a"), delete("a", "")],
            vec![delete("a", ""), put("a")],
            vec![delete("a", "c"), put("b")],
            vec![put("b"), delete("a", "c")],
            vec![delete("a", "c"), delete("b", "e"), put("d")],
            vec![delete("x", "z"), delete("a", "c"), delete("b", "y"), put("w")],
            vec![put("a"), txn(vec![put("a")], vec![])],
            vec![delete("a", "c"), txn(vec![], vec![put("b")])],
            vec![txn(vec![delete("k", "")], vec![]), txn(vec![put("k")], vec![])],
            vec![txn(vec![delete("k", "")], vec![]), put("k")],
            vec![txn(vec![put("a")], vec![]), txn(vec![], vec![put("a")])],
            vec![txn(vec![put("a"), put("a")], vec![])],
            vec![txn(vec![txn(vec![put("a")], vec![])], vec![]), put("a")],
        ];
        for ops in twice {
            assert_eq!(check(&ops), Err(EtcdError::DuplicateKey), "{ops:?}");
        }
    }

    #[test]
    fn joined_intervals_cover_what_a_list_of_them_covers() {
        let mut random = fastrand::Rng::with_seed(7);
        let alphabet: Vec<String> = ('a'..='p').map(|letter| letter.to_string()).collect();
        for round in 0..500 {
            let mut joined = Intervals::default();
            let mut listed: Vec<(&str, Option<&str>)> = Vec::new();
            for _ in 0..random.usize(..12) {
                let start = random.choice(&alphabet).expect("letters");
                let end = random.bool().then(|| random.choice(&alphabet).expect("letters"));
                let bound = match end {
                    None => End::After(start.as_bytes()),
                    Some(end) => End::Before(end.as_bytes()),
                };
                joined.add(start.as_bytes(), bound);
                listed.push((start, end.map(String::as_str)));
            }
            for key in alphabet.iter().flat_map(|letter| [letter.clone(), format!("{letter}x")]) {
                let key = key.as_str();
                let expected = listed.iter().any(|(start, end)| match end {
                    None => *start == key,
                    Some(end) => *start <= key && key < *end,
                });
                assert_eq!(joined.contains(key.as_bytes()), expected, "round {round}, {key}");
            }
        }
    }
}
