//! `etcdserverpb.WatchResponse` on the wire, put together from prepared parts.
//!
//! ```text
//! WatchResponse  header=1 watch_id=2 created=3 canceled=4 compact_revision=5 cancel_reason=6
//!                fragment=7 events=11
//! header         cluster_id=1 member_id=2 revision=3 raft_term=4
//! Event          type=1 (0 put, 1 delete) kv=2 prev_kv=3
//! ```
//!
//! An event is encoded once, tag and length included, so that a response is a few copies: the
//! header of its revision, the watcher's id, the events it wants. The kv of a put is
//! [`Record::bytes`] as it stands; that of a delete is the key and the revision.
//!
//! What it does not do: it never reads the wire (the server's generated messages do), and it does
//! not decide who gets what.

use crate::mvcc::record::Record;
use crate::types::{ClusterId, MemberId, Revision, Term};

const VARINT: u8 = 0;
const LENGTH_DELIMITED: u8 = 2;

/// The largest varint: 64 bits in groups of seven.
const VARINT_BYTES_MAX: usize = 10;
/// Largest encoded header: tag and length, then four numbers with a tag each.
const HEADER_BYTES_MAX: usize = 2 + 4 * (1 + VARINT_BYTES_MAX);
// The length of a header is written as one byte.
const _: () = assert!(HEADER_BYTES_MAX < 0x80);

/// What every response header of a stream says beside the revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// The cluster.
    pub cluster: ClusterId,
    /// The member that serves the stream.
    pub member: MemberId,
    /// The raft term as the member knows it now.
    pub term: Term,
}

impl Sender {
    /// Field 1 of a response at `revision`, tag and length included.
    pub(super) fn header(&self, revision: Revision) -> HeaderBytes {
        let mut header = HeaderBytes { bytes: [0; HEADER_BYTES_MAX], len: 2 };
        header.number(1, self.cluster.0);
        header.number(2, self.member.0);
        header.number(3, revision.0.cast_unsigned());
        header.number(4, self.term.0);
        header.bytes[0] = 1 << 3 | LENGTH_DELIMITED;
        header.bytes[1] = u8::try_from(header.len - 2).expect("bounded by HEADER_BYTES_MAX");
        header
    }
}

/// An encoded header, without a heap allocation: one is made per revision sent.
#[derive(Clone, Copy)]
pub(super) struct HeaderBytes {
    bytes: [u8; HEADER_BYTES_MAX],
    len: usize,
}

impl HeaderBytes {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn number(&mut self, field: u8, mut value: u64) {
        if value == 0 {
            return;
        }
        self.push(field << 3 | VARINT);
        while value >= 0x80 {
            self.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.push(value.to_le_bytes()[0]);
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }
}

/// A response without events: the answer to a request, a cancellation or a sign of progress.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Control<'a> {
    pub(super) watch_id: i64,
    pub(super) created: bool,
    pub(super) canceled: bool,
    pub(super) compact_revision: Revision,
    pub(super) cancel_reason: &'a str,
}

impl Control<'_> {
    pub(super) fn write(&self, header: &HeaderBytes, out: &mut Vec<u8>) {
        out.extend_from_slice(header.as_slice());
        int_field(out, 2, self.watch_id);
        int_field(out, 3, i64::from(self.created));
        int_field(out, 4, i64::from(self.canceled));
        int_field(out, 5, self.compact_revision.0);
        if !self.cancel_reason.is_empty() {
            bytes_field(out, 6, self.cancel_reason.as_bytes());
        }
    }
}

/// What stands in front of the events of a response.
pub(super) fn write_events_head(
    header: &HeaderBytes,
    watch_id: i64,
    fragment: bool,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(header.as_slice());
    int_field(out, 2, watch_id);
    int_field(out, 7, i64::from(fragment));
}

/// The size of what [`write_events_head`] writes.
pub(super) fn events_head_bytes(header: &HeaderBytes, watch_id: i64, fragment: bool) -> usize {
    let id = if watch_id == 0 { 0 } else { 1 + varint_bytes(watch_id.cast_unsigned()) };
    header.as_slice().len() + id + if fragment { 2 } else { 0 }
}

/// One event as an element of field 11, tag and length included.
pub(super) fn event(record: &Record, previous: Option<&Record>) -> Box<[u8]> {
    let mut kv = Vec::new();
    let kv: &[u8] = if record.is_put() {
        record.bytes()
    } else {
        kv.reserve_exact(record.bytes().len() + 1 + VARINT_BYTES_MAX);
        kv.extend_from_slice(record.bytes());
        int_field(&mut kv, 3, record.revision().0);
        &kv
    };
    let mut body = if record.is_put() { 0 } else { 2 };
    body += field_bytes(kv.len());
    body += previous.map_or(0, |previous| field_bytes(previous.bytes().len()));

    let mut out = Vec::with_capacity(field_bytes(body));
    out.push(11 << 3 | LENGTH_DELIMITED);
    varint(&mut out, body as u64);
    if !record.is_put() {
        int_field(&mut out, 1, 1);
    }
    bytes_field(&mut out, 2, kv);
    if let Some(previous) = previous {
        bytes_field(&mut out, 3, previous.bytes());
    }
    assert_eq!(out.len(), field_bytes(body), "an event is as long as announced");
    out.into_boxed_slice()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn varint_bytes(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// The size of a length-delimited field, for field numbers below 16.
fn field_bytes(len: usize) -> usize {
    1 + varint_bytes(len as u64) + len
}

fn int_field(out: &mut Vec<u8>, number: u8, value: i64) {
    if value != 0 {
        out.push(number << 3 | VARINT);
        varint(out, value.cast_unsigned());
    }
}

/// Writes the field even if `value` is empty: an absent message is not an empty one.
fn bytes_field(out: &mut Vec<u8>, number: u8, value: &[u8]) {
    out.push(number << 3 | LENGTH_DELIMITED);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_bytes_written() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            varint(&mut out, value);
            assert_eq!(out.len(), varint_bytes(value), "{value}");
        }
        let sender = Sender {
            cluster: ClusterId(u64::MAX),
            member: MemberId(u64::MAX),
            term: Term(u64::MAX),
        };
        let header = sender.header(Revision(i64::MAX));
        for (watch_id, fragment) in [(0, false), (0, true), (-1, true), (300, false)] {
            let mut out = Vec::new();
            write_events_head(&header, watch_id, fragment, &mut out);
            assert_eq!(out.len(), events_head_bytes(&header, watch_id, fragment));
        }
    }
}
