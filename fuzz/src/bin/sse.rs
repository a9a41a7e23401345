//! The SSE decoder: any cut gives the same frames, and all of them together are the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    tollgate_fuzz::sse(bytes, usize::from(size));
});
