//! A panic that only a fuzzer with working counters finds: it keeps the other targets honest.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let [b'l', rest @ ..] = input
        && let [b'o', rest @ ..] = rest
        && let [b'g', ..] = rest
    {
        panic!("the planted panic");
    }
});
