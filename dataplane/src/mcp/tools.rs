//! `tools/list`, and the instructions that `initialize` and `server/discover` give.

use super::{Context, Outcome, access::Grant, catalog::Catalog, now_ms};
use futures_util::future::join_all;
use std::{sync::Arc, time::Duration};
use tollgate_mcp::{
    RpcError,
    error::{INTERNAL, INVALID_PARAMS},
    instructions::{self, Part},
    intake::Request,
    merge::{self, PAGE_BYTES, Visible},
    reply::{self, Reply},
    seal::Kind,
    upstream::UpstreamError,
};

/// How long `initialize` waits for servers that were not asked yet; those that take longer are left out of the instructions.
const GREETING: Duration = Duration::from_millis(500);
/// How long a list's cursor is good.
const CURSOR_MS: i64 = 3600 * 1000;

/// Answers `tools/list` with what the caller sees of all its servers.
pub(super) async fn list(cx: Context<'_>, request: &Request<'_>, cursor: Option<&str>) -> Outcome {
    let after = match cursor.map(|c| open_cursor(cx, c)).transpose() {
        Ok(after) => after,
        Err(error) => return Outcome::Message(Reply::error(200, Some(request.id), &error)),
    };
    let mut parts = Vec::with_capacity(cx.grants.len());
    for (grant, outcome) in cx.grants.iter().zip(catalogs(cx).await) {
        match outcome {
            Ok(catalog) => parts.push((grant, catalog)),
            Err(error) if grant.server.fail_open => {
                tracing::debug!(server = %grant.server.id, %error, "listed without an MCP server");
            }
            Err(error) => {
                let words = format!("MCP server {:?} is not available: {error}", grant.server.id.name());
                let error = RpcError::new(INTERNAL, words);
                return Outcome::Unavailable(Reply::error(503, Some(request.id), &error));
            }
        }
    }
    let mut seen: Vec<_> = parts.iter().flat_map(|(grant, catalog)| visible(cx, grant, catalog)).collect();
    merge::order(&mut seen);
    let page = merge::page(&seen, after.as_deref(), PAGE_BYTES);
    match page.next.as_deref().map(|name| seal_cursor(cx, name)).transpose() {
        Ok(next) => Outcome::Message(Reply::ok(reply::tools(request, &page, next.as_deref()))),
        Err(error) => Outcome::Message(Reply::error(500, Some(request.id), &error)),
    }
}

/// The tools of one server that the caller sees, under the names it sees.
fn visible<'a>(
    cx: Context<'a>,
    grant: &'a Grant<'a>,
    catalog: &'a Catalog,
) -> impl Iterator<Item = Visible<'a>> {
    let prefixed = prefixed(cx, grant);
    catalog
        .listing
        .tools()
        .iter()
        .filter(|tool| grant.allows(&tool.name))
        .map(move |tool| Visible { name: if prefixed { &tool.public } else { &tool.name }, tool })
}

/// Whether this server's tools have its prefix here.
pub(super) fn prefixed(cx: Context<'_>, grant: &Grant<'_>) -> bool {
    grant.server.prefix && !cx.single
}

/// The lists of all servers at once; each server has its own deadline.
async fn catalogs(cx: Context<'_>) -> Vec<Result<Arc<Catalog>, UpstreamError>> {
    join_all(cx.grants.iter().map(|grant| async {
        let upstream = cx.shared.upstreams.get(grant.server)?;
        upstream.catalog().await
    }))
    .await
}

/// The merged instructions. Servers that are slow to answer do not hold up the client's start.
pub(super) async fn instructions(cx: Context<'_>) -> Option<String> {
    // An elapsed deadline only means that fewer servers are known.
    _ = tokio::time::timeout(GREETING, catalogs(cx)).await;
    let known = cx.grants.iter().map(|grant| {
        let upstream = cx.shared.upstreams.get(grant.server).ok();
        (grant, upstream.and_then(|u| u.catalogs.last()))
    });
    // A server none of whose tools the caller sees is not spoken of.
    let known: Vec<_> = known
        .filter(|(grant, catalog)| catalog.as_ref().is_none_or(|c| visible(cx, grant, c).next().is_some()))
        .collect();
    let parts: Vec<_> = known
        .iter()
        .map(|(grant, catalog)| Part {
            server: grant.server.id.name(),
            description: grant.server.description.as_deref(),
            own: catalog.as_ref().and_then(|c| c.instructions.as_deref()),
        })
        .collect();
    instructions::merge(&parts, !cx.single)
}

fn seal_cursor(cx: Context<'_>, name: &str) -> Result<String, RpcError> {
    let failed = |e| RpcError::new(INTERNAL, format!("No cursor could be made: {e}"));
    let (nonce, until) = (cx.nonce().map_err(failed)?, now_ms().saturating_add(CURSOR_MS));
    let principal = cx.key.id().as_str();
    cx.sealer.seal(Kind::Cursor, principal, until, nonce, name.as_bytes()).map_err(failed)
}

fn open_cursor(cx: Context<'_>, cursor: &str) -> Result<String, RpcError> {
    let opened = cx.sealer.open(Kind::Cursor, cx.key.id().as_str(), now_ms(), cursor);
    let name = opened.map_err(|e| RpcError::new(INVALID_PARAMS, format!("Invalid cursor: {e}")))?;
    String::from_utf8(name).map_err(|_| RpcError::new(INVALID_PARAMS, "Invalid cursor"))
}
