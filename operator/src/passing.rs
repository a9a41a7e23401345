//! Passing on: what gateways report to a replica that does not lead, it tells the leader.

use crate::{
    leader::{Lead, Standing},
    xds::{Nodes, reports::Node},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tollgate_proto::discovery::v1::{NodeReport, reports_client::ReportsClient};
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

/// What a replica shows the leader, and how it knows it.
#[derive(Clone)]
pub struct Passing {
    /// The file of this replica's own token (audience `tollgate`), read anew for each connection.
    pub token_file: PathBuf,
    /// The authorities that the leader's certificate must lead to, as PEM; asked anew for each connection.
    pub authorities: Arc<dyn Fn() -> String + Send + Sync>,
    /// The name in the leader's certificate.
    pub server_name: String,
}

/// The ServiceAccount (namespace and name) of the token in `file`, by the token's own word: it says whom to expect, and proves
/// nothing.
pub fn own_account(file: &std::path::Path) -> Option<(String, String)> {
    #[derive(serde::Deserialize)]
    struct Claims {
        sub: String,
    }
    let token = std::fs::read_to_string(file).ok()?;
    let payload = token.trim().split('.').nth(1)?;
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let (namespace, name) = claims.sub.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    Some((namespace.to_owned(), name.to_owned()))
}

/// Why a stream to the leader ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("cannot read the own token at {path}: {source}", path = .0.display(), source = .1)]
    Token(PathBuf, std::io::Error),
    #[error("the own token is not one line of visible characters")]
    NoToken,
    #[error("cannot connect: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("the leader refuses: {} ({:?})", .0.message(), .0.code())]
    Refused(Box<tonic::Status>),
    #[error("the leader does not answer")]
    Silent,
    #[error("the stream ended")]
    Properly,
}

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The wait after a stream that ended.
const AGAIN: Duration = Duration::from_secs(1);
/// How long changes are collected.
const PACE: Duration = Duration::from_millis(100);

/// Passes on while somebody else leads, until nobody ever will.
pub async fn run(mut lead: Lead, nodes: Arc<Nodes>, passing: Passing) {
    let mut told = None;
    loop {
        let Standing::Other(holder) = lead.standing() else {
            if lead.changed().await.is_none() {
                return;
            }
            continue;
        };
        if holder.address.is_empty() {
            sleep(AGAIN).await;
            continue;
        }
        let ended = tokio::select! {
            ended = passing.stream(&holder.address, &nodes) => ended,
            standing = lead.changed() => match standing {
                Some(_) => continue,
                None => return,
            },
        };
        let words = ended.to_string();
        if !matches!(ended, Ended::Properly) && told.as_ref() != Some(&words) {
            tracing::warn!(leader = %holder.identity, address = %holder.address, reason = %words, "reports cannot be passed on to the leader");
            told = Some(words);
        }
        sleep(AGAIN).await;
    }
}

// === impl Passing ===

impl Passing {
    async fn stream(&self, address: &str, nodes: &Arc<Nodes>) -> Ended {
        match self.try_stream(address, nodes).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn try_stream(&self, address: &str, nodes: &Arc<Nodes>) -> Result<std::convert::Infallible, Ended> {
        let token = self.token().await?;
        let channel = timeout(PATIENCE, self.connect(address)).await.map_err(|_| Ended::Silent)??;
        let (sender, receiver) = mpsc::channel(4);
        let mut request = Request::new(ReceiverStream::new(receiver));
        request.metadata_mut().insert("authorization", token);
        let mut client = ReportsClient::new(channel);
        tokio::select! {
            ended = client.report(request) => match ended {
                Ok(_) => Err(Ended::Properly),
                Err(status) => Err(Ended::Refused(Box::new(status))),
            },
            () = feed(sender, nodes) => Err(Ended::Properly),
        }
    }

    async fn token(&self) -> Result<MetadataValue<Ascii>, Ended> {
        let read = tokio::fs::read_to_string(&self.token_file).await;
        let text = read.map_err(|error| Ended::Token(self.token_file.clone(), error))?;
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {}", text.trim()).parse().map_err(|_| Ended::NoToken)?;
        value.set_sensitive(true);
        Ok(value)
    }

    async fn connect(&self, address: &str) -> Result<Channel, tonic::transport::Error> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem((self.authorities)()))
            .domain_name(&self.server_name);
        let endpoint = Endpoint::from_shared(format!("https://{address}"))?
            .tls_config(tls)?
            .connect_timeout(PATIENCE)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true);
        endpoint.connect().await
    }
}

impl fmt::Debug for Passing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passing")
            .field("token_file", &self.token_file)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// Sends all that is known, then what changes, until the stream ends.
async fn feed(sender: mpsc::Sender<NodeReport>, nodes: &Arc<Nodes>) {
    let mut changes = nodes.changes();
    let mut told: BTreeMap<u64, Arc<Node>> = BTreeMap::new();
    loop {
        changes.mark_unchanged();
        let now = nodes.own();
        for report in reports(&told, &now) {
            if sender.send(report).await.is_err() {
                return;
            }
        }
        told = now;
        if changes.changed().await.is_err() {
            return;
        }
        sleep(PACE).await;
    }
}

/// The reports that lead the leader from `told` to `now`.
fn reports(told: &BTreeMap<u64, Arc<Node>>, now: &BTreeMap<u64, Arc<Node>>) -> Vec<NodeReport> {
    let left = told.iter().filter(|(stream, _)| !now.contains_key(stream)).map(|(stream, node)| NodeReport {
        origin: Some(node.origin(*stream)),
        left: true,
        ..NodeReport::default()
    });
    let changed = now.iter().flat_map(|(stream, node)| match told.get(stream) {
        Some(before) if Arc::ptr_eq(before, node) => Vec::new(),
        before => node.reports_since(before.map(|n| &**n), *stream),
    });
    left.chain(changed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::Identity;
    use tollgate_proto::discovery::v1::NodeHealth;

    #[test]
    fn whose_a_token_is_stands_in_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let token = |claims: &str| format!("e30.{}.x\n", URL_SAFE_NO_PAD.encode(claims));
        std::fs::write(file.path(), token(r#"{"sub":"system:serviceaccount:ns:sa"}"#)).unwrap();
        assert_eq!(own_account(file.path()), Some(("ns".to_owned(), "sa".to_owned())));
        for wrong in ["", "x", "e30.!.x", &token("{}"), &token(r#"{"sub":"admin"}"#)] {
            std::fs::write(file.path(), wrong).unwrap();
            assert_eq!(own_account(file.path()), None, "{wrong}");
        }
    }

    #[test]
    fn only_what_changed_is_passed_on_and_who_left_is_named() {
        let nodes = Arc::new(Nodes::default());
        let who =
            |pod: &str| Identity { namespace: "n".into(), service_account: "sa".into(), pod: pod.into() };
        let (a, b) = (nodes.enter(who("a")), nodes.enter(who("b")));
        let nothing = BTreeMap::new();
        let first = nodes.own();
        assert_eq!(reports(&nothing, &first).len(), 2);
        assert!(reports(&first, &nodes.own()).is_empty());
        let ready = NodeHealth { ready: true, ..NodeHealth::default() };
        a.take(NodeReport { health: Some(ready), ..NodeReport::default() }).unwrap();
        drop(b);
        let told = reports(&first, &nodes.own());
        let said: Vec<_> = told.iter().map(|r| (r.origin.as_ref().unwrap().pod.as_str(), r.left)).collect();
        assert_eq!(said, [("b", true), ("a", false)]);
    }
}
