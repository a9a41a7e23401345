use super::*;
use serde_json::{Value, json};

fn with<'a>(format: Format, status: u16, headers: &'a [(&'a str, &'a str)], body: &str) -> UpstreamError {
    let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    understand(format, status, &header, body.as_bytes())
}

fn chat(status: u16, body: &str) -> UpstreamError {
    with(Format::Chat, status, &[], body)
}

#[test]
fn statuses_have_meanings() {
    for (status, kind) in [
        (400, Kind::InvalidRequest),
        (402, Kind::Billing),
        (404, Kind::NotFound),
        (405, Kind::InvalidRequest),
        (408, Kind::Timeout),
        (409, Kind::Conflict),
        (413, Kind::TooLarge),
        (422, Kind::InvalidRequest),
        (424, Kind::Api),
        (429, Kind::RateLimit),
        (500, Kind::Api),
        (502, Kind::Api),
        (503, Kind::Overloaded),
        (504, Kind::Timeout),
        (529, Kind::Overloaded),
        (599, Kind::Api),
        (302, Kind::Api),
    ] {
        for format in [Format::Messages, Format::Chat] {
            let error = with(format, status, &[], r#"{"error":{"message":"words"}}"#);
            assert_eq!((error.status, error.kind, error.message.as_str()), (status, kind, "words"));
        }
    }
}

#[test]
fn words_refine_a_status() {
    let quota = r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
    let error = with(Format::Chat, 429, &[("retry-after", "5")], quota);
    assert_eq!((error.kind, error.should_retry, error.retry_after), (Kind::Billing, Some(false), None));
    let credit = r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}"#;
    let error = with(Format::Messages, 400, &[], credit);
    assert_eq!((error.kind, error.should_retry), (Kind::Billing, Some(false)));
    assert_eq!(chat(500, r#"{"error":{"message":"m","type":"overloaded_error"}}"#).kind, Kind::Overloaded);
    let missing = r#"{"error":{"message":"The model `x` does not exist","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#;
    assert_eq!(chat(404, missing).kind, Kind::NotFound);
    let item = r#"{"error":{"message":"Item not found","type":"invalid_request_error","param":"input"}}"#;
    assert_eq!(chat(404, item).kind, Kind::InvalidRequest);
    // Words of a 4xx stay as they are: clients act on them.
    let signature = "messages.1.content.0: Invalid `signature` in `thinking` block";
    let body = json!({"type": "error", "error": {"type": "invalid_request_error", "message": signature}});
    assert_eq!(with(Format::Messages, 400, &[], &body.to_string()).message, signature);
}

#[test]
fn a_refused_credential_is_the_gateways_fault() {
    let body =
        r#"{"error":{"message":"Incorrect API key provided: sk-abcd***wxyz.","code":"invalid_api_key"}}"#;
    let error = chat(401, body);
    assert_eq!((error.status, error.kind, error.should_retry), (401, Kind::Api, Some(false)));
    assert_eq!(error.kind.status(Format::Messages), 502);
    assert!(error.message.contains("refused the gateway's credential") && !error.message.contains("sk-"));
    let denied = chat(403, r#"{"error":{"message":"Country not supported"}}"#);
    assert_eq!(denied.kind, Kind::Api);
    assert!(denied.message.contains("Country not supported"), "{}", denied.message);
    let inside = inside(Format::Messages, r#"{"type":"authentication_error","message":"bad key sk-1"}"#);
    assert!(inside.kind == Kind::Api && !inside.message.contains("sk-1"));
}

#[test]
fn every_shape_of_body_gives_words() {
    for (body, words) in [
        (r#"{"error":"plain words"}"#, "plain words"),
        (r#"[{"error":{"code":400,"message":"google","status":"INVALID_ARGUMENT"}}]"#, "google"),
        (r#"{"object":"error","message":"vllm","code":400}"#, "vllm"),
        (r#"{"detail":"fastapi"}"#, "fastapi"),
        (
            r#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#,
            r#"[{"loc":["body"],"msg":"field required"}]"#,
        ),
        (r#"{"Message":"aws"}"#, "aws"),
        ("just text\n", "just text"),
        ("\"a string\"", "a string"),
        (
            "<html><head><TITLE>502 Bad\n Gateway</TITLE></head></html>",
            "the upstream answered with a web page: 502 Bad Gateway",
        ),
        ("<html>", "the upstream answered HTTP 400 and gave no reason"),
        ("", "the upstream answered HTTP 400 and gave no reason"),
        ("{}", "the upstream answered HTTP 400 and gave no reason"),
        ("null", "the upstream answered HTTP 400 and gave no reason"),
        ("[]", "the upstream answered HTTP 400 and gave no reason"),
        (r#"{"error":{"message":7}}"#, "the upstream answered HTTP 400 and gave no reason"),
        ("\u{1}\u{2}\u{3}\u{4}", "the upstream answered HTTP 400 and gave no reason"),
    ] {
        assert_eq!(chat(400, body).message, words, "{body:?}");
    }
    let error = understand(Format::Chat, 500, &|_| None, &[0xff; 100]);
    assert_eq!(error.message, "the upstream answered HTTP 500 and gave no reason");
}

#[test]
fn long_words_are_cut_between_characters() {
    let body = json!({"error": {"message": "ü".repeat(10_000)}});
    let message = chat(400, &body.to_string()).message;
    assert!(message.len() <= MESSAGE_CAP + '…'.len_utf8() && message.ends_with("ü…"));
    let page = format!("<title>{}</title>", "x".repeat(100_000));
    assert!(chat(500, &page).message.len() < 100);
    assert!(chat(500, &"x".repeat(1 << 20)).message.len() <= MESSAGE_CAP + 3);
}

#[test]
fn waiting_times_are_found_wherever_they_stand() {
    let limited = |headers: &[(&str, &str)], words: &str| {
        with(Format::Chat, 429, headers, &json!({"error": {"message": words}}).to_string()).retry_after
    };
    for (headers, words, seconds) in [
        (&[("retry-after", "7")][..], "", Some(7)),
        (&[("retry-after", "0.4")], "", Some(1)),
        (&[("retry-after-ms", "1500"), ("retry-after", "9")], "", Some(2)),
        (&[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")], "", None),
        (&[("retry-after", "-3")], "", None),
        (&[("retry-after", "NaN")], "", None),
        (&[], "Rate limit reached. Please try again in 1m30.5s. Visit …", Some(91)),
        (&[], "Please try again in 20ms.", Some(1)),
        (&[], "Please retry after 12 seconds.", Some(12)),
        (&[], "Please retry in 39.2s.", Some(40)),
        (&[], "Please try again in a while", None),
        (&[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "8m0s")], "", Some(480)),
        (&[("x-ratelimit-remaining-tokens", "10"), ("x-ratelimit-reset-tokens", "1h2m3s")], "", None),
        (&[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "1h2m3s")], "", Some(3723)),
        (&[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "soon")], "", None),
    ] {
        assert_eq!(limited(headers, words), seconds, "{headers:?} {words:?}");
    }
    assert_eq!(with(Format::Chat, 400, &[("retry-after", "7")], "{}").retry_after, None);
}

#[test]
fn the_upstreams_word_on_retrying_is_kept() {
    for (value, expected) in [("true", Some(true)), ("false", Some(false)), ("maybe", None)] {
        let error = with(Format::Messages, 500, &[("x-should-retry", value)], "{}");
        assert_eq!(error.should_retry, expected);
    }
}

#[test]
fn errors_inside_a_stream_are_understood_by_their_words() {
    for (format, error, kind) in [
        (Format::Messages, r#"{"type":"overloaded_error","message":"m"}"#, Kind::Overloaded),
        (Format::Messages, r#"{"type":"rate_limit_error","message":"m"}"#, Kind::RateLimit),
        (Format::Messages, r#"{"type":"new_error","message":"m"}"#, Kind::Api),
        (Format::Chat, r#"{"code":429,"message":"m"}"#, Kind::RateLimit),
        (Format::Chat, r#"{"code":"rate_limit_exceeded","type":"requests","message":"m"}"#, Kind::RateLimit),
        (Format::Chat, r#"{"type":"server_error","message":"m"}"#, Kind::Api),
        (Format::Chat, r#"{"type":"insufficient_quota","message":"m"}"#, Kind::Billing),
        (Format::Chat, r#""m""#, Kind::Api),
    ] {
        let understood = inside(format, error);
        assert_eq!(
            (understood.kind, understood.message.as_str(), understood.status),
            (kind, "m", 0),
            "{error}"
        );
    }
    assert_eq!(inside(Format::Chat, "7").message, "the upstream reported an error and gave no reason");
}

#[test]
fn every_kind_is_rendered_in_both_shapes() {
    let kinds = [
        (Kind::InvalidRequest, "invalid_request_error", 400, "invalid_request_error", None, 400),
        (
            Kind::Authentication,
            "authentication_error",
            401,
            "authentication_error",
            Some("invalid_api_key"),
            401,
        ),
        (Kind::Billing, "billing_error", 402, "insufficient_quota", Some("insufficient_quota"), 402),
        (Kind::Permission, "permission_error", 403, "permission_error", Some("permission_denied"), 403),
        (Kind::NotFound, "not_found_error", 404, "invalid_request_error", Some("model_not_found"), 404),
        (Kind::Conflict, "conflict_error", 409, "conflict_error", None, 409),
        (Kind::TooLarge, "request_too_large", 413, "invalid_request_error", Some("request_too_large"), 413),
        (Kind::RateLimit, "rate_limit_error", 429, "rate_limit_error", Some("rate_limit_exceeded"), 429),
        (Kind::Api, "api_error", 502, "server_error", Some("server_error"), 502),
        (Kind::Timeout, "timeout_error", 504, "server_error", Some("timeout"), 504),
        (Kind::Overloaded, "overloaded_error", 529, "server_error", Some("overloaded"), 503),
    ];
    let parsed = |format, kind, id| -> Value {
        serde_json::from_slice(&render(format, kind, "\"quoted\"\n", id)).unwrap()
    };
    for (kind, word, status, chat_word, code, chat_status) in kinds {
        assert_eq!(
            parsed(Format::Messages, kind, "req_1"),
            json!({"type": "error", "error": {"type": word, "message": "\"quoted\"\n"}, "request_id": "req_1"})
        );
        assert_eq!(parsed(Format::Messages, kind, "").get("request_id"), None);
        assert_eq!(
            parsed(Format::Chat, kind, "req_1"),
            json!({"error": {"message": "\"quoted\"\n", "type": chat_word, "param": null, "code": code}})
        );
        assert_eq!((kind.status(Format::Messages), kind.status(Format::Chat)), (status, chat_status));
        // What we render, we understand.
        let again = with(
            Format::Messages,
            0,
            &[],
            &String::from_utf8(render(Format::Messages, kind, "m", "")).unwrap(),
        );
        if !matches!(kind, Kind::Authentication | Kind::Permission) {
            assert_eq!(again.kind, kind);
        }
    }
}
