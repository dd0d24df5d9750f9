//! Go's spelling of a duration: `1h2m3.5s`, `300ms`, `0`.
//!
//! Operators write these in flags, scripts and unit files that were made for etcd, so that the
//! accepted language is exactly Go's: a sign, then numbers each with a unit, in any order; only
//! `0` goes without one. The unit of the result is nanoseconds, signed, as in a YAML file.
//!
//! ```text
//!   1h2m     →  3_720_000_000_000
//!   -1.5s    →     -1_500_000_000
//!   5        →  an error: no unit
//! ```

use std::fmt;

/// A span of time in nanoseconds; negative ones can be written, what they mean is decided later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub i64);

/// Longest first: `ms` must not be read as `m`.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3600 * 1_000_000_000),
];

impl GoDuration {
    /// Reads Go's spelling; `None` if it is not one or does not fit.
    #[must_use]
    pub fn parse(text: &str) -> Option<GoDuration> {
        let (negative, mut rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Some(GoDuration(0));
        }
        if rest.is_empty() {
            return None;
        }
        let mut total: u128 = 0;
        while !rest.is_empty() {
            let (nanos, after) = parse_part(rest)?;
            total = total.checked_add(nanos)?;
            rest = after;
        }
        let magnitude = i128::try_from(total).ok()?;
        i64::try_from(if negative { -magnitude } else { magnitude }).ok().map(GoDuration)
    }

    /// The same span for the standard library; a negative one is zero.
    #[must_use]
    pub fn as_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

/// One number with its unit at the start of `text`, in nanoseconds, and what follows.
fn parse_part(text: &str) -> Option<(u128, &str)> {
    let whole_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (whole, mut rest) = text.split_at(whole_end);
    let mut fraction = "";
    if let Some(after_dot) = rest.strip_prefix('.') {
        let end = after_dot.find(|c: char| !c.is_ascii_digit()).unwrap_or(after_dot.len());
        (fraction, rest) = after_dot.split_at(end);
    }
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unit_end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nanos = whole.checked_mul(u128::from(*scale))?;
    Some((nanos.checked_add(fraction_nanos(fraction, *scale))?, rest))
}

/// Digits below a ten-billionth cannot reach a nanosecond of an hour and are cut, as Go does.
fn fraction_nanos(digits: &str, scale: u64) -> u128 {
    let mut value: u128 = 0;
    let mut base: u128 = 1;
    for digit in digits.bytes().take(18) {
        value = value * 10 + u128::from(digit - b'0');
        base *= 10;
    }
    value * u128::from(scale) / base
}

impl fmt::Display for GoDuration {
    /// The largest unit that shows the whole value: `90s` prints as `1m30s`, as in Go.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let nanos = self.0.unsigned_abs();
        match nanos {
            0 => return f.write_str("0s"),
            1..1_000 => return write!(f, "{nanos}ns"),
            1_000..1_000_000 => return write_scaled(f, nanos, 1_000, "\u{b5}s"),
            1_000_000..1_000_000_000 => return write_scaled(f, nanos, 1_000_000, "ms"),
            _ => {}
        }
        let seconds = nanos / 1_000_000_000;
        if seconds >= 3600 {
            write!(f, "{}h", seconds / 3600)?;
        }
        if seconds >= 60 {
            write!(f, "{}m", seconds / 60 % 60)?;
        }
        write_scaled(f, nanos % (60 * 1_000_000_000), 1_000_000_000, "s")
    }
}

/// `nanos / scale` without trailing zeros behind the point.
fn write_scaled(f: &mut fmt::Formatter<'_>, nanos: u64, scale: u64, unit: &str) -> fmt::Result {
    write!(f, "{}", nanos / scale)?;
    let rest = nanos % scale;
    if rest != 0 {
        let width = scale.ilog10() as usize;
        write!(f, ".{}", format!("{rest:0width$}").trim_end_matches('0'))?;
    }
    f.write_str(unit)
}

#[cfg(test)]
mod tests {
    use super::GoDuration;

    #[test]
    fn a_duration_reads_and_prints_as_go_does() {
        for (text, nanos, printed) in [
            ("0", 0, "0s"),
            ("-0", 0, "0s"),
            ("0s", 0, "0s"),
            ("5s", 5_000_000_000, "5s"),
            ("2h", 7_200_000_000_000, "2h0m0s"),
            ("1h2m3s4ms", 3_723_004_000_000, "1h2m3.004s"),
            ("4ms3s", 3_004_000_000, "3.004s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            (".5m", 30_000_000_000, "30s"),
            ("5.s", 5_000_000_000, "5s"),
            ("-1h", -3_600_000_000_000, "-1h0m0s"),
            ("+90s", 90_000_000_000, "1m30s"),
            ("10us", 10_000, "10\u{b5}s"),
            ("10\u{b5}s", 10_000, "10\u{b5}s"),
            ("7ns", 7, "7ns"),
            ("300ms", 300_000_000, "300ms"),
            ("9223372036854775807ns", i64::MAX, "2562047h47m16.854775807s"),
        ] {
            let read = GoDuration::parse(text).unwrap_or_else(|| panic!("{text} is a duration"));
            assert_eq!(read.0, nanos, "{text}");
            assert_eq!(read.to_string(), printed, "{text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for text in [
            "",
            "-",
            "5",
            "5x",
            "s",
            ".s",
            "1h 2m",
            "1h2",
            "9223372036854775808ns",
            "3m-1s",
            "1e3s",
        ] {
            assert_eq!(GoDuration::parse(text), None, "{text:?}");
        }
    }
}
