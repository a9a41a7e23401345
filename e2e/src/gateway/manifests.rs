//! Manifests for tests: the same YAML that users write.

use crate::provider::DEFAULT_KEY;
use anyhow::Context;
use std::path::Path;

/// A set of manifest files.
#[derive(Debug, Clone, Default)]
pub struct Manifests {
    files: Vec<(String, String)>,
}

// === impl Manifests ===

impl Manifests {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Two routes to a provider at `url`, `anthropic` (Messages) and `openai` (Chat), and their Secret.
    pub fn routes(url: &str) -> Self {
        Self::new()
            .file("secret.yaml", &secret("provider", "apiKey", DEFAULT_KEY))
            .file("anthropic.yaml", &route("anthropic", "anthropic", url, "retry: {attempts: 0}"))
            .file("openai.yaml", &route("openai", "openAI", &format!("{url}/v1"), "retry: {attempts: 0}"))
    }

    /// `deploy/samples/`, with other addresses in place of the demo's fixed ones.
    pub fn samples(replace: &[(&str, String)]) -> anyhow::Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/samples");
        let mut manifests = Self::new();
        for entry in std::fs::read_dir(&folder).with_context(|| format!("{} is missing", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let mut text = std::fs::read_to_string(&path)?;
            for (from, to) in replace {
                text = text.replace(from, to);
            }
            manifests = manifests.file(&name, &text);
        }
        Ok(manifests)
    }

    /// One more file.
    pub fn file(mut self, name: &str, yaml: &str) -> Self {
        self.files.push((name.to_owned(), yaml.to_owned()));
        self
    }

    /// A key with a token of its own name; `spec` holds further lines of its spec.
    pub fn key(self, name: &str, spec: &str) -> Self {
        self.file(&format!("{name}.yaml"), &key(name, spec))
    }

    /// An MCP server.
    pub fn server(self, name: &str, url: &str) -> Self {
        self.file(&format!("{name}.yaml"), &server(name, url))
    }

    /// The files: name and content.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(name, yaml)| (name.as_str(), yaml.as_str()))
    }
}

/// A Secret with one entry.
pub fn secret(name: &str, entry: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{{entry}: {value:?}}}\n")
}

/// A route with one backend; `spec` holds further lines of its spec.
pub fn route(name: &str, provider: &str, endpoint: &str, spec: &str) -> String {
    let head = object("ProviderRoute", name);
    let credentials = "{secretRef: {name: provider, key: apiKey}}";
    let spec = indent(spec);
    format!(
        "{head}spec:\n  backends:\n  - name: main\n    {provider}: {{}}\n    endpoint: {endpoint}\n    credentials: {credentials}\n{spec}"
    )
}

/// A key whose token is its own name, and the token's Secret.
pub fn key(name: &str, spec: &str) -> String {
    let head = object("VirtualKey", name);
    let secret = secret(name, "token", name);
    let spec = indent(spec);
    format!("{secret}---\n{head}spec:\n  token: {{secretRef: {{name: {name}, key: token}}}}\n{spec}")
}

/// A team: a key without a token.
pub fn team(name: &str, spec: &str) -> String {
    format!("{}spec:\n{}", object("VirtualKey", name), indent(spec))
}

/// An MCP server without a credential.
pub fn server(name: &str, url: &str) -> String {
    let head = object("McpServer", name);
    format!(
        "{head}spec:\n  streamableHttp: {{url: {url}}}\n  timeouts: {{connect: 2s, list: 2s, call: 10s}}\n"
    )
}

fn object(kind: &str, name: &str) -> String {
    format!("apiVersion: tollgate.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n")
}

fn indent(lines: &str) -> String {
    let whole = |l: &str| if l.trim().is_empty() { String::new() } else { format!("  {l}\n") };
    lines.lines().map(whole).collect()
}
