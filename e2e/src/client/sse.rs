//! Reads an event stream from pieces of bytes.

use serde_json::Value;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// Its name; empty when it has none.
    pub name: String,
    /// Its data lines, joined by newlines.
    pub data: String,
}

/// Collects bytes and gives events.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
}

// === impl Event ===

impl Event {
    /// The data as JSON; null when it is none (`[DONE]`).
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or(Value::Null)
    }
}

// === impl Reader ===

impl Reader {
    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend(bytes.iter().filter(|b| **b != b'\r'));
    }

    /// The next event that is complete. Comments and empty events are passed over.
    pub fn complete(&mut self) -> Option<Event> {
        loop {
            let end = self.buffer.windows(2).position(|w| w == b"\n\n")?;
            let rest = self.buffer.split_off(end + 2);
            let block = std::mem::replace(&mut self.buffer, rest);
            let event = parse(&String::from_utf8_lossy(&block));
            if event != Event::default() {
                return Some(event);
            }
        }
    }
}

fn parse(block: &str) -> Event {
    let mut event = Event::default();
    let mut data = Vec::new();
    for line in block.lines() {
        if let Some(value) = line.strip_prefix("data:") {
            data.push(value.strip_prefix(' ').unwrap_or(value));
        } else if let Some(value) = line.strip_prefix("event:") {
            event.name = value.trim().to_owned();
        }
    }
    event.data = data.join("\n");
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_events() {
        let mut reader = Reader::default();
        let all = b": hello\n\nevent: a\r\ndata: 1\r\n\r\ndata: x\ndata: y\n\ndata: half";
        let mut got = Vec::new();
        for byte in all {
            reader.push(&[*byte]);
            got.extend(reader.complete());
        }
        let want = |n: &str, d: &str| Event { name: n.to_owned(), data: d.to_owned() };
        assert_eq!(got, [want("a", "1"), want("", "x\ny")]);
    }
}
