//! The keys that gateways seal with, and when they are due. Pure: time and randomness are passed in.
//!
//! A key seals for [`PERIOD`] and opens for another one: longer than what is sealed lives. A new key opens for a while
//! before it seals, so that no gateway meets what it cannot open.

use std::fmt;
use tollgate_proto::v1;

/// A key and when it was made, Unix seconds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// When it was made.
    pub made: i64,
    /// The key.
    pub key: [u8; KEY_LEN],
}

/// The keys, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keys(Vec<Key>);

/// Bytes of a key (AES-256-GCM).
pub const KEY_LEN: usize = 32;
/// How long a key seals, in seconds: MCP sessions live for 30 days, so a key before the last opens nothing any more.
pub const PERIOD: i64 = 35 * 24 * 3600;
/// How long a new key only opens, in seconds.
pub const STAGED: i64 = 600;
/// The most keys that are read.
const MOST: usize = 8;

// === impl Keys ===

impl Keys {
    /// Reads what [`Self::to_text`] wrote, or what somebody wrote by hand: lines of hexadecimal keys, each with the time of
    /// its making before it or without.
    pub fn parse(text: &str) -> Self {
        let key = |line: &str| {
            let (made, hex) = line.split_once(char::is_whitespace).unwrap_or(("0", line));
            let mut key = [0; KEY_LEN];
            hex::decode_to_slice(hex.trim(), &mut key).ok()?;
            Some(Key { made: made.parse().ok()?, key })
        };
        let mut keys: Vec<_> = text.lines().map(str::trim).filter_map(key).take(MOST).collect();
        keys.sort_by_key(|k| std::cmp::Reverse(k.made));
        Keys(keys)
    }

    /// The keys as text, for the Secret.
    pub fn to_text(&self) -> String {
        self.0.iter().map(|k| format!("{} {}\n", k.made, hex::encode(k.key))).collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys as they should be now, when that is not how they are.
    pub fn tended(&self, now: i64, fresh: impl FnOnce() -> [u8; KEY_LEN]) -> Option<Self> {
        let mut keys = self.0.clone();
        if keys.first().is_none_or(|newest| now >= newest.made + PERIOD) {
            keys.insert(0, Key { made: now, key: fresh() });
        }
        // A key's time to open is over a period after its successor began to seal.
        let over = |successor: &Key| now >= successor.made + STAGED + PERIOD;
        if let Some(last) = keys.iter().position(over) {
            keys.truncate(last + 1);
        }
        let keys = Keys(keys);
        (keys != *self).then_some(keys)
    }

    /// The keys for gateways: the one that seals first.
    pub fn wire(&self, name: &str, now: i64) -> v1::SealingKeys {
        let mut keys = self.0.clone();
        if keys.len() > 1 && keys.first().is_some_and(|newest| now < newest.made + STAGED) {
            keys.swap(0, 1);
        }
        v1::SealingKeys { name: name.to_owned(), keys: keys.iter().map(|k| k.key.to_vec()).collect() }
    }
}

// === impl Key ===

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("made", &self.made).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(keys: &Keys, now: i64) -> Vec<u8> {
        keys.wire("tollgate", now).keys.iter().map(|key| key[0]).collect()
    }

    #[test]
    fn keys_are_staged_then_seal_then_open_then_go() {
        let now = 1_800_000_000;
        let first = Keys::default().tended(now, || [1; KEY_LEN]).unwrap();
        assert_eq!(bytes(&first, now), [1], "the only key seals at once");
        assert_eq!(first.tended(now + PERIOD - 1, || [2; KEY_LEN]), None);
        let turn = now + PERIOD;
        let second = first.tended(turn, || [2; KEY_LEN]).unwrap();
        assert_eq!(bytes(&second, turn + STAGED - 1), [1, 2]);
        assert_eq!(bytes(&second, turn + STAGED), [2, 1]);
        // The third is staged while the first still opens; then the first goes.
        let turn = turn + PERIOD;
        let third = second.tended(turn, || [3; KEY_LEN]).unwrap();
        assert_eq!(bytes(&third, turn), [2, 3, 1]);
        let third = third.tended(turn + STAGED, || [4; KEY_LEN]).unwrap();
        assert_eq!(bytes(&third, turn + STAGED), [3, 2]);
    }

    #[test]
    fn keys_survive_their_text_and_are_not_printed() {
        let keys =
            Keys::default().tended(7, || [9; KEY_LEN]).unwrap().tended(7 + PERIOD, || [8; KEY_LEN]).unwrap();
        assert_eq!(Keys::parse(&keys.to_text()), keys);
        assert!(!format!("{keys:?}").contains('9'));
        let by_hand = format!("{}\nnonsense\n\n", "ab".repeat(KEY_LEN));
        assert_eq!(bytes(&Keys::parse(&by_hand), 0), [0xab]);
        assert!(Keys::parse("x").is_empty());
    }
}
