//! What a session showed, as lines that can be compared and read.
//!
//! ```text
//! > get nothing --rev 99          the step
//! ! Error: etcdserver: …          a line of standard error
//! = 1                             the exit status, if not 0
//! ```

use std::fmt::Write;

use child::finished::Finished;

use crate::normalise::Names;

/// The lines of one finished command, normalised.
pub(crate) fn lines_of(finished: &Finished, names: &Names, is_protobuf: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if is_protobuf && finished.code == Some(0) {
        let endpoint = hex(names.endpoint.as_bytes());
        let lines_of_message = message_lines(&finished.stdout);
        lines.extend(lines_of_message.iter().map(|line| line.replace(&endpoint, "ENDPOINT")));
    } else {
        let stdout = String::from_utf8_lossy(&finished.stdout);
        lines.extend(stdout.lines().map(|line| names.normalise(line)));
    }
    let stderr = String::from_utf8_lossy(&finished.stderr);
    lines.extend(stderr.lines().map(|line| format!("! {}", names.normalise(line))));
    match finished.code {
        Some(0) => {}
        Some(code) => lines.push(format!("= {code}")),
        None => lines.push("= signal".to_owned()),
    }
    lines
}

/// A binary response message, one field a line. The first field of each is its header, whose fourth
/// field is raft's term: masked, as everywhere.
fn message_lines(bytes: &[u8]) -> Vec<String> {
    let Some(fields) = fields(bytes) else {
        return vec![format!("not a message: {}", hex(bytes))];
    };
    let mut lines = Vec::new();
    for (number, value) in fields {
        match (number, value) {
            (1, Value::Bytes(header)) => {
                for (number, value) in self::fields(header).unwrap_or_default() {
                    let value = if number == 4 { "_".to_owned() } else { value.show() };
                    lines.push(format!("header.{number} = {value}"));
                }
            }
            (number, value) => lines.push(format!("{number} = {}", value.show())),
        }
    }
    lines
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Value<'_> {
    fn show(&self) -> String {
        match self {
            Value::Number(number) => number.to_string(),
            Value::Bytes(bytes) => hex(bytes),
        }
    }
}

/// The fields of a message of varints and length-delimited values; `None` if it is something else.
fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Number(value),
            2 => {
                let (head, tail) = bytes.split_at_checked(usize::try_from(value).ok()?)?;
                bytes = tail;
                Value::Bytes(head)
            }
            _ => return None,
        };
        fields.push((key >> 3, value));
    }
    Some(fields)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

/// Where two transcripts part: the step, then what each showed. `None` if they are equal.
pub(crate) fn difference(reference: &[String], subject: &[String]) -> Option<String> {
    let mut report = String::new();
    for (of_reference, of_subject) in steps(reference).iter().zip(steps(subject)) {
        if *of_reference == of_subject {
            continue;
        }
        writeln!(report, "{}", of_reference[0]).expect("a string takes everything");
        let common = of_reference.iter().zip(of_subject).take_while(|(a, b)| a == b).count();
        // Within a long line, only what is near the first difference is of interest.
        let [a, b] = [*of_reference, of_subject].map(|lines| lines.get(common).map_or("", |l| l));
        let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
        let skipped =
            if same > LINE_CHARACTERS_MAX / 2 { same - LINE_CHARACTERS_MAX / 4 } else { 0 };
        for (name, lines) in [("etcd   ", *of_reference), ("subject", of_subject)] {
            for (index, line) in lines.iter().skip(common).take(DIFFERENCE_LINES_MAX).enumerate() {
                let from = if index == 0 { skipped } else { 0 };
                let dots = if from > 0 { "…" } else { "" };
                let line: String = line.chars().skip(from).take(LINE_CHARACTERS_MAX).collect();
                writeln!(report, "  {name} {dots}{line}").expect("a string takes everything");
            }
        }
    }
    (!report.is_empty()).then_some(report)
}

/// How much of one step's difference is shown.
const DIFFERENCE_LINES_MAX: usize = 12;
/// How much of one line is shown.
const LINE_CHARACTERS_MAX: usize = 400;

fn steps(lines: &[String]) -> Vec<&[String]> {
    lines.chunk_by(|_, next| !next.starts_with("> ")).collect()
}

#[test]
fn equal_transcripts_have_no_difference_and_unequal_ones_name_the_step() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let reference = lines("> put a 1\nOK\n> get a\na\n1");
    assert_eq!(difference(&reference, &reference), None);
    let report = difference(&reference, &lines("> put a 1\nOK\n> get a\na\n2")).expect("differ");
    assert_eq!(report, "> get a\n  etcd    1\n  subject 2\n");
    let shorter = lines("> put a 1\nOK\n> get a\na");
    assert_eq!(difference(&reference, &shorter).expect("differ"), "> get a\n  etcd    1\n");
    let long = |end: &str| vec!["> get".to_owned(), "x".repeat(9000) + end];
    let report = difference(&long("a"), &long("b")).expect("differ");
    assert!(report.len() < 300 && report.contains("xa\n") && report.contains("xb\n"), "{report}");
}

#[test]
fn a_binary_message_is_shown_field_by_field_without_its_term() {
    // A header { cluster 7, revision 300, term 5 } and a count of 2 in field 4.
    let bytes = [0x0a, 7, 0x08, 7, 0x18, 0xac, 0x02, 0x20, 5, 0x20, 2];
    let expected = ["header.1 = 7", "header.3 = 300", "header.4 = _", "4 = 2"];
    assert_eq!(message_lines(&bytes), expected);
    assert_eq!(message_lines(&[0x0a, 9]), ["not a message: 0a09"]);
}
