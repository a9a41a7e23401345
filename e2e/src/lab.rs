//! A fake provider, a gateway before it, and keys: where most scenarios begin.

use crate::{
    client::Http,
    gateway::{Gateway, Home, Manifests},
    provider::Provider,
};

/// The token (and name) of the lab's ordinary key: both routes, Claude's bare names to `anthropic`, $200 a month.
pub const KEY: &str = "vk-lab";

/// The ordinary key's spec.
pub const KEY_SPEC: &str = r#"models: {allow: ["anthropic/*", "openai/*"]}
defaultRoute: anthropic
budgets: [{name: month, usd: "200", period: Month}]
logging: {content: Full}
"#;

/// A gateway between clients and a fake provider.
#[derive(Debug)]
pub struct Lab {
    /// The provider behind both routes.
    pub provider: Provider,
    /// The gateway's folders.
    pub home: Home,
    /// The gateway.
    pub gateway: Gateway,
    /// A client.
    pub http: Http,
}

// === impl Lab ===

impl Lab {
    /// Both routes and the ordinary key.
    pub async fn start() -> anyhow::Result<Self> {
        Self::with(|manifests, _| manifests).await
    }

    /// Both routes, the ordinary key, and what `more` adds, which is told the provider's URL.
    pub async fn with(more: impl FnOnce(Manifests, &str) -> Manifests) -> anyhow::Result<Self> {
        let provider = Provider::start().await?;
        let url = provider.url();
        let manifests = more(Manifests::routes(&url).key(KEY, KEY_SPEC), &url);
        let home = Home::new(&manifests)?;
        let gateway = Gateway::start(&home).await?;
        Ok(Lab { provider, home, gateway, http: Http::new() })
    }

    /// The gateway's Messages endpoint as Claude Code calls it.
    pub fn messages(&self) -> String {
        self.gateway.at("/anthropic/v1/messages?beta=true")
    }

    /// The gateway's Chat Completions endpoint.
    pub fn chat(&self) -> String {
        self.gateway.at("/v1/chat/completions")
    }
}
