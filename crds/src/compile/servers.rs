//! MCP servers.

use super::{Object, Problem, Status, check, index::Index, status::Notes};
use crate::{
    api::{
        McpServer,
        mcp_server::{AuthHeader, FailureMode, NamingMode, Stdio},
    },
    conditions::reasons,
    stdio,
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

/// What stands in the place of a server that is not accepted: it has no tools, and hides the exported servers of its name.
pub(super) fn tombstone(status: &Status, allowed_namespaces: Option<v1::Export>) -> v1::McpServer {
    v1::McpServer {
        namespace: status.namespace.clone(),
        name: status.name.clone(),
        allowed_namespaces,
        off: status.refusal(),
        ..v1::McpServer::default()
    }
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
        self.problems.extend(self.index.vain_export(self.object));
        self.transport(server);
        for (i, pattern) in spec.tools.allow.iter().enumerate() {
            self.problems.checked(format!("spec.tools.allow[{i}]"), check::plain_pattern(pattern));
        }
        let (auth, off) = match (&spec.auth, &spec.stdio) {
            (Some(auth), _) => self.auth(&auth.header),
            (None, Some(stdio)) => (None, self.stdio(stdio)),
            (None, None) => (None, String::new()),
        };
        v1::McpServer {
            namespace: self.object.namespace.clone(),
            name: self.object.name.clone(),
            allowed_namespaces: self.index.export(&self.object.namespace, &spec.allowed_namespaces),
            url: self.url(server),
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
            // The Service of a stdio server is the operator's own.
            private_endpoint: self.index.allow_private_endpoints() || spec.streamable_http.is_none(),
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

    /// Where the gateway finds the server.
    fn url(&self, server: &McpServer) -> String {
        let (namespace, name) = (&self.object.namespace, &self.object.name);
        match (&server.spec.streamable_http, &self.index.stdio().local) {
            (Some(http), _) => http.url.clone(),
            (None, Some(base)) => stdio::local_url(base, namespace, name),
            (None, None) => stdio::cluster_url(namespace, name),
        }
    }

    /// Whether the command may be run, and why it is off when not.
    fn stdio(&mut self, stdio: &Stdio) -> String {
        self.problems.unique("stdio.env", "name", stdio.env.iter().map(|e| e.name.as_str()));
        if stdio.command.is_empty() {
            let message =
                "is missing: the bridge in the server's pod starts it, and cannot know the image's own";
            self.problems.invalid("spec.stdio.command", message);
        }
        let mut off = self.not_run(stdio);
        if !self.index.standalone() {
            // In a cluster kubelet gives the pod its Secrets: the operator has no business reading them.
            return String::new();
        }
        for (i, variable) in stdio.env.iter().enumerate() {
            let Some(secret) = &variable.secret_ref else { continue };
            let Err(message) = self.index.secret(&self.object.namespace, secret) else { continue };
            let field = format!("spec.stdio.env[{i}].secretRef");
            let told = format!("{message}; the server is off");
            self.problems.push(Problem::reference(reasons::SECRET_NOT_FOUND, field, told));
            off.get_or_insert(message);
        }
        off.unwrap_or_default()
    }

    fn not_run(&mut self, stdio: &Stdio) -> Option<String> {
        if !self.index.standalone() {
            if !self.index.stdio().allows(&stdio.image) {
                let message = format!(
                    "image `{}` is not allowed: whoever runs the operator names it in operator.allowedStdioImages of the chart \
                     (--allowed-stdio-image)",
                    stdio.image
                );
                self.problems.push(Problem::accepted(
                    reasons::IMAGE_NOT_ALLOWED,
                    "spec.stdio.image",
                    message,
                ));
            }
            return None;
        }
        if self.index.stdio().local.is_some() {
            return None;
        }
        let reason =
            "commands are not run on this machine unless the gateway is started with --allow-local-stdio";
        let told = format!("{reason}; the server is off");
        self.problems.push(Problem::reference(reasons::NOT_RUN, "spec.stdio", told));
        Some(reason.to_owned())
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
