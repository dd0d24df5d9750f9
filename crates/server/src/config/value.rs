//! The kinds of values that flags take and how each is read.
//!
//! A text from the command line, the environment or a file becomes a [`Value`] once, here; from
//! then on it is typed. The accepted spellings are those of Go's `flag` package (`0x10`, `1_000`,
//! `T`), and so are the words of the refusals, which scripts compare.

use super::duration::GoDuration;
use super::gates::{FeatureGates, GateError};
use super::urls::{Url, UrlError};

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A switch: `--x` alone means true.
    Bool,
    /// A signed number.
    Int,
    /// A number from 0.
    Uint,
    /// A number from 0 of 32 bits.
    Uint32,
    /// A span of time in Go's spelling; integer nanoseconds in a file.
    Duration,
    /// A comma list of URLs.
    Urls,
    /// A comma list of texts; in a file a comma list too.
    Texts,
    /// A comma list of texts; in a file a list.
    Sequence,
    /// `Name=true,Other=false`.
    Gates,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Text`] and [`Kind::Choice`].
    Text(String),
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Int`].
    Int(i64),
    /// Of [`Kind::Uint`] and [`Kind::Uint32`].
    Uint(u64),
    /// Of [`Kind::Duration`].
    Duration(GoDuration),
    /// Of [`Kind::Urls`].
    Urls(Vec<Url>),
    /// Of [`Kind::Texts`] and [`Kind::Sequence`].
    Texts(Vec<String>),
    /// Of [`Kind::Gates`].
    Gates(FeatureGates),
}

/// Why a text is not a value of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not the form of its kind.
    #[error("parse error")]
    Form,
    /// The right form, too large or too small.
    #[error("value out of range")]
    Range,
    /// Not one of the words of a [`Kind::Choice`].
    #[error("invalid value")]
    Choice,
    /// Not a URL list.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// Not a list of feature gates.
    #[error(transparent)]
    Gate(#[from] GateError),
}

impl Kind {
    /// Reads a text.
    pub fn parse(self, text: &str) -> Result<Value, ValueError> {
        match self {
            Kind::Text => Ok(Value::Text(text.to_owned())),
            Kind::Bool => parse_bool(text).map(Value::Bool),
            Kind::Int => parse_int(text).map(Value::Int),
            Kind::Uint => parse_uint(text).map(Value::Uint),
            Kind::Uint32 => match parse_uint(text)? {
                number if u32::try_from(number).is_ok() => Ok(Value::Uint(number)),
                _ => Err(ValueError::Range),
            },
            Kind::Duration => GoDuration::parse(text).map(Value::Duration).ok_or(ValueError::Form),
            Kind::Urls => Ok(Value::Urls(Url::parse_list(text)?)),
            Kind::Texts | Kind::Sequence => Ok(Value::Texts(split_list(text))),
            Kind::Gates => Ok(Value::Gates(FeatureGates::parse(text)?)),
            Kind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Kind::Choice(_) => Err(ValueError::Choice),
        }
    }
}

/// Go's `strconv.ParseBool`: nothing else is a truth value.
pub(super) fn parse_bool(text: &str) -> Result<bool, ValueError> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(ValueError::Form),
    }
}

fn split_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn parse_int(text: &str) -> Result<i64, ValueError> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = i128::from(parse_uint(digits)?);
    i64::try_from(if negative { -magnitude } else { magnitude }).map_err(|_| ValueError::Range)
}

/// Go's numbers with the base in front: `0x1f`, `0o17`, `017`, `0b101`, `1_000`.
fn parse_uint(text: &str) -> Result<u64, ValueError> {
    let lower = text.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    // An underscore stands between two digits, or between the base and the first digit.
    let well_placed = !digits.ends_with('_')
        && !digits.contains("__")
        && (radix != 10 || !digits.starts_with('_'));
    let digits = digits.replace('_', "");
    if digits.is_empty() || !well_placed || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(ValueError::Form);
    }
    u64::from_str_radix(&digits, radix).map_err(|_| ValueError::Range)
}

#[cfg(test)]
mod tests {
    use super::{Kind, Value};

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (kind, text, outcome) in [
            (Kind::Uint, "10", Ok(Value::Uint(10))),
            (Kind::Uint, "0x10", Ok(Value::Uint(16))),
            (Kind::Uint, "010", Ok(Value::Uint(8))),
            (Kind::Uint, "0b11", Ok(Value::Uint(3))),
            (Kind::Uint, "0o17", Ok(Value::Uint(15))),
            (Kind::Uint, "0", Ok(Value::Uint(0))),
            (Kind::Uint, "1_000", Ok(Value::Uint(1000))),
            (Kind::Uint, "-1", Err("parse error")),
            (Kind::Uint, "+1", Err("parse error")),
            (Kind::Uint, "abc", Err("parse error")),
            (Kind::Uint, "", Err("parse error")),
            (Kind::Uint, "_1", Err("parse error")),
            (Kind::Uint, "1_", Err("parse error")),
            (Kind::Uint, "1__0", Err("parse error")),
            (Kind::Uint, "08", Err("parse error")),
            (Kind::Uint, "1.5", Err("parse error")),
            (Kind::Uint, "99999999999999999999999", Err("value out of range")),
            (Kind::Uint32, "4294967295", Ok(Value::Uint(4_294_967_295))),
            (Kind::Uint32, "4294967296", Err("value out of range")),
            (Kind::Int, "-1", Ok(Value::Int(-1))),
            (Kind::Int, "+7", Ok(Value::Int(7))),
            (Kind::Int, "--1", Err("parse error")),
            (Kind::Int, "-9223372036854775808", Ok(Value::Int(i64::MIN))),
            (Kind::Int, "9223372036854775808", Err("value out of range")),
        ] {
            let read = kind.parse(text).map_err(|error| error.to_string());
            assert_eq!(read, outcome.map_err(str::to_owned), "{kind:?} {text:?}");
        }
    }

    #[test]
    fn switches_lists_and_choices_are_read_as_go_reads_them() {
        for text in ["1", "t", "T", "true", "TRUE", "True"] {
            assert_eq!(Kind::Bool.parse(text), Ok(Value::Bool(true)), "{text}");
        }
        for text in ["0", "f", "F", "false", "FALSE", "False"] {
            assert_eq!(Kind::Bool.parse(text), Ok(Value::Bool(false)), "{text}");
        }
        for text in ["", "yes", "tRUE", "on", "2"] {
            Kind::Bool.parse(text).expect_err(text);
        }
        let list = Kind::Texts.parse("a, b,,c").expect("a list");
        assert_eq!(list, Value::Texts(vec!["a".into(), "b".into(), "c".into()]));
        let choice = Kind::Choice(&["new", "existing"]);
        assert_eq!(choice.parse("new"), Ok(Value::Text("new".into())));
        assert_eq!(choice.parse("old").map_err(|e| e.to_string()), Err("invalid value".into()));
    }
}
