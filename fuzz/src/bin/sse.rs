//! The SSE decoder: any cut gives the same frames, and all of them together are the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_translate::answer::sse::Decoder;

type Frame = (Vec<u8>, Option<Vec<u8>>);

fn frames(bytes: &[u8], size: usize) -> (Vec<Frame>, Vec<u8>) {
    let (mut decoder, mut frames, mut raw) = (Decoder::default(), Vec::new(), Vec::new());
    for piece in bytes.chunks(size.max(1)) {
        decoder.feed(piece, |f| {
            frames.push((f.name.to_vec(), f.data.map(<[u8]>::to_vec)));
            raw.extend_from_slice(f.raw);
        });
    }
    decoder.end(|f| {
        frames.push((f.name.to_vec(), f.data.map(<[u8]>::to_vec)));
        raw.extend_from_slice(f.raw);
    });
    (frames, raw)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let (whole, raw) = frames(bytes, bytes.len());
    assert_eq!(raw, bytes, "bytes were lost");
    let with_data = |all: &[Frame]| all.iter().filter(|f| f.1.is_some()).cloned().collect::<Vec<_>>();
    assert_eq!(with_data(&frames(bytes, usize::from(size)).0), with_data(&whole));
});
