//! Manifests in a folder: changes without a restart, bad ones refused alone.

use serde_json::{Value, json};
use tollgate_e2e::{
    client::eventually,
    gateway::{Gateway, Home, Manifests, manifests},
    lab::{KEY, KEY_SPEC, Lab},
    provider::{Reply, Rule},
};

fn ask() -> Value {
    json!({"model": "anthropic/claude-sonnet-4-5", "max_tokens": 1_000, "messages": [{"role": "user", "content": "hello"}]})
}

async fn status(gateway: &Gateway, key: &str) -> anyhow::Result<u16> {
    Ok(gateway.message(key, &ask()).await?.status)
}

async fn becomes(gateway: &Gateway, key: &str, want: u16) -> anyhow::Result<()> {
    let check = || async { Ok((status(gateway, key).await? == want).then_some(())) };
    eventually(&format!("{key} gets {want}"), check).await
}

#[tokio::test]
async fn keys_come_and_go_without_a_restart() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    assert_eq!(status(&lab.gateway, "vk-new").await?, 401);
    lab.home.write("new.yaml", &manifests::key("vk-new", KEY_SPEC))?;
    becomes(&lab.gateway, "vk-new", 200).await?;
    lab.home.write("new.yaml", &manifests::key("vk-new", &format!("{KEY_SPEC}disabled: true\n")))?;
    becomes(&lab.gateway, "vk-new", 403).await?;
    lab.home.remove("new.yaml")?;
    becomes(&lab.gateway, "vk-new", 401).await?;
    assert_eq!(status(&lab.gateway, KEY).await?, 200);
    lab.provider.assert_clean()
}

#[tokio::test]
async fn a_change_drops_no_stream() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let slow = Reply { every_ms: 30, deltas: Some(60), ..Reply::text("x".repeat(600)) };
    lab.provider.script(Rule::once(slow));
    let headers = [("x-api-key", KEY), ("anthropic-version", "2023-06-01")];
    let mut body = ask();
    body["stream"] = json!(true);
    let mut stream = lab.http.stream(&lab.messages(), &headers, &body).await?;
    stream.next().await?;
    let other =
        manifests::route("anthropic", "anthropic", &lab.provider.url(), "retry: {attempts: 1}\nstrict: true");
    lab.home.write("anthropic.yaml", &other)?;
    lab.home.write("new.yaml", &manifests::key("vk-new", KEY_SPEC))?;
    becomes(&lab.gateway, "vk-new", 200).await?;
    let (events, clean) = stream.rest().await;
    assert!(clean && events.iter().any(|e| e.name == "message_stop"), "{events:?}");
    Ok(())
}

#[tokio::test]
async fn a_revoked_key_loses_its_running_stream() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let endless = Reply { every_ms: 50, deltas: Some(1_000), ..Reply::text("x".repeat(1_000)) };
    lab.provider.script(Rule::once(endless));
    let headers = [("x-api-key", KEY), ("anthropic-version", "2023-06-01")];
    let mut body = ask();
    body["stream"] = json!(true);
    let mut stream = lab.http.stream(&lab.messages(), &headers, &body).await?;
    stream.next().await?;
    lab.home.write(&format!("{KEY}.yaml"), &manifests::key(KEY, &format!("{KEY_SPEC}disabled: true\n")))?;
    let started = std::time::Instant::now();
    let (events, _) = stream.rest().await;
    assert!(!events.iter().any(|e| e.name == "message_stop"), "a revoked key's stream must end");
    assert!(started.elapsed().as_secs() < 30, "50 s is the whole stream");
    Ok(())
}

#[tokio::test]
async fn a_narrowed_key_loses_the_streams_it_may_not_have_any_more_and_no_other() -> anyhow::Result<()> {
    let lab = Lab::with(|m, _| m.key("vk-second", KEY_SPEC).key("vk-other", KEY_SPEC)).await?;
    let mut body = ask();
    body["stream"] = json!(true);
    let open = async |key: &'static str, deltas: usize| {
        let slow = Reply { every_ms: 50, deltas: Some(deltas), ..Reply::text("x".repeat(deltas)) };
        lab.provider.script(Rule::once(slow));
        let headers = [("x-api-key", key), ("anthropic-version", "2023-06-01")];
        let mut stream = lab.http.stream(&lab.messages(), &headers, &body).await?;
        stream.next().await?;
        anyhow::Ok(stream)
    };
    // Both for 50 s, when nobody ends them.
    let (mut by_model, mut by_provider) = (open(KEY, 1_000).await?, open("vk-second", 1_000).await?);
    let mut other = open("vk-other", 100).await?;
    let models = "models: {allow: [\"openai/*\"]}\n";
    let providers = "models: {allow: [\"*/*\"]}\nproviders: {allow: [OpenAI]}\n";
    for (key, narrowed) in [(KEY, models), ("vk-second", providers)] {
        lab.home.write(&format!("{key}.yaml"), &manifests::key(key, narrowed))?;
    }
    let allowed = "is not allowed for key default";
    for (stream, words) in [
        (&mut by_model, format!("model anthropic/claude-sonnet-4-5 {allowed}/{KEY}: it may use openai/*")),
        (&mut by_provider, format!("provider Anthropic {allowed}/vk-second")),
    ] {
        let (events, _) = stream.rest().await;
        assert!(
            !events.iter().any(|e| e.name == "message_stop"),
            "the key may not have this answer any more"
        );
        let last = events.last().map(|e| e.data.clone()).unwrap_or_default();
        assert!(last.contains("permission_error") && last.contains(&words), "{last}");
    }
    let (events, clean) = other.rest().await;
    assert!(clean && events.iter().any(|e| e.name == "message_stop"), "{events:?}");
    Ok(())
}

#[tokio::test]
async fn a_bad_object_is_refused_alone_and_keeps_its_last_good_version() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    for (bad, words) in [
        ("this: is: no: yaml: [", "openai.yaml"),
        (
            "apiVersion: tollgate.dev/v1alpha1\nkind: ProviderRoute\nmetadata: {name: openai}\nspec: {backendz: []}\n",
            "backendz",
        ),
    ] {
        lab.home.write("openai.yaml", bad)?;
        eventually("the terminal says what is wrong", || async { Ok(lab.gateway.log().find(words)) }).await?;
        let openai = json!({"model": "openai/gpt-4o", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]});
        lab.gateway.message(KEY, &openai).await?.expect(200)?;
        assert_eq!(status(&lab.gateway, KEY).await?, 200);
        let name = format!("vk-after-{}", words.len());
        lab.home.write(&format!("{name}.yaml"), &manifests::key(&name, KEY_SPEC))?;
        becomes(&lab.gateway, &name, 200).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_bad_object_at_the_start_keeps_no_good_one_away() -> anyhow::Result<()> {
    let lab = Lab::with(|m, _| {
        m.file("broken.yaml", "kind: VirtualKey\nmetadata: [").file("notes.txt", "no manifest")
    })
    .await?;
    assert_eq!(status(&lab.gateway, KEY).await?, 200);
    assert!(lab.gateway.log().find("broken.yaml").is_some(), "{}", lab.gateway.log().text());
    Ok(())
}

#[tokio::test]
async fn a_field_that_is_not_supported_yet_is_refused_by_name() -> anyhow::Result<()> {
    let lab = Lab::with(|m, _| m.key("vk-compact", &format!("{KEY_SPEC}context: Compact\n"))).await?;
    assert_eq!(status(&lab.gateway, "vk-compact").await?, 401);
    let log = lab.gateway.log().text();
    assert!(
        log.contains("vk-compact") && log.contains("spec.context") && log.contains("not supported yet"),
        "{log}"
    );
    Ok(())
}

#[tokio::test]
async fn dangling_references_have_their_outcome() -> anyhow::Result<()> {
    let orphan = format!("parentRef: {{name: nobody}}\n{KEY_SPEC}");
    let lab = Lab::with(|m, url| {
        let route = manifests::route("bare", "anthropic", url, "")
            .replace("name: provider, key", "name: missing, key");
        m.file("bare.yaml", &route).key("vk-orphan", &orphan).key("vk-bare", "models: {allow: [\"*/*\"]}\n")
    })
    .await?;
    let orphan = lab.gateway.message("vk-orphan", &ask()).await?;
    assert!(orphan.status == 403 && orphan.text().contains("nobody"), "{}", orphan.text());
    let mut body = ask();
    body["model"] = json!("bare/claude-sonnet-4-5");
    let bare = lab.gateway.message("vk-bare", &body).await?;
    assert!(bare.status >= 500 && bare.text().contains("missing"), "{}: {}", bare.status, bare.text());
    assert!(lab.provider.requests().is_empty());
    Ok(())
}

#[tokio::test]
async fn an_empty_folder_serves_and_refuses() -> anyhow::Result<()> {
    let home = Home::new(&Manifests::new())?;
    let gateway = Gateway::start(&home).await?;
    assert_eq!(status(&gateway, "vk-x").await?, 401);
    gateway.stop().await
}
