//! Where documents begin and end.

/// One document of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document<'a> {
    /// The text, its `---` included.
    pub(super) text: &'a str,
    /// The line of the file that the text begins with, from 1.
    pub(super) line: usize,
}

/// Separates the documents of a file. `---` and `...` at the start of a line always are markers: YAML forbids them there in
/// every scalar, block or quoted.
pub(super) fn split(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut line_of_start) = (0, 1);
    let mut at = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let end = at + line.len();
        if is_marker(line, "---") && at > start {
            documents.extend(document(text, start, at, line_of_start));
            (start, line_of_start) = (at, number);
        } else if is_marker(line, "...") {
            documents.extend(document(text, start, at, line_of_start));
            (start, line_of_start) = (end, number + 1);
        }
        at = end;
    }
    documents.extend(document(text, start, text.len(), line_of_start));
    documents
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// The document, unless it holds nothing but blanks, comments and its marker.
fn document(text: &str, start: usize, end: usize, line: usize) -> Option<Document<'_>> {
    let text = text.get(start..end)?;
    let content = text.lines().filter(|l| !is_marker(l, "---") || l.len() > 3);
    content.into_iter().any(|l| !l.trim().is_empty() && !l.trim_start().starts_with('#')).then_some(())?;
    Some(Document { text, line })
}

/// The line of the first line that says something, from 0.
pub(super) fn first_line(text: &str) -> usize {
    let says = |l: &str| !l.trim().is_empty() && !l.trim_start().starts_with('#') && !is_marker(l, "---");
    text.lines().position(says).unwrap_or(0)
}
