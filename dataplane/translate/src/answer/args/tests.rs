use super::*;
use proptest::prelude::*;

fn scan(pieces: &[&str]) -> (Scan, String) {
    let mut scan = Scan::default();
    let text = pieces.iter().map(|piece| scan.feed(piece).into_owned()).collect();
    (scan, text)
}

#[test]
fn the_end_of_an_object_is_found() {
    for (text, complete) in [
        ("{}", true),
        (" {\"a\": [1, {\"b\": \"}\\\"\"}]} \n", true),
        ("{\"a\":\"\\\\\"}", true),
        ("", false),
        ("{", false),
        ("{\"a\":\"}", false),
        ("{\"a\":\"\\\"}", false),
        ("[]", false),
        ("\"{}\"", false),
        ("{}{}", false),
        ("{} 1", false),
        ("{}\"", false),
    ] {
        assert_eq!(scan(&[text]).0.complete_object(), complete, "{text:?}");
    }
}

#[test]
fn control_characters_are_escaped_in_strings_only() {
    assert_eq!(scan(&["{\n\"a\":\"x\ny\r\t\u{1}é\"\n}"]).1, "{\n\"a\":\"x\\ny\\r\\t\\u0001é\"\n}");
    assert_eq!(scan(&["{\"a\":\"x", "\n", "y\"}\n"]).1, "{\"a\":\"x\\ny\"}\n");
}

#[test]
fn only_what_can_mean_one_thing_is_repaired() {
    for (arguments, repaired) in [
        ("", Some("{}")),
        (" \n", Some("{}")),
        ("null", Some("{}")),
        (" {\"a\":1} ", Some("{\"a\":1}")),
        ("\"{\\\"a\\\":1}\"", Some("{\"a\":1}")),
        ("{\"a\":\"\n\"}", Some("{\"a\":\"\\n\"}")),
        ("{\"a\":1", None),
        ("{\"a\":1}}", None),
        ("{a:1}", None),
        ("{'a':1}", None),
        ("[{}]", None),
        ("\"text\"", None),
        ("\"\\\"{}\\\"\"", None),
    ] {
        assert_eq!(whole(arguments).as_deref(), repaired, "{arguments:?}");
    }
}

proptest! {
    #[test]
    fn any_split_ends_at_the_same_place(text in "[{}\\[\\]\",:\\\\ a1\n]{0,24}", at in any::<prop::sample::Index>()) {
        let (before, after) = text.split_at(at.index(text.len() + 1));
        let (whole, split) = (scan(&[&text]), scan(&[before, after]));
        prop_assert_eq!(whole.0.complete_object(), split.0.complete_object());
        prop_assert_eq!(whole.1, split.1);
    }

    #[test]
    fn every_json_object_is_complete(keys in prop::collection::vec(("\\PC*", "\\PC*"), 0..4)) {
        let object: serde_json::Map<_, _> = keys.into_iter().map(|(k, v)| (k, serde_json::Value::from(v))).collect();
        let text = serde_json::Value::Object(object).to_string();
        prop_assert!(scan(&[&text]).0.complete_object());
        let repaired = whole(&text);
        prop_assert_eq!(repaired.as_deref(), Some(text.as_str()));
    }
}
