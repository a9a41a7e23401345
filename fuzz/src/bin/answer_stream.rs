//! The readers of answers: both translators, and the taps of the pass-through.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_translate::Format::{Chat, Messages};

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (chat, size, bytes) = input;
    let (upstream, client) = if chat { (Chat, Messages) } else { (Messages, Chat) };
    tollgate_fuzz::answer(upstream, client, bytes, usize::from(size));
    tollgate_fuzz::tap(upstream, bytes, usize::from(size));
});
