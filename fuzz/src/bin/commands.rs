//! Any batch: it is refused, or it says the same when encoded again, and is applied.
#![no_main]

use bytes::Bytes;
use fuzz::store::Store;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use state::command::{begin_batch, decode_batch, push_command};

fuzz_target!(|input: &[u8]| {
    let Ok((time, commands)) = decode_batch(Bytes::copy_from_slice(input)) else { return };
    let mut again = begin_batch(time);
    for command in &commands {
        push_command(&mut again, &command.encode_to_vec());
    }
    let (time_again, commands_again) = decode_batch(again.clone().freeze()).expect("written by us");
    assert_eq!((time_again, commands_again), (time, commands));
    let mut store = Store::with_history();
    // What a server checks before it lets a command into the log is not repeated when it comes out,
    // so what is written here need not be what a server would write.
    store.apply(again.freeze());
});
