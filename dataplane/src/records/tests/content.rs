use super::*;

on_both!(
    a_turn_adds_only_what_is_new,
    namespaces_share_nothing,
    secrets_are_not_stored_anywhere,
    the_policy_decides_what_is_kept,
    retention_deletes_records_and_then_their_blocks_but_never_money,
    odd_bodies_are_kept_as_they_are,
);

/// A conversation as Claude Code resends it: a large system prompt and tools, all messages so far, and cache marks that
/// move to the newest message on each turn.
pub(super) fn turn(n: usize) -> Value {
    let message = |i: usize| {
        let text: String = (0..60).map(|w| format!("m{i}w{} ", w * 7919 * (i + 1) % 104_729)).collect();
        let mut block = json!({"type": "text", "text": text});
        if i == n * 2 {
            block["cache_control"] = json!({"type": "ephemeral"});
        }
        json!({"role": if i.is_multiple_of(2) { "user" } else { "assistant" }, "content": [block]})
    };
    json!({
        "model": "claude-haiku",
        "system": [{"type": "text", "text": format!("billing {n}")}, {"type": "text", "text": "You are helpful. ".repeat(200)}],
        "tools": (0..24).map(|t| json!({"name": format!("tool{t}"), "description": "words ".repeat(100)})).collect::<Vec<_>>(),
        "messages": (0..=n * 2).map(message).collect::<Vec<_>>(),
    })
}

async fn a_turn_adds_only_what_is_new(place: &Place) {
    let (recorder, _store) = place.open().await;
    let mut steps = Vec::new();
    let mut sent = 0;
    for n in 0..10 {
        let body = turn(n);
        sent += body.to_string().len();
        recorder.submit(with_body("eng/alice", AT + n as i64, &body, "ok"));
        recorder.flush().await;
        steps.push((
            place.count("SELECT COUNT(*) FROM blocks").await,
            place.count("SELECT COUNT(*) FROM nodes").await,
        ));
    }
    // First: two system blocks, the tools, one message. Then: the billing block that differs, and two messages.
    assert_eq!(steps[0], (4, 1));
    for pair in steps.windows(2) {
        assert_eq!((pair[1].0 - pair[0].0, pair[1].1 - pair[0].1), (3, 2));
    }
    let stored = place.count("SELECT (SELECT SUM(LENGTH(body)) + 60 * COUNT(*) FROM blocks) + (SELECT 80 * COUNT(*) FROM nodes) \
         + (SELECT SUM(LENGTH(request) + LENGTH(answer) + LENGTH(system)) FROM contents)").await;
    assert!(stored < 20_000 && sent > 200_000, "{stored} bytes for {sent} sent");
}

async fn namespaces_share_nothing(place: &Place) {
    let (recorder, _store) = place.open().await;
    for key in ["eng/alice", "eng/bob", "ops/carol"] {
        recorder.submit(with_body(key, AT, &turn(1), "ok"));
        recorder.flush().await;
    }
    assert_eq!(place.count("SELECT COUNT(*) FROM blocks").await, 2 * 6);
}

async fn secrets_are_not_stored_anywhere(place: &Place) {
    let (recorder, _store) = place.open().await;
    let secret = "sk-ant-api03-SECRETSECRET0123456789";
    let mut large = turn(0);
    large["messages"][0]["content"][0]["text"] = json!(format!("use {secret} {}", "pad ".repeat(300)));
    let mut failed = with_body("eng/alice", AT, &large, &format!("I used {secret}"));
    failed.error = Some(format!("Incorrect API key provided: {secret}"));
    recorder.submit(failed);
    recorder.submit(model("eng/alice", AT, &format!("small {secret}"), "ok"));
    let mut call = tool("eng/alice", AT, "t1");
    if let RecordKind::Tool(t) = &mut call.kind {
        t.arguments = Some(format!(r#"{{"key":"{secret}"}}"#));
    }
    recorder.submit(call);
    recorder.flush().await;
    for sql in ["SELECT body FROM blocks", "SELECT request FROM contents", "SELECT answer FROM contents"] {
        for packed in place.bytes(sql).await {
            assert!(!split::unpack(&packed.unwrap_or_default()).contains("SECRETSECRET"), "{sql}");
        }
    }
    let sql =
        "SELECT COUNT(*) FROM records WHERE prompt || reply || COALESCE(error, '') LIKE '%SECRETSECRET%'";
    assert_eq!(place.count(sql).await, 0);
    assert_eq!(place.with_word("sk").await + place.with_word("api03").await, 0);
}

async fn the_policy_decides_what_is_kept(place: &Place) {
    let (recorder, _store) = place.open().await;
    for content in [Content::None, Content::Metadata] {
        let record = model("eng/alice", AT, "private words", "private answer");
        recorder.submit(Record { content, session: Some("s-1".into()), ..record });
    }
    recorder.flush().await;
    assert_eq!(place.count("SELECT COUNT(*) FROM contents").await, 0);
    assert_eq!(place.with_word("private").await, 0);
    assert_eq!(
        place.count("SELECT COUNT(*) FROM records WHERE prompt IS NOT NULL OR reply IS NOT NULL").await,
        0
    );
    let sql = "SELECT COUNT(*) FROM records WHERE content = 0 AND session IS NULL AND user_agent IS NULL \
        AND metadata IS NULL AND stop IS NULL AND cost = 1000000";
    assert_eq!(place.count(sql).await, 1);
    let sql = "SELECT COUNT(*) FROM records WHERE content = 1 AND session = 's-1' AND metadata IS NOT NULL";
    assert_eq!(place.count(sql).await, 1);
}

async fn retention_deletes_records_and_then_their_blocks_but_never_money(place: &Place) {
    let (recorder, store) = place.open().await;
    let hour = 3_600_000;
    recorder.submit(Record { retention_s: 3600, ..with_body("eng/alice", AT, &turn(2), "short") });
    recorder.submit(Record { retention_s: 7200, ..with_body("eng/alice", AT, &turn(1), "long") });
    recorder.submit(Record { retention_s: 3600, ..tool("eng/alice", AT, "t1") });
    recorder.flush().await;
    let tables = "SELECT COUNT(*) * 100 + (SELECT COUNT(*) FROM contents) FROM records";
    assert_eq!(place.count(tables).await, 303);
    // Blocks that only the short-lived record used go a little later than it; shared ones stay with the long-lived.
    sweep(place, AT + hour + hour / 15, tables, 101).await;
    assert_eq!(place.count("SELECT COUNT(*) FROM nodes").await, 3);
    assert_eq!(place.with_word("short").await, 0);
    sweep(place, AT + 3 * hour, tables, 0).await;
    let left = "SELECT (SELECT COUNT(*) FROM blocks) + (SELECT COUNT(*) FROM nodes) + (SELECT COUNT(*) FROM suggestions)";
    assert_eq!(place.count(left).await, 0);
    assert_eq!(summed(&store.postings_since(AT).await.unwrap()).values().sum::<u64>(), 4_000_000);
    assert_eq!(
        place.count("SELECT CAST(SUM(requests) AS BIGINT) FROM spend").await,
        3,
        "sums outlive their records"
    );
}

/// Deletes until a count is what it should be: the store's own sweep may be at it just now, which keeps others out.
async fn sweep(place: &Place, now: i64, counted: &str, want: i64) {
    for _ in 0..1000 {
        while retention::step(place.pool().await, now).await.unwrap() {}
        if place.count(counted).await == want {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{counted}: {} instead of {want}", place.count(counted).await);
}

async fn odd_bodies_are_kept_as_they_are(place: &Place) {
    let (recorder, _store) = place.open().await;
    let bodies: [&[u8]; 5] = [
        b"",
        b"{not json",
        b"\xff\xfe",
        b"[1,2]",
        br#"{"messages": "no list", "system": {"a": 1}, "tools": null}"#,
    ];
    for body in bodies {
        let mut record = model("eng/alice", AT, "", "");
        if let RecordKind::Model(m) = &mut record.kind {
            m.request = Some(Bytes::copy_from_slice(body));
        }
        recorder.submit(record);
    }
    recorder.flush().await;
    assert_eq!(recorder.counts().written, 5);
}
