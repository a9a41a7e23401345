//! The parser of Messages requests, their splices and their translation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_translate::Format;

fuzz_target!(|body: &[u8]| tollgate_fuzz::request(Format::Messages, body));
