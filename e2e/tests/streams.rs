//! Streams that go wrong, on either side: each ends cleanly for the client, and nothing else suffers.

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tollgate_e2e::{
    client::{Event, Streaming, eventually},
    gateway::{Manifests, manifests},
    lab::{KEY, Lab},
    provider::{Api, Reply, Rule, UsageSpec},
};

const MODELS: [(&str, Api); 2] =
    [("anthropic/claude-sonnet-4-5", Api::Messages), ("openai/gpt-5", Api::Chat)];

fn ask(model: &str) -> Value {
    json!({"model": model, "max_tokens": 30_000, "stream": true, "messages": [{"role": "user", "content": "tell me"}]})
}

/// The same for Chat, where reasoning models want another name of the cap.
fn ask_chat(model: &str) -> Value {
    json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "tell me"}]})
}

/// An answer of many events.
fn long() -> Reply {
    Reply { deltas: Some(20), ..Reply::text("one two three four five six seven eight nine ten") }
}

async fn messages(lab: &Lab, model: &str) -> anyhow::Result<Streaming> {
    let headers = [("x-api-key", KEY), ("anthropic-version", "2023-06-01")];
    lab.http.stream(&lab.messages(), &headers, &ask(model)).await
}

async fn chat(lab: &Lab, model: &str) -> anyhow::Result<Streaming> {
    let bearer = format!("Bearer {KEY}");
    lab.http.stream(&lab.chat(), &[("authorization", &bearer)], &ask_chat(model)).await
}

fn text_of(events: &[Event]) -> String {
    let delta = |e: &Event| {
        let json = e.json();
        let text = json.pointer("/delta/text").or_else(|| json.pointer("/choices/0/delta/content"));
        text.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    events.iter().map(delta).collect()
}

fn has(events: &[Event], name: &str) -> bool {
    events.iter().any(|e| e.name == name || e.data == name)
}

#[tokio::test]
async fn upstream_breaks_off_in_the_middle() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let broken = || Rule::once(Reply { break_after: Some(5), ..long() });
    for (model, _) in MODELS {
        lab.provider.script(broken());
        let (events, _) = messages(&lab, model).await?.rest().await;
        assert!(has(&events, "message_start"), "{model}: {events:?}");
        assert!(!has(&events, "message_stop"), "{model}: a broken answer must not look whole");
        let last = events.last().map(Event::json).unwrap_or_default();
        assert_eq!(last["type"], "error", "{model}: {events:#?}");
        lab.provider.script(broken());
        let (events, _) = chat(&lab, model).await?.rest().await;
        assert!(!has(&events, "[DONE]"), "{model}: a broken answer must not look whole");
        let last = events.last().map(Event::json).unwrap_or_default();
        assert!(last["error"]["message"].is_string(), "{model}: {events:#?}");
    }
    Ok(())
}

/// A process that stands still (a laptop that sleeps, a frozen pod) takes none of that time for its upstream's silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_that_a_gateway_stands_still_is_not_the_upstreams() -> anyhow::Result<()> {
    let patient = |manifests: Manifests, url: &str| {
        let spec = "retry: {attempts: 0}\ntimeouts: {idle: 3s}";
        manifests.file("anthropic.yaml", &manifests::route("anthropic", "anthropic", url, spec))
    };
    let lab = Lab::with(patient).await?;
    lab.provider.script(Rule::always(Reply { every_ms: 100, deltas: Some(60), ..long() }));
    let mut streams = Vec::new();
    for _ in 0..12 {
        let mut stream = messages(&lab, MODELS[0].0).await?;
        assert_eq!(stream.next().await?.map(|event| event.name), Some("message_start".to_owned()));
        streams.push(tokio::spawn(async move { stream.rest().await }));
    }
    let pid = lab.gateway.pid()?.to_string();
    let signal = async |signal: &str| {
        let status = tokio::process::Command::new("kill").args([signal, &pid]).status().await?;
        anyhow::ensure!(status.success(), "kill {signal}: {status}");
        Ok(())
    };
    signal("-STOP").await?;
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    signal("-CONT").await?;
    for stream in streams {
        let (events, whole) = stream.await?;
        assert!(whole && has(&events, "message_stop"), "{:?}", events.last());
    }
    Ok(())
}

#[tokio::test]
async fn upstream_breaks_off_before_the_first_byte() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    for (model, _) in MODELS {
        lab.provider.script(Rule::once(Reply { drop: true, ..Reply::default() }));
        let answer = messages(&lab, model).await?;
        assert_eq!(answer.status, 502, "{model}");
        lab.provider.script(Rule::once(Reply { break_after: Some(0), ..Reply::text("never") }));
        let mut answer = messages(&lab, model).await?;
        let (events, _) = answer.rest().await;
        assert!(answer.status == 502 || has(&events, "error"), "{model}: {} {events:?}", answer.status);
    }
    Ok(())
}

#[tokio::test]
async fn upstream_error_before_a_stream_is_a_plain_error() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    for (model, _) in MODELS {
        lab.provider.script(Rule::once(Reply::error(429, "slow down").header("retry-after", "7")));
        let answer = messages(&lab, model).await?;
        assert_eq!(answer.status, 429, "{model}");
        let after = answer.headers.get("retry-after").and_then(|v| v.to_str().ok());
        assert_eq!(after, Some("7"), "{model}");
        lab.provider.script(Rule::once(Reply::error(429, "slow down").header("retry-after", "7")));
        assert_eq!(chat(&lab, model).await?.status, 429, "{model}");
    }
    Ok(())
}

#[tokio::test]
async fn upstream_answers_garbage() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let garbage =
        || Rule::once(Reply { body: Some("<html>Bad Gateway</html>".to_owned()), ..Reply::default() });
    for (model, _) in MODELS {
        for stream in [false, true] {
            let (mut body, mut chat) = (ask(model), ask_chat(model));
            (body["stream"], chat["stream"]) = (json!(stream), json!(stream));
            lab.provider.script(garbage());
            let answer = lab.gateway.message(KEY, &body).await?;
            assert_eq!(answer.status, 502, "{model} stream={stream}: {}", answer.text());
            assert_eq!(answer.json()?["error"]["type"], "api_error");
            lab.provider.script(garbage());
            let answer = lab.gateway.chat(KEY, &chat).await?;
            assert_eq!(answer.status, 502, "{model} stream={stream}: {}", answer.text());
            assert!(answer.json()?["error"]["message"].is_string());
        }
    }
    Ok(())
}

#[tokio::test]
async fn upstream_falls_silent() -> anyhow::Result<()> {
    let quick = "retry: {attempts: 0}\ntimeouts: {connect: 2s, firstByte: 1s, idle: 1s}";
    let lab = Lab::with(|m, url| {
        m.file("anthropic.yaml", &manifests::route("anthropic", "anthropic", url, quick))
            .file("openai.yaml", &manifests::route("openai", "openAI", &format!("{url}/v1"), quick))
    })
    .await?;
    for (model, _) in MODELS {
        lab.provider.script(Rule::once(Reply { delay_ms: 20_000, ..Reply::text("too late") }));
        assert_eq!(messages(&lab, model).await?.status, 504, "{model}: no first byte");
        let silent = Reply { pause_after: Some(5), pause_ms: 20_000, ..long() };
        lab.provider.script(Rule::once(silent));
        let (events, _) = messages(&lab, model).await?.rest().await;
        assert_eq!(
            events.last().map(Event::json).unwrap_or_default()["type"],
            "error",
            "{model}: {events:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn slow_client_gets_everything_and_holds_nobody_up() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let long = "a long answer that must not pile up in the gateway ".repeat(100_000); // 5 MB
    for (model, api) in MODELS {
        let usage = Some(UsageSpec { input: 1, output: 1, ..UsageSpec::default() }); // or the cap would cut it
        lab.provider.script(Rule::once(Reply { deltas: Some(2_000), usage, ..Reply::text(&*long) }));
        let mut slow = messages(&lab, model).await?;
        slow.next().await?;
        // While it reads nothing, others are served.
        for _ in 0..3 {
            let mut body = ask(model);
            body["stream"] = json!(false);
            lab.gateway.message(KEY, &body).await?.expect(200)?;
        }
        let first = lab.provider.requests_to(api).first().cloned();
        assert!(first.is_some_and(|seen| !seen.finished.get()), "the gateway swallowed the whole stream");
        let (events, clean) = slow.rest().await;
        assert!(clean, "{model}");
        assert_eq!(text_of(&events).len(), long.len(), "{model}");
        lab.provider.reset();
    }
    Ok(())
}

#[tokio::test]
async fn client_that_breaks_off_its_request_harms_nobody() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let address = lab.gateway.url().trim_start_matches("http://").to_owned();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(&address).await?;
        let head = format!(
            "POST /anthropic/v1/messages HTTP/1.1\r\nhost: {address}\r\nx-api-key: {KEY}\r\ncontent-length: 100000\r\n\r\n{{\"model\":"
        );
        stream.write_all(head.as_bytes()).await?;
        drop(stream);
    }
    let mut garbage = TcpStream::connect(&address).await?;
    garbage.write_all(b"\x16\x03\x01 not http at all\r\n\r\n").await?;
    drop(garbage);
    let mut body = ask("anthropic/claude-sonnet-4-5");
    body["stream"] = json!(false);
    lab.gateway.message(KEY, &body).await?.expect(200)?;
    assert_eq!(lab.provider.requests().len(), 1, "half a request is no request");
    Ok(())
}

#[tokio::test]
async fn client_that_leaves_stops_the_upstream() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    for (model, api) in MODELS {
        let endless = Reply { every_ms: 20, deltas: Some(2_000), ..Reply::text("x".repeat(4_000)) };
        lab.provider.script(Rule::once(endless));
        let mut stream = messages(&lab, model).await?;
        for _ in 0..5 {
            stream.next().await?;
        }
        drop(stream); // the connection cannot be used again: hyper closes it
        eventually("the upstream connection is closed", || async {
            let open = lab.provider.requests_to(api).iter().any(|seen| seen.open());
            Ok((!open).then_some(()))
        })
        .await?;
        assert!(!lab.provider.requests_to(api)[0].finished.get(), "{model}: the answer went out whole");
    }
    Ok(())
}

#[tokio::test]
async fn sigterm_lets_a_stream_end() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let slow = Reply { every_ms: 50, deltas: Some(40), ..Reply::text("x".repeat(400)) };
    lab.provider.script(Rule::once(slow));
    let mut stream = messages(&lab, MODELS[0].0).await?;
    stream.next().await?;
    lab.gateway.terminate().await?;
    let (events, clean) = stream.rest().await;
    assert!(clean && has(&events, "message_stop"), "the stream was dropped");
    lab.gateway.ended().await
}
