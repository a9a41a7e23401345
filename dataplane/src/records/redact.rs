//! Removes obvious secrets from content before it is stored.
//!
//! Works on JSON text and plain text alike: what is replaced never contains a quote or a backslash's victim, so JSON stays JSON.

use memchr::memmem::Finder;
use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};

/// A hook that rewrites content before it is stored; [`default`] is the one in use unless another is given.
/// It must keep JSON text valid JSON.
pub type Redact = Arc<dyn for<'a> Fn(&'a str) -> Cow<'a, str> + Send + Sync>;

/// What stands in a secret's place.
pub const REDACTED: &str = "[redacted]";

/// A family of secrets by its fixed beginning.
struct Rule {
    /// The bytes it begins with.
    head: &'static str,
    /// The least number of token characters after the head.
    least: usize,
    /// Whether the head stays readable (`Bearer `).
    keep_head: bool,
    /// Whether the token must contain a digit (so that words such as `sk-learn-something-long` pass).
    digit: bool,
}

const RULES: &[Rule] = &[
    Rule { head: "sk-", least: 16, keep_head: false, digit: true },
    Rule { head: "AKIA", least: 16, keep_head: false, digit: false },
    Rule { head: "ASIA", least: 16, keep_head: false, digit: false },
    Rule { head: "AIza", least: 30, keep_head: false, digit: false },
    Rule { head: "ghp_", least: 20, keep_head: false, digit: false },
    Rule { head: "gho_", least: 20, keep_head: false, digit: false },
    Rule { head: "ghs_", least: 20, keep_head: false, digit: false },
    Rule { head: "github_pat_", least: 20, keep_head: false, digit: false },
    Rule { head: "glpat-", least: 16, keep_head: false, digit: false },
    Rule { head: "xoxb-", least: 16, keep_head: false, digit: true },
    Rule { head: "xoxp-", least: 16, keep_head: false, digit: true },
    Rule { head: "Bearer ", least: 16, keep_head: true, digit: false },
    Rule { head: "bearer ", least: 16, keep_head: true, digit: true },
];

/// The rules' heads, ready to search.
static FINDERS: LazyLock<Vec<(&Rule, Finder<'static>)>> =
    LazyLock::new(|| RULES.iter().map(|rule| (rule, Finder::new(rule.head))).collect());

const PEM_BEGIN: &str = "-----BEGIN ";
const PEM_KEY: &str = "PRIVATE KEY-----";

/// The default hook as a value.
pub fn hook() -> Redact {
    Arc::new(default)
}

/// Replaces provider keys, cloud and forge tokens, bearer tokens and private keys.
pub fn default(text: &str) -> Cow<'_, str> {
    let mut spans = Vec::new();
    for (rule, finder) in FINDERS.iter() {
        rule.find(finder, text, &mut spans);
    }
    private_keys(text, &mut spans);
    if spans.is_empty() {
        return Cow::Borrowed(text);
    }
    spans.sort_unstable();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (start, end) in spans {
        if start >= at {
            out.push_str(&text[at..start]);
            out.push_str(REDACTED);
        }
        at = at.max(end);
    }
    out.push_str(&text[at..]);
    Cow::Owned(out)
}

// === impl Rule ===

impl Rule {
    fn find(&self, finder: &Finder<'_>, text: &str, spans: &mut Vec<(usize, usize)>) {
        let bytes = text.as_bytes();
        for at in finder.find_iter(bytes) {
            let from = at + self.head.len();
            let token = &bytes[from..];
            let len = token.iter().take_while(|b| is_token(**b)).count();
            let word_before = at > 0 && bytes[at - 1].is_ascii_alphanumeric();
            let digit = !self.digit || token[..len].iter().any(u8::is_ascii_digit);
            if len >= self.least && !word_before && digit {
                spans.push((if self.keep_head { from } else { at }, from + len));
            }
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+' | b'/' | b'=' | b'~')
}

/// PEM private keys: to their end line, else to the end of the JSON string or of the text.
fn private_keys(text: &str, spans: &mut Vec<(usize, usize)>) {
    for (at, _) in text.match_indices(PEM_BEGIN) {
        let rest = &text[at..];
        let Some(head) = rest.find(PEM_KEY).filter(|p| *p < 64) else { continue };
        let body = &rest[head + PEM_KEY.len()..];
        let close = body.find(PEM_KEY).map(|p| p + PEM_KEY.len());
        let quote = body.find('"').map(|p| p - body[..p].bytes().rev().take_while(|b| *b == b'\\').count());
        let len = match (close, quote) {
            (Some(close), Some(quote)) => close.min(quote),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => body.len(),
        };
        spans.push((at, at + head + PEM_KEY.len() + len));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_secrets_and_nothing_else() {
        let cases = [
            ("key sk-ant-api03-abcDEF123456_xyz-end", "key [redacted]"),
            ("AWS AKIAIOSFODNN7EXAMPLE!", "AWS [redacted]!"),
            ("git ghp_abcdefghijklmnopqrstuvwxyz0123456789", "git [redacted]"),
            ("Authorization: Bearer eyJhbGciOi.eyJzdWIi.sig_123", "Authorization: Bearer [redacted]"),
            (
                "the risk-free task-list of disk-abcdefghijklmnop1",
                "the risk-free task-list of disk-abcdefghijklmnop1",
            ),
            (
                "sk-learn is fine, sk-very-long-word-without-number",
                "sk-learn is fine, sk-very-long-word-without-number",
            ),
            ("the bearer of this long-sentence-in-words", "the bearer of this long-sentence-in-words"),
        ];
        for (text, want) in cases {
            assert_eq!(default(text), want);
        }
    }

    #[test]
    fn private_keys_go_whole() {
        let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEabc\n-----END RSA PRIVATE KEY-----\n";
        assert_eq!(default(&format!("a {pem} b")), "a [redacted]\n b");
        let public = "-----BEGIN CERTIFICATE-----\nMIIEabc\n-----END CERTIFICATE-----";
        assert_eq!(default(public), public);
    }

    #[test]
    fn json_stays_json() {
        for secret in [
            "-----BEGIN PRIVATE KEY-----\nMIIE",
            "-----BEGIN PRIVATE KEY-----\nMII\"E",
            "\\-----BEGIN PRIVATE KEY-----\n\\\"x",
            "Bearer abcdefghijklmnop123\\\"",
            "-----BEGIN EC PRIVATE KEY-----\nMII\n-----END EC PRIVATE KEY-----\nsk-proj-0123456789abcdef",
        ] {
            let json = serde_json::json!({"content": [{"type": "text", "text": secret}], "role": "user"})
                .to_string();
            let clean = default(&json);
            assert!(clean.contains(REDACTED), "{clean}");
            let value: serde_json::Value = serde_json::from_str(&clean).unwrap();
            assert_eq!(value["role"], "user");
        }
    }
}
