//! The readers of whole answers and of error bodies.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_translate::Format::{Chat, Messages};

fuzz_target!(|bytes: &[u8]| {
    for (upstream, client) in [(Chat, Messages), (Messages, Chat)] {
        tollgate_fuzz::whole_answer(upstream, client, bytes);
    }
});
