use super::scan::{MAX_DEPTH, document};
use super::text::{unescape, whole_surrogates};
use super::{Kind, Text, Value, write};
use proptest::prelude::*;

fn strict(body: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() && std::str::from_utf8(body).is_ok()
}

#[test]
fn accepts_and_refuses_what_the_grammar_says() {
    for good in [
        "{}",
        " [] ",
        "0",
        "-0.5e+10",
        "\"\\ud83d\"",
        "[1,{\"a\":[null,true,false]}]",
        "\"\u{7f}é\"",
        "1e999",
    ] {
        assert!(document(good.as_bytes()).is_ok(), "{good}");
    }
    let bad: [&[u8]; 22] = [
        b"",
        b"{",
        b"[1,]",
        b"{\"a\":1,}",
        b"{a:1}",
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"1e",
        b"nul",
        b"truex",
        b"\"\n\"",
        b"\"\\x\"",
        b"\"\\u12g4\"",
        b"\"",
        b"{} {}",
        b"{\"a\" 1}",
        b"[1 2]",
        b"]",
        b"\"\xff\"",
        b"\xef\xbb\xbf{}",
    ];
    for bad in bad {
        assert!(document(bad).is_err(), "{}", String::from_utf8_lossy(bad));
    }
}

#[test]
fn depth_is_limited() {
    let nest = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(document(nest(MAX_DEPTH as usize).as_bytes()).is_ok());
    assert!(document(nest(MAX_DEPTH as usize + 1).as_bytes()).is_err());
    let mixed = format!("{}1{}", "{\"a\":[".repeat(64), "]}".repeat(64));
    assert!(document(mixed.as_bytes()).is_ok());
    assert!(document(nest(1_000_000).as_bytes()).is_err());
}

#[test]
fn reads_fields_lazily() {
    let value = Value::new(r#" {"a":[1,{"b":"x\ny"}],"\u0061b":null,"a2":true} "#);
    let items: Vec<_> = value.get("a").unwrap().items().collect();
    assert_eq!(items[0].u64(), Some(1));
    assert_eq!(items[1].get("b").unwrap().string().unwrap(), "x\ny");
    assert_eq!(value.get("ab").unwrap().kind(), Kind::Null);
    assert_eq!(value.get("a2").unwrap().bool(), Some(true));
    assert_eq!(Value::new("3").fields().count(), 0);
    assert_eq!(Value::new(r#"{"a":1,"a":2}"#).get("a").unwrap().u64(), Some(2));
}

#[test]
fn halves_of_surrogate_pairs_become_replacement_characters() {
    assert_eq!(unescape(r"a\ud83db\udc00 \ud83d\ude00 \\ud83d"), "a\u{fffd}b\u{fffd} 😀 \\ud83d");
    assert_eq!(
        whole_surrogates(r"a\ud83d\n\ud83d\ude00\udc00 \\ud83d"),
        r"a\ufffd\n\ud83d\ude00\ufffd \\ud83d"
    );
}

#[test]
fn blankness_and_prefixes_see_through_escapes() {
    assert!(Text::Raw(r" \n\t ").is_blank() && Text::Raw("").is_blank() && Text::Raw("\u{a0}").is_blank());
    assert!(!Text::Raw(r"\u0041").is_blank());
    assert!(Text::Raw(r"x-\u0061bc").starts_with("x-abc") && Text::Raw(r"\u0078-abc").starts_with("x-abc"));
}

/// JSON-like bytes: mostly valid documents, sometimes with one byte changed.
fn documents() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<f64>().prop_filter_map("finite", |f| f.is_finite().then(|| f.to_string())),
        any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
    ];
    let value = leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|v| format!("[{}]", v.join(" ,"))),
            prop::collection::vec((any::<String>(), inner), 0..5).prop_map(|v| {
                let fields: Vec<_> =
                    v.iter().map(|(k, v)| format!("{}: {v}", serde_json::to_string(k).unwrap())).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    });
    (value, any::<Option<(prop::sample::Index, u8)>>()).prop_map(|(text, change)| {
        let mut bytes = text.into_bytes();
        if let Some((at, byte)) = change {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn agrees_with_serde_json(body in documents()) {
        prop_assert_eq!(document(&body).is_ok(), strict(&body));
    }

    #[test]
    fn strings_survive_escaping_and_unescaping(text in any::<String>()) {
        let mut out = Vec::new();
        write::string(&mut out, &Text::from(text.as_str()));
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text.clone());
        let literal = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(Value::new(&literal).string().unwrap(), text);
    }
}

/// Reads a value to the bottom.
fn rewrite(value: Value<'_>) -> String {
    match value.kind() {
        Kind::Array => format!("[{}]", value.items().map(rewrite).collect::<Vec<_>>().join(",")),
        Kind::Object => {
            let fields = value.fields().map(|(key, value)| format!("{key:?}:{}", rewrite(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        _ => value.raw().to_owned(),
    }
}

proptest! {
    #[test]
    fn an_index_changes_nothing_but_speed(body in documents(), wrap in 0usize..12, pad in 0usize..200) {
        let body = [vec![b'['; wrap], body, format!(",\"{}\"", "x".repeat(pad)).repeat(wrap.min(1)).into_bytes(), vec![b']'; wrap]].concat();
        if let Ok((text, index)) = super::scan::document_with_index(&body) {
            prop_assert_eq!(rewrite(Value::new(text).with_index(&index)), rewrite(Value::new(text)));
        }
    }
}
