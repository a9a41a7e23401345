use super::*;

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

#[tokio::test]
async fn a_turn_adds_only_what_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let (recorder, _store) = file_store(dir.path()).await;
    let mut conn = direct(dir.path()).await;
    let mut steps = Vec::new();
    let mut sent = 0;
    for n in 0..10 {
        let body = turn(n);
        sent += body.to_string().len();
        recorder.submit(with_body("eng/alice", AT + n as i64, &body, "ok"));
        recorder.flush().await;
        steps.push((
            count(&mut conn, "SELECT COUNT(*) FROM blocks").await,
            count(&mut conn, "SELECT COUNT(*) FROM nodes").await,
        ));
    }
    // First: two system blocks, the tools, one message. Then: the billing block that differs, and two messages.
    assert_eq!(steps[0], (4, 1));
    for pair in steps.windows(2) {
        assert_eq!((pair[1].0 - pair[0].0, pair[1].1 - pair[0].1), (3, 2));
    }
    let stored = count(
        &mut conn,
        "SELECT (SELECT SUM(LENGTH(body)) + 60 * COUNT(*) FROM blocks) + (SELECT 80 * COUNT(*) FROM nodes) \
         + (SELECT SUM(LENGTH(request) + LENGTH(answer) + LENGTH(system)) FROM contents)",
    )
    .await;
    assert!(stored < 20_000 && sent > 200_000, "{stored} bytes for {sent} sent");
}

#[tokio::test]
async fn namespaces_share_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (recorder, _store) = file_store(dir.path()).await;
    let mut conn = direct(dir.path()).await;
    for key in ["eng/alice", "eng/bob", "ops/carol"] {
        recorder.submit(with_body(key, AT, &turn(1), "ok"));
        recorder.flush().await;
    }
    assert_eq!(count(&mut conn, "SELECT COUNT(*) FROM blocks").await, 2 * 6);
}

#[tokio::test]
async fn secrets_are_not_stored_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let (recorder, _store) = file_store(dir.path()).await;
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
    let mut conn = direct(dir.path()).await;
    for sql in ["SELECT body FROM blocks", "SELECT request FROM contents", "SELECT answer FROM contents"] {
        for row in sqlx::query(sql).fetch_all(&mut conn).await.unwrap() {
            let packed: Option<Vec<u8>> = row.get(0);
            assert!(!split::unpack(&packed.unwrap_or_default()).contains("SECRETSECRET"), "{sql}");
        }
    }
    let sql =
        "SELECT COUNT(*) FROM records WHERE prompt || reply || COALESCE(error, '') LIKE '%SECRETSECRET%'";
    assert_eq!(count(&mut conn, sql).await, 0);
    assert_eq!(count(&mut conn, "SELECT COUNT(*) FROM words WHERE words MATCH 'sk OR api03'").await, 0);
}

#[tokio::test]
async fn the_policy_decides_what_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (recorder, _store) = file_store(dir.path()).await;
    for content in [Content::None, Content::Metadata] {
        let record = model("eng/alice", AT, "private words", "private answer");
        recorder.submit(Record { content, session: Some("s-1".into()), ..record });
    }
    recorder.flush().await;
    let mut conn = direct(dir.path()).await;
    assert_eq!(count(&mut conn, "SELECT COUNT(*) FROM contents").await, 0);
    assert_eq!(count(&mut conn, "SELECT COUNT(*) FROM words WHERE words MATCH 'private'").await, 0);
    assert_eq!(
        count(&mut conn, "SELECT COUNT(*) FROM records WHERE prompt IS NOT NULL OR reply IS NOT NULL").await,
        0
    );
    let sql = "SELECT COUNT(*) FROM records WHERE content = 0 AND session IS NULL AND user_agent IS NULL \
        AND metadata IS NULL AND stop IS NULL AND cost = 1000000";
    assert_eq!(count(&mut conn, sql).await, 1);
    let sql = "SELECT COUNT(*) FROM records WHERE content = 1 AND session = 's-1' AND metadata IS NOT NULL";
    assert_eq!(count(&mut conn, sql).await, 1);
}

#[tokio::test]
async fn retention_deletes_records_and_then_their_blocks_but_never_money() {
    let dir = tempfile::tempdir().unwrap();
    let (recorder, store) = file_store(dir.path()).await;
    let hour = 3_600_000;
    recorder.submit(Record { retention_s: 3600, ..with_body("eng/alice", AT, &turn(2), "short") });
    recorder.submit(Record { retention_s: 7200, ..with_body("eng/alice", AT, &turn(1), "long") });
    recorder.submit(Record { retention_s: 3600, ..tool("eng/alice", AT, "t1") });
    recorder.flush().await;
    let mut conn = direct(dir.path()).await;
    let tables = "SELECT COUNT(*) * 100 + (SELECT COUNT(*) FROM contents) FROM records";
    assert_eq!(count(&mut conn, tables).await, 303);
    // Blocks that only the short-lived record used go a little later than it; shared ones stay with the long-lived.
    while retention::step(&mut conn, AT + hour + hour / 15).await.unwrap() {}
    assert_eq!(count(&mut conn, tables).await, 101);
    assert_eq!(count(&mut conn, "SELECT COUNT(*) FROM nodes").await, 3);
    assert_eq!(count(&mut conn, "SELECT COUNT(*) FROM words WHERE words MATCH 'short'").await, 0);
    while retention::step(&mut conn, AT + 3 * hour).await.unwrap() {}
    assert_eq!(count(&mut conn, tables).await, 0);
    let left = "SELECT (SELECT COUNT(*) FROM blocks) + (SELECT COUNT(*) FROM nodes) + (SELECT COUNT(*) FROM suggestions)";
    assert_eq!(count(&mut conn, left).await, 0);
    assert_eq!(summed(&store.postings_since(AT).await.unwrap()).values().sum::<u64>(), 4_000_000);
    assert_eq!(count(&mut conn, "SELECT SUM(requests) FROM spend").await, 3, "sums outlive their records");
}

#[tokio::test]
async fn odd_bodies_are_kept_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (recorder, _store) = file_store(dir.path()).await;
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
