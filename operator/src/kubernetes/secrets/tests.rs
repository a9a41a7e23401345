use super::*;
use serde_json::json;
use tollgate_crds::api::ProviderRoute;

/// A route whose credential stands in the Secret of its name.
fn route(name: &str) -> Object {
    let secret = json!({"secretRef": {"name": name, "key": "apiKey"}});
    let route: ProviderRoute = serde_json::from_value(json!({
        "apiVersion": "tollgate.dev/v1alpha1", "kind": "ProviderRoute",
        "metadata": {"namespace": "a", "name": name},
        "spec": {"backends": [{"name": "b", "anthropic": {}, "credentials": secret}]},
    }))
    .unwrap();
    object::object(Kind::ProviderRoute, &route.metadata.clone(), Body::ProviderRoute(Arc::new(route)))
}

fn found() -> Read {
    Read::Found([("apiKey".to_owned(), ByteString(b"sk".to_vec()))].into())
}

/// Both are asked for so many seconds; what comes of each is given.
fn ask(secrets: &mut Secrets, from: Instant, seconds: std::ops::Range<u64>, of: impl Fn(&str) -> Read) {
    for second in seconds {
        let now = from + Duration::from_secs(second);
        for name in secrets.take_due(now) {
            secrets.read(&name, of(&name.1), now);
        }
    }
}

#[test]
fn a_secret_that_cannot_be_given_holds_a_start_back_for_a_while_only() {
    let (mut secrets, start) = (Secrets::default(), Instant::now());
    let broken = |name: &str| if name == "good" { found() } else { Read::Failed("decryption failed".into()) };
    let objects = [route("good"), route("broken")];
    secrets.want(objects.iter());
    ask(&mut secrets, start, 0..59, broken);
    assert!(secrets.is_unknown());
    ask(&mut secrets, start, 59..70, broken);
    assert!(!secrets.is_unknown(), "{secrets:?}");
    let Some(Body::Unreadable(why, _)) = secrets.objects().find(|o| o.name == "broken").map(|o| o.body)
    else {
        panic!("what needs it is off, and says why");
    };
    assert!(why[0].to_string().contains("decryption failed"), "{why:?}");
    // It is asked for all the same, and once it is there, another failure takes nothing away.
    ask(&mut secrets, start, 70..72, |_| found());
    assert_eq!(secrets.failure(), None);
    secrets.touch(&("a".to_owned(), "broken".to_owned()));
    ask(&mut secrets, start, 72..200, broken);
    assert!(!secrets.is_unknown());
    assert!(secrets.objects().all(|object| matches!(object.body, Body::Secret(_))), "{secrets:?}");
}

#[test]
fn an_api_server_that_gives_no_secret_at_all_takes_nothing_away() {
    let (mut secrets, start) = (Secrets::default(), Instant::now());
    let objects = [route("one"), route("other")];
    secrets.want(objects.iter());
    ask(&mut secrets, start, 0..600, |_| Read::Failed("away".into()));
    assert!(secrets.is_unknown());
    ask(
        &mut secrets,
        start,
        600..602,
        |name| if name == "one" { found() } else { Read::Failed("away".into()) },
    );
    assert!(!secrets.is_unknown());
}
