//! A checkpoint as an input: one byte that says how, then the stream.

/// The checksums stay as they are.
const KEEP_CHECKSUMS: u8 = 1;
/// Magic and version.
const PREAMBLE_BYTES: usize = 12;
/// Section and length.
const CHUNK_HEAD_BYTES: usize = 5;
const CHUNK_CRC_BYTES: usize = 4;

/// The stream of an input, and the size of the pieces in which it arrives.
pub fn parse(input: &[u8]) -> (Vec<u8>, usize) {
    let (&how, stream) = input.split_first().unwrap_or((&0, &[]));
    let mut stream = stream.to_vec();
    if how & KEEP_CHECKSUMS == 0 {
        put_checksums_right(&mut stream);
    }
    let piece_bytes = 1 + usize::from(how >> 1) * 37;
    (stream, piece_bytes)
}

/// Each chunk ends with the checksum of everything before it but the checksums.
fn put_checksums_right(stream: &mut [u8]) {
    let Some(preamble) = stream.get(..PREAMBLE_BYTES) else { return };
    let mut crc = crc32c::crc32c(preamble);
    let mut at = PREAMBLE_BYTES;
    while let Some(&[_, a, b, c, d]) = stream.get(at..).and_then(|rest| rest.first_chunk::<5>()) {
        let payload = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let end = at.saturating_add(CHUNK_HEAD_BYTES).saturating_add(payload);
        let Some(covered) = stream.get(at..end) else { return };
        crc = crc32c::crc32c_append(crc, covered);
        let Some(place) = stream.get_mut(end..end + CHUNK_CRC_BYTES) else { return };
        place.copy_from_slice(&crc.to_be_bytes());
        at = end + CHUNK_CRC_BYTES;
    }
}
