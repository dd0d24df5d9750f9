//! Counts of pages: what lets a list in pages tell its total although the store moves on.
//!
//! Every page of a list names the total from its first key on, at the revision of the first page. The
//! index counts in O(log n) at its newest thousand revisions; while others write, a list soon is
//! older than that. But what is live at a revision never changes, so a page's total follows from the one
//! before it, less the keys in between:
//!
//! ```text
//! revision 7   a b c d e f g h i j      page 1: from a, 10 in all      noted: from a, 10
//!              └─ page ─┘               page 2: from e, 10 - |a..e| = 6      noted: from e, 6
//! ```
//!
//! The first page is about the present, which is cheap to count. A list of which nothing is noted any more
//! is counted by walking, once.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;

use crate::mvcc::index::IndexView;
use crate::types::{KeyRange, RangeEnd, Revision};

/// Lists under way at the same time that are remembered.
const NOTES_MAX: usize = 256;

/// What is known of the lists under way. Shared by all readers; a page looks at it once or twice.
#[derive(Debug, Default)]
pub(crate) struct PageCounts(Mutex<VecDeque<Note>>);

#[derive(Clone, Debug)]
struct Note {
    revision: Revision,
    end: RangeEnd,
    start: Bytes,
    /// Live keys from `start` to `end`.
    count: u64,
}

impl PageCounts {
    /// How many keys of `range` are live in `view`.
    pub(crate) fn count(&self, view: &IndexView, range: &KeyRange) -> u64 {
        let revision = view.revision();
        let before = if view.counts_at_once() { None } else { self.take(revision, range) };
        let count = match before {
            None => view.count(range),
            Some(note) => {
                let gap = |start: &Bytes, end: &Bytes| {
                    let end = RangeEnd::Before(end.clone());
                    view.count(&KeyRange { start: start.clone(), end })
                };
                if note.start <= range.start {
                    note.count - gap(&note.start, &range.start)
                } else {
                    note.count + gap(&range.start, &note.start)
                }
            }
        };
        let (start, end) = (range.start.clone(), range.end.clone());
        self.put(Note { revision, end, start, count });
        count
    }

    /// The nearest note of the same list: the newest before the page, or else behind it.
    fn take(&self, revision: Revision, range: &KeyRange) -> Option<Note> {
        self.with(|notes| {
            let same = |note: &&Note| note.revision == revision && note.end == range.end;
            let start = |note: &Note| note.start.clone();
            let before = notes.iter().filter(same).map(start).filter(|s| *s <= range.start).max();
            let nearest = before.or_else(|| notes.iter().filter(same).map(start).min())?;
            let at = notes.iter().position(|note| same(&note) && note.start == nearest)?;
            notes.remove(at)
        })
    }

    fn put(&self, note: Note) {
        self.with(|notes| {
            notes.truncate(NOTES_MAX - 1);
            notes.push_front(note);
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut VecDeque<Note>) -> T) -> T {
        change(&mut self.0.lock().expect("nothing panics while it holds the notes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mvcc::index::KeyIndex;
    use crate::mvcc::record::{PutFields, Record};
    use crate::types::LeaseId;

    fn put(index: &mut KeyIndex, revision: i64, key: &str) {
        let revision = Revision(revision);
        let fields = PutFields {
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: LeaseId::NONE,
        };
        index.put(Record::put(0, key.as_bytes(), fields, b""));
    }

    fn key(number: usize) -> String {
        format!("{number:05}")
    }

    /// A hundred keys at revision 101, and then so many others that this is long ago.
    fn long_ago() -> KeyIndex {
        let mut index = KeyIndex::new(Revision(1), None);
        for revision in 2..=101 {
            put(&mut index, revision, &key(usize::try_from(revision).expect("small") * 10));
            index.publish(Revision(revision));
        }
        index
    }

    fn go_on(index: &mut KeyIndex) {
        for revision in 102..=2000 {
            put(index, revision, &key(usize::try_from(revision).expect("small")));
            index.publish(Revision(revision));
        }
    }

    fn from(start: usize) -> KeyRange {
        KeyRange { start: key(start).into(), end: RangeEnd::Unbounded }
    }

    #[test]
    fn every_page_of_a_list_names_what_is_left_however_old_it_has_become() {
        let mut index = long_ago();
        let (counts, reader) = (PageCounts::default(), index.reader());
        let first = reader.at(Revision(101)).expect("published");
        assert!(first.counts_at_once());
        assert_eq!(counts.count(&first, &from(0)), 100);
        drop(first);
        go_on(&mut index);
        for start in [25, 30, 31, 500, 40, 2000, 0, 1010, 10, 300] {
            let view = reader.at(Revision(101)).expect("kept");
            assert!(!view.counts_at_once());
            assert_eq!(counts.count(&view, &from(start)), view.count(&from(start)), "from {start}");
        }
        assert_eq!(counts.0.lock().expect("not poisoned").len(), 1, "one list, one note");
    }

    #[test]
    fn lists_of_other_revisions_and_ends_are_other_lists() {
        let mut index = long_ago();
        go_on(&mut index);
        let (counts, reader) = (PageCounts::default(), index.reader());
        let before = |end: usize| KeyRange { end: RangeEnd::Before(key(end).into()), ..from(50) };
        for revision in [50, 101, 51, 102, 2000] {
            for range in [from(50), before(60), before(700), from(0)] {
                let view = reader.at(Revision(revision)).expect("kept");
                assert_eq!(counts.count(&view, &range), view.count(&range), "{revision} {range:?}");
            }
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut index = long_ago();
        go_on(&mut index);
        let (counts, reader) = (PageCounts::default(), index.reader());
        for end in 0..2 * NOTES_MAX {
            let range = KeyRange { end: RangeEnd::Before(key(end + 20).into()), ..from(0) };
            counts.count(&reader.at(Revision(101)).expect("kept"), &range);
        }
        assert_eq!(counts.0.lock().expect("not poisoned").len(), NOTES_MAX);
    }
}
