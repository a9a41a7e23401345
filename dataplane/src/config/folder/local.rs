//! The commands that a folder's McpServers name, for a gateway that runs them itself.

use crate::bridge::{CommandLine, LocalServer};
use tollgate_crds::{
    api::{SecretKeyRef, mcp_server::Stdio},
    compile::{Body, Object, SecretData},
};
use tollgate_proto::Resources;

/// The servers over standard input and output that are in force: compiled, and not off.
pub(super) fn servers(objects: &[Object], compiled: &Resources) -> Vec<LocalServer> {
    let in_force = |object: &&Object| {
        compiled
            .servers()
            .any(|s| s.namespace == object.namespace && s.name == object.name && s.off.is_empty())
    };
    let server = |object: &Object| {
        let Body::McpServer(server) = &object.body else { return None };
        let stdio = server.spec.stdio.as_ref()?;
        Some(LocalServer {
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            command: command(stdio, &object.namespace, objects),
            shared: stdio.shared,
        })
    };
    objects.iter().filter(in_force).filter_map(server).collect()
}

fn command(stdio: &Stdio, namespace: &str, objects: &[Object]) -> CommandLine {
    let words = stdio.command.iter().chain(&stdio.args).cloned().collect();
    let variable = |name: &str, value: &Option<String>, secret: &Option<SecretKeyRef>| {
        let value = match secret {
            Some(secret) => entry(objects, namespace, secret).unwrap_or_default(),
            None => value.clone().unwrap_or_default(),
        };
        (name.to_owned(), value)
    };
    let env = stdio.env.iter().map(|e| variable(&e.name, &e.value, &e.secret_ref)).collect();
    CommandLine::with_env(words, env)
}

/// An entry of a Secret as a variable's value: as kubelet gives it, byte by byte.
fn entry(objects: &[Object], namespace: &str, secret: &SecretKeyRef) -> Option<String> {
    let data = objects.iter().find_map(|object| match &object.body {
        Body::Secret(data) if object.namespace == namespace && object.name == secret.name => Some(data),
        _ => None,
    })?;
    let SecretData(entries) = &**data;
    String::from_utf8(entries.get(&secret.key)?.clone()).ok()
}
