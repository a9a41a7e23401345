//! What pages and their API read.

use super::*;
use std::collections::HashSet;

on_both!(
    filters_pick_and_pages_walk_through_all_once,
    records_of_one_millisecond_are_all_walked,
    a_viewer_sees_its_subtree_and_nothing_else,
    a_conversation_comes_back_as_it_was,
    a_record_is_whole_and_linked,
    spend_adds_up_by_key_model_and_day,
    the_live_view_follows_the_order_of_writing,
);

fn keys(names: &[&str]) -> Viewer {
    Viewer::Keys(names.iter().map(|n| (*n).into()).collect())
}

fn text(words: &str) -> Filter {
    Filter { text: Some(words.into()), ..Filter::default() }
}

async fn ids(store: &Store, viewer: &Viewer, filter: &Filter) -> Vec<i64> {
    store.list(viewer, filter, None, 500).await.unwrap().records.iter().map(|r| r.at - AT).collect()
}

/// Ten requests of alice, five of bob, one refused without a key, a tool call of alice; another namespace's key.
async fn filled(place: &Place) -> (Recorder, Store) {
    let (recorder, store) = place.open().await;
    for n in 0..10 {
        let mut one = model("eng/alice", AT + n, &format!("alice question {n}"), "the answer");
        one.session = Some(format!("session-{}", n % 2));
        one.status = if n == 3 { 529 } else { 200 };
        if let (RecordKind::Model(m), 4) = (&mut one.kind, n) {
            m.model = Some("openai/gpt-5".into());
            m.answer.tool_calls =
                vec![ToolCall { id: "toolu_4".into(), name: "db__query".into(), arguments: "{}".into() }];
        }
        recorder.submit(one);
    }
    for n in 10..15 {
        recorder.submit(model("eng/bob", AT + n, "bob's question", "häufige Antwort"));
    }
    let refused = Record {
        tree: vec![],
        status: 401,
        error: Some("no such key".into()),
        postings: vec![],
        ..model("", AT + 20, "", "")
    };
    recorder.submit(refused);
    recorder.submit(tool("eng/alice", AT + 21, "toolu_4"));
    recorder
        .submit(Record { tree: vec!["ops/carol".into()], ..model("ops/carol", AT + 22, "carol's own", "x") });
    recorder.flush().await;
    (recorder, store)
}

async fn filters_pick_and_pages_walk_through_all_once(place: &Place) {
    let (_recorder, store) = filled(place).await;
    let f = Filter::default;
    let status = |s: &str| Filter { status: Some(s.parse().unwrap()), ..f() };
    let cases = [
        (Filter { key: Some("eng/bob".into()), ..f() }, vec![14, 13, 12, 11, 10]),
        (Filter { model: Some("openai/gpt-5".into()), ..f() }, vec![4]),
        (status("failed"), vec![20, 3]),
        (status("4xx"), vec![20]),
        (status("529"), vec![3]),
        (Filter { kind: Some(KindFilter::Tool), ..f() }, vec![21]),
        (Filter { session: Some("session-1".into()), ..f() }, vec![9, 7, 5, 3, 1]),
        (Filter { from: Some(AT + 12), to: Some(AT + 14), ..f() }, vec![13, 12]),
        (text("question bob"), vec![14, 13, 12, 11, 10]),
        (text("alice 7"), vec![7]),
        (text("HAUFIG"), vec![14, 13, 12, 11, 10]),
        (text("no such key"), vec![20]),
        (text("staging-db__query \"OR\" *"), vec![]),
        (text("db__que"), vec![21, 4]),
        (text("\"*'"), vec![]),
        (Filter { key: Some("eng/team".into()), model: Some("openai/gpt-5".into()), ..f() }, vec![4]),
        (
            Filter { key: Some("eng/team".into()), ..status("200") },
            vec![21, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 2, 1, 0],
        ),
        (Filter { key: Some("eng/nobody".into()), ..f() }, vec![]),
    ];
    for (filter, want) in cases {
        assert_eq!(ids(&store, &Viewer::All, &filter).await, want, "{filter:?}");
        let live = store.after(&Viewer::All, &filter, 0, 500).await.unwrap();
        assert_eq!(live.len(), want.len(), "live {filter:?}");
    }
    for filter in [f(), Filter { key: Some("eng/team".into()), ..f() }, text("question")] {
        let all = ids(&store, &Viewer::All, &filter).await;
        let (mut walked, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.list(&Viewer::All, &filter, cursor, 4).await.unwrap();
            walked.extend(page.records.iter().map(|r| r.at - AT));
            match page.next {
                Some(next) => cursor = Some(next.to_string().parse().unwrap()),
                None => break,
            }
        }
        assert_eq!(walked, all);
    }
}

async fn records_of_one_millisecond_are_all_walked(place: &Place) {
    let (recorder, store) = place.open().await;
    for n in 0..25 {
        recorder.submit(model("eng/alice", AT, &format!("q{n}"), "a"));
    }
    recorder.flush().await;
    let (mut seen, mut cursor) = (HashSet::new(), None);
    loop {
        let page = store.list(&Viewer::All, &Filter::default(), cursor, 7).await.unwrap();
        assert!(page.records.iter().all(|r| seen.insert(r.id)));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 25);
}

async fn a_viewer_sees_its_subtree_and_nothing_else(place: &Place) {
    let (_recorder, store) = filled(place).await;
    let of_bob =
        ids(&store, &Viewer::All, &Filter { key: Some("eng/bob".into()), ..Filter::default() }).await;
    let everything = ids(&store, &Viewer::All, &Filter::default()).await;
    let (alice, bob, team) = (keys(&["eng/alice"]), keys(&["eng/bob"]), keys(&["eng/team"]));
    assert_eq!(ids(&store, &bob, &Filter::default()).await, of_bob);
    assert_eq!(ids(&store, &team, &Filter::default()).await.len(), everything.len() - 2);
    assert!(ids(&store, &Viewer::Nobody, &Filter::default()).await.is_empty());
    // A filter never widens what a viewer sees.
    for filter in
        [Filter { key: Some("eng/alice".into()), ..Filter::default() }, text("alice"), text("carol")]
    {
        assert!(ids(&store, &bob, &filter).await.is_empty());
        assert!(store.after(&bob, &filter, 0, 100).await.unwrap().is_empty());
    }
    let of_alice = store.list(&alice, &Filter::default(), None, 100).await.unwrap().records;
    for record in &of_alice {
        assert!(store.record(&bob, record.id).await.unwrap().is_none());
        assert!(store.record(&Viewer::Nobody, record.id).await.unwrap().is_none());
        assert!(store.record(&team, record.id).await.unwrap().is_some());
    }
    let period = Period::last(AT, 24, 0);
    assert_eq!(store.spend(&bob, period, None).await.unwrap().total.requests, 5);
    assert_eq!(store.spend(&bob, period, Some("eng/alice")).await.unwrap().total.requests, 0);
    assert_eq!(store.spend(&team, period, None).await.unwrap().total.requests, 15);
    assert_eq!(store.spend(&Viewer::Nobody, period, None).await.unwrap().total.requests, 0);
    let (names, _) = store.names(&bob, 0).await.unwrap();
    assert_eq!(
        names,
        [std::sync::Arc::<str>::from("eng/bob")],
        "the names of others, and of teams above, are not shown"
    );
    assert_eq!(store.names(&Viewer::All, 0).await.unwrap().0.len(), 4);
}

async fn a_conversation_comes_back_as_it_was(place: &Place) {
    let (recorder, store) = place.open().await;
    let mut sent = Vec::new();
    for n in 0..4 {
        let body = super::content::turn(n);
        let record = with_body("eng/alice", AT + n as i64, &body, "fine");
        sent.push((record.id, body));
        recorder.submit(record);
    }
    recorder.flush().await;
    for (id, body) in sent {
        let full = store.record(&Viewer::All, id).await.unwrap().unwrap();
        let said = full.conversation.unwrap();
        let without_marks: Value =
            serde_json::from_str(&split::without_cache_marks(&body.to_string())).unwrap();
        assert_eq!(json!(said.messages), without_marks["messages"]);
        assert_eq!(json!(said.system), without_marks["system"]);
        assert_eq!(said.tools.unwrap(), without_marks["tools"]);
        assert_eq!(said.request, json!({"model": "claude-haiku"}));
        assert_eq!(said.answer, json!([{"type": "text", "text": "fine"}]));
        assert_eq!(said.missing, 0);
    }
}

async fn a_record_is_whole_and_linked(place: &Place) {
    let (_recorder, store) = filled(place).await;
    let all = store.list(&Viewer::All, &Filter::default(), None, 100).await.unwrap().records;
    let find = |at: i64| all.iter().find(|r| r.at == AT + at).unwrap().id;
    let answer = store.record(&Viewer::All, find(4)).await.unwrap().unwrap();
    assert_eq!(answer.tool_calls.len(), 1);
    assert_eq!(answer.tool_calls[0].record, Some(find(21)));
    assert_eq!((answer.previous, answer.following), (Some(find(2)), Some(find(6))));
    assert_eq!(answer.metadata, [("ticket".to_owned(), "T-1".to_owned())]);
    assert_eq!(answer.postings.len(), 2);
    let said = answer.conversation.unwrap();
    assert_eq!(said.messages, [json!({"role": "user", "content": "alice question 4"})]);
    assert_eq!(said.answer[1]["name"], "db__query");
    let call = store.record(&Viewer::All, find(21)).await.unwrap().unwrap();
    assert_eq!(call.suggested_by, Some(find(4)));
    assert_eq!((call.listed.kind, call.suggested), ("tool", Some(true)));
    assert_eq!(call.conversation.unwrap().request, json!({"sql": "select 1"}));
    assert!(store.record(&Viewer::All, Uuid::nil()).await.unwrap().is_none());
}

async fn spend_adds_up_by_key_model_and_day(place: &Place) {
    let (recorder, store) = place.open().await;
    for (day, key, cost) in
        [(0, "eng/alice", 5), (0, "eng/bob", 7), (1, "eng/alice", 11), (3, "eng/alice", 13)]
    {
        let mut one = model(key, AT - day * 86_400_000, "q", "a");
        if let RecordKind::Model(m) = &mut one.kind {
            m.cost = Some(cost);
        }
        one.latency = Latency { total: 1_000_000, first_byte: Some(200_000), gateway: 400 };
        recorder.submit(one);
    }
    recorder.submit(tool("eng/alice", AT, "t"));
    recorder.flush().await;
    let spend = store.spend(&Viewer::All, Period::last(AT, 72, 0), None).await.unwrap();
    assert_eq!((spend.total.cost, spend.total.requests, spend.tool_calls.requests), (23, 3, 1));
    assert_eq!(
        spend.by_key.iter().map(|k| (&*k.name, k.sum.cost)).collect::<Vec<_>>(),
        [("eng/alice", 16), ("eng/bob", 7)]
    );
    assert_eq!(spend.by_model[0].sum.input, 30);
    assert_eq!(spend.by_tool[0].name, "eng/staging-db:staging-db__query");
    let days: Vec<_> = spend.by_day.iter().map(|(day, sum)| ((day - AT) / 86_400_000, sum.cost)).collect();
    assert_eq!(days, [(-3, 0), (-2, 0), (-1, 11), (0, 12)]);
    let (p50, p95) = spend.latency.total.unwrap();
    assert!(p50.abs_diff(1_000_000) < 150_000 && p50 == p95);
    // An hour behind UTC, the last day is not a whole one.
    let ahead = store.spend(&Viewer::All, Period::last(AT, 72, -60), None).await.unwrap();
    assert_eq!(ahead.by_day.last().unwrap().1.cost, 12);
    assert_eq!(ahead.by_day.last().unwrap().0, AT - 23 * 3_600_000);
}

async fn the_live_view_follows_the_order_of_writing(place: &Place) {
    let (recorder, store) = place.open().await;
    recorder.submit(model("eng/alice", AT, "first", "a"));
    recorder.flush().await;
    let seen = store.newest().await.unwrap();
    // A long stream that began before is written after.
    recorder.submit(model("eng/alice", AT - 600_000, "long", "a"));
    recorder.flush().await;
    let new = store.after(&Viewer::All, &Filter::default(), seen, 10).await.unwrap();
    assert_eq!(new.iter().map(|r| r.prompt.as_deref().unwrap()).collect::<Vec<_>>(), ["long"]);
}
