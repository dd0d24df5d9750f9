//! Headers whose names end in `-bin`: bytes in base64, with padding or without.
//!
//! ```text
//! x-bin: AAEC     three bytes
//! x-bin: AAE      two bytes; AAE= are the same
//! x-bin: AA=C     an error, at byte 2
//! ```
//!
//! Nothing here needs the bytes. But a header that holds none is refused by every gRPC server, in words that
//! name the place, and places are counted as Go's library counts them.

/// How a header's name ends that holds bytes.
pub(super) const SUFFIX: &str = "-bin";

const QUANTUM_CHARS: usize = 4;

/// The first byte of the text that cannot stand where it stands, if it is no base64.
pub(super) fn illegal_at(text: &[u8]) -> Option<usize> {
    // A length of whole quanta is one with padding, where it is needed.
    let is_padded = text.len().is_multiple_of(QUANTUM_CHARS);
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let Some(end) = text.iter().position(|byte| !is_digit(byte)) else {
        // One digit is less than a byte.
        return (text.len() % QUANTUM_CHARS == 1).then(|| text.len() - 1);
    };
    let behind = match (end % QUANTUM_CHARS, &text[end..]) {
        (2, [b'=', b'=', ..]) if is_padded => end + 2,
        (3, [b'=', ..]) if is_padded => end + 1,
        _ => return Some(end),
    };
    (behind < text.len()).then_some(behind)
}

/// The text of a header as Go quotes it.
pub(super) fn quoted(text: &[u8]) -> String {
    let mut quoted = String::from('"');
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\\' => quoted.extend(['\\', char]),
                '\t' => quoted.push_str("\\t"),
                _ => quoted.push(char),
            }
        }
        chunk.invalid().iter().for_each(|byte| quoted.push_str(&format!("\\x{byte:02x}")));
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_base64_is_told_by_its_place_as_etcd_tells_it() {
        // What etcd answered to each.
        for (text, expected) in [
            ("", None),
            ("A", Some(0)),
            ("AA", None),
            ("AB", None),
            ("AAA", None),
            ("AAAA", None),
            ("AA==", None),
            ("AAA=", None),
            ("!!!!", Some(0)),
            ("__--", Some(0)),
            ("=AAA", Some(0)),
            ("A===", Some(1)),
            ("AA=", Some(2)),
            ("AA=A", Some(2)),
            ("AA AA", Some(2)),
            ("AAAAA", Some(4)),
            ("AAAA!", Some(4)),
            ("AAAA=", Some(4)),
            ("AAA=AAA=", Some(4)),
            ("AAAA,AAAA", Some(4)),
        ] {
            assert_eq!(illegal_at(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_header_is_quoted_as_go_quotes_it() {
        assert_eq!(quoted(b"a\"b\\c\td'\xff"), r#""a\"b\\c\td'\xff""#);
        assert_eq!(quoted("\u{e4}".as_bytes()), "\"\u{e4}\"");
    }
}
