//! An MCP server from the wire.

use super::{Globs, Invalid, Resources, address, credential, deadline, export, invalid, object_id, v1};
use crate::{
    client::Reach,
    model::{
        Secret,
        server::{Server, ServerTimeouts},
    },
};
use std::time::Duration;

/// Deadlines of a server that does not say.
pub const TIMEOUTS: ServerTimeouts = ServerTimeouts {
    connect: Duration::from_secs(5),
    list: Duration::from_secs(5),
    call: Duration::from_secs(120),
};

/// A server, with its credential out of `secrets`. A credential that is missing switches the server off, with the reason.
pub fn server(wire: &v1::McpServer, secrets: &Resources) -> Result<Server, Invalid> {
    let auth = match &wire.auth {
        None => Ok(None),
        Some(auth) => auth_header(auth, &wire.namespace, secrets)?.map(Some),
    };
    let (auth_header, missing) = match auth {
        Ok(header) => (header, None),
        Err(reason) => (None, Some(reason)),
    };
    let naming = v1::Naming::try_from(wire.naming)
        .map_err(|_| invalid("spec.naming.mode", "unknown to this version"))?;
    let failure_mode = v1::FailureMode::try_from(wire.failure_mode)
        .map_err(|_| invalid("spec.failureMode", "unknown to this version"))?;
    let tools = wire.tools.as_ref().and_then(|t| t.allow.as_ref());
    Ok(Server {
        id: object_id(&wire.namespace, &wire.name)?,
        export: export(wire.allowed_namespaces.as_ref()),
        url: match wire.url.as_str() {
            // It stands there only to hide the exported servers of its name, and is never called.
            "" if !wire.off.is_empty() => http::Uri::from_static("http://off.invalid"),
            url => address("spec.streamableHttp.url", url)?,
        },
        reach: Reach::private_if(wire.private_endpoint),
        auth_header,
        off: if wire.off.is_empty() { missing } else { Some(wire.off.clone()) },
        tools: tools.map_or_else(|| Globs::new(["*"]), |g| Globs::new(&g.patterns)),
        description: (!wire.description.is_empty()).then(|| wire.description.clone()),
        timeouts: timeouts(wire)?,
        fail_open: failure_mode == v1::FailureMode::Open,
        prefix: naming == v1::Naming::Prefix,
    })
}

/// The header and its value; inside, why the value is missing.
fn auth_header(
    wire: &v1::AuthHeader,
    namespace: &str,
    secrets: &Resources,
) -> Result<Result<(http::HeaderName, Secret), String>, Invalid> {
    let name = http::HeaderName::try_from(wire.name.as_str()).map_err(|_| {
        invalid("spec.auth.header.name", format!("{:?} is not the name of a header", wire.name))
    })?;
    let Some(secret_ref) = &wire.secret_ref else {
        return Err(invalid("spec.auth.header.secretRef", "is missing"));
    };
    Ok(credential(namespace, secret_ref, secrets).map(|value| (name, value)))
}

fn timeouts(wire: &v1::McpServer) -> Result<ServerTimeouts, Invalid> {
    let Some(v1::ServerTimeouts { connect, list, call }) = wire.timeouts else { return Ok(TIMEOUTS) };
    Ok(ServerTimeouts {
        connect: deadline("spec.timeouts.connect", connect, TIMEOUTS.connect)?,
        list: deadline("spec.timeouts.list", list, TIMEOUTS.list)?,
        call: deadline("spec.timeouts.call", call, TIMEOUTS.call)?,
    })
}
