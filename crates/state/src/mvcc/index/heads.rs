//! Searching a node of sorted keys while reading about one of them.
//!
//! The keys of a node lie scattered in memory, each a cache miss. A node therefore keeps, side by
//! side, the *head* of each: the eight bytes behind the prefix that all its keys share.
//!
//! ```text
//! keys   /registry/pods/a1   /registry/pods/a2   /registry/pods/b
//! skip   15 bytes ("/registry/pods/")
//! heads  a1······            a2······            b·······     as big-endian numbers
//! ```
//!
//! Heads order as their keys do; equal heads say nothing, then the keys are compared.

use std::cmp::Ordering;

/// The eight bytes of `key` from `skip` on, padded with zeros.
pub(super) fn head(key: &[u8], skip: usize) -> u64 {
    let rest = key.get(skip..).unwrap_or(&[]);
    if let Some(bytes) = rest.first_chunk::<8>() {
        return u64::from_be_bytes(*bytes);
    }
    let mut bytes = [0; 8];
    bytes[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(bytes)
}

/// What the head at `from` becomes when only `to < from` bytes are skipped. `key` is any key of the
/// node: between the two they are all the same.
pub(super) fn widened(old: u64, key: &[u8], from: usize, to: usize) -> u64 {
    let common = head(&key[..from], to);
    match from - to {
        shift @ 0..8 => common | old >> (8 * shift),
        _ => common,
    }
}

/// How many bytes `a` and `b` begin with alike.
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Where `key` is among sorted keys (`Ok`), or where it would stand (`Err`).
pub(super) fn search<'a>(
    heads: &[u64],
    skip: usize,
    key: &[u8],
    key_at: impl Fn(usize) -> &'a [u8],
) -> Result<usize, usize> {
    if heads.is_empty() {
        return Err(0);
    }
    let place = match search_behind_prefix(heads, skip, key, &key_at) {
        Err(place) => place,
        found => return found,
    };
    // The place is right only if the key begins as all of the node do. Looked at last, so that a
    // key that is found costs no second miss.
    let known = key_at(place.min(heads.len() - 1));
    match key[..skip.min(key.len())].cmp(&known[..skip]) {
        Ordering::Less => Err(0),
        Ordering::Equal => Err(place),
        Ordering::Greater => Err(heads.len()),
    }
}

/// The same for a `key` of which is known that it begins as all of the node do.
pub(super) fn search_behind_prefix<'a>(
    heads: &[u64],
    skip: usize,
    key: &[u8],
    key_at: impl Fn(usize) -> &'a [u8],
) -> Result<usize, usize> {
    let wanted = head(key, skip);
    let mut low = heads.partition_point(|&head| head < wanted);
    let mut high = low + heads[low..].iter().take_while(|&&head| head == wanted).count();
    while low < high {
        let middle = low.midpoint(high);
        match key_at(middle).cmp(key) {
            Ordering::Equal => return Ok(middle),
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    Err(low)
}

/// The first `skip` bytes of `key` as numbers that compare like them.
pub(super) fn prefix_words(key: &[u8], skip: usize) -> impl Iterator<Item = u64> {
    (0..skip).step_by(8).map(move |at| head(&key[..skip], at))
}

/// How the beginning of `key` compares with the prefix of `skip` bytes that `words` are.
pub(super) fn compare_prefix(key: &[u8], words: &[u64], skip: usize) -> Ordering {
    let begin = &key[..skip.min(key.len())];
    for (i, word) in words.iter().enumerate() {
        match head(begin, 8 * i).cmp(word) {
            Ordering::Equal => {}
            other => return other,
        }
    }
    // A shorter key may still differ, by the zeros that pad it.
    begin.len().cmp(&skip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_agrees_with_comparing_whole_keys() {
        let mut keys: Vec<&[u8]> = vec![
            b"pre",
            b"pre\0",
            b"pre\0\0",
            b"prefix",
            b"prefix/long/a",
            b"prefix/long/b",
            b"prez",
            b"pre\xff",
        ];
        keys.sort_unstable();
        let mut probes = keys.clone();
        probes.extend([
            &b""[..],
            b"p",
            b"pr",
            b"pra",
            b"prf",
            b"q",
            b"prefix/",
            b"pre\0\0\0",
            b"o",
        ]);
        for skip in 0..=3 {
            let heads: Vec<u64> = keys.iter().map(|key| head(key, skip)).collect();
            for probe in &probes {
                let found = search(&heads, skip, probe, |i| keys[i]);
                assert_eq!(found, keys.binary_search(probe), "{probe:?} skipping {skip}");
            }
        }
    }

    #[test]
    fn a_prefix_in_words_compares_like_its_bytes() {
        let prefixes = [&b""[..], b"a", b"ab\0", b"abcdefgh", b"abcdefghi", b"abcdefgh\0\0"];
        let keys =
            [&b""[..], b"a", b"ab", b"ab\0", b"ab\0\0", b"abcdefg", b"abcdefgh", b"b", b"\0"];
        for prefix in prefixes {
            let words: Vec<u64> = prefix_words(prefix, prefix.len()).collect();
            for key in keys.iter().chain(&prefixes) {
                let bytes = key[..key.len().min(prefix.len())].cmp(prefix);
                assert_eq!(compare_prefix(key, &words, prefix.len()), bytes, "{key:?} {prefix:?}");
            }
        }
    }

    #[test]
    fn heads_are_widened_without_reading_their_keys() {
        let keys = [&b"0123456789abcdefgh"[..], b"0123456789abc", b"0123456789"];
        for from in 0..=10 {
            for to in 0..=from {
                for key in keys {
                    let wide = widened(head(key, from), keys[0], from, to);
                    assert_eq!(wide, head(key, to), "{key:?} from {from} to {to}");
                }
            }
        }
    }
}
