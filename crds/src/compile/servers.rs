//! MCP servers.

use super::{Object, Problem, Status, check, index::Index, status::Notes};
use crate::{
    api::{
        McpServer,
        mcp_server::{AuthHeader, FailureMode, NamingMode},
    },
    conditions::reasons,
    support::Support,
};
use tollgate_proto::{Resources, v1};

/// Headers that HTTP itself or the gateway sets.
const RESERVED: [&str; 14] = [
    "accept",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Compiles all servers.
pub(super) fn compile(index: &Index<'_>, resources: &mut Resources) -> Vec<Status> {
    index
        .servers()
        .map(|(object, server)| {
            let mut status = Status::of(object);
            let wire = Compiler { index, object, problems: &mut status.problems }.server(server);
            if status.is_accepted() {
                resources.insert(wire);
            }
            status
        })
        .collect()
}

/// Compiles one server, noting what is wrong.
struct Compiler<'a, 'p> {
    index: &'a Index<'a>,
    object: &'a Object,
    problems: &'p mut Vec<Problem>,
}

// === impl Compiler ===

impl Compiler<'_, '_> {
    fn server(&mut self, server: &McpServer) -> v1::McpServer {
        let spec = &server.spec;
        self.problems.extend(spec.not_supported_yet().into_iter().map(Problem::from));
        self.transport(server);
        for (i, pattern) in spec.tools.allow.iter().enumerate() {
            self.problems.checked(format!("spec.tools.allow[{i}]"), check::plain_pattern(pattern));
        }
        let (auth, off) = match &spec.auth {
            Some(auth) => self.auth(&auth.header),
            None => (None, String::new()),
        };
        v1::McpServer {
            namespace: self.object.namespace.clone(),
            name: self.object.name.clone(),
            allowed_namespaces: self.index.export(&self.object.namespace, &spec.allowed_namespaces),
            url: spec.streamable_http.as_ref().map(|t| t.url.clone()).unwrap_or_default(),
            auth,
            tools: (spec.tools.allow != ["*"])
                .then(|| v1::ServerTools { allow: Some(v1::Globs { patterns: spec.tools.allow.clone() }) }),
            naming: match spec.naming.mode {
                NamingMode::Prefix => v1::Naming::Prefix,
                NamingMode::None => v1::Naming::None,
            }
            .into(),
            timeouts: Some(v1::ServerTimeouts {
                connect: self
                    .problems
                    .checked("spec.timeouts.connect", check::span(&spec.timeouts.connect, 1)),
                list: self.problems.checked("spec.timeouts.list", check::span(&spec.timeouts.list, 1)),
                call: self.problems.checked("spec.timeouts.call", check::span(&spec.timeouts.call, 1)),
            }),
            failure_mode: match spec.failure_mode {
                FailureMode::Open => v1::FailureMode::Open,
                FailureMode::Closed => v1::FailureMode::Closed,
            }
            .into(),
            description: spec.description.clone().unwrap_or_default(),
            off,
        }
    }

    fn transport(&mut self, server: &McpServer) {
        let named: Vec<_> = server.spec.transports().collect();
        match named.as_slice() {
            [] => self.problems.invalid("spec", "names no transport: streamableHttp is missing"),
            [_] => {}
            several => {
                self.problems.invalid("spec", format!("names several transports: {}", several.join(", ")))
            }
        }
        if let Some(http) = &server.spec.streamable_http {
            let url = check::url(&http.url, self.index.allow_private_endpoints());
            self.problems.checked("spec.streamableHttp.url", url);
        }
    }

    /// The header for the wire, and why the server is off when its Secret leads nowhere.
    fn auth(&mut self, header: &AuthHeader) -> (Option<v1::AuthHeader>, String) {
        let name = header.name.to_ascii_lowercase();
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(legal) {
            self.problems
                .invalid("spec.auth.header.name", format!("`{}` is not the name of a header", header.name));
        } else if RESERVED.contains(&name.as_str()) {
            self.problems
                .invalid("spec.auth.header.name", format!("`{}` is set by the gateway itself", header.name));
        }
        let secret = &header.secret_ref;
        let missing = self.index.secret(&self.object.namespace, secret).err();
        let off = missing.map(|message| {
            let told = format!("{message}; the server is off");
            let field = "spec.auth.header.secretRef";
            self.problems.push(Problem::reference(reasons::SECRET_NOT_FOUND, field, told));
            message
        });
        let secret_ref = v1::SecretRef { name: secret.name.clone(), key: secret.key.clone() };
        (Some(v1::AuthHeader { name, secret_ref: Some(secret_ref) }), off.unwrap_or_default())
    }
}
