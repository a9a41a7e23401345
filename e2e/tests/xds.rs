//! The stream between operator and data plane, both real, over loopback in one process.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

#[path = "xds/support.rs"]
mod support;

use support::{Operator, Wire, bad_key, key, large_secret, place, resources, route, secret};
use tollgate_dataplane::model::ObjectId;
use tollgate_proto::{Kind, ResourceId, discovery::MAX_MESSAGE};

fn id(name: &str) -> ObjectId {
    ObjectId::new("n", name)
}

#[tokio::test]
async fn a_cold_start_then_a_change_then_a_removal() {
    let operator = Operator::start(resources([secret("s"), route("r", "s"), key("a", "1")])).await;
    let gateway = operator.gateway(&place());
    gateway.until("ready", |g| g.status().ready).await;
    let snapshot = gateway.snapshot();
    assert!(snapshot.key(&id("a")).is_some());
    let backend = &snapshot.routes().next().unwrap().backends[0];
    assert!(backend.off.is_none() && backend.credential.is_some(), "the Secret came with the route");

    operator.set(resources([secret("s"), route("r", "s"), key("a", "2"), key("b", "1")]));
    gateway.until("b is there", |g| g.snapshot().key(&id("b")).is_some()).await;
    gateway.until("a is changed", |g| g.default_route("a").as_deref() == Some("2")).await;

    operator.set(resources([key("b", "1")]));
    gateway.until("a is gone", |g| g.snapshot().key(&id("a")).is_none()).await;
    gateway.until("the route is gone", |g| g.snapshot().routes().next().is_none()).await;
    assert!(gateway.snapshot().key(&id("b")).is_some());
}

#[tokio::test]
async fn a_gateway_of_an_empty_operator_is_ready() {
    let operator = Operator::start(resources([])).await;
    let gateway = operator.gateway(&place());
    gateway.until("ready", |g| g.status().ready).await;
}

#[tokio::test]
async fn one_bad_resource_is_rejected_alone_and_reported_with_its_reason() {
    let operator = Operator::start(resources([key("good", "1"), bad_key("bad"), key("kept", "1")])).await;
    let gateway = operator.gateway(&place());
    gateway.until("ready all the same", |g| g.status().ready).await;
    assert!(gateway.snapshot().key(&id("good")).is_some() && gateway.snapshot().key(&id("bad")).is_none());
    // What was good keeps its last version, is told apart, and goes when it is deleted.
    operator.set(resources([key("good", "2"), bad_key("bad"), bad_key("kept")]));
    gateway.until("good is changed", |g| g.default_route("good").as_deref() == Some("2")).await;
    assert!(gateway.snapshot().key(&id("kept")).is_some());
    let bad = ResourceId::new(Kind::VirtualKey, "n", "bad");
    let kept = ResourceId::new(Kind::VirtualKey, "n", "kept");
    operator.until_reported("both rejections", |node| node.rejected.len() == 2 && node.health.ready).await;
    let node = operator.nodes().remove(0);
    assert!(node.rejected[&bad].error.starts_with("spec.budgets[0]"), "{:?}", node.rejected);
    assert_eq!(node.rejected[&bad].kept, None);
    assert_eq!(node.rejected[&kept].kept, Some(key("kept", "1").version()));
    assert_eq!((node.id.as_str(), node.in_force.len()), ("gateway-1", 2));
    operator.set(resources([key("good", "2")]));
    gateway.until("kept is gone", |g| g.snapshot().key(&id("kept")).is_none()).await;
    operator.until_reported("no rejection", |node| node.rejected.is_empty()).await;
}

#[tokio::test]
async fn an_operator_that_comes_back_sends_nothing_again() {
    let all = resources([secret("s"), route("r", "s"), key("a", "1"), key("b", "1")]);
    let operator = Operator::start(all.clone()).await;
    let gateway = operator.gateway(&place());
    gateway.until("ready", |g| g.status().ready).await;
    let generation = gateway.snapshot().generation;
    let port = operator.stop().await;
    gateway.until("the operator is gone", |g| !g.status().connected).await;
    assert!(gateway.status().ready && gateway.snapshot().key(&id("a")).is_some(), "it keeps serving");

    let operator = Operator::start_on(port, all).await;
    gateway.until("connected again", |g| g.status().connected).await;
    operator.until_reported("four in force", |node| node.in_force.len() == 4).await;
    operator.set(resources([secret("s"), route("r", "s"), key("a", "1")]));
    gateway.until("and follows", |g| g.snapshot().key(&id("b")).is_none()).await;
    assert_eq!(gateway.snapshot().generation, generation + 1, "nothing else was applied");
}

#[tokio::test]
async fn what_went_while_the_operator_was_away_goes() {
    let operator = Operator::start(resources([key("a", "1"), key("b", "1")])).await;
    let gateway = operator.gateway(&place());
    gateway.until("ready", |g| g.status().ready).await;
    // `b` is kept in an older version than the one it was told last: it must go all the same.
    operator.set(resources([key("a", "1"), bad_key("b")]));
    operator.until_reported("a rejection", |node| !node.rejected.is_empty()).await;
    let port = operator.stop().await;
    let _operator = Operator::start_on(port, resources([key("a", "1")])).await;
    gateway.until("b is gone", |g| g.snapshot().key(&id("b")).is_none()).await;
    assert!(gateway.snapshot().key(&id("a")).is_some());
}

#[tokio::test]
async fn a_restarted_gateway_serves_without_an_operator_and_a_fresh_one_says_why_it_does_not() {
    let place = place();
    let operator = Operator::start(resources([secret("s"), route("r", "s"), key("a", "1")])).await;
    let gateway = operator.gateway(&place);
    gateway.until("ready", |g| g.status().ready).await;
    gateway.until("saved", |_| place.saved().exists()).await;
    drop(gateway);
    let url = operator.url();
    operator.stop().await;

    let restarted = place.gateway(&url);
    assert!(restarted.status().ready && restarted.snapshot().key(&id("a")).is_some());
    assert!(restarted.snapshot().routes().next().unwrap().backends[0].credential.is_some());
    let fresh = support::place().gateway(&url);
    fresh.until("it says why", |g| g.status().why().contains("cannot be reached: ")).await;
    assert!(!fresh.status().ready);
}

#[tokio::test]
async fn a_stream_that_is_old_ends_and_a_new_one_sends_nothing() {
    let operator = Operator::start_with(resources([key("a", "1")]), |options| {
        options.max_age = std::time::Duration::from_millis(300);
    })
    .await;
    let gateway = operator.gateway(&place());
    gateway.until("ready", |g| g.status().ready).await;
    let generation = gateway.snapshot().generation;
    for _ in 0..3 {
        gateway.until("disconnected", |g| !g.status().connected).await;
        assert_eq!(gateway.status().error, None, "that is no error");
        gateway.until("connected", |g| g.status().connected).await;
    }
    operator.set(resources([key("a", "1"), key("b", "1")]));
    gateway.until("and follows", |g| g.snapshot().key(&id("b")).is_some()).await;
    assert_eq!(gateway.snapshot().generation, generation + 1, "nothing else was applied");
}

#[tokio::test]
async fn a_wrong_token_is_refused_until_the_file_has_the_right_one() {
    let operator = Operator::start(resources([key("a", "1")])).await;
    let place = place();
    place.write_token("another-token-of-some-length");
    let gateway = operator.gateway(&place);
    gateway.until("refused", |g| g.status().why().contains("the token is not one of a gateway")).await;
    assert!(!gateway.status().ready && gateway.snapshot().key(&id("a")).is_none());
    assert!(operator.nodes().is_empty());
    place.write_token(support::TOKEN);
    gateway.until("ready", |g| g.status().ready).await;
}

#[tokio::test]
async fn tls_needs_the_right_authority_and_speaks_nothing_else() {
    let operator = Operator::start_tls(resources([key("a", "1")])).await;
    let gateway = operator.gateway(&place());
    gateway.until("ready", |g| g.status().ready).await;

    // A gateway that speaks in clear is refused, and says why.
    let plain = place().gateway(&operator.url().replace("https://", "http://"));
    plain.until("plaintext is refused", |g| g.status().why().contains("this port speaks TLS only")).await;
    let other = place();
    let (stranger, _, _) = support::certificates();
    other.write_ca(&stranger);
    let other = other.gateway(&operator.url());
    other
        .until("another authority is refused", |g| g.status().why().contains("invalid peer certificate"))
        .await;
    assert!(!plain.status().ready && !other.status().ready);
}

#[tokio::test]
async fn a_gateway_speaks_in_clear_on_loopback_only_and_to_nobody_who_is_no_operator_of_its_authority() {
    let error = place().start("http://10.0.0.1:18000").unwrap_err().to_string();
    assert_eq!(
        error,
        "http://10.0.0.1:18000 is not on loopback: use https://, for secrets and the token travel there"
    );
    // An operator without TLS gets nothing of a gateway that was told to use it.
    let operator = Operator::start(resources([key("a", "1")])).await;
    let place = place();
    place.write_ca(&support::certificates().0);
    let gateway = place.gateway(&operator.url().replace("http://", "https://"));
    gateway.until("it is refused", |g| g.status().why().contains("InvalidContentType")).await;
    assert!(operator.nodes().is_empty() && !gateway.status().ready);
}

#[tokio::test]
async fn a_new_certificate_is_taken_without_a_restart() {
    let operator = Operator::start_tls(resources([key("a", "1")])).await;
    let place = place();
    let before = operator.gateway(&place);
    before.until("ready", |g| g.status().ready).await;
    operator.rotate();
    // The new authority is known to new connections only.
    let after = operator.gateway(&support::place());
    after.until("ready by the new authority", |g| g.status().ready).await;
    assert!(before.status().connected, "streams under way go on");
}

#[tokio::test]
async fn an_operator_without_tls_listens_on_loopback_only() {
    let error = support::serve_everywhere().await.unwrap_err();
    assert!(error.to_string().contains("is not a loopback address"), "{error}");
}

#[tokio::test]
async fn five_thousand_keys_and_one_change_is_one_small_resource() {
    let many =
        |changed: &str| resources((0..5000).map(|n| key(&n.to_string(), if n == 7 { changed } else { "1" })));
    let operator = Operator::start(many("1")).await;
    let gateway = operator.gateway(&place());
    let mut wire = Wire::open(&operator).await;
    let first = wire.sync().await;
    assert_eq!(first.iter().map(|r| r.resources.len()).sum::<usize>(), 5000);
    assert!(first.iter().all(|r| r.resources.len() <= 1000));
    gateway.until("ready", |g| g.status().ready && g.snapshot().keys().count() == 5000).await;

    operator.set(many("2"));
    let response = wire.next().await;
    assert_eq!((response.resources.len(), response.removed_resources.len()), (1, 0));
    assert_eq!(response.resources[0].name, "n/7");
    assert!(support::encoded_len(&response) <= 2048, "{}", support::encoded_len(&response));
    wire.ack(&response).await;
    gateway.until("changed", |g| g.default_route("7").as_deref() == Some("2")).await;
    // Nothing else comes: the next response is that of the next change.
    operator.set(many("3"));
    let response = wire.next().await;
    assert_eq!(response.resources.len(), 1);
}

#[tokio::test]
async fn a_client_that_does_not_answer_is_ended_and_harms_no_other() {
    let operator = Operator::start_with(resources([key("a", "1")]), |options| {
        options.patience = std::time::Duration::from_millis(300);
    })
    .await;
    let mut silent = Wire::open(&operator).await;
    silent.next().await;
    let gateway = operator.gateway(&place());
    gateway.until("ready", |g| g.status().ready).await;
    let status = silent.end().await.expect("an end with a reason");
    assert!(status.message().contains("not answered in time"), "{status}");
    assert!(gateway.status().connected);
}

#[tokio::test]
async fn a_message_may_be_large_and_one_beyond_the_bound_ends_its_stream_with_the_reason() {
    let operator = Operator::start(resources([key("a", "1")])).await;
    let gateway = operator.gateway(&place());
    gateway.until("ready", |g| g.status().ready).await;
    // Larger than gRPC's own bound of 4 MiB: a report of many thousand resources is.
    let (large, beyond) = (MAX_MESSAGE / 2, MAX_MESSAGE + 1);
    let mut wire = Wire::open_with(&operator, support::node(large)).await;
    assert_eq!(wire.next().await.resources.len(), 1);
    let words = "decoded message length too large";
    let mut wire = Wire::open_with(&operator, support::node(beyond)).await;
    let status = wire.end().await.expect("an end with a reason");
    assert!(status.message().contains(words), "{status}");

    support::report(&operator, large).await.unwrap();
    let status = support::report(&operator, beyond).await.unwrap_err();
    assert!(status.message().contains(words), "{status}");
    assert!(gateway.status().connected, "nobody else notices");
}

#[tokio::test]
async fn a_gateway_takes_no_message_beyond_the_bound() {
    let operator = Operator::start(resources([large_secret(MAX_MESSAGE / 2), key("a", "1")])).await;
    let gateway = operator.gateway(&place());
    gateway.until("ready", |g| g.status().ready).await;
    operator.set(resources([large_secret(MAX_MESSAGE), key("a", "1")]));
    gateway
        .until("it says why", |g| {
            let error = g.status().error.unwrap_or_default();
            error.contains("decoded message length too large")
        })
        .await;
    assert!(gateway.snapshot().key(&id("a")).is_some(), "what is in force stays");
}
