//! Removes obvious secrets from content before it is stored.
//!
//! Works on JSON text and plain text alike: what is replaced never contains a quote or a backslash's victim, so JSON stays JSON.

use memchr::memmem::{self, Finder};
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
/// The most bytes before [`PEM_KEY`] in a key's first line.
const PEM_HEAD: usize = 64;

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
    /// Linear in the text, whatever it is made of: every run of token characters is looked at once.
    fn find(&self, finder: &Finder<'_>, text: &str, spans: &mut Vec<(usize, usize)>) {
        let bytes = text.as_bytes();
        let (mut run, mut done) = (Run::default(), 0);
        for at in finder.find_iter(bytes) {
            let from = at + self.head.len();
            if at < done {
                continue;
            }
            run = run.with(bytes, from);
            let word_before = at > 0 && bytes[at - 1].is_ascii_alphanumeric();
            let digit = !self.digit || run.last_digit.is_some_and(|digit| digit >= from);
            if run.end - from >= self.least && !word_before && digit {
                spans.push((if self.keep_head { from } else { at }, run.end));
                done = run.end;
            }
        }
    }
}

/// A run of token characters.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    start: usize,
    end: usize,
    last_digit: Option<usize>,
}

// === impl Run ===

impl Run {
    /// The run in which `from` is (or that would begin there): this one, or the next.
    fn with(self, bytes: &[u8], from: usize) -> Run {
        if (self.start..=self.end).contains(&from) && self.end > 0 {
            return self;
        }
        let token = &bytes[from..];
        let len = token.iter().take_while(|b| is_token(**b)).count();
        let last_digit = token[..len].iter().rposition(u8::is_ascii_digit).map(|at| from + at);
        Run { start: from, end: from + len, last_digit }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+' | b'/' | b'=' | b'~')
}

/// PEM private keys: to their end line, else to the end of the JSON string or of the text.
fn private_keys(text: &str, spans: &mut Vec<(usize, usize)>) {
    let mut done = 0;
    for (at, _) in text.match_indices(PEM_BEGIN) {
        if at < done {
            continue;
        }
        let rest = &text.as_bytes()[at..];
        // The words between the two are a few: `RSA`, `ENCRYPTED`, `OPENSSH`.
        let near = &rest[..rest.len().min(PEM_HEAD + PEM_KEY.len())];
        let Some(head) = memmem::find(near, PEM_KEY.as_bytes()) else { continue };
        let body = &rest[head + PEM_KEY.len()..];
        // Only as far as the next such line: what is searched here is not searched again.
        let close = memmem::find(body, PEM_KEY.as_bytes()).map(|p| p + PEM_KEY.len());
        let body = &body[..close.unwrap_or(body.len())];
        let len = match memchr::memchr(b'"', body) {
            Some(quote) => quote - body[..quote].iter().rev().take_while(|b| **b == b'\\').count(),
            None => body.len(),
        };
        done = at + head + PEM_KEY.len() + len;
        spans.push((at, done));
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

    /// A text of this size took hours when each head's token was counted anew; now it takes no time. What is asserted is that it ends.
    #[test]
    fn no_text_is_made_to_take_long() {
        const SIZE: usize = 4 << 20;
        let texts = [
            "sk-",
            "bearer-sk-",
            "Bearer ",
            "-----BEGIN ",
            "-----BEGIN PRIVATE KEY-----",
            "xoxb-sk-ghp_AKIA",
        ];
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for part in texts {
                let clean = default(&part.repeat(SIZE / part.len())).len();
                done.send((part, clean)).unwrap();
            }
        });
        for part in texts {
            let (said, _) = ended.recv_timeout(std::time::Duration::from_secs(120)).expect(part);
            assert_eq!(said, part);
        }
    }

    #[test]
    fn a_secret_in_a_long_run_is_found_wherever_it_is() {
        assert_eq!(default("sk-sk-sk-sk-sk-sk-sk-1"), "[redacted]");
        assert_eq!(default("sk-a-sk-b-sk-c-sk-d-sk-e"), "sk-a-sk-b-sk-c-sk-d-sk-e", "no digit");
        assert_eq!(default("sk-1 sk-0123456789abcdef"), "sk-1 [redacted]");
        assert_eq!(default("xsk-0123456789abcdef-sk-0123456789abcdef"), "xsk-0123456789abcdef-[redacted]");
        let two = "-----BEGIN PRIVATE KEY-----\nA\n-----END PRIVATE KEY----- and -----BEGIN RSA PRIVATE KEY-----\nB\n-----END RSA PRIVATE KEY-----.";
        assert_eq!(default(two), "[redacted] and [redacted].");
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
