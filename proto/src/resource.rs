//! A resource: one object of the user's API (or a Secret it refers to) as it travels.

use crate::v1;
use prost::Message;
use sha2::{Digest, Sha256};
use std::fmt;

/// The kinds of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Entries of a Secret.
    Secret,
    /// A virtual key.
    VirtualKey,
    /// A provider route.
    ProviderRoute,
    /// An MCP server.
    McpServer,
    /// An issuer of ServiceAccount tokens.
    TokenIssuer,
    /// Keys that gateways seal with.
    SealingKeys,
}

/// The identity of a resource: its kind and `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceId {
    /// The kind.
    pub kind: Kind,
    /// `namespace/name`; of what belongs to no namespace, its name alone.
    pub name: String,
}

/// One resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Resource {
    /// Entries of a Secret.
    Secret(v1::Secret),
    /// A virtual key.
    VirtualKey(Box<v1::VirtualKey>),
    /// A provider route.
    ProviderRoute(Box<v1::ProviderRoute>),
    /// An MCP server.
    McpServer(Box<v1::McpServer>),
    /// An issuer of ServiceAccount tokens.
    TokenIssuer(Box<v1::TokenIssuer>),
    /// Keys that gateways seal with.
    SealingKeys(v1::SealingKeys),
}

/// Why bytes are not a resource.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A type that this version does not know.
    #[error("unknown resource type {0:?}: the sender is newer than this program")]
    UnknownType(String),
    /// Bytes that are not a message of that type.
    #[error("malformed {kind}: {source}")]
    Malformed {
        /// Of what kind.
        kind: Kind,
        /// prost's words.
        source: prost::DecodeError,
    },
}

const TYPE_PREFIX: &str = "type.googleapis.com/tollgate.v1.";

// === impl Kind ===

impl Kind {
    /// Every kind, in the order in which a data plane applies them: what is referred to comes first.
    pub const ALL: [Kind; 6] = [
        Kind::Secret,
        Kind::SealingKeys,
        Kind::TokenIssuer,
        Kind::ProviderRoute,
        Kind::McpServer,
        Kind::VirtualKey,
    ];

    /// The kind's name as in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Secret => "Secret",
            Kind::VirtualKey => "VirtualKey",
            Kind::ProviderRoute => "ProviderRoute",
            Kind::McpServer => "McpServer",
            Kind::TokenIssuer => "TokenIssuer",
            Kind::SealingKeys => "SealingKeys",
        }
    }

    /// The type URL of delta discovery.
    pub fn type_url(self) -> String {
        format!("{TYPE_PREFIX}{}", self.as_str())
    }

    /// The kind of a type URL.
    pub fn of_type_url(url: &str) -> Option<Kind> {
        let name = url.strip_prefix(TYPE_PREFIX)?;
        Kind::ALL.into_iter().find(|k| k.as_str() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl ResourceId ===

impl ResourceId {
    /// An id from its parts.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        ResourceId { kind, name: format!("{namespace}/{name}") }
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

// === impl Resource ===

impl Resource {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Resource::Secret(_) => Kind::Secret,
            Resource::VirtualKey(_) => Kind::VirtualKey,
            Resource::ProviderRoute(_) => Kind::ProviderRoute,
            Resource::McpServer(_) => Kind::McpServer,
            Resource::TokenIssuer(_) => Kind::TokenIssuer,
            Resource::SealingKeys(_) => Kind::SealingKeys,
        }
    }

    /// Its identity.
    pub fn id(&self) -> ResourceId {
        let (namespace, name) = match self {
            Resource::Secret(r) => (&r.namespace, &r.name),
            Resource::VirtualKey(r) => (&r.namespace, &r.name),
            Resource::ProviderRoute(r) => (&r.namespace, &r.name),
            Resource::McpServer(r) => (&r.namespace, &r.name),
            Resource::TokenIssuer(r) => return ResourceId { kind: self.kind(), name: r.name.clone() },
            Resource::SealingKeys(r) => return ResourceId { kind: self.kind(), name: r.name.clone() },
        };
        ResourceId::new(self.kind(), namespace, name)
    }

    /// Its bytes: the same for the same content, whoever encodes it.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Resource::Secret(r) => r.encode_to_vec(),
            Resource::VirtualKey(r) => r.encode_to_vec(),
            Resource::ProviderRoute(r) => r.encode_to_vec(),
            Resource::McpServer(r) => r.encode_to_vec(),
            Resource::TokenIssuer(r) => r.encode_to_vec(),
            Resource::SealingKeys(r) => r.encode_to_vec(),
        }
    }

    /// A resource from its type URL and bytes.
    pub fn decode(type_url: &str, bytes: &[u8]) -> Result<Self, DecodeError> {
        let kind =
            Kind::of_type_url(type_url).ok_or_else(|| DecodeError::UnknownType(type_url.to_owned()))?;
        let decoded = match kind {
            Kind::Secret => v1::Secret::decode(bytes).map(Resource::Secret),
            Kind::VirtualKey => v1::VirtualKey::decode(bytes).map(|r| Resource::VirtualKey(Box::new(r))),
            Kind::ProviderRoute => {
                v1::ProviderRoute::decode(bytes).map(|r| Resource::ProviderRoute(Box::new(r)))
            }
            Kind::McpServer => v1::McpServer::decode(bytes).map(|r| Resource::McpServer(Box::new(r))),
            Kind::TokenIssuer => v1::TokenIssuer::decode(bytes).map(|r| Resource::TokenIssuer(Box::new(r))),
            Kind::SealingKeys => v1::SealingKeys::decode(bytes).map(Resource::SealingKeys),
        };
        decoded.map_err(|source| DecodeError::Malformed { kind, source })
    }

    /// The version: the first 16 hexadecimal digits of the SHA-256 of the bytes, so that it is equal across operators and restarts.
    pub fn version(&self) -> String {
        Resource::version_of(&self.encode())
    }

    /// The version of a resource whose bytes are these.
    pub fn version_of(bytes: &[u8]) -> String {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        hex::encode([a, b, c, d, e, f, g, h])
    }
}

macro_rules! from_message {
    ($($message:ident),*) => {$(
        impl From<v1::$message> for Resource {
            fn from(message: v1::$message) -> Self {
                Resource::$message(message.into())
            }
        }
    )*};
}

from_message!(Secret, VirtualKey, ProviderRoute, McpServer, TokenIssuer, SealingKeys);

// === impl v1::Secret ===

impl fmt::Debug for v1::Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("keys", &self.data.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

// === impl v1::SealingKeys ===

impl fmt::Debug for v1::SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKeys")
            .field("name", &self.name)
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Resource {
        v1::VirtualKey { namespace: "default".into(), name: name.into(), ..Default::default() }.into()
    }

    #[test]
    fn a_resource_survives_its_bytes() {
        let models = v1::ModelRules {
            aliases: [("b", "x/y"), ("a", "x/z")].map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
            ..Default::default()
        };
        let resource: Resource =
            v1::VirtualKey { models: Some(models), name: "k".into(), ..Default::default() }.into();
        let back = Resource::decode(&resource.kind().type_url(), &resource.encode()).unwrap();
        assert_eq!(back, resource);
        assert_eq!(back.version(), resource.version());
    }

    #[test]
    fn the_version_is_the_content() {
        assert_eq!(key("a").version(), key("a").version());
        assert_ne!(key("a").version(), key("b").version());
        // Pinned: a change of this value makes every gateway reload everything once.
        assert_eq!(key("a").version(), "f1f805c44da828bd");
        assert_eq!(key("a").id().to_string(), "VirtualKey default/a");
    }

    #[test]
    fn type_urls_name_every_kind_and_no_other() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of_type_url(&kind.type_url()), Some(kind));
        }
        assert_eq!(Kind::of_type_url("type.googleapis.com/envoy.config.Cluster"), None);
        assert!(Resource::decode("tollgate.v1.VirtualKey", b"").is_err());
        assert!(Resource::decode(&Kind::VirtualKey.type_url(), b"\xff").is_err());
    }

    #[test]
    fn a_secret_does_not_print_its_content() {
        let secret = v1::Secret {
            namespace: "n".into(),
            name: "s".into(),
            data: [("apiKey".to_owned(), b"hush".to_vec())].into(),
        };
        let shown = format!("{secret:?} {:?}", Resource::from(secret.clone()));
        assert!(shown.contains("apiKey") && !shown.contains("hush") && !shown.contains("104"), "{shown}");
        let sealing = v1::SealingKeys { name: "s".into(), keys: vec![b"hush".to_vec()] };
        let shown = format!("{sealing:?} {:?}", Resource::from(sealing.clone()));
        assert!(shown.contains("keys: 1") && !shown.contains("104"), "{shown}");
    }

    #[test]
    fn what_belongs_to_no_namespace_has_a_plain_name() {
        let issuer: Resource = v1::TokenIssuer { name: "cluster".into(), ..Default::default() }.into();
        let back = Resource::decode(&issuer.kind().type_url(), &issuer.encode()).unwrap();
        assert_eq!((back.id().name.as_str(), back.id().kind), ("cluster", Kind::TokenIssuer));
    }
}
