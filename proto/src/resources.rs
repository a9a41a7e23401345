//! A set of resources: the state of the world, or one side of a difference.

use crate::{Kind, Resource, ResourceId, v1};
use std::{collections::BTreeMap, sync::Arc};

/// A set of resources by identity, in a fixed order. A copy shares the resources with it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resources {
    by_id: BTreeMap<ResourceId, Arc<Resource>>,
}

// === impl Resources ===

impl Resources {
    /// Adds a resource; returns the one it replaces.
    pub fn insert(&mut self, resource: impl Into<Resource>) -> Option<Resource> {
        let resource = resource.into();
        self.by_id.insert(resource.id(), Arc::new(resource)).map(Arc::unwrap_or_clone)
    }

    /// A resource by its identity.
    pub fn get(&self, id: &ResourceId) -> Option<&Resource> {
        self.by_id.get(id).map(|resource| &**resource)
    }

    /// Takes a resource out.
    pub fn remove(&mut self, id: &ResourceId) -> Option<Resource> {
        self.by_id.remove(id).map(Arc::unwrap_or_clone)
    }

    /// Holds what is equal in `before` together with it, so that two states of the world take little more than one.
    pub fn share(&mut self, before: &Resources) {
        for (id, resource) in &mut self.by_id {
            if let Some(same) = before.by_id.get(id).filter(|old| *old == resource) {
                *resource = same.clone();
            }
        }
    }

    /// All resources, by kind and name.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.by_id.values().map(|resource| &**resource)
    }

    /// The virtual keys.
    pub fn keys(&self) -> impl Iterator<Item = &v1::VirtualKey> {
        self.iter().filter_map(|r| if let Resource::VirtualKey(k) = r { Some(&**k) } else { None })
    }

    /// The provider routes.
    pub fn routes(&self) -> impl Iterator<Item = &v1::ProviderRoute> {
        self.iter().filter_map(|r| if let Resource::ProviderRoute(p) = r { Some(&**p) } else { None })
    }

    /// The MCP servers.
    pub fn servers(&self) -> impl Iterator<Item = &v1::McpServer> {
        self.iter().filter_map(|r| if let Resource::McpServer(s) = r { Some(&**s) } else { None })
    }

    /// The issuers of ServiceAccount tokens.
    pub fn token_issuers(&self) -> impl Iterator<Item = &v1::TokenIssuer> {
        self.iter().filter_map(|r| if let Resource::TokenIssuer(i) = r { Some(&**i) } else { None })
    }

    /// The sealing keys.
    pub fn sealing(&self) -> impl Iterator<Item = &v1::SealingKeys> {
        self.iter().filter_map(|r| if let Resource::SealingKeys(s) = r { Some(s) } else { None })
    }

    /// The entry `key` of the Secret `namespace/name`.
    pub fn secret(&self, namespace: &str, name: &str, key: &str) -> Option<&[u8]> {
        match self.get(&ResourceId::new(Kind::Secret, namespace, name))? {
            Resource::Secret(secret) => secret.data.get(key).map(Vec::as_slice),
            _ => None,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

impl FromIterator<Resource> for Resources {
    fn from_iter<I: IntoIterator<Item = Resource>>(resources: I) -> Self {
        Resources { by_id: resources.into_iter().map(|r| (r.id(), Arc::new(r))).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_found_by_kind_and_name() {
        let mut set = Resources::default();
        let secret = v1::Secret {
            namespace: "n".into(),
            name: "x".into(),
            data: [("k".to_owned(), b"v".to_vec())].into(),
        };
        set.insert(secret);
        set.insert(v1::McpServer { namespace: "n".into(), name: "x".into(), ..Default::default() });
        assert_eq!(set.len(), 2);
        assert_eq!(set.secret("n", "x", "k"), Some(&b"v"[..]));
        assert_eq!(set.secret("other", "x", "k"), None);
        assert_eq!(set.servers().count(), 1);
        assert!(set.remove(&ResourceId::new(Kind::Secret, "n", "x")).is_some());
        assert_eq!(set.secret("n", "x", "k"), None);
    }

    #[test]
    fn what_is_equal_in_two_sets_is_held_once() {
        let server = |name: &str, url: &str| -> Resource {
            v1::McpServer { namespace: "n".into(), name: name.into(), url: url.into(), ..Default::default() }
                .into()
        };
        let before: Resources = [server("a", "1"), server("b", "1")].into_iter().collect();
        let mut after: Resources =
            [server("a", "1"), server("b", "2"), server("c", "1")].into_iter().collect();
        let alone = after.clone();
        after.share(&before);
        assert_eq!(after, alone);
        let place = |set: &Resources, name| {
            std::ptr::from_ref(set.get(&ResourceId::new(Kind::McpServer, "n", name)).unwrap())
        };
        assert_eq!(place(&after, "a"), place(&before, "a"));
        assert_ne!(place(&after, "b"), place(&before, "b"));
    }
}
