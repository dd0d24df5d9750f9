//! What the library gets to read, from bytes as clients have sent them.

use super::*;

/// The headers of `Status` as etcdctl 3.4 sends them with `--endpoints http://127.0.0.1:24790`.
const FROM_A_URL: &[u8] = &[
    0x83, 0x86, 0x45, 0x97, 0x60, 0xa9, 0x24, 0x88, 0x2d, 0x9d, 0xcb, 0x65, 0x71, 0xaf, 0xa0, 0x66,
    0xa9, 0x25, 0xa8, 0x75, 0x10, 0xac, 0x6e, 0x48, 0xd3, 0x6a, 0x3f, 0x41, 0x90, 0x9d, 0x29, 0xae,
    0xe3, 0x0c, 0x04, 0x4e, 0xae, 0x05, 0xc0, 0xb8, 0x6e, 0x09, 0xa7, 0x5f, 0x07, 0x5f, 0x8b, 0x1d,
    0x75, 0xd0, 0x62, 0x0d, 0x26, 0x3d, 0x4c, 0x4d, 0x65, 0x64,
];
/// The same with `http://127.0.0.1:24790` put so that it can be read.
const READABLE: [u8; 16] = [
    0x9d, 0x29, 0xae, 0xeb, 0x2c, 0x84, 0x4e, 0xae, 0x05, 0xc0, 0xb8, 0x6e, 0x09, 0xa7, 0x5f, 0x07,
];

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// What comes through, read in pieces of so many bytes, and whether more would be looked at.
fn passed(bytes: &[u8], piece_bytes: usize) -> (Vec<u8>, bool) {
    let (mut bytes, mut frames) = (bytes.to_vec(), Frames::new());
    let goes_on = bytes.chunks_mut(piece_bytes).all(|piece| frames.pass(piece));
    (bytes, goes_on)
}

fn readable(headers: &[u8]) -> Vec<u8> {
    [&headers[..29], &READABLE, &headers[45..]].concat()
}

#[test]
fn a_url_can_be_read_in_every_request_however_the_bytes_are_cut() {
    let connection = |headers: &[u8]| {
        [
            PREFACE,
            &frame(4, 0, &[]),
            &frame(HEADERS, 4, headers),
            // A message that looks like headers.
            &frame(0, 1, FROM_A_URL),
            &frame(HEADERS, 4, &[0x83, 0x86, 0xbe]),
            &frame(HEADERS, 4, headers),
        ]
        .concat()
    };
    let (sent, expected) = (connection(FROM_A_URL), connection(&readable(FROM_A_URL)));
    for piece_bytes in 1..=sent.len() {
        assert_eq!(
            passed(&sent, piece_bytes),
            (expected.clone(), true),
            "in pieces of {piece_bytes}"
        );
    }
}

#[test]
fn behind_a_first_request_without_a_url_nothing_is_looked_at() {
    // `:authority: a:1`, plain; then the URL, which this client would not send.
    let headers = [0x83, 0x86, 0x41, 0x03, b'a', b':', b'1', 0x84];
    let url = frame(HEADERS, 4, FROM_A_URL);
    let sent = [PREFACE, &frame(HEADERS, 4, &headers), &url].concat();
    assert_eq!(passed(&sent, sent.len()), (sent, false));
    // The same if there is no authority at all.
    let sent = [PREFACE, &frame(HEADERS, 4, &[0x83, 0x86]), &url].concat();
    assert_eq!(passed(&sent, sent.len()), (sent, false));
    let sent = b"PRI /http://a HTTP/1.1\r\n".to_vec();
    assert_eq!(passed(&sent, sent.len()), (sent, false));
}

#[test]
fn headers_before_the_authority_are_passed_whatever_their_form() {
    for before in [
        // A name that is spelt out and one by a long number, a table size, an empty value.
        &[0x40, 0x02, b'/', b'/', 0x01, b'/'][..],
        &[0x7f, 0x80, 0x01, 0x02, b'/', b':'],
        &[0x3f, 0xe1, 0x1f, 0x0f, 0x00, 0x00],
        &[0x00, 0x00, 0x00, 0x10, 0x01, b'/', 0x00],
    ] {
        let block = |authority: &[u8]| [before, &[0x01, 0x08], authority].concat();
        let sent = [PREFACE, &frame(HEADERS, 4, &block(b"http://a"))].concat();
        let expected = [PREFACE, &frame(HEADERS, 4, &block(b"httpB33a"))].concat();
        assert_eq!(passed(&sent, sent.len()), (expected, true), "{before:x?}");
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..20_000 {
        let headers: Vec<u8> = (0..random.usize(0..40)).map(|_| random.u8(..)).collect();
        let sent = [PREFACE, &frame(HEADERS, random.u8(..), &headers), FROM_A_URL].concat();
        let (through, _) = passed(&sent, random.usize(1..20));
        assert_eq!(through.len(), sent.len());
    }
}
