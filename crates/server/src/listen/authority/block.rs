//! The headers of a request in their compressed form (RFC 7541), as far as it takes to find the authority.
//!
//! ```text
//! 83          the whole header is number 3 of the table
//! 41 90 9d…   header number 1 with a value of its own: 16 bytes of text, coded
//!  │  └─ length and whether the text is coded
//!  └─ 1 is `:authority`, in the part of the table that never changes
//! ```
//!
//! What it does not do: it keeps no table. A header that is a number as a whole was read before.

use super::text::Text;

/// The place of `:authority` in the fixed table.
const AUTHORITY: u32 = 1;
/// More bits than any length or number here has, seven to a byte.
const SHIFT_MAX: u32 = 21;

/// The walk over one block.
#[derive(Debug, Default)]
pub(super) struct Block {
    expects: Expects,
}

/// How far a walk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The authority is not over yet.
    Under,
    /// It was read to its end, and whether it was a URL.
    Authority { is_url: bool },
    /// No such block is known.
    Lost,
}

#[derive(Debug, Default)]
enum Expects {
    #[default]
    Header,
    /// A number goes on: the sum so far, and where its next bits go.
    Number {
        of: Number,
        sum: u32,
        shift: u32,
    },
    Length(Part),
    Bytes {
        of: Part,
        left: u32,
        text: Text,
    },
}

/// What a number is.
#[derive(Clone, Copy, Debug)]
enum Number {
    /// All there is.
    Whole,
    /// The name of a header; a value follows.
    Name,
    /// The length of a text.
    Length { of: Part, is_coded: bool },
}

/// What a text is.
#[derive(Clone, Copy, Debug)]
enum Part {
    Name,
    Value,
    Authority,
}

impl Block {
    /// Lets a byte pass, changed if it has to be.
    pub(super) fn pass(&mut self, byte: &mut u8) -> Progress {
        match &mut self.expects {
            // How many bits of the number the first byte holds depends on what it begins.
            Expects::Header => match *byte {
                0x80.. => self.begin(Number::Whole, *byte, 7),
                0x40.. => self.begin(Number::Name, *byte, 6),
                0x20.. => self.begin(Number::Whole, *byte, 5),
                _ => self.begin(Number::Name, *byte, 4),
            },
            Expects::Length(of) => {
                let is_coded = *byte & 0x80 != 0;
                let length = Number::Length { of: *of, is_coded };
                self.begin(length, *byte, 7)
            }
            Expects::Number { of, sum, shift } => {
                *sum += u32::from(*byte & 0x7f) << *shift;
                *shift += 7;
                match *byte & 0x80 {
                    0 => {
                        let (of, sum) = (*of, *sum);
                        self.end(of, sum)
                    }
                    _ if *shift > SHIFT_MAX => Progress::Lost,
                    _ => Progress::Under,
                }
            }
            Expects::Bytes { of, left, text } => {
                if matches!(of, Part::Authority) {
                    text.pass(byte);
                }
                *left -= 1;
                if *left > 0 {
                    return Progress::Under;
                }
                let (of, is_url) = (*of, text.is_url());
                self.after(of, is_url)
            }
        }
    }

    fn begin(&mut self, of: Number, byte: u8, bits: u32) -> Progress {
        let max = (1 << bits) - 1;
        let number = u32::from(byte) & max;
        if number < max {
            return self.end(of, number);
        }
        self.expects = Expects::Number { of, sum: max, shift: 0 };
        Progress::Under
    }

    fn end(&mut self, of: Number, number: u32) -> Progress {
        self.expects = match of {
            Number::Whole => Expects::Header,
            Number::Name if number == 0 => Expects::Length(Part::Name),
            Number::Name if number == AUTHORITY => Expects::Length(Part::Authority),
            Number::Name => Expects::Length(Part::Value),
            Number::Length { of, .. } if number == 0 => return self.after(of, false),
            Number::Length { of, is_coded } => {
                Expects::Bytes { of, left: number, text: Text::new(is_coded) }
            }
        };
        Progress::Under
    }

    fn after(&mut self, of: Part, is_url: bool) -> Progress {
        self.expects = match of {
            Part::Name => Expects::Length(Part::Value),
            Part::Value => Expects::Header,
            Part::Authority => return Progress::Authority { is_url },
        };
        Progress::Under
    }
}
