//! Which Secrets an object needs: whoever reads Secrets for the compiler asks here, so that nothing else of them is read.

use super::Body;
use crate::api::SecretKeyRef;

/// The entries of Secrets, in the object's own namespace, that a compilation of it looks at.
pub fn secrets(body: &Body) -> impl Iterator<Item = &SecretKeyRef> {
    let (token, route, server) = match body {
        Body::VirtualKey(key) => (key.spec.token.as_ref(), None, None),
        Body::ProviderRoute(route) => (None, Some(&route.spec.backends), None),
        Body::McpServer(server) => (None, None, server.spec.auth.as_ref()),
        Body::Secret(_) | Body::Unreadable(_) => (None, None, None),
    };
    let of_backends = route.into_iter().flatten();
    token
        .map(|token| &token.secret_ref)
        .into_iter()
        .chain(of_backends.filter_map(|b| b.credentials.as_ref()?.secret_ref.as_ref()))
        .chain(server.map(|auth| &auth.header.secret_ref))
}
