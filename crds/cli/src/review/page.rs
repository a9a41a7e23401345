//! Lines up to what a comment takes. GitHub refuses a comment over 65,536 characters whole; what does not fit is counted and said.

/// The most characters of a review, in UTF-16 units, whichever way they are counted: GitHub's 65,536 less what a pipeline puts around it.
pub const MAX: usize = 65_000;

/// What the last line needs.
const RESERVE: usize = 400;

/// A text that is filled from its top.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    length: usize,
    /// Lines that did not fit, blank ones aside.
    left_out: usize,
}

// === impl Page ===

impl Page {
    /// Adds a line. After the first that does not fit none is added, so that nothing seems complete that is not.
    pub fn line(&mut self, line: &str) {
        let length = line.encode_utf16().count() + 1;
        if self.left_out > 0 || self.length + length > MAX - RESERVE {
            self.left_out += usize::from(!line.is_empty());
            return;
        }
        self.length += length;
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A line with an empty one after it.
    pub fn paragraph(&mut self, line: &str) {
        self.line(line);
        self.line("");
    }

    /// The text, with a word of what is missing.
    pub fn finish(mut self) -> String {
        if self.left_out > 0 {
            let lines = if self.left_out == 1 { "line" } else { "lines" };
            self.text.push_str(&format!(
                "\n✂️ **Cut here: {} {lines} more.** A comment holds 65,536 characters; the counts at the top are of all. The whole review: \
                 `kubectl tollgate review --output json`.\n",
                self.left_out
            ));
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut page = Page::default();
        (0..1000).for_each(|_| page.paragraph(&"🔺".repeat(100)));
        let text = page.finish();
        assert!(text.encode_utf16().count() <= MAX && text.len() > MAX, "{}", text.len());
        let fit = text.lines().filter(|l| l.starts_with('🔺')).count();
        assert!(text.contains(&format!("**Cut here: {} lines more.**", 1000 - fit)), "{fit}");
    }
}
