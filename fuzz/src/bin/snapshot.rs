//! Any stream: it is refused, or a state opens on what it held and writes the same stream again.
#![no_main]

use bytes::Bytes;
use fuzz::snapshot::parse;
use fuzz::store::written;
use libfuzzer_sys::fuzz_target;
use state::State;
use state::alarms::Quota;
use state::checkpoint::restore;
use state::engine::memory::MemoryEngine;

fuzz_target!(|input: &[u8]| {
    let (stream, piece_bytes) = parse(input);
    let mut pieces = stream.chunks(piece_bytes);
    let mut next = || -> Result<Option<Bytes>, std::io::Error> {
        Ok(pieces.next().map(Bytes::copy_from_slice))
    };
    let mut engine = MemoryEngine::new();
    let Ok(header) = restore(&mut next, &mut engine) else { return };
    // Rows that a stream may carry are not all rows that a state can use.
    let Ok(state) = State::open(Box::new(engine), Quota(None)) else { return };
    let (again, header_again) = written(&state, header.cluster);
    assert_eq!(header_again, header);
    assert!(again == stream, "another stream comes out than went in");
});
