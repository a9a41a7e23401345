//! The short form of `make fuzz`: what each fuzz target does, over every seed, cut in three ways, without libFuzzer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot read its seeds must fail"
)]
#![allow(missing_docs, unreachable_pub, reason = "what it includes is a library")]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};
use tollgate_translate::Format::{Chat, Messages};

#[path = "../../../fuzz/src/lib.rs"]
mod entries;

/// A target, how many bytes of its seeds are its own arguments, and what it does with the others.
type Target = (&'static str, usize, fn(&[u8], usize));

const TARGETS: [Target; 5] = [
    ("sse", 1, entries::sse),
    ("messages_request", 0, |bytes, cut| entries::request(Messages, head(bytes, cut))),
    ("chat_request", 0, |bytes, cut| entries::request(Chat, head(bytes, cut))),
    ("answer_stream", 2, |bytes, cut| {
        for (upstream, client) in [(Chat, Messages), (Messages, Chat)] {
            entries::answer(upstream, client, bytes, cut);
            entries::tap(upstream, bytes, cut);
        }
    }),
    ("whole_answer", 0, |bytes, cut| {
        for (upstream, client) in [(Chat, Messages), (Messages, Chat)] {
            entries::whole_answer(upstream, client, head(bytes, cut));
        }
    }),
];

/// What is no stream is not read in pieces: it is cut off.
fn head(bytes: &[u8], cut: usize) -> &[u8] {
    &bytes[..cut.min(bytes.len())]
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The names of what lies in a folder, without what follows a dot.
fn names(folder: &Path) -> BTreeSet<String> {
    let stem = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()
    };
    std::fs::read_dir(folder).unwrap().map(stem).collect()
}

#[test]
fn every_seed_passes_every_target_however_it_is_cut() {
    for (target, own, run) in TARGETS {
        let seeds = fuzz().join("seeds").join(target);
        assert!(!names(&seeds).is_empty(), "{target} has no seeds");
        for seed in std::fs::read_dir(&seeds).unwrap() {
            let path = seed.unwrap().path();
            println!("{}", path.display());
            let whole = std::fs::read(&path).unwrap();
            let bytes = whole.get(own..).unwrap();
            for cut in [1, 7, bytes.len()] {
                run(bytes, cut);
            }
        }
    }
}

#[test]
fn no_target_is_left_out() {
    let here: BTreeSet<String> = TARGETS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz().join("src/bin")), here);
    assert_eq!(names(&fuzz().join("seeds")), here);
}
