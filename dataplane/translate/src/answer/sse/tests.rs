use super::*;
use proptest::prelude::*;

/// (name, data) of every event with data, and the raw bytes put together again.
fn decode(pieces: &[&[u8]]) -> (Vec<(String, String)>, Vec<u8>) {
    decode_with(Decoder::default(), pieces)
}

fn decode_with(mut decoder: Decoder, pieces: &[&[u8]]) -> (Vec<(String, String)>, Vec<u8>) {
    let (mut events, mut raw) = (Vec::new(), Vec::new());
    let mut on = |frame: Frame<'_>| {
        raw.extend_from_slice(frame.raw);
        if let Some(data) = frame.data {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            events.push((text(frame.name), text(data)));
        }
    };
    for piece in pieces {
        decoder.feed(piece, &mut on);
    }
    decoder.end(&mut on);
    (events, raw)
}

fn one(text: &str) -> Vec<(String, String)> {
    decode(&[text.as_bytes()]).0
}

fn pair(name: &str, data: &str) -> (String, String) {
    (name.into(), data.into())
}

#[test]
fn line_ends_of_all_three_kinds_frame_events() {
    for end in ["\n", "\r", "\r\n"] {
        let text = "event: a\ndata: 1\n\ndata: 2\n\n".replace('\n', end);
        assert_eq!(one(&text), [pair("a", "1"), pair("", "2")], "{end:?}");
    }
}

#[test]
fn fields_follow_the_standard() {
    assert_eq!(one("\u{feff}data: 1\n\n"), [pair("", "1")]);
    assert_eq!(one(": comment\n\ndata:x\ndata:  y\ndata\nid: 7\n\n"), [pair("", "x\n y\n")]);
    assert_eq!(one("event: a\nevent: b\ndata: 1\n\n"), [pair("b", "1")]);
    assert_eq!(one("event: alone\n\n\n\ndata: 1\n\n"), [pair("", "1")]);
    assert_eq!(one("data: 1\n\ndata: no blank line"), [pair("", "1"), pair("", "no blank line")]);
    assert_eq!(one("data\n\n"), [pair("", "")]);
}

#[test]
fn a_whole_event_is_borrowed_from_its_piece() {
    let piece = b"data: 1\n\ndata: 2\n\n";
    let range = piece.as_ptr_range();
    let mut decoder = Decoder::default();
    let mut seen = 0;
    decoder.feed(piece, |frame| {
        seen += 1;
        assert!(
            range.contains(&frame.raw.as_ptr())
                && frame.data.is_some_and(|data| range.contains(&data.as_ptr()))
        );
    });
    assert_eq!((seen, decoder.carry.capacity()), (2, 0));
}

#[test]
fn an_event_above_the_limit_is_passed_over_and_the_next_is_read() {
    let text = "data: 1\n\ndata: far too long an event\n\ndata: 2\n\n".as_bytes();
    for split in 0..text.len() {
        let (before, after) = text.split_at(split);
        let (events, raw) = decode_with(Decoder::with_limit(20), &[before, after]);
        assert_eq!(events, [pair("", "1"), pair("", "2")], "split at {split}");
        assert_eq!(raw, text);
    }
    let mut decoder = Decoder::with_limit(20);
    decoder.feed(b"data: 1234567890123456", |frame| assert!(frame.oversize));
    assert!(!decoder.at_boundary() && decoder.pending().is_empty());
}

#[test]
fn a_boundary_is_where_no_event_has_begun() {
    let mut decoder = Decoder::default();
    let mut at = |piece: &str| {
        decoder.feed(piece.as_bytes(), |_| {});
        decoder.at_boundary()
    };
    assert!(at(""));
    assert!(!at("d"));
    assert!(!at("ata: 1\n"));
    assert!(at("\n"));
    assert!(!at("data: 1\r\n\r\ndata: 2\r\n"));
    assert!(at("\r"));
    assert!(at("\n")); // the rest of the blank line's CR LF
    assert!(!at(": comment\n"));
}

#[test]
fn closing_makes_the_next_event_readable() {
    let error = "event: error\ndata: E\n\n";
    for (cut, whole) in [
        ("", vec![]),
        ("data: 1\n\n", vec![pair("", "1")]),
        ("event: a\ndata: 1\n\nevent: b", vec![pair("a", "1")]),
        ("event: b\n", vec![]),
        ("event: b\nda", vec![]),
        ("event: b\ndata: {\"x", vec![pair("b", "{\"x")]),
        ("event: b\r\ndata: {}\r\n", vec![pair("b", "{}")]),
        ("data: {}\r", vec![pair("", "{}")]),
        ("\u{feff}data: {}\n", vec![pair("", "{}")]),
        (": comm", vec![]),
        (": comm\n", vec![]),
    ] {
        let mut decoder = Decoder::default();
        decoder.feed(cut.as_bytes(), |_| {});
        let closing = std::str::from_utf8(decoder.closing()).unwrap();
        let mut expected = whole;
        expected.push(pair("error", "E"));
        assert_eq!(one(&format!("{cut}{closing}{error}")), expected, "{cut:?} closed by {closing:?}");
    }
}

/// Streams that are likely to hit every rule.
fn stream() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("data: "),
        Just("data:"),
        Just("event: x"),
        Just("\n"),
        Just("\r"),
        Just("\r\n"),
        Just("\n\n"),
        Just("\r\n\r\n"),
        Just("\u{feff}"),
        Just(": c"),
        Just("{\"a\":1}"),
        Just("é"),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events(text in stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let bytes = text.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.push(0);
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let (events, raw) = decode(&pieces);
        prop_assert_eq!(&events, &decode(&[bytes]).0);
        prop_assert_eq!(raw, bytes);
        let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(events, decode(&bytewise).0);
    }
}
