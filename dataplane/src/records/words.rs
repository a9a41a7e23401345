//! Words of a text as searches know them, the same as SQLite's FTS5 makes them with `unicode61 remove_diacritics 2
//! tokenchars '_'`: runs of letters, digits and `_`, in lower case, without accents. Pure.

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

/// The most bytes of a word: longer ones (encoded data) are cut, in the index and in searches alike.
const WORD_MAX: usize = 120;
/// The most words of a search.
const SEARCH_MAX: usize = 12;

/// The words of a text, sorted, each once.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = split(text).map(folded).filter(|word| !word.is_empty()).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// The words that a search asks for, as they were typed, and whether each is only a beginning: one or two letters as a
/// beginning would match half of all words.
pub(crate) fn searched(text: &str) -> impl Iterator<Item = (&str, bool)> {
    split(text).take(SEARCH_MAX).map(|word| (word, word.chars().count() > 2))
}

/// A search in PostgreSQL's language: all words must occur. Empty when there is none: that matches nothing.
pub(crate) fn tsquery(text: &str) -> String {
    let terms = searched(text).map(|(word, prefix)| {
        // Letters, digits and `_` only: nothing in it means anything to the language within quotes.
        format!("'{}'{}", folded(word), if prefix { ":*" } else { "" })
    });
    terms.filter(|term| !term.starts_with("''")).collect::<Vec<_>>().join(" & ")
}

/// Combining marks belong to the letter before them.
fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_' && !is_combining_mark(c)).filter(|w| !w.is_empty())
}

fn folded(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let plain = word.nfd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase);
    for c in plain.filter(|c| c.is_alphanumeric() || *c == '_') {
        if out.len() + c.len_utf8() > WORD_MAX {
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_folded_and_once() {
        assert_eq!(words("Häufige häufige ANTWORT, db__query(1)!"), ["1", "antwort", "db__query", "haufige"]);
        assert_eq!(words("e\u{301}tude Straße 東京"), ["etude", "straße", "東京"]);
        assert!(words(" -- \"' \0").is_empty());
        assert_eq!(words(&"x".repeat(5000))[0].len(), WORD_MAX);
    }

    #[test]
    fn searches_ask_for_all_words() {
        assert_eq!(tsquery("HAUFIG a \"OR\" *"), "'haufig':* & 'a' & 'or'");
        assert_eq!(tsquery("'; DROP"), "'drop':*");
        assert_eq!(tsquery("\"*'"), "");
    }
}
