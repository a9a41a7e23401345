//! The user's API: `VirtualKey`, `McpServer`, `ProviderRoute`, and the pure compiler from manifests to resources.
