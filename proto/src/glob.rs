//! Globs over names: `*` stands for any run of characters, everything else for itself.
//!
//! Here, beside the wire, because the data plane enforces by them and `kubectl tollgate review` reasons about them: both must mean
//! the same.

/// A list of globs; matches when one of them does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Globs(Vec<Box<str>>);

// === impl Globs ===

impl Globs {
    /// Takes patterns as they stand in manifests.
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Self {
        Globs(patterns.into_iter().map(|p| p.as_ref().into()).collect())
    }

    /// Whether there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The patterns.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// Whether `text` matches one of the patterns. Where `text` is a pattern itself, this says whether one of these covers all
    /// that it stands for: a star in `text` can only fall into a star here.
    pub fn matches(&self, text: &str) -> bool {
        self.0.iter().any(|p| matches(p.as_bytes(), text.as_bytes()))
    }
}

/// Linear-time wildcard match with one point of return (no recursion, so no pattern can blow up).
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p, t));
                p += 1;
            }
            Some(c) if *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match &mut back {
                Some((star, from)) => {
                    *from += 1;
                    t = *from;
                    p = *star + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_run() {
        let globs = Globs::new(["anthropic/*", "*/o3-pro", "azure/gpt-*-mini", "exact"]);
        for (text, want) in [
            ("anthropic/claude", true),
            ("anthropic/", true),
            ("anthropic", false),
            ("openai/o3-pro", true),
            ("openai/o3-pro2", false),
            ("azure/gpt-5-mini", true),
            ("azure/gpt--mini", true),
            ("azure/gpt-5-minis", false),
            ("exact", true),
            ("exact2", false),
            ("", false),
        ] {
            assert_eq!(globs.matches(text), want, "{text}");
        }
        assert!(Globs::new(["*"]).matches(""));
        assert!(!Globs::new(["*a*a*a*a*a*a*b"]).matches(&"a".repeat(5000)));
    }
}
