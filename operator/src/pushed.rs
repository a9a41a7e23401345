//! Resources that come from no user's object: the cluster's token issuer, and the sealing keys.
//!
//! They are pushed to gateways so that no request ever waits for the API server, or for another gateway.

use anyhow::Context as _;
use kube::Client;
use serde_json::Value;
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tollgate_proto::{Resource, v1};

/// What is known of the issuer.
#[derive(Debug, Clone, PartialEq, Default)]
enum Issuer {
    /// It was not told yet.
    #[default]
    Unknown,
    /// The API server has not told it for long: this replica hands out none. It takes none away either: a stream never
    /// removes the last issuer.
    Untold,
    Known(v1::TokenIssuer),
}

/// When the issuer is asked for.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// How often its keys are read: an API server publishes a new key long before it signs with it.
    refresh: Duration,
    /// The wait after a failure; it doubles with each.
    again: Duration,
    /// The longest wait after a failure.
    longest: Duration,
    /// How long an operator that starts waits for an API server that answers anything else. An authorizer that has just
    /// started refuses everything.
    hold: Duration,
}

const PACE: Pace = Pace {
    refresh: Duration::from_secs(300),
    again: Duration::from_secs(2),
    longest: Duration::from_secs(30),
    hold: Duration::from_secs(60),
};
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The name of the cluster's own issuer.
const NAME: &str = "cluster";

/// Follows both until `stop`; `None` until each was found, so that an operator that starts takes nothing away.
pub fn start(
    client: Client,
    audience: String,
    mut sealing: watch::Receiver<Option<v1::SealingKeys>>,
    stop: CancellationToken,
) -> watch::Receiver<Option<Vec<Resource>>> {
    let (sender, receiver) = watch::channel(None);
    let (issuer, mut issuers) = watch::channel(Issuer::Unknown);
    tokio::spawn(async move {
        let join = async {
            loop {
                let found = joined(&issuers.borrow_and_update(), sealing.borrow_and_update().as_ref());
                sender.send_if_modified(|current| {
                    let differs = found.is_some() && *current != found;
                    if differs {
                        *current = found;
                    }
                    differs
                });
                tokio::select! {
                    Ok(()) = issuers.changed() => {}
                    Ok(()) = sealing.changed() => {}
                    else => return,
                }
            }
        };
        tokio::select! {
            () = join => {}
            () = follow(client, audience, PACE, issuer) => {}
            () = stop.cancelled() => {}
        }
    });
    receiver
}

fn joined(issuer: &Issuer, sealing: Option<&v1::SealingKeys>) -> Option<Vec<Resource>> {
    let sealing = Resource::from(sealing?.clone());
    match issuer {
        Issuer::Unknown => None,
        Issuer::Untold => Some(vec![sealing]),
        Issuer::Known(issuer) => Some(vec![sealing, issuer.clone().into()]),
    }
}

/// Reads the issuer's keys again and again. What was known stays, whatever the API server answers.
async fn follow(client: Client, audience: String, pace: Pace, sender: watch::Sender<Issuer>) {
    let begin = Instant::now();
    let mut failures = 0;
    loop {
        let asked = timeout(PATIENCE, read(&client, &audience)).await;
        let asked = asked.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {PATIENCE:?}")));
        let wait = match asked {
            Ok(issuer) => {
                failures = 0;
                learn(&sender, Issuer::Known(issuer));
                pace.refresh
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "the cluster's token issuer cannot be read now");
                let unknown = matches!(*sender.borrow(), Issuer::Unknown);
                if unknown && begin.elapsed() >= pace.hold {
                    tracing::warn!(
                        "gateways are told no token issuer: at new ones no ServiceAccount is a key"
                    );
                    learn(&sender, Issuer::Untold);
                }
                failures += 1;
                (pace.again * 2_u32.pow(failures.min(10) - 1)).min(pace.longest)
            }
        };
        tokio::time::sleep(wait).await;
    }
}

fn learn(sender: &watch::Sender<Issuer>, found: Issuer) {
    sender.send_if_modified(|current| {
        let differs = *current != found;
        *current = found;
        differs
    });
}

async fn read(client: &Client, audience: &str) -> anyhow::Result<v1::TokenIssuer> {
    let discovery: Value = get(client, "/.well-known/openid-configuration").await?;
    let issuer = discovery.get("issuer").and_then(Value::as_str).context("the API server names no issuer")?;
    let keys = get(client, "/openid/v1/jwks").await?;
    Ok(v1::TokenIssuer {
        name: NAME.to_owned(),
        issuer: issuer.to_owned(),
        audience: audience.to_owned(),
        jwks: normal(keys).to_string(),
    })
}

async fn get(client: &Client, path: &str) -> anyhow::Result<Value> {
    let request = http::Request::get(path).body(Vec::new())?;
    client.request(request).await.with_context(|| format!("GET {path}"))
}

/// The same keys are the same text, whichever API server lists them.
fn normal(mut keys: Value) -> Value {
    if let Some(list) = keys.get_mut("keys").and_then(Value::as_array_mut) {
        list.sort_by_cached_key(Value::to_string);
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    #[test]
    fn nothing_is_pushed_before_both_are_known() {
        let sealing = v1::SealingKeys { name: "tollgate".into(), keys: vec![vec![1; 32]] };
        let issuer = v1::TokenIssuer { name: NAME.into(), ..Default::default() };
        assert_eq!(joined(&Issuer::Unknown, Some(&sealing)), None);
        assert_eq!(joined(&Issuer::Known(issuer.clone()), None), None);
        assert_eq!(joined(&Issuer::Untold, Some(&sealing)).map(|r| r.len()), Some(1));
        assert_eq!(joined(&Issuer::Known(issuer), Some(&sealing)).map(|r| r.len()), Some(2));
    }

    /// An API server that refuses to tell its keys so many times, and tells them then.
    fn api_server(refusals: usize, code: u16) -> (Client, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let n = match request.uri().path() {
                "/openid/v1/jwks" => count.fetch_add(1, Ordering::Relaxed),
                _ => usize::MAX,
            };
            let refused = json!({"kind": "Status", "status": "Failure", "message": "no", "code": code});
            let told = json!({"issuer": "https://issuer", "keys": []});
            let (status, body) = if n < refusals { (code, refused) } else { (200, told) };
            let response = http::Response::builder().status(status);
            let body = kube::client::Body::from(body.to_string().into_bytes());
            async move { response.body(body).map_err(std::io::Error::other) }
        });
        (Client::new(service, "default"), asked)
    }

    /// The issuer as it becomes known, until `wanted`.
    async fn becomes(client: Client, hold: Duration, first: Issuer, wanted: fn(&Issuer) -> bool) -> Issuer {
        let pace = Pace { refresh: AGAIN, again: AGAIN, longest: AGAIN, hold };
        let (sender, mut receiver) = watch::channel(first);
        let task = tokio::spawn(follow(client, "tollgate".into(), pace, sender));
        let found = timeout(Duration::from_secs(60), receiver.wait_for(wanted)).await;
        let found = found.expect("in time").expect("it is followed").clone();
        task.abort();
        found
    }

    const AGAIN: Duration = Duration::from_millis(2);
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_refusal_at_the_start_is_asked_again_until_it_is_told() {
        for code in [401, 403, 404, 429, 500, 503] {
            let (client, asked) = api_server(3, code);
            let found = becomes(client, LONG, Issuer::Unknown, |i| *i != Issuer::Unknown).await;
            assert!(matches!(found, Issuer::Known(_)), "{code}: {found:?}");
            assert!(asked.load(Ordering::Relaxed) >= 4);
        }
    }

    #[tokio::test]
    async fn an_operator_starts_without_an_issuer_that_is_never_told() {
        let (client, _) = api_server(usize::MAX, 403);
        let found = becomes(client, AGAIN * 3, Issuer::Unknown, |i| *i != Issuer::Unknown).await;
        assert_eq!(found, Issuer::Untold);
        // And has it as soon as it is told.
        let (client, _) = api_server(5, 403);
        becomes(client, Duration::ZERO, Issuer::Unknown, |i| matches!(i, Issuer::Known(_))).await;
    }

    #[tokio::test]
    async fn what_was_told_stays_whatever_comes_after() {
        let known = Issuer::Known(v1::TokenIssuer { name: "before".into(), ..Default::default() });
        let (client, asked) = api_server(5, 403);
        let found = becomes(client, Duration::ZERO, known.clone(), |i| {
            matches!(i, Issuer::Known(k) if k.name == NAME) || *i == Issuer::Untold
        });
        assert!(matches!(found.await, Issuer::Known(_)));
        assert!(asked.load(Ordering::Relaxed) >= 6);
    }

    #[test]
    fn the_order_of_keys_does_not_matter() {
        let keys = |a: &str, b: &str| json!({"keys": [{"kid": a, "kty": "RSA"}, {"kty": "RSA", "kid": b}]});
        assert_eq!(normal(keys("a", "b")).to_string(), normal(keys("b", "a")).to_string());
        assert_eq!(normal(json!([])), json!([]));
    }
}
