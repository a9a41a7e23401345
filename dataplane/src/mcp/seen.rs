//! How the upstream servers are: asked now and then also when no client does, so that somebody who looks at a server's
//! status does not have to call a tool first.

use super::{Endpoint, catalog::Asked, sessions::GATEWAY, upstream::Upstream};
use crate::{model::Server, snapshot::Snapshot};
use std::time::Duration;
use tollgate_mcp::version::Era;

/// How a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `namespace/name`.
    pub server: String,
    /// Why it does not answer.
    pub error: Option<String>,
    /// The agreed version of the protocol; empty: none is yet.
    pub version: &'static str,
    /// It is asked without a session.
    pub modern: bool,
    /// How many tools it has.
    pub tools: usize,
    /// How long ago they were listed.
    pub listed: Option<Duration>,
}

/// How often a server that answers is asked.
const HEALTHY: Duration = Duration::from_secs(300);
/// How soon one that does not answer is asked again, which doubles: a pod that has just been made is ready in a moment.
const FAILED: Duration = Duration::from_secs(2);
/// And how often in the end.
const FAILING: Duration = Duration::from_secs(30);
/// The most servers that begin to be asked at one look.
const AT_ONCE: usize = 10;

// === impl Endpoint ===

impl Endpoint {
    /// How the servers of `snapshot` are, as far as they were asked; those that it is time for begin to be asked.
    pub fn look(&self, snapshot: &Snapshot) -> Vec<Seen> {
        let mut seen = Vec::new();
        let mut begun = 0;
        for server in snapshot.servers().filter(|server| server.off.is_none()) {
            let Ok(upstream) = self.0.upstreams.get(server) else { continue };
            let asked = upstream.catalogs.asked();
            if begun < AT_ONCE && is_due(&asked) {
                begun += 1;
                drop(upstream.fetch());
            }
            seen.extend(of(server, &upstream, asked));
        }
        seen
    }
}

fn is_due(asked: &Asked) -> bool {
    match (&asked.failed, &asked.good) {
        _ if asked.under_way => false,
        (Some((_, ago)), _) => {
            let doubled = 1 << asked.failures.saturating_sub(1).min(8);
            *ago >= FAILED.saturating_mul(doubled).min(FAILING)
        }
        (None, Some((_, ago))) => *ago >= HEALTHY,
        (None, None) => true,
    }
}

/// What there is to say of a server; nothing before it was asked.
fn of(server: &Server, upstream: &Upstream, asked: Asked) -> Option<Seen> {
    if asked.good.is_none() && asked.failed.is_none() {
        return None;
    }
    let peer = upstream.sessions.known(GATEWAY);
    Some(Seen {
        server: server.id.as_str().to_owned(),
        error: asked.failed.map(|(error, _)| error),
        version: peer.as_ref().map_or("", |peer| peer.version.as_str()),
        modern: peer.is_some_and(|peer| peer.version.era() == Era::Modern),
        tools: asked.good.as_ref().map_or(0, |(tools, _)| *tools),
        listed: asked.good.map(|(_, ago)| ago),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_at_first_then_now_and_then_and_a_failing_one_more_often() {
        let asked = |good: Option<u64>, failed: Option<u64>, failures, under_way| Asked {
            good: good.map(|ago| (1, Duration::from_secs(ago))),
            failed: failed.map(|ago| ("x".to_owned(), Duration::from_secs(ago))),
            failures,
            under_way,
        };
        for (good, failed, failures, under_way, due) in [
            (None, None, 0, false, true),
            (None, None, 0, true, false),
            (Some(299), None, 0, false, false),
            (Some(300), None, 0, false, true),
            (None, Some(1), 1, false, false),
            (None, Some(2), 1, false, true),
            (None, Some(7), 3, false, false),
            (None, Some(8), 3, false, true),
            (Some(300), Some(29), 99, false, false),
            (None, Some(30), 99, false, true),
        ] {
            let due_now = is_due(&asked(good, failed, failures, under_way));
            assert_eq!(due_now, due, "{good:?} {failed:?} {failures} {under_way}");
        }
    }
}
