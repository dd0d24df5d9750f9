//! Who wants which keys: single keys in an ordered map, ranges in a tree.
//!
//! The hub keeps one with streams as subscribers, each stream one with its watchers. A subscriber
//! is a small number; the set of each key or range is sorted, so that everything is deterministic.
//!
//! ```text
//! key "a"       → 3, 7
//! range [a, c)  → 7          change of "b" → 7     changes of "a", "b" → 3, 7 and 7
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::types::KeyRange;
use crate::watch::range_tree::RangeTree;

/// Keys and ranges, each with its subscribers.
#[derive(Debug)]
pub(super) struct Interest {
    keys: BTreeMap<Bytes, Subscribers>,
    ranges: RangeTree<Subscribers>,
    stamp: u64,
}

#[derive(Debug)]
struct Subscribers {
    who: Who,
    /// The search that has visited this set last: many changes of one turn fall into one range,
    /// and its subscribers need to hear of them once.
    stamp: u64,
}

/// A set that is never empty. Most keys have one subscriber, and there may be millions of keys.
#[derive(Debug)]
enum Who {
    One(u32),
    /// Ascending.
    Many(Vec<u32>),
}

impl Who {
    fn as_slice(&self) -> &[u32] {
        match self {
            Who::One(who) => std::slice::from_ref(who),
            Who::Many(who) => who,
        }
    }

    fn contains(&self, who: u32) -> bool {
        self.as_slice().binary_search(&who).is_ok()
    }

    /// `false` if it is there already.
    fn insert(&mut self, who: u32) -> bool {
        let Err(at) = self.as_slice().binary_search(&who) else { return false };
        match self {
            Who::One(other) => {
                let mut both = vec![*other];
                both.insert(at, who);
                *self = Who::Many(both);
            }
            Who::Many(all) => all.insert(at, who),
        }
        true
    }
}

impl Interest {
    pub(super) fn new() -> Interest {
        Interest { keys: BTreeMap::new(), ranges: RangeTree::new(), stamp: 0 }
    }

    /// How many distinct keys and ranges there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len() + self.ranges.len()
    }

    /// Adds a subscriber; `false` if it is there already.
    pub(super) fn add(&mut self, range: &KeyRange, who: u32) -> bool {
        let found = match range.as_single() {
            Some(key) => self.keys.get_mut(key),
            None => self.ranges.get_mut(range),
        };
        if let Some(subscribers) = found {
            return subscribers.who.insert(who);
        }
        let subscribers = Subscribers { who: Who::One(who), stamp: 0 };
        match range.as_single() {
            Some(key) => drop(self.keys.insert(key.clone(), subscribers)),
            None => self.ranges.insert(range.clone(), subscribers),
        }
        true
    }

    /// Removes a subscriber.
    pub(super) fn remove(&mut self, range: &KeyRange, who: u32) -> Removed {
        let subscribers = match range.as_single() {
            Some(key) => self.keys.get_mut(key),
            None => self.ranges.get_mut(range),
        };
        let Some(subscribers) = subscribers else { return Removed::Absent };
        if !subscribers.who.contains(who) {
            return Removed::Absent;
        }
        if let Who::Many(all) = &mut subscribers.who
            && all.len() > 1
        {
            all.retain(|other| *other != who);
            return Removed::OthersLeft;
        }
        match range.as_single() {
            Some(key) => drop(self.keys.remove(key)),
            None => drop(self.ranges.remove(range)),
        }
        Removed::NobodyLeft
    }

    /// Removes a subscriber wherever it is. Looks at everything.
    pub(super) fn remove_everywhere(&mut self, who: u32) {
        let mut left = Vec::new();
        for (key, subscribers) in &self.keys {
            if subscribers.who.contains(who) {
                left.push(KeyRange::single(key.clone()));
            }
        }
        self.ranges.for_each(&mut |range, subscribers| {
            if subscribers.who.contains(who) {
                left.push(range.clone());
            }
        });
        for range in left {
            self.remove(&range, who);
        }
    }

    /// Begins a search over several keys that visits each set of subscribers at most once.
    pub(super) fn search(&mut self) -> Search<'_> {
        self.stamp += 1;
        Search { interest: self }
    }
}

/// What [`Interest::remove`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    /// The subscriber was not there.
    Absent,
    /// Others still want the range.
    OthersLeft,
    /// It was the last one.
    NobodyLeft,
}

/// A search over several keys.
pub(super) struct Search<'a> {
    interest: &'a mut Interest,
}

impl Search<'_> {
    /// Visits the subscribers of `key` that this search has not come across in the same set.
    pub(super) fn key(&mut self, key: &[u8], visit: &mut impl FnMut(&[u32])) {
        let stamp = self.interest.stamp;
        let mut once = |subscribers: &mut Subscribers| {
            if subscribers.stamp != stamp {
                subscribers.stamp = stamp;
                visit(subscribers.who.as_slice());
            }
        };
        if let Some(subscribers) = self.interest.keys.get_mut(key) {
            once(subscribers);
        }
        self.interest.ranges.matching(key, &mut once);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(interest: &mut Interest, keys: &[&str]) -> Vec<u32> {
        let mut found = Vec::new();
        let mut search = interest.search();
        for key in keys {
            search.key(key.as_bytes(), &mut |who| found.extend_from_slice(who));
        }
        found
    }

    #[test]
    fn a_search_over_many_keys_visits_each_set_once() {
        let mut interest = Interest::new();
        let (key, range) = (KeyRange::single("a"), KeyRange::from_request("a", "c"));
        assert!(interest.add(&key, 7) && interest.add(&key, 3) && interest.add(&range, 7));
        assert!(!interest.add(&range, 7));
        assert_eq!(found(&mut interest, &["a", "a", "b"]), [3, 7, 7]);
        assert_eq!(found(&mut interest, &["b"]), [7]);
        assert_eq!(interest.remove(&key, 3), Removed::OthersLeft);
        assert_eq!(interest.remove(&key, 3), Removed::Absent);
        assert_eq!(interest.remove(&key, 7), Removed::NobodyLeft);
        assert_eq!(interest.len(), 1);
        interest.remove_everywhere(7);
        assert_eq!(interest.len(), 0);
        assert!(found(&mut interest, &["a"]).is_empty());
    }
}
