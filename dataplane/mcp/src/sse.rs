//! Server-sent events: a decoder with a cap, and the encoder for answers.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// `event:`; empty: `message`.
    pub name: String,
    /// The `data:` lines, joined by line feeds.
    pub data: String,
    /// `id:`, when the event has one.
    pub id: Option<String>,
}

/// Takes bytes as they come and gives events. Any split of the bytes gives the same events.
#[derive(Debug)]
pub struct Decoder {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    size: usize,
    cap: usize,
    after_cr: bool,
    begun: bool,
}

/// An event is larger than the cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {0} bytes")]
pub struct TooLarge(pub usize);

// === impl Decoder ===

impl Decoder {
    /// A decoder that refuses events of more than `cap` bytes.
    pub fn new(cap: usize) -> Self {
        Decoder {
            line: Vec::new(),
            event: Event::default(),
            has_data: false,
            size: 0,
            cap,
            after_cr: false,
            begun: false,
        }
    }

    /// Takes bytes; whole events go to `out`.
    ///
    /// # Errors
    /// [`TooLarge`]; the stream is of no more use then.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<Event>) -> Result<(), TooLarge> {
        if std::mem::take(&mut self.after_cr) {
            self.after_cr = bytes.is_empty();
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = bytes.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            let (line, rest) = bytes.split_at(end);
            self.grow(line)?;
            self.end_of_line(out);
            let cr = rest.first() == Some(&b'\r');
            bytes = rest.get(1..).unwrap_or_default();
            self.after_cr = cr && bytes.is_empty();
            if cr {
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
        }
        self.grow(bytes)
    }

    fn grow(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        self.size += bytes.len();
        if self.size > self.cap {
            return Err(TooLarge(self.cap));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_of_line(&mut self, out: &mut Vec<Event>) {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        if line.is_empty() {
            return self.end_of_event(out);
        }
        let (field, value) = match line.iter().position(|b| *b == b':') {
            Some(colon) => {
                let value = line.get(colon + 1..).unwrap_or_default();
                (line.get(..colon).unwrap_or_default(), value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &[][..]),
        };
        self.field(field, &String::from_utf8_lossy(value));
    }

    fn field(&mut self, field: &[u8], value: &str) {
        match field {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            b"event" => self.event.name = value.to_owned(),
            b"id" if !value.contains('\0') => self.event.id = Some(value.to_owned()),
            // Comments (an empty field), `retry` and what nobody knows; but they count for nothing any more once read.
            _ => self.size = self.event.data.len(),
        }
    }

    fn end_of_event(&mut self, out: &mut Vec<Event>) {
        self.size = 0;
        let event = std::mem::take(&mut self.event);
        if std::mem::take(&mut self.has_data) {
            out.push(event);
        }
    }
}

/// A JSON message as an event. Line breaks (between JSON's tokens) are carried as further `data:` lines.
pub fn encode(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 32);
    out.push_str("event: message\n");
    for line in json.split(['\n', '\r']) {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
    out
}

/// A comment: keeps a quiet connection alive.
pub const KEEP_ALIVE: &str = ":\n\n";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(parts: &[&[u8]]) -> Vec<Event> {
        let (mut decoder, mut out) = (Decoder::new(10_000), Vec::new());
        for part in parts {
            decoder.feed(part, &mut out).unwrap();
        }
        out
    }

    #[test]
    fn the_forms_of_the_standard() {
        let stream =
            b"\xEF\xBB\xBF: hi\r\nid: 7\rdata:a\r\ndata: b\n\nretry: 10\n\nevent: x\ndata\n\ndata: open end";
        let events = decode(&[stream]);
        assert_eq!(events.len(), 2);
        assert_eq!((events[0].data.as_str(), events[0].id.as_deref()), ("a\nb", Some("7")));
        assert_eq!((events[1].name.as_str(), events[1].data.as_str()), ("x", ""));
    }

    #[test]
    fn the_cap_holds_for_lines_and_events_but_not_for_streams() {
        let mut out = Vec::new();
        assert_eq!(Decoder::new(10).feed(b"data: 123456", &mut out), Err(TooLarge(10)));
        assert!(Decoder::new(16).feed(b"data: 12\ndata: 34\ndata: 5", &mut out).is_err());
        let mut decoder = Decoder::new(16);
        for _ in 0..100 {
            decoder.feed(b": still there\n\ndata: 1234\n\n: ping\n", &mut out).unwrap();
        }
        assert_eq!(out.len(), 100);
    }

    #[test]
    fn a_long_run_of_comments_is_no_large_event() {
        let mut decoder = Decoder::new(32);
        for _ in 0..1000 {
            decoder.feed(b": still there\n", &mut Vec::new()).unwrap();
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            text in "(data|id|event|:|retry|x)?(: ?)?[a-c\r\n]{0,6}((data|id)?: ?[a-c]{0,3}[\r\n]{1,3}){0,8}",
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let bytes = text.as_bytes();
            let mut at: Vec<_> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let parts: Vec<&[u8]> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(decode(&parts), decode(&[bytes]));
        }

        #[test]
        fn what_is_encoded_is_decoded(json in "[ -~\n]{0,100}") {
            let events = decode(&[encode(&json).as_bytes()]);
            prop_assert_eq!(&events[0].data, &json);
        }
    }
}
