use super::*;
use proptest::prelude::*;

fn open(token: &str) -> Option<ClientSession> {
    (token == "good").then(|| ClientSession { id: "s1".into(), version: Version::V2025_06_18 })
}

fn read<'a>(body: &'a str, headers: Headers<'_>) -> Result<Intake<'a>, Reply> {
    Intake::read(body.as_bytes(), headers, open)
}

fn one<'a>(body: &'a str, headers: Headers<'_>) -> Box<Request<'a>> {
    match read(body, headers) {
        Ok(Intake::One(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn refused(body: &str, headers: Headers<'_>) -> (u16, String) {
    let reply = read(body, headers).expect_err("should be refused");
    (reply.status, reply.body.unwrap())
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a__b","_meta":{"progressToken":"t"}}}"#;

#[test]
fn legacy_requests_take_the_sessions_revision_or_the_headers() {
    let request = one(CALL, Headers { session: Some("good"), ..Headers::default() });
    assert_eq!((request.era, request.version), (Era::Legacy, Version::V2025_06_18));
    assert_eq!((request.progress, request.session.as_ref().unwrap().id.as_str()), (Some("\"t\""), "s1"));
    assert_eq!(request.method, Method::CallTool("a__b".into()));
    assert_eq!(one(CALL, Headers::default()).version, Version::ASSUMED);
    let newer = Headers { version: Some("2025-11-25"), ..Headers::default() };
    assert_eq!(one(CALL, newer).version, Version::V2025_11_25);
}

#[test]
fn a_lost_session_is_404_with_the_code_clients_look_for() {
    let (status, body) = refused(CALL, Headers { session: Some("bad"), ..Headers::default() });
    assert_eq!(status, 404);
    assert!(body.contains(r#""id":1,"error":{"code":-32001,"#), "{body}");
    let init = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    let stale = Headers { session: Some("bad"), version: Some("2026-07-28"), ..Headers::default() };
    assert_eq!(one(init, stale).method, Method::Initialize(Version::V2025_11_25));
}

#[test]
fn a_revision_nobody_knows_is_400() {
    let (status, body) = refused(CALL, Headers { version: Some("1999-01-01"), ..Headers::default() });
    assert_eq!(status, 400);
    assert!(body.contains("-32022") && body.contains(r#""requested":"1999-01-01""#), "{body}");
}

fn modern(method: &str, params: &str, version: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":"x","method":"{method}","params":{{{params}"_meta":{{"{META_VERSION}":"{version}","{META_CAPABILITIES}":{{}}}}}}}}"#
    )
}

const NOW: Option<&str> = Some("2026-07-28");

#[test]
fn modern_requests_pass_when_headers_mirror_the_body() {
    let discover = modern("server/discover", "", "2026-07-28");
    let headers =
        Headers { version: NOW, method: Some("server/discover"), session: Some("bad"), ..Headers::default() };
    let request = one(&discover, headers);
    assert_eq!((request.era, &request.method), (Era::Modern, &Method::Discover));
    assert!(request.session.is_none(), "a modern server ignores session ids");
    let call = modern("tools/call", r#""name":"wetter_ü","#, "2026-07-28");
    for name in ["wetter_ü", "=?base64?d2V0dGVyX8O8?="] {
        let headers =
            Headers { version: NOW, method: Some("tools/call"), name: Some(name), ..Headers::default() };
        assert_eq!(one(&call, headers).method, Method::CallTool("wetter_ü".into()));
    }
}

#[test]
fn modern_requests_are_refused_with_the_codes_of_the_revision() {
    let list = modern("tools/list", "", "2026-07-28");
    let call = modern("tools/call", r#""name":"a","#, "2026-07-28");
    let old = modern("tools/list", "", "2027-01-01");
    let no_caps = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{{"{META_VERSION}":"2026-07-28"}}}}}}"#
    );
    let bare = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#;
    let h = |version, method, name| Headers { version, method, name, session: None };
    for (body, headers, code) in [
        (list.as_str(), h(None, Some("tools/list"), None), HEADER_MISMATCH),
        (&list, h(Some("2025-11-25"), Some("tools/list"), None), HEADER_MISMATCH),
        (&list, h(NOW, None, None), HEADER_MISMATCH),
        (&list, h(NOW, Some("tools/call"), None), HEADER_MISMATCH),
        (&call, h(NOW, Some("tools/call"), None), HEADER_MISMATCH),
        (&call, h(NOW, Some("tools/call"), Some("b")), HEADER_MISMATCH),
        (&old, h(Some("2027-01-01"), Some("tools/list"), None), UNSUPPORTED_VERSION),
        (&no_caps, h(NOW, Some("tools/list"), None), INVALID_PARAMS),
        (bare, h(NOW, Some("server/discover"), None), INVALID_PARAMS),
    ] {
        let (status, text) = refused(body, headers);
        assert!(status == 400 && text.contains(&format!("\"code\":{code},")), "{code}: {text}");
    }
}

#[test]
fn era_bound_methods_are_unknown_in_the_other_era() {
    let ping = modern("ping", "", "2026-07-28");
    let headers = Headers { version: NOW, method: Some("ping"), ..Headers::default() };
    assert_eq!(one(&ping, headers).method, Method::Unknown("ping".into()));
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"resources/list"}"#;
    assert_eq!(one(list, Headers::default()).method, Method::Unknown("resources/list".into()));
}

#[test]
fn notices_are_told_apart() {
    let cancelled =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId": "7" ,"reason":"x"}}"#;
    let good = Headers { session: Some("good"), ..Headers::default() };
    match read(cancelled, good) {
        Ok(Intake::Notice(notice)) => {
            assert_eq!(notice, Notice::Cancelled { session: Some("s1".into()), request: "\"7\"" });
        }
        other => panic!("{other:?}"),
    }
    for text in [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","id":5,"result":{}}"#,
    ] {
        assert!(matches!(read(text, good), Ok(Intake::Notice(Notice::Other))), "{text}");
    }
}

#[test]
fn batches_exist_in_one_revision() {
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/initialized"},7,{"jsonrpc":"2.0","id":2,"method":"initialize","params":{"protocolVersion":"2025-03-26"}}]"#;
    match read(batch, Headers::default()) {
        Ok(Intake::Batch(items)) => {
            assert!(matches!(&items[0], Item::Request(r) if r.method == Method::Ping));
            assert!(matches!(items[1], Item::Notice(Notice::Other)));
            assert!(matches!(&items[2], Item::Refused(m) if m.contains("-32600")));
            assert!(matches!(&items[3], Item::Refused(m) if m.contains("\"id\":2")));
        }
        other => panic!("{other:?}"),
    }
    let (status, body) = refused(batch, Headers { session: Some("good"), ..Headers::default() });
    assert!(status == 400 && body.contains("-32600"), "{body}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        version in proptest::option::of(".{0,12}"),
    ) {
        let headers = Headers { version: version.as_deref(), ..Headers::default() };
        _ = Intake::read(&bytes, headers, open);
    }

    #[test]
    fn arbitrary_json_never_panics(method in "(tools/call|tools/list|initialize|server/discover)", params in "[\\[\\]{}:,\"a0]{0,12}") {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        _ = Intake::read(text.as_bytes(), Headers { version: NOW, ..Headers::default() }, open);
    }
}
