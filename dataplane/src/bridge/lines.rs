//! A process's output, line by line within bounds; and what is logged of it, within bounds too.

use std::time::{Duration, Instant};
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// One line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// Its text.
    Text(String),
    /// It was longer than allowed, or no UTF-8: the reason. The next line begins after its end.
    Unusable(&'static str),
}

/// Lets so many lines through in a while, and counts the rest.
#[derive(Debug)]
pub(super) struct Throttle {
    since: Instant,
    passed: u32,
    held_back: u64,
}

/// How many lines of a process are logged in [`WINDOW`].
const LINES: u32 = 100;
const WINDOW: Duration = Duration::from_secs(10);
/// How much of a line is logged.
const SHOWN: usize = 2048;

/// The next line of at most `max` bytes; `None` at the end.
pub(super) async fn next(
    input: &mut (impl AsyncBufRead + Unpin),
    max: usize,
) -> std::io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        let bytes = input.fill_buf().await?;
        if bytes.is_empty() {
            let nothing = line.is_empty() && !too_long;
            return Ok(if nothing { None } else { Some(finish(line, too_long)) });
        }
        let end = memchr::memchr(b'\n', bytes);
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        if line.len() + part.len() > max {
            too_long = true;
            line = Vec::new();
        } else if !too_long {
            line.extend_from_slice(part);
        }
        let taken = part.len() + usize::from(end.is_some());
        input.consume(taken);
        if end.is_some() {
            return Ok(Some(finish(line, too_long)));
        }
    }
}

fn finish(line: Vec<u8>, too_long: bool) -> Line {
    if too_long {
        return Line::Unusable("it is too long");
    }
    match String::from_utf8(line) {
        Ok(text) => Line::Text(text),
        Err(_) => Line::Unusable("it is no UTF-8"),
    }
}

/// The part of a line that is logged, without control characters.
pub(super) fn shown(line: &str) -> String {
    line.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

// === impl Throttle ===

impl Throttle {
    pub(super) fn new() -> Self {
        Throttle { since: Instant::now(), passed: 0, held_back: 0 }
    }

    /// Whether one more may pass; and how many were held back before it.
    pub(super) fn pass(&mut self) -> Option<u64> {
        if self.since.elapsed() > WINDOW {
            self.since = Instant::now();
            self.passed = 0;
        }
        if self.passed >= LINES {
            self.held_back += 1;
            return None;
        }
        self.passed += 1;
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::BufReader;

    #[tokio::test]
    async fn lines_are_bounded_and_the_next_one_is_found() {
        let text = b"one\n\n0123456789a\ntw\xffo\nlast";
        let mut input = BufReader::with_capacity(4, &text[..]);
        let mut lines = Vec::new();
        while let Some(line) = next(&mut input, 10).await.unwrap() {
            lines.push(line);
        }
        let text = |t: &str| Line::Text(t.to_owned());
        let (long, odd) = (Line::Unusable("it is too long"), Line::Unusable("it is no UTF-8"));
        assert_eq!(lines, [text("one"), text(""), long, odd, text("last")]);
    }

    #[test]
    fn a_talkative_process_does_not_fill_the_log() {
        let mut throttle = Throttle::new();
        let passed = (0..1000).filter(|_| throttle.pass().is_some()).count();
        assert_eq!(passed, LINES as usize);
        throttle.since -= WINDOW * 2;
        assert_eq!(throttle.pass(), Some(900));
        assert_eq!(shown("a\u{1b}[1mb"), "a [1mb");
    }
}
