//! Texts of headers (RFC 7541, 5.2), as they are or coded by Huffman's method, read one byte at a time.
//!
//! ```text
//!  h       t      t      p       :         /        /
//!  100111  01001  01001  101011  1011100   011000   011000
//!                                      ↓        ↓        ↓
//!  h       t      t      p       1011101   011001   011001
//!                                B         3        3
//! ```
//!
//! The characters of one length follow one another in the code, so that a table of ten rows is enough.
//!
//! What it does not do: characters that no address holds have codes of more bits. From the first of them
//! on a text is left as it is.

/// What may stand before the colon that makes an address a URL.
const SCHEMES: [&[u8]; 4] = [b"http", b"https", b"unix", b"unixs"];
/// No scheme is longer.
const SCHEME_BYTES_MAX: usize = 5;
/// The characters that no authority may hold, and what they become.
const COLON: (u8, u8) = (b':', b'B');
const SLASH: (u8, u8) = (b'/', b'3');

/// One text.
#[derive(Debug)]
pub(super) struct Text {
    is_coded: bool,
    /// The bits of a character that is not over yet, and their number.
    bits: u32,
    bits_count: u32,
    /// The first characters, and how many there were of all.
    first: [u8; SCHEME_BYTES_MAX],
    count: usize,
    is_url: bool,
}

impl Text {
    pub(super) fn new(is_coded: bool) -> Text {
        let first = [0; SCHEME_BYTES_MAX];
        Text { is_coded, bits: 0, bits_count: 0, first, count: 0, is_url: false }
    }

    /// Whether it has held what only a URL holds.
    pub(super) fn is_url(&self) -> bool {
        self.is_url
    }

    /// Lets a byte pass, changed if it has to be.
    pub(super) fn pass(&mut self, byte: &mut u8) {
        if !self.is_coded {
            *byte = self.readable(*byte);
            return;
        }
        for place in (0..8).rev() {
            if self.bits_count > BITS_MAX {
                return;
            }
            self.bits = self.bits << 1 | u32::from(*byte >> place & 1);
            self.bits_count += 1;
            if let Some(character) = character(self.bits, self.bits_count) {
                (self.bits, self.bits_count) = (0, 0);
                if self.readable(character) != character {
                    *byte ^= 1 << place;
                }
            }
        }
    }

    /// What becomes of the next character.
    fn readable(&mut self, character: u8) -> u8 {
        let is_behind_scheme = self.first.get(..self.count).is_some_and(|f| SCHEMES.contains(&f));
        if let Some(place) = self.first.get_mut(self.count) {
            *place = character;
        }
        self.count += 1;
        let (_, readable) = match character {
            b'/' => SLASH,
            b':' if is_behind_scheme => COLON,
            _ => return character,
        };
        self.is_url = true;
        readable
    }
}

/// All characters with codes of one length, in the order of their codes.
struct Row {
    bits_count: u32,
    first: u32,
    characters: &'static [u8],
}

const fn row(bits_count: u32, first: u32, characters: &'static [u8]) -> Row {
    Row { bits_count, first, characters }
}

/// RFC 7541, appendix B, as far as a byte has no more bits.
const CODE: [Row; 10] = [
    row(5, 0x0, b"012aceiost"),
    row(6, 0x14, b" %-./3456789=A_bdfghlmnpru"),
    row(7, 0x5c, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    row(8, 0xf8, b"&*,;XZ"),
    row(10, 0x3f8, b"!\"()?"),
    row(11, 0x7fa, b"'+|"),
    row(12, 0xffa, b"#>"),
    row(13, 0x1ff8, b"\0$@[]~"),
    row(14, 0x3ffc, b"^}"),
    row(15, 0x7ffc, b"<`{"),
];
/// The most bits of a character in the table.
const BITS_MAX: u32 = 15;

/// The character of this code, if it is one of the table.
fn character(bits: u32, bits_count: u32) -> Option<u8> {
    let row = CODE.iter().find(|row| row.bits_count == bits_count)?;
    let index = usize::try_from(bits.checked_sub(row.first)?).ok()?;
    row.characters.get(index).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code of a character.
    fn code(character: u8) -> (u32, u32) {
        let found = CODE.iter().find_map(|row| {
            let index = row.characters.iter().position(|known| *known == character)?;
            Some((row.first + u32::try_from(index).expect("few"), row.bits_count))
        });
        found.unwrap_or_else(|| panic!("{} has no code", character.escape_ascii()))
    }

    fn passed(text: &[u8], is_coded: bool) -> (Vec<u8>, bool) {
        let (mut text, mut state) = (text.to_vec(), Text::new(is_coded));
        text.iter_mut().for_each(|byte| state.pass(byte));
        (text, state.is_url())
    }

    fn coded(text: &[u8]) -> Vec<u8> {
        let bits: String = text
            .iter()
            .map(|character| {
                let (bits, count) = code(*character);
                format!("{bits:0width$b}", width = count as usize)
            })
            .collect();
        let padded = format!("{bits:1<width$}", width = bits.len().next_multiple_of(8));
        let byte = |at| u8::from_str_radix(&padded[at..at + 8], 2).expect("eight bits");
        (0..padded.len()).step_by(8).map(byte).collect()
    }

    #[test]
    fn the_codes_of_each_length_begin_where_those_before_end() {
        for pair in CODE.windows(2) {
            let [shorter, longer] = pair else { panic!("windows of two") };
            let end = shorter.first + u32::try_from(shorter.characters.len()).expect("few");
            let begin = end << (longer.bits_count - shorter.bits_count);
            assert_eq!(longer.first, begin, "{} bits", longer.bits_count);
        }
    }

    #[test]
    fn what_is_put_in_place_has_the_same_length_and_another_last_bit() {
        for (from, to) in [COLON, SLASH] {
            let ((from, from_bits), (to, to_bits)) = (code(from), code(to));
            assert_eq!(from_bits, to_bits);
            assert_eq!(from ^ 1, to);
        }
    }

    #[test]
    fn a_url_becomes_a_host_and_nothing_else_changes() {
        for (text, readable) in [
            ("http://127.0.0.1:2379", "httpB33127.0.0.1:2379"),
            ("https://[::1]:2379", "httpsB33[::1]:2379"),
            ("unix:///run/a.sock:0", "unixB333run3a.sock:0"),
            ("127.0.0.1:2379/", "127.0.0.1:23793"),
            ("127.0.0.1:2379", "127.0.0.1:2379"),
            ("[::1]:2379", "[::1]:2379"),
            ("http:2379", "httpB2379"),
            ("user@http:2379", "user@http:2379"),
            ("localhost", "localhost"),
            ("", ""),
        ] {
            let is_url = text != readable;
            let (text, readable) = (text.as_bytes(), readable.as_bytes());
            assert_eq!(passed(text, false), (readable.to_vec(), is_url));
            assert_eq!(passed(&coded(text), true), (coded(readable), is_url));
            http::uri::Authority::try_from(readable).map(drop).unwrap_or_else(|error| {
                assert!(readable.is_empty(), "{}: {error}", readable.escape_ascii());
            });
        }
    }

    #[test]
    fn behind_a_character_without_a_code_here_nothing_is_touched() {
        let coded = [&[0xff; 3][..], &coded(b"////")].concat();
        assert_eq!(passed(&coded, true), (coded, false));
    }
}
