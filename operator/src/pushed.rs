//! Resources that come from no user's object: the cluster's token issuer, and the sealing keys.
//!
//! They are pushed to gateways so that no request ever waits for the API server, or for another gateway.

use anyhow::Context as _;
use kube::Client;
use serde_json::Value;
use std::time::Duration;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tollgate_proto::{Resource, v1};

/// What is known of the issuer.
#[derive(Debug, Clone, PartialEq, Default)]
enum Issuer {
    /// It was not asked for yet.
    #[default]
    Unknown,
    /// The API server does not tell: gateways take no ServiceAccount tokens.
    Refused,
    Known(v1::TokenIssuer),
}

/// How often the issuer's keys are read: an API server publishes a new key long before it signs with it.
const REFRESH: Duration = Duration::from_secs(300);
/// The wait after a failure.
const AGAIN: Duration = Duration::from_secs(2);
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
            () = follow(client, audience, issuer) => {}
            () = stop.cancelled() => {}
        }
    });
    receiver
}

fn joined(issuer: &Issuer, sealing: Option<&v1::SealingKeys>) -> Option<Vec<Resource>> {
    let sealing = Resource::from(sealing?.clone());
    match issuer {
        Issuer::Unknown => None,
        Issuer::Refused => Some(vec![sealing]),
        Issuer::Known(issuer) => Some(vec![sealing, issuer.clone().into()]),
    }
}

/// Reads the issuer's keys again and again. What was known stays while the API server is away.
async fn follow(client: Client, audience: String, sender: watch::Sender<Issuer>) {
    loop {
        let (found, wait) = match timeout(PATIENCE, read(&client, &audience)).await {
            Ok(Ok(issuer)) => (Some(Issuer::Known(issuer)), REFRESH),
            Ok(Err(error)) if is_refusal(&error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the cluster's issuer is not told: no ServiceAccount is a key"
                );
                let known = matches!(*sender.borrow(), Issuer::Known(_));
                ((!known).then_some(Issuer::Refused), REFRESH)
            }
            Ok(Err(error)) => {
                tracing::warn!(error = format!("{error:#}"), "the cluster's issuer cannot be read now");
                (None, AGAIN)
            }
            Err(_) => (None, AGAIN),
        };
        if let Some(found) = found {
            sender.send_if_modified(|current| {
                let differs = *current != found;
                *current = found;
                differs
            });
        }
        tokio::time::sleep(wait).await;
    }
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

fn is_refusal(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => matches!(status.code, 400..=428),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_is_pushed_before_both_are_known() {
        let sealing = v1::SealingKeys { name: "tollgate".into(), keys: vec![vec![1; 32]] };
        let issuer = v1::TokenIssuer { name: NAME.into(), ..Default::default() };
        assert_eq!(joined(&Issuer::Unknown, Some(&sealing)), None);
        assert_eq!(joined(&Issuer::Known(issuer.clone()), None), None);
        assert_eq!(joined(&Issuer::Refused, Some(&sealing)).map(|r| r.len()), Some(1));
        assert_eq!(joined(&Issuer::Known(issuer), Some(&sealing)).map(|r| r.len()), Some(2));
    }

    #[test]
    fn the_order_of_keys_does_not_matter() {
        let keys = |a: &str, b: &str| json!({"keys": [{"kid": a, "kty": "RSA"}, {"kty": "RSA", "kid": b}]});
        assert_eq!(normal(keys("a", "b")).to_string(), normal(keys("b", "a")).to_string());
        assert_eq!(normal(json!([])), json!([]));
    }
}
