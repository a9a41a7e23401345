//! Who may connect, by the cluster's word: a gateway shows its pod's projected ServiceAccount token, and the API server says
//! whose it is.
//!
//! Only a token with our own audience counts, so that a token which a pod shows elsewhere is worth nothing here. A good
//! answer is remembered for a minute at most, a bad one never; where the API server cannot be asked, nobody is turned away
//! for good.

use super::auth::{Authenticate, Denied, Identity};
use futures_util::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::{Api, Client, api::PostParams};
use parking_lot::Mutex;
use std::{collections::HashMap, fmt, time::Duration};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

/// Asks the API server whose a token is.
pub struct TokenReviews {
    client: Client,
    audience: String,
    known: Mutex<HashMap<Digest, (Identity, Instant)>>,
    /// Whoever reaches the port can make us ask: a bounded number of questions at once.
    asking: Semaphore,
}

/// The SHA-256 of a token: tokens themselves are not kept.
type Digest = [u8; 32];

/// How long a good answer counts.
const REMEMBERED: Duration = Duration::from_secs(60);
/// The most answers that are remembered.
const MOST: usize = 10_000;
/// The most questions at once.
const AT_ONCE: usize = 16;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the API server calls a ServiceAccount.
const USER_PREFIX: &str = "system:serviceaccount:";
/// Where it says to which pod a token is bound.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";

// === impl TokenReviews ===

impl TokenReviews {
    /// Tokens must have this audience.
    pub fn new(client: Client, audience: impl Into<String>) -> Self {
        TokenReviews {
            client,
            audience: audience.into(),
            known: Mutex::default(),
            asking: Semaphore::new(AT_ONCE),
        }
    }

    async fn check(&self, token: &str) -> Result<Identity, Denied> {
        let digest = digest(token);
        if let Some(identity) = self.remembered(&digest) {
            return Ok(identity);
        }
        let unavailable = |words: &str| Denied::Unavailable(words.to_owned());
        let asked = timeout(PATIENCE, self.ask(token)).await;
        let status = asked.map_err(|_| unavailable("the API server did not answer in time"))??;
        let identity = identity(&status, &self.audience)?;
        self.remember(digest, identity.clone());
        Ok(identity)
    }

    async fn ask(&self, token: &str) -> Result<TokenReviewStatus, Denied> {
        let _permit = self.asking.acquire().await;
        let spec =
            TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![self.audience.clone()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await.map_err(|error| {
            tracing::warn!(%error, "a token cannot be reviewed");
            let words = match error {
                kube::Error::Api(status) if status.is_forbidden() => "the operator may not review tokens",
                kube::Error::Api(_) => "the API server refused to review it",
                _ => "the API server cannot be reached",
            };
            Denied::Unavailable(words.to_owned())
        })?;
        answer.status.ok_or_else(|| Denied::Unavailable("the API server said nothing".to_owned()))
    }

    fn remembered(&self, digest: &Digest) -> Option<Identity> {
        let known = self.known.lock();
        let (identity, since) = known.get(digest)?;
        (since.elapsed() < REMEMBERED).then(|| identity.clone())
    }

    fn remember(&self, digest: Digest, identity: Identity) {
        let mut known = self.known.lock();
        if known.len() >= MOST {
            known.retain(|_, (_, since)| since.elapsed() < REMEMBERED);
        }
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(digest, (identity, Instant::now()));
    }
}

impl Authenticate for TokenReviews {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Identity, Denied>> {
        Box::pin(self.check(token))
    }
}

impl fmt::Debug for TokenReviews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenReviews").field("audience", &self.audience).finish_non_exhaustive()
    }
}

fn digest(token: &str) -> Digest {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(token).into()
}

/// Who the API server says it is: a ServiceAccount, by a token for this audience. An API server that knows no audiences
/// answers without them, and is not believed.
fn identity(status: &TokenReviewStatus, audience: &str) -> Result<Identity, Denied> {
    let for_us = status.audiences.iter().flatten().any(|a| a == audience);
    let user = status.user.as_ref().filter(|_| status.authenticated == Some(true) && for_us);
    let user = user.ok_or(Denied::Unknown)?;
    let account = user.username.as_deref().and_then(|name| name.strip_prefix(USER_PREFIX));
    let (namespace, service_account) = account.and_then(|a| a.split_once(':')).ok_or(Denied::Unknown)?;
    let pod = user.extra.as_ref().and_then(|extra| extra.get(POD_NAME)?.first().cloned());
    Ok(Identity {
        namespace: namespace.to_owned(),
        service_account: service_account.to_owned(),
        pod: pod.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn said(status: Value) -> Result<Identity, Denied> {
        identity(&serde_json::from_value(status).unwrap(), "tollgate")
    }

    #[test]
    fn a_service_account_with_our_audience_is_who_it_is() {
        let user = json!({"username": "system:serviceaccount:apps:devbox",
            "extra": {"authentication.kubernetes.io/pod-name": ["devbox-0"]}});
        let status =
            |audiences: Value| json!({"authenticated": true, "audiences": audiences, "user": user.clone()});
        let who = said(status(json!(["other", "tollgate"]))).unwrap();
        assert_eq!(
            (who.namespace.as_str(), who.service_account.as_str(), who.pod.as_str()),
            ("apps", "devbox", "devbox-0")
        );
        for wrong in [json!([]), json!(["other"]), Value::Null] {
            assert_eq!(said(status(wrong)), Err(Denied::Unknown));
        }
    }

    #[test]
    fn whoever_is_not_authenticated_or_no_service_account_is_nobody() {
        for status in [
            json!({"authenticated": false, "audiences": ["tollgate"], "user": {"username": "system:serviceaccount:a:b"}}),
            json!({"authenticated": true, "audiences": ["tollgate"], "user": {"username": "kubernetes-admin"}}),
            json!({"authenticated": true, "audiences": ["tollgate"], "user": {"username": "system:serviceaccount:a"}}),
            json!({"authenticated": true, "audiences": ["tollgate"]}),
            json!({"error": "invalid bearer token"}),
        ] {
            assert_eq!(said(status), Err(Denied::Unknown));
        }
    }
}
