//! The bytes of a record: just enough of protobuf's wire format for `mvccpb.KeyValue`, whose schema is
//! frozen.
//!
//! ```text
//! 0a 01 'k'   10 02        18 03        20 01     2a 01 'v'   30 07
//! key "k"     created 2    modified 3   version 1 value "v"   lease 7
//! ```
//!
//! A record has one form: what [`parse`] takes, [`encode`] makes of what was found in it. It knows
//! nothing of versions and kinds, and no other message.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

use super::PutFields;
use crate::types::{LeaseId, Revision};

pub(super) const ZERO: PutFields = PutFields {
    create_revision: Revision(0),
    mod_revision: Revision(0),
    version: 0,
    lease: LeaseId(0),
};

pub(super) struct Parsed<'a> {
    pub(super) key: &'a [u8],
    pub(super) fields: PutFields,
    pub(super) value: Value<'a>,
}

/// Field 5. Of a value elsewhere it is the length, as a number; no `KeyValue` on the wire has that.
pub(super) enum Value<'a> {
    Here(&'a [u8]),
    Elsewhere(u64),
}

const VARINT: u8 = 0;
const LENGTH_DELIMITED: u8 = 2;

/// A put in canonical form.
pub(super) fn encode(key: &[u8], fields: PutFields, value: &Value<'_>) -> Vec<u8> {
    let here = if let Value::Here(value) = value { value.len() } else { 0 };
    let mut bytes = Vec::with_capacity(key.len() + here + 48);
    bytes_field(&mut bytes, 1, key);
    int_field(&mut bytes, 2, fields.create_revision.0);
    int_field(&mut bytes, 3, fields.mod_revision.0);
    int_field(&mut bytes, 4, fields.version);
    match value {
        Value::Here(value) => bytes_field(&mut bytes, 5, value),
        Value::Elsewhere(length) => int_field(&mut bytes, 5, length.cast_signed()),
    }
    int_field(&mut bytes, 6, fields.lease.0);
    bytes
}

/// `None` unless `bytes` is in canonical form: known fields only, ascending, each at most once,
/// defaults omitted, numbers in their shortest form.
pub(super) fn parse(mut bytes: &[u8]) -> Option<Parsed<'_>> {
    let mut parsed = Parsed { key: b"", fields: ZERO, value: Value::Here(b"") };
    let mut last = 0;
    while let Some((&tag, rest)) = bytes.split_first() {
        bytes = rest;
        let (number, wire_type) = (tag >> 3, tag & 7);
        if number <= last {
            return None;
        }
        last = number;
        match (number, wire_type) {
            (1, LENGTH_DELIMITED) => parsed.key = read_bytes(&mut bytes)?,
            (5, LENGTH_DELIMITED) => parsed.value = Value::Here(read_bytes(&mut bytes)?),
            (2..=6, VARINT) => {
                let value = read_varint(&mut bytes)?.cast_signed();
                if value == 0 {
                    return None;
                }
                match number {
                    2 => parsed.fields.create_revision = Revision(value),
                    3 => parsed.fields.mod_revision = Revision(value),
                    4 => parsed.fields.version = value,
                    5 => parsed.value = Value::Elsewhere(value.cast_unsigned()),
                    _ => parsed.fields.lease = LeaseId(value),
                }
            }
            _ => return None,
        }
    }
    Some(parsed)
}

/// The key of a canonical record: always the first field.
pub(super) fn key(mut bytes: &[u8]) -> &[u8] {
    match bytes.split_first() {
        Some((&tag, rest)) if tag == 1 << 3 | LENGTH_DELIMITED => {
            bytes = rest;
            read_bytes(&mut bytes).expect("a record is canonical by construction")
        }
        _ => b"",
    }
}

pub(super) fn bytes_field(out: &mut Vec<u8>, number: u8, value: &[u8]) {
    if !value.is_empty() {
        out.push(number << 3 | LENGTH_DELIMITED);
        varint(out, value.len() as u64);
        out.extend_from_slice(value);
    }
}

fn int_field(out: &mut Vec<u8>, number: u8, value: i64) {
    if value != 0 {
        out.push(number << 3 | VARINT);
        varint(out, value.cast_unsigned());
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn read_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(read_varint(bytes)?).ok().filter(|&len| len > 0)?;
    let (field, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(field)
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            // Canonical: no idle last byte, nothing beyond 64 bits.
            let is_shortest = shift == 0 || (*first != 0 && (shift < 63 || *first == 1));
            return is_shortest.then_some(value);
        }
    }
    None
}
