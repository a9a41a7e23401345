//! Identifiers and times in the providers' own shapes.

use std::time::{SystemTime, UNIX_EPOCH};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `prefix` and 22 random letters and digits: `msg_01AbC…`, `toolu_01…`, `call_…`.
pub fn fresh(prefix: &str) -> String {
    let mut bits = uuid::Uuid::new_v4().as_u128();
    let mut id = prefix.to_owned();
    for _ in 0..22 {
        let at = usize::try_from(bits % 62).unwrap_or(0);
        id.push(ALPHABET.get(at).copied().map_or('0', char::from));
        bits /= 62;
    }
    id
}

/// Now in Unix seconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// A signature over reasoning text, which the fake checks when the text comes back.
pub fn sign(thinking: &str) -> String {
    format!("EqFake{:016x}{:016x}==", hash(thinking.as_bytes()), hash(format!("salt{thinking}").as_bytes()))
}

/// FNV-1a: stable from run to run.
pub fn hash(bytes: &[u8]) -> u64 {
    let step = |h: u64, b: &u8| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// A rough count of tokens, as four bytes each.
pub fn tokens(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX)
}
